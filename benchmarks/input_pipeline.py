"""Images per second of the data pipelines, and of the steps that they feed.

    python benchmarks/input_pipeline.py

Against torch's DataLoader with Pillow, which is what the peers train from, on
the same pictures, crops and number of CPUs; and against our own training step
of the paper's models on these CPUs. See README.md.
"""

import argparse
import os
import pathlib
import statistics
import tempfile
import time

import _common
import numpy as np

# Image size, then how many pictures there are, read in a round and in a batch.
SIZES = {256: (64, 512, 32), 1024: (16, 64, 8)}
# Folders of JPEG files: ImageNet's usual size, and that of a small camera.
JPEG = {"jpeg": (375, 500), "jpeg_large": (960, 1280)}
PRESETS = {256: "vqvae2-imagenet256", 1024: "vqvae2-ffhq1024"}
STEP_BATCH = {256: 8, 1024: 1}


def picture(seed, height, width):
    """Noise with the spectrum of photographs, uint8."""
    generator = np.random.default_rng(seed)
    frequency = np.hypot(
        np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    )
    frequency[0, 0] = 1
    shape = (3, *frequency.shape)
    spectrum = generator.normal(size=shape) + 1j * generator.normal(size=shape)
    grey = spectrum[:1]
    pixels = np.fft.irfft2((grey + 0.3 * spectrum) / frequency**1.4)
    pixels = pixels[..., :width] * 50 / pixels.std() + 120
    return np.moveaxis(pixels, 0, -1).clip(0, 255).astype("uint8")


def write_pictures(folder):
    """The formats of ImageNet and FFHQ; returns the mean bytes of a picture."""
    import tensorflow as tf
    from PIL import Image

    folder = pathlib.Path(folder)
    sizes = {name: [] for name in (*JPEG, "png")}
    for name in sizes:
        (folder / name).mkdir()
    for name, shape in JPEG.items():
        for i in range(SIZES[256][0]):
            path = folder / name / f"{i}.jpg"
            Image.fromarray(picture(i, *shape)).save(path, quality=90)
            sizes[name].append(path.stat().st_size)
    with tf.io.TFRecordWriter(str(folder / "r10.tfrecords")) as writer:
        for i in range(SIZES[1024][0]):
            pixels = picture(i, 1024, 1024)
            path = folder / "png" / f"{i}.png"
            Image.fromarray(pixels).save(path)
            sizes["png"].append(path.stat().st_size)
            channels_first = np.moveaxis(pixels, -1, 0)
            example = tf.train.Example()
            feature = example.features.feature
            feature["shape"].int64_list.value.extend(channels_first.shape)
            feature["data"].bytes_list.value.append(channels_first.tobytes())
            writer.write(example.SerializeToString())
    return {name: statistics.mean(values) for name, values in sizes.items()}


def timed(make_iterator, image_size):
    """A task: seconds for an image, from the second batch on."""
    _, images, batch_size = SIZES[image_size]

    def read():
        iterator = make_iterator()
        next(iterator)
        start = time.perf_counter()
        for _ in range(images // batch_size):
            assert len(next(iterator)) == batch_size
        return (time.perf_counter() - start) / images

    return {"read": read}


def our_tasks(threads, folder, source, image_size):
    _common.limit_threads("tensorflow", threads)
    from keras_vqvae2.data import image_folder_dataset
    from keras_vqvae2.data import tfrecord_dataset

    make = tfrecord_dataset if "tfrecords" in source else image_folder_dataset
    dataset = make(
        os.path.join(folder, source),
        image_size,
        SIZES[image_size][-1],
        resize=image_size,
    )
    return timed(lambda: dataset.as_numpy_iterator(), image_size)


def peer_tasks(threads, folder, source, image_size):
    _common.limit_threads("torch", threads)
    import torch
    from PIL import Image

    files = sorted(pathlib.Path(folder, source).iterdir())

    class Pictures(torch.utils.data.Dataset):
        def __len__(self):
            return 10**6

        def __getitem__(self, index):
            generator = np.random.default_rng(index)
            with Image.open(files[index % len(files)]) as file:
                image = file.convert("RGB")
            if min(image.size) != image_size:
                scale = image_size / min(image.size)
                image = image.resize([round(s * scale) for s in image.size])
            pixels = np.asarray(image)
            top = generator.integers(pixels.shape[0] - image_size + 1)
            left = generator.integers(pixels.shape[1] - image_size + 1)
            pixels = pixels[top : top + image_size, left : left + image_size]
            if generator.random() < 0.5:
                pixels = pixels[:, ::-1]
            return torch.from_numpy(pixels.copy())

    loader = torch.utils.data.DataLoader(
        Pictures(),
        SIZES[image_size][-1],
        num_workers=threads,
        multiprocessing_context="fork",  # its default on Linux
    )
    return timed(lambda: iter(loader), image_size)


def step_tasks(threads, image_size):
    os.environ["KERAS_BACKEND"] = "tensorflow"
    _common.limit_threads("tensorflow", threads)
    import keras

    import keras_vqvae2
    from keras_vqvae2.hub.presets import PRESETS as ALL

    model = keras_vqvae2.HierarchicalVQVAE(
        **ALL[PRESETS[image_size]].vqvae, dtype="mixed_bfloat16"
    )
    model.compile(keras.optimizers.Adam(3e-4))
    batch = STEP_BATCH[image_size]
    images = np.stack(
        [picture(i, image_size, image_size) for i in range(batch)]
    )

    def step():
        start = time.perf_counter()
        model.train_on_batch(images)
        return (time.perf_counter() - start) / batch

    return {"step": step}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    _common.print_machine(args.threads)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        sizes = write_pictures(folder)
        for source, image_size, what in (
            ("jpeg", 256, "JPEG, 500x375"),
            ("jpeg_large", 256, "JPEG, 1280x960"),
            ("png", 1024, "PNG, 1024x1024"),
            ("r10.tfrecords", 1024, "TFRecords, 1024x1024"),
        ):
            options = {
                "threads": args.threads,
                "folder": folder,
                "source": source,
                "image_size": image_size,
            }
            contenders = [_common.Contender("ours", our_tasks, **options)]
            if source in sizes:
                contenders.append(
                    _common.Contender(
                        "peer", peer_tasks, daemon=False, **options
                    )
                )
                what += f", {sizes[source] / 1e3:.0f} kB"
            seconds = _common.alternate(
                contenders, "read", args.rounds, warmup=1, result=True
            )
            for contender in contenders:
                contender.close()
            step = _common.Contender(
                "step", step_tasks, threads=args.threads, image_size=image_size
            )
            steps = _common.alternate(
                [step], "step", args.rounds, warmup=1, result=True
            )["step"]
            step.close()
            ours = statistics.median(seconds["ours"])
            line = [what, str(image_size), f"{1 / ours:.0f}", "-", "-"]
            if "peer" in seconds:
                line[3] = f"{1 / statistics.median(seconds['peer']):.0f}"
                low, *high = _common.ratios(seconds, "ours", "peer")
                line[4] = f"{low:.2f} ({high[0]:.2f}-{high[1]:.2f})"
            step = statistics.median(steps)
            line += [f"{1 / step:.2f}", f"{step / ours:.0f}"]
            lines.append(line)
            print(*line, flush=True)
    _common.print_table(
        (
            "source",
            "image size",
            "images/s",
            "peer, images/s",
            "times as fast",
            "step, images/s",
            "read for each trained on",
        ),
        lines,
    )


if __name__ == "__main__":
    main()
