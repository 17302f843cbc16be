"""Draw the demo's data set: garments with three attributes, in FashionAI's format.

The set has the troubles of the real one: exact duplicates, one of them with
another label, "maybe" letters next to the label, and a file that is cut short.
"""

import dataclasses
import hashlib
import os
import shutil
from pathlib import Path

import numpy as np

from ..core.errors import IcecoreError, ManifestError
from ..core.files import publish, publish_json
from ..core.json_files import read_json
from ..manifest import fashionai_classes
from .figure import Outfit, draw_picture

# For each attribute: how many letters it has, and the classes that are drawn.
ATTRIBUTES = {
    "sleeve_length_labels": (9, ("Sleeveless", "Short", "3/4", "Long")),
    "neckline_design_labels": (10, ("Strapless", "Deep V", "Square", "Round")),
    "skirt_length_labels": (6, ("Short", "Knee", "Midi", "Floor")),
}
LEAST = 24
_RECORD = "demo.json"
_GENERATOR = 2
_MOST = 1_000_000
# Lengths at which one class ends and the next begins, from class 1 on (0 is Invisible):
# sleeves as a share of the arm, hems in body units (knee 5.6, floor 7.5).
_EDGES = {
    "sleeve_length_labels": (-0.1, 0.02, 0.14, 0.4, 0.54, 0.8, 0.93, 1.06, 1.2),
    "skirt_length_labels": (4.3, 5.05, 5.75, 6.65, 7.1, 7.5),
}
# What is drawn from behind, and the neckline that such clothes have in front: what is cut
# low on one side is cut high on the other. The label is that of the front.
_FRONTS = {"Round": "Deep V", "Deep V": "Round", "Square": "Strapless", "Strapless": "Square"}
# A length this near an edge, as a share of its class's range, also gets an m.
_MARGIN = 0.035


@dataclasses.dataclass(frozen=True)
class DemoData:
    """What `draw` made.

    Attributes
    ----------
    root : pathlib.Path
        The FashionAI root; `icecore.manifest.read` takes it.
    n, seed : int
        As given to `draw`.
    train, test : int
        Rows of ``Annotations/label.csv`` and of ``Tests/question.csv``.
    duplicates : tuple of (str, str)
        Pairs of training images, as the table names them, with the same bytes.
    conflicting : tuple of (str, str)
        Those pairs whose labels differ.
    corrupt : str
        The training image that cannot be decoded.
    """

    root: Path
    n: int
    seed: int
    train: int
    test: int
    duplicates: tuple[tuple[str, str], ...]
    conflicting: tuple[tuple[str, str], ...]
    corrupt: str

    def _record(self) -> dict:
        fields = dataclasses.asdict(self)
        del fields["root"]
        return {"generator": _GENERATOR, **fields}


@dataclasses.dataclass
class _Row:
    """One image of the set before it is written."""

    attribute: str
    letters: str
    test: bool
    outfit: Outfit
    name: str
    content: bytes = b""
    boxes: dict = dataclasses.field(default_factory=dict)


def draw(n: int = 300, seed: int = 0, out: str | os.PathLike = "demo-data") -> DemoData:
    """Draw `n` garments into the folder `out`, in FashionAI's format.

    A third of the images each shows sleeves, necklines and skirts; every fourth
    is a question of the test, with its answer in ``Tests/answer.csv``. Among the
    training images are exact duplicates (one pair in a hundred images, at least
    two; the first of them with labels that differ) and one file cut short.

    Parameters
    ----------
    n : int, default 300
        Number of image files, at least 24.
    seed : int, default 0
        The same seed gives the same bytes, with the same Pillow and NumPy.
    out : path-like, default "demo-data"
        A new or empty folder, or one that this function made with the same `n`
        and `seed`: that one is left as it is. Nothing half-drawn stays behind.

    Raises
    ------
    ManifestError
        `n` or `seed` is too small, or `out` holds something else.
    MissingDependencyError
        Pillow is not installed.
    DiskFullError
        The disk has no room for the pictures.
    """
    if not LEAST <= n <= _MOST or seed < 0:
        raise ManifestError(
            f"cannot draw {n} garments from the seed {seed}",
            f"at least {LEAST} are needed, at most {_MOST:,} are drawn, and a seed is 0 or more",
        )
    out = Path(os.path.abspath(out))
    ready = _drawn_before(out, n, seed)
    if ready is not None:
        return ready
    with publish(out) as temporary:
        try:
            data = _write(temporary, _draw_rows(n, seed), n, seed)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    return dataclasses.replace(data, root=out)


