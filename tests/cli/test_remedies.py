"""What errors advise can be done: commands, options and packages that they name are there."""

from __future__ import annotations

import ast
import re
import tomllib

import pytest
from repository import ROOT

from icecore.cli.main import cli, main
from icecore.cli.remedies import commands_of, more_memory, options_elsewhere

COMMANDS = dict(commands_of(cli))
OPTIONS = {
    name: {spelt for one in command.params for spelt in (*one.opts, *one.secondary_opts)}
    for name, command in COMMANDS.items()
}
ROOMS = ("auditing", "cache", "cli", "core", "demo", "ensemble", "features", "heads", "jobs")
ROOMS += ("manifest", "pages", "runs")
# Of pip, ray and nvidia-smi; and what click adds to each command.
FOREIGN = {"--force-reinstall", "--head", "--query-gpu", "--format", "--help", "--log"}


def spoken(tree: ast.Module):
    """Yield the texts of a module that are no docstrings; what is put into them is an X."""
    silent: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and node.body:
            silent.add(getattr(node.body[0], "value", node))
        if isinstance(node, ast.JoinedStr):
            silent.update(node.values)
    for node in ast.walk(tree):
        if node in silent:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = (p.value if isinstance(p, ast.Constant) else "X" for p in node.values)
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


TEXTS = [
    (f"{path.relative_to(ROOT)}:{line}", text)
    for room in ROOMS
    for path in sorted((ROOT / room).rglob("*.py"))
    for line, text in spoken(ast.parse(path.read_text(encoding="utf-8")))
]


def test_every_option_that_is_named_exists():
    known = FOREIGN.union(*OPTIONS.values())
    named = [
        (where, option)
        for where, text in TEXTS
        for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text)
    ]
    assert len(named) > 100
    assert not [one for one in named if one[1] not in known]


def test_every_command_that_is_named_exists_and_has_the_options_behind_it():
    wrong, seen = [], 0
    for where, text in TEXTS:
        for phrase in re.findall(r"(?<![\w./-])icecore ([a-z]+[^'`;,\n]*)", text):
            words = phrase.split()
            name = " ".join(words[:2]) if words[0] in ("cache", "weights", "regions") else words[0]
            if words[0] not in {name.split()[0] for name in COMMANDS}:
                continue  # A sentence about icecore.
            seen += 1
            if name not in COMMANDS:
                wrong.append((where, name))
                continue
            options = {w for w in words if re.fullmatch(r"--?[a-z][a-z0-9-]*", w)}
            lacking = options - OPTIONS[name] - {"--help"}
            wrong += [(where, f"{name} {one}") for one in lacking]
    assert seen > 60
    assert not wrong


def test_every_extra_and_room_of_pip_that_is_named_exists():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {
        extra
        for _, text in TEXTS
        for group in re.findall(r"icecore\[([a-zX,]+)\]", text)
        for extra in group.split(",")
    }
    assert named - {"X"} <= set(project["optional-dependencies"])


@pytest.mark.parametrize(
    ("command", "text", "said"),
    [
        ("compare a.csv", "use --mend softmax", "--mend is an option of icecore blend"),
        ("blend a.csv", "use --mend softmax", ""),
        ("cache prune c", "use --drop", ""),
        ("train c", "icecore backbones --layers X lists them", ""),
        ("extract p", "start one with 'ray start --head'", ""),
        ("--log x audit", "say --path-column", "--path-column is an option of icecore extract,"),
    ],
)
def test_options_of_other_commands_are_said_to_be_so(command, text, said):
    found = options_elsewhere(cli, command.split(), text)
    assert found.startswith(said)
    assert bool(found) == bool(said)


@pytest.mark.parametrize("name", COMMANDS)
def test_fewer_workers_are_advised_where_there_are_some(name):
    assert ("--workers" in more_memory(cli, name.split())) == ("--workers" in OPTIONS[name])


def test_every_seed_is_one_that_numpy_and_scikit_learn_take(capsys):
    seeded = [name for name, one in COMMANDS.items() if "--seed" in OPTIONS[name]]
    assert len(seeded) == 7
    for name in seeded:
        for seed in ("-1", "99999999999999999999"):
            with pytest.raises(SystemExit) as end:
                main([*name.split(), "x", "--seed", seed])
            assert end.value.code == 2
            assert "is not in the range 0<=x<=2147483647" in capsys.readouterr().err


def test_logits_for_compare_say_which_command_mends_them(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("id,cat,dog\n1,3.5,-2\n2,1,4\n", encoding="utf-8")
    (tmp_path / "l.csv").write_text("id,label\n1,cat\n2,dog\n", encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["compare", str(tmp_path / "a.csv"), "--labels", str(tmp_path / "l.csv")])
    assert "\n  --mend is an option of icecore blend\n" in capsys.readouterr().err
