"""A table of groups: which kind of image each is, where the data itself does not say."""

import dataclasses
import os
from pathlib import Path

from ..core.csv_files import line_faults, read_csv
from ..core.errors import ManifestError, enumerate_some
from .names import class_name
from .table import Manifest


def apply_groups(manifest: Manifest, path: str | os.PathLike) -> Manifest:
    """Return the manifest with the groups that a CSV names; other images keep theirs.

    Parameters
    ----------
    manifest : Manifest
    path : path-like
        CSV with a column ``id`` or ``path`` and a column ``group``. It may name some of the
        images, by id or by path.

    Raises
    ------
    MissingFileError
        There is no such file.
    ManifestError
        It is no such table, names images that the data lacks, or one image twice; all lines
        are named.
    """
    path = Path(path)
    table = read_csv(path, ManifestError)
    image_at, group_at = table.column("id", "path", "image"), table.column("group")
    if image_at is None or group_at is None:
        raise ManifestError(
            f"{path} has no columns 'id' and 'group'; its first line is: {table.header_text}",
            "give it a header line: id,group; further columns are passed over",
        )
    identities = {sample.path: identity for identity, sample in manifest.images.items()}
    identities |= {identity: identity for identity in manifest.images}
    groups: dict[str, str] = {}
    faults = list(table.faults)
    for line in table.rows:
        name = line.fields[image_at]
        identity = identities.get(name) or identities.get(os.path.abspath(path.parent / name))
        if identity is None:
            faults.append((line.number, f"{name or 'no image'} is not in the data"))
        elif identity in groups:
            faults.append((line.number, f"{identity} has a group already"))
        else:
            try:
                groups[identity] = class_name(line.fields[group_at])
            except ValueError as error:
                faults.append((line.number, str(error)))
    if faults:
        hint = "name images once, by the id that `icecore manifest DATA -o table.csv` writes"
        raise line_faults(path, faults, ManifestError, hint)
    if not any(groups.values()):
        raise ManifestError(f"{path} names no group", f"it has {enumerate_some(table.header)}")
    rows = (
        dataclasses.replace(sample, group=groups.get(sample.id) or sample.group)
        for sample in manifest
    )
    return dataclasses.replace(manifest, samples=tuple(rows))