def draw_kinds(n: int, boxes: int, seed: int, out: str | os.PathLike) -> Path:
    """Draw necklines seen from the front and from behind, where the same cut is another class.

    Parameters
    ----------
    n, boxes, seed : int
        Number of images, and of those whose necks are marked; seed of the drawing.
    out : path-like
        A new folder; if it is there it is left as it is.

    Returns
    -------
    Path
        The table of the images, ``path,label,group``; beside it, in ``necks.csv``, are the boxes
        of their necks.
    """
    out = Path(os.path.abspath(out))
    if out.exists():
        return out / "labels.csv"
    with publish(out) as temporary:
        temporary.mkdir()
        lines, necks = ["path,label,group"], ["path,x0,y0,x1,y1"]
        for index in range(n):
            rng = np.random.default_rng([seed, 2, index])
            place, behind = index % len(_FRONTS), bool(rng.uniform() < 0.5)
            cut = list(_FRONTS)[place]
            depth = _choose_depth(rng, cut)
            sleeve, hem = (float(rng.uniform(e[0], e[-1])) for e in _EDGES.values())
            outfit = Outfit(cut, depth, sleeve, hem, behind=behind)
            picture = draw_picture(rng, "neckline_design_labels", outfit)
            name, label = f"{index:04d}.jpg", _FRONTS[cut] if behind else cut
            (temporary / name).write_bytes(picture.content)
            lines.append(f"{name},{label},{'behind' if behind else 'front'}")
            necks += [_box_line(name, box) for part, box in picture.boxes.items() if part == "neck"]
        _write_lines(temporary / "labels.csv", lines)
        _write_lines(temporary / "necks.csv", necks[: boxes + 1])
    return out / "labels.csv"


