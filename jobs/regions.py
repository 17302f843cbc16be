"""The job `fit_regions`: from a few boxes to a region that is found in every image."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from .. import features
from .. import manifest as manifests
from ..core.arguments import require_types, typed
from ..core.errors import RunError, enumerate_some
from ..core.files import publish_text
from ..core.folders import replacing_folder
from ..features import BackboneSpec, Fitted, Layer, LearningOptions, LookOptions
from .regions_page import regions_page

_PAGE = "report.html"


@dataclasses.dataclass(frozen=True)
class FitRegionsOptions:
    """How a region is to be learnt.

    Attributes
    ----------
    layer : str, optional
        Look at the map of this layer; at the one before the pool if None.
    threshold : float
        An image stays whole where less intersection over union with the true box is expected.
    seed : int
        Of the folds and of the places that are looked at.
    overwrite : bool
        Replace an earlier region.
    weights : str
        ``pretrained`` or ``random:SEED``.
    engine, device, batch_size, workers, accept_error, weights_dir
        As in `ExtractOptions`.
    """

    layer: str | None = None
    threshold: float = 0.5
    seed: int = 0
    overwrite: bool = False
    weights: str = "pretrained"
    engine: str = "auto"
    device: str = "cpu"
    batch_size: int | None = None
    workers: int | None = None
    accept_error: float | None = None
    weights_dir: str | os.PathLike | None = None

    def __post_init__(self) -> None:
        require_types(self)

    @property
    def looks(self) -> LookOptions:
        """How the network runs; the same checks as for an extraction."""
        return features.ExtractOptions(
            engine=self.engine,
            device=self.device,
            batch_size=self.batch_size,
            workers=self.workers,
            accept_error=self.accept_error,
            weights=self.weights,
            weights_dir=self.weights_dir,
        ).looks


DEFAULTS = FitRegionsOptions()


@typed
def fit_regions(
    data: str | os.PathLike,
    boxes: str | os.PathLike,
    backbone: str,
    out: str | os.PathLike,
    options: FitRegionsOptions = DEFAULTS,
    on_step: Callable[[str], None] = lambda step: None,
) -> Fitted:
    """Learn where the part of an image is that counts, from boxes of some of the images.

    Parameters
    ----------
    data : path-like
        What `icecore.manifest.read` reads; labels are not needed.
    boxes : path-like
        Table of boxes of some of the images, see `icecore.manifest.read_boxes`. A line
        without numbers says that the image does not show the part.
    backbone : str
        Spec, ``source:name[@resolution]``.
    out : path-like
        Folder: ``regions.json``, ``weights.npz`` and ``report.html``. Give it as ``boxes`` to
        `ExtractOptions`.
    options : FitRegionsOptions
    on_step : callable
        Told what is being done.

    Raises
    ------
    BackboneError
        There are too few boxes, or what they mark cannot be found out of fold.
    RunError
        `out` holds something else.
    ManifestError, MissingFileError
        The table of boxes cannot be used.
    """
    out = Path(out)
    _require_free(out, options.overwrite)
    name, looks = features.region_name(out), options.looks
    learning = LearningOptions(options.threshold, seed=options.seed)
    manifest = manifests.read(data, labels_required=False)
    table = manifests.read_boxes(boxes, manifest, features.image_size)
    spec = dataclasses.replace(BackboneSpec.parse(backbone), layer=Layer(options.layer, "none"))
    fitted = features.fit_regions(manifest, table, spec, name, looks, learning, on_step)
    page = regions_page(fitted, {i: sample.path for i, sample in manifest.images.items()})
    with replacing_folder(out, lambda: _require_free(out, options.overwrite)) as folder:
        features.write_regions(folder, fitted.regions)
        publish_text(folder / _PAGE, page)
    return fitted


def _require_free(out: Path, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    ours = {*features.REGION_FILES, _PAGE}
    foreign = {one.name for one in out.iterdir()} - ours if out.is_dir() else set()
    if foreign or not out.is_dir():
        what = enumerate_some(sorted(foreign)) if out.is_dir() else "a file"
        raise RunError(f"{out} holds something else than a region: {what}", "choose another folder")
    if not overwrite:
        raise RunError(f"{out} holds a region already", "choose another folder, or say --overwrite")
