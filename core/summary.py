"""How results show themselves: a line for each field, which fits a terminal or a notebook."""

import dataclasses
import reprlib

import numpy as np

_WIDTH = 88


class _Short(reprlib.Repr):
    def __init__(self):
        super().__init__()
        self.maxlevel = self.maxlist = self.maxtuple = self.maxdict = 2
        self.maxstring = self.maxother = 60

    def repr_instance(self, x, level):
        if isinstance(x, np.ndarray):
            return f"array of shape {x.shape}, {x.dtype}"
        if dataclasses.is_dataclass(x):
            return f"{type(x).__name__}(...)"
        return super().repr_instance(x, level)


_SHORT = _Short()


def summary(result) -> str:
    """Return what `repr` shows of a dataclass of any size: assign it to ``__repr__``."""
    lines = [
        f"{field.name}: {_line(getattr(result, field.name), _WIDTH - len(field.name) - 4)}"
        for field in dataclasses.fields(result)
    ]
    return "\n  ".join([type(result).__name__, *lines])


def _line(value: object, width: int) -> str:
    text = _SHORT.repr(value)
    if isinstance(value, list | tuple | dict) and len(value) > 2:
        text = f"{len(value)}: {text}"
    return text if len(text) <= width else text[: width - 3] + "..."
