"""The house: rooms import what the table allows, and a stranger finds each thing at its place."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from repository import ROOT

pytest.importorskip("importlinter")

NOT_PRODUCT = ("tests", "benchmarks", "examples", "tools", "docs", "build", "dist")
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 55


def product() -> list[Path]:
    """Every module of the package, whatever else lies in the checkout."""
    rooms = [
        folder
        for folder in ROOT.iterdir()
        if (folder / "__init__.py").exists() and folder.name not in NOT_PRODUCT
    ]
    return [*ROOT.glob("__*__.py"), *sorted(p for room in rooms for p in room.rglob("*.py"))]


MODULES = product()
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}


def test_rooms_import_what_the_table_allows():
    script = (
        "import sys; from importlinter.cli import lint_imports\n"
        f"sys.exit(lint_imports({str(ROOT / 'pyproject.toml')!r}, no_cache=True))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_package_is_declared():

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"][
        "packages"
    ]
    found = {
        ".".join(("icecore", *path.parent.relative_to(ROOT).parts))
        for path in MODULES
        if path.name == "__init__.py"
    }
    assert set(declared) == found


def test_the_page_on_architecture_names_every_room_and_wing():
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    folders = {path.parent.relative_to(ROOT) for path in MODULES if path.name == "__init__.py"}
    named = [folder for folder in folders if 1 <= len(folder.parts) <= 2]
    assert not [str(folder) for folder in named if f"`{folder.name}/`" not in page]


def test_no_code_lies_at_the_top():
    assert {path.name for path in ROOT.glob("*.py")} == {"__init__.py", "__main__.py"}


def test_modules_are_short():
    long = {
        str(path.relative_to(ROOT)): count
        for path in MODULES
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > MOST_LINES
    }
    assert not long


def test_functions_fit_on_a_screen():
    """Docstrings apart."""
    long = []
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                start = node.body[0].end_lineno if ast.get_docstring(node) else node.lineno
                if node.end_lineno - start > MOST_LINES_OF_A_FUNCTION:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert not long


def test_private_names_stay_in_their_module():
    assert not [
        f"{path.relative_to(ROOT)}:{node.lineno} {alias.name}"
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level > 0
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    ]


def imports_in_functions(path: Path) -> list[str]:
    """Imports that hide in a function, except others' packages in load_*()."""
    return [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for function in ast.walk(TREES[path])
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
        and (getattr(node, "level", 0) > 0 or not function.name.startswith("load_"))
    ]


def test_no_import_hides_in_a_function():
    """Except in the commands, whose help would take a second to appear."""
    assert not [
        place
        for path in MODULES
        if path.relative_to(ROOT).parts[0] != "cli"
        for place in imports_in_functions(path)
    ]


def test_nothing_is_imported_for_types_alone():
    assert not [
        str(path.relative_to(ROOT))
        for path in MODULES
        if "TYPE_CHECKING" in path.read_text(encoding="utf-8")
    ]


def test_only_doors_list_their_names():
    """Elsewhere an underscore says what is private, and what nobody uses is seen."""
    assert not [
        str(path.relative_to(ROOT))
        for path in MODULES
        if path.name != "__init__.py" and "__all__" in path.read_text(encoding="utf-8")
    ]


def test_doors_name_what_they_offer():
    for path in MODULES:
        lazy = "open_door(" in path.read_text(encoding="utf-8")
        if path.name != "__init__.py" or lazy:
            continue
        body = TREES[path].body
        assert ast.get_docstring(TREES[path]), path
        if len(body) > 1:  # the door of a room; a wing has a docstring alone
            names = next(
                ast.literal_eval(node.value)
                for node in body
                if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"
            )
            offered = {
                alias.asname or alias.name
                for node in ast.walk(TREES[path])
                if isinstance(node, ast.ImportFrom) and node.module != "__future__"
                for alias in node.names
            }
            assert set(names) == {one for one in offered if not one.startswith("_")}, path


# Storeys that options pass on their way: jobs, and what they call.
ON_THE_WAY = ("jobs", "features/extraction", "heads/training", "ensemble/blend.py", "runs", "cli")
MOST_PARAMETERS = 6


def test_no_function_on_the_way_of_the_jobs_takes_more_than_six_parameters():
    wide = []
    for path in MODULES:
        place = path.relative_to(ROOT).as_posix()
        if not place.startswith(ON_THE_WAY):
            continue
        for node in ast.walk(TREES[path]):
            if not isinstance(node, ast.FunctionDef) or is_command(node):
                continue
            a = node.args
            names = [arg.arg for arg in a.posonlyargs + a.args + a.kwonlyargs]
            names = [name for name in names if name not in ("self", "cls")]
            if len(names) > MOST_PARAMETERS:
                wide.append(f"{place}:{node.lineno} {node.name} ({len(names)})")
            if a.kwarg is not None:
                wide.append(f"{place}:{node.lineno} {node.name} (**{a.kwarg.arg})")
    assert not wide


def is_command(node: ast.FunctionDef) -> bool:
    """A command gets its options from click, one a parameter, and makes the value of them."""
    return any("command" in ast.unparse(decorator) for decorator in node.decorator_list)
