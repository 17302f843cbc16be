"""Equal images, and boxes of one image, under several ids: known by the digests of their files."""

from collections.abc import Mapping, Sequence

import numpy as np

from ...core.errors import counted, enumerate_some
from ...manifest import Sample

# A row is repeated by rows of the splits before its own.
_ORDER = {"train": 0, "validation": 1, "test": 2}


def equal_images(
    ids: Sequence[str], splits: Mapping[str, str], labels: Mapping[str, Sample]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the image of each row by number, and which rows an earlier split has, too.

    Parameters
    ----------
    ids : sequence of str, length N
        Rows that are blended.
    splits : mapping of str to str
        The split of each id in the probability files. Training rows that were predicted out
        of fold are tuning rows there, and held-out rows whose image heads know are training
        rows: then it is another row that has it first.
    labels : mapping of str to Sample
        Ids that are in no file count, too: the training rows that models learnt from.

    Returns
    -------
    images : ndarray of int, shape (N,)
        Rows without a digest are images of their own.
    repeated : ndarray of bool, shape (N,)
    """
    place = {}
    for identity, sample in labels.items():
        given = splits.get(identity) or sample.split
        split = (sample.split or given) if given == "train" else given
        place[identity] = _ORDER.get(split, len(_ORDER))
    first: dict[str, int] = {}
    for identity, sample in labels.items():
        if sample.image:
            first[sample.image] = min(place[identity], first.get(sample.image, len(_ORDER)))
    keys = [
        (labels[identity].image if identity in labels else "") or f"id {identity}"
        for identity in ids
    ]
    # Numbers in the order of the keys: rows in another order are dealt into the same folds.
    number = {key: index for index, key in enumerate(sorted(set(keys)))}
    repeated = [
        key in first and first[key] < _ORDER[splits[identity]] for key, identity in zip(keys, ids)
    ]
    return np.array([number[key] for key in keys]), np.array(repeated, dtype=bool)


def equal_image_notes(
    ids: Sequence[str], images: np.ndarray, repeated: np.ndarray, labels: Mapping[str, Sample]
) -> list[str]:
    """Name the rows that are left out of tuning and scores, each with its equal."""
    left_out = np.flatnonzero(repeated)
    if not len(left_out):
        return []
    holders: dict[str, list[str]] = {}
    for identity, sample in labels.items():
        if sample.image:
            holders.setdefault(sample.image, []).append(identity)
    pairs = []
    for row in left_out:
        others = [i for i in holders[labels[ids[row]].image] if i != ids[row]]
        pairs.append(f"{ids[row]} = {others[0]}")
    return [
        f"{counted(len(left_out), 'row shows', 'rows show')} images that an earlier split has, "
        f"too, left out of tuning and scores: {enumerate_some(pairs)}"
    ]
