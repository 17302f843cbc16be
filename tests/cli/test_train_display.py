"""The live table of training, as it looks in a terminal of 80 columns."""

from __future__ import annotations

import io

from rich.console import Console

from icecore.cli.train_display import TrainDisplay, train_display
from icecore.heads import MemberProgress, TrainEvent


def shown(event, width=80) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    display = TrainDisplay()
    display.update(event)
    console.print(display)
    return console.file.getvalue()


def test_members_are_shown_with_current_and_best_loss_the_best_first():
    members = (
        MemberProgress("fold 1", 4, 0.41, 0.40, 3),
        MemberProgress("fold 2", 3, 0.39, 0.30, 2, "patience"),
        MemberProgress("fold 3", 4, 0.35, 0.35, 4),
    )
    text = shown(TrainEvent("sleeve", "mlp-all", 1, 4, "3 folds", 4, members))
    lines = [line.split() for line in text.splitlines()]
    assert "1/4" in text
    assert "sleeve mlp-all: 3 folds, epoch 4" in text
    assert lines[1] == ["member", "epoch", "log-loss", "best", "at"]
    assert lines[2] == ["fold", "3", "4", "0.3500", "0.3500", "4"]
    assert lines[3] == ["fold", "1", "4", "0.4100", "0.4000", "3"]
    assert lines[4] == ["fold", "2", "3", "0.3900", "0.3000", "2", "patience"]


def test_a_wide_search_is_cut_and_fits_into_80_columns():
    members = tuple(
        MemberProgress(
            f"width 128, rate 1.0e-03, decay 0.01, dropout 0.5/0, smoothing 0.{i}", 1, i, i, 1
        )
        for i in range(1, 33)
    )
    text = shown(TrainEvent("label", "mlp-all", 0, 4, "search over 32", 1, members))
    assert "and 20 more" in text
    assert "1.0000" in text
    assert "13.0000" not in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_a_head_without_held_out_rows_has_no_losses():
    text = shown(
        TrainEvent("label", "mlp-all", 0, 1, "all rows", 2, (MemberProgress("", 2, None, None, 0),))
    )
    assert "mlp-all" in text.splitlines()[2]
    assert text.splitlines()[2].split()[1:] == ["2", "-", "-", "-"]


def test_nothing_is_shown_in_a_pipe_and_a_terminal_is_left_clean():
    pipe = Console(file=io.StringIO(), width=80)
    with train_display(console=pipe) as update:
        update(TrainEvent("label", "mlp-all", 0, 1, "training", 1))
    assert pipe.file.getvalue() == ""
    terminal = Console(file=io.StringIO(), width=80, force_terminal=True)
    with train_display(console=terminal) as update:
        update(
            TrainEvent(
                "label", "mlp-all", 0, 1, "training", 1, (MemberProgress("", 1, 0.5, 0.5, 1),)
            )
        )
    assert "0.5000" in terminal.file.getvalue()
