from __future__ import annotations

import csv
import errno
import hashlib
import io
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from icecore import demo, manifest
from icecore.core.errors import DiskFullError, ManifestError, MissingDependencyError

Image = pytest.importorskip("PIL.Image", reason="drawing needs Pillow")

N = 120
LENGTHS = ("sleeve_length_labels", "skirt_length_labels")
LETTERS = {"sleeve_length_labels": 9, "neckline_design_labels": 10, "skirt_length_labels": 6}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return demo.draw(N, 7, tmp_path_factory.mktemp("demo") / "set")


@pytest.fixture(scope="module")
def table(data):
    return manifest.read(data.root)


def digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def rows_of(path: Path) -> list[list[str]]:
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    first, again, other = (
        digests(demo.draw(24, seed, tmp_path / name).root)
        for seed, name in ((3, "a"), (3, "b"), (4, "c"))
    )
    assert first == again
    images = {name for name in first if name.endswith(".jpg")}
    assert len(images) == 24
    assert not images & set(other)
    assert not {first[name] for name in images} & set(other.values())


def test_the_manifest_reads_what_was_drawn(data, table):
    table.require_files()
    assert len(table) == len(table.images) == N == data.train + data.test
    assert set(table.tasks) == set(LETTERS)
    assert set(Counter(s.task for s in table).values()) == {N // 3}
    assert Counter(s.split for s in table) == {"": data.train, "test": data.test}
    assert data.test == N // 4


@pytest.mark.parametrize("task", LETTERS)
def test_three_to_five_classes_of_each_attribute_are_in_both_splits(table, task):
    splits = {
        split: {s.label for s in table if s.task == task and s.split == split}
        for split in ("", "test")
    }
    assert splits[""] == splits["test"]
    assert 3 <= len(splits[""]) <= 5
    assert splits[""] <= set(table.classes(task))
    assert len(table.classes(task)) == LETTERS[task]


def test_the_tables_have_the_contests_form(data):
    labels = rows_of(data.root / "Annotations/label.csv")
    questions = rows_of(data.root / "Tests/question.csv")
    answers = rows_of(data.root / "Tests/answer.csv")
    assert [row[:2] for row in questions] == [row[:2] for row in answers]
    assert {row[2] for row in questions} == {"?"}
    for name, task, letters in labels + answers:
        assert re.fullmatch(f"Images/{task}/[0-9a-f]{{32}}\\.jpg", name)
        assert re.fullmatch("[ymn]*", letters)
        assert len(letters) == LETTERS[task]
        assert letters.count("y") == 1
        assert letters.count("m") <= 1
    named = {data.root / row[0] for row in labels}
    named |= {data.root / "Tests" / row[0] for row in questions}
    assert named == set(data.root.rglob("*.jpg"))


def test_every_question_has_its_answer(table):
    assert all(sample.label for sample in table)


def test_an_m_is_next_to_the_y_and_only_lengths_have_one(table):
    uncertain = [s for s in table if "m" in s.letters]
    assert {s.task for s in uncertain} <= set(LENGTHS)
    assert 0.01 <= len(uncertain) / N <= 0.12
    for sample in uncertain:
        assert abs(sample.letters.index("m") - sample.letters.index("y")) == 1


def test_duplicates_are_exact_and_one_pair_contradicts_itself(data, table):
    held = {s.id: hashlib.sha256(Path(s.path).read_bytes()).hexdigest() for s in table}
    groups: dict[str, list[str]] = {}
    for name, digest in held.items():
        groups.setdefault(digest, []).append(name)
    repeated = {tuple(sorted(names)) for names in groups.values() if len(names) > 1}
    assert repeated == {tuple(sorted(pair)) for pair in data.duplicates}
    assert len(repeated) == 2
    labels = {s.id: s.label for s in table}
    apart = [pair for pair in data.duplicates if labels[pair[0]] != labels[pair[1]]]
    assert apart == list(data.conflicting)
    assert len(apart) == 1
    rows = {s.id: s for s in table}
    for first, second in data.duplicates:
        assert rows[first].task == rows[second].task
        assert rows[first].split == rows[second].split == ""


def test_exactly_one_file_cannot_be_decoded(data, table):
    broken = []
    for sample in table:
        try:
            with Image.open(sample.path) as image:
                image.load()
        except OSError:
            broken.append(sample.id)
    assert broken == [data.corrupt]


def test_opencv_cannot_decode_the_corrupt_file_either(data):
    cv2 = pytest.importorskip("cv2", reason="OpenCV comes with the gluon and onnx extras")
    content = np.frombuffer((data.root / data.corrupt).read_bytes(), np.uint8)
    assert len(content) > 100
    assert cv2.imdecode(content, cv2.IMREAD_COLOR) is None


def test_pictures_have_many_shapes_and_sizes(data, table):
    sizes = set()
    for sample in table:
        if sample.id != data.corrupt:
            with Image.open(sample.path) as image:
                assert image.mode == "RGB"
                sizes.add(image.size)
    assert {np.sign(width - height) for width, height in sizes} == {-1, 0, 1}
    assert all(200 <= min(size) <= 400 and max(size) <= 600 for size in sizes)


def test_the_boxes_of_necks_and_hems_lie_in_their_images(data):
    from icecore.features import image_size
    from icecore.manifest import read, read_boxes

    manifest = read(data.root, labels_required=False)
    for name in ("necks", "hems"):
        # Boxes that reach out of their images are refused by the reader.
        boxes = read_boxes(data.root / "Regions" / f"{name}.csv", manifest, image_size)
        assert len(boxes) > data.train / 5
        assert None not in boxes.values()
        assert not any(identity.startswith("Tests/") for identity in boxes)


def test_the_picture_follows_the_outfit():
    from icecore.demo.figure import Outfit, draw_picture

    def pixels(seed: int, hem: float, sleeve: float) -> np.ndarray:
        outfit = Outfit(neckline="Round", depth=1.7, sleeve=sleeve, hem=hem)
        content = draw_picture(np.random.default_rng(seed), "skirt_length_labels", outfit).content
        return np.asarray(Image.open(io.BytesIO(content)), float).mean(axis=2)

    def change(first: np.ndarray, second: np.ndarray, start: float, stop: float) -> float:
        rows = slice(round(start * len(first)), round(stop * len(first)))
        return np.abs(first - second)[rows].mean()

    top, legs, arms = [], [], []
    for seed in range(8):
        short, floor = pixels(seed, 4.7, 1.0), pixels(seed, 7.3, 1.0)
        bare = pixels(seed, 4.7, 0.0)
        top.append(change(short, floor, 0, 0.2))
        legs.append(change(short, floor, 0.5, 0.75))
        arms.append(change(short, bare, 0, 0.4))
    assert np.median(top) < 0.5  # what the hem has no part in stays as it is
    assert np.median(legs) > 4 * np.median(top) + 1
    assert np.median(arms) > 4 * np.median(top) + 1


def test_a_folder_drawn_before_is_taken_as_it_is(tmp_path):
    first = demo.draw(24, 1, tmp_path / "set")
    marked = first.root / first.duplicates[0][0]
    before = marked.stat().st_mtime_ns
    assert demo.draw(24, 1, tmp_path / "set") == first
    assert marked.stat().st_mtime_ns == before


def test_a_folder_with_something_else_is_refused(tmp_path):
    demo.draw(24, 1, tmp_path / "set")
    with pytest.raises(ManifestError, match="24 garments drawn from the seed 1, not 24 .* seed 2"):
        demo.draw(24, 2, tmp_path / "set")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep")
    with pytest.raises(ManifestError, match="is not empty and has no drawn data") as caught:
        demo.draw(24, 1, tmp_path / "mine")
    assert caught.value.hint == "name another folder, or remove that one"
    assert (tmp_path / "mine/notes.txt").read_text() == "keep"


@pytest.mark.parametrize(("n", "seed"), [(23, 0), (0, 0), (30, -1), (10**20, 0)])
def test_too_few_or_too_many_garments_are_refused(tmp_path, n, seed):
    with pytest.raises(ManifestError, match=f"cannot draw {n} garments from the seed {seed}"):
        demo.draw(n, seed, tmp_path / "set")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    written = []
    whole = Path.write_bytes

    def write_some(path, content):
        if len(written) == 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        return whole(path, content)

    monkeypatch.setattr(Path, "write_bytes", write_some)
    with pytest.raises(DiskFullError, match="no room left on the disk"):
        demo.draw(24, 0, tmp_path / "set")
    assert len(written) == 5
    assert not list(tmp_path.iterdir())


def test_without_pillow_the_error_says_what_to_install(tmp_path):
    code = (
        "import sys; sys.modules['PIL'] = None\n"
        "from icecore import demo\n"
        "from icecore.core import errors\n"
        "try:\n"
        f"    demo.draw(24, 0, {str(tmp_path / 'set')!r})\n"
        "except errors.MissingDependencyError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "PIL is not installed" in done.stdout
    assert "pip install pillow" in done.stdout
    assert issubclass(MissingDependencyError, ImportError)
    assert not list(tmp_path.iterdir())
