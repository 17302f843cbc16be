"""The features of a task's rows, loaded when a fit wants them."""

import threading
from collections.abc import Sequence
from typing import Any

from ..base import require_finite
from .fit import TaskRows
from .options import TrainOptions
from .targets import labelled_rows
from .task_data import TaskData, load_features


def holds_out(data: TaskData, options: TrainOptions) -> bool:
    """Tell whether the validation split is held out."""
    return options.validation == "holdout" and data.validation.stop > data.validation.start


class TaskFeatures:
    """The features of a task's rows, and what fits share of them; one combination is kept."""

    def __init__(self, data: TaskData, sets: Sequence[Any], options: TrainOptions) -> None:
        self._data, self._sets, self._options = data, sets, options
        self._at: tuple[int, ...] | None = None
        self._found: Any = None
        self._lock = threading.Lock()

    def of(self, positions: tuple[int, ...]) -> TaskRows:
        """Return the rows on some sets side by side."""
        with self._lock:
            if self._at != positions:
                self._at, self._found = None, None
                self._found = self._load([self._sets[place] for place in positions])
                self._at = positions
            return self._found

    def _load(self, sets: Sequence[Any]) -> TaskRows:
        data, options = self._data, self._options
        widths = tuple(int(one.width) for one in sets)
        known = load_features(sets, data.keys(data.labelled))
        require_finite(known)
        own = None
        if holds_out(data, options):
            own = labelled_rows(data, data.train, known[data.train], widths, options)
        rows = labelled_rows(data, data.labelled, known, widths, options)
        return TaskRows(rows, load_features(sets, data.keys(data.test)), own)
