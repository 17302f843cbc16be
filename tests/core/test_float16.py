"""float16 to float32: bit for bit what NumPy makes of it."""

import numpy as np

from icecore.core.float16 import widen

ALL = np.arange(2**16, dtype=np.uint16).view(np.float16)
FINITE = ALL[np.isfinite(ALL)].reshape(62, -1)


def test_every_finite_number_is_numpys():
    out = np.empty(FINITE.shape, np.float32)
    widen(FINITE, out)
    assert out.tobytes() == FINITE.astype(np.float32).tobytes()


def test_rows_may_lie_apart():
    wide = np.zeros((len(FINITE), 2 * FINITE.shape[1]), np.float32)
    widen(FINITE[:, ::-1].copy(), wide[:, FINITE.shape[1] :])
    assert not wide[:, : FINITE.shape[1]].any()
    assert np.array_equal(wide[:, FINITE.shape[1] :], FINITE[:, ::-1].astype(np.float32))


def test_wider_numbers_are_copied():
    for dtype in (np.float32, np.float64):
        out = np.empty((2, 3), np.float32)
        widen(np.arange(6, dtype=dtype).reshape(2, 3), out)
        assert out.tolist() == [[0, 1, 2], [3, 4, 5]]
