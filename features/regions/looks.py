"""What a frozen network sees of whole images and of parts of them: its map before the pool."""

import dataclasses
import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np

from ...core.errors import BackboneError, FileFormatError, ImageError
from ...core.hardware import available_cpus
from ...core.places import absolute, read_place
from ...manifest import LARGEST_IMAGE_FILE, Sample
from ..backbones import Backbone, load_backbone
from ..engines.base import Setup
from ..engines.proof import prove_in_engine
from ..graphs.network import GraphNetwork
from ..images.decode import decode
from ..images.fit import fit_image, resize
from ..records.layer import Layer
from ..records.spec import BackboneSpec
from ..weights.request import WeightsRequest

# Pictures are kept at this size at most, twice what networks usually take.
LONGEST_SIDE = 512
# A map of 16 x 16 places with 4096 channels; and a box must not be the work of hours.
WIDEST_MAP = 2**20


@dataclasses.dataclass(frozen=True)
class LookOptions:
    """How the network runs that looks for regions.

    Attributes
    ----------
    engine, device, batch_size, workers, accept_error
        As in `ExtractOptions`; of several devices the first is taken.
    request : WeightsRequest
        Where weights are.
    """

    engine: str = "auto"
    device: str = "cpu"
    batch_size: int = 16
    workers: int | None = None
    accept_error: float | None = None
    request: WeightsRequest = dataclasses.field(default_factory=WeightsRequest)


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image, made smaller.

    Attributes
    ----------
    path : str
        Of the file, absolute.
    digest : str
        SHA-256 of the file.
    pixels : ndarray of uint8, shape (height, width, 3)
    width, height : int
        Of the upright image in the file.
    """

    id: str
    path: str
    digest: str
    pixels: np.ndarray
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of `pixels`."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def scale(self) -> np.ndarray:
        """What turns a box of `pixels` into one of the file's image."""
        return np.tile([self.width / self.size[0], self.height / self.size[1]], 2)


class Looker:
    """A network that turns parts of pictures into rows: the square roots of its map.

    Parameters
    ----------
    backbone : Backbone
        Its layer is not pooled.
    """

    def __init__(self, backbone: Backbone, options: LookOptions) -> None:
        self.backbone = backbone
        self._batch = options.batch_size
        self._engine = backbone.start(options.device, options.batch_size)
        if isinstance(backbone.network, GraphNetwork):
            setup = Setup(options.device, "f32", options.batch_size)
            prove_in_engine(self._engine, backbone.network, setup, options.accept_error)

    @property
    def width(self) -> int:
        """Length of a row."""
        return self.backbone.record.num_features

    def whole(self, pictures: Sequence[Picture]) -> np.ndarray:
        """Look at whole pictures, padded to squares."""
        how = self.backbone.record.preprocessing
        return self._rows(fit_image(one.pixels, how, "pad") for one in pictures)

    def parts(self, pictures: Sequence[Picture], frames: np.ndarray) -> np.ndarray:
        """Look at a part of each picture, squashed; beyond its edges is the mean colour."""
        return self._rows(self._cut(one, frame) for one, frame in zip(pictures, frames))

    def frames(self, pictures: Sequence[Picture]) -> np.ndarray:
        """Return the squares (N, 4) that `whole` shows, in pixels of the pictures."""
        sizes = np.array([one.size for one in pictures], float).reshape(-1, 2)
        half = sizes.max(axis=1, keepdims=True) / 2
        return np.concatenate([sizes / 2 - half, sizes / 2 + half], axis=1)

    def _cut(self, picture: Picture, frame: np.ndarray) -> np.ndarray:
        how, (width, height) = self.backbone.record.preprocessing, picture.size
        x0, y0 = map(round, np.clip(frame[:2], -2 * LONGEST_SIDE, 3 * LONGEST_SIDE).tolist())
        x1, y1 = map(round, np.clip(frame[2:], -2 * LONGEST_SIDE, 3 * LONGEST_SIDE).tolist())
        x1, y1 = max(x1, x0 + 2), max(y1, y0 + 2)
        part = np.empty((y1 - y0, x1 - x0, 3), np.uint8)
        part[:] = np.round(np.array(how.mean) * 255).clip(0, 255)
        left, top, right, bottom = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
        if right > left and bottom > top:
            seen = picture.pixels[top:bottom, left:right]
            part[top - y0 : bottom - y0, left - x0 : right - x0] = seen
        return resize(part, how.resolution, how.resolution, how.interpolation)

    def _rows(self, squares: Iterable[np.ndarray]) -> np.ndarray:
        """Return float16 (N, D). Batches are always full: all squares go one way."""
        rows, side = [], self.backbone.record.resolution
        batch, filled = np.zeros((self._batch, side, side, 3), np.uint8), 0
        for square in squares:
            batch[filled] = square
            filled += 1
            if filled == self._batch:
                rows.append(_roots(self._engine.run(batch)))
                filled = 0
        if filled:
            batch[filled:] = 0
            rows.append(_roots(self._engine.run(batch)[:filled]))
        return np.concatenate(rows) if rows else np.zeros((0, self.width), np.float16)


