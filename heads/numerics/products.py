"""Matrix products in float32 by the BLAS that SciPy brings.

NumPy and SciPy each carry a BLAS of their own. NumPy 1.26, which MXNet needs, has an
OpenBLAS of 2023 that does not know processors made since: on a Xeon with AVX-512 of that
year it falls back to code for SSE3 and runs at a quarter of the speed of SciPy's. SciPy
offers its BLAS to other compiled code (`scipy.linalg.cython_blas`); its ``sgemm`` is
called from there without a copy, and without the interpreter's lock.
"""

import ctypes
import functools
import re

import numpy as np
from scipy.linalg import cython_blas

# char and int pointers as the Fortran interface has them; s is a float.
_SIGNATURE = re.compile(
    r"void \(char \*, char \*, int \*, int \*, int \*, (\w+_s|float) \*, \1 \*, int \*, "
    r"\1 \*, int \*, \1 \*, \1 \*, int \*\)"
)


def multiply(
    left: np.ndarray,
    right: np.ndarray,
    out: np.ndarray | None = None,
    keep: float = 0.0,
    factor: float = 1.0,
) -> np.ndarray:
    """Return ``factor * left @ right + keep * out``.

    Parameters
    ----------
    left : ndarray of shape (N, K), float32
    right : ndarray of shape (K, M), float32
        Both may be transposed or parts of larger arrays, which costs no copy. (Other
        types go to NumPy.)
    out : ndarray of shape (N, M), optional
        Where the product goes; must not overlap with the factors.
    keep : float, default 0
        Factor of what `out` held before; 1 costs one pass over `out` less than other numbers.
    """
    rows, inner = left.shape
    columns = right.shape[1]
    if out is None:
        out = np.empty((rows, columns), np.result_type(left, right))
    layouts = [found for array in (left, right, out) if (found := _layout(array))]
    usable = _SGEMM is not None and 0 not in (rows, inner, columns)
    if not usable or len(layouts) < 3 or layouts[2][0] != b"N":
        return _plainly(left, right, out, keep, factor)
    (flip_left, step_left), (flip_right, step_right), (_, step_out) = layouts
    # Fortran sees every array transposed, so the factors change places.
    n, m, k, step_right, step_left, step_out = _integers(
        columns, rows, inner, step_right, step_left, step_out
    )
    alpha, beta = _floats(factor, keep)
    _SGEMM(
        flip_right,
        flip_left,
        n,
        m,
        k,
        alpha,
        right.ctypes.data,
        step_right,
        left.ctypes.data,
        step_left,
        beta,
        out.ctypes.data,
        step_out,
    )
    return out


def _plainly(left, right, out: np.ndarray, keep: float, factor: float) -> np.ndarray:
    product = left @ right if keep else np.matmul(left, right, out=out)
    if factor != 1:
        product *= np.float32(factor)
    if keep:
        out *= np.float32(keep)
        out += product
    return out


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


@functools.lru_cache(maxsize=4096)
def _integers(*values: int) -> tuple:
    # Made once: the few shapes of a training return at each step.
    return tuple(ctypes.byref(ctypes.c_int(value)) for value in values)


@functools.lru_cache(maxsize=256)
def _floats(*values: float) -> tuple:
    return tuple(ctypes.byref(ctypes.c_float(value)) for value in values)


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
