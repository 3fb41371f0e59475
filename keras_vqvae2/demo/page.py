"""The page: a tab for each thing that a model can do."""

from keras_vqvae2.backend.lazy_module import LazyModule
from keras_vqvae2.demo.choices import find_choices
from keras_vqvae2.demo.edit_tab import add_edit_tab
from keras_vqvae2.demo.generate_tab import add_generate_tab
from keras_vqvae2.demo.reconstruct_tab import add_reconstruct_tab
from keras_vqvae2.demo.surprise_tab import add_surprise_tab

gr = LazyModule("gradio")

# By title: the tab, and whether its models need priors.
_TABS = {
    "Reconstruct": (add_reconstruct_tab, False),
    "Generate": (add_generate_tab, True),
    "Edit": (add_edit_tab, True),
    "Surprise": (add_surprise_tab, True),
}
# Seconds: how often files of the page are looked at, and their age at which
# they are deleted. When the server stops, all are.
_DELETE_CACHE = (600, 3600)


def build_page(models=None):
    """The page, as a `gradio.Blocks`; see `serve`.

    Args:
        models: Presets, folders or Hub repositories to choose from; None
            takes those that came with the package.

    Returns:
        `gradio.Blocks`.

    Raises:
        ValueError: If there is no such model, or one is not of RGB images.
        OSError: If a model cannot be read.
        ImportError: If Gradio is not installed.
    """
    choices = find_choices(models)
    with_priors = {n: c for n, c in choices.items() if c.image_size}
    with gr.Blocks(
        title="keras-vqvae2",
        analytics_enabled=False,
        delete_cache=_DELETE_CACHE,
    ) as page:
        gr.Markdown(
            "# keras-vqvae2\nImages to hierarchical codes and back, with "
            "VQ-VAE-2. Photos stay on the machine that serves this page, and "
            "are deleted from it within two hours."
        )
        for title, (add_tab, needs_priors) in _TABS.items():
            with gr.Tab(title):
                chosen = with_priors if needs_priors else choices
                if chosen:
                    add_tab(chosen)
                else:
                    gr.Markdown("This needs a model with priors.")
    return page.queue(max_size=32)
