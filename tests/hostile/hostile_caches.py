"""Hostile caches, drawn from a seed: a small sound one, and the ways to do harm to it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from icecore.cache import FeatureCache
from icecore.cache.format.checksum import row_checksums

WIDTH, VIEWS, ROWS, SHARD = 6, ("center", "flip"), 24, 8
DIM = WIDTH * len(VIEWS)
NAME = "gluon:inceptionv3"
KEYS = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(ROWS)]
RECORD = {"backbone": {"spec": NAME, "weights_digest": "0"}, "fit": "crop"}


def row(key: str) -> np.ndarray:
    return np.random.default_rng(int(key[:12], 16)).normal(size=DIM).astype(np.float16)


TRUE = {key: row(key) for key in KEYS}


def make_cache(path: Path) -> None:
    cache = FeatureCache.create(path)
    one = cache.open_set(RECORD, NAME, WIDTH, VIEWS)
    for start in range(0, ROWS, SHARD):
        part = KEYS[start : start + SHARD]
        one.append(part, np.array([TRUE[key] for key in part]), {"engine": "test"})
    one.write_index()
    cache.record_failures([{"id": "x", "path": "x.jpg", "digest": "", "reason": "empty"}])
    (path / "manifests").mkdir()
    (path / "digests").mkdir()
    (path / "manifests" / "photos.csv").write_text("id,path,label\nx,x.jpg,hat\n")
    owner = {"token": "0" * 16, "host": "elsewhere", "pid": 1, "start": "1"}
    (path / "claims" / "failures.claim").write_text(json.dumps(owner))


def make_victim(path: Path) -> None:
    path.mkdir()
    with h5py.File(path / "precious.h5", "w") as file:
        file["secret"] = np.full((SHARD, DIM), 7, "<f2")
    (path / "secret.bin").write_bytes(struct.pack("<1000f", *range(1000)))
    (path / ".tmp-mine").write_text("notes")
    os.utime(path / ".tmp-mine", (0, 0))


# What can be done to a cache: each takes (random, cache, victim) and says what it did -------


def files(path: Path) -> list[Path]:
    return sorted(one for one in path.rglob("*") if one.is_file())


def folder_of(path: Path) -> Path:
    return next(one for one in path.iterdir() if (one / "shards").is_dir())


def shards(path: Path) -> list[Path]:
    return sorted((folder_of(path) / "shards").glob("*.h5"))


def put_something_else(rng: random.Random, path: Path, victim: Path) -> str:
    target = rng.choice([*files(path), path / "digests" / "0.txt", folder_of(path) / "damaged"])
    with contextlib.suppress(FileNotFoundError):
        target.unlink()
    kind = rng.choice(["link", "dangling", "link to folder", "pipe", "socket", "folder", "device"])
    if kind == "pipe":
        os.mkfifo(target)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as end:
            here = os.open(target.parent, os.O_RDONLY)
            end.bind(f"/proc/self/fd/{here}/{target.name}")
            os.close(here)
    elif kind == "folder":
        target.mkdir()
    else:
        places = {"link": victim / "precious.h5", "dangling": victim / "none"}
        places |= {"link to folder": victim, "device": Path("/dev/zero")}
        target.symlink_to(places[kind])
    return f"{kind} at {target.relative_to(path)}"


def link_a_folder(rng: random.Random, path: Path, victim: Path) -> str:
    inside = [folder_of(path), *(folder_of(path) / n for n in ("shards", "damaged"))]
    target = rng.choice([*inside, path / "manifests", path / "claims"])
    if target.exists():
        shutil.rmtree(target)
    target.symlink_to(victim if rng.random() < 0.7 else victim / "none")
    return f"linked folder {target.relative_to(path)}"


def flip_bits(rng: random.Random, path: Path, victim: Path) -> str:
    target = rng.choice(files(path))
    content = bytearray(target.read_bytes())
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    target.write_bytes(content)
    return f"flipped bits in {target.relative_to(path)}"


def cut_or_stretch(rng: random.Random, path: Path, victim: Path) -> str:
    target = rng.choice(files(path))
    size = target.stat().st_size
    length = rng.choice([0, 1, size // 2, size - 1, size + 1, size + 4096, 3 << 30, 1 << 40])
    os.truncate(target, length)
    return f"{target.relative_to(path)} of {length} bytes"


def move_about(rng: random.Random, path: Path, victim: Path) -> str:
    one, other = rng.sample(shards(path), 2)
    what = rng.choice(["swap", "copy", "rename", "remove", "odd name"])
    if what == "swap":
        content = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(content)
    elif what == "remove":
        one.unlink()
    else:
        names = {"copy": "0" * 24 + ".h5", "rename": "f" * 24 + ".h5"}
        odd = rng.choice(["a\nb.h5", "\x1b[2J.h5", "ü.h5", "-.h5", "x" * 200 + ".h5"])
        shutil.copy(one, one.with_name(names.get(what, odd)))
        if what == "rename":
            one.unlink()
    return f"{what} of shards"


WRONG = [
    None, True, -1, 0, 2, 10**30, 1.5, "", "x", "\ud800", "../../victim", "/etc/passwd", "a\0b",
    [], [[]], {}, {"a": 1}, "y" * 70_000, ["center"] * 5000, "float64", "\x1b[2J",
]  # fmt: skip
BROKEN = [
    "", "{", "[" * 100_000, "null", "3", '"text"', '{"a":1,"a":2}', '{"format":' + "1" * 5000 + "}",
    '{"format":1e999}', '{"format":NaN}', "\ufeff{}", '{"x":"\\ud800"}', "\xff\xfe", "[]",
]  # fmt: skip


def break_json(rng: random.Random, path: Path, victim: Path) -> str:
    texts = [one for one in files(path) if one.suffix in (".json", ".claim")]
    target = rng.choice([*texts, path / "digests" / "0.txt", path / "manifests" / "sources.json"])
    if not target.exists() or rng.random() < 0.4:
        target.write_text(rng.choice(BROKEN), "utf-8", "surrogatepass")
        return f"broken {target.relative_to(path)}"
    content = json.loads(target.read_text())
    name = rng.choice(sorted(content))
    if rng.random() < 0.2:
        del content[name]
    else:
        content[name] = rng.choice(WRONG)
    target.write_text(json.dumps(content))
    return f"{name} of {target.relative_to(path)} is {str(content.get(name))[:20]!r}"


def forge_shard(rng: random.Random, path: Path, victim: Path) -> str:
    """Write a shard whose name fits it, but which is not as icecore would write it."""
    change = rng.choice(FORGERIES)
    place = shards(path)[0]
    with h5py.File(place) as old:
        attributes = dict(old.attrs)
        tables = {name: old[name][()] for name in ("keys", "checksums", "features")}
    if rng.random() < 0.5:
        place.unlink()
    if rng.random() < 0.5:
        (folder_of(path) / "index.h5").unlink()
    new = place.with_name("new")
    with h5py.File(new, "w", libver=("v108", "v110")) as file:
        done = change(rng, file, attributes, tables, victim)
        for name, value in attributes.items():
            with contextlib.suppress(OSError, RuntimeError, TypeError, ValueError):
                file.attrs[name] = value
        for name, table in tables.items():
            if table is not None:
                file.create_dataset(name, data=table)
        start, length = 0, 0
        with contextlib.suppress(Exception):
            start = file["features"].id.get_offset() or 0
            length = file["features"].id.get_storage_size() if start else 0
    content = new.read_bytes()
    rest = hashlib.sha256(content[:start] + content[start + length :]).hexdigest()
    new.rename(place.with_name(f"{rest[:24]}.h5"))
    return f"forged shard: {done}"


def unequal(rng, file, attributes, tables, victim):
    name = rng.choice(sorted(tables))
    tables[name] = (
        tables[name][: rng.randrange(SHARD)]
        if rng.random() < 0.5
        else np.concatenate([tables[name]] * 2)
    )
    return f"{len(tables[name])} {name}"


def other_type(rng, file, attributes, tables, victim):
    name = rng.choice(sorted(tables))
    kind = rng.choice(["f8", "i1", "S3", "c8", "bool"])
    tables[name] = np.zeros(tables[name].shape, kind)
    return f"{name} of {kind}"


def other_shape(rng, file, attributes, tables, victim):
    name = rng.choice(sorted(tables))
    table = tables[name]
    shapes = [table.reshape(-1), table[None], table[:0], np.array(table.flat[0])]
    tables[name] = rng.choice([np.ascontiguousarray(one) for one in shapes])
    return f"{name} of shape {tables[name].shape}"


def no_keys(rng, file, attributes, tables, victim):
    tables["keys"] = np.array([rng.choice([b"", b"../x", b"Z" * 64, b"\xff" * 64])] * SHARD, "S64")
    return f"keys {tables['keys'][0][:4]!r}"


def elsewhere(rng, file, attributes, tables, victim):
    name = rng.choice(sorted(tables))
    table, tables[name] = tables[name], None
    ways = ["soft", "external", "storage", "virtual", "group", "type", "missing"]
    way = rng.choice(ways)
    if way == "soft":
        file[name] = h5py.SoftLink(rng.choice(["/", "/none", f"/{name}"]))
    elif way == "external":
        file[name] = h5py.ExternalLink(str(victim / "precious.h5"), "/secret")
    elif way == "storage":
        place = str(victim / "secret.bin")
        file.create_dataset(name, table.shape, table.dtype, external=[(place, 0, table.nbytes)])
    elif way == "virtual":
        layout = h5py.VirtualLayout(table.shape, table.dtype)
        layout[...] = h5py.VirtualSource(str(victim / "precious.h5"), "secret", table.shape)
        file.create_virtual_dataset(name, layout)
    elif way == "group":
        file.create_group(name)["loop"] = file["/"]
    elif way == "type":
        file[name] = table.dtype
    return f"{name} is {way}"


def packed(rng, file, attributes, tables, victim):
    name = rng.choice(sorted(tables))
    table, tables[name] = tables[name], None
    filters = rng.choice(
        [{"compression": "gzip"}, {"compression": "lzf"}, {"fletcher32": True}, {}]
    )
    file.create_dataset(name, data=table, chunks=table.shape, **filters)
    return f"{name} in chunks {filters}"


def huge(rng, file, attributes, tables, victim):
    name = rng.choice(sorted(tables))
    table, tables[name] = tables[name], None
    shape = (rng.choice([10**6, 10**9, 10**12]), *table.shape[1:])
    chunks = rng.choice([None, (1024, *table.shape[1:])])
    file.create_dataset(name, shape, table.dtype, chunks=chunks, fillvalue=table.flat[0])
    return f"{name} of {shape[0]} rows that are not there"


def attribute(rng, file, attributes, tables, victim):
    name = rng.choice(sorted(attributes))
    value = rng.choice([*WRONG, np.zeros(3), np.bytes_(b"\xff"), h5py.Empty("f4"), -5, 10**9])
    if isinstance(value, str):
        value = np.bytes_(value.encode("utf-8", "surrogatepass"))
    if rng.random() < 0.2 or value is None or isinstance(value, dict):
        del attributes[name]
        return f"no attribute {name}"
    attributes[name] = value
    return f"attribute {name} is {str(value)[:20]!r}"


def more_inside(rng, file, attributes, tables, victim):
    if rng.random() < 0.5:
        for number in range(5000):
            file.create_group(f"g{number}")
        return "5,000 groups"
    group = file
    for _ in range(200):
        group = group.create_group("g")
    return "200 nested groups"


def not_finite(rng, file, attributes, tables, victim):
    tables["features"] = tables["features"].copy()
    tables["features"][rng.randrange(SHARD), 0] = rng.choice([np.nan, np.inf])
    tables["checksums"] = row_checksums(tables["features"], tables["keys"])
    return "rows that are not finite"


FORGERIES = [
    unequal, other_type, other_shape, no_keys, elsewhere, elsewhere, packed, huge, attribute,
    more_inside, not_finite,
]  # fmt: skip


def forge_index(rng: random.Random, path: Path, victim: Path) -> str:
    place = folder_of(path) / "index.h5"
    names = ["keys", "checksums", "order", "shards/name", "shards/size", "shards/offset"]
    names.append("shards/rows")
    with h5py.File(place) as old:
        attributes = dict(old.attrs)
        tables = {name: old[name][()] for name in names}
    name = rng.choice(names)
    table = tables[name].copy()
    if rng.random() < 0.3:
        table = table[:-1]
    elif table.dtype.kind == "S":
        table[0] = rng.choice([b"../../x.h5", b"0" * 24 + b".h5", b"\xff", table[-1]])
    else:
        table[rng.randrange(len(table))] = rng.choice([-1, 0, 1 << 40, 10**6, 7]) & (2**62 - 1)
    if table.dtype.kind == "i" and rng.random() < 0.3:
        table = -table
    tables[name] = table
    digest = hashlib.sha256()
    for one in names:
        digest.update(np.ascontiguousarray(tables[one]))
    attributes["checksum"] = np.bytes_(digest.hexdigest())
    with h5py.File(place, "w", libver=("v108", "v110")) as file:
        file.attrs.update(attributes)
        for one in names:
            file.create_dataset(one, data=tables[one])
        layout = h5py.VirtualLayout((2, DIM), "<f2")
        layout[...] = h5py.VirtualSource(str(victim / "precious.h5"), "secret", (2, DIM))
        file.create_virtual_dataset("features", layout)
    return f"forged index: {name}"


def forge_claims(rng: random.Random, path: Path, victim: Path) -> str:
    """Claims that would have files elsewhere removed, or a pipe opened."""
    claims = path / "claims"
    owner = {"token": "0" * 16, "host": "elsewhere", "pid": 1, "start": "1"}
    token = f"x/../../../{victim.name}/precious.h5"
    (claims / "beat-x").mkdir()
    (claims / "owner-x").mkdir()
    name, value = rng.choice(
        [("token", token), ("token", 5), ("pid", "../../x"), ("pid", -1), ("pid", 2**70)]
    )
    (claims / "maintenance.claim").write_text(json.dumps(owner | {name: value}))
    return f"claim whose {name} is {value!r}"


ATTACKS: list[Callable[[random.Random, Path, Path], str]] = [
    put_something_else, link_a_folder, flip_bits, flip_bits, cut_or_stretch, move_about, break_json,
    break_json, forge_shard, forge_shard, forge_shard, forge_index, forge_claims,
]  # fmt: skip