def start_looker(spec: BackboneSpec, options: LookOptions) -> Looker:
    """Load and start a backbone whose map before the pool is looked at.

    Raises
    ------
    BackboneError, WeightsError, ProofError, MissingDependencyError
        It cannot be run, or has no map of a size that can be looked at.
    """
    if spec.source == "timm":
        raise BackboneError(
            f"{spec.canonical}: timm's networks give no maps to look at",
            "look with a network of gluon:, mxnet:, gluon-file: or onnx:; the features of what is "
            "found may be those of any network",
        )
    spec = dataclasses.replace(spec, layer=Layer(spec.layer.name, "none"))
    backbone = load_backbone(spec, options.engine, options.request, device=options.device)
    width = backbone.record.num_features
    if width > WIDEST_MAP:
        raise BackboneError(
            f"{spec.canonical}: the map has {width:,} numbers, more than {WIDEST_MAP:,}",
            "name a later layer with --layer, or a lower resolution (SPEC@224)",
        )
    return Looker(backbone, options)


def read_pictures(
    samples: Sequence[Sample],
    workers: int | None = None,
    on_failure: Callable[[Sample, str], None] | None = None,
    ahead: int = 16,
) -> Iterator[Picture]:
    """Yield the pictures of `samples` that can be read, `ahead` of them decoded in advance."""
    waiting: deque[tuple[Sample, Future]] = deque()
    todo = iter(samples)
    with ThreadPoolExecutor(workers or available_cpus(), thread_name_prefix="decode") as pool:
        try:
            while True:
                for sample in itertools.islice(todo, ahead - len(waiting)):
                    waiting.append((sample, pool.submit(_read, sample)))
                if not waiting:
                    return
                sample, future = waiting.popleft()
                found = future.result()
                if isinstance(found, Picture):
                    yield found
                elif on_failure is not None:
                    on_failure(sample, found)
        finally:
            for _, future in waiting:
                future.cancel()


def _read(sample: Sample) -> Picture | str:
    try:
        content = read_place(sample.path, LARGEST_IMAGE_FILE)
        with ExitStack() as held:
            image = decode(content, held)
            height, width = image.shape[:2]
            shrink = LONGEST_SIDE / max(height, width)
            if shrink < 1:
                sides = (max(2, round(height * shrink)), max(2, round(width * shrink)))
                image = resize(image, *sides, "area")
    except (ImageError, FileFormatError, OSError, MemoryError) as error:
        return str(error)
    digest, path = hashlib.sha256(content).hexdigest(), absolute(sample.path)
    return Picture(sample.id, path, digest, image, width, height)


def _roots(features: np.ndarray) -> np.ndarray:
    """Take square roots, with their signs: a few large values would else outweigh a map."""
    return (np.sign(features) * np.sqrt(np.abs(features))).astype(np.float16)
