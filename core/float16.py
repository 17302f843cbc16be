"""float16 to float32, quickly."""

import numpy as np

# 2**112 moves a float16's exponent, shifted into a float32, to where it belongs.
_REBIAS = np.float32(2.0**112)


def widen(rows: np.ndarray, out: np.ndarray) -> None:
    """Copy `rows` to `out` as float32.

    Parameters
    ----------
    rows : ndarray of shape (B, D), float16, float32 or float64
        Finite values only.
    out : ndarray of shape (B, D), float32
        Its rows may lie apart.

    Notes
    -----
    NumPy converts float16 element by element. Here the bits are shifted into
    place for whole arrays instead and the exponent is corrected by a
    multiplication, which is exact for every finite value, subnormal or not.
    """
    if rows.dtype != np.float16:
        np.copyto(out, rows, casting="same_kind")
        return
    bits = out.view(np.int32)
    np.copyto(bits, rows.view(np.int16))
    bits <<= 13
    bits &= np.int32(-0x70000001)
    out *= _REBIAS
