"""The live line of training, as it looks in a terminal of 80 columns."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from icecore.cli import progress
from icecore.cli.progress import train_bar
from icecore.features.extraction.progress import Progress
from icecore.heads import TrainEvent


def shown(event) -> str:
    """What is seen on a terminal of 80 columns."""
    ordinary = {"TERM": "xterm"}  # rich shows nothing that moves on a dumb terminal
    terminal = Console(
        file=io.StringIO(), width=80, force_terminal=True, color_system=None, _environ=ordinary
    )
    with train_bar(console=terminal) as update:
        update(event)
    return terminal.file.getvalue()


def test_it_says_what_is_tried_and_the_best_so_far():
    event = TrainEvent("sleeve", "mlp-all", 1, 4, "settings", 12, 34, 0.27123)
    text = shown(event)
    assert "1/4" in text
    assert "sleeve mlp-all: settings, 12 of 34, best log-loss 0.2712" in text
    assert "sleeve mlp-all: folds, 5" in shown(TrainEvent("sleeve", "mlp-all", 1, 4, "folds", 0, 5))
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    assert all(len(line) <= 80 for line in re.split(r"[\r\n]", plain))


def test_an_interrupted_bar_says_how_far_it_came(monkeypatch, capsys):
    ordinary = {"TERM": "xterm"}
    terminal = Console(file=io.StringIO(), force_terminal=True, _environ=ordinary)
    monkeypatch.setattr(progress, "is_watched", lambda: True)
    monkeypatch.setattr(progress, "terminal", lambda: terminal)

    def interrupt(*looks):
        with pytest.raises(KeyboardInterrupt), progress.extract_bar() as bars:
            for look in looks:
                bars.on_images(look)
            raise KeyboardInterrupt
        return capsys.readouterr().err

    assert interrupt() == ""
    look = Progress(736, 740, 900, 0, 20.0, 8.0, 0.1, 0.9)
    assert interrupt(look) == "736 of 900 images are done\n"


def test_a_bar_says_which_network_is_tried_until_images_come(monkeypatch):
    """A large one is proved for minutes."""
    terminal = Console(
        file=io.StringIO(), width=80, force_terminal=True, _environ={"TERM": "xterm"}
    )
    monkeypatch.setattr(progress, "is_watched", lambda: True)
    monkeypatch.setattr(progress, "terminal", lambda: terminal)
    with progress.extract_bar() as bars:
        bars.on_network("onnx:large.onnx", "openvino")
        bars._bar.refresh()
        assert "onnx:large.onnx on openvino" in terminal.file.getvalue()
        bars.on_images(Progress(736, 740, 900, 0, 20.0, 8.0, 0.1, 0.9))
        terminal.file.truncate(0)
        bars._bar.refresh()
    assert "large.onnx" not in terminal.file.getvalue()
    assert "736/900" in terminal.file.getvalue()


@pytest.mark.parametrize("width", [20, 40, 60, 80])
def test_the_count_stays_where_the_terminal_is_narrow(width):
    ordinary = {"TERM": "xterm"}
    terminal = Console(
        file=io.StringIO(), width=width, force_terminal=True, color_system=None, _environ=ordinary
    )
    with train_bar(console=terminal) as update:
        update(TrainEvent("label", "logistic-efficientnet_lite0", 12736, 100000, "folds", 0, 5))
    assert "12736/100000" in terminal.file.getvalue()


def test_a_pipe_gets_a_line_with_the_time_now_and_then(monkeypatch, capsys):
    pipe, event = Console(file=io.StringIO(), width=80), TrainEvent("label", "mlp-all", 1, 3, "fit")
    with train_bar(console=pipe) as update:
        update(event)
        assert capsys.readouterr().err == ""
        monkeypatch.setattr(progress._Log, "SECONDS_BETWEEN", 0.0)
        update(event)
    shown = capsys.readouterr().err
    assert re.fullmatch(r"\d{4}-\d\d-\d\d [\d:]{8} 1/3 heads, label mlp-all: fit\n", shown)
    assert pipe.file.getvalue() == ""


def test_a_quiet_training_says_nothing(monkeypatch, capsys):
    monkeypatch.setattr(progress._Log, "SECONDS_BETWEEN", 0.0)
    with train_bar(quiet=True) as update:
        update(TrainEvent("label", "mlp-all", 1, 3, "fit"))
    assert capsys.readouterr().err == ""
