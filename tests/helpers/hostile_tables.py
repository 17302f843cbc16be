"""Damaged and hostile JSON, NPZ and CSV, drawn from a seed."""

from __future__ import annotations

import copy
import io
import json
import random
import zipfile

import numpy as np

VALUES = [
    None, True, False, -1, 0, 1, 2**31, 10**19, 1e308, -1e308, 0.5, "", " ", "../x", "/etc/passwd",
    "a/b", "a\\b", "..", "\x1b[2J", "\u202e", "x" * 10**5, [], {}, [[]], [{}], {"a": []}, [None],
    ["a", "a"], ["", "b"], [1, "a"], {"": 1}, "NaN", 10**6 * [0],
]  # fmt: skip
RAW = [
    b'{"a": NaN}', b'{"a": 1e999}', b"[" * 10**5, b'{"a":' * 10**4, b"", b"\0", b"{}", b"[]", b"3",
    b'{"a": 1, "a": 2}', b'{"a": "\\ud800"}', b"\xff\xfe{\0}\0", b"\x1f\x8b\x08", b"PK\x03\x04",
    b'{"format": 1' + b"0" * 5000 + b"}", b'{"format": ' + b"9" * 400 + b".5}", b"\xed\xa0\x80",
]  # fmt: skip


def hostile_json(rng: random.Random, valid: object) -> bytes:
    """Return a document that is `valid` but for some hostile change, or no document at all."""
    kind = rng.randrange(10)
    if kind == 0:
        return rng.choice(RAW)
    text = json.dumps(valid).encode()
    if kind == 1:
        return damaged(rng, text)
    if kind == 2:
        place = rng.choice([i for i, byte in enumerate(text) if byte in b"0123456789"] or [0])
        number = rng.choice([b"NaN", b"-Infinity", b"1e999", b"1" * 5000, b"1" * 400, b"-0"])
        return text[:place] + number + text[place + 1 :]
    document = copy.deepcopy(valid)
    for _ in range(rng.randint(1, 2)):
        change(rng, document)
    return json.dumps(document).encode()


def change(rng: random.Random, document: object) -> None:
    """Change one value somewhere inside a document."""
    place = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(place[key], (dict, list)) and place[key] and rng.random() < 0.7:
            place = place[key]
            continue
        action = rng.randrange(4)
        if action == 0:
            del place[key]
        elif action == 1 and isinstance(place, dict):
            place[rng.choice(["", "../x", "\x1b", "tasks", "a" * 300])] = place.pop(key)
        elif action == 2 and isinstance(place, list):
            place.append(copy.deepcopy(place[key]))
        else:
            place[key] = copy.deepcopy(rng.choice(VALUES))
        return


def damaged(rng: random.Random, content: bytes) -> bytes:
    """Return bytes that are cut short or changed in places."""
    changed = bytearray(content)
    if rng.random() < 0.4:
        changed = changed[: rng.randrange(len(changed) + 1)]
    for _ in range(rng.randint(0, 4)):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def npy(array: np.ndarray) -> bytes:
    """Return an array as .npy."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npy_header(shape: tuple[int, ...], descr: object) -> bytes:
    """Return the beginning of a .npy file that declares what it does not hold."""
    file = io.BytesIO()
    form = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, form)
    return file.getvalue()


def hostile_npz(rng: random.Random, valid: dict[str, np.ndarray]) -> bytes:
    """Return an archive that is `valid` but for some hostile change."""
    members = {f"{name}.npy": npy(array) for name, array in valid.items()}
    name = rng.choice(list(members))
    shape = valid[name[:-4]].shape
    kind = rng.randrange(9)
    if kind == 0:
        del members[name]
    elif kind == 1:
        huge = rng.choice([(10**12,), (2**62, 2**62), (*shape, 1), (), (0,), (3, 3)])
        members[name] = npy_header(huge, rng.choice(["<f8", "<f4", "<U9", "|S1"]))
    elif kind == 2:
        odd = rng.choice([np.array([1 + 2j]), np.array(["1"]), np.array([np.nan] * 4), np.ones(4)])
        members[name] = npy(odd)
    elif kind == 3:
        members[name] = npy_header((1,), "|O") + b"cos\nsystem\n(S'touch owned'\ntR."
    elif kind == 4:
        members[name] = damaged(rng, members[name])
    elif kind == 5:
        members[rng.choice(["../x.npy", "x", "x.txt", "model.npy"])] = npy(np.zeros((0, 0)))
    elif kind == 6:
        members[name] = npy(np.zeros(8_000_000, np.int8))
    elif kind == 7 and valid[name[:-4]].dtype.kind == "f":
        array = valid[name[:-4]].copy()
        array.flat[0] = rng.choice([np.nan, np.inf, -1, 7, 1e30])
        members[name] = npy(array)
    file = io.BytesIO()
    how = rng.choice(
        [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2]
    )
    with zipfile.ZipFile(file, "w", how) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    content = file.getvalue()
    return damaged(rng, content) if kind == 8 else content


PIECES = [
    b'"', b'""', b"\0", b"\r", b"\n", b",", b",,,", b";", b"\t", b"\xff", b"\xe9", b"\xed\xa0\x80",
    b"\xef\xbb\xbf", b"\x1b[2J", b"\xe2\x80\xae", b"\xe2\x80\x8b", b" ", b"=1+1", b"nan", b"inf",
    b"1e999", b"-1", b"1_0", b"../", b"\xe2\x80\xa8", b"x" * 10**5, b'"\n"', b'","',
]  # fmt: skip


def hostile_csv(rng: random.Random, valid: str) -> bytes:
    """Return a table that is `valid` but for some hostile change."""
    content = valid.encode()
    kind = rng.randrange(8)
    if kind == 0:
        return valid.encode(rng.choice(["utf-16", "utf-16-le", "utf-32", "utf-8-sig"]))
    if kind == 1:
        return damaged(rng, content)
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    if kind == 2:
        fields = lines[at].split(b",")
        del fields[rng.randrange(len(fields))]
        lines[at] = b",".join(fields)
    elif kind == 3:
        lines.insert(at, lines[rng.randrange(len(lines))])
    elif kind == 4:
        lines[0] = lines[0] + b"," + rng.choice([b"", b"id", b"label", b"path", b"split", b"Path"])
    else:
        for _ in range(rng.randint(1, 2)):
            at = rng.randrange(len(lines))
            place = rng.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:place] + rng.choice(PIECES) + lines[at][place:]
    return b"\n".join(lines)
