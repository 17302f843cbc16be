"""Feature numbers as they are stored, and back to float32."""

from typing import NoReturn

import numpy as np

from ...core.errors import CacheError
from ...core.float16 import widen

_STORED: dict[str, np.dtype] = {
    "float16": np.dtype("<f2"),
    "float32": np.dtype("<f4"),
    "bfloat16": np.dtype("<u2"),
}
DTYPES = tuple(_STORED)
# Work goes through pieces that stay in the second-level cache.
_BLOCK_BYTES = 1 << 18
# From here on (sign apart) the two-byte types hold infinities and what is no number.
_EXPONENT = {"float16": 0x7C00, "bfloat16": 0x7F80}
_BFLOAT16_NAN = 0x7FC0


def stored_dtype(dtype: str) -> np.dtype:
    """Return the type of the numbers on the disk."""
    return _STORED[dtype]


def encode(rows: np.ndarray, dtype: str) -> np.ndarray:
    """Return feature rows in the form they are stored in.

    Parameters
    ----------
    rows : ndarray (n, D)
        Of any type of number; uint16 with `dtype` bfloat16 passes as it is.

    Returns
    -------
    ndarray (n, D), contiguous, of `stored_dtype`
        The rows themselves if they are that already.

    Raises
    ------
    CacheError
        A number is not finite, or does not fit.
    """
    target = stored_dtype(dtype)
    as_they_are = rows.dtype == target and rows.flags.c_contiguous
    stored = rows if as_they_are else np.empty(rows.shape, target)
    step = _block_rows(rows.shape[1] * target.itemsize)
    for start in range(0, len(rows), step):
        block = slice(start, start + step)
        if not as_they_are:
            stored[block] = _encode(rows[block], dtype)
        if not all_finite(stored[block], dtype):
            _refuse(rows, dtype)
    return stored


def _block_rows(row_bytes: int) -> int:
    """Return how many rows of so many bytes go through the processor's cache at a time."""
    return max(1, _BLOCK_BYTES // max(1, row_bytes))


def _encode(rows: np.ndarray, dtype: str) -> np.ndarray:
    """Convert rows; what does not fit becomes infinite or NaN."""
    target = _STORED[dtype]
    if rows.dtype == target and rows.flags.c_contiguous:
        return rows
    if dtype != "bfloat16" or rows.dtype == np.uint16:
        with np.errstate(over="ignore", invalid="ignore"):
            return np.ascontiguousarray(rows, target)
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = np.ascontiguousarray(rows, "<f4")
    bits = numbers.view("<u4")
    # Round to nearest, ties to even, as every bfloat16 hardware does.
    stored = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(target)
    # Rounding would carry a NaN's fraction into its sign.
    stored[~np.isfinite(numbers)] = _BFLOAT16_NAN
    return stored


def all_finite(stored: np.ndarray, dtype: str) -> bool:
    """Tell whether stored rows hold neither infinities nor what is no number."""
    if dtype == "float32":
        return bool(np.isfinite(stored).all())
    # Exponent bits all set mean infinite or not a number; far quicker than isfinite. As
    # unsigned integers all negative numbers come after all others, as signed ones before.
    limit = _EXPONENT[dtype]
    largest = int(stored.view(np.uint16).max(initial=0))
    if largest < limit:
        return True
    return largest < limit + 0x8000 and int(stored.view(np.int16).max(initial=0)) < limit


def _refuse(rows: np.ndarray, dtype: str) -> NoReturn:
    bad = [i for i, row in enumerate(rows) if not all_finite(_encode(row, dtype), dtype)]
    numbers = rows[bad[0]].reshape(-1, 1)
    first = next(x for x in numbers if not all_finite(_encode(x, dtype), dtype))
    raise CacheError(
        f"{len(bad)} of {len(rows)} feature rows hold numbers that {dtype} cannot "
        f"(row {bad[0]}: {first[0]})",
        'finite numbers above 65504 need precision "float32" or "bfloat16"; '
        "infinite ones come from the network",
    )


def decode_into(stored: np.ndarray, dtype: str, out: np.ndarray) -> None:
    """Write stored rows (n, D), all finite, as float32 into `out` (n, D), which may be strided."""
    if dtype == "float32":
        out[...] = stored
        return
    step = _block_rows(stored[:1].nbytes)
    for i in range(0, len(stored), step):
        part, there = stored[i : i + step], out[i : i + step]
        if dtype == "bfloat16":
            bits = there.view(np.uint32)
            np.copyto(bits, part)
            np.left_shift(bits, 16, out=bits)
        else:
            widen(part, there)
