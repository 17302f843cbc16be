"""In a whole run no row has a part in the heads that predict it.

With two views of every image, two tasks on the same images, images that are there several times,
and a search.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from heads_support import digest, fingerprint, go, record, samples

from icecore.cache import FeatureCache
from icecore.heads import crossfit
from icecore.heads.base import Head
from icecore.heads.training import fit

KINDS = ["kernel", "logistic", "mlp"]
SETTINGS = {"kernel": {"width": 1.0}, "mlp": {"members": 1, "width": 6, "epochs": 2}}
CLASSES = {"sleeve": ("long", "short", "none"), "neck": ("round", "v")}
IMAGES, FOLDS, DIM = 36, 3, 4


@pytest.fixture
def rows():
    """Rows of both tasks: some images have two rows of one task, and a row of the other."""
    found = [row for task, names in CLASSES.items() for row in samples(IMAGES, "", task, names)]
    again = [
        dataclasses.replace(row, id=f"again/{row.id}", path=f"/data/again/{row.id}")
        for row in found
        if row.digest in {digest(f"image{number}") for number in (1, 4, 5, 11, 20)}
    ]
    return [*found, *again]


def cache_of(path, noisy=()):
    """Return a cache of two networks, two views each; images in `noisy` have noise in all."""
    rng = np.random.default_rng(3)
    table = rng.normal(size=(IMAGES, 4 * DIM))
    numbers = np.arange(IMAGES)
    table[:, ::2] += 1.5 * (numbers % 3)[:, None]
    table[:, 1::2] += 1.5 * (numbers % 2)[:, None]
    keys = [digest(f"image{number}") for number in numbers]
    noise = 5 * np.random.default_rng(4).normal(size=table.shape)
    table = np.where(np.isin(keys, list(noisy))[:, None], noise, table)
    cache = FeatureCache.create(path)
    for name, part in (("one", table[:, : 2 * DIM]), ("two", table[:, 2 * DIM :])):
        own = cache.open_set(record(name), f"gluon:{name}", DIM, ("center", "flip"))
        own.append(keys, part.astype(np.float16))
    return cache


def turned(rows, task, keys):
    """Return rows of which those of `task` with digests in `keys` have other labels."""
    names = CLASSES[task]
    turn = {name: names[(place + 1) % len(names)] for place, name in enumerate(names)}
    return [
        dataclasses.replace(s, label=turn[s.label]) if s.task == task and s.digest in keys else s
        for s in rows
    ]


class Watched:
    """Runs of which every fold's heads are noted; rows are dealt as in the first one."""

    def __init__(self, tmp_path, monkeypatch):
        self.folder, self.monkeypatch = tmp_path, monkeypatch
        self.deals, self.count = {}, 0

    def run(self, rows, noisy=()):
        """Return fingerprints of the heads by task, kind and fold (None: of all rows).

        That of a fold is what its head says of all other rows, byte for byte.
        """
        found, deal_folds, fit_on = {}, fit.deal_folds, crossfit.fit_on
        fit_and_predict = Head.fit_and_predict
        self.count += 1

        def deal(keys, labels, *options):
            task = next(task for task, names in CLASSES.items() if labels[0] in names)
            if task not in self.deals:
                self.deals[task] = list(keys), deal_folds(keys, labels, *options)
            assert self.deals[task][0] == list(keys)
            return self.deals[task][1]

        def place(head, own, index):
            task = next(task for task, names in CLASSES.items() if own.classes[0] in names)
            left_out = set(range(FOLDS)) - set(self.deals[task][1][index].tolist())
            (fold,) = left_out or {None}
            return task, head.kind, fold

        def noted(head, own, index, choice):
            fitted = fit_on(head, own, index, choice)
            found[place(head, own, index)] = fingerprint(fitted)
            return fitted

        def predicted(head, own, index, unseen):
            table = fit_and_predict(head, own, index, np.concatenate([unseen, index]))
            found[place(head, own, index)] = table[len(unseen) :].tobytes()
            return table[: len(unseen)]

        with self.monkeypatch.context() as patched:
            patched.setattr(fit, "deal_folds", deal)
            patched.setattr(crossfit, "fit_on", noted)
            patched.setattr(Head, "fit_and_predict", predicted)
            options = {"heads": KINDS, "settings": SETTINGS, "folds": FOLDS, "search": 1}
            cache = cache_of(self.folder / f"cache{self.count}", noisy)
            go(cache, rows, self.folder / f"run{self.count}", **options)
        return found

    def images(self, task, fold):
        keys, dealt = self.deals[task]
        return {key for key, own in zip(keys, dealt.tolist(), strict=True) if own == fold}


def check(watched, rows, how):
    before = watched.run(rows)
    assert len(before) == 2 * len(KINDS) * (FOLDS + 1)
    for task, fold in (("sleeve", 0), ("neck", 1)):
        images = watched.images(task, fold)
        if how == "labels":
            after = watched.run(turned(rows, task, images))
        else:
            after = watched.run(rows, images)
        same = {key for key in before if after[key] == before[key]}
        own = {(task, kind, fold) for kind in KINDS}
        assert own <= same
        # The other heads of the task learn from these rows.
        assert {key for key in same if key[0] == task} == own
        if how == "labels":
            # They are no labels of the other task.
            assert {key for key in before if key[0] != task} <= same


@pytest.mark.parametrize("how", ["labels", "features"])
def test_a_fold_has_no_part_in_the_heads_that_predict_it(rows, how, tmp_path, monkeypatch):
    check(Watched(tmp_path, monkeypatch), rows, how)


def test_that_test_notices_equal_images_in_two_folds(rows, tmp_path, monkeypatch):
    dealing = fit.deal_folds

    def torn(keys, *others):
        return dealing([f"{place}" for place in range(len(keys))], *others)

    monkeypatch.setattr(fit, "deal_folds", torn)
    with pytest.raises(AssertionError):
        check(Watched(tmp_path, monkeypatch), rows, "features")


def files_of(folder):
    return {f.relative_to(folder): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


@pytest.mark.parametrize("how", ["labels", "features"])
def test_held_out_rows_have_no_part_in_the_heads_that_predict_them(rows, how, tmp_path):
    """Each task holds other images out, and has some of them among its training images, too."""
    held = {"sleeve": range(0, 12), "neck": range(12, 24)}
    out = {task: {digest(f"image{number}") for number in own} for task, own in held.items()}
    split = [
        dataclasses.replace(row, split="validation")
        if row.digest in out[row.task] and (how == "features" or row.id.startswith("image"))
        else dataclasses.replace(row, split="train")
        for row in rows
    ]
    options = {"heads": KINDS, "settings": SETTINGS, "validation": "holdout", "refit": "train"}
    options |= {"folds": FOLDS, "search": 1}
    go(cache_of(tmp_path / "cache"), split, tmp_path / "run", **options)
    for task in CLASSES:
        if how == "labels":
            held_out = [row for row in split if row.split == "validation"]
            other = [row for row in split if row.split == "train"]
            other += turned(held_out, task, out[task])
            go(cache_of(tmp_path / f"c{task}"), other, tmp_path / task, **options)
        else:
            go(cache_of(tmp_path / f"c{task}", out[task]), split, tmp_path / task, **options)
        before, after = (
            {name: files_of(tmp_path / run / name / "heads") for name in CLASSES}
            for run in ("run", task)
        )
        assert len(before[task]) == 2 * len(KINDS)
        assert before[task] == after[task]
        (another,) = set(CLASSES) - {task}
        assert (before[another] == after[another]) is (how == "labels")
