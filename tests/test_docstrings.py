import inspect
import re
import textwrap

import keras
import numpy as np
import pytest

import keras_vqvae2
from keras_vqvae2.hub import bundled_weights

PUBLIC = {
    name: getattr(module, name)
    for module in (
        keras_vqvae2,
        keras_vqvae2.layers,
        keras_vqvae2.training,
        keras_vqvae2.evaluation,
    )
    for name in module.__all__
    if not inspect.ismodule(getattr(module, name)) and name != "BackendStep"
}


def example(thing):
    """Code of the Example of a docstring, or None."""
    match = re.search(
        r"Example:\n\n```python\n(.*?)```", inspect.getdoc(thing), re.DOTALL
    )
    return match and textwrap.dedent(match[1])


@pytest.mark.parametrize(
    "name", sorted(name for name in PUBLIC if example(PUBLIC[name]))
)
def test_example_runs(name, tmp_path):
    preset = re.search(r'from_pretrained\("(.*?)"', example(PUBLIC[name]))
    if preset and preset[1] not in bundled_weights():
        pytest.skip(f"no weights of {preset[1]} lie in this checkout")
    namespace = {
        "np": np,
        "keras": keras,
        "keras_vqvae2": keras_vqvae2,
        "folder": tmp_path,
    }
    if "tf." in example(PUBLIC[name]):
        namespace["tf"] = pytest.importorskip("tensorflow")
    exec(example(PUBLIC[name]), namespace)


@pytest.mark.parametrize(
    "name", ["HierarchicalVQVAE", "VQVAE2", *keras_vqvae2.layers.__all__]
)
def test_docstring_has_its_sections(name):
    docstring = inspect.getdoc(PUBLIC[name])
    assert example(PUBLIC[name])
    for section in ("Args", "Raises"):
        assert f"\n{section}:\n" in docstring
    arguments = inspect.signature(PUBLIC[name]).parameters
    for argument in arguments:
        if argument != "kwargs":
            assert re.search(rf"^    {argument}: ", docstring, re.MULTILINE)
