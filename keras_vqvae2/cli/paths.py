"""Names of input and output files."""

import os
import pathlib

from keras_vqvae2.data import list_images


def image_paths(names):
    """Image files of the files and folders that the user named."""
    paths = []
    for name in names:
        if not os.path.exists(name):
            raise FileNotFoundError(f"There is no file or folder {name}.")
        paths += list_images(name) if os.path.isdir(name) else [name]
    return paths


def output_paths(paths, output, suffix):
    """One output path for each input; a folder if there are several.

    Args:
        paths: Input files.
        output: What the user named: a file for one input, else a folder.
        suffix: File name extension in a folder.

    Raises:
        ValueError: If several inputs would be written to one file.
    """
    output = pathlib.Path(output)
    is_file = bool(output.suffix) and not output.is_dir()
    if is_file:
        if len(paths) > 1:
            raise ValueError(
                f"{len(paths)} inputs do not fit into the file {output}: name "
                "a folder as --output."
            )
        return [output]
    outputs = [output / f"{pathlib.Path(path).stem}{suffix}" for path in paths]
    if len(set(outputs)) != len(outputs):
        # Files with one name in several folders: number them.
        width = len(str(len(paths)))
        outputs = [
            path.with_stem(f"{i:0{width}}-{path.stem}")
            for i, path in enumerate(outputs)
        ]
    return outputs
