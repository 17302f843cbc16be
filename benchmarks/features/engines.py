"""Images/s of every engine that is installed, on the CPU, in every precision it has there.

Run it as ``python benchmarks/features/engines.py [SPEC ...] [--weights random:0] [--rounds 5]``.
The engines' float32 features are asserted to agree before anything is timed; then all run in turn,
round after round, on the same preloaded batch, and medians are printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from icecore.core.hardware import describe_machine
from icecore.features import load_backbones
from icecore.features.engines.choose import ENGINES
from icecore.features.weights.request import WeightsRequest

SPECS = ("gluon:resnet152_v2", "gluon:inceptionv3", "gluon:densenet201", "gluon:efficientnet_lite0")
TOLERANCE = 1e-4


def start_all(spec: str, request: WeightsRequest, batch: int) -> tuple[dict, int]:
    started, side = {}, 0
    for kind in ENGINES.values():
        for precision in kind.able("cpu"):
            if spec.startswith("onnx:") and not kind.runs_graphs:
                continue
            (backbone,) = load_backbones([spec], kind.name, request, precision=precision)
            side = backbone.record.resolution
            started[kind.name, precision] = backbone.start("cpu", batch)
    return started, side


def measure(spec: str, request: WeightsRequest, batch: int, rounds: int) -> dict:
    started, side = start_all(spec, request, batch)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, side, side, 3), dtype=np.uint8)
    features = {name: engine.run(images) for name, engine in started.items()}
    reference = features.get(("mxnet", "f32"), features["onnxruntime", "f32"])
    seconds: dict = {name: [] for name in started}
    errors = {}
    for name, found in features.items():
        errors[name] = float(np.linalg.norm(found - reference) / np.linalg.norm(reference))
        assert name[1] != "f32" or errors[name] < TOLERANCE, (name, errors[name])
    for _ in range(rounds):
        for name, engine in started.items():
            begun = time.perf_counter()
            engine.run(images)
            seconds[name].append(time.perf_counter() - begun)
    base = seconds.get(("mxnet", "f32"), seconds["onnxruntime", "f32"])
    return {
        name: (
            batch / statistics.median(times),
            statistics.median(b / t for b, t in zip(base, times)),
            errors[name],
        )
        for name, times in seconds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("specs", nargs="*", default=SPECS)
    parser.add_argument("--weights", default="random:0")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    lines = [
        describe_machine("numpy", "onnxruntime", "openvino", "mxnet"), "",
        "| backbone | engine | computes in | images/s | relative to MXNet | relative error |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for spec in options.specs:
        request = WeightsRequest.parse("pretrained" if spec[:5] == "onnx:" else options.weights)
        found = measure(spec, request, options.batch_size, options.rounds)
        for (engine, precision), (rate, ratio, error) in sorted(found.items(), key=lambda i: i[1]):
            name = Path(spec).name if spec.startswith("onnx:") else spec
            lines.append(
                f"| {name} | {engine} | {precision} | {rate:.1f} | {ratio:.2f} | {error:.1e} |"
            )
            print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
