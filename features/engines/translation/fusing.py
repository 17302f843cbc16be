"""What several nodes of an ONNX graph say in many words, and PyTorch computes in one call."""

import math
import operator

import numpy as np

from .recorder import Live, Recorder


def gelu_ends_here(r: Recorder, a, b) -> Live | None:
    """Return x where the product of `a` and `b` is x / 2 * (1 + erf(x / sqrt(2)))."""
    if isinstance(a, Live) and b == 0.5:
        product = _arguments(a.node, operator.mul)
        if product is None:
            return None
        for x, other in (product, product[::-1]):
            if _is_one_plus_erf(r, other, x):
                return Live(x, a.meta)
    return None


def _is_one_plus_erf(r: Recorder, node, x) -> bool:
    total = _arguments(node, operator.add)
    if total is None or total[1] != 1.0:
        return False
    erf = _arguments(total[0], r.torch.erf)
    if erf is None:
        return False
    scaled = _arguments(erf[0], operator.truediv)
    near = math.sqrt(2)
    if scaled is None:
        scaled, near = _arguments(erf[0], operator.mul), math.sqrt(0.5)
    return scaled is not None and scaled[0] is x and _is_near(scaled[1], near)


def _is_near(value, wanted: float) -> bool:
    return isinstance(value, float) and abs(value - wanted) < 1e-4


def _arguments(node, function) -> tuple | None:
    """Return what a node calls `function` with, or None if it is another node."""
    same = getattr(node, "op", "") == "call_function" and node.target is function
    return node.args if same else None


def attention_ends_here(r: Recorder, weights: Live, values: Live) -> Live | None:
    """Return the attention whose last step is the product of `weights` and `values`.

    It is softmax(q k) v, of rank 4, with a mask that is added or without one.
    """
    softmax = _arguments(weights.node, r.functional.softmax)
    if softmax is None or softmax[1] != 3 or weights.rank != 4 or values.rank != 4:
        return None
    scores, mask = softmax[0], None
    product = _arguments(scores, r.torch.matmul)
    if product is None:
        total = _arguments(scores, operator.add)
        if total is None or not hasattr(total[1], "op"):
            return None
        product = _arguments(total[0], r.torch.matmul)
        if product is None:
            return None
        mask = total[1]
    q, k = (r.value_of(one) for one in product)
    if q is None or k is None or q.rank != 4 or k.rank != 4:
        return None
    if mask is not None:
        mask = r.value_of(mask)
        if mask is None or mask.rank not in (2, 4):
            return None
        mask = r.cast(mask, q.meta.dtype)
    turned = r(r.torch.transpose, k, 2, 3)
    attend = r.functional.scaled_dot_product_attention
    return r(attend, q, turned, values, attn_mask=mask, scale=1.0)


def fold_norm(
    kernel: np.ndarray, bias: np.ndarray | None, norm: tuple[np.ndarray, ...], transposed: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Put a batch normalisation into the convolution before it.

    Parameters
    ----------
    kernel : ndarray of shape (out, in, ...)
    bias : ndarray of shape (out,) or None
    norm : tuple of ndarray
        Factor and shift of each channel.
    transposed : bool
        Whether `kernel` is (in, out, ...).
    """
    factor, shift = norm
    sides = [1] * kernel.ndim
    sides[1 if transposed else 0] = -1
    folded = kernel.astype(np.float64) * factor.reshape(sides)
    shift = shift if bias is None else shift + bias.astype(np.float64) * factor
    return folded.astype(np.float32), shift.astype(np.float32)
