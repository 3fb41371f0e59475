"""Serves the page to a browser."""

import contextlib
import importlib.util
import os
import socket
import tempfile
import threading

from PIL import Image

from keras_vqvae2.backend.lazy_module import LazyModule
from keras_vqvae2.demo.page import build_page

gr = LazyModule("gradio")

HOST, PORT = "127.0.0.1", 7860
MAX_MEGABYTES = 20
# Pillow refuses images of twice as many pixels before it decodes them.
_MAX_PIXELS = 25_000_000


def serve(models=None, host=HOST, port=PORT):
    """Serves the page until Ctrl-C; arguments and errors as for `served`."""
    with served(models, host, port) as address:
        print(f"Open {address} in a browser; Ctrl-C ends it.", flush=True)
        threading.Event().wait()


@contextlib.contextmanager
def served(models=None, host=HOST, port=PORT):
    """Scope in which the page is served.

    Nothing is sent to others, no fonts are fetched, uploads have at most 20
    MB and 50 megapixels, and all files of the page are deleted at the end.

    Args:
        models: As for `build_page`.
        host: Address to listen at: `"127.0.0.1"` is for browsers of this
            machine alone, `"0.0.0.0"` for all that can reach it. None takes
            what the environment variable `GRADIO_SERVER_NAME` says, as a
            Hugging Face Space sets it.
        port: Port to listen at, None for `GRADIO_SERVER_PORT`.

    Yields:
        The page's address.

    Raises:
        ImportError: If Gradio is not installed.
        OSError: If it cannot listen there, or a model cannot be read.
        ValueError: If there is no such model, or one is not of RGB images.
    """
    if importlib.util.find_spec("gradio") is None:
        raise ImportError(
            "The demo needs Gradio: pip install 'keras-vqvae2[demo]'."
        )
    host = host or os.environ.get("GRADIO_SERVER_NAME") or HOST
    port = port or int(os.environ.get("GRADIO_SERVER_PORT") or PORT)
    _check_free(host, port)
    with tempfile.TemporaryDirectory() as folder, _environment(folder):
        page = build_page(models)
        try:
            page.launch(
                server_name=host,
                server_port=port,
                max_file_size=MAX_MEGABYTES * 10**6,
                theme=gr.themes.Default(
                    font=("system-ui", "sans-serif"),
                    font_mono=("ui-monospace", "monospace"),
                ),
                share=False,
                ssr_mode=False,
                pwa=False,
                mcp_server=False,
                run_history=False,
                enable_monitoring=False,
                footer_links=[],
                quiet=True,
                prevent_thread_lock=True,
            )
            yield page.local_url
        finally:
            page.close(verbose=False)


def _check_free(host, port):
    """Raises OSError unless one can listen there; Gradio's text is long."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            place.bind((host, port))
        except (OSError, OverflowError) as error:
            raise OSError(
                f"Cannot listen at {host}, port {port} "
                f"({getattr(error, 'strerror', None) or error}): name another "
                "`host` or `port`."
            ) from error


@contextlib.contextmanager
def _environment(folder):
    """What Gradio and Pillow must know, and what was so before."""
    settings = {
        # Before Gradio is imported: it would say at once that it was.
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "GRADIO_TEMP_DIR": folder,
    }
    before = {name: os.environ.get(name) for name in settings}
    max_pixels = Image.MAX_IMAGE_PIXELS
    os.environ.update(settings)
    Image.MAX_IMAGE_PIXELS = _MAX_PIXELS
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = max_pixels
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
