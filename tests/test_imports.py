"""Imports of the package go one way."""

import ast
import graphlib
import pathlib

import pytest

import keras_vqvae2

PACKAGE = pathlib.Path(keras_vqvae2.__file__).parent
# As in CONTRIBUTING.md: a module imports from its own line or one above it.
ORDER = (
    "registration",
    "levels",
    "arguments",
    "training_options",
    "images",
    "files",
    "arrays",
    "interrupts",
    "cores",
    "weights",
    "backend",
    "layers",
    "training",
    "hub",
    "models",
    "data",
    "sampling",
    "codec",
    "visualization",
    "tiles",
    "code_search",
    "compression",
    "generation",
    "editing",
    "surprise",
    "anomalies",
    "export",
    "vqvae2",
    "pytorch_import",
    "recipes",
    "evaluation",
    "demo",
    "cli",
)
FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imported(path):
    """Modules of the package that a file imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            root, _, module = node.module.partition(".")
            if root == "keras_vqvae2":
                for alias in node.names:
                    inner = f"{module}.{alias.name}".strip(".")
                    yield node, inner if inner in FILES else module
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("keras_vqvae2."):
                    yield node, alias.name.partition(".")[2]


def test_every_room_has_its_place():
    rooms = {name.partition(".")[0] for name in FILES}
    rooms -= {"__init__", "__main__"}
    assert rooms == set(ORDER)


@pytest.mark.parametrize("name", sorted(set(FILES) - {"__init__", "__main__"}))
def test_imports_go_one_way(name):
    here = ORDER.index(name.partition(".")[0])
    for node, module in imported(FILES[name]):
        where = f"line {node.lineno} of {name}"
        assert node.col_offset == 0, f"{where} imports inside a function"
        if module:  # else the package itself, for its version
            assert ORDER.index(module.partition(".")[0]) <= here, where


def test_no_circle():
    graph = {}
    for name, path in FILES.items():
        graph[name] = {
            module if module in FILES else f"{module}.__init__"
            for _, module in imported(path)
            if module
        } - {name}
    # Raises CycleError.
    list(graphlib.TopologicalSorter(graph).static_order())


def test_contributing_names_this_order():
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text("utf-8")
    listed = ", ".join(f"`{name}`" for name in ORDER)
    assert listed in " ".join(text.split())
