"""Tab "Generate": new images."""

from keras_vqvae2.backend.lazy_module import LazyModule
from keras_vqvae2.demo.photos import enlarged
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

_MAX_IMAGES = 16


def add_generate_tab(choices):
    """Adds the tab for the models of `find_choices` that have priors."""
    first = next(iter(choices.values()))
    with gr.Row():
        with gr.Column(scale=1):
            model = model_menu(choices)
            label = class_menu(first)
            number = gr.Slider(1, _MAX_IMAGES, 4, step=1, label="Images")
            guidance = _guidance_slider(first)
            temperature = temperature_slider()
            seed = seed_input()
            start = gr.Button("Generate", variant="primary")
        with gr.Column(scale=2):
            images = picture_gallery("New images")

    def run(
        name,
        label,
        number,
        guidance,
        temperature,
        seed,
        progress=gr.Progress(),  # noqa: B008
    ):
        return draw(
            loaded(name, progress),
            label,
            number,
            guidance,
            temperature,
            seed,
            shown_rows(progress),
        )

    on(
        model.change,
        lambda name: (
            class_menu(choices[name]),
            _guidance_slider(choices[name]),
        ),
        model,
        [label, guidance],
    )
    on(
        start.click,
        run,
        [model, label, number, guidance, temperature, seed],
        images,
    )


def draw(model, label, number, guidance, temperature, seed, on_row=None):
    """New images for people to look at: those of `VQVAE2.generate`, larger.

    Raises:
        ValueError: If there is guidance without a class.
    """
    labels = labels_of(label, number)
    if labels is None and guidance != 1:
        raise ValueError("Guidance is towards a class: choose one.")
    images = model.generate(
        number,
        labels,
        guidance_scale=guidance,
        temperature=temperature,
        seed=seed,
        on_row=on_row,
    )
    return [enlarged(image) for image in images]


def _guidance_slider(choice):
    return gr.Slider(
        1,
        4,
        1,
        step=0.5,
        label="Guidance",
        info="Above 1: more typical of the class, less varied",
        interactive=choice.can_be_guided,
    )
