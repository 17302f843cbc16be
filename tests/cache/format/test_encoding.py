"""Stored numbers back to float32, against NumPy's own conversion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from icecore.cache.format import encoding
from icecore.cache.format.encoding import decode_into

EVERY = np.arange(1 << 16, dtype=np.uint16).view("<f2")
SELECTIONS = {
    "finite": EVERY[np.isfinite(EVERY)],
    "positive": EVERY[:0x7C00],
    "subnormal": EVERY[:0x400],
}


def same_bits(got: np.ndarray, stored: np.ndarray) -> bool:
    expected = stored.astype(np.float32)
    return np.array_equal(got.view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("name", SELECTIONS)
def test_every_finite_float16_is_converted_bit_for_bit(name):
    stored = SELECTIONS[name].reshape(-1, 1024)
    out = np.full(stored.shape, 7, np.float32)
    decode_into(stored, "float16", out)
    assert same_bits(out, stored)


@given(
    bits=arrays(np.uint16, st.tuples(st.integers(0, 9), st.integers(1, 40))),
    allowed=st.sampled_from([0xFFFF, 0x7FFF, 0xBFFF, 0x3FFF, 0x83FF]),
    block=st.integers(1, 200),
    left=st.integers(0, 3),
)
def test_any_rows_in_any_blocks_into_any_columns(bits, allowed, block, left):
    stored = (bits & np.uint16(allowed)).view("<f2")
    stored[~np.isfinite(stored)] = 0
    rows, dim = stored.shape
    wide = np.full((rows, left + dim + 2), 7, np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "_BLOCK_BYTES", block)
        decode_into(stored, "float16", wide[:, left : left + dim])
    assert same_bits(np.ascontiguousarray(wide[:, left : left + dim]), stored)
    beside = np.delete(wide, np.s_[left : left + dim], axis=1)
    assert (beside == 7).all()


@given(bits=arrays(np.uint16, st.tuples(st.integers(0, 5), st.integers(1, 9))))
def test_bfloat16_is_the_upper_half_of_a_float32(bits):
    out = np.full(bits.shape, 7, np.float32)
    decode_into(bits, "bfloat16", out)
    assert np.array_equal(out.view(np.uint32), bits.astype(np.uint32) << 16)
