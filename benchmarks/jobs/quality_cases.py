"""The data sets of benchmarks/jobs/quality.py, all made from photographs and drawings at hand."""

from __future__ import annotations

import csv
import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from icecore.cache import FeatureCache
from icecore.core.folds import fold_rows

__all__ = ["Case", "Split", "cases", "extract", "write_table"]

MOST_TEST_ROWS = 2000


def deal(y: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Deal rows into folds; as when the first results were made, so that new ones compare."""
    known, group = np.unique(groups, return_inverse=True)
    least = np.full(len(known), y.max() + 1)
    np.minimum.at(least, group, y)
    place = np.empty(len(known), dtype=int)
    shuffled = np.random.default_rng(seed).random(len(known))
    place[np.lexsort((shuffled, least))] = np.arange(len(known))
    return (place % folds)[group]


@dataclasses.dataclass(frozen=True)
class Split:
    """Rows to learn from and unseen rows, as numbers of a case's rows."""

    name: str
    learn: np.ndarray
    test: np.ndarray


@dataclasses.dataclass(frozen=True)
class Case:
    """A data set: features in a cache, labels, and how rows are kept unseen.

    Attributes
    ----------
    name : str
    cache : Path
    sets : tuple of str
        Specs of the feature sets that every method gets, side by side.
    keys : tuple of str, length N
        Digests of the images: keys of the features, and groups that stay together.
    given, true : ndarray of str, shape (N,)
        Labels to learn from, and the right ones.
    rows : int
        Rows to learn from in each of `repeats` random splits; 0 for folds.
    repeats : int
        Number of random splits, or of folds.
    answer : str
        Which answer of the blend is taken.
    right : bool
        Whether answers are judged by the right labels, or by labels like those to learn from.
    shared : str
        The data set with the same rows to learn from and unseen rows: rivals answer once.
    """

    name: str
    cache: Path
    sets: tuple[str, ...]
    keys: tuple[str, ...]
    given: np.ndarray
    true: np.ndarray
    rows: int = 0
    repeats: int = 3
    answer: str = "recommended"
    right: bool = True
    shared: str = ""

    @property
    def judged(self) -> np.ndarray:
        """Labels (N,) that answers are judged by."""
        return self.true if self.right else self.given

    def features(self) -> np.ndarray:
        """Return the features of all rows, (N, D) of float32."""
        store = FeatureCache(self.cache)
        matrix = store.matrix(list(self.sets), self.keys).astype(np.float32)
        return matrix

    def splits(self) -> Iterator[Split]:
        """Yield the splits; equal images are never on both sides."""
        classes, y = np.unique(self.true, return_inverse=True)
        images = np.unique(self.keys, return_inverse=True)[1]
        if not self.rows:
            fold = deal(y, images, self.repeats, seed=1)
            for number, (learn, test) in enumerate(fold_rows(fold)):
                yield Split(f"fold{number}", learn, test)
            return
        for seed in range(self.repeats):
            # One row of each class at least, then what chance brings.
            order = np.random.default_rng(seed).permutation(len(y))
            first = np.array([order[y[order] == c][0] for c in range(len(classes))])
            rest = np.setdiff1d(order, first, assume_unique=True)
            rest = rest[np.random.default_rng(seed).permutation(len(rest))]
            learn = np.concatenate([first, rest[: self.rows - len(first)]])
            others = rest[self.rows - len(first) :]
            test = others[~np.isin(images[others], images[learn])][:MOST_TEST_ROWS]
            yield Split(f"draw{seed}", np.sort(learn), np.sort(test))


def write_table(case: Case, split: Split, path: Path) -> None:
    """Write the table that `icecore train` takes: test rows without labels."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "path", "split", "task", "label", "letters", "digest"])
        for rows, name, labels in ((split.learn, "train", case.given), (split.test, "test", None)):
            for row in rows:
                label = "" if labels is None else labels[row]
                identity = f"{name}/{row}.jpg"
                key = case.keys[row]
                writer.writerow([identity, f"/{identity}", name, "label", label, "", key])


def extract(cache: Path, photographs: Path, models: Path) -> None:
    """Extract the photographs with the three networks, unless the cache has them."""
    networks = sorted(models.glob("*.onnx"))
    specs = [part for network in networks for part in ("-b", f"onnx:{network}")]
    command = [
        sys.executable,
        "-c",
        "from icecore.cli import main; main()",
        "extract",
        photographs,
        "-o",
        cache,
        *specs,
    ]
    subprocess.run([*map(str, command), "-q"], check=True)


def cases(cache: Path, work: Path, only: list[str]) -> list[Case]:
    """Make the data sets; attributes of the pictures are read from the files once."""
    store = FeatureCache(cache)
    specs = tuple(one.name for one in store.sets())
    table = next(iter(sorted((cache / "manifests").glob("*.csv"))))
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    keys = tuple(row["digest"] for row in rows)
    labels = np.array([row["label"] for row in rows])
    plain = Case("clothing10", cache, specs, keys, labels, labels)
    one = dataclasses.replace(plain, name="one network", sets=specs[-1:])
    rng = np.random.default_rng(0)
    flipped = labels.copy()
    wrong = rng.random(len(labels)) < 0.15
    flipped[wrong] = rng.choice(np.unique(labels), wrong.sum())
    noisy = dataclasses.replace(
        plain, name="15% flipped", given=flipped, rows=1500, repeats=2, right=False
    )
    found = [
        dataclasses.replace(plain, name="100 rows", rows=100, repeats=5),
        dataclasses.replace(plain, name="300 rows", rows=300, repeats=4),
        *(_attributes(one, specs, rows, work) if _wanted(only, ("brightness", "colour")) else ()),
        _long_tail(one, rng),
        *([_many_classes(store, one, specs)] if _wanted(only, ("200 classes",)) else ()),
        *(_drawn(work) if _wanted(only, ("sleeve", "neckline", "skirt")) else ()),
        one,
        dataclasses.replace(plain, name="1,000 rows", rows=1000, repeats=2),
        noisy,
        dataclasses.replace(noisy, name="15% flipped, right labels", right=True, shared=noisy.name),
        dataclasses.replace(
            noisy, name="15% flipped, clean", answer="clean", right=True, shared=noisy.name
        ),
        plain,
        dataclasses.replace(plain, name="clothing10 in ten folds", repeats=10),
    ]
    return [case for case in found if _wanted(only, (case.name,))]


def _wanted(only: list[str], names: tuple[str, ...]) -> bool:
    return not only or any(text in name for text in only for name in names)


def _subset(case: Case, name: str, kept: np.ndarray) -> Case:
    return dataclasses.replace(
        case,
        name=name,
        keys=tuple(case.keys[row] for row in kept),
        given=case.given[kept],
        true=case.true[kept],
    )


def _long_tail(case: Case, rng: np.random.Generator) -> Case:
    """Keep 0.6 as many rows of each class as of the one before it."""
    names, counts = np.unique(case.true, return_counts=True)
    order = names[np.argsort(-counts, kind="stable")]
    kept = [
        rng.permutation(np.flatnonzero(case.true == name))[: max(6, int(counts.max() * 0.6**rank))]
        for rank, name in enumerate(order)
    ]
    return _subset(case, "long tail", np.sort(np.concatenate(kept)))


def _attributes(case: Case, specs: tuple[str, ...], rows: list[dict], work: Path) -> list[Case]:
    """Label the same photographs by brightness (quarters) and by colour (hue of the middle)."""
    from PIL import Image

    memory = work / "attributes.npz"
    if not memory.exists():
        found = []
        for row in rows:
            with Image.open(row["path"]) as image:
                image.draft("RGB", (160, 160))
                small = image.convert("RGB").resize((32, 32)).convert("HSV")
            middle = np.asarray(small, dtype=float)[8:24, 8:24].reshape(-1, 3)
            angle = middle[:, 0] / 256 * 2 * np.pi
            way = (np.exp(1j * angle) * middle[:, 1]).mean()
            hue = int((np.angle(way) / (2 * np.pi) % 1) * 6)
            whole = np.asarray(small, dtype=float)[:, :, 2].mean()
            found.append((whole, "grey" if abs(way) < 25 else f"hue{hue}"))
        bright, hues = np.array([b for b, _ in found]), np.array([h for _, h in found])
        np.savez(memory, bright=bright, hues=hues)
    with np.load(memory) as saved:
        bright, hues = saved["bright"], saved["hues"]
    quarter = np.searchsorted(np.quantile(bright, [0.25, 0.5, 0.75]), bright).astype(str)
    first = dataclasses.replace(case, sets=specs[:1])
    return [
        dataclasses.replace(first, name="brightness", given=quarter, true=quarter),
        dataclasses.replace(first, name="colour", given=hues, true=hues),
    ]


def _many_classes(store: FeatureCache, case: Case, specs: tuple[str, ...]) -> Case:
    """Two hundred clusters of the last network's features, told from the first one's."""
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import normalize

    rows = normalize(store.matrix([specs[-1]], case.keys).astype(np.float32))
    clusters = KMeans(200, n_init=1, max_iter=20, random_state=0).fit_predict(rows)
    counts = np.bincount(clusters, minlength=200)
    labels = np.array([f"c{number:03d}" for number in clusters])
    many = dataclasses.replace(case, sets=specs[:1], given=labels, true=labels)
    # A class of fewer than three images cannot be in every fold.
    return _subset(many, "200 classes", np.flatnonzero(counts[clusters] >= 3))


def _drawn(work: Path) -> list[Case]:
    """Three attributes of drawn garments, with the features that the demo uses."""
    from icecore import demo, jobs, manifest
    from icecore.demo.run import DEMO_BACKBONES

    data, cache = work / "drawn", work / "drawn-cache"
    demo.draw(900, 0, data)
    jobs.extract(data, cache, DEMO_BACKBONES)
    table = next(iter(sorted((cache / "manifests").glob("*.csv"))))
    samples = [s for s in manifest.read(table, labels_required=False) if s.label and s.digest]
    store = FeatureCache(cache)
    sets = tuple(one.name for one in store.sets())
    known = set.intersection(*(set(one.keys()) for one in store.sets()))
    found = []
    for task in dict.fromkeys(s.task for s in samples):
        own = [s for s in samples if s.task == task and s.digest in known]
        labels = np.array([s.label for s in own])
        name = task.removesuffix("_labels").removesuffix("_length").removesuffix("_design")
        found.append(Case(name, cache, sets, tuple(s.digest for s in own), labels, labels))
    return found
