"""Share the missing rows out among all processes that extract into one cache."""

import contextlib
import dataclasses
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

from ..featureset import FeatureSet
from .claims import ClaimsOfProcess

# Rows are claimed by the first digits of their keys where nothing else is said: 256 lots.
_LOT_DIGITS = 2
# Lists that may be known and not dealt out yet, where keys become known meanwhile.
_KNOWN_AHEAD = 8
# Of a list that is long enough: where few keys of each lot are known yet, a long list would take
# all lots away from other processes. Each costs a request in a store.
_MOST_LOTS = 8

MoreKeys = Callable[[bool], Sequence[str] | None]


@dataclasses.dataclass(frozen=True)
class Lists:
    """How long the lists of keys are that are shared out.

    Attributes
    ----------
    most : int
        Keys of a list, unless one lot alone has more.
    least : int
        Of how many keys a list is long enough, and takes few lots.
    ahead : int
        Lists that are asked for before the rows of one must be there.
    """

    most: int = 512
    least: int = 512
    ahead: int = 0


USUAL_LISTS = Lists()


def share(
    claims: ClaimsOfProcess,
    sets: Sequence[FeatureSet],
    keys: Sequence[str] | MoreKeys,
    lists: Lists = USUAL_LISTS,
    lot_of: Mapping[str, str] | None = None,
) -> Iterator[list[str]]:
    """Yield lists of keys that lack a row in one of `sets` and that nobody else computes.

    Asking for a list gives back the claims of the one that came ``ahead`` + 1 lists before
    it: its rows must have been appended by then. An empty list (only if ``ahead`` is not 0)
    asks for all rows that are still to come. A key is yielded once, whether or not a row
    comes of it. The iteration ends when no other process is at work on any of the keys.

    Keys are claimed in lots: those of one first digits, or of what `lot_of` says of them, which
    is part of a file's name. Processes that make other lots may compute some rows twice. Where
    keys become known meanwhile, `keys` is asked for more and told whether to wait for some, there
    being nothing else to do; it gives each key once, and None at the end.
    """
    prefixes = sorted(one.fingerprint[:12] for one in sets)
    lot_of = {} if lot_of is None else lot_of
    more = keys if callable(keys) else None
    lots = {} if callable(keys) else _lots(sets, keys, lot_of)
    held: deque[list[str]] = deque()
    got: list[str] = []
    with contextlib.closing(claims):
        while True:
            while len(held) > lists.ahead:
                claims.release(held.popleft())
            if more is not None and sum(map(len, lots.values())) < _KNOWN_AHEAD * lists.most:
                new = more(not lots or not got)
                more = more if new is not None else None
                for lot, some in _lots(sets, new or (), lot_of).items():
                    lots.setdefault(lot, []).extend(some)
            ours = {name for names in held for name in names}
            # One that is held for earlier keys is given back with those.
            free = {lot: n for lot in lots if ours.isdisjoint(n := _names(prefixes, lot))}
            got = _claim_some(claims, free, lots, lists)
            if got:
                names = [name for lot in got for name in free[lot]]
                # Somebody may have finished these between our looking and our claiming.
                open_still = _lots(sets, [key for lot in got for key in lots.pop(lot)], lot_of)
                if open_still:
                    held.append(names)
                    yield [key for lot in open_still.values() for key in lot]
                else:
                    claims.release(names)
            elif held:
                # Nothing more to take for now, so nothing is to wait for more.
                yield []
                while held:
                    claims.release(held.popleft())
            elif lots:
                time.sleep(claims.poll_s)
                lots = _lots(sets, [key for lot in lots.values() for key in lot], lot_of)
            elif more is None:
                return


def _lots(
    sets: Sequence[FeatureSet], keys: Sequence[str], lot_of: Mapping[str, str]
) -> dict[str, list[str]]:
    """Return the keys that lack a row in one of `sets`, each once, by lot."""
    missing = set().union(*(one.missing(keys) for one in sets))
    lots: dict[str, list[str]] = {}
    for key in dict.fromkeys(keys):
        if key in missing:
            lots.setdefault(lot_of.get(key, key[:_LOT_DIGITS]), []).append(key)
    return lots


def _claim_some(
    claims: ClaimsOfProcess,
    free: Mapping[str, list[str]],
    lots: Mapping[str, list[str]],
    lists: Lists,
) -> list[str]:
    """Claim lots for one list; one lot at least, however many keys it has."""
    got: list[str] = []
    # Those of which little is known yet come last; the others keep their order.
    fullest = max((len(lots[lot]) for lot in free), default=0)
    waiting = deque(sorted(free, key=lambda lot: 2 * len(lots[lot]) < fullest))
    keys = 0
    while waiting and keys < lists.most:
        trying: list[str] = []
        while waiting and _has_room(lists, keys, len(lots[waiting[0]]), len(got) + len(trying)):
            trying.append(waiting.popleft())
            keys += len(lots[trying[-1]])
        if not trying:
            break
        for lot, ours in zip(trying, claims.acquire_each([free[lot] for lot in trying])):
            if ours:
                got.append(lot)
            else:
                keys -= len(lots[lot])
    return got


def _has_room(lists: Lists, keys: int, more: int, taken: int) -> bool:
    """Tell whether a lot is to be added to a list of so many keys and lots."""
    return not taken or (keys + more <= lists.most and (taken < _MOST_LOTS or keys < lists.least))


def _names(prefixes: list[str], lot: str) -> list[str]:
    return [f"{prefix}-{lot}" for prefix in prefixes]
