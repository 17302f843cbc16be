"""The row checksum against a plain implementation of its specification."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icecore.cache.format.checksum import row_checksums

MASK = (1 << 64) - 1


def splitmix64():
    """SplitMix64 as its authors publish it, in plain Python."""
    state = 0
    while True:
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        yield z ^ (z >> 31)


def by_the_book(key: str, row: bytes) -> int:
    message = key.encode() + row
    message += bytes(-len(message) % 8)
    words = struct.unpack(f"<{len(message) // 4}I", message)
    return sum(x * (m | 1) for x, m in zip(words, splitmix64(), strict=False)) & MASK


def test_first_numbers_of_the_generator():
    # Published by the authors' reference implementation for seed 0.
    assert next(splitmix64()) == 0xE220A8397B1DCDAF


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 7, 128, 1001])
def test_agrees_with_the_plain_implementation(dim):
    rng = np.random.default_rng(dim)
    rows = rng.integers(0, 1 << 16, (5, dim), dtype=np.uint16)
    keys = [hashlib.sha256(bytes([i])).hexdigest() for i in range(5)]
    expected = [by_the_book(k, r.tobytes()) for k, r in zip(keys, rows, strict=True)]
    assert row_checksums(rows, np.array(keys, "S64")).tolist() == expected


@given(st.data())
def test_any_single_flipped_bit_of_row_or_key_changes_it(data):
    dim = data.draw(st.integers(1, 40))
    rows = np.frombuffer(data.draw(st.binary(min_size=4 * dim, max_size=4 * dim)), "<u2")
    rows = rows.reshape(2, dim).copy()
    keys = np.array([hashlib.sha256(b"a").hexdigest(), hashlib.sha256(b"b").hexdigest()], "S64")
    before = row_checksums(rows, keys)
    if data.draw(st.booleans()):
        raw = rows.view(np.uint8)
        raw[1, data.draw(st.integers(0, 2 * dim - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        raw = keys.view(np.uint8).reshape(2, 64)
        raw[1, data.draw(st.integers(0, 63))] ^= 1 << data.draw(st.integers(0, 7))
    after = row_checksums(rows, keys)
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_flipping_the_highest_bit_of_two_words_is_seen():
    rows = np.zeros((1, 64), np.uint16)
    keys = np.array(["0" * 64], "S64")
    before = row_checksums(rows, keys)
    for i in range(64):
        for j in range(i):
            other = rows.copy()
            other[0, [i, j]] ^= 0x8000
            assert row_checksums(other, keys) != before
