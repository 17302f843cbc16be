"""The 64-bit checksum that every feature row carries.

The 64 characters of a row's key and the row's bytes after them, padded with zeros to whole
64-bit words, are read as little-endian 32-bit words ``x[j]``; the checksum is
``sum(x[j] * m[j])`` modulo 2**64, where ``m[j]`` is the j-th number of the SplitMix64
generator (seed 0) with its lowest bit set.

This is the multilinear hash of Lemire and Kaser ("Strongly universal string hashing is
fast", 2014). An odd multiplier makes every single flipped bit change the sum; any other
damage goes unseen with a chance of about 2**-32 or less. It was chosen over CRC-32 because
NumPy computes it as two dot products, at several times the speed of the disk.
"""

import functools

import numpy as np

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
_KEY_WORDS = 8
# Rows are taken in pieces that stay in the processor's second-level cache.
_BLOCK_BYTES = 1 << 20


@functools.lru_cache(maxsize=32)
def multipliers(count: int) -> np.ndarray:
    """Return the first `count` odd multipliers, uint64 (count,).

    They come from SplitMix64 (Steele, Lea and Flood, 2014) started at 0.
    """
    with np.errstate(over="ignore"):
        z = np.arange(1, count + 1, dtype=np.uint64) * _GAMMA
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        numbers = (z ^ (z >> np.uint64(31))) | np.uint64(1)
    numbers.setflags(write=False)
    return numbers


@functools.lru_cache(maxsize=32)
def _word_multipliers(first: int, words: int) -> tuple[np.ndarray, np.ndarray]:
    # With w = low + 2**32 high: low*a + high*b = w*a + high*(b - 2**32 a), so that
    # whole 64-bit words go through one dot product and their upper halves through another.
    pairs = multipliers(2 * (first + words))[2 * first :]
    a, b = pairs[0::2].copy(), pairs[1::2].copy()
    with np.errstate(over="ignore"):
        return a, b - (a << _HALF)


def row_checksums(rows: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Checksum each row together with its key.

    Parameters
    ----------
    rows : ndarray (n, D), little-endian, C-contiguous
        The rows as they are stored.
    keys : ndarray (n,) of S64
        Their keys, 64 hexadecimal digits each.

    Returns
    -------
    ndarray (n,) uint64
    """
    sums = np.zeros(len(keys), np.uint64)
    _add(sums, np.ascontiguousarray(keys).view("<u8").reshape(len(keys), _KEY_WORDS), 0)
    raw = rows.view(np.uint8).reshape(len(rows), rows.shape[1] * rows.itemsize)
    if raw.shape[1] % 8:
        raw = np.pad(raw, ((0, 0), (0, -raw.shape[1] % 8)))
    _add(sums, raw.view("<u8"), _KEY_WORDS)
    return sums


def _add(sums: np.ndarray, words: np.ndarray, first: int) -> None:
    """Add 64-bit words (n, k) times their multipliers, from the `first` word's on."""
    a, b = _word_multipliers(first, words.shape[1])
    step = max(1, _BLOCK_BYTES // max(1, 8 * words.shape[1]))
    upper = np.empty((min(step, len(words)), words.shape[1]), np.uint64)
    for start in range(0, len(words), step):
        part, there = words[start : start + step], sums[start : start + step]
        high = np.right_shift(part, _HALF, out=upper[: len(part)])
        # Integers of NumPy arrays wrap around silently, which is what is wanted.
        # A fifth quicker than `part @ a`, which for integers does not go through BLAS.
        there += np.einsum("ij,j->i", part, a)
        there += np.einsum("ij,j->i", high, b)
