"""GluonCV's detectors: built, their weights found and loaded, one image at a time.

An image is prepared by GluonCV's own preset for the kind of network, so a detector
sees what it was trained and published with.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import re
import warnings
from typing import Any

import numpy as np

from ...core.errors import BackboneError, WeightsError, enumerate_some
from ..gluon.loader import as_in_2022, load_gluoncv, load_mxnet, mxnet_context
from ..gluon.params_file import check_params
from ..gluon.zoo import published_sha1, weights_stem
from ..weights.gluon_host import download_gluon, gluon_url
from ..weights.local import find_params, gluon_cache
from ..weights.request import WeightsRequest

__all__ = ["Detector", "detector_names", "load_detector"]

# Beginning of the name -> GluonCV's preset.
_KINDS = {"ssd_": "ssd", "yolo3_": "yolo", "faster_rcnn_": "rcnn"}
# Without weights nobody can use them, or they want classes of their own.
_UNUSABLE = ("_custom", "_int8")


@dataclasses.dataclass(frozen=True)
class Detector:
    """A network that finds objects.

    Attributes
    ----------
    name : str
    classes : tuple of str
    origin : str
        Where the weights came from.
    network, context
        MXNet's; on its device.
    """

    name: str
    classes: tuple[str, ...]
    origin: str
    network: Any
    context: Any

    def prepare(self, image: np.ndarray):
        """Make an image what the network takes.

        Returns
        -------
        input : mxnet.nd.NDArray, shape (1, 3, h, w)
        height, width : int
            The size to which the image was resized.
        """
        mx, presets = load_mxnet(), _presets()
        array = mx.nd.array(image, dtype="uint8")
        kind = kind_of(self.name)
        if kind == "ssd":
            given = {"short": int(self.name.split("_")[1])}
        elif kind == "rcnn":
            given = {"short": self.network.short, "max_size": self.network.max_size}
            if not isinstance(given["short"], int):
                given["short"] = given["short"][-1]
        else:
            given = {}
        tensor, resized = getattr(presets, str(kind)).transform_test(array, **given)
        return tensor, resized.shape[0], resized.shape[1]

    def run(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find objects in an RGB image.

        Returns
        -------
        ids : ndarray of int, shape (N,)
            Index of the class.
        scores : ndarray, shape (N,)
        boxes : ndarray, shape (N, 4)
            x0, y0, x1, y1 in pixels of the image.
        """
        if _is_strip(image):
            # Resized it would have no pixel left on its short side.
            return np.zeros(0, int), np.zeros(0), np.zeros((0, 4))
        tensor, height, width = self.prepare(image)
        outputs = self.network(tensor.as_in_context(self.context))[:3]
        ids, scores, boxes = (output[0].asnumpy() for output in outputs)
        ids, scores = ids.reshape(-1), scores.reshape(-1)
        scale = np.array([image.shape[1] / width, image.shape[0] / height] * 2)
        # The rest of a fixed number of lines is filled up with -1.
        there = ids >= 0
        return ids[there].astype(int), scores[there], boxes[there] * scale

    def index_of(self, name: str) -> int:
        """Return the index of a class.

        Raises
        ------
        BackboneError
            The detector does not know it; near names are told.
        """
        if name in self.classes:
            return self.classes.index(name)
        near = difflib.get_close_matches(name, self.classes, n=3, cutoff=0.4)
        raise BackboneError(
            f"the detector {self.name} does not know the class '{name}'",
            (f"did you mean {', '.join(near)}? " if near else "")
            + f"it knows {enumerate_some(self.classes, most=100)}",
        )


def kind_of(name: str) -> str | None:
    """Return GluonCV's name of the detector's kind: ssd, yolo, rcnn; None for others."""
    return next((kind for start, kind in _KINDS.items() if name.startswith(start)), None)


def detector_names() -> list[str]:
    """Return the names of GluonCV's detectors that can be used."""
    names = load_gluoncv().model_zoo.model_zoo.get_model_list()
    return sorted(n for n in names if kind_of(n) and not n.endswith(_UNUSABLE))


