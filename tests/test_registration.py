"""`import keras_vqvae2` is enough for Keras, and for an editor."""

import ast
import pathlib
import re
import subprocess
import sys

import keras
import pytest
from tiny_models import make_vqvae

import keras_vqvae2
from keras_vqvae2 import registration

PACKAGE = pathlib.Path(keras_vqvae2.__file__).parent


def test_every_registered_class_has_a_stand_in():
    found = {}
    for path in PACKAGE.rglob("*.py"):
        for name in re.findall(
            r'^@keras.*serializable\("keras_vqvae2"\)\nclass (\w+)',
            path.read_text("utf-8"),
            re.MULTILINE,
        ):
            found[name] = path
    assert set(found) == set(registration.MODULE_OF)
    for name in found:
        stand_in = registration._StandIn(name)
        registered = keras.saving.get_registered_object(f"keras_vqvae2>{name}")
        if not isinstance(registered, registration._StandIn):
            assert stand_in.load() is registered


def test_a_stand_in_loads_a_model(tmp_path, monkeypatch):
    make_vqvae().save(tmp_path / "model.keras")
    table = keras.saving.get_custom_objects()
    for name in registration.MODULE_OF:
        registered = f"keras_vqvae2>{name}"
        monkeypatch.setitem(table, registered, registration._StandIn(name))
    model = keras.models.load_model(tmp_path / "model.keras", compile=False)
    assert type(model) is keras_vqvae2.HierarchicalVQVAE


@pytest.mark.once
def test_load_model_after_nothing_but_the_import(tmp_path):
    """Before Keras is, and no other module of ours."""
    path = tmp_path / "model.keras"
    make_vqvae().save(path)
    code = (
        "import sys, keras_vqvae2, keras\n"
        "assert 'keras_vqvae2.models' not in sys.modules\n"
        f"model = keras.models.load_model({str(path)!r})\n"
        "assert type(model) is keras_vqvae2.HierarchicalVQVAE\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.once
def test_the_import_is_light_and_says_nothing():
    code = (
        "import sys, keras_vqvae2\n"
        "assert 'VQVAE2' in dir(keras_vqvae2)\n"
        "assert not {'keras', 'numpy'} & set(sys.modules)\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.once
def test_editors_see_what_is_public():
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    seen = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        for alias in node.names
    }
    assert sorted(seen) == keras_vqvae2.__all__
    for name, module in seen.items():
        if module != "keras_vqvae2":
            thing = getattr(keras_vqvae2, name)  # which loads the module
            assert thing is getattr(sys.modules[module], name)
    assert (PACKAGE / "py.typed").is_file()
