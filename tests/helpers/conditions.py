"""Draw the conditions of a test run anew: order, width of the terminal, length of paths.

A suite that passes under one set of conditions may depend on it without anyone's notice. With
``-p conditions`` each run draws its own from a seed, which it prints; ``--conditions SEED`` runs
them again.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest

SHORTEST, LONGEST = 10, 150


def pytest_addoption(parser) -> None:
    parser.addoption("--conditions", type=int, metavar="SEED", help="Seed of the conditions.")


def pytest_configure(config) -> None:
    # A process that another one gave its part of the tests has the conditions of all.
    seed = getattr(config, "workerinput", {}).get("conditions", config.getoption("--conditions"))
    if seed is None:
        seed = random.SystemRandom().randrange(10**6)
    draw = random.Random(seed)
    config.icecore_conditions = seed
    width = draw.choice([None, 20, 40, 80, 200])
    if width is None:
        os.environ.pop("COLUMNS", None)
    else:
        os.environ["COLUMNS"] = str(width)
    if config.option.basetemp is None:
        config.option.basetemp = folder_of_length(draw.randint(SHORTEST, LONGEST))
        config.icecore_folder = config.option.basetemp
    config.icecore_text = (
        f"conditions: seed {seed} (--conditions {seed} runs them again), COLUMNS={width}, "
        f"paths of {len(str(config.option.basetemp))} characters"
    )


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node) -> None:
    """Tell a process of pytest-xdist the seed."""
    node.workerinput["conditions"] = node.config.icecore_conditions


def folder_of_length(length: int) -> Path:
    """Make a folder whose path has about `length` characters."""
    root = Path(tempfile.mkdtemp(prefix="p", dir=tempfile.gettempdir()))
    spare = length - len(str(root)) - 1
    return root / ("x" * spare) if spare > 0 else root


def pytest_report_header(config) -> str:
    return config.icecore_text


def pytest_terminal_summary(terminalreporter, config) -> None:
    terminalreporter.write_line(config.icecore_text)


def pytest_collection_modifyitems(config, items) -> None:
    """Shuffle the modules, and the tests in each: fixtures of a module are made once still."""
    draw = random.Random(config.icecore_conditions)
    modules: dict[str, list] = {}
    for item in items:
        modules.setdefault(item.nodeid.partition("::")[0], []).append(item)
    parts = list(modules.values())
    draw.shuffle(parts)
    for part in parts:
        draw.shuffle(part)
    items[:] = [item for part in parts for item in part]


def pytest_unconfigure(config) -> None:
    folder = getattr(config, "icecore_folder", None)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
