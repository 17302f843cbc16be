"""What an HDF5 file that comes from anybody may hold, and the walk over all of it that tells."""

import dataclasses
import math

import h5py

from .regular_files import size_text

# What needs no further program; lzf comes with h5py.
_USUAL_FILTERS = frozenset(
    {
        h5py.h5z.FILTER_DEFLATE,
        h5py.h5z.FILTER_SHUFFLE,
        h5py.h5z.FILTER_FLETCHER32,
        h5py.h5z.FILTER_LZF,
    }
)
_MANY_OBJECTS = 4096
# Unpacked data may be so many times the file, or so large, whichever is more.
_UNPACKED_RATIO, _UNPACKED_BYTES = 100, 64 << 20


@dataclasses.dataclass(frozen=True)
class Hdf5Rules:
    """What a file may hold.

    Attributes
    ----------
    filters : frozenset of int
        HDF5's numbers of the filters that data sets may have.
    virtual : str
        Name of the one data set that may be virtual. It is not read here.
    most_bytes : int
        What all data sets together may take in memory.
    lists : bool
        Whether it may have B-trees, heaps and other lists of its parts, as chunks, many members
        and many attributes need. Made for it, they take the library down; small files of
        contiguous data sets that HDF5 1.10 and later write have none.
    """

    filters: frozenset[int] = _USUAL_FILTERS
    virtual: str = ""
    most_bytes: int = 8 << 30
    lists: bool = True


USUAL_RULES = Hdf5Rules()


def require_allowed(file: h5py.File, file_bytes: int, rules: Hdf5Rules) -> None:
    """Refuse what the rules do not allow, anywhere in the file."""
    waiting, seen, unpacked = [("", file.id)], set(), 0
    while waiting:
        name, thing = waiting.pop()
        if not rules.lists:
            _require_no_chunks(name, thing)
        address = h5py.h5o.get_info(thing).addr
        # Groups may hold each other.
        if address in seen:
            continue
        seen.add(address)
        if len(seen) > _MANY_OBJECTS:
            raise ValueError(f"it has more than {_MANY_OBJECTS} groups and data sets")
        if isinstance(thing, h5py.h5d.DatasetID):
            unpacked += _check_data_set(name, thing, file_bytes, rules)
        elif isinstance(thing, h5py.h5g.GroupID):
            waiting += _members(name, thing)
        else:
            raise ValueError(f"{name!r} is neither a group nor a data set")
    if unpacked > rules.most_bytes:
        raise ValueError(
            f"its data sets declare {size_text(unpacked)}, more than the "
            f"{size_text(rules.most_bytes)} that they may take"
        )


def _require_no_chunks(name: str, thing: object) -> None:
    # The library asks their list for its size, and dies where it cannot read that.
    chunked = h5py.h5d.CHUNKED
    if isinstance(thing, h5py.h5d.DatasetID) and thing.get_create_plist().get_layout() == chunked:
        raise ValueError(f"{name!r} lies in chunks, which are not used here")


def _members(name: str, group: h5py.h5g.GroupID) -> list[tuple[str, object]]:
    if group.get_num_objs() > _MANY_OBJECTS:
        raise ValueError(f"it has more than {_MANY_OBJECTS} groups and data sets")
    found = []
    for raw in list(group):
        inside = f"{name}/{raw.decode('utf-8', 'backslashreplace')}".lstrip("/")
        if group.links.get_info(raw).type != h5py.h5l.TYPE_HARD:
            raise ValueError(f"{inside!r} is a link to elsewhere, which is not followed")
        found.append((inside, h5py.h5o.open(group, raw)))
    return found


def _check_data_set(name: str, data: h5py.h5d.DatasetID, file_bytes: int, rules: Hdf5Rules) -> int:
    """Check one data set; return how many bytes it takes in memory."""
    made = data.get_create_plist()
    layout, itemsize = made.get_layout(), data.get_type().get_size()
    if layout == h5py.h5d.VIRTUAL:
        if name != rules.virtual:
            raise ValueError(f"{name!r} is a virtual data set, which is not followed")
        return 0
    if made.get_external_count():
        raise ValueError(f"{name!r} is stored in another file, which is not read")
    filters = [made.get_filter(number)[0] for number in range(made.get_nfilters())]
    strange = [number for number in filters if number not in rules.filters]
    if strange:
        raise ValueError(f"{name!r} is packed with filter {strange[0]}, which is not used here")
    shape = data.shape
    if shape is None:
        raise ValueError(f"{name!r} is an empty data set without a shape")
    count = math.prod(shape)
    whole = count * itemsize
    stored = data.get_storage_size()
    if stored > file_bytes:
        raise ValueError(f"{name!r} declares {size_text(stored)} in a smaller file")
    if layout == h5py.h5d.CHUNKED:
        whole = _check_chunks(name, data, made.get_chunk(), itemsize)
        if whole > most_unpacked(file_bytes):
            raise ValueError(
                f"{name!r} would unpack to {size_text(whole)} from {size_text(file_bytes)}"
            )
    elif stored < whole:
        raise ValueError(f"{name!r} declares {size_text(whole)} and holds {size_text(stored)}")
    return whole


def most_unpacked(file_bytes: int) -> int:
    """Return how many bytes a packed data set, or one of texts, in such a file may become."""
    return max(_UNPACKED_BYTES, _UNPACKED_RATIO * file_bytes)


def _check_chunks(
    name: str, data: h5py.h5d.DatasetID, chunk: tuple[int, ...], itemsize: int
) -> int:
    """See that every chunk is there; return what they unpack to."""
    if math.prod(data.shape) == 0:
        return 0
    wanted = math.prod(-(-side // step) for side, step in zip(data.shape, chunk, strict=True))
    held = data.get_num_chunks()
    if held != wanted:
        raise ValueError(f"{name!r} declares {wanted} chunks and holds {held}")
    return wanted * math.prod(chunk) * itemsize
