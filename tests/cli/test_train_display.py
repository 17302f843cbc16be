"""The live line of training, as it looks in a terminal of 80 columns."""

from __future__ import annotations

import io

from rich.console import Console

from icecore.cli.train_display import TrainDisplay, train_display
from icecore.heads import TrainEvent


def shown(event, width=80) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    display = TrainDisplay()
    display.update(event)
    console.print(display)
    return console.file.getvalue()


def test_it_says_what_is_tried_and_the_best_so_far():
    event = TrainEvent("sleeve", "mlp-all", 1, 4, "settings", 12, 34, 0.27123)
    text = shown(event)
    assert "1/4" in text
    assert "sleeve mlp-all: settings, 12 of 34, best log-loss 0.2712" in text
    assert "sleeve mlp-all: folds, 5" in shown(TrainEvent("sleeve", "mlp-all", 1, 4, "folds", 0, 5))
    assert all(len(line) <= 80 for line in text.splitlines())


def test_nothing_is_shown_in_a_pipe_and_a_terminal_is_left_clean():
    pipe = Console(file=io.StringIO(), width=80)
    with train_display(console=pipe) as update:
        update(TrainEvent("label", "mlp-all", 0, 1, "folds"))
    assert pipe.file.getvalue() == ""
    ordinary = {"TERM": "xterm"}  # rich shows nothing that moves on a dumb terminal
    terminal = Console(file=io.StringIO(), width=80, force_terminal=True, _environ=ordinary)
    with train_display(console=terminal) as update:
        update(TrainEvent("label", "mlp-all", 0, 1, "settings", 1, 2, 0.5))
    assert "0.5000" in terminal.file.getvalue()
