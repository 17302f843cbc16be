"""Whether what a graph computes depends on what an image shows: then no trial tells its cost."""

from ...core.errors import BackboneError
from .determined import operator_text
from .walk import bodies_of

# Which inputs of an operator say how large its output is, how often it runs, or which part of it.
_SAY_HOW_MUCH = {
    "BlackmanWindow": (0,), "ConstantOfShape": (0,), "Expand": (1,), "HammingWindow": (0,),
    "HannWindow": (0,), "If": (0,), "Loop": (0, 1), "OneHot": (1,), "Pad": (1,),
    "Range": (0, 1, 2), "Resize": (1, 2, 3), "Tile": (1,), "Upsample": (1,),
}  # fmt: skip


def require_cost_of_no_image(graph, name: str) -> None:
    """Refuse a graph that computes more for one image than for another."""
    node = _first_steered(graph, {value.name for value in graph.input})
    if node is not None:
        raise BackboneError(
            f"{name}: how much {operator_text(node)} computes depends on what the image shows, so "
            "that nothing bounds it",
            "take another network, or export this one for images of one size",
        )


def _first_steered(graph, content: set[str]):
    """Return the first node whose work hangs on values in `content`, which grows on the way."""
    for node in graph.node:
        if node.op_type in ("Shape", "Size"):
            continue  # Alike for all images.
        steers = _SAY_HOW_MUCH.get(node.op_type, ())
        if any(node.input[at] in content for at in steers if at < len(node.input)):
            return node
        touched = any(name in content for name in node.input)
        for body in bodies_of(node):
            # A loop's first two are the number of the round and whether it goes on.
            carried = body.input[2:] if node.op_type == "Loop" else body.input
            held = content | ({value.name for value in carried} if touched else set())
            if (inner := _first_steered(body, held)) is not None:
                return inner
            outputs = [value.name for value in body.output]
            if node.op_type == "Loop" and outputs and outputs[0] in held:
                return node  # It says whether the loop goes on.
            touched = touched or any(name in held for name in outputs)
        if touched:
            content.update(filter(None, node.output))
    return None
