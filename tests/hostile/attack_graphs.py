"""Attack the reader of ONNX files: ``attack_graphs.py FOLDER COUNT SEED``.

Each file is a sound classifier that was changed: numbers that stand elsewhere, huge shapes,
loops, bytes and fields at random. Held: the features of the sound one (both engines start and
compute), or an error of icecore's. A fault is any other error, a file that was read from outside
of the folder, or the end of the process.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx_files import WIDTH, body, make, plain, save, some_images, weights

from icecore.core.errors import IcecoreError
from icecore.features.backbones import load_backbone
from icecore.features.records.spec import BackboneSpec
from icecore.features.sources import trial
from icecore.features.weights.request import WeightsRequest

PLACES = ("../secret.bin", "secret.bin", "/etc/passwd", "link.bin", "a/../../secret.bin", "pipe")


def elsewhere(model, rng: random.Random) -> None:
    """Let a tensor point to a file."""
    tensors = [*model.graph.initializer]
    node = helper.make_node("Constant", [], ["e"], value=TensorProto(name="E", dims=[WIDTH]))
    model.graph.node.insert(0, node)
    tensor = rng.choice([*tensors, model.graph.node[0].attribute[0].t])
    tensor.data_type = TensorProto.FLOAT
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=rng.choice(PLACES))
    if rng.random() < 0.5:
        tensor.external_data.add(key="offset", value=str(rng.choice([-1, 0, 4, 2**40])))


def huge(model, rng: random.Random) -> None:
    """Make gigabytes out of a few numbers."""
    sides = rng.choice([[2**34], [2**17, 2**17], [100] * 8, [2**31, 4]])
    model.graph.initializer.append(numpy_helper.from_array(np.array(sides, np.int64), "sides"))
    kind = rng.choice(["ConstantOfShape", "Expand", "Tile"])
    source = {"ConstantOfShape": ["sides"], "Expand": ["b", "sides"], "Tile": ["b", "sides"]}[kind]
    nodes = [
        helper.make_node(kind, source, ["huge"]),
        helper.make_node("ReduceMax", ["huge"], ["most"], keepdims=0),
        helper.make_node("Add", ["f", "most"], ["f2"]),
    ]
    model.graph.node[-1].input[0] = "f2"
    last = model.graph.node.pop()
    model.graph.node.extend([*nodes, last])


def shapes(model, rng: random.Random) -> None:
    """Give a tensor, or the input, other sides than it has."""
    strange = [-1, 0, 1, 3, 2**31, 2**62, -(2**63)]
    if rng.random() < 0.5:
        extent = rng.choice(model.graph.input[0].type.tensor_type.shape.dim)
        extent.dim_value = rng.choice(strange)
    else:
        dims = rng.choice(model.graph.initializer).dims
        dims[rng.randrange(len(dims))] = rng.choice(strange)


def attributes(model, rng: random.Random) -> None:
    """Give a node an attribute that it should not have."""
    node = rng.choice(model.graph.node)
    name = rng.choice(["pads", "strides", "kernel_shape", "group", "axis", "transB", "dilations"])
    number = rng.choice([-1, 0, 7, 2**31 - 1, -(2**31), 2**62])
    value = number if name in ("group", "axis", "transB") else [number] * rng.randint(0, 5)
    del node.attribute[:]
    node.attribute.append(
        helper.make_attribute(name, value, attr_type=onnx.AttributeProto.INTS)
        if isinstance(value, list)
        else helper.make_attribute(name, value)
    )


def wiring(model, rng: random.Random) -> None:
    """Connect what does not belong together, in circles if it comes so."""
    names = [name for node in model.graph.node for name in [*node.input, *node.output]]
    for _ in range(rng.randint(1, 3)):
        node = rng.choice(model.graph.node)
        node.input[rng.randrange(len(node.input))] = rng.choice([*names, "nowhere", ""])


def operators(model, rng: random.Random) -> None:
    """Put another operator in the place of one."""
    node = rng.choice(model.graph.node)
    node.op_type = rng.choice(["Conv", "Loop", "If", "Einsum", "TopK", "Nothing", "LSTM", "Range"])
    node.domain = rng.choice(["", "com.microsoft", "ai.onnx.ml"])


def steered(model, rng: random.Random) -> None:
    """Compute shapes, from constants or from the image, that onnx or an engine stumbles over."""
    node = helper.make_node
    numbers = {
        "zero": np.int64(0),
        "one": np.int64(1),
        "many": np.array([2 ** rng.randint(24, 40)]),
    }
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in numbers.items()
    )
    doubled = [node("Concat", [f"s{n}"] * 2, [f"s{n + 1}"], axis=0) for n in range(30)]
    bright = [
        node("ReduceMax", ["data"], ["most"], keepdims=0),
        node("Cast", ["most"], ["number"], to=TensorProto.INT64),
        node("Mul", ["number", "many"], ["sides"]),
    ]
    made = rng.choice(
        [
            [node("ConstantOfShape", ["many"], ["y"]), node("ConstantOfShape", ["y"], ["m"])],
            [node("Shape", ["f"], ["s0"]), *doubled, node("Identity", ["s30"], ["m"])],
            [node("MaxPool", ["r"], ["m"], kernel_shape=[2, 2], strides=[0, 0])],
            [node("Split", ["f"], ["m"], axis=0, num_outputs=2**31 - 1)],
            [*bright, node("ConstantOfShape", ["sides"], ["m"])],
            [*bright, node("Tile", ["one", "sides"], ["m"])],
            [*bright, node("Range", ["zero", "number", "one"], ["m"])],
        ]
    )
    end = [
        node("Cast", ["m"], ["whole"], to=TensorProto.FLOAT),
        node("ReduceMax", ["whole"], ["largest"], keepdims=0),
        node("Add", ["f", "largest"], ["f2"]),
    ]
    at = next(n for n, one in enumerate(model.graph.node) if "f" in one.output) + 1
    for one in model.graph.node:
        one.input[:] = ["f2" if name == "f" else name for name in one.input]
    for one in reversed([*made, *end]):
        model.graph.node.insert(at, one)


GRAPHS = (elsewhere, huge, shapes, attributes, wiring, operators, steered)


def changed_bytes(content: bytes, rng: random.Random) -> bytes:
    new = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(new))
        if rng.random() < 0.7:
            new[at] = rng.randrange(256)
        else:
            del new[at : at + rng.randint(1, 30)]
    return bytes(new)


def write(path: Path, number: int, rng: random.Random) -> tuple[str, str]:
    """Write an attack; return its spec and its name."""
    model = plain() if rng.random() < 0.7 else make([*body(), *_softmax()], weights())
    attack = (*GRAPHS, None)[number % (len(GRAPHS) + 1)]
    if attack is not None:
        attack(model, rng)
    spec = save(path, model)
    if attack is None:
        path.write_bytes(changed_bytes(path.read_bytes(), rng))
    return spec, attack.__name__ if attack else "bytes"


def _softmax() -> list:
    return [
        helper.make_node("Gemm", ["f", "k", "b"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["out"], axis=1),
    ]


def fault_of(spec: str, secret: np.ndarray) -> str:
    for engine in ("openvino", "onnxruntime"):
        try:
            one = load_backbone(BackboneSpec.parse(spec), engine, WeightsRequest())
            rows = one.start("cpu", 3).run(some_images())
        except IcecoreError as error:
            if not error.message or "\n" in error.message.strip():
                return f"{engine}: an error without one line of reason"
            continue
        except BaseException as error:
            return f"{engine}: {type(error).__name__}: {str(error)[:200]}"
        if rows.shape[0] != 3 or np.isin(rows, secret).any():
            return f"{engine}: rows {rows.shape} from outside"
    return ""


def main(folder: Path, count: int, seed: int) -> dict:
    rng, faults = random.Random(seed), 0
    here = folder / "sub"
    here.mkdir()
    secret = np.full(1000, 7777.25, np.float32)
    secret.tofile(folder / "secret.bin")
    (here / "link.bin").symlink_to(folder / "secret.bin")
    os.mkfifo(here / "pipe")
    os.chdir(folder)
    trial.LEAST_SECONDS = 4
    resource.setrlimit(resource.RLIMIT_AS, (16 * 2**30,) * 2)
    for number in range(count):
        spec, name = write(here / "net.onnx", number, rng)
        fault = fault_of(spec, secret)
        if fault:
            faults += 1
            print(f"{seed}-{number} {name}: {fault}", flush=True)
    return {"tried": count, "held": count - faults, "fault": faults}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
