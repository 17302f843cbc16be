"""Weights that lie beside an ONNX file, as torch writes them: read from its own folder alone.

What a graph names is a path that a stranger may have written. It may lead into the folder of
the graph, to a regular file, and nowhere else; links are not followed, but for those that the
cache of the Hugging Face hub is made of, and the bytes that are taken must be those that the
weights have by their shape.
"""

import hashlib
import math
import os
import re
import stat
from pathlib import Path

from ...core.errors import BackboneError, enumerate_some, shortened
from .walk import find_all

_KNOWN = frozenset({"location", "offset", "length", "checksum", "basepath"})
# As the hub's cache names files: their SHA-256, or git's digest.
_BLOB = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
_ONE_FILE = (
    "save the graph as one file: onnx.save(onnx.load(path), new_path, save_as_external_data=False)"
)


def take_weights_in(onnx, model, path: Path, most: int) -> str:
    """Put the weights that lie beside the file into the model, in place.

    Parameters
    ----------
    model : onnx.ModelProto
        As it was parsed; nothing of it was loaded from elsewhere.
    most : int
        Bytes that all these weights may have.

    Returns
    -------
    str
        SHA-256 of all bytes that were taken in; empty if there are none.

    Raises
    ------
    BackboneError
        Something other than a weight of the main graph points to a file, a weight points out of
        the folder, or the file has not its bytes.
    """
    outside = [
        found for found in find_all(model, "TensorProto") if _is_outside(onnx, found.message)
    ]
    strange = [found.place for found in outside if not found.main]
    if strange:
        raise BackboneError(
            f"{path}: {enumerate_some(strange, 3)} would be read from another file",
            "only weights of the graph itself may lie beside it: export it with all other numbers "
            "in the file",
        )
    if not outside:
        return ""
    wanted = {id(found.message): _size_of(onnx, found.message, path) for found in outside}
    if sum(wanted.values()) > most:
        raise BackboneError(
            f"{path} has weights of {sum(wanted.values())} bytes beside it, more than {most}",
            "use a smaller network",
        )
    digest = hashlib.sha256()
    for found in outside:
        content = _read(found.message, path, wanted[id(found.message)])
        digest.update(content)
        found.message.raw_data = content
        del found.message.external_data[:]
        found.message.data_location = onnx.TensorProto.DEFAULT
    return digest.hexdigest()


def _is_outside(onnx, tensor) -> bool:
    return tensor.data_location == onnx.TensorProto.EXTERNAL or bool(tensor.external_data)


def _size_of(onnx, tensor, path: Path) -> int:
    """Return how many bytes a tensor has by its shape and type."""
    count = math.prod(tensor.dims)
    if tensor.data_type == onnx.TensorProto.STRING or any(n < 0 for n in tensor.dims):
        raise BackboneError(f"{path}: '{tensor.name}' cannot lie beside the graph", _ONE_FILE)
    if tensor.data_type not in onnx.helper.get_all_tensor_dtypes():
        raise _refuse(path, tensor, f"is of a type that is not known ({tensor.data_type})")
    name = onnx.TensorProto.DataType.Name(tensor.data_type)
    if name.endswith("INT4") or name.startswith("FLOAT4"):
        return -(-count // 2)
    return count * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize


def _read(tensor, path: Path, size: int) -> bytes:
    fields = {entry.key: entry.value for entry in tensor.external_data}
    strange = sorted(set(fields) - _KNOWN)
    if strange:
        raise _refuse(path, tensor, f"has the unknown fields {enumerate_some(strange)}")
    parts = _parts(fields.get("location", ""), path, tensor)
    try:
        offset, length = int(fields.get("offset", 0)), int(fields.get("length", size))
    except ValueError as error:
        where = {n: shortened(fields[n], 40) for n in ("offset", "length") if n in fields}
        raise _refuse(path, tensor, f"begins or ends where no number is: {where}") from error
    if offset < 0 or length != size:
        raise _refuse(path, tensor, f"has {size} bytes by its shape, not {length} from {offset}")
    try:
        with _open_beside(path, parts, tensor) as file:
            there = os.fstat(file.fileno()).st_size
            if offset + size > there:
                # No program can save this graph as one file while its weights are not there.
                name = shortened("/".join(parts))
                raise BackboneError(
                    f"{path}: the weight '{tensor.name}' ends beyond the end of {name}, which has "
                    f"{there} bytes and would need {offset + size} at least",
                    f"{name} was cut short, or is of another export: copy or download both files "
                    "again, or export the network again",
                )
            file.seek(offset)
            return file.read(size)
    except OSError as error:
        raise BackboneError(
            f"{path} keeps its weights in {shortened('/'.join(parts))} beside it, which cannot be "
            f"read: {error.strerror or error}",
            "put both files into one folder, under the names that they were saved with",
        ) from error


def _parts(location: str, path: Path, tensor) -> list[str]:
    """Split a location into names; refuse one that could lead out of the folder."""
    parts = location.replace("\\", "/").split("/")
    parts = [name for number, name in enumerate(parts) if name != "." or number == len(parts) - 1]
    outside = any(name in ("", ".", "..") or ":" in name or "\0" in name for name in parts)
    if outside or not location:
        raise _refuse(path, tensor, f"points to '{location[:200]!s}', out of the graph's folder")
    return parts


def _open_beside(path: Path, parts: list[str], tensor):
    """Open a file under the graph's folder; no part of the way may be a link."""
    here = path.parent
    for number, name in enumerate(parts):
        here = here / name
        kind = here.lstat().st_mode
        if stat.S_ISLNK(kind) and number == len(parts) - 1:
            here = _in_hub_cache(here) or here
            kind = here.lstat().st_mode
        expected = stat.S_ISREG if number == len(parts) - 1 else stat.S_ISDIR
        if stat.S_ISLNK(kind) or not expected(kind):
            what = "a link" if stat.S_ISLNK(kind) else "no regular file"
            raise _refuse(path, tensor, f"lies in {here}, which is {what}")
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    return os.fdopen(os.open(here, flags | getattr(os, "O_BINARY", 0)), "rb")


def _in_hub_cache(link: Path) -> Path | None:
    """Return the file that a link of the Hugging Face hub's cache stands for.

    The cache keeps ``snapshots/COMMIT/NAME`` as links to ``blobs/DIGEST`` of the same
    repository. A link to anywhere else is none of these.
    """
    link = Path(os.path.abspath(link))
    target = Path(os.path.normpath(link.parent / os.readlink(link)))
    repository = target.parent.parent
    known = target.parent.name == "blobs" and _BLOB.fullmatch(target.name)
    if not known or repository / "snapshots" not in link.parents:
        return None
    return None if target.parent.is_symlink() else target


def _refuse(path: Path, tensor, reason: str) -> BackboneError:
    return BackboneError(
        f"{path}: the weight '{tensor.name}' {reason}",
        f"weights may lie in the folder of the graph, in files of their own; {_ONE_FILE}",
    )
