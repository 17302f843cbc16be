"""The source ``timm:NAME``: networks of timm, exported to ONNX once and proved against torch.

Preprocessing is what timm's own record says. The weights come from the Hugging
Face hub, as safetensors only: other formats may run code. Once a graph is kept
neither torch nor timm is imported, and the hub is not asked.
"""

import dataclasses
import difflib
import hashlib
import io
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import BackboneError, WeightsError, enumerate_some, first_line, shortened
from ...core.files import sha256_file
from ...core.imports import load
from ..engines.proof import prove_graph
from ..graphs.formats import other_format_of_weights
from ..graphs.network import GraphNetwork
from ..graphs.onnx_graph import FEATURES, add_normalisation, load_onnx
from ..graphs.session import load_onnxruntime
from ..graphs.store import graph_folder, graph_key, keep_graph, kept_graph
from ..images.preprocessing import INTERPOLATIONS, Preprocessing, three_numbers
from ..records.layer import BEFORE_CLASSIFIER
from ..records.record import BackboneRecord
from ..records.spec import BackboneSpec
from ..weights.hub import hub_file
from ..weights.request import WeightsFile, WeightsRequest
from .base import LayerShape, Source
from .timm_layers import features_of, layer_shapes, usual_pool
from .timm_names import load_timm

OPSET = 17
# Part of the key: raise it when the exported bytes change their meaning.
EXPORTER_VERSION = 1
_LONGEST_REASON = 1000
# Bytes that stand for weights by a scale, and complex numbers, as safetensors call them.
_OF_CODES = re.compile("[IU]8|F[468](?!4)|C")
_SAFE_NAMES = {
    "pytorch_model.bin": "model.safetensors",
    "open_clip_pytorch_model.bin": "open_clip_model.safetensors",
}


@dataclasses.dataclass(frozen=True)
class TimmBackbone:
    """A network of timm, ready to be exported.

    Attributes
    ----------
    network : torch.nn.Module
        From normalised images (N, 3, R, R) to features (N, D).
    origin : str
        Where the weights came from.
    license : str
        Of published weights, as timm names it; else empty.
    """

    record: BackboneRecord
    network: Any
    origin: str
    license: str = ""

    def run(self, images: np.ndarray) -> np.ndarray:
        """Turn uint8 images (N, R, R, 3) into features (N, D), in torch."""
        torch, _ = _load_timm()
        how = self.record.preprocessing
        scaled = (images.astype(np.float32) / 255 - how.mean) / how.std
        batch = torch.from_numpy(scaled.transpose(0, 3, 1, 2).astype(np.float32))
        with torch.inference_mode():
            return self.network(batch).float().numpy()


class TimmSource(Source):
    """``timm:NAME``: networks of timm, each exported to ONNX once."""

    name = "timm"

    def load_graph(self, spec: BackboneSpec, request: WeightsRequest) -> GraphNetwork:
        """See `Source.load_graph`; a graph that does not agree with torch is not kept."""
        return _proved_graph(spec, request)

    def settled(self, spec: BackboneSpec) -> BackboneSpec:
        """See `Source.settled`; tokens are pooled as the networks' authors evaluate them."""
        if spec.layer.blocks and spec.layer.pool == "avg":
            pool = usual_pool(spec.name)
            return dataclasses.replace(spec, layer=dataclasses.replace(spec.layer, pool=pool))
        return spec

    def layers(self, spec: BackboneSpec, request: WeightsRequest) -> list[LayerShape]:
        """See `Source.layers`; their names are those of timm's modules."""
        plain = dataclasses.replace(spec, layer=BEFORE_CLASSIFIER)
        backbone = load_timm_backbone(plain, WeightsRequest.parse("random:0"))
        torch, _ = _load_timm()
        return layer_shapes(torch, backbone.network.model, backbone.record.resolution)


def _proved_graph(spec: BackboneSpec, request: WeightsRequest) -> GraphNetwork:
    parts = {
        "name": spec.canonical,
        "weights": _identity(spec, request),
        "exporter": EXPORTER_VERSION,
        "opset": OPSET,
        "onnxruntime": load_onnxruntime().__version__,
        "layer": spec.layer.name,
        "pool": spec.layer.pool,
    }
    key = graph_key(parts)
    path = graph_folder() / f"timm-{Path(spec.name).name}-{key[:16]}.onnx"
    kept = kept_graph(path, key)
    if kept is not None:
        record, note = kept
        license = str(note.get("license", ""))
        return GraphNetwork(record, path, note.get("origin", ""), spec.canonical, license=license)
    backbone = load_timm_backbone(spec, request)
    content = export_timm(backbone).SerializeToString()
    hint = "use another network, and report it"
    if request.random_seed is not None:
        hint = "random weights may swell every rounding in a deep network: give trained ones"

    def prove(graph: Path) -> float:
        return prove_graph(backbone.record, graph, backbone.run, "torch", hint)

    about = {"origin": backbone.origin, "license": backbone.license}
    keep_graph(path, key, content, prove, backbone.record, **about)
    return GraphNetwork(
        backbone.record, path, backbone.origin, spec.canonical, license=backbone.license
    )


