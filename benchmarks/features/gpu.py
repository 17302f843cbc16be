"""What has to be seen on a GPU; `gpu.sh` runs it, on a CPU in full as well.

The engines' features are asserted to agree before anything is timed. Contenders run in turn,
round after round, on the same images, and medians are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from icecore import jobs
from icecore.core.errors import IcecoreError
from icecore.core.hardware import available_cpus
from icecore.features import find_gpus, load_backbones
from icecore.features.engines.base import Setup
from icecore.features.engines.choose import ENGINES
from icecore.features.engines.proof import prove_in_engine, random_images
from icecore.features.engines.torch import TorchEngine, load_torch
from icecore.features.engines.translation.translate import translate
from icecore.features.weights.request import WeightsRequest

NETWORKS = ("gluon:resnet152_v2", "gluon:inceptionv3", "gluon:densenet201")
ROOT = Path(__file__).resolve().parents[2]
SUITE = "tests/features/engines/test_torch.py"
HALVES = {"fp16": "float16", "bf16": "bfloat16"}


class Bench:
    """One run of all steps, each of which may fail and be noted."""

    def __init__(self, device: str, budget: float) -> None:
        self.device, self.on_cpu = device, device == "cpu"
        self.until = time.monotonic() + budget
        self.torch = load_torch()
        self.batches = (2,) if self.on_cpu else (64, 128, 256)
        self._loaded: list = []
        self.rounds = 1 if self.on_cpu else 5
        self.at_once = 1 if self.on_cpu else 20  # batches in a measurement
        self.result = {
            "device": device,
            "is_a_gpu_result": not self.on_cpu,
            "hardware": find_gpus()[0].get(device, platform.processor() or platform.machine()),
            "processors": available_cpus(),
            "torch": self.torch.__version__,
            "cuda": self.torch.version.cuda,
            "failures": {},
            "skipped": [],
        }

    def step(self, name: str, work, *arguments) -> None:
        """Run a step and keep what it found under its name."""
        if time.monotonic() > self.until:
            self.result["skipped"].append(name)
            return
        started = time.monotonic()
        try:
            found = work(*arguments)
        except (IcecoreError, RuntimeError, AssertionError, OSError) as error:
            self.result["failures"][name] = f"{type(error).__name__}: {str(error)[:400]}"
        else:
            at = self.result
            *outer, last = name.split("/")
            for part in outer:
                at = at.setdefault(part, {})
            at[last] = found
        print(f"{name}: {time.monotonic() - started:.1f} s", flush=True)

    def networks(self) -> list:
        """Return the networks; drawing their weights takes seconds."""
        if not self._loaded:
            request = WeightsRequest.parse("random:0")
            self._loaded = load_backbones(NETWORKS, "torch", request, device=self.device)
        return self._loaded

    def conformance(self) -> dict:
        """Run the engine's own tests, and the suite's properties on the device."""
        command = [sys.executable, "-m", "pytest", "-q", "-x", SUITE]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        return {"status": done.returncode, "said": done.stdout.strip().splitlines()[-1:]}

    def properties(self) -> dict:
        """See that a row is a function of its image alone, byte for byte."""
        found = {}
        for backbone in self.networks():
            side, size = backbone.record.resolution, self.batches[0]
            engine = TorchEngine(backbone.network, Setup(self.device, "f32", size))
            batch = random_images(side, size, seed=1)
            rows = engine.run(batch)
            alone = engine.run(batch[:1])
            turned = engine.run(np.roll(batch, 3, axis=0))
            with ThreadPoolExecutor(4) as pool:
                several = list(pool.map(engine.run, [batch] * 4))
            found[backbone.record.spec] = {
                "alone": bool((alone[0] == rows[0]).all()),
                "elsewhere": bool((np.roll(turned, -3, axis=0) == rows).all()),
                "again": bool(all((one == rows).all() for one in several)),
                "hardware": engine.hardware,
                "recorded_as_one_graph": getattr(engine._lanes[0], "_graph", None) is not None,
            }
        return found

    def proofs(self, precision: str) -> dict:
        """Prove the three networks in one precision."""
        found = {}
        for backbone in self.networks():
            setup = Setup(self.device, precision, self.batches[0])
            engine = TorchEngine(backbone.network, setup)
            proof = prove_in_engine(engine, backbone.network, setup)
            found[backbone.record.spec] = {"error": proof.relative_error, "judge": proof.judge}
        return found

    def speed(self, number: int, precision: str, size: int) -> dict:
        """Compare images/s of the ways to run one network, on decoded images in memory."""
        backbone = self.networks()[number]
        side = backbone.record.resolution
        setup = Setup(self.device, precision, size)
        images = random_images(side, size, seed=2)
        contenders, failed = {}, {}
        makers = {"torch": lambda: _Engine(TorchEngine(backbone.network, setup), images)}
        if not self.on_cpu:  # where its compiler takes many minutes for such networks
            made = Setup(self.device, precision, size, compiled=True)
            makers["torch, compiled"] = lambda: _Engine(TorchEngine(backbone.network, made), images)
        plain = "plain torch" if self.on_cpu else "plain torch.compile"
        makers[plain] = lambda: _Plain(self, backbone, precision, images)
        for name in ("onnxruntime", "tensorrt"):
            if precision in ENGINES[name].able(self.device):
                makers[name] = lambda kind=ENGINES[name]: _Engine(
                    kind(backbone.network, setup), images
                )
        started = {}
        for name, make in makers.items():
            begun = time.monotonic()
            try:
                contenders[name] = make()
                contenders[name].run(2)
            except (IcecoreError, RuntimeError) as error:
                failed[name] = str(error)[:300]
                contenders.pop(name, None)
            started[name] = time.monotonic() - begun
        rows = {name: one.rows() for name, one in contenders.items()}
        plain = next(iter(rows.values()))
        for name, found in rows.items():
            apart = np.linalg.norm(found - plain) / np.linalg.norm(plain)
            assert apart < (1e-3 if precision == "f32" else 5e-2), (name, float(apart))
        rates: dict = {name: [] for name in contenders}
        waiting: dict = {name: [] for name in contenders}
        for _ in range(self.rounds):
            for name, one in contenders.items():
                seconds, busy = one.run(self.at_once)
                rates[name].append(self.at_once * size / seconds)
                if busy is not None:
                    waiting[name].append(1 - busy / seconds)
        return {
            "images_per_second": {n: round(statistics.median(r), 1) for n, r in rates.items()},
            "device_waits": {n: round(statistics.median(w), 3) for n, w in waiting.items() if w},
            "seconds_to_start": {n: round(s, 1) for n, s in started.items()},
            "peak_memory_mib": self._peak(),
            "failed": failed,
        }

    def _peak(self) -> int | None:
        if self.on_cpu:
            return None
        peak = self.torch.cuda.max_memory_allocated(self.device)
        self.torch.cuda.reset_peak_memory_stats(self.device)
        self.torch.cuda.empty_cache()
        return int(peak / 2**20)

    def from_files(self, precision: str) -> dict:
        """Extract from JPEG files, to see how many processors feed the device."""
        count, size = (6, 2) if self.on_cpu else (2000, 64)
        with tempfile.TemporaryDirectory(prefix="icecore-gpu-") as folder:
            photos = Path(folder) / "photos"
            _draw_photographs(photos, count)
            report = jobs.extract(
                photos,
                Path(folder) / "cache",
                [NETWORKS[0]],
                jobs.ExtractOptions(
                    engine="torch",
                    device=self.device,
                    precision_compute=precision,
                    weights="random:0",
                    batch_size=size,
                    accept_error=0.1,
                ),
            )
        rate = report.computed / report.seconds
        decoding = report.decoding_share * available_cpus() * report.seconds / report.computed
        alone = self.result.get("speed", {}).get(NETWORKS[0], {}).get(precision, {})
        best = [r["images_per_second"]["torch"] for r in alone.values()]
        return {
            "network": NETWORKS[0],
            "images_per_second": round(rate, 1),
            "computing_share": round(report.computing_share, 3),
            "decoding_share": round(report.decoding_share, 3),
            "processor_ms_to_decode_one": round(1000 * decoding, 2),
            "processors_to_feed_one_device": round(max(best) * decoding, 1) if best else None,
        }


class _Engine:
    """An engine that is fed as the pipeline feeds it: by as many threads as it likes."""

    def __init__(self, engine, images: np.ndarray) -> None:
        self._engine, self._images = engine, images

    def rows(self) -> np.ndarray:
        return self._engine.run(self._images)

    def run(self, count: int) -> tuple[float, float | None]:
        before = getattr(self._engine, "busy_seconds", None)
        started = time.perf_counter()
        with ThreadPoolExecutor(self._engine.batches_at_once) as pool:
            list(pool.map(lambda _: self._engine.run(self._images), range(count)))
        seconds = time.perf_counter() - started
        lanes = len(getattr(self._engine, "_lanes", ())) if self._engine.image_by_image else 1
        busy = None if before is None else (self._engine.busy_seconds - before) / max(lanes, 1)
        return seconds, busy


class _Plain:
    """What a careful person writes: the same module compiled, one batch after the other."""

    def __init__(self, bench: Bench, backbone, precision: str, images: np.ndarray) -> None:
        self._torch, self._device, self._images = bench.torch, bench.device, images
        narrow = precision in HALVES and getattr(bench.torch, HALVES[precision])
        module = translate(bench.torch, backbone.graph(), images.shape, narrow or None)
        bench.torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        bench.torch.backends.cudnn.allow_tf32 = precision == "tf32"
        # On a CPU its compiler takes minutes for these networks, and has no part in the question.
        module = module.to(bench.device)
        self._module = module if bench.on_cpu else bench.torch.compile(module, dynamic=False)

    def rows(self) -> np.ndarray:
        with self._torch.inference_mode():
            pixels = self._torch.from_numpy(self._images).to(self._device)
            return self._module(pixels).cpu().numpy()

    def run(self, count: int) -> tuple[float, None]:
        started = time.perf_counter()
        for _ in range(count):
            self.rows()
        return time.perf_counter() - started, None


def _draw_photographs(folder: Path, count: int) -> None:
    """Write JPEG files of 1,024 x 768 pixels, smooth and rough, as cameras and phones would."""
    from PIL import Image

    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((1024, 768), Image.Resampling.BICUBIC)
        rough = rng.integers(0, 24, (768, 1024, 1), dtype=np.uint8)
        pixels = np.clip(np.asarray(image, np.int16) + rough - 12, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=88)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--out", type=Path)
    parser.add_argument(
        "--budget", type=float, default=450.0, help="seconds; what is left is named"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="icecore-graphs-") as graphs:
        os.environ["ICECORE_GRAPHS"] = graphs  # proofs of this run alone
        bench = Bench(options.device, options.budget)
        precisions = [one for one in TorchEngine.precisions(options.device) if one != "fp16"]
        if not bench.on_cpu:
            precisions = ["fp16", *precisions]
        bench.result["precisions"] = precisions
        bench.step("properties", bench.properties)
        for precision in precisions:
            bench.step(f"proofs/{precision}", bench.proofs, precision)
        fast = precisions[0]
        for size in bench.batches:
            for number, spec in enumerate(NETWORKS):
                if bench.on_cpu and (number or size != bench.batches[0]):
                    continue
                bench.step(f"speed/{spec}/{fast}/{size}", bench.speed, number, fast, size)
            if size == bench.batches[0]:
                bench.step("from_files", bench.from_files, fast)
        for precision in precisions[1:]:
            if not bench.on_cpu:
                size = bench.batches[0]
                name = f"speed/{NETWORKS[0]}/{precision}/{size}"
                bench.step(name, bench.speed, 0, precision, size)
        bench.step("conformance", bench.conformance)
    text = json.dumps(bench.result, indent=1)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)
    sys.exit(bool(bench.result["failures"]))


if __name__ == "__main__":
    main()
