"""The folder of a learnt region: ``regions.json`` and ``weights.npz``.

It may come from anybody: every type, size and number is checked before it is used.
"""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ... import __version__
from ...core.errors import BackboneError, MissingFileError, enumerate_some
from ...core.files import publish_json, sha256_bytes, sha256_file
from ...core.json_fields import JsonFields
from ...core.json_files import read_json
from ...core.npz_files import NpzEntry, read_npz, write_npz
from ..records.feature_set import FeatureSetRecord
from .looks import WIDEST_MAP
from .model import Models
from .ridge import Linear

FORMAT = 1
FILES = ("regions.json", "weights.npz")
_LARGEST_JSON, _LARGEST = 2**20, 2**28
_HINT = "learn the regions again: icecore regions fit"
_FIGURES = ("boxes", "mean_iou", "share_above_half", "share_whole", "constant_iou")


@dataclasses.dataclass(frozen=True)
class Regions:
    """A learnt region.

    Attributes
    ----------
    name : str
    record : FeatureSetRecord
        Of the map that is looked at.
    source : str
        Spec of the backbone, with the path of its file.
    threshold : float
        Least expected intersection over union.
    figures : dict of str to float
        ``boxes`` (how many it was learnt from) and, out of fold: ``mean_iou``,
        ``share_above_half``, ``share_whole`` (below the threshold); ``constant_iou`` is that
        of one and the same box in every image.
    models : Models
    digest : str
        Of its files, 12 digits.
    """

    name: str
    record: FeatureSetRecord
    source: str
    threshold: float
    figures: dict[str, float]
    models: Models
    digest: str = ""


def are_regions(path: str | os.PathLike) -> bool:
    """Tell whether a path is the folder of a learnt region."""
    return os.path.lexists(Path(path) / FILES[0])


def write_regions(folder: Path, regions: Regions) -> None:
    """Write the files of a region into a folder."""
    models = regions.models
    write_npz(
        folder / FILES[1],
        {
            "far_weights": models.far.weights,
            "far_intercept": models.far.intercept,
            "near_weights": models.near.weights,
            "near_intercept": models.near.intercept,
        },
    )
    about = {
        "format": FORMAT,
        "icecore": __version__,
        "name": regions.name,
        "record": regions.record.as_dict(),
        "source": regions.source,
        "threshold": regions.threshold,
        "slope": models.slope,
        "offset": models.offset,
        "figures": regions.figures,
    }
    publish_json(folder / FILES[0], about)


def read_regions(folder: str | os.PathLike) -> Regions:
    """Read a learnt region.

    Raises
    ------
    MissingFileError
        There is no such folder.
    BackboneError
        It does not hold what it should.
    """
    folder = Path(folder)
    if not are_regions(folder):
        raise MissingFileError(
            f"{folder} is not there, or has no {FILES[0]}",
            "give the folder that 'icecore regions fit' wrote",
        )
    path = folder / FILES[0]
    content = read_json(path, BackboneError, _HINT, most=_LARGEST_JSON)
    fields = JsonFields(content, str(path), BackboneError, _HINT)
    if fields.integer("format") != FORMAT:
        raise fields.refuse(f"has format {fields.integer('format')}; this icecore reads {FORMAT}")
    record = FeatureSetRecord.from_dict(fields.part("record").content, f"{path}: record")
    width = record.backbone.num_features
    if record.layer.pool != "none" or not isinstance(width, int) or not 1 <= width <= WIDEST_MAP:
        raise fields.refuse("is not of a map that can be looked at")
    name = fields.text("name")
    if not name.isprintable() or Path(name).name != name or len(name.encode()) > 100:
        raise fields.refuse("has a name that is none")
    figures = fields.numbers("figures", 0)
    if set(figures) != set(_FIGURES):
        raise fields.refuse(f"has figures other than {enumerate_some(_FIGURES, 9)}")
    far, near = _weights(folder / FILES[1], width)
    return Regions(
        name=name,
        record=record,
        source=fields.text("source"),
        threshold=fields.number("threshold", 0),
        figures=figures,
        models=Models(far, near, fields.number("slope", 0), fields.number("offset")),
        digest=_digest(folder),
    )


def _weights(path: Path, width: int) -> tuple[Linear, Linear]:
    shapes = {
        "far_weights": (width, 4),
        "far_intercept": (4,),
        "near_weights": (width, 5),
        "near_intercept": (5,),
    }

    def unfit(entries: Mapping[str, NpzEntry]) -> str:
        wanted = {name: NpzEntry(np.dtype(np.float32), shape) for name, shape in shapes.items()}
        if dict(entries) == wanted:
            return ""
        said = enumerate_some([f"{name} of {one}" for name, one in wanted.items()], 9)
        return f"does not hold {said} and nothing else"

    arrays = read_npz(path, BackboneError, _HINT, check=unfit)
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise BackboneError(f"{path} holds numbers that are not finite", _HINT)
    return (
        Linear(arrays["far_weights"], arrays["far_intercept"]),
        Linear(arrays["near_weights"], arrays["near_intercept"]),
    )


def _digest(folder: Path) -> str:
    return sha256_bytes(" ".join(sha256_file(folder / name, _LARGEST) for name in FILES).encode())[
        :12
    ]
