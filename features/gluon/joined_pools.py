"""Networks that join the averages of several maps, as DLA does, with another pool."""

from ..graphs.cutting import pool_nodes

_PASSED = frozenset("Flatten Identity Reshape Squeeze".split())


def pool_joined_maps(model, pool: str) -> bool:
    """Put another pool in the place of averages that are joined before the classifier, in place.

    Parameters
    ----------
    model : onnx.ModelProto
        A classifier.
    pool : str
        One of `icecore.features.records.layer.POOLS`.

    Returns
    -------
    bool
        Whether it is such a network.
    """
    producers = {output: node for node in model.graph.node for output in node.output}
    node = producers.get(model.graph.output[0].name)
    while node is not None and node.op_type not in ("Conv", "Gemm"):
        node = producers.get(node.input[0])
    node = node and _before_reshapes(producers, node.input[0])
    if node is None or node.op_type != "Concat":
        return False
    joined = [_before_reshapes(producers, name) for name in node.input]
    if any(one is None or one.op_type != "GlobalAveragePool" for one in joined):
        return False
    names, nodes = {one.output[0] for one in joined}, []
    for one in model.graph.node:
        if one.output[0] not in names:
            nodes.append(one)
            continue
        pooled, tensors = pool_nodes(one.input[0], pool, one.output[0])
        nodes += pooled
        model.graph.initializer.extend(tensors)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return True


def _before_reshapes(producers: dict, name: str):
    node = producers.get(name)
    while node is not None and node.op_type in _PASSED:
        node = producers.get(node.input[0])
    return node
