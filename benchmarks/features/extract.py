"""Speed and memory of extraction, after equal features have been asserted.

Usage: python benchmarks/features/extract.py [PART ...] [options]

three   ResNet152_v2, InceptionV3 and DenseNet201 together at native resolution: the plain
        MXNet/GluonCV script, icecore on each engine, and the engines alone
light   EfficientNet-Lite0 against the engines alone: decoding is a large part of the work
photographs  EfficientNet-Lite0 on photographs of 12 megapixels: decoded in full, and at the
        scale that suffices, against decoding at this scale alone
memory  peak memory over 2,000 and over 20,000 small images
torch   the three networks against PyTorch; needs --torch, and --device cuda:0 to mean much

Every contender is measured in this run, in turns, each in a process of its own. Rates
count from files to rows on the disk; starting the engines is shown apart, and building
the networks is not counted for the plain script either.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np

from icecore.core.hardware import describe_machine

CONTENDERS = Path(__file__).resolve().with_name("extract_contenders.py")
PACKAGES = ("mxnet", "gluoncv", "onnxruntime", "openvino", "opencv-python-headless")
THREE = ["gluon:resnet152_v2", "gluon:inceptionv3", "gluon:densenet201"]
THREE_SIDES = [224, 299, 224]
LIGHT = ["gluon:efficientnet_lite0"]
# Relative L2 distance of features from Gluon's own, of the same squares.
BOUNDS = {"f32": 1e-4, "bf16": 2e-2, "fp16": 5e-3}
BAR_PLAIN = {"f32": 1.9, "bf16": 3.6, "fp16": 3.6}
BAR_BARE = {"three": 0.92, "light": 0.85}
BAR_MIB = 3 * 1024
BAR_FULL, BAR_DECODING = 2.5, 0.85
MEGAPIXELS = 12
# Of the features of a photograph that was decoded in full and at a scale.
LEAST_COSINE = 0.97
AGREE = 32  # images whose features are compared


def main() -> None:
    arguments = parse_arguments()
    print(describe_machine(*PACKAGES), f"load {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(arguments.work or folder)
        work.mkdir(parents=True, exist_ok=True)
        for part in arguments.parts or ["three", "light", "memory"]:
            PARTS[part](arguments, work)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[], metavar="part")
    parser.add_argument("--data", type=Path, help="folder of photographs")
    parser.add_argument("--images", type=int, default=96, help="photographs of 'three'")
    parser.add_argument("--light-images", type=int, default=1024, help="photographs of 'light'")
    parser.add_argument("--photographs", type=int, default=60, help="those of 'photographs'")
    parser.add_argument("--small-images", type=int, default=20_000, help="images of 'memory'")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, in turns")
    parser.add_argument("--light-rounds", type=int, default=9, help="the same for 'light'")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument(
        "--setups",
        default="openvino:f32,openvino:bf16,onnxruntime:f32,mxnet:f32",
        help="engines with the precision they compute in",
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda:0")
    parser.add_argument("--torch", help="a Python that has torch and torchvision")
    parser.add_argument("--work", help="keep intermediate files here")
    return parser.parse_args()


class Worker:
    """A contender's process."""

    def __init__(self, name: str, job: dict, python: str = sys.executable) -> None:
        self.name = name
        self._job = Path(job["work"], f"job-{name}-{job['engine']}-{job['compute']}.json")
        self._job.write_text(json.dumps(job))
        # What libraries have to say goes where it can be read after a failure.
        self._said = open(self._job.with_suffix(".log"), "w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [python, str(CONTENDERS), name, str(self._job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        self.ready_seconds = self._answer()["ready"]

    def run(self, **order) -> dict:
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def stop(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._said.close()

    def _answer(self) -> dict:
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        self._said.seek(0)
        raise SystemExit(f"{self.name} failed:\n{self._said.read()[-3000:]}")


def photographs(folder: Path | None, count: int) -> list[str]:
    """Return `count` photographs, spread evenly over the folder, no two alike."""
    if folder is None:
        raise SystemExit("give --data FOLDER with photographs")
    found = {path.read_bytes(): str(path) for path in sorted(folder.rglob("*.jpg"))}
    paths = list(found.values())
    if len(paths) < count:
        raise SystemExit(f"{folder} has {len(paths)} different photographs, not {count}")
    return [paths[i * len(paths) // count] for i in range(count)]


def make_job(arguments, work: Path, specs: list[str], paths: list[str], **more) -> dict:
    return {
        "work": str(work),
        "specs": specs,
        "sides": THREE_SIDES,
        "paths": paths,
        "batch": arguments.batch,
        "device": arguments.device,
        "weights": "random:0",
        "agree": AGREE,
        "engine": "auto",
        "compute": "f32",
        "decode": "fast",
        "mxnet": True,
    } | more


def benchmark_three(arguments, work: Path) -> None:
    paths = photographs(arguments.data, arguments.images)
    job = make_job(arguments, work, THREE, paths)
    print(f"\nthree networks, {len(paths)} photographs, batches of {arguments.batch}")
    Worker("reference", job).stop()
    plain = Worker("plain", job)
    plain.run(save=str(work / "plain.npz"))
    setups = start_setups(arguments, job)
    for setup, (_, ours) in setups.items():
        ours.run(save=str(work / "ours.npz"))
        assert_agreement(work, setup, with_plain=True)
    rounds = []
    for _ in range(arguments.rounds):
        base = plain.run()
        found = {setup: (bare.run(), ours.run()) for setup, (bare, ours) in setups.items()}
        rounds.append((base, found))
        print(f"  plain {len(paths) / base['seconds']:.2f} images/s", flush=True)
    report("three", len(paths), rounds)
    stop([plain], *setups.values())


def benchmark_light(arguments, work: Path) -> None:
    paths = photographs(arguments.data, arguments.light_images)
    job = make_job(arguments, work, LIGHT, paths, weights="pretrained")
    print(f"\nEfficientNet-Lite0, {len(paths)} photographs, batches of {arguments.batch}")
    Worker("reference", job).stop()
    setups = start_setups(arguments, job)
    for setup, (_, ours) in setups.items():
        ours.run(save=str(work / "ours.npz"))
        assert_agreement(work, setup, with_plain=False)
    rounds = []
    for number in range(arguments.light_rounds):
        found = {}
        for setup, (bare, ours) in setups.items():
            # A machine that grows faster or slower meanwhile favours neither.
            if number % 2:
                found[setup] = (ours.run(), bare.run())[::-1]
            else:
                found[setup] = (bare.run(), ours.run())
        rounds.append((None, found))
    report("light", len(paths), rounds)
    stop(*setups.values())


def benchmark_photographs(arguments, work: Path) -> None:
    """Both ways to decode in turns, and the libraries' reduced decoding alone."""
    small = photographs(arguments.data, arguments.photographs)
    paths = enlarged(small, work / "photographs")
    least = {"min_width": 363, "min_height": 363}  # as EfficientNet-Lite0 needs, see scale.py
    engine, compute = arguments.setups.split(",")[0].split(":")
    job = make_job(arguments, work, LIGHT, paths, engine=engine, compute=compute)
    job |= {"weights": "pretrained", "least": least}
    size = sum(Path(path).stat().st_size for path in paths) / len(paths) / 1e6
    print(
        f"\nEfficientNet-Lite0, {len(paths)} photographs of {MEGAPIXELS} megapixels, {size:.1f} MB"
    )
    Worker("reference", job | {"mxnet": False}).stop()
    workers = {
        "full": Worker("extract", job | {"decode": "full"}),
        "fast": Worker("extract", job),
        "decoding": Worker("decode", job),
        "engine": Worker("bare", job),
    }
    rows = {}
    for name in ("full", "fast"):
        workers[name].run(save=str(work / f"{name}.npz"))
        rows[name] = np.load(work / f"{name}.npz")["arr_0"]
    cosines = (rows["full"] * rows["fast"]).sum(1)
    cosines /= np.linalg.norm(rows["full"], axis=1) * np.linalg.norm(rows["fast"], axis=1)
    text = f"  cosine of features {cosines.mean():.4f} on average, {cosines.min():.4f} at least"
    assert cosines.mean() > LEAST_COSINE, text
    print(text, flush=True)
    rounds = []
    for number in range(arguments.rounds):
        order = list(workers)[:: -1 if number % 2 else 1]
        rounds.append({name: workers[name].run() for name in order})
    rates = {n: median(len(paths) / one[n]["seconds"] for one in rounds) for n in workers}
    faster = median(one["full"]["seconds"] / one["fast"]["seconds"] for one in rounds)
    share = median(one["decoding"]["seconds"] / one["fast"]["seconds"] for one in rounds)
    # What would be left if nothing else took time: all of them use every processor.
    least = [one["decoding"]["seconds"] + one["engine"]["seconds"] for one in rounds]
    both = median(both / one["fast"]["seconds"] for both, one in zip(least, rounds))
    most_faster = median(one["full"]["seconds"] / both for both, one in zip(least, rounds))
    most_share = median(one["decoding"]["seconds"] / both for both, one in zip(least, rounds))
    print(
        f"  {', '.join(f'{name} {rate:.1f}' for name, rate in rates.items())} images/s: "
        f"{faster:.2f} times full ({met(faster >= BAR_FULL)} {BAR_FULL}), "
        f"{share:.2f} of decoding alone ({met(share >= BAR_DECODING)} {BAR_DECODING}), "
        f"{both:.2f} of decoding and the engine, one after the other; "
        f"no more than {most_faster:.2f} times full and {most_share:.2f} of decoding can be had",
        flush=True,
    )
    stop(list(workers.values()))


def enlarged(paths: list[str], folder: Path) -> list[str]:
    """Write photographs of 12 megapixels, with a sensor's noise, as a camera compresses them."""
    import cv2

    folder.mkdir(exist_ok=True)
    grain = np.random.default_rng(0).normal(0, 3, (4096, 4096, 3)).clip(-12, 12).astype(np.int8)
    made = []
    for number, path in enumerate(paths):
        made.append(str(folder / f"{number:04d}.jpg"))
        image = cv2.imread(path)
        scale = (MEGAPIXELS * 1e6 / (image.shape[0] * image.shape[1])) ** 0.5
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        height, width = image.shape[:2]
        noise = np.resize(np.roll(grain, 17 * number, axis=1), (4096, max(4096, width), 3))
        noise = np.pad(noise, ((0, max(0, height - 4096)), (0, 0), (0, 0)), "wrap")
        image = (image.astype(np.int16) + noise[:height, :width]).clip(0, 255).astype(np.uint8)
        cv2.imwrite(made[-1], image, [cv2.IMWRITE_JPEG_QUALITY, 92])
    return made


def benchmark_memory(arguments, work: Path) -> None:
    """Run over few and over many small images, each in a fresh process."""
    paths = small_images(work / "small", arguments.small_images)
    specs = ["gluon:efficientnet_lite0@64"]
    print(f"\nmemory: EfficientNet-Lite0 at 64 pixels, {len(paths)} small images")
    peaks = []
    for count in (len(paths) // 10, len(paths)):
        job = make_job(arguments, work, specs, paths[:count], weights="pretrained")
        worker = Worker("extract", job)
        result = worker.run()
        worker.stop()
        peaks.append(result["peak_mib"])
        print(
            f"  {count:6d} images: {count / result['seconds']:6.0f} images/s, "
            f"peak {result['peak_mib']:.0f} MiB, engine idle {result['idle']:.0%}",
            flush=True,
        )
    grown = (peaks[1] - peaks[0]) / (len(paths) * 0.9) * 1e6 / 1024
    print(f"  growth {grown:.2f} GiB for a million images more")


def benchmark_torch(arguments, work: Path) -> None:
    if not arguments.torch:
        raise SystemExit("give --torch PYTHON: an interpreter that has torch and torchvision")
    paths = photographs(arguments.data, arguments.images)
    engine, compute = arguments.setups.split(",")[0].split(":")
    job = make_job(arguments, work, THREE, paths, engine=engine, compute=compute)
    other, ours = Worker("torch", job, arguments.torch), Worker("extract", job)
    print(f"\nthree networks on {arguments.device}: torch, and icecore on {engine} in {compute}")
    ours.run(), other.run()
    for _ in range(arguments.rounds):
        theirs, mine = other.run(), ours.run()
        rates = [len(paths) / one["seconds"] for one in (theirs, mine)]
        print(
            f"  torch {rates[0]:.1f} images/s, icecore {rates[1]:.1f} "
            f"({rates[1] / rates[0]:.2f} times), engine idle {mine['idle']:.0%}",
            flush=True,
        )
    stop([other, ours])


def start_setups(arguments, job: dict) -> dict[str, tuple[Worker, Worker]]:
    setups = {}
    for setup in arguments.setups.split(","):
        engine, compute = setup.split(":")
        own = job | {"engine": engine, "compute": compute}
        setups[setup] = (Worker("bare", own), Worker("extract", own))
    return setups


def stop(*groups) -> None:
    for worker in [worker for group in groups for worker in group]:
        worker.stop()


def assert_agreement(work: Path, setup: str, with_plain: bool) -> None:
    """Compare our rows with Gluon's features of equal squares, and with the plain script's."""
    specs = THREE if with_plain else LIGHT
    ours = list(np.load(work / "ours.npz").values())
    plain = list(np.load(work / "plain.npz").values()) if with_plain else [None] * len(ours)
    for spec, rows, other in zip(specs, ours, plain):
        gluon = np.load(work / f"{spec.replace(':', '-')}.gluon.npy")
        error = np.linalg.norm(rows[:AGREE] - gluon) / np.linalg.norm(gluon)
        text = f"  {setup} {spec}: equal squares differ by {error:.1e} (relative L2)"
        assert error < BOUNDS[setup.split(":")[1]], text
        if other is not None:
            cosines = (rows * other).sum(1) / np.linalg.norm(rows, axis=1)
            cosines /= np.linalg.norm(other, axis=1)
            centred = np.linalg.norm(rows - other) / np.linalg.norm(other - other.mean(0))
            text += f", from files cosine >= {cosines.min():.4f}, {centred:.1%} of the spread"
            assert cosines.min() > 0.98, text
        print(text, flush=True)


def report(part: str, images: int, rounds: list) -> None:
    """Print medians over the rounds; ratios are medians of each round's own ratio."""
    if rounds[0][0] is not None:
        rate = median(images / base["seconds"] for base, _ in rounds)
        peak = max(base["peak_mib"] for base, _ in rounds)
        print(f"  {'plain MXNet script':20s} {rate:7.2f} images/s, peak {peak:.0f} MiB")
    for setup in rounds[0][1]:
        pairs = [found[setup] for _, found in rounds]
        rate = median(images / ours["seconds"] for _, ours in pairs)
        shares = [bare["seconds"] / ours["seconds"] for bare, ours in pairs]
        share = median(shares)
        last = pairs[-1][1]
        peak = max(ours["peak_mib"] for _, ours in pairs)
        parts = [f"{setup:20s} {rate:7.2f} images/s"]
        if rounds[0][0] is not None:
            times = median(b["seconds"] / found[setup][1]["seconds"] for b, found in rounds)
            bar = BAR_PLAIN[setup.split(":")[1]]
            parts.append(f"{times:.2f} times plain ({met(times >= bar)} {bar})")
        bar = BAR_BARE[part]
        spread = f"{min(shares):.3f} to {max(shares):.3f}"
        parts.append(f"{share:.3f} of the bare engine ({spread}; {met(share >= bar)} {bar})")
        idle = median(ours["idle"] for _, ours in pairs)
        parts.append(f"engine idle {idle:.1%}, decoders busy {last['decoding']:.1%}")
        parts.append(f"peak {peak:.0f} MiB ({met(peak < BAR_MIB)} {BAR_MIB})")
        parts.append(f"starting {last['starting']:.1f} s")
        print("  " + ", ".join(parts), flush=True)


def met(good: bool) -> str:
    return "bar met:" if good else "bar MISSED:"


def small_images(folder: Path, count: int) -> list[str]:
    """Draw small JPEG and PNG files, no two alike."""
    from PIL import Image

    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        path = folder / f"{number:06d}.{'png' if number % 4 == 0 else 'jpg'}"
        if not path.exists():
            coarse = rng.integers(0, 256, (9, 8, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((80, 90), Image.Resampling.BICUBIC).save(path)
        paths.append(str(path))
    return paths


PARTS = {
    "three": benchmark_three,
    "light": benchmark_light,
    "photographs": benchmark_photographs,
    "memory": benchmark_memory,
    "torch": benchmark_torch,
}

if __name__ == "__main__":
    main()