def load_timm_backbone(spec: BackboneSpec, request: WeightsRequest) -> TimmBackbone:
    """Build a timm network, load or draw its weights, and freeze it."""
    torch, timm = _load_timm()
    _require_known(timm, spec)
    overlay, origin = None, request.text
    if request.random_seed is None:
        file, origin = _weights(timm, spec, request)
        # Loaders that a network brings along are for other formats than safetensors.
        overlay = {"file": str(file), "custom_load": False}
    else:
        torch.manual_seed(request.random_seed)
    model = _create(timm, spec, overlay)
    if request.random_seed is not None:
        _wake_scales(torch, model)
    how = _preprocessing(timm, model, spec)
    _require_whole_patches(model, how.resolution, spec)
    network = features_of(torch, model, spec)
    record = BackboneRecord(
        spec=spec.canonical,
        architecture=str(model.pretrained_cfg.get("architecture") or spec.name),
        weights_digest=_digest(model),
        random_seed=request.random_seed,
        num_features=_width(torch, network, how.resolution, spec),
        preprocessing=how,
    )
    # That of weights of the user's own is not known.
    known = origin if request.random_seed is None and _own_file(spec, request) is None else ""
    license = str(model.pretrained_cfg.get("license") or "")[:100] if known else ""
    return TimmBackbone(record, network, origin, license)


def fetch_timm_weights(text: str, on_bytes=None) -> WeightsFile:
    """Download the weights of the network ``timm:NAME`` into the hub's cache."""
    _, timm = _load_timm()
    path, origin = _from_hub(timm, require_timm_network(text), on_bytes)
    return WeightsFile(path, "published", origin)


def require_timm_network(text: str) -> BackboneSpec:
    """Parse ``timm:NAME``, or raise `BackboneError` if timm knows no such network."""
    _, timm = _load_timm()
    spec = BackboneSpec.parse(text)
    _require_known(timm, spec)
    return spec


def export_timm(backbone: TimmBackbone):
    """Convert a network to an ONNX model, with normalisation inside."""
    torch, _ = _load_timm()
    onnx, record = load_onnx(), backbone.record
    file = io.BytesIO()
    example = torch.zeros(2, 3, record.resolution, record.resolution)
    axes = {"pixels": {0: "N"}, FEATURES: {0: "N"}}
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                backbone.network,
                (example,),
                file,
                dynamo=False,
                opset_version=OPSET,
                input_names=["pixels"],
                output_names=[FEATURES],
                dynamic_axes=axes,
            )
    except Exception as error:  # the exporter's exceptions share no base of their own
        raise BackboneError(
            f"{record.spec} cannot be exported to ONNX: {first_line(error)}",
            "choose another network",
        ) from error
    model = onnx.load_from_string(file.getvalue())
    model.producer_name = "icecore"
    add_normalisation(model, record.preprocessing)
    return model


def _load_timm():
    timm = load_timm()  # Where both are missing, its extra brings both.
    return load("torch"), timm


def _require_known(timm, spec: BackboneSpec) -> None:
    known = {*timm.list_models(), *timm.list_pretrained()}
    if spec.name not in known:
        near = difflib.get_close_matches(spec.name, sorted(known), n=4, cutoff=0.5)
        raise BackboneError(
            f"timm {timm.__version__} has no network '{spec.name}'",
            f"did you mean {', '.join(near)}?" if near else "see timm.list_models()",
        )


def _identity(spec: BackboneSpec, request: WeightsRequest) -> str:
    """Name the weights without torch: those of the hub are whichever were kept first."""
    if request.random_seed is not None:
        return request.text
    own = _own_file(spec, request)
    return sha256_file(own) if own else "hub"


def _own_file(spec: BackboneSpec, request: WeightsRequest) -> Path | None:
    return request.own_file(f"{spec.name}.safetensors")


def _weights(timm, spec: BackboneSpec, request: WeightsRequest) -> tuple[Path, str]:
    own = _own_file(spec, request)
    if own is not None:
        return own, f"own weights, {own}, SHA-256 {sha256_file(own)}"
    return _from_hub(timm, spec)


def _from_hub(timm, spec: BackboneSpec, on_bytes=None) -> tuple[Path, str]:
    about = timm.get_pretrained_cfg(spec.name)
    repository = about.hf_hub_id if about else None
    if not repository:
        raise WeightsError(
            f"the hub has no weights for {spec.canonical}",
            f"put {spec.name}.safetensors into a folder and name it with --weights-dir",
        )
    try:
        found = hub_file(repository, _safe_name(about.hf_hub_filename), on_bytes)
    except WeightsError as error:
        raise WeightsError(
            f"no weights for {spec.canonical}: {error.message}",
            f"bring that file, and put it as {spec.name}.safetensors into a folder that you name "
            "with --weights-dir; --weights random:0 takes random ones, for trials only",
        ) from error
    return found.path, f"{found.text}, SHA-256 {found.sha256}"


