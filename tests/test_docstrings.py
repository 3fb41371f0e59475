import inspect
import re
import textwrap

import keras
import numpy as np
import pytest
from PIL import Image

import keras_vqvae2
from keras_vqvae2.hub import bundled_weights

MODULES = [
    keras_vqvae2,
    *(
        getattr(keras_vqvae2, name)
        for name in keras_vqvae2.__all__
        if inspect.ismodule(getattr(keras_vqvae2, name))
    ),
]


def public_things():
    """Public functions, classes and their methods, by name."""
    things = {}
    for module in MODULES:
        names = getattr(module, "__all__", None) or [
            name
            for name, value in vars(module).items()
            if getattr(value, "__module__", None) == module.__name__
            and not name.startswith("_")
        ]
        for name in names:
            thing = getattr(module, name)
            if inspect.ismodule(thing) or name == "BackendStep":
                continue
            things[name] = thing
            if inspect.isclass(thing):
                things |= {
                    f"{name}.{method}": value
                    for base in reversed(thing.__mro__)
                    if base.__module__.startswith("keras_vqvae2")
                    for method, value in vars(base).items()
                    if not method.startswith("_") and callable(value)
                }
    return things


PUBLIC = public_things()


def example(thing):
    """Code of the Example of a docstring, or None."""
    match = re.search(
        r"Example:\n\n```python\n(.*?)```",
        inspect.getdoc(thing) or "",
        re.DOTALL,
    )
    return match and textwrap.dedent(match[1])


@pytest.fixture
def photos(tmp_path):
    """A folder of two classes of photographs."""
    generator = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(2):
            pixels = generator.integers(0, 256, (96, 128, 3), "uint8")
            path = tmp_path / "photos" / name / f"{i}.png"
            Image.fromarray(pixels).save(path)
    return tmp_path / "photos"


@pytest.mark.parametrize(
    "name", sorted(name for name in PUBLIC if example(PUBLIC[name]))
)
def test_example_runs(name, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    preset = re.search(
        r'from_pretrained\("(vqvae2-.*?)"', example(PUBLIC[name])
    )
    if preset and preset[1] not in bundled_weights():
        pytest.skip(f"no weights of {preset[1]} lie in this checkout")
    namespace = {
        "np": np,
        "keras": keras,
        "keras_vqvae2": keras_vqvae2,
        "folder": tmp_path,
        "photos": photos,
    }
    if re.search(r"\btf\.|keras_vqvae2\.data\.", example(PUBLIC[name])):
        namespace["tf"] = pytest.importorskip("tensorflow")
    if "vqvae_560.pt" in example(PUBLIC[name]):
        torch = pytest.importorskip("torch")
        from torch_vqvae import TorchVQVAE

        state = TorchVQVAE(inplace=True).state_dict()
        torch.save(state, tmp_path / "vqvae_560.pt")
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