def load_detector(text: str, request: WeightsRequest, device: str = "cpu") -> Detector:
    """Load a detector.

    Parameters
    ----------
    text : str
        ``gluoncv:NAME``.
    request : WeightsRequest
        Where weights are; or random ones, for trials.
    device : str
        ``cpu`` or ``cuda:N``.

    Raises
    ------
    BackboneError
        There is no such detector; near names are told.
    WeightsError
        Its weights cannot be had; the places tried are told.
    """
    match = re.fullmatch(r"gluoncv:(.+)", text.strip())
    known = detector_names()
    name = match[1] if match else ""
    if name not in known:
        near = difflib.get_close_matches(name, known, n=4, cutoff=0.5) or known[:4]
        raise BackboneError(
            f"'{text}' is no detector of GluonCV",
            f"write gluoncv:NAME, for instance {', '.join(f'gluoncv:{one}' for one in near)}",
        )
    context = mxnet_context(device)
    network = _build(name)
    if request.random_seed is not None:
        _initialise_at_random(network, request.random_seed)
        network.collect_params().reset_ctx(context)
        origin = request.text
    else:
        origin = _load_weights(network, name, request, context)
    network.hybridize()
    return Detector(name, tuple(network.classes), origin, network, context)


@functools.cache
def _presets():
    load_gluoncv()
    with as_in_2022():
        from gluoncv.data.transforms import presets
    return presets


def _build(name: str):
    # Building Faster R-CNN reads a name that NumPy no longer has.
    with as_in_2022(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_gluoncv().model_zoo.get_model(name, pretrained=False, pretrained_base=False)


def _load_weights(network, name: str, request: WeightsRequest, context) -> str:
    mx = load_mxnet()
    tried: list[str] = []
    path, origin = _find_weights(name, request, tried)
    check_params(path)  # MXNet's own reader trusts what it reads
    try:
        network.load_parameters(str(path), ctx=context)
    except (mx.MXNetError, AssertionError, ValueError, OSError) as error:
        raise WeightsError(
            f"{path} does not fit gluoncv:{name}: {str(error).splitlines()[0][:200]}",
            "get the .params file of this very detector",
        ) from error
    return origin


def _find_weights(name: str, request: WeightsRequest, tried: list[str]):
    found = find_params(name, request.folder, "gluon", tried)
    if found is not None:
        return found.path, found.origin
    sha1, stem = published_sha1(name), weights_stem(name)
    if sha1:
        target = gluon_cache() / f"{stem}.params"
        try:
            download_gluon(stem, sha1, target, None)
            return target, f"published weights, {gluon_url(stem)}"
        except WeightsError as error:
            tried.append(error.message)
    else:
        tried.append(f"GluonCV publishes no weights for {name}")
    raise WeightsError(
        f"no weights for the detector gluoncv:{name}. Places tried:\n    " + "\n    ".join(tried),
        f"put {stem if sha1 else name}.params into a folder and name it with --weights-dir, or "
        "set MXNET_GLUON_REPO to a mirror; a table of boxes from elsewhere does as well (--boxes), "
        "or what 'icecore regions fit' learns from a few of them",
    )


def _initialise_at_random(network, seed: int) -> None:
    """Give every parameter a value from a seed, so that a trial can run."""
    mx, rng = load_mxnet(), np.random.default_rng(seed)
    network.initialize(mx.init.Zero(), force_reinit=True)
    network(mx.nd.zeros((1, 3, 320, 320)))  # fixes shapes that are inferred late
    for name, parameter in network.collect_params().items():
        shape = parameter.shape
        if name.endswith("weight"):
            scale = math.sqrt(2 / int(np.prod(shape[1:])))
            # What is predicted stays small, or boxes leave every image.
            scale *= 0.1 if "predictor" in name or "yolooutput" in name else 1
            values = rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)
        elif name.endswith(("gamma", "var")):
            values = np.ones(shape)
        elif name.endswith(("beta", "bias", "mean")):
            values = np.zeros(shape)
        else:
            continue  # Anchors and offsets are what they are.
        parameter.set_data(mx.nd.array(values))


def _is_strip(image: np.ndarray) -> bool:
    return max(image.shape[:2]) > 100 * min(image.shape[:2])
