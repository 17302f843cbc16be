"""How an extraction is to be done: one value, made at the door and handed down whole."""

import dataclasses
import functools
import os

from ...core.arguments import require_types
from ...core.errors import BackboneError, IcecoreError
from ...core.hardware import available_cpus, parse_devices
from ..detection.detect import DetectorOptions
from ..engines.choose import COMPUTE_PRECISIONS, ENGINE_CHOICES
from ..images.fit import FITS
from ..images.scale import DECODINGS
from ..images.views import Views
from ..records.feature_set import PRECISIONS
from ..records.layer import Layer
from ..regions.looks import LookOptions
from ..weights.request import WeightsRequest

LARGEST_BATCH, MOST_WORKERS = 4096, 256
# Fewer leave most of a GPU idle.
BATCH_ON_CPUS, BATCH_ON_GPUS = 16, 64


@dataclasses.dataclass(frozen=True)
class ClusterOptions:
    """Where to compute with Ray.

    Attributes
    ----------
    address : str
        ``local`` for processes on this machine, ``auto`` for the cluster that this machine is in,
        or what ``ray start`` printed.
    least, most : int
        How many processes compute. One needs a GPU each with ``--device cuda:0``, else `cpus`.
    cpus : int
        Processors of each process.

    Raises
    ------
    BackboneError
        The numbers do not fit together.
    """

    address: str = "local"
    least: int = 1
    most: int = 1
    cpus: int = 1

    def __post_init__(self) -> None:
        require_types(self)
        if not 1 <= self.least <= self.most or self.cpus < 1:
            raise BackboneError(
                f"{self.least} to {self.most} Ray workers with {self.cpus} processors each",
                "give --ray-workers MIN:MAX, both 1 or more",
            )


