"""The commands of a cache: what they print, their status, and what they refuse."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest
from command import icecore
from heads_support import CLASSES

from icecore.cache import FeatureCache, repair, verify


@pytest.fixture
def table(tmp_path, cache, rows):
    """The cache's images as a table, whose files are not there, with one that has no features."""
    lines = [f"{one.id},{one.path},{one.split},label,{one.label},,{one.digest}" for one in rows]
    lines.append(f"extra.jpg,/data/extra.jpg,test,label,{CLASSES[0]},,{'0' * 64}")
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["id,path,split,task,label,letters,digest", *lines]) + "\n")
    return path


def test_export_holds_what_a_table_knows_of_each_image(tmp_path, cache, rows, table):
    out = tmp_path / "x.npz"
    status, said, _ = icecore(
        "cache", "export", cache.path, "gluon:one", "two", "-o", out, "--data", table
    )
    assert status == 3
    assert "84 rows of 12 numbers with key, id, path, split, label" in said
    assert f"1 image of {table} without features in {cache.path}: extra.jpg" in said
    with np.load(out, allow_pickle=False) as found:
        assert found["id"].tolist() == [one.id for one in rows]
        assert found["label"].tolist() == [one.label for one in rows]
        assert found["split"].tolist() == [one.split for one in rows]
        keys = [one.digest for one in rows]
        assert found["key"].tolist() == keys
        assert np.array_equal(found["X"], cache.matrix(["gluon:one", "gluon:two"], keys))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "table.csv", "x.npz"]


def test_export_of_all_rows_takes_what_the_cache_was_told_of_them(tmp_path, cache, rows, table):
    command = ("cache", "export", cache.path, "one", "-o", tmp_path / "x.npz", "--json")
    assert json.loads(icecore(*command)[1])["columns"] == ["key"]
    kept = cache.path / "manifests"
    kept.mkdir()
    lines = table.read_text().splitlines()
    (kept / "some.csv").write_text("\n".join(lines[:41]) + "\n")
    # The same images in a second table, as the same data extracted twice leaves them.
    (kept / "again.csv").write_text("\n".join(lines[:11]) + "\n")
    told = json.loads(icecore(*command)[1])
    assert told["columns"] == ["key", "id", "path", "split", "label"]
    assert told["rows"] == 84
    with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
        known = dict(zip(found["key"].tolist(), found["id"].tolist(), strict=True))
    assert known == {one.digest: one.id if n < 40 else "" for n, one in enumerate(rows)}


def test_a_damaged_table_that_the_cache_keeps_comes_with_its_own_remedy(tmp_path, cache, table):
    kept = cache.path / "manifests"
    kept.mkdir()
    (kept / "table.csv").write_text("")
    (kept / "sources.json").write_text(json.dumps({"table": str(table)}))
    out = tmp_path / "x.npz"
    for more in ((), ("--data", table)):
        status, _, err = icecore("cache", "export", cache.path, "one", "-o", out, *more)
        assert status == 1
        assert "table.csv is empty\n  the cache keeps it of what was extracted" in err
        assert "run the same `icecore extract` as before, which writes it anew, or remove it" in err
    (kept / "table.csv").unlink()
    assert icecore("cache", "export", cache.path, "one", "-o", out)[0] == 0


def test_export_without_any_row_says_so(tmp_path, cache):
    path = tmp_path / "none.csv"
    path.write_text(f"id,path,split,task,label,letters,digest\na,/a.jpg,,label,hat,,{'0' * 64}\n")
    out = tmp_path / "x.npz"
    status, _, err = icecore("cache", "export", cache.path, "one", "-o", out, "--data", path)
    assert (status, out.exists()) == (1, False)
    assert f"no image of {path} has features in {cache.path}" in err
    assert "run `icecore extract` on them into this cache" in err
    cache.record_failures([{"id": "a", "path": "a.jpg", "digest": "0" * 64, "reason": "is empty"}])
    err = icecore("cache", "export", cache.path, "one", "-o", out, "--data", path)[2]
    assert "1 image could not be used (a: is empty)\n  mend these images" in err


def test_export_does_not_pass_over_rows_that_the_index_knows(tmp_path, cache):
    """Of one set they are gone; the remedies that are said bring it to the next true sentence."""
    arguments = ("cache", "export", cache.path, "gluon:one", "-o", tmp_path / "x.npz")
    cache.find("gluon:one").write_index()
    for shard in cache.find("gluon:one").folder.glob("shards/*.h5"):
        shard.unlink()
    status, _, said = icecore(*arguments)
    assert status == 1
    assert "84 rows of gluon:one that its index names are gone" in said
    assert "icecore cache repair" in said
    repair(cache.path)
    status, _, said = icecore(*arguments)
    assert status == 1
    assert "has features in" in said
    assert "run `icecore extract` on them" in said
    assert not (tmp_path / "x.npz").exists()


def test_status_of_verify_and_repair(cache):
    assert icecore("cache", "verify", cache.path)[0] == 0
    one = cache.find("one")
    one.write_index()
    victim = next((one.folder / "shards").iterdir())
    os.truncate(victim, 100)
    status, out, _ = icecore("cache", "verify", cache.path)
    assert status == 1
    assert f"{victim.name}: truncated file" in out or f"{victim.name}: it is cut short" in out
    assert f"mend it with: icecore cache repair {cache.path}" in out
    status, out, _ = icecore("cache", "verify", cache.path, "--json")
    assert (status, json.loads(out)["ok"]) == (1, False)
    assert "nothing was changed" in icecore("cache", "repair", cache.path, "--dry-run")[1]
    assert not verify(cache)["ok"]
    status, out, _ = icecore("cache", "repair", cache.path)
    assert (status, "84 rows are to be computed again" in out) == (0, True)
    assert verify(cache)["ok"]
    assert repair(cache)["done"] == []
    for option in ((), ("--dry-run",)):
        _, out, _ = icecore("cache", "repair", cache.path, *option)
        assert out == "there is nothing to mend\n"


def test_a_link_in_a_cache_is_one_line_for_every_command(tmp_path, cache):
    (tmp_path / "elsewhere").mkdir()
    (cache.path / "manifests").symlink_to(tmp_path / "elsewhere")
    commands = {
        "ls": (), "show": (), "verify": (), "repair": (), "compact": (),
        "export": ("one", "-o", tmp_path / "x.npz"), "prune": ("--drop", "one", "--yes"),
        "merge": (cache.path,),
    }  # fmt: skip
    for name, more in commands.items():
        status, out, err = icecore("cache", name, cache.path, *more)
        assert (status, out) == (1, ""), name
        assert f"error: {cache.path}/manifests is a link; a cache is made of" in err, name
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="names of another kind")
def test_control_characters_of_strangers_are_shown_escaped(tmp_path):
    cache = FeatureCache.create(tmp_path / "c")
    cache.open_set({"note\x1b": "a\x1b[2Jb"}, "x:\x1b[2Jred", 3)
    (cache.sets()[0].folder / "shards" / "a\x1b[2J.h5").write_bytes(b"x")
    for command in (("ls",), ("show",), ("verify",), ("repair", "--dry-run")):
        _, out, err = icecore("cache", command[0], cache.path, *command[1:])
        assert "\x1b" not in out + err
        assert "\\x1b[2J" in out, command
