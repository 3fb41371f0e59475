"""Tab "Edit": a hole drawn anew, or the details."""

import numpy as np
from PIL import Image

from keras_vqvae2.backend.lazy_module import LazyModule
from keras_vqvae2.demo import photos
from keras_vqvae2.demo.widgets import class_menu
from keras_vqvae2.demo.widgets import labels_of
from keras_vqvae2.demo.widgets import loaded
from keras_vqvae2.demo.widgets import model_menu
from keras_vqvae2.demo.widgets import on
from keras_vqvae2.demo.widgets import picture_gallery
from keras_vqvae2.demo.widgets import seed_input
from keras_vqvae2.demo.widgets import shown_rows
from keras_vqvae2.demo.widgets import temperature_slider

gr = LazyModule("gradio")

_CANVAS = 512  # pixels
_MAX_VARIANTS = 8


def add_edit_tab(choices):
    """Adds the tab for the models of `find_choices` that have priors."""
    first = next(iter(choices.values()))
    with gr.Row():
        with gr.Column(scale=1):
            editor = gr.ImageEditor(
                label="Drop an image and paint a hole",
                sources=["upload", "clipboard"],
                transforms=(),
                layers=False,
                brush=gr.Brush(
                    default_size=48, colors=["#ff00ff"], color_mode="fixed"
                ),
                canvas_size=(_CANVAS, _CANVAS),
                format="png",
                height=560,
            )
            sample = gr.Button("Draw a new image to edit")
        with gr.Column(scale=1):
            model = model_menu(choices)
            label = class_menu(first)
            number = gr.Slider(1, _MAX_VARIANTS, 4, step=1, label="Variants")
            temperature = temperature_slider()
            seed = seed_input()
            fill = gr.Button("Draw the hole anew", variant="primary")
            vary = gr.Button("Draw the details anew")
            images = picture_gallery("The image as the model sees it; variants")

    def take_sample(name, label, temperature, seed, progress=gr.Progress()):  # noqa: B008
        image = loaded(name, progress).generate(
            1,
            labels_of(label, 1),
            temperature=temperature,
            seed=seed,
            on_row=shown_rows(progress),
        )[0]
        return photos.enlarged(image, _CANVAS)

    def run_fill(drawing, name, *chosen, progress=gr.Progress()):  # noqa: B008
        image, mask = read_drawing(drawing, choices[name].image_size)
        if not mask.any():
            raise ValueError("Paint over what is to be drawn anew first.")
        vqvae2 = loaded(name, progress)
        progress(0.3, desc="Drawing")
        return variants(vqvae2.inpaint, image, (mask,), *chosen)

    def run_vary(drawing, name, *chosen, progress=gr.Progress()):  # noqa: B008
        image, _ = read_drawing(drawing, choices[name].image_size)
        vqvae2 = loaded(name, progress)
        progress(0.3, desc="Drawing")
        return variants(vqvae2.vary, image, (), *chosen)

    chosen = [label, number, temperature, seed]
    on(model.change, lambda name: class_menu(choices[name]), model, label)
    on(sample.click, take_sample, [model, label, temperature, seed], editor)
    on(fill.click, run_fill, [editor, model, *chosen], images)
    on(vary.click, run_vary, [editor, model, *chosen], images)


def read_drawing(drawing, size):
    """What was dropped and painted, as a model's image and its mask.

    Args:
        drawing: Dict of `gradio.ImageEditor`: RGBA arrays `(height, width,
            4)` of `"background"` and of each of `"layers"`.
        size: `(height, width)` of the model's images.

    Returns:
        uint8 array `(height, width, 3)`, the center of the background, and
        bool array `(height, width)`, True where paint touches a pixel.

    Raises:
        ValueError: If there is no background.
    """
    background = drawing and drawing["background"]
    if background is None:
        raise ValueError("Drop an image first, or draw one.")
    paint = np.zeros(background.shape[:2], "uint8")
    for layer in drawing["layers"]:
        paint |= np.where(layer[..., 3] > 0, 255, 0).astype("uint8")
    image = photos.center(background[..., :3], size)
    mask = photos.center(paint, size, Image.Resampling.BOX)
    return image, mask > 0


def variants(edit, image, arguments, label, number, temperature, seed):
    """An image and its variants, for people to look at.

    Args:
        edit: `inpaint` or `vary` of a `VQVAE2`.
        image: uint8 array `(height, width, 3)`.
        arguments: What `edit` takes after the images.
        label: Choice of the menu of classes.
        number: Number of variants.
        temperature: As for `generate`.
        seed: As for `generate`.

    Returns:
        List of pairs of an image and its caption.
    """
    (drawn,) = edit(
        image[None],
        *arguments,
        labels=labels_of(label, 1),
        num_variants=number,
        temperature=temperature,
        seed=seed,
    )
    captions = ["original", *(f"variant {i + 1}" for i in range(number))]
    return [
        (photos.enlarged(picture), caption)
        for picture, caption in zip([image, *drawn], captions, strict=True)
    ]
