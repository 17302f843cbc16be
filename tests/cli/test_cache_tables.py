"""What a cache keeps beside its rows: found by `verify`, and mended by `repair`."""

from __future__ import annotations

import json
import shutil
import tarfile

import numpy as np
import pytest
from command import icecore

from icecore.cache import FeatureCache

HEADER = "id,path,split,task,label,letters,digest"


@pytest.fixture
def kept(cache, rows):
    folder = cache.path / "manifests"
    folder.mkdir()
    lines = [f"{one.id},{one.path},{one.split},label,{one.label},,{one.digest}" for one in rows]
    for name in ("photos", "others"):
        (folder / f"{name}.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    names = {name: f"/data/{name}" for name in ("photos", "others")}
    (folder / "sources.json").write_text(json.dumps(names))
    return folder


def cut(path):
    path.write_bytes(path.read_bytes()[:-30])


def quoted(path):
    path.write_text(path.read_text().replace("label,", 'label,"', 1))


def zeros(path):
    path.write_bytes(bytes(5000))


def doubled(path):
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[-1]]))


DAMAGES = [
    *(("photos.csv", how) for how in (cut, quoted, zeros, doubled)),
    *(("sources.json", how) for how in (cut, zeros, lambda path: path.write_text('{"a": 1}'))),
    ("photos.regions", lambda path: path.mkdir()),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_damage_is_found_set_aside_and_gone(cache, kept, name, damage):
    assert icecore("cache", "verify", cache.path)[0] == 0
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    damage(kept / name)
    status, said, _ = icecore("cache", "verify", cache.path)
    assert status == 1
    assert f"manifests/{name}: " in said
    assert "mend it with: icecore cache repair" in said
    status, said, _ = icecore("cache", "repair", cache.path, "--dry-run")
    assert status == 0
    assert (kept / name).exists()
    status, said, _ = icecore("cache", "repair", cache.path)
    assert status == 0
    assert "moved to manifests/damaged/" in said
    assert f"{name} will be written anew by the same icecore extract" in said
    assert (kept / "damaged" / name).exists()
    assert icecore("cache", "verify", cache.path)[0] == 0
    untouched = {one for one in before if one != name}
    assert {one: (kept / one).read_bytes() for one in untouched} == {
        one: before[one] for one in untouched
    }


def test_what_was_set_aside_before_is_kept(cache, kept):
    for number in (1, 2):
        (kept / "photos.csv").write_text(f"damaged {number}")
        assert icecore("cache", "repair", cache.path)[0] == 0
    assert (kept / "damaged/photos.csv").read_text() == "damaged 1"
    assert (kept / "damaged/photos-2.csv").read_text() == "damaged 2"


def test_the_sound_lines_of_the_list_of_data_stay(cache, kept):
    (kept / "sources.json").write_text('{"photos": "/data/photos", "others": 3}')
    assert icecore("cache", "repair", cache.path)[0] == 0
    assert json.loads((kept / "sources.json").read_text()) == {"photos": "/data/photos"}


def test_a_link_in_place_of_what_is_set_aside_is_not_followed(cache, kept, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (kept / "damaged").symlink_to(elsewhere)
    zeros(kept / "photos.csv")
    status, _, err = icecore("cache", "repair", cache.path)
    assert status == 1
    assert "damaged" in err
    assert not list(elsewhere.iterdir())


def test_repair_ends_with_1_where_it_leaves_something(cache):
    one = FeatureCache(cache.path).find("gluon:one").folder
    shutil.rmtree(one / "shards")
    (one / "record.json").write_text("damaged")
    for more in ((), ("--dry-run",), ("--json",)):
        status, said, _ = icecore("cache", "repair", cache.path, *more)
        assert status == 1
        assert "move the folder out of the cache" in said
    assert icecore("cache", "verify", cache.path)[0] == 1
    shutil.move(one, cache.path.parent / "aside")
    assert icecore("cache", "repair", cache.path)[0] == 0
    assert icecore("cache", "verify", cache.path)[0] == 0


def test_a_file_in_place_of_a_folder_is_called_so(cache, kept):
    zeros(kept / "photos.csv")
    (kept / "damaged").write_text("x")
    status, _, err = icecore("cache", "repair", cache.path)
    assert status == 1
    assert f"{kept}/damaged is a file in place of a folder" in err
    shutil.rmtree(kept)
    kept.write_text("x")
    for command in ("verify", "repair"):
        status, _, err = icecore("cache", command, cache.path)
        assert status == 1
        assert f"{kept} is a file in place of a folder" in err


def test_a_fault_names_its_table_once(cache, kept):
    zeros(kept / "photos.csv")
    _, said, _ = icecore("cache", "verify", cache.path)
    assert str(kept) not in said


def test_what_is_called_a_table_is_read_as_one(cache, kept, tmp_path):
    with tarfile.open(kept / "photos.csv", "w") as archive:
        archive.add(kept / "others.csv", "1.jpg")
    status, said, _ = icecore("cache", "verify", cache.path)
    assert status == 1
    assert "it is a tar archive" in said


def test_an_export_takes_no_labels_that_tables_contradict(cache, kept, rows, tmp_path):
    (name,) = [one.name for one in cache.sets()][:1]
    one, other = rows[0].label, next(row.label for row in rows if row.label != rows[0].label)
    table = kept / "others.csv"
    sound = table.read_text()
    table.write_text(sound.replace(f",label,{one},", f",label,{other},", 1))
    status, _, error = icecore("cache", "export", cache.path, name, "-o", tmp_path / "a.npz")
    assert status == 1
    assert f"tables that {cache.path} keeps say unlike things of 1 image: {rows[0].id} (" in error
    # The same bytes under another name are the same image.
    table.write_text(table.read_text().replace(rows[0].id, f"moved/{rows[0].id}", 1))
    status, _, error = icecore("cache", "export", cache.path, name, "-o", tmp_path / "a.npz")
    assert (status, (tmp_path / "a.npz").exists()) == (1, False)
    assert f"of 1 image: moved/{rows[0].id}, {rows[0].id} (" in error
    # As is advised; and what one alone knows is taken.
    taken = ["--data", str(kept / "photos.csv")]
    assert icecore("cache", "export", cache.path, name, "-o", tmp_path / "a.npz", *taken)[0] == 0
    (kept / "photos.csv").write_text(sound.replace(f",label,{one},", ",label,,", 1))
    table.write_text(sound)
    assert icecore("cache", "export", cache.path, name, "-o", tmp_path / "b.npz")[0] == 0
    with np.load(tmp_path / "b.npz") as found:
        assert dict(zip(found["id"], found["label"])) == {row.id: row.label for row in rows}