@dataclasses.dataclass(frozen=True)
class ExtractOptions:
    """How an extraction is to be done.

    Attributes
    ----------
    engine : {"auto", "mxnet", "onnxruntime", "openvino", "tensorrt", "torch"}
        ``auto`` takes the fastest that is installed for the device and the precision.
    device : str
        ``cpu``, ``mps``, or ``cuda:0`` and more, separated by commas.
    fit : {"crop", "pad", "squash"}
        How an image meets a square input.
    views : str or Views
        ``center``, ``flip`` (the centre and its mirror image), ``ten`` (the centre and
        the four corners, each with its mirror image), ``eighteen`` (a grid of 3 x 3),
        ``random:K`` (K random versions), or one of these and random ones: ``flip+random:8``.
    resize_margin : float, optional
        By how much of the crop's side the resized short side exceeds it. None: 0.143 for
        ``ten`` and ``eighteen`` (256 pixels for 224), else as the backbone's crop_pct says.
    seed : int
        Seed of random views.
    decode : {"fast", "full"}
        ``fast`` decodes a JPEG at a half, a quarter or an eighth of its sides where that leaves
        twice the pixels that the network is given; ``full`` decodes all of it.
    layer : str, optional
        Name of the layer whose output is the feature row; the input of the classifier if
        None. A `BackboneSpec` among the backbones has its own layer and pool.
    pool : {"avg", "max", "avgmax", "gem"}
        How height and width are pooled; ``avgmax`` is the mean of both, ``gem`` the
        generalised mean with p = 3; ``none`` keeps the whole map.
    precision : {"float16", "float32", "bfloat16"}
        Of the stored rows.
    precision_compute : {"f32", "tf32", "bf16", "fp16", "auto"}
        In which the engine computes; ``auto`` is the fastest on this hardware. Rows
        that were computed in another precision are a set of their own.
    weights : str
        ``pretrained``, or ``random:SEED`` for trials.
    weights_dir : path-like, optional
        Where to look for weights and ONNX files first.
    boxes : path-like, optional
        Table of the part of each image that counts, see `icecore.manifest.read_boxes`; or
        the folder of a learnt region, which is then found.
    detector : DetectorOptions, optional
        Finds boxes for the images that the table lacks, and adds them to it.
    accept_error : float, optional
        The largest relative error (L2, on random images) by which an engine's features may
        differ from those of a plain float32 run of the graph. None: 1e-4 in float32, and 0.02
        in half precision.
    batch_size : int, optional
        Squares in a batch of the engine.
    workers : int, optional
        Decoding threads; as many as processors if None.
    cpus : int, optional
        Processors that an engine computes on, where that is a CPU; all that there are if None.
        (MXNet heeds ``OMP_NUM_THREADS`` alone.)
    paranoid : bool
        Digest every file again, even if size and time are unchanged.
    only_writer : bool
        Whether no other machine writes to the cache in a store, which then need know no
        conditional requests.
    cluster : ClusterOptions, optional
        Compute with Ray, in several processes that share the images and the cache.

    Raises
    ------
    BackboneError
        Some of them cannot be used; all of those are named.

    Examples
    --------
    >>> ExtractOptions(views="flip", batch_size=32).made_views.names
    ('center', 'flip')
    """

    engine: str = "auto"
    device: str = "cpu"
    fit: str = "crop"
    views: str | Views = "center"
    resize_margin: float | None = None
    seed: int = 0
    decode: str = "fast"
    layer: str | None = None
    pool: str = "avg"
    precision: str = "float16"
    precision_compute: str = "f32"
    weights: str = "pretrained"
    weights_dir: str | os.PathLike | None = None
    boxes: str | os.PathLike | None = None
    detector: DetectorOptions | None = None
    accept_error: float | None = None
    batch_size: int | None = None
    workers: int | None = None
    cpus: int | None = None
    paranoid: bool = False
    only_writer: bool = False
    cluster: ClusterOptions | None = None

    def __post_init__(self) -> None:
        require_types(self)
        hints: list[str] = []
        choices = {
            "engine": ENGINE_CHOICES,
            "fit": FITS,
            "decode": DECODINGS,
            "precision": PRECISIONS,
            "precision_compute": COMPUTE_PRECISIONS,
        }
        faults = [
            f"{name}={getattr(self, name)!r} (choose {', '.join(known)})"
            for name, known in choices.items()
            if getattr(self, name) not in known
        ]
        if self.batch_size is not None and not 1 <= self.batch_size <= LARGEST_BATCH:
            faults.append(f"batch_size={self.batch_size} (1 to {LARGEST_BATCH})")
        if self.accept_error is not None and not 0 <= self.accept_error <= 1:
            faults.append(f"accept_error={self.accept_error} (a share, 0 to 1: 0.05 is 5%)")
        for name in ("workers", "cpus"):
            number = getattr(self, name)
            if number is not None and not 1 <= number <= MOST_WORKERS:
                faults.append(f"{name}={number} (1 to {MOST_WORKERS})")
        if self.detector is not None and self.boxes is None:
            faults.append("detector without boxes, the file for what it finds")
            hints.append("add --boxes FILE; correct the file by hand if need be, and use it again")
        for name in ("made_views", "features_from", "devices", "request"):
            try:
                getattr(self, name)
            except IcecoreError as error:
                faults.append(error.message)
                hints.append(error.hint)
        if faults:
            hint = hints[0] if len(faults) == len(hints) == 1 else "see icecore extract --help"
            raise BackboneError(f"these options cannot be used: {'; '.join(faults)}", hint)

    @functools.cached_property
    def made_views(self) -> Views:
        """The views, parsed."""
        if isinstance(self.views, Views):
            return self.views
        return Views.parse(self.views, self.resize_margin, self.seed, self.fit)

    @functools.cached_property
    def features_from(self) -> Layer:
        """Where the features of backbones are taken that are named by text."""
        return Layer(self.layer, self.pool)

    @functools.cached_property
    def devices(self) -> tuple[str, ...]:
        """The devices, one by one."""
        return tuple(parse_devices(self.device))

    @functools.cached_property
    def squares_at_once(self) -> int:
        """Squares in a batch of the engine."""
        usual = BATCH_ON_CPUS if self.devices[0] == "cpu" else BATCH_ON_GPUS
        return self.batch_size or usual

    @functools.cached_property
    def request(self) -> WeightsRequest:
        """How weights are to be had."""
        return WeightsRequest.parse(self.weights, self.weights_dir)

    @property
    def looks(self) -> LookOptions:
        """How the network runs that looks for regions."""
        return LookOptions(
            self.engine,
            self.devices[0],
            self.squares_at_once,
            self.workers,
            self.accept_error,
            self.request,
        )

    @functools.cached_property
    def threads(self) -> int:
        """Decoding threads."""
        return self.workers or available_cpus()
