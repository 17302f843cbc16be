"""A package whose public names are imported when they are first used."""

import importlib
import sys
import types
from collections.abc import Mapping


def open_door(package: str, places: Mapping[str, tuple[str, str]]) -> None:
    """Make a package show the names in `places`, and import each when it is first used.

    Parameters
    ----------
    package : str
        Name of the package, which is being imported.
    places : mapping of public name to (module, name)
        Module relative to the package, and what the thing is called there.
    """

    class Door(types.ModuleType):
        def __getattr__(self, name: str):
            if name not in places:
                raise AttributeError(f"module '{package}' has no attribute '{name}'")
            module, inside = places[name]
            value = getattr(importlib.import_module(module, package), inside)
            setattr(self, name, value)
            return value

        def __setattr__(self, name: str, value: object) -> None:
            # Importing the module `jobs.train` would put it in the place of the function.
            if not (name in places and isinstance(value, types.ModuleType)):
                super().__setattr__(name, value)

        def __dir__(self) -> list[str]:
            return [*places, "__version__"] if hasattr(self, "__version__") else list(places)

    sys.modules[package].__class__ = Door
