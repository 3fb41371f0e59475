"""Downloads that say what they wait for, and end."""

import concurrent.futures
import logging
import threading
import time

from keras_vqvae2.backend.lazy_module import LazyModule

huggingface_hub = LazyModule("huggingface_hub")
constants = LazyModule("huggingface_hub.constants")
utils = LazyModule("huggingface_hub.utils")

_SAY_AFTER = 5.0  # seconds
# The client waits 10 seconds and tries again, but starts anew with each byte.
_ANSWER_WITHIN = 60.0
_LEAST_RATE = 10_000  # bytes in a second

_logger = logging.getLogger(__name__)


def download(repo_id, name, **options):
    """As `huggingface_hub.hf_hub_download`, but bounded.

    Args:
        repo_id: As for `huggingface_hub.hf_hub_download`.
        name: Name of the file.
        **options: As for `huggingface_hub.hf_hub_download`.

    Returns:
        Path of the file, a string.

    Raises:
        ConnectionError: If the Hub does not answer within a minute, or sends
            less than 10 kB a second.
    """
    size = 0

    class Progress(utils.tqdm):
        def __init__(self, *args, **kwargs):
            nonlocal size
            size = kwargs.get("total") or 0
            super().__init__(*args, **kwargs)

    future = concurrent.futures.Future()

    def run():
        try:
            path = huggingface_hub.hf_hub_download(
                repo_id, name, tqdm_class=Progress, **options
            )
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(path)

    # What has been given up must not keep the program from ending.
    threading.Thread(target=run, daemon=True).start()
    start = time.monotonic()
    where = f"{constants.ENDPOINT} for {name} of {repo_id}"
    said = False
    while True:
        left = start + _ANSWER_WITHIN + size / _LEAST_RATE - time.monotonic()
        if left <= 0:
            raise ConnectionError(
                f"Waited {time.monotonic() - start:.0f} seconds for {where}: "
                "it does not answer, or is far too slow. Check the connection, "
                "proxy and HF_ENDPOINT, or try later."
            )
        try:
            return future.result(min(left, _SAY_AFTER))
        except TimeoutError:
            if future.done():  # the client's own
                raise
        if not (said or size):  # else there is a progress bar
            _logger.warning("Waiting for %s.", where)
            said = True
