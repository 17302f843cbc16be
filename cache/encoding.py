"""Feature numbers as they are stored, and back to float32."""

from __future__ import annotations

import numpy as np

from ..errors import CacheError

__all__ = ["decode_into", "encode", "require_finite", "stored_dtype"]

_STORED = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4"), "bfloat16": np.dtype("<u2")}
# Work goes through pieces that stay in the second-level cache.
_BLOCK_BYTES = 1 << 18
# Of a float16's bits, sign-extended to 32 and moved up by 13: sign, exponent, fraction.
_HALF_BITS = np.int32(-0x70002000)
# float16 and float32 bias their exponents by 15 and 127.
_HALF_SCALE = np.float32(2.0**112)


def stored_dtype(precision: str) -> np.dtype:
    """Return the type of the numbers on the disk."""
    return _STORED[precision]


def encode(rows: np.ndarray, precision: str) -> np.ndarray:
    """Turn feature rows into the form they are stored in.

    Rows of the stored type pass through unchanged (bfloat16: as uint16). Whether float16
    and float32 hold every number is for `require_finite` to say.

    Raises
    ------
    CacheError
        A number is not finite, or does not fit into bfloat16.
    """
    rows = np.asarray(rows)
    target = _STORED[precision]
    if precision == "bfloat16" and rows.dtype == np.uint16:
        return np.ascontiguousarray(rows, target)
    with np.errstate(over="ignore", invalid="ignore"):
        if precision == "bfloat16":
            bits = np.ascontiguousarray(rows, "<f4").view("<u4")
            _refuse_infinite(rows, bits.view("<f4"), precision)
            # Round to nearest, ties to even, as every bfloat16 hardware does.
            stored = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(target)
            _refuse_infinite(rows, (stored.astype("<u4") << 16).view("<f4"), precision)
            return stored
        return np.ascontiguousarray(rows, target)


def require_finite(rows: np.ndarray, stored: np.ndarray, precision: str) -> None:
    """Raise `CacheError` if `stored`, made from `rows`, holds an infinite number or NaN."""
    if precision == "bfloat16":
        return  # `encode` has looked, before the bits lost their type.
    _refuse_infinite(rows, stored, precision)


def _refuse_infinite(rows: np.ndarray, stored: np.ndarray, precision: str) -> None:
    step = max(1, _BLOCK_BYTES // max(1, stored[:1].nbytes))
    if all(_all_finite(stored[i : i + step]) for i in range(0, len(stored), step)):
        return
    good = np.isfinite(stored)
    bad = np.flatnonzero(~good.all(axis=1))
    value = rows[bad[0]][~good[bad[0]]][0]
    raise CacheError(
        f"{len(bad)} of {len(rows)} feature rows hold numbers that {precision} cannot "
        f"(row {bad[0]}: {value})",
        'finite numbers above 65504 need precision "float32" or "bfloat16"; '
        "infinite ones come from the network",
    )


def _all_finite(stored: np.ndarray) -> bool:
    if stored.dtype == np.float16:
        # Exponent bits all set mean infinite or not a number; far quicker than isfinite.
        return int((stored.view(np.uint16) & 0x7FFF).max(initial=0)) < 0x7C00
    return bool(np.isfinite(stored).all())


def decode_into(stored: np.ndarray, precision: str, out: np.ndarray) -> None:
    """Write stored rows (n, D) as float32 into `out` (n, D), which may be strided."""
    if precision == "float32":
        out[...] = stored
        return
    step = max(1, _BLOCK_BYTES // max(1, stored[:1].nbytes))
    exact = _handles_subnormals()
    for i in range(0, len(stored), step):
        part, there = stored[i : i + step], out[i : i + step]
        if precision == "bfloat16":
            bits = there.view(np.uint32)
            np.copyto(bits, part)
            np.left_shift(bits, 16, out=bits)
        elif exact:
            _widen(part, there)
        else:
            there[...] = part


def _widen(half: np.ndarray, out: np.ndarray) -> None:
    """Convert finite float16 to float32, bit for bit as NumPy does.

    The half's fields are moved to where float32 has them and the exponent is put right by
    one exact multiplication: four vectorised passes, about four times as fast as NumPy
    1.26, which converts number by number.
    """
    bits = out.view(np.int32)
    np.copyto(bits, half.view(np.int16))
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, _HALF_BITS, out=bits)
    np.multiply(out, _HALF_SCALE, out=out)


def _handles_subnormals() -> bool:
    # A library built with -ffast-math can switch this thread to flushing tiny numbers to
    # zero, and the smallest halves pass through tiny floats.
    return bool((np.array([1], np.int32).view(np.float32) * _HALF_SCALE)[0] != 0)
