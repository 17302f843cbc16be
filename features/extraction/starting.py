"""Backbones become parts of an extraction: loaded, and started on every device."""

import contextlib
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence

from ...core.errors import BackboneError, ProofError, enumerate_some
from ...core.imports import is_lack_of_memory
from ..backbones import Backbone, load_backbone, load_backbones
from ..engines.base import GraphRefusedError
from ..engines.choose import engines_for
from ..graphs.network import GraphNetwork
from ..images.preprocessing import FIT_OF_MODE
from ..records.feature_set import FeatureSetRecord
from ..records.spec import BackboneSpec
from .options import ExtractOptions
from .part import Part


def load_parts(backbones: Sequence[str | BackboneSpec], options: ExtractOptions) -> list[Part]:
    """Load backbones; none is started yet."""
    loaded = load_backbones(
        backbones,
        options.engine,
        options.request,
        device=options.devices[0],
        precision=options.precision_compute,
        layer=options.features_from,
    )
    return _parts_of(loaded, options)


def take_parts(
    networks: Sequence[tuple[BackboneSpec, GraphNetwork | None]], options: ExtractOptions
) -> list[Part]:
    """Give networks that were loaded elsewhere to engines of this machine, without starting them.

    Those that are none, being no graphs, are loaded here.
    """
    device, precision = options.devices[0], options.precision_compute
    loaded = [
        load_backbone(
            spec, options.engine, options.request, device=device, precision=precision, network=one
        )
        for spec, one in networks
    ]
    return _parts_of(loaded, options)


def _parts_of(loaded: list[Backbone], options: ExtractOptions) -> list[Part]:
    _require_fits(loaded, options.fit)
    return [
        Part(
            backbone,
            FeatureSetRecord(
                backbone.record,
                options.fit,
                options.made_views,
                backbone.layer,
                options.precision,
                backbone.compute,
                options.decode,
            ),
        )
        for backbone in loaded
    ]


def _require_fits(loaded: Sequence[Backbone], fit: str) -> None:
    """Refuse the usual fit for networks whose records say that they were trained with another."""
    others = {}
    for backbone in loaded:
        mode = backbone.record.preprocessing.crop_mode
        if fit == "crop" and mode != "center":
            others[backbone.record.spec] = mode
    if others:
        said = enumerate_some(f"{spec} (crop_mode {mode})" for spec, mode in others.items())
        fits = " or ".join(sorted({FIT_OF_MODE[mode] for mode in others.values()}))
        raise BackboneError(
            f"these backbones were trained on images that were not cropped: {said}",
            f"extract with --fit {fits}{_how_to_crop(others)}",
        )


def _how_to_crop(specs: Iterable[str]) -> str:
    """Say how networks are cropped anyway, where that is for a record of one's own to say."""
    if not all(spec.startswith(("onnx:", "gluon-file:")) for spec in specs):
        return ""
    return (
        "; or, to crop anyway, write crop_mode center and all else that the record says into one "
        "of your own, NAME.json beside the network"
    )


def started(part: Part, options: ExtractOptions, images: int = 0) -> Part:
    """Start a part; where the choice was ours and the engine computes wrongly, on another one.

    On a GPU another one is taken, too, where the first does not run the graph at all: none of
    them leaves the GPU. How many `images` are to come is as far as that is known.
    """
    tolerated = (ProofError,) if options.devices[0] == "cpu" else (ProofError, BackboneError)
    try:
        part.start(options, images)
        return part
    except GraphRefusedError as error:
        if options.devices[0] == "cpu" and not is_lack_of_memory(error.__cause__ or error):
            raise BackboneError(error.message, _who_runs_it(part, options)) from error
        raise
    except tolerated as error:
        for other in _alternatives(part, options):
            with contextlib.suppress(ProofError, BackboneError):
                other.start(options, images)
                other.instead_of = error.message
                return other
        raise


def _who_runs_it(part: Part, options: ExtractOptions) -> str:
    """Say which engine runs a graph that one of them refused, after trying them."""
    refused = []
    for kind in engines_for("cpu"):
        if kind.runs_graphs and kind is not part.backbone.kind and "f32" in kind.able("cpu"):
            other = dataclasses.replace(part.backbone, kind=kind, compute="f32")
            try:
                Part(other, dataclasses.replace(part.record, compute="f32")).start(options)
            except ProofError as error:
                refused.append(f"--engine {kind.name} runs it, and says: {error.message}")
            except BackboneError:
                continue
            else:
                return f"use --engine {kind.name}, which runs it"
    if refused:
        return "; ".join(refused)
    return (
        "no engine here runs it: export the network again (onnx.checker.check_model(model, "
        "full_check=True) says what does not fit), or take another one"
    )


def _alternatives(part: Part, options: ExtractOptions) -> Iterator[Part]:
    backbone, device = part.backbone, options.devices[0]
    kinds = [backbone.kind]
    if options.engine == "auto":
        kinds += [kind for kind in engines_for(device) if kind.runs_graphs and not kind.by_name]
    computes = [backbone.compute] + ["f32"] * (options.precision_compute == "auto")
    tried = {(backbone.kind, backbone.compute)}
    for compute, kind in itertools.product(computes, kinds):
        if (kind, compute) not in tried and compute in kind.able(device):
            tried.add((kind, compute))
            yield Part(
                dataclasses.replace(backbone, kind=kind, compute=compute),
                dataclasses.replace(part.record, compute=compute),
            )
