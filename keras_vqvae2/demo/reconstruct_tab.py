"""Tab "Reconstruct": what a model keeps of a photograph, in how many bytes."""

import pathlib

from keras_vqvae2.backend.lazy_module import LazyModule
from keras_vqvae2.codec import write_codes
from keras_vqvae2.data.image_file import sample_photograph
from keras_vqvae2.demo import photos
from keras_vqvae2.demo.widgets import loaded
from keras_vqvae2.demo.widgets import model_menu
from keras_vqvae2.demo.widgets import on
from keras_vqvae2.demo.widgets import photo_input
from keras_vqvae2.demo.widgets import picture_gallery
from keras_vqvae2.images import pad_to_multiple
from keras_vqvae2.images import psnr

gr = LazyModule("gradio")
processing_utils = LazyModule("gradio.processing_utils")


def add_reconstruct_tab(choices):
    """Adds the tab for the models of `find_choices`."""
    with gr.Row():
        with gr.Column(scale=1):
            photo = photo_input()
            sample = gr.Button("Take a sample photo")
            model = model_menu(choices)
            rate = gr.Slider(
                0,
                0.8,
                0,
                step=0.05,
                label="Rate weight",
                info="Above 0: smaller file, lower quality",
            )
            start = gr.Button("Reconstruct", variant="primary")
        with gr.Column(scale=2):
            slider = gr.ImageSlider(
                label="Photo | reconstruction",
                format="png",
                max_height=480,
                interactive=False,
            )
            table = gr.Markdown()
            download = gr.DownloadButton(
                "Download the code file", interactive=False
            )
            levels = picture_gallery("What the first levels hold", columns=3)

    def run(path, name, rate_weight, progress=gr.Progress()):  # noqa: B008
        if path is None:
            raise ValueError("Choose a photo first.")
        image = photos.load_photo(path)
        vqvae2 = loaded(name, progress)
        progress(0.3, desc="Encoding")
        data, partial = reconstruct(vqvae2, image, rate_weight)
        progress(0.7, desc="Comparing with JPEG and WebP")
        rows = describe(image, partial[-1], data, name)
        captions = [
            f"{number} of {len(partial)} levels"
            for number in range(1, len(partial) + 1)
        ]
        file = processing_utils.save_bytes_to_cache(
            data, f"{pathlib.Path(path).stem}.codes", download.GRADIO_CACHE
        )
        return (
            (image, partial[-1]),
            rows,
            gr.DownloadButton(value=file, interactive=True),
            list(zip(partial, captions, strict=True)),
        )

    def take_sample():
        return processing_utils.save_file_to_cache(
            sample_photograph(), photo.GRADIO_CACHE
        )

    on(sample.click, take_sample, None, photo)
    on(
        start.click,
        run,
        [photo, model, rate],
        [slider, table, download, levels],
    )


def reconstruct(model, image, rate_weight=0.0):
    """A photograph's code file, and the image of its first 1, 2, ... levels.

    Args:
        model: `VQVAE2`.
        image: uint8 array `(height, width, 3)`, any size.
        rate_weight: As for `VQVAE2.encode`.

    Returns:
        Tuple of the file's bytes and a list of uint8 arrays `(height, width,
        3)`.
    """
    height, width = image.shape[:2]
    padded = pad_to_multiple(image[None], model.vqvae.total_stride)
    codes = model.encode(padded, rate_weight=rate_weight)
    data = write_codes(
        [level[0] for level in codes], (height, width), model.code_model()
    )
    images = [
        model.decode(codes[:number], number)[0, :height, :width]
        for number in range(1, len(codes) + 1)
    ]
    return data, images


def describe(image, reconstruction, data, name):
    """Table of sizes and qualities, in Markdown."""
    height, width = image.shape[:2]
    quality = float(psnr(image[None], reconstruction[None])[0])
    rows = [
        (f"**codes of {name}**", len(data), quality),
        *photos.compare(image, len(data), quality),
    ]
    lines = [
        f"{width}x{height} pixels\n",
        "| | bytes | bits per pixel | PSNR, dB |",
        "|---|---:|---:|---:|",
        *(
            f"| {title} | {size:,} | {8 * size / (height * width):.3f} "
            f"| {decibels:.2f} |"
            for title, size, decibels in rows
        ),
    ]
    return "\n".join(lines)
