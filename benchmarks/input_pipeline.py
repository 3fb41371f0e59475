"""How fast the image pipeline is, against decoding alone in the same run.

    python benchmarks/input_pipeline.py [--folder PHOTOS]

Prints images per second of the training stream for a folder of photos
(generated if none is given) at 256 pixels and for generated images at 1024,
and what remains of the speed at which TensorFlow and Pillow do nothing but
decode the same files with as many threads as there are cores.
"""

import argparse
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_vqvae2.data import image_folder_dataset
from keras_vqvae2.data import list_images
from keras_vqvae2.data import load_image

CORES = len(os.sched_getaffinity(0))


def generate(folder, height, width, kind, count):
    generator = np.random.default_rng(0)
    for index in range(count):
        coarse = generator.integers(0, 256, (height // 8, width // 8, 3))
        image = Image.fromarray(coarse.astype("uint8"))
        image = image.resize((width, height), Image.BICUBIC)
        image.save(os.path.join(folder, f"{index:04}.{kind}"))


def rate(batches, count):
    """Images per second, and milliseconds of CPU time for each.

    The second says more where other programs share the machine.
    """
    next(batches)
    start, cpu = time.perf_counter(), time.process_time()
    seen = 0
    while seen < count:
        seen += len(next(batches))
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return seen / seconds, f"{seen / seconds:.0f}/s ({1e3 * cpu / seen:.2f} ms)"


def native(paths, batch_size):
    def decode(path):
        image = tf.io.decode_image(
            tf.io.read_file(path), channels=3, expand_animations=False
        )
        return tf.size(image)

    dataset = tf.data.Dataset.from_tensor_slices(paths).repeat()
    return iter(dataset.map(decode, CORES).batch(batch_size).prefetch(1))


def pillow(paths, batch_size):
    with ThreadPoolExecutor(CORES) as pool:
        while True:
            for start in range(0, len(paths) - batch_size, batch_size):
                files = paths[start : start + batch_size]
                yield list(pool.map(load_image, files))


def report(name, folder, image_size, batch_size, count):
    paths = list_images(folder)
    stream = iter(image_folder_dataset(folder, image_size, batch_size))
    ours, text = rate(stream, count)
    limit, native_text = rate(native(paths, batch_size), count)
    _, pillow_text = rate(pillow(paths, batch_size), count)
    print(
        f"{name}: {text}, {ours / limit:.0%} of decoding alone: TensorFlow "
        f"{native_text}, Pillow {pillow_text}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", help="photos for the first line")
    arguments = parser.parse_args()
    print(f"{CORES} cores; images/s (CPU time per image)")
    with tempfile.TemporaryDirectory() as folder:
        if arguments.folder is None:
            generate(folder, 272, 363, "jpg", 200)
        report("256, photos", arguments.folder or folder, 256, 32, 2000)
    for kind in ("jpg", "png"):
        with tempfile.TemporaryDirectory() as folder:
            generate(folder, 1024, 1024, kind, 24)
            report(f"1024, {kind}", folder, 1024, 8, 160)


if __name__ == "__main__":
    main()
