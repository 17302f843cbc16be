"""Operators that move numbers about and leave them what they are."""

import math

import numpy as np

from .recorder import Live, Operation, Recorder, RefusedError


def _reshape(r: Recorder, op: Operation) -> Live:
    x, wanted = op.inputs[0], op.integers(1, "shape")
    if not op.attributes.get("allowzero", 0):
        wanted = [x.shape[n] if extent == 0 else extent for n, extent in enumerate(wanted)]
    return r.reshaped(x, wanted)


def _flatten(r: Recorder, op: Operation) -> Live:
    x, axis = op.inputs[0], int(op.attributes.get("axis", 1))
    axis = axis + op.inputs[0].rank if axis < 0 else axis
    return r.reshaped(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


def _transpose(r: Recorder, op: Operation) -> Live:
    x = op.inputs[0]
    order = tuple(op.attributes.get("perm", range(x.rank - 1, -1, -1)))
    return r(r.torch.permute, x, order)


def _squeeze(r: Recorder, op: Operation) -> Live:
    x, axes = op.inputs[0], op.integers(1, "axes")
    gone = {n for n, side in enumerate(x.shape) if side == 1}
    if axes is not None:
        gone = {axis % x.rank for axis in axes}
    return r.reshaped(x, [side for n, side in enumerate(x.shape) if n not in gone])


def _unsqueeze(r: Recorder, op: Operation) -> Live:
    x, axes = op.inputs[0], op.integers(1, "axes")
    rank, sides = x.rank + len(axes), iter(x.shape)
    new = {axis % rank for axis in axes}
    return r.reshaped(x, [1 if n in new else next(sides) for n in range(rank)])


def _concat(r: Recorder, op: Operation) -> Live:
    kind = r.alike(*(one for one in op.inputs if isinstance(one, Live)))[0].meta.dtype
    parts = [r.tensor(one, kind) for one in op.inputs]
    return r(r.torch.cat, parts, int(op.attributes["axis"]))


def _split(r: Recorder, op: Operation) -> list[Live]:
    x, sizes = op.inputs[0], op.integers(1, "split")
    axis = op.axis(0, x.rank)
    if sizes is None:
        size = -(-x.shape[axis] // op.outputs)
        starts = range(0, x.shape[axis], size)
        sizes = [min(size, x.shape[axis] - start) for start in starts]
    starts = np.cumsum([0, *sizes[:-1]])
    return [r(r.torch.narrow, x, axis, int(s), int(n)) for s, n in zip(starts, sizes)]


def _slice(r: Recorder, op: Operation) -> Live:
    x = op.inputs[0]
    starts, ends = op.integers(1, "starts"), op.integers(2, "ends")
    axes = op.integers(3, "axes") or list(range(len(starts)))
    steps = op.integers(4) or [1] * len(starts)
    for axis, start, end, step in zip(axes, starts, ends, steps):
        side = x.shape[axis]
        taken = range(*slice(start, end, step).indices(side))
        if step == 1:
            if len(taken) != side:
                x = r(r.torch.narrow, x, axis, taken.start, len(taken))
        else:
            x = r(r.torch.index_select, x, axis, r.tensor(np.array(taken, np.int64)))
    return x


def _gather(r: Recorder, op: Operation) -> Live:
    data, wanted = op.inputs
    x = r.tensor(data)
    axis = op.axis(0, x.rank)
    if isinstance(wanted, Live):
        flat = r.reshaped(r.cast(wanted, r.torch.int64), (-1,))
    else:
        wanted = np.asarray(wanted, np.int64)
        wanted = np.where(wanted < 0, wanted + x.shape[axis], wanted)
        if wanted.ndim == 0:
            return r(r.torch.select, x, axis, int(wanted))
        flat = r.tensor(np.ravel(wanted))
    taken = r(r.torch.index_select, x, axis, flat)
    return r.reshaped(taken, (*x.shape[:axis], *wanted.shape, *x.shape[axis + 1 :]))


def _expand(r: Recorder, op: Operation) -> Live:
    x = op.inputs[0]
    return r(r.torch.broadcast_to, x, np.broadcast_shapes(x.shape, tuple(op.integers(1))))


def _tile(r: Recorder, op: Operation) -> Live:
    return r(r.torch.tile, op.inputs[0], tuple(op.integers(1)))


def _pad(r: Recorder, op: Operation) -> Live:
    x, pads = op.inputs[0], op.integers(1, "pads") or op.integers(1, "paddings")
    axes = op.integers(3) or list(range(x.rank))
    value, mode = op.known(2, "value"), op.attributes.get("mode", b"constant").decode()
    sides = [(0, 0)] * x.rank
    for n, axis in enumerate(axes):
        sides[axis] = (pads[n], pads[n + len(axes)])
    modes = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}
    if mode not in modes:
        raise RefusedError(f"of mode {mode}")
    return padded(r, x, sides, 0.0 if value is None else value.item(), modes[mode])


def padded(
    r: Recorder, x: Live, sides: list[tuple[int, int]], value: float = 0.0, mode: str = "constant"
) -> Live:
    """Pad the last axes of a value, each before and after."""
    while sides and sides[0] == (0, 0):
        sides = sides[1:]
    if not sides:
        return x
    # PyTorch counts from the last axis on.
    flat = [extent for side in reversed(sides) for extent in side]
    if mode == "constant":
        return r(r.functional.pad, x, flat, mode, value)
    return r(r.functional.pad, x, flat, mode)


def _depth_to_space(r: Recorder, op: Operation) -> Live:
    x, block = op.inputs[0], op.attributes["blocksize"]
    if op.attributes.get("mode", b"DCR") == b"CRD":
        return r(r.functional.pixel_shuffle, x, block)
    n, c, h, w = x.shape
    x = r.reshaped(x, (n, block, block, c // block**2, h, w))
    x = r(r.torch.permute, x, (0, 3, 4, 1, 5, 2))
    return r.reshaped(x, (n, c // block**2, h * block, w * block))


def _space_to_depth(r: Recorder, op: Operation) -> Live:
    x, block = op.inputs[0], op.attributes["blocksize"]
    n, c, h, w = x.shape
    x = r.reshaped(x, (n, c, h // block, block, w // block, block))
    x = r(r.torch.permute, x, (0, 3, 5, 1, 2, 4))
    return r.reshaped(x, (n, c * block**2, h // block, w // block))


OPERATORS = {
    "Concat": _concat,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Pad": _pad,
    "Reshape": _reshape,
    "Shape": lambda r, op: _shape(op),
    "Size": lambda r, op: np.array(math.prod(op.inputs[0].shape), np.int64),
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}


def _shape(op: Operation) -> np.ndarray:
    start, end = op.attributes.get("start", 0), op.attributes.get("end")
    return np.array(op.inputs[0].shape[start:end], np.int64)
