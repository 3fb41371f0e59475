from keras_vqvae2.hub import push_all


def add_arguments(parser):
    parser.add_argument("--owner", help="owner of the repositories")
    parser.add_argument(
        "--private", action="store_true", help="make new repositories private"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="only check and list"
    )


def run(args):
    commits = push_all(args.owner, private=args.private, dry_run=args.dry_run)
    for repository, url in commits.items():
        print(f"{repository}: {url or 'would be published'}")
