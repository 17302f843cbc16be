"""What ``run.json`` holds: every field is checked, names that become paths above all."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import CacheError, RunError, enumerate_some
from ..core.files import sha256_file
from ..core.json_fields import JsonFields
from ..core.npz_files import LARGEST_NPZ

HINT = "train again"


@dataclasses.dataclass(frozen=True)
class RunTask:
    """One task of a run.

    Attributes
    ----------
    name : str
    classes : tuple of str
        Order of the probability columns.
    models : tuple of str
    validation : str
        "split" or "out-of-fold, K folds".
    folder : pathlib.Path
    features : dict of str to tuple of str
        Fingerprints of each model's feature sets, in order.
    digests : dict of str to str
        SHA-256 of each file in the folder, by its place there; empty if training did not say.
    """

    name: str
    classes: tuple[str, ...]
    models: tuple[str, ...]
    validation: str
    folder: Path
    features: dict[str, tuple[str, ...]]
    digests: dict[str, str] = dataclasses.field(default_factory=dict)

    def require_unchanged(self, files: Iterable[Path]) -> None:
        """Raise `RunError` if files in the folder are not those that training wrote."""
        require_none_changed(self.changed(files))

    def changed(self, files: Iterable[Path]) -> list[Path]:
        """Return those of some files in the folder that are not as training wrote them."""
        # What systems leave in folders (``.DS_Store``) has no digest.
        wanted = {f: self.digests.get(f.relative_to(self.folder).as_posix()) for f in files}
        return [f for f, own in wanted.items() if own and sha256_file(f, LARGEST_NPZ) != own]


def require_none_changed(files: Sequence[Path]) -> None:
    """Raise `RunError` that names files which are not as training wrote them, if there are any."""
    if files:
        raise RunError(
            f"{enumerate_some(map(str, files))}: not what training wrote "
            "(run.json has other digests)",
            "restore the run as it was, or train again",
        )


def require_backbones(entries: Sequence[dict], source: str) -> None:
    """Refuse what a run cannot say of its backbones, before anything is trained for it.

    Raises
    ------
    CacheError
        What the cache says of them is of types that no extraction writes.
    """
    named = {"backbones": list(entries)}
    about = JsonFields(named, source, CacheError, "extract into a new cache")
    for entry in about.items("backbones"):
        read_backbone(entry)


def read_backbone(entry: JsonFields) -> dict[str, Any]:
    """Return what is said of one feature set, checked."""
    for name in ("spec", "fingerprint"):
        if not entry.text(name):
            raise entry.refuse(f"has an empty {name}")
    dim, record = entry.integer("dim", 1), entry.part("record")
    views = record.names("views") if record.has("views") else ("",)
    if record.has("backbone"):
        backbone = record.part("backbone")
        if backbone.has("preprocessing"):
            backbone.part("preprocessing")
        if backbone.text("spec", entry.text("spec")) != entry.text("spec"):
            raise entry.refuse(f"has another spec than its record, {backbone.text('spec')}")
        if backbone.has("num_features"):
            width = backbone.integer("num_features", 1)
            if dim != width * len(views):
                raise entry.refuse(f"has dim = {dim}, and its record {len(views)} x {width}")
    entry.text("source", "")
    entry.text("license", "")
    for name in ("size_bytes", "latency_ms", "relative_error", "parameters", "multiply_adds"):
        if entry.has(name):
            entry.number(name, 0)
    if entry.has("relative_error") and (error := entry.number("relative_error", 0)) > 1:
        raise entry.refuse(f"has relative_error = {error:g}, not a share of 0 to 1")
    return entry.content


def read_task(path: Path, name: str, entry: JsonFields, known: set[str]) -> RunTask:
    """Read the task `name` of the run in `path`, whose feature sets are `known` by fingerprint."""
    models, classes = entry.names("models"), entry.names("classes", 2)
    features = entry.part("features")
    prints = {model: tuple(features.texts(model)) for model in models}
    if bare := [model for model, several in prints.items() if not several]:
        raise entry.refuse(f"names no features of {enumerate_some(bare)}")
    if strange := sorted({print_ for several in prints.values() for print_ in several} - known):
        raise entry.refuse(f"has features of {enumerate_some(strange)}, which 'backbones' lacks")
    folder = entry.text("folder")
    # The names become paths: a stranger's run.json must not lead elsewhere.
    outside = [one for one in (folder, *models) if not _is_plain_name(one)]
    if outside or not name:
        named = enumerate_some(outside) or "nothing"
        raise entry.refuse(f"has a name that is none for a file or folder: {named}")
    _require_scores(entry)
    if entry.has("groups"):
        _require_groups(entry.part("groups"))
    digests = entry.texts_by_name("sha256") if entry.has("sha256") else {}
    validation = entry.text("validation")
    return RunTask(name, classes, models, validation, path / folder, prints, digests)


def file_digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in the folder of a task, by its place there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}


def _require_scores(entry: JsonFields) -> None:
    """See that what tables and pages show of a task is of the types that they take."""
    there = entry.content
    if "scores" in there:
        for _, scores in entry.parts("scores"):
            for name in ("log_loss", "accuracy"):
                if scores.has(name):
                    scores.number(name, 0)
    for name in ("seconds", "rows"):
        if name in there:
            entry.numbers(name, 0)
    if "chosen" in there:
        for _ in entry.parts("chosen"):
            pass
    entry.texts("warnings", [])


def _require_groups(found: JsonFields) -> None:
    """See that what groups of images bring is said in full, where there are any."""
    if not found.content:
        return
    gain, router = found.part("gain"), found.part("router")
    own, common = gain.text("model"), gain.text("against")
    gain.number("log_loss")
    gain.interval("interval")
    router.number("accuracy", 0)
    router.interval("accuracy_interval")
    found.integer("unknown", 0)
    found.numbers("images", 0)
    found.numbers("rows", 0)
    for _, losses in found.parts("log_loss"):
        for model in (own, common):
            losses.number(model, 0)


def require_rest(about: JsonFields) -> None:
    """See that what a run says beside its tasks is of the types that pages and cards take."""
    about.flag("interrupted", False)
    if about.has("failed"):
        about.texts_by_name("failed")
    if about.has("counts"):
        about.numbers("counts", 0)
    about.integer("folds", 0, default=0)
    for entry in about.items("failures") if "failures" in about.content else []:
        entry.text("id")
        entry.text("reason")
    about.texts("left_out", [])
    about.text("cache", "")
    about.text("samples_sha256", "")


def _is_plain_name(name: str) -> bool:
    if name in ("", ".", "..") or len(name.encode()) > 200 or not name.isprintable():
        return False
    return Path(name).name == name and "\\" not in name
