"""Which image an id means: people name an image by its path, its end, or its name alone."""

import os
from collections.abc import Iterable

from ...core.errors import enumerate_some


def match_ids(wanted: Iterable[str], known: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Find the image that each id of a sheet means.

    An id may be the image's own, or the end of its path, with the file's ending or without.

    Returns
    -------
    found : dict of str to str
        Ids that mean an image that is known.
    ambiguous : list of str
        Ids that may mean several.
    """
    by_name: dict[str, dict[str, None]] = {}
    known = dict.fromkeys(known)
    for identity in known:
        for name in names_of(identity):
            by_name.setdefault(name, {})[identity] = None
    found, ambiguous = {}, []
    for name in wanted:
        images = [name] if name in known else list(by_name.get(name, ()))
        if len(images) > 1:
            ambiguous.append(f"{name} ({enumerate_some(images, 3)})")
        elif images:
            found[name] = images[0]
    return found, ambiguous


def names_of(identity: str) -> Iterable[str]:
    """Yield what people call an image: its path, each end of it, with the file's ending or not."""
    parts = identity.split("/")
    for at in range(len(parts)):
        name = "/".join(parts[at:])
        yield name
        if (stem := os.path.splitext(name)[0]) != name:
            yield stem
