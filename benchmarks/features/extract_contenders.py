"""What benchmarks/features/extract.py compares, each in a process of its own.

Usage: python extract_contenders.py NAME JOB.json

Prints one JSON line when it is ready, and one more for each line read from the
standard input: a JSON object with ``"task"``. Processes stay apart so that their
peaks of memory do not mix, and stay alive so that runs can be made in turns.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np


def peak_mib() -> float:
    """Return the most memory that this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Reference:
    """Weights for the plain script, squares as icecore cuts them, and Gluon's features of them."""

    def __init__(self, job: dict) -> None:
        from icecore.features.backbones import load_backbones
        from icecore.features.images.decode import decode
        from icecore.features.images.fit import fit_image
        from icecore.features.weights.request import WeightsRequest

        folder = Path(job["work"])
        contents = [Path(path).read_bytes() for path in job["paths"]]
        for spec in job["specs"]:
            name = file_name(spec)
            if not job["mxnet"]:  # only squares are wanted, for the engines' own rates
                record = load_backbones([spec], "auto", WeightsRequest.parse(job["weights"], None))[
                    0
                ].record
            else:
                from icecore.features.records.spec import BackboneSpec
                from icecore.features.sources.registry import source_of

                parsed = BackboneSpec.parse(spec)
                request = WeightsRequest.parse(job["weights"], None)
                gluon = source_of(parsed).load_gluon(parsed, request)
                record = gluon.record
                gluon.network.save_parameters(str(folder / f"{name}.params"))
            squares = np.stack(
                [fit_image(decode(one), record.preprocessing, "crop") for one in contents]
            )
            np.save(folder / f"{name}.squares.npy", squares)
            if job["mxnet"]:
                few = squares[: job["agree"]]
                np.save(folder / f"{name}.gluon.npy", gluon_features(gluon, few))

    def run(self, order: dict) -> dict:
        return {}


def gluon_features(gluon, squares: np.ndarray) -> np.ndarray:
    """Run the uncut Gluon network's own ``features`` on uint8 squares."""
    if not hasattr(gluon.network, "features"):  # EfficientNet-Lite is not of GluonCV
        from icecore.features.engines.mxnet import MXNetEngine

        return MXNetEngine(gluon).run(squares)
    from icecore.features.gluon.loader import load_mxnet

    mx = load_mxnet()
    values = (squares.astype(np.float32) / 255 - gluon.record.mean) / gluon.record.std
    batch = mx.nd.array(values.transpose(0, 3, 1, 2))
    return gluon.network.features(batch).asnumpy().reshape(len(squares), -1)


class Plain:
    """The script that a user would write after GluonCV's tutorial."""

    def __init__(self, job: dict) -> None:
        # The tutorial says `import mxnet, gluoncv`; these two also work with today's NumPy.
        from icecore.features.gluon.loader import load_gluoncv, load_mxnet

        self.mx, gluoncv = load_mxnet(), load_gluoncv()
        self.paths, self.batch = job["paths"], job["batch"]
        self.networks = []
        for spec, side in zip(job["specs"], job["sides"]):
            name = spec.split(":")[1]
            network = gluoncv.model_zoo.get_model(name, pretrained=False)
            network.load_parameters(str(Path(job["work"], f"{file_name(spec)}.params")))
            network.hybridize(static_alloc=True, static_shape=True)
            self.networks.append((network, side))
            zeros = self.mx.nd.zeros((self.batch, 3, side, side))
            network.features(zeros).wait_to_read()

    def run(self, order: dict) -> dict:
        from gluoncv.data.transforms.presets.imagenet import transform_eval

        mx = self.mx
        started = time.perf_counter()
        features = []
        for network, side in self.networks:
            rows = []
            for start in range(0, len(self.paths), self.batch):
                images = [
                    transform_eval(
                        mx.image.imread(path), resize_short=int(side / 0.875), crop_size=side
                    )
                    for path in self.paths[start : start + self.batch]
                ]
                rows.append(network.features(mx.nd.concat(*images, dim=0)).asnumpy())
            features.append(np.concatenate(rows).reshape(len(self.paths), -1))
        seconds = time.perf_counter() - started
        if "save" in order:
            np.savez(order["save"], *features)
        return {"seconds": seconds}


class Bare:
    """An engine alone: uint8 batches that lie ready, one after the other."""

    def __init__(self, job: dict) -> None:
        self.batch = job["batch"]
        self.engines = []
        for spec, backbone in zip(job["specs"], load(job)):
            squares = np.load(Path(job["work"], f"{file_name(spec)}.squares.npy"))
            engine = backbone.start(job["device"], self.batch)
            engine.run(squares[: self.batch])
            self.engines.append((engine, squares))

    def run(self, order: dict) -> dict:
        started = time.perf_counter()
        for engine, squares in self.engines:
            for start in range(0, len(squares), self.batch):
                engine.run(squares[start : start + self.batch])
        return {"seconds": time.perf_counter() - started}