def _drawn_before(out: Path, n: int, seed: int) -> DemoData | None:
    """Return what is in `out` if it was drawn with the same settings, None if it is empty."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    found = "no drawn data"
    try:
        record = read_json(out / _RECORD)
        found = f"{record['n']} garments drawn from the seed {record['seed']}"
        if (record.pop("generator"), record["n"], record["seed"]) == (_GENERATOR, n, seed):
            for pairs in ("duplicates", "conflicting"):
                record[pairs] = tuple(tuple(pair) for pair in record[pairs])
            return DemoData(root=out, **record)
    except (IcecoreError, ValueError, KeyError, TypeError, AttributeError):
        pass
    raise ManifestError(
        f"{out} is not empty and has {found}, not {n} garments from the seed {seed}",
        "name another folder, or remove that one",
    )


def _draw_rows(n: int, seed: int) -> list[_Row]:
    rows = [_choose_row(index, seed) for index in range(n)]
    train = {name: [r for r in rows if r.attribute == name and not r.test] for name in ATTRIBUTES}
    pairs = _copies(train, n)
    copies = {id(row) for row, _ in pairs}
    for index, row in enumerate(rows):
        if id(row) not in copies:
            rng = np.random.default_rng([seed, 1, index])
            picture = draw_picture(rng, row.attribute, row.outfit)
            row.content, row.boxes = picture.content, picture.boxes
    for row, original in pairs:
        row.content, row.boxes = original.content, original.boxes
    return rows


def _copies(train: dict[str, list[_Row]], n: int) -> list[tuple[_Row, _Row]]:
    """Make some training rows duplicates, the first with another label; return the pairs."""
    pairs = []
    for index in range(max(2, n // 100)):
        rows = train[list(ATTRIBUTES)[(index + 1) % len(ATTRIBUTES)]]
        original, row = rows[2 * (index // 3)], rows[-1 - index // 3]
        if index:
            row.letters = original.letters
        elif row.letters.index("y") == original.letters.index("y"):
            row = next(r for r in reversed(rows) if r.letters[original.letters.index("y")] != "y")
        pairs.append((row, original))
    return pairs


def _choose_row(index: int, seed: int) -> _Row:
    """Choose what image `index` shows; classes and test rows are spread evenly."""
    rng = np.random.default_rng([seed, 0, index])
    attribute = list(ATTRIBUTES)[index % len(ATTRIBUTES)]
    count, drawn = ATTRIBUTES[attribute]
    turn, place = divmod(index // len(ATTRIBUTES), len(drawn))
    lengths = {name: float(rng.uniform(e[0], e[-1])) for name, e in _EDGES.items()}
    neckline = str(rng.choice(["Strapless", "Deep V", "V", "Square", "Round", "One Shoulder"]))
    letters = ["n"] * count
    chosen = fashionai_classes(attribute, count).index(drawn[place])
    letters[chosen] = "y"
    if attribute in _EDGES:
        lengths[attribute], near = _choose_length(rng, attribute, chosen)
        if near is not None:
            letters[near] = "m"
        if attribute == "sleeve_length_labels":
            neckline = str(rng.choice(["V", "Square", "Round"]))
    else:
        neckline = drawn[place]
    outfit = Outfit(
        neckline=neckline,
        depth=_choose_depth(rng, neckline),
        sleeve=lengths["sleeve_length_labels"],
        hem=lengths["skirt_length_labels"],
        trousers=attribute == "sleeve_length_labels" and rng.uniform() < 0.5,
    )
    test = (turn + place) % 4 == 3
    return _Row(attribute, "".join(letters), test, outfit, rng.bytes(16).hex())


def _choose_length(
    rng: np.random.Generator, attribute: str, chosen: int
) -> tuple[float, int | None]:
    """Draw a length within the class; also return the class next to it if it is near the edge."""
    low, high = _EDGES[attribute][chosen - 1 : chosen + 1]
    share = float(rng.uniform())
    length = low + share * (high - low)
    if share < _MARGIN and chosen > 1:
        return length, chosen - 1
    if share > 1 - _MARGIN and chosen < len(_EDGES[attribute]) - 1:
        return length, chosen + 1
    return length, None


def _choose_depth(rng: np.random.Generator, neckline: str) -> float:
    ranges = {"Strapless": (1.9, 2.1), "Deep V": (2.15, 2.7), "V": (1.75, 2.0)}
    return float(rng.uniform(*ranges.get(neckline, (1.62, 1.9))))


def _write(root: Path, rows: list[_Row], n: int, seed: int) -> DemoData:
    """Write images, tables and the record below `root`."""
    corrupt = [r for r in rows if r.attribute == next(iter(ATTRIBUTES)) and not r.test][1]
    # Cut within the header: a decoder finds no picture at all, not even half of one.
    corrupt.content = corrupt.content[: min(256, len(corrupt.content) // 2)]
    corrupt.boxes = {}
    rows = sorted(rows, key=lambda row: row.name)
    tables: dict[str, list[str]] = {name: [] for name in ("label", "question", "answer")}
    for row in rows:
        path = root / ("Tests" if row.test else "") / _identity(row)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(row.content)
        start = f"{_identity(row)},{row.attribute},"
        tables["answer" if row.test else "label"].append(start + row.letters)
        if row.test:
            tables["question"].append(start + "?")
    for name, lines in tables.items():
        _write_lines(root / ("Annotations" if name == "label" else "Tests") / f"{name}.csv", lines)
    for name in ("neck", "hem"):
        marked = [row for row in rows if name in row.boxes and not row.test]
        lines = [_box_line(_identity(row), row.boxes[name]) for row in marked]
        _write_lines(root / "Regions" / f"{name}s.csv", ["path,x0,y0,x1,y1", *lines])
    pairs = _same_bytes(rows)
    data = DemoData(
        root=root,
        n=n,
        seed=seed,
        train=len(tables["label"]),
        test=len(tables["question"]),
        duplicates=tuple((_identity(a), _identity(b)) for a, b in pairs),
        conflicting=tuple((_identity(a), _identity(b)) for a, b in pairs if a.letters != b.letters),
        corrupt=_identity(corrupt),
    )
    publish_json(root / _RECORD, data._record())
    return data


def _box_line(name: str, box: tuple[int, int, int, int]) -> str:
    return ",".join([name, *map(str, box)])


def _write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")


def _identity(row: _Row) -> str:
    return f"Images/{row.attribute}/{row.name}.jpg"


def _same_bytes(rows: list[_Row]) -> list[tuple[_Row, _Row]]:
    first: dict[bytes, _Row] = {}
    pairs = []
    for row in rows:
        known = first.setdefault(hashlib.sha256(row.content).digest(), row)
        if known is not row:
            pairs.append((known, row))
    return pairs
