from keras_vqvae2.hub import list_presets


def add_arguments(parser):
    """Takes none."""


def run(args):
    for preset in list_presets():
        place = {
            "bundled": "comes with the package",
            "hub": f"on the Hub: {preset.location}",
            "unpublished": f"no weights yet, train with {preset.location}",
        }[preset.source]
        size = f", {preset.num_bytes / 1e6:.1f} MB" if preset.num_bytes else ""
        print(
            f"{preset.name:20} {preset.description}; "
            f"{preset.num_parameters / 1e6:.2f} M parameters; {place}{size}"
        )
