"""The demo page in a real browser: Chromium and its driver, headless."""

import importlib.util
import io
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import keras
import numpy as np
import pytest
from PIL import Image
from tiny_models import make_model

import keras_vqvae2
from keras_vqvae2.demo.server import MAX_MEGABYTES

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
MISSING = [
    name
    for name, there in (
        ("gradio", importlib.util.find_spec("gradio")),
        ("selenium", importlib.util.find_spec("selenium")),
        ("chromium", CHROMIUM),
        ("chromedriver", DRIVER),
    )
    if not there
]
pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}"),
]
SECONDS = 120
ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny model of 8x8 images, saved and loaded."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_model(class_dropout=0.1).save_pretrained(folder)
    return folder, keras_vqvae2.from_pretrained(str(folder)).keep_priors()


@pytest.fixture(scope="module")
def address(model, tmp_path_factory):
    """Address of the page; when its server has ended, nothing is left.

    A process of its own: Gradio leaves event loops open, which are errors
    here.
    """
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    folder = tmp_path_factory.mktemp("server")
    command = ["-m", "keras_vqvae2_cli", "demo", "--model", str(model[0])]
    with subprocess.Popen(
        [sys.executable, *command, "--port", str(port)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            address = f"http://127.0.0.1:{port}/"
            line = server.stdout.readline()
            assert line == f"Open {address} in a browser; Ctrl-C ends it.\n"
            yield address.rstrip("/")
            assert [path for path in folder.rglob("*") if path.is_file()]
            server.send_signal(signal.SIGINT)
            out, err = server.communicate(timeout=SECONDS)
            assert (server.returncode, out) == (130, ""), err
            assert err == "keras-vqvae2: interrupted\n"
            assert not list(folder.iterdir())
        finally:
            server.kill()


class Page:
    """The page in a browser."""

    def __init__(self, driver):
        self.driver = driver

    def find(self, selector, text=None, shown=True):
        """The first element of a selector that is shown, with this text."""

        def look(driver):
            for element in driver.find_elements("css selector", selector):
                there = element.is_displayed() or not shown
                if there and text in (None, element.text):
                    return element
            return None

        return self.until(look)

    def until(self, condition):
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, SECONDS, 0.1).until(condition)

    def click(self, selector, text=None):
        element = self.find(selector, text)
        # Nothing may lie above it, wherever the page is scrolled to.
        self.driver.execute_script("arguments[0].click()", element)

    def open_tab(self, title):
        self.click("button[role=tab]", title)

    def upload(self, path):
        """Gives a file to the first place for one that is shown."""
        self.find("[role=tabpanel] [data-testid=image]").find_element(
            "css selector", "input[type=file]"
        ).send_keys(str(path))

    def images(self, selector, number):
        """Arrays of the images of a selector, when there are so many."""

        def sources(driver):
            found = driver.find_elements("css selector", selector)
            found = [f.get_attribute("src") for f in found if f.is_displayed()]
            return found if len(found) == number else None

        return [read_image(source) for source in self.until(sources)]


def read_image(address):
    with urllib.request.urlopen(address) as answer:
        return np.asarray(Image.open(io.BytesIO(answer.read())).convert("RGB"))


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--window-size=1280,1000",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    folder = tmp_path_factory.mktemp("downloads")
    options.add_experimental_option(
        "prefs", {"download.default_directory": str(folder)}
    )
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.downloads = folder
    yield driver
    driver.quit()


@pytest.fixture
def page(driver, address):
    driver.get_log("performance")  # empties it
    driver.get(address)
    yield Page(driver)
    # Data URIs and the like name no host.
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            assert url.startswith((address, "data:", "blob:")), url


def test_reconstruct(page, model, tmp_path):
    _, vqvae2 = model
    y, x = np.mgrid[:20, :27]
    image = np.stack([9 * x, 12 * y, 5 * (x + y)], -1).astype("uint8")
    Image.fromarray(image).save(tmp_path / "ramp.png")
    page.upload(tmp_path / "ramp.png")
    page.find("img[src$='ramp.png']")
    page.click("button.primary", "Reconstruct")
    (data,) = vqvae2.compress([image])
    codes = page.find("td", f"codes of {model[0]}")
    row = codes.find_element("xpath", "..").text
    assert f"{len(data)} {8 * len(data) / (20 * 27):.3f} " in row
    coarse, fine = page.images(".grid-container img", 2)
    np.testing.assert_array_equal(coarse, vqvae2.decompress([data], 1)[0])
    np.testing.assert_array_equal(fine, vqvae2.decompress([data])[0])
    page.click(".lg", "Download the code file")
    file = page.driver.downloads / "ramp.codes"
    page.until(lambda _: file.exists())
    assert file.read_bytes() == data


def test_generate(page):
    page.open_tab("Generate")
    label = page.find("input[aria-label=Class]")
    label.clear()
    label.send_keys("2\n")
    page.click("button.primary", "Generate")
    images = page.images(".grid-container img", 4)
    assert all(image.shape == (256, 256, 3) for image in images)
    assert len({image.tobytes() for image in images}) > 1


def test_edit(page, tmp_path):
    from selenium.webdriver.common.action_chains import ActionChains

    page.open_tab("Edit")
    Image.new("RGB", (64, 64), (0, 160, 80)).save(tmp_path / "green.png")
    page.click("button.primary", "Draw the hole anew")
    assert "Drop an image first" in page.find("[data-testid=toast-text]").text
    field = "[aria-label='Click to upload or drop files'] > input[type=file]"
    page.find(field, shown=False).send_keys(str(tmp_path / "green.png"))
    page.find("[aria-label='Zoom in']:not([disabled])")
    page.click("[aria-label='Brush']")
    canvas = page.find("canvas")
    ActionChains(page.driver).move_to_element(
        canvas
    ).click_and_hold().move_by_offset(9, 9).release().perform()
    page.click("button.primary", "Draw the hole anew")
    original, *variants = page.images(".grid-container img", 5)
    assert (original == (0, 160, 80)).all()
    assert all((variant != original).any() for variant in variants)


def test_surprise(page, tmp_path):
    page.open_tab("Surprise")
    Image.new("RGB", (64, 48), (0, 160, 80)).save(tmp_path / "green.png")
    page.upload(tmp_path / "green.png")
    page.find("img[src$='green.png']")
    page.click("button.primary", "Show what surprises")
    image, *maps = page.images(".grid-container img", 3)
    assert (image == (0, 160, 80)).all()
    assert all(level.shape == (256, 256, 3) for level in maps)


def test_errors_are_messages_of_one_line(page, tmp_path):
    page.click("button.primary", "Reconstruct")
    toast = "[data-testid=toast-text]"
    assert page.find(toast).text == "Choose a photo first."
    page.click("[data-testid=toast-close]")
    page.until(lambda driver: not driver.find_elements("css selector", toast))
    whole = io.BytesIO()
    Image.new("RGB", (64, 64)).save(whole, "PNG")
    cut = pathlib.Path(tmp_path / "<b>cut.png")
    cut.write_bytes(whole.getvalue()[:-20])
    page.upload(cut)
    page.find("img[src*='cut.png']")
    page.click("button.primary", "Reconstruct")
    text = page.find(toast).text
    assert "cut.png could not be read as a JPEG" in text
    assert "\n" not in text and "server" not in text


def test_large_files_are_refused(address):
    boundary = "boundary"
    body = b"\r\n".join(
        (
            b"--boundary",
            b'Content-Disposition: form-data; name="files"; filename="a.png"',
            b"Content-Type: image/png",
            b"",
            bytes(MAX_MEGABYTES * 10**6 + 1),
            b"--boundary--",
            b"",
        )
    )
    request = urllib.request.Request(
        f"{address}/gradio_api/upload",
        body,
        {"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    with refused.value:
        assert refused.value.code == 413
