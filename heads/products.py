"""Matrix products in float32 by the BLAS that SciPy brings.

NumPy and SciPy each carry a BLAS of their own. NumPy 1.26, which MXNet needs, has an
OpenBLAS of 2023 that does not know processors made since: on a Xeon with AVX-512 of that
year it falls back to code for SSE3 and runs at a quarter of the speed of SciPy's. SciPy
offers its BLAS to other compiled code (`scipy.linalg.cython_blas`); its ``sgemm`` is
called from there without a copy, and without the interpreter's lock.
"""

from __future__ import annotations

import ctypes
import re

import numpy as np
from scipy.linalg import cython_blas

__all__ = ["multiply"]

# char and int pointers as the Fortran interface has them; s is a float.
_SIGNATURE = re.compile(
    r"void \(char \*, char \*, int \*, int \*, int \*, (\w+_s|float) \*, \1 \*, int \*, "
    r"\1 \*, int \*, \1 \*, \1 \*, int \*\)"
)


def multiply(
    left: np.ndarray, right: np.ndarray, out: np.ndarray | None = None, keep: float = 0.0
) -> np.ndarray:
    """Return ``left @ right + keep * out``.

    Parameters
    ----------
    left : ndarray of shape (N, K), float32
    right : ndarray of shape (K, M), float32
        Both may be transposed or parts of larger arrays, which costs no copy. (Other
        types go to NumPy.)
    out : ndarray of shape (N, M), optional
        Where the product goes; must not overlap with the factors.
    keep : float, default 0
        Factor of what `out` held before.
    """
    rows, inner = left.shape
    columns = right.shape[1]
    if out is None:
        out = np.empty((rows, columns), np.result_type(left, right))
    layouts = [_layout(one) for one in (left, right, out)]
    usable = _SGEMM is not None and 0 not in (rows, inner, columns)
    if not usable or None in layouts or layouts[2][0] != b"N":
        return _plainly(left, right, out, keep)
    (flip_left, step_left), (flip_right, step_right), (_, step_out) = layouts
    # Fortran sees every array transposed, so the factors change places.
    _SGEMM(
        flip_right,
        flip_left,
        *_integers(columns, rows, inner),
        ctypes.byref(ctypes.c_float(1.0)),
        right.ctypes.data,
        *_integers(step_right),
        left.ctypes.data,
        *_integers(step_left),
        ctypes.byref(ctypes.c_float(keep)),
        out.ctypes.data,
        *_integers(step_out),
    )
    return out


def _plainly(left, right, out: np.ndarray, keep: float) -> np.ndarray:
    if keep:
        out *= np.float32(keep)
        out += left @ right
        return out
    return np.matmul(left, right, out=out)


def _layout(array: np.ndarray) -> tuple[bytes, int] | None:
    """Return whether BLAS has to transpose the array, and its row length; None if it cannot."""
    if array.dtype != np.float32 or array.ndim != 2:
        return None
    down, across = array.strides
    height, width = array.shape
    if (across == 4 or width == 1) and (down >= 4 * width or height == 1) and down % 4 == 0:
        return b"N", max(down // 4, width) if height > 1 else width
    if (down == 4 or height == 1) and across >= 4 * height and across % 4 == 0:
        return b"T", across // 4
    return None


def _integers(*values: int):
    return [ctypes.byref(ctypes.c_int(value)) for value in values]


def _find_sgemm():
    """Return SciPy's ``sgemm`` as a callable, None if its interface is another one."""
    capsule = getattr(cython_blas, "__pyx_capi__", {}).get("sgemm")
    if capsule is None:
        return None
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype = ctypes.c_char_p
    api.PyCapsule_GetName.argtypes = [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    name = api.PyCapsule_GetName(capsule)
    if not _SIGNATURE.fullmatch((name or b"").decode()):
        return None
    kinds = [ctypes.c_char_p] * 2 + [ctypes.c_void_p] * 11
    return ctypes.CFUNCTYPE(None, *kinds)(api.PyCapsule_GetPointer(capsule, name))


_SGEMM = _find_sgemm()