class Extract:
    """icecore: from a folder of files to rows on the disk."""

    def __init__(self, job: dict) -> None:
        self.job = job

    def run(self, order: dict) -> dict:
        from icecore.cache import FeatureCache
        from icecore.core.files import sha256_file
        from icecore.features import ExtractOptions, extract
        from icecore.manifest.table import Manifest, Sample

        job = self.job
        paths = order.get("paths", job["paths"])
        manifest = Manifest(tuple(Sample(str(path), str(path)) for path in paths))
        with tempfile.TemporaryDirectory(dir=job["work"]) as folder:
            report = extract(
                manifest,
                Path(folder, "cache"),
                job["specs"],
                ExtractOptions(
                    engine=job["engine"],
                    device=job["device"],
                    precision="float32" if "save" in order else "float16",
                    precision_compute=job["compute"],
                    decode=job["decode"],
                    accept_error=1.0,  # it is measured and bounded there
                    weights=job["weights"],
                    batch_size=job["batch"],
                ),
            )
            if report.failures or report.computed != len(paths):
                raise SystemExit(f"{report.failures[:3]}, {report.computed} of {len(paths)} images")
            if "save" in order:
                cache = FeatureCache(Path(folder, "cache"))
                keys = [sha256_file(path) for path in paths]
                names = [one["spec"] for one in report.sets]
                np.savez(order["save"], *(cache.matrix([name], keys) for name in names))
        return {
            "seconds": report.seconds + report.digesting_seconds,
            "starting": report.starting_seconds,
            "idle": 1 - report.computing_share,
            "decoding": report.decoding_share,
        }


class Decode:
    """Reduced decoding alone: what the libraries give on these processors, from files to pixels."""

    def __init__(self, job: dict) -> None:
        from icecore.core.hardware import available_cpus
        from icecore.features.images.libraries import load_simplejpeg

        self.decode, self.paths = load_simplejpeg().decode_jpeg, job["paths"]
        self.threads, self.least = available_cpus(), job["least"]

    def run(self, order: dict) -> dict:
        started = time.perf_counter()
        with ThreadPoolExecutor(self.threads) as pool:
            for _ in pool.map(self._decode, self.paths):
                pass
        return {"seconds": time.perf_counter() - started}

    def _decode(self, path: str) -> None:
        self.decode(Path(path).read_bytes(), "RGB", strict=True, **self.least)


class Torch:
    """The same job in PyTorch: channels_last, autocast, compiled; decoding in processes.

    torchvision's networks of the same names (ResNet-152 in its first version) with
    random weights: their features cannot be compared, their arithmetic is the same.
    """

    def __init__(self, job: dict) -> None:
        import torch
        import torchvision

        self.torch, self.vision, self.job = torch, torchvision, job
        names = {"resnet152_v2": "resnet152", "inceptionv3": "inception_v3"}
        self.device = torch.device(job["device"])
        self.kind = torch.float16 if self.device.type == "cuda" else torch.bfloat16
        torch.backends.cudnn.benchmark = True
        self.networks = []
        for spec, side in zip(job["specs"], job["sides"]):
            name = spec.split(":")[1]
            options = {"init_weights": False} if name == "inceptionv3" else {}
            network = torchvision.models.get_model(names.get(name, name), weights=None, **options)
            setattr(network, "classifier" if "densenet" in name else "fc", torch.nn.Identity())
            network = network.eval().to(self.device, memory_format=torch.channels_last)
            network = torch.compile(network)
            self.compute(network, torch.zeros((job["batch"], 3, side, side)))
            self.networks.append((network, side))

    def compute(self, network, batch):
        torch = self.torch
        batch = batch.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(self.device.type, self.kind):
            return network(batch)

    def run(self, order: dict) -> dict:
        started = time.perf_counter()
        for network, side in self.networks:
            rows = [self.compute(network, batch).cpu() for batch in self._batches(side)]
            self.torch.cat(rows).numpy(force=True)
        return {"seconds": time.perf_counter() - started}

    def _batches(self, side: int):
        import os

        transforms = self.vision.transforms.v2
        steps = transforms.Compose(
            [
                transforms.Resize(int(side / 0.875)),
                transforms.CenterCrop(side),
                transforms.ToImage(),
                transforms.ToDtype(self.torch.float32, scale=True),
                transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )
        return self.torch.utils.data.DataLoader(
            Photographs(self.job["paths"], steps),
            self.job["batch"],
            num_workers=len(os.sched_getaffinity(0)),
            pin_memory=self.device.type == "cuda",
        )


class Photographs:
    """A data set of files for torch's loader."""

    def __init__(self, paths: list[str], steps) -> None:
        self.paths, self.steps = paths, steps

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int):
        from PIL import Image

        with Image.open(self.paths[number]) as image:
            return self.steps(image.convert("RGB"))


def load(job: dict):
    from icecore.features.backbones import load_backbones
    from icecore.features.weights.request import WeightsRequest

    request = WeightsRequest.parse(job["weights"], None)
    return load_backbones(
        job["specs"], job["engine"], request, device=job["device"], precision=job["compute"]
    )


def file_name(spec: str) -> str:
    return spec.replace(":", "-").replace("@", "-")


CONTENDERS = {one.__name__.lower(): one for one in (Reference, Plain, Bare, Extract, Decode, Torch)}


def main() -> None:
    # Libraries print what they like; only our lines may reach the benchmark.
    answers, sys.stdout = sys.stdout, sys.stderr
    started = time.perf_counter()
    contender = CONTENDERS[sys.argv[1]](json.loads(Path(sys.argv[2]).read_text()))
    ready = {"ready": time.perf_counter() - started}
    print(json.dumps(ready), file=answers, flush=True)
    for line in sys.stdin:
        before = time.process_time()
        result = contender.run(json.loads(line))
        result |= {"processor": time.process_time() - before, "peak_mib": peak_mib()}
        print(json.dumps(result), file=answers, flush=True)


if __name__ == "__main__":
    main()
