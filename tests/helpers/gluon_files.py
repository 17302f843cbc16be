"""Files as others hold Gluon's weights: timm's safetensors, and ONNX of 2018."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def load_gluon_backbone(spec, request):
    """Load a network as MXNet runs it."""
    from icecore.features.sources.registry import source_of

    return source_of(spec).load_gluon(spec, request)


def timm_network(name: str, seed: int = 0):
    """Build a timm network whose normalisations have statistics worth converting."""
    import torch
    import torchvision_shim

    torchvision_shim.declare_operators()
    import timm

    torch.manual_seed(seed)
    network = timm.create_model(name, pretrained=False).eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(layer.running_mean, 0, 0.1)
            torch.nn.init.uniform_(layer.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            torch.nn.init.normal_(layer.bias, 0, 0.1)
    return network


def timm_features(network, images: np.ndarray) -> np.ndarray:
    """Compute what timm's network makes of uint8 images (N, R, R, 3)."""
    import torch

    about = network.pretrained_cfg
    scaled = (images / 255 - np.array(about["mean"])) / np.array(about["std"])
    batch = torch.from_numpy(scaled.transpose(0, 3, 1, 2).astype(np.float32))
    with torch.no_grad():
        return network.forward_head(network.forward_features(batch), pre_logits=True).numpy()


def save_safetensors(network, path: Path) -> Path:
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.numpy() for name, value in network.state_dict().items()}, path)
    return path


def export_as_in_2018(network, path: Path, names=lambda name: name) -> Path:
    """Write a Gluon classifier as the ONNX model zoo has it: opset 7, weights among the inputs.

    MXNet's own exporter does it; ``names`` may rename the tensors.
    """
    from icecore.features.gluon.loader import load_mxnet

    mx = load_mxnet()
    import onnx
    from mxnet.onnx.mx2onnx import _op_translations  # noqa: F401  (registers the converters)
    from mxnet.onnx.mx2onnx._export_onnx import MXNetGraph

    values = {parameter.name: parameter.data() for parameter in network.collect_params().values()}
    graph = MXNetGraph().create_onnx_graph_proto(
        network(mx.sym.var("data")), values, [(1, 3, 224, 224)], [1], opset_version=12
    )
    for node in graph.node:
        if node.op_type == "MaxPool":  # attributes that opset 7 does not have
            kept = [a for a in node.attribute if a.name in ("kernel_shape", "pads", "strides")]
            del node.attribute[:]
            node.attribute.extend(kept)
        node.input[:] = [names(name) if name in values else name for name in node.input]
    for entry in (*graph.initializer, *graph.input):
        entry.name = names(entry.name) if entry.name in values else entry.name
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 7)])
    model.ir_version = 3
    assert len(model.graph.input) > len(values) > 50
    onnx.save(model, str(path))
    return path
