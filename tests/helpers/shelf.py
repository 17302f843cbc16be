"""The files that the documents speak of, small: each is made when a page first asks for it."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import h5py
import numpy as np
from places import write_records
from square_images import draw_squares, write_table

from icecore import demo, extract, train
from icecore.heads import TrainOptions
from icecore.jobs import ExtractOptions


class Shelf:
    """Files and folders under the names that the pages give them.

    `photos` are forty pictures of a red or a green square; `dogs` is a contest as Kaggle has
    them, which `run` has learnt from; `fashionai` is a drawn archive.
    """

    def __init__(self, root: Path, write_network) -> None:
        self.root = root
        self._write_network = write_network
        root.mkdir(exist_ok=True)

    def has(self, name: str) -> bool:
        return name.endswith(".onnx") or hasattr(self, self._maker(name))

    def path(self, name: str) -> Path:
        """Return where `name` is; it is made if it is not there."""
        path = self.root / name
        if not path.exists():
            if name.endswith(".onnx"):
                self._write_network(path, seed=sum(name.encode()))
            else:
                getattr(self, self._maker(name))(path)
        return path

    def copy(self, word: str, folder: Path) -> None:
        """Put the file or folder `word` into the folder of a page."""
        first, _, rest = word.partition("/")
        source, target = self.path(first), folder / first
        if target.exists():
            source, target = source / rest, target / rest
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
            if source.suffix == ".onnx":
                shutil.copy(source.with_suffix(".json"), target.with_suffix(".json"))

    @staticmethod
    def _maker(name: str) -> str:
        return "make_" + name.replace("-", "_").replace(".", "_")

    def make_photos(self, path):
        draw_squares(path, 40)

    def make_new_photos(self, path):
        draw_squares(path, 8, seed=1)

    make_newdata = make_rank = make_new_photos

    def make_data(self, path):
        draw_squares(path, 40)

    def make_some_csv(self, path):
        write_table(path, draw_squares(self.root / "drawn", 40))

    def make_boxes_csv(self, path):
        write_table(path, draw_squares(self.root / "drawn-new", 8, seed=1))

    def make_weights(self, path):
        path.mkdir()

    def make_shards(self, path):
        (self.root / "train").mkdir()
        shutil.copytree(self.path("photos"), self.root / "train" / "photos")
        write_records(self.root / "train", path)

    def _photos(self):
        return sorted(self.path("photos").rglob("*.png"))

    def _write_rows(self, path, rows):
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(rows)

    def _ids(self):
        return [f"{photo.parent.name}/{photo.name}" for photo in self._photos()]

    def make_photos_csv(self, path):
        rows = [(p, p.parent.name, ("dark", "bright")[n % 2]) for n, p in enumerate(self._photos())]
        self._write_rows(path, [("path", "label", "group"), *rows])

    def make_kinds_csv(self, path):
        rows = [(name, ("dark", "bright")[n % 2]) for n, name in enumerate(self._ids())]
        self._write_rows(path, [("id", "group"), *rows])

    def make_messy_csv(self, path):
        rows = [(photo, photo.parent.name) for photo in self._photos()]
        self._write_rows(path, [("file", "breed"), *rows, ("nowhere.png",)])

    def make_labels_csv(self, path):
        rows = [(name, name.partition("/")[0]) for name in self._ids()]
        self._write_rows(path, [("id", "label"), *rows])

    def _probabilities(self, seed):
        true = np.array(
            [[name.startswith("green"), name.startswith("red")] for name in self._ids()]
        )
        rows = np.random.default_rng(seed).uniform(0.1, 1, true.shape) + true
        return rows / rows.sum(axis=1, keepdims=True)

    def make_one_csv(self, path):
        rows = [(n, *row) for n, row in zip(self._ids(), self._probabilities(1).tolist())]
        self._write_rows(path, [("id", "green", "red"), *rows])

    def make_theirs_csv(self, path):
        rows = [(n, *row) for n, row in enumerate(self._probabilities(1).tolist())]
        self._write_rows(path, [("id", "green", "red"), *rows])

    def make_two_npz(self, path):
        np.savez(
            path, ids=self._ids(), classes=["green", "red"], probabilities=self._probabilities(2)
        )

    def make_three_h5(self, path):
        with h5py.File(path, "w") as file:
            file["ids"], file["classes"] = self._ids(), ["green", "red"]
            file["probabilities"] = self._probabilities(3)

    def make_dogs(self, path):
        photos = self._photos()
        for number, photo in enumerate(photos):
            target = path / ("test" if number % 5 == 0 else "train") / f"{number}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(photo, target)
        rows = [(n, p.parent.name) for n, p in enumerate(photos) if n % 5]
        self._write_rows(path / "labels.csv", [("id", "breed"), *rows])
        sheet = [(n, 0.5, 0.5) for n in range(0, len(photos), 5)]
        self._write_rows(path / "sample_submission.csv", [("id", "green", "red"), *sheet])

    def make_sample_submission_csv(self, path):
        shutil.copy(self.path("dogs") / path.name, path)

    def make_more(self, path):
        draw_squares(path, 8, seed=1)

    def make_more_sample_csv(self, path):
        names = sorted(photo.stem for photo in self.path("more").rglob("*.png"))
        self._write_rows(path, [("id", "green", "red"), *((name, 0.5, 0.5) for name in names)])

    def make_fashionai(self, path):
        demo.draw(60, 0, path)

    def make_rank_b(self, path):
        drawn = demo.draw(90, 1, self.root / "second").root
        (path / "rank").mkdir(parents=True)
        shutil.copytree(drawn / "Tests", path / "rank" / "Tests")

    def _extract(self, data, cache, names=("one", "two"), **options):
        networks = [f"onnx:{self.path(name + '.onnx')}" for name in names]
        extract(self.path(data), cache, networks, ExtractOptions(**options))

    def make_cache(self, path):
        self._extract("photos", path)

    make_copy = make_other_cache = make_cache

    def make_dogs_cache(self, path):
        self._extract("dogs", path)

    def make_run(self, path):
        train(self.path("dogs-cache"), self.path("dogs"), path, TrainOptions(folds=3))

    make_run_whole = make_run1 = make_before = make_after = make_run

    def make_corrected_csv(self, path):
        labels = {f"train/{n}.png": p.parent.name for n, p in enumerate(self._photos()) if n % 5}
        labels["train/1.png"] = "red"
        self._write_rows(path, [("id", "label"), *labels.items()])

    def make_run_cut(self, path):
        boxes = draw_squares(self.root / "drawn", 40).items()
        numbers = {n: number for number, n in enumerate(self._ids())}
        names = {
            n: f"{'train' if number % 5 else 'test'}/{number}.png" for n, number in numbers.items()
        }
        table = write_table(self.root / "dogs.csv", {names[n]: box for n, box in boxes})
        self._extract("dogs", self.root / "cut", boxes=table)
        train(self.root / "cut", self.path("dogs"), path, TrainOptions(folds=3))

    make_run2 = make_run_cut

    def make_demo_run(self, path):
        demo.draw(90, 0, path / "data")
        self._extract("demo-run/data", path / "cache")
        train(path / "cache", path / "data", path / "run", TrainOptions(folds=3))
