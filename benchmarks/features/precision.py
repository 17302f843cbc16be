"""What half precision costs: bf16 and fp16 compute, float16 and bfloat16 storage, against float32.

Run it as ``python benchmarks/features/precision.py PHOTOS NETWORK.onnx [NETWORK.onnx ...] --cache
DIR [--markdown FILE]``. PHOTOS has ``train/`` and ``validation/``. Features are extracted in each
compute precision that this machine has, and stored in each precision by the real cache. Heads
with the same seeds are then trained on each; differences are paired image by image, with their
95% bootstrap interval. Everything is scored twice: on the validation split, and out of fold on
all images, which are ten times as many.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedKFold

from icecore import jobs, manifest
from icecore.cache import FeatureCache
from icecore.core.hardware import describe_machine
from icecore.features.engines.choose import ENGINES
from icecore.heads import LogisticHead, MLPClassifier, mean_interval

STORED = ("float32", "float16", "bfloat16")
REFERENCE = ("f32", "float32")
FOLDS = 5


@dataclasses.dataclass
class Data:
    """Features of every image under each (compute, stored), network by network, and labels."""

    features: dict[tuple[str, str], list[np.ndarray]]
    labels: np.ndarray
    validation: np.ndarray
    names: list[str]

    def joined(self, variant: tuple[str, str], networks: list[int]) -> np.ndarray:
        return np.concatenate([self.features[variant][index] for index in networks], axis=1)


def extract(photos: Path, networks: list[Path], cache: Path, computes: list[str]) -> Data:
    identities, labels, validation = _samples(photos)
    features = {}
    for compute in computes:
        report = jobs.extract(
            photos, cache, [f"onnx:{path}" for path in networks],
            jobs.ExtractOptions(
                precision="float32", precision_compute=compute, batch_size=32, accept_error=1.0
            ),
        )  # fmt: skip
        assert {one["compute_precision"] for one in report.sets} == {compute}
        keys = [report.manifest.images[identity].digest for identity in identities]
        sets = {one.fingerprint: one for one in FeatureCache(cache).sets()}
        rows = [sets[one["fingerprint"]].matrix(keys) for one in report.sets]
        for stored in STORED:
            features[compute, stored] = [_through_the_cache(row, keys, stored) for row in rows]
    return Data(features, labels, validation, [path.stem for path in networks])


def _samples(photos: Path):
    """Return ids, classes, and which are of the validation split; ids are split/class/file."""
    identities = list(manifest.read(photos).images)
    splits, classes = zip(*(identity.split("/")[:2] for identity in identities))
    labels, validation = np.array(classes), np.array(splits) == "validation"
    assert 0 < validation.sum() < len(labels), "photos/train and photos/validation are needed"
    return identities, labels, validation


def _through_the_cache(rows: np.ndarray, keys: list[str], stored: str) -> np.ndarray:
    """Write rows into a cache of this precision and read them again: no rounding of our own."""
    if stored == "float32":
        return rows
    unique = dict(zip(keys, rows))
    record = {
        "backbone": {"spec": "bench:it"}, "fit": "crop", "views": ["center"],
        "precision": stored, "layer": "pool",
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        one = FeatureCache.create(folder).open_set(record, "bench:it", rows.shape[1], dtype=stored)
        one.append(list(unique), np.stack(list(unique.values())))
        found = one.matrix(keys)
    if stored == "float16":
        np.testing.assert_array_equal(found, rows.astype(np.float16).astype(np.float32))
    return found


def relative_errors(data: Data, variant: tuple[str, str]) -> list[float]:
    return [
        float(np.linalg.norm(found - exact) / np.linalg.norm(exact))
        for found, exact in zip(data.features[variant], data.features[REFERENCE])
    ]


def heads(seeds: int) -> dict[str, list]:
    return {
        "logistic regression": [lambda: LogisticHead()],
        "MLP": [
            lambda seed=seed: MLPClassifier(128, dropout=0.5, epochs=14, random_state=seed)
            for seed in range(seeds)
        ],
    }


def score(make: list, train, test, y_train, y_test) -> tuple[np.ndarray, np.ndarray]:
    """Losses and hits of each test image, (seeds, N)."""
    losses, hits = [], []
    for one in make:
        head = one().fit(train, y_train)
        p = head.predict_proba(test)
        column = {name: index for index, name in enumerate(head.classes_)}
        codes = np.array([column[name] for name in y_test])
        losses.append(-np.log(np.clip(p[np.arange(len(codes)), codes], 1e-15, None)))
        hits.append((p.argmax(axis=1) == codes).astype(float))
    return np.array(losses), np.array(hits)


def on_validation(data: Data, variant, networks, make, predicted=None):
    rows = data.joined(variant, networks)
    test = rows if predicted is None else data.joined(predicted, networks)
    held = data.validation
    return score(make, rows[~held], test[held], data.labels[~held], data.labels[held])


def out_of_fold(data: Data, variant, networks, make):
    rows, y = data.joined(variant, networks), data.labels
    losses = np.zeros((len(make), len(y)))
    hits = np.zeros_like(losses)
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(rows, y):
        losses[:, test], hits[:, test] = score(make, rows[train], rows[test], y[train], y[test])
    return losses, hits


def compare(found, reference) -> list[str]:
    """Cells: accuracy and its difference, log-loss and its difference, with intervals."""
    (losses, hits), (ref_losses, ref_hits) = found, reference
    cells = [f"{100 * hits.mean():.2f}"]
    cells.append(_difference(100 * (hits - ref_hits), "{:+.2f}"))
    cells.append(f"{losses.mean():.4f}")
    cells.append(_difference(losses - ref_losses, "{:+.4f}"))
    return cells


def _difference(values: np.ndarray, form: str) -> str:
    by_image = values.mean(axis=0)
    low, high = mean_interval(by_image)
    return f"{form.format(by_image.mean())} ({form.format(low)} to {form.format(high)})"


COLUMNS = ("features", "compute", "stored", "accuracy %", "difference", "log-loss", "difference")


@dataclasses.dataclass
class Bench:
    """What the parts of the report share."""

    data: Data
    computes: list[str]
    kind: str
    make: list

    @property
    def variants(self) -> list[tuple[str, str]]:
        """Storage alone, compute alone, and compute with the default storage."""
        found = [("f32", "float16"), ("f32", "bfloat16")]
        for compute in self.computes[1:]:
            found += [(compute, "float32"), (compute, "float16")]
        return found

    @property
    def everything(self) -> tuple[str, list[int]]:
        return "all side by side", list(range(len(self.data.names)))

    @property
    def times(self) -> str:
        return f", mean of {len(self.make)} seeds" if len(self.make) > 1 else ""


def part_errors(bench: Bench) -> list[str]:
    lines = ["## Relative error of the features (L2, against f32 stored as float32)", ""]
    lines += _head("compute", "stored", *bench.data.names)
    for compute, stored in bench.variants:
        errors = [f"{error:.1e}" for error in relative_errors(bench.data, (compute, stored))]
        lines.append(_row(compute, stored, *errors))
    return lines


def part_validation(bench: Bench) -> list[str]:
    count = bench.data.validation.sum()
    lines = [f"## {bench.kind}: validation split, {count} images{bench.times}", ""]
    lines += _head(*COLUMNS)
    for group in [*((name, [i]) for i, name in enumerate(bench.data.names)), bench.everything]:
        lines += _against_reference(bench, *group, on_validation)
    return lines


def part_folds(bench: Bench) -> list[str]:
    count = len(bench.data.labels)
    lines = [f"## {bench.kind}: out of fold, {count} images{bench.times}", "", *_head(*COLUMNS)]
    return lines + _against_reference(bench, *bench.everything, out_of_fold)


def _against_reference(bench: Bench, name: str, networks: list[int], how) -> list[str]:
    reference = how(bench.data, REFERENCE, networks, bench.make)
    lines = [_row(name, *REFERENCE, *_plain(reference))]
    for variant in bench.variants:
        found = how(bench.data, variant, networks, bench.make)
        lines.append(_row(name, *variant, *compare(found, reference)))
        print(lines[-1], flush=True)
    return lines


def part_crossed(bench: Bench) -> list[str]:
    """Heads that were trained on one compute precision are asked about another."""
    name, networks = bench.everything
    count = bench.data.validation.sum()
    title = "trained in one compute precision, asked in another (difference to its own)"
    lines = [f"## {bench.kind}: {title}, {count} images{bench.times}", ""]
    lines += _head("features", "trained", "asked", *COLUMNS[3:])
    others = bench.computes[1:]
    for trained, asked in [(c, "f32") for c in others] + [("f32", c) for c in others]:
        own, other = (trained, "float16"), (asked, "float16")
        same = on_validation(bench.data, own, networks, bench.make)
        crossed = on_validation(bench.data, own, networks, bench.make, other)
        lines.append(_row(name, trained, asked, *compare(crossed, same)))
    return lines


PARTS = {
    "errors": part_errors,
    "validation": part_validation,
    "folds": part_folds,
    "crossed": part_crossed,
}


def _plain(reference) -> list[str]:
    losses, hits = reference
    spread = ""
    if len(hits) > 1:
        spread = f"seeds differ by {100 * hits.mean(axis=1).std(ddof=1):.2f}"
    loss_spread = f"by {losses.mean(axis=1).std(ddof=1):.4f}" if spread else ""
    return [f"{100 * hits.mean():.2f}", spread, f"{losses.mean():.4f}", loss_spread]


def _head(*names: str) -> list[str]:
    return [_row(*names), "|" + "---|" * len(names)]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("networks", type=Path, nargs="+")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--part", choices=PARTS, action="append", help="Default: all.")
    parser.add_argument("--head", choices=heads(0), action="append", help="Default: all.")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    able = ENGINES["openvino"].able("cpu") or ("f32",)
    computes = ["f32", *(one for one in ("bf16", "fp16") if one in able)]
    data = extract(options.photos, options.networks, options.cache, computes)
    lines = [describe_machine("numpy", "onnxruntime", "openvino")]
    for number, (kind, make) in enumerate(heads(options.seeds).items()):
        for part in options.part or PARTS:
            # The features' errors are the same whatever the head.
            if kind in (options.head or heads(0)) and (part != "errors" or number == 0):
                lines += ["", *PARTS[part](Bench(data, computes, kind, make))]
    text = "\n".join(lines) + "\n"
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
