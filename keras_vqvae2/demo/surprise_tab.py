"""Tab "Surprise": where an image is unlikely under the priors."""

import math

from keras_vqvae2.backend.lazy_module import LazyModule
from keras_vqvae2.demo import photos
from keras_vqvae2.demo.widgets import class_menu
from keras_vqvae2.demo.widgets import labels_of
from keras_vqvae2.demo.widgets import loaded
from keras_vqvae2.demo.widgets import model_menu
from keras_vqvae2.demo.widgets import on
from keras_vqvae2.demo.widgets import photo_input
from keras_vqvae2.demo.widgets import picture_gallery
from keras_vqvae2.visualization import heat_map

gr = LazyModule("gradio")


def add_surprise_tab(choices):
    """Adds the tab for the models of `find_choices` that have priors."""
    with gr.Row():
        with gr.Column(scale=1):
            photo = photo_input()
            model = model_menu(choices)
            label = class_menu(next(iter(choices.values())))
            start = gr.Button("Show what surprises", variant="primary")
        with gr.Column(scale=2):
            text = gr.Markdown()
            maps = picture_gallery("The image, and the bits of its codes", 3)

    def run(path, name, label, progress=gr.Progress()):  # noqa: B008
        if path is None:
            raise ValueError("Choose a photo first.")
        image = photos.load_photo(path)
        image = photos.center(image, choices[name].image_size)
        vqvae2 = loaded(name, progress)
        progress(0.3, desc="Reading the codes")
        return surprise(vqvae2, image, label)

    on(model.change, lambda name: class_menu(choices[name]), model, label)
    on(start.click, run, [photo, model, label], [text, maps])


def surprise(model, image, label):
    """What surprises the priors of a model in an image.

    Args:
        model: `VQVAE2`.
        image: uint8 array `(height, width, 3)`.
        label: Choice of the menu of classes.

    Returns:
        Text in Markdown, and a list of pairs of an image and its caption.
    """
    found = model.surprise(image[None], labels_of(label, 1))
    # From black to the brightest: half as much again as codes of no prior.
    high = 1.5 * math.log2(model.vqvae.num_embeddings)
    pictures = [(photos.enlarged(image), "the image")]
    for name, (bits,) in zip(model.vqvae.level_names, found.maps, strict=True):
        caption = f"{name}: {bits.mean():.1f} bits per code"
        pictures.append((photos.enlarged(heat_map(bits, high)), caption))
    height, width = image.shape[:2]
    text = (
        f"{width}x{height} pixels: **{found.scores[0]:.3f} bits per pixel**, "
        f"{found.excess_scores[0]:+.3f} beyond what the priors expected. "
        "Bright codes are unlikely, given those before them, row by row."
    )
    return text, pictures
