"""float16 to float32, quickly."""

from __future__ import annotations

import numpy as np

__all__ = ["widen"]

# 2**112 moves a float16's exponent, shifted into a float32, to where it belongs.
_REBIAS = np.float32(2.0**112)
_LARGEST_FACTOR = 2.0**15


def widen(rows: np.ndarray, out: np.ndarray, factor: np.float32 | None = None) -> None:
    """Copy `rows` to `out` as float32, times `factor` if one is given.

    Parameters
    ----------
    rows : ndarray of shape (B, D), float16, float32 or float64
        Finite values only.
    out : ndarray of shape (B, D), float32
    factor : float32, optional

    Notes
    -----
    NumPy converts float16 element by element. Here the bits are shifted into
    place for whole arrays instead and the exponent is corrected by a
    multiplication, which is exact for every finite value, subnormal or not.
    """
    if rows.dtype != np.float16:
        np.copyto(out, rows, casting="same_kind")
        if factor is not None:
            out *= factor
        return
    bits = out.view(np.int32)
    np.copyto(bits, rows.view(np.int16))
    bits <<= 13
    bits &= np.int32(-0x70000001)
    if factor is not None and factor < _LARGEST_FACTOR:
        # Both at once: a power of two only moves the exponent.
        out *= np.float32(_REBIAS * factor)
        return
    out *= _REBIAS
    if factor is not None:
        out *= factor
