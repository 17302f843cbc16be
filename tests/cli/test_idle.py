"""No option is taken and passed over: one that would do nothing is refused, with what it needs."""

from __future__ import annotations

import click
import pytest

from icecore.cli.main import cli, main

EXTRACT = "extract photos -o cache -b onnx:x.onnx "
IDLE = {
    EXTRACT + "--seed 3": "--seed needs --views random:K",
    EXTRACT + "--views ten --seed 3": "--seed needs --views random:K",
    EXTRACT + "--only-writer": "--only-writer needs a cache in a store (-o URL)",
    EXTRACT + "--dry-run --ray local": "--ray does nothing with --dry-run",
    EXTRACT + "--dry-run --paranoid": "--paranoid does nothing with --dry-run",
    EXTRACT + "--seed 3 --only-writer": "--views random:K; --only-writer needs",
    EXTRACT + "--detect-class 1 --detect-box largest": "--detector; --detect-box needs --detector",
    EXTRACT + "--ray-cpus 2": "--ray-cpus need --ray",
    "predict run photos -o a.csv --boxes b.csv --whole": "--whole does nothing with --boxes",
    "blend run --mend softmax": "--mend needs a probability file",
    "blend run --align": "--align needs several SOURCES",
    "blend run --json --details": "--details does nothing with --json",
    "compare run --align": "--align needs several SOURCES",
    "audit run --apply a.csv": "SOURCE does nothing with --apply",
    "audit --data d --apply a -o t --new e --seed 9": "--apply; --seed does nothing with --apply",
    "cache show run --other run": "--other needs --diff",
    "cache show run net --diff a b": "SPEC does nothing with --diff",
    "backbones resnet18_v1 --weights random:0": "--weights needs --verify",
    "backbones --weights-dir .": "--weights-dir needs --verify or --layers",
    "backbones --layers onnx:x.onnx --weights random:0": "--weights needs --verify",
    EXTRACT + "-o other": "--out given twice, of which one would count",
    "blend run --save --seed 1 --no-save --seed 1": "--save, --seed given twice",
    "--log a --log b blend run": "--log given twice",
    "cache prune cache --keep a --keep b": "--keep given twice",
    "train cache --data photos -o r --set ridge.alpha=1 --set ridge.alpha=2": "ridge.alpha twice",
}


@pytest.mark.parametrize("command", IDLE)
def test_what_would_do_nothing_is_refused(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for folder in ("run", "photos"):
        (tmp_path / folder).mkdir()
    with pytest.raises(SystemExit) as end:
        main(command.split())
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert IDLE[command] in said
    assert said.startswith("Usage: icecore ")


def test_what_a_folder_sets_for_other_commands_may_be_idle(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "icecore.toml").write_text("[extract]\nseed = 3\ndetect-class = 'dog'\n")
    with pytest.raises(SystemExit) as end:
        main([*EXTRACT.split()])
    assert end.value.code == 1
    assert "photos is not there" in capsys.readouterr().err


def test_options_that_may_be_repeated_are_no_repetition(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main([*EXTRACT.split(), "-b", "onnx:y.onnx", "-q", "-q"])
    assert end.value.code == 1
    assert "photos is not there" in capsys.readouterr().err


def test_a_dash_is_no_file(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["predict", "run", "photos", "-o", "-"])
    assert end.value.code == 2
    assert "- is no stream here: name a file (./- if that is its name)." in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_all_names_are_looked_at_before_the_first_download(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MXNET_HOME", str(tmp_path))
    with pytest.raises(SystemExit):
        main(["weights", "fetch", "gluon:inceptionv3", "gluon:nonesuch", "xx:y"])
    said = capsys.readouterr().err
    assert "nonesuch" in said
    assert "'xx:y' is not a backbone spec" in said
    assert "Places tried" not in said


def test_an_empty_path_is_refused_by_every_command(tmp_path, monkeypatch, capsys):
    """As of an unset variable of the shell: it would be the folder that one is in."""

    def paths(command):
        found = [one for one in command.params if isinstance(one.type, click.Path)]
        inner = command.commands.values() if isinstance(command, click.Group) else ()
        return found + [one for name in inner for one in paths(name)]

    context = click.Context(cli)
    assert len(paths(cli)) > 50
    for one in paths(cli):
        with pytest.raises(click.UsageError, match="the path is empty"):
            one.type.convert("", one, context)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["manifest", ""])
    assert end.value.code == 2
    assert "the path is empty, as of a variable of the shell" in capsys.readouterr().err
