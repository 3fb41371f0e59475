"""What several tabs of the page have in common."""

import functools
import html

from keras_vqvae2.backend.lazy_module import LazyModule
from keras_vqvae2.demo.choices import load
from keras_vqvae2.files import shown

gr = LazyModule("gradio")

ANY_CLASS = "any"
_MAX_MESSAGE = 500


def on(listen, function, inputs, outputs, **options):
    """Lets an event call a function, with one line for each of its errors.

    One call at a time, for all tabs: each takes all of the machine.
    """
    listen(
        _explained(function),
        inputs,
        outputs,
        concurrency_limit=1,
        concurrency_id="model",
        api_visibility="private",
        **options,
    )


def _explained(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except (MemoryError, OSError, TypeError, ValueError) as error:
            message = shown(" ".join(str(error).split())) or "out of memory"
            message = html.escape(message[:_MAX_MESSAGE])
            raise gr.Error(message, print_exception=False) from error

    return call


def loaded(name, progress):
    """The model of a name; says so, since it may take a while."""
    progress(0, desc="Loading the model")
    return load(name)


def shown_rows(progress):
    """`on_row` of `generate`: shows how far each level is."""

    def on_row(level, done, total):
        progress((done, total), desc=f"Codes of the {level} level", unit="rows")

    return on_row


def model_menu(names):
    """Menu of models, the first one chosen."""
    return gr.Dropdown(list(names), value=next(iter(names)), label="Model")


def photo_input():
    """Place for a photograph: gives the path of the file as it came."""
    return gr.Image(
        # Its formats are this package's own few, see `load_photo`.
        type="filepath",
        image_mode=None,
        sources=["upload", "clipboard"],
        label="Photo (JPEG, PNG or WebP)",
        height=320,
    )


def class_menu(choice):
    """Menu of a model's classes: gives their numbers, or "any"."""
    numbered = enumerate(map(str, choice.classes))
    return gr.Dropdown(
        [ANY_CLASS, *((name, number) for number, name in numbered)],
        value=ANY_CLASS,
        label="Class",
        interactive=bool(choice.classes),
    )


def labels_of(label, number):
    """Argument `labels` for a choice of `class_menu`."""
    return None if label in (ANY_CLASS, None) else [int(label)] * number


def seed_input():
    """A number that fixes what is drawn."""
    return gr.Number(0, label="Seed", precision=0, minimum=0)


def temperature_slider():
    """Temperature of what is drawn."""
    return gr.Slider(
        0.5,
        1.2,
        1.0,
        step=0.05,
        label="Temperature",
        info="Below 1: likelier, less varied",
    )


def picture_gallery(label, columns=4):
    """Place for several images."""
    return gr.Gallery(
        label=label,
        columns=columns,
        format="png",
        object_fit="contain",
        interactive=False,
    )
