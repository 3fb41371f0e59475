import importlib


class LazyModule:
    """A module that is imported when it is first used.

    For libraries that are heavy or optional: `tf = LazyModule("tensorflow")`
    at the top of a file costs nothing where no function of it runs.

    Args:
        name: Name of the module.
    """

    def __init__(self, name):
        self._name = name

    def __getattr__(self, attribute):
        return getattr(importlib.import_module(self._name), attribute)
