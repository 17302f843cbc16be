"""Read an ONNX file that anybody may have written, so that all that follows may trust it.

Sizes are bounded before bytes are read; weights beside the file are read from its own folder,
and nothing else is read but the file itself; local functions are put in their places; what
this version of onnx does not know is said.
"""

import dataclasses
from pathlib import Path
from typing import Any

from ...core.errors import BackboneError, enumerate_some
from ...core.files import sha256_bytes
from ...core.regular_files import read_whole
from .budget import require_few_nodes
from .external import take_weights_in
from .formats import other_format
from .onnx_graph import load_onnx
from .walk import find_all, has_unknown_fields

LARGEST_FILE = 2**31 - 1  # protobuf can hold no more
_EXPORT_AGAIN = "get or export the file again"


@dataclasses.dataclass(frozen=True)
class OnnxFile:
    """An ONNX model with all its weights.

    Attributes
    ----------
    model : onnx.ModelProto
        Without local functions, and without weights that lie elsewhere.
    digest : str
        SHA-256 of the file, and of the weights beside it if there are any.
    metadata : dict of str to str
        What its exporter noted; of it, only what it says of images is about the graph.
    """

    path: Path
    model: Any
    digest: str
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)


def read_graph(path: Path) -> OnnxFile:
    """Read an ONNX model.

    Raises
    ------
    MissingFileError, BackboneError
    """
    onnx = load_onnx()
    hint = "check the path of the ONNX file, or name the folder that holds it with --weights-dir"
    content = read_whole(path, LARGEST_FILE, BackboneError, hint)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as error:  # protobuf's own kind
        raise _not_onnx(path, content, str(error)) from error
    digest = sha256_bytes(content)
    if not model.HasField("graph"):
        raise _not_onnx(path, content, "it holds no graph")
    require_few_nodes(model, path)
    _require_known(onnx, model, path)
    beside = take_weights_in(onnx, model, path, LARGEST_FILE - len(content))
    if beside:
        digest = sha256_bytes(f"{digest} {beside}".encode())
    tensors = find_all(model, "TensorProto")
    below = [found.place for found in tensors if min(found.message.dims, default=0) < 0]
    if below:  # NumPy takes a negative extent for one that it is to find out.
        raise _not_onnx(path, content, f"negative extents: {enumerate_some(below, 3)}")
    metadata = {one.key: one.value for one in model.metadata_props}
    del model.metadata_props[:], model.training_info[:]
    try:
        onnx.checker.check_model(model)
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
    except Exception as error:  # the checker raises many kinds
        raise _not_onnx(path, content, f"{type(error).__name__}: {error}") from error
    return OnnxFile(path, model, digest, metadata)


def _not_onnx(path: Path, content: bytes, detail: str) -> BackboneError:
    kind, hint = other_format(content[:256])
    if kind:
        return BackboneError(f"{path} is not an ONNX model but {kind}", hint)
    line = next(iter(detail.strip().splitlines()), "no detail")[:160]
    return BackboneError(f"{path} is not a valid ONNX model ({line})", _EXPORT_AGAIN)


def _require_known(onnx, model, path: Path) -> None:
    """Refuse what is newer than this onnx, and what would have an engine open other files.

    A newer version of the format alone is no hindrance where nothing new is used.
    """
    newest = onnx.defs.onnx_opset_version()
    opset = max((e.version for e in model.opset_import if e.domain in ("", "ai.onnx")), default=0)
    if opset > newest:
        raise BackboneError(
            f"{path} uses opset {opset}; the installed onnx {onnx.__version__} knows those up to "
            f"{newest}",
            f"export it for opset {newest} (opset_version={newest}), or pip install -U onnx",
        )
    _require_one_version(model, path)
    if model.ir_version > onnx.IR_VERSION:
        if has_unknown_fields(model):
            raise BackboneError(
                f"{path} uses IR version {model.ir_version} of ONNX and what is new in it; the "
                f"installed onnx {onnx.__version__} knows those up to {onnx.IR_VERSION}",
                f"export it with an older onnx (IR version {onnx.IR_VERSION}), or "
                "pip install -U onnx",
            )
        model.ir_version = onnx.IR_VERSION
    for found in find_all(model, "NodeProto"):
        if found.message.op_type == "EPContext":
            raise BackboneError(
                f"{path} was compiled for one device: {found.place} may name another file",
                "use the network as it was before it was compiled",
            )


def _require_one_version(model, path: Path) -> None:
    """Refuse a model that names two versions of one domain: engines differ in which they take."""
    versions: dict[str, set[int]] = {}
    for one in model.opset_import:
        domain = "" if one.domain == "ai.onnx" else one.domain
        versions.setdefault(domain, set()).add(one.version)
    for domain, found in versions.items():
        if len(found) > 1:
            raise BackboneError(
                f"{path} names the versions {enumerate_some(map(str, sorted(found)))} of the "
                f"operators of {domain or 'ONNX'}, so that nobody can tell which are meant",
                _EXPORT_AGAIN,
            )
