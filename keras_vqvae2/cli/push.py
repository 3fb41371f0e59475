import pathlib

from keras_vqvae2.hub import push_all
from keras_vqvae2.hub import push_folder
from keras_vqvae2.hub.store import find_snapshot


def add_arguments(parser):
    parser.add_argument(
        "folder",
        nargs="?",
        help="folder of your own model (default: all of weights/)",
    )
    parser.add_argument(
        "repository", nargs="?", help="where to publish it: owner/name"
    )
    parser.add_argument("--owner", help="owner of the repositories of weights/")
    parser.add_argument(
        "--private", action="store_true", help="make new repositories private"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="only check and list"
    )


def run(args):
    if args.folder is not None:
        push_one(args)
        return
    commits = push_all(args.owner, private=args.private, dry_run=args.dry_run)
    for repository, url in commits.items():
        print(f"{repository}: {url or 'would be published'}")


def push_one(args):
    """Publishes the model in a folder."""
    if args.repository is None or args.owner is not None:
        raise ValueError(
            "Name a folder and a repository, as in: push runs/mine/model "
            "YOU/NAME. `owner` is for all of weights/."
        )
    snapshot = find_snapshot(pathlib.Path(args.folder))
    snapshot.verify()
    if args.dry_run:
        url = "would be published"
    else:
        url = push_folder(args.folder, args.repository, private=args.private)
    print(f"{args.repository}: {url}")