def _safe_name(named: str | None) -> str:
    if not named:
        return "model.safetensors"
    return _SAFE_NAMES.get(named, str(Path(named).with_suffix(".safetensors")))


def _require_numbers(path: str) -> None:
    """Refuse tensors that PyTorch would turn into weights, though they are codes or complex."""
    try:
        with load("safetensors").safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            types = {name: file.get_slice(name).get_dtype() for name in names}
    except Exception:  # Files can be wrong in any way; what builds the network says in which.
        return
    if codes := [f"{name} ({kind})" for name, kind in types.items() if _OF_CODES.match(kind)]:
        raise WeightsError(
            f"{path} has tensors that are no plain numbers: {enumerate_some(codes, 3)}",
            "get the weights in float32 or float16: quantised ones cannot be used",
        )


def _create(timm, spec: BackboneSpec, overlay: dict | None):
    if overlay:
        _require_numbers(overlay["file"])
    options = {"pretrained": overlay is not None, "pretrained_cfg_overlay": overlay}
    sizes = [{"img_size": spec.resolution}, {}] if spec.resolution else [{}]
    for size in sizes:  # transformers are built for a size; convolutional networks are not
        try:
            return timm.create_model(spec.name, **options, **size).eval().requires_grad_(False)
        except TypeError as error:
            failure = error
        except Exception as error:  # files of weights can be wrong in any way
            kind, hint = other_format_of_weights(overlay["file"]) if overlay else ("", "")
            if overlay and kind:
                raise WeightsError(
                    f"{overlay['file']} is not a whole safetensors file: it is {kind}", hint
                ) from error
            # PyTorch names the tensors that do not fit in lines of their own.
            said = shortened(" ".join(str(error).split()), _LONGEST_REASON) or first_line(error)
            raise WeightsError(
                f"{spec.canonical} cannot be built from its weights: {said}",
                "get the safetensors file of this very network again, with the classes that timm "
                "made it for; one of other classes is exported to ONNX and named onnx:FILE",
            ) from error
    raise BackboneError(f"{spec.canonical} cannot be built: {failure}", "choose another network")


def _preprocessing(timm, model, spec: BackboneSpec) -> Preprocessing:
    about = timm.data.resolve_model_data_config(model)
    channels, *sides = about["input_size"]
    if channels != 3 or sides[0] != sides[1]:
        raise BackboneError(
            f"{spec.canonical} takes images of {about['input_size']}, not squares in colour",
            "choose another network",
        )
    known = about["interpolation"] in INTERPOLATIONS
    mode = about.get("crop_mode") or "center"
    return Preprocessing(
        resolution=spec.resolution or int(sides[0]),
        mean=three_numbers(about["mean"]),
        std=three_numbers(about["std"]),
        # Of other modes the whole image is taken.
        crop_pct=min(float(about["crop_pct"]), 1.0) if mode == "center" else 1.0,
        interpolation=about["interpolation"] if known else "bicubic",
        crop_mode=mode,
    )


def _require_whole_patches(model, side: int, spec: BackboneSpec) -> None:
    """Refuse sizes of which a transformer would pass over the border without a word."""
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", None) or (1,)
    if side % patch[0]:
        raise BackboneError(
            f"{spec.canonical}: images of {side} x {side} pixels are no whole number of patches of "
            f"{patch[0]} pixels",
            f"give a multiple of {patch[0]}, or leave @RESOLUTION away",
        )


def _width(torch, network, side: int, spec: BackboneSpec) -> int:
    try:
        with torch.inference_mode():
            shape = tuple(network(torch.zeros(1, 3, side, side)).shape)
    except BackboneError:
        raise
    except Exception as error:  # each layer has its own way to say that a size does not fit
        raise BackboneError(
            f"{spec.canonical} cannot take images of {side} x {side} pixels: {first_line(error)}",
            "leave @RESOLUTION away, or give a multiple of the network's stride",
        ) from error
    if len(shape) != 2:
        raise BackboneError(
            f"{spec.canonical} gives features of shape {shape}, not one row for each image",
            "choose a network that classifies images",
        )
    return shape[1]


def _wake_scales(torch, model) -> None:
    """Give layers that begin almost silent a voice: else random features ignore the image."""
    for parameter in model.parameters():
        if parameter.ndim == 1 and 0 < float(parameter.abs().max()) <= 1e-2:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)


def _digest(model) -> str:
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            values = tensor.numpy()
            digest.update(f"{values.dtype.str}{values.shape};".encode())
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
