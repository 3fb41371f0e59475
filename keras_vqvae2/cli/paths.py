"""Names of input and output files."""

import os
import pathlib

import keras_vqvae2
from keras_vqvae2.files import check_writable


def image_paths(names):
    """Image files of the files and folders that the user named."""
    paths = []
    for name in names:
        if not os.path.exists(name):
            raise FileNotFoundError(f"There is no file or folder {name}.")
        paths += (
            keras_vqvae2.data.list_images(name)
            if os.path.isdir(name)
            else [name]
        )
    return paths


def output_paths(paths, output, suffixes, overwrite):
    """One output path for each input; a folder if there are several.

    Args:
        paths: Input files.
        output: What the user named: a file for one input, else a folder.
        suffixes: Extensions that a file can have; the first is that of files
            in a folder.
        overwrite: Whether files that exist may be replaced.

    Raises:
        FileExistsError: If one would replace a file and `overwrite` is false.
        OSError: If one cannot be written.
        ValueError: If several inputs would be written to one file, or a file
            has another extension.
    """
    output = pathlib.Path(output)
    if output.suffix and not output.is_dir():
        if len(paths) > 1:
            raise ValueError(
                f"{len(paths)} inputs do not fit into the file {output}: name "
                "a folder as `output`."
            )
        check_suffix("output", output, suffixes, " or a folder")
        outputs = [output]
    else:
        check_writable(output, folder=True)
        outputs = [
            output / f"{pathlib.Path(path).stem}{suffixes[0]}" for path in paths
        ]
        # Some file systems take no notice of case.
        if len({str(path).casefold() for path in outputs}) != len(outputs):
            # Files with one name in several folders: number them.
            width = len(str(len(paths)))
            outputs = [
                path.with_stem(f"{i:0{width}}-{path.stem}")
                for i, path in enumerate(outputs)
            ]
    check_outputs(outputs, overwrite, paths)
    return outputs


def check_suffix(option, path, suffixes, otherwise=""):
    """Raises ValueError unless a file that is written has one of these."""
    if pathlib.Path(path).suffix.lower() not in suffixes:
        raise ValueError(
            f"`{option}` is {path}: name a {', '.join(suffixes)} "
            f"file{otherwise}."
        )


def check_outputs(outputs, overwrite, inputs=()):
    """Raises an error now, before the work, unless all can be written.

    Args:
        outputs: Paths of files.
        overwrite: Whether files that exist may be replaced.
        inputs: Paths of files that must not be.

    Raises:
        FileExistsError: If one would replace a file and `overwrite` is false.
        OSError: If one cannot be written.
        ValueError: If one is an input, or the same as another.
    """
    read = {_identity(path): path for path in inputs}
    seen, existing = set(), []
    for output in map(pathlib.Path, outputs):
        check_writable(output)
        if (place := output.resolve()) in seen:
            raise ValueError(f"{output} would be written twice.")
        seen.add(place)
        if not output.exists():
            continue
        # However it is named: there are links.
        source = read.get(_identity(output))
        if source is not None:
            raise ValueError(
                f"{output} would replace the input {source}: name another "
                "`output`."
            )
        existing.append(output)
    if existing and not overwrite:
        more = f" and {len(existing) - 1} more" * (len(existing) > 1)
        raise FileExistsError(
            f"{existing[0]}{more} would be replaced: name another `output`, or "
            "allow it by `overwrite=True`."
        )


def _identity(path):
    status = os.stat(path)
    return status.st_dev, status.st_ino
