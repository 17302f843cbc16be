"""Which models to train: heads times feature sets, each with a name."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from ...cache import no_rows
from ...core.errors import CacheError, HeadError, enumerate_some
from ...core.json_files import setting_value
from ..kinds.grouped import GroupedHead
from ..registry import HEAD_KINDS
from .options import TrainOptions

# What is measured to be worth its time on all sets joined (see docs/heads.md).
DEFAULT_KINDS = ("kernel", "logistic", "mlp")
# How many sets are joined.
_WORDS = {"each": 1, "pairs": 2}
SEARCHED_KINDS = ("ridge", "neighbours", "lightgbm")


@dataclasses.dataclass(frozen=True)
class ModelPlan:
    """One model to train for each task.

    Attributes
    ----------
    name : str
        Head and features, safe as a file name.
    kind : str
        A name in `HEAD_KINDS`.
    sets : tuple of int
        Positions of its feature sets among those of the training.
    settings : dict
        Settings of its own.
    """

    name: str
    kind: str
    sets: tuple[int, ...]
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def options(self, options: TrainOptions) -> TrainOptions:
        """Return the options of the training with the model's own settings."""
        return options.with_settings(self.kind, self.settings)


def plan_models(
    cache: Any,
    features: Sequence[str] | None,
    heads: Sequence[str] | None,
    search: bool = False,
    grouped: bool = False,
) -> tuple[list[Any], list[ModelPlan]]:
    """Choose feature sets and models.

    Parameters
    ----------
    cache : FeatureCache
    features : sequence of str or None
        Each names one feature set, or several joined with ``+``; ``each`` stands for every
        set alone, ``pairs`` for every two joined, and ``all``, as None, for all joined (that
        have the same views).
    heads : sequence of str or None
        Kinds of heads, each with settings if need be: ``mlp,width=128``. None takes
        `DEFAULT_KINDS`, and those of `SEARCHED_KINDS` too in a search.
    search : bool
    grouped : bool
        Add the head that knows groups of images.

    Returns
    -------
    sets : list of FeatureSet
        Those used, each once.
    plans : list of ModelPlan

    Raises
    ------
    HeadError
        An unknown head; all unknown ones are named.
    CacheError
        The cache is empty, a name matches no set or several, or sets with different
        views were to be joined.
    """
    wanted = [_parsed(text) for text in heads or DEFAULT_KINDS + SEARCHED_KINDS * bool(search)]
    wanted += [(GroupedHead.kind, {})] * grouped
    kinds = {kind for kind, _ in wanted}
    unknown = sorted(name for name in kinds - set(HEAD_KINDS) if ":" not in name)
    if unknown:
        raise HeadError(
            f"there is no head {', '.join(repr(name) for name in unknown)}",
            f"choose from {', '.join(HEAD_KINDS)}, or name a class as module:Class",
        )
    joined = [group for text in features or ["all"] for group in _named_groups(cache, text)]
    _require_equal_views(joined)
    used = list({one.fingerprint: one for group in joined for one in group}.values())
    position = {one.fingerprint: index for index, one in enumerate(used)}
    groups = list(
        dict.fromkeys(tuple(position[one.fingerprint] for one in group) for group in joined)
    )
    titles = _titles(used, groups)
    named = _named_heads(wanted)
    return used, [
        ModelPlan(f"{name}-{titles[group]}", kind, group, own)
        for group in groups
        for name, (kind, own) in named.items()
    ]


def require_said_once(plans: Sequence[ModelPlan], options: TrainOptions) -> None:
    """Raise `HeadError` if a head and the settings of its kind give other values for one name."""
    faults = {
        f"{name} of {plan.kind} is {shared[name]!r} for all heads of the kind and {value!r} for one"
        for plan in plans
        if (shared := options.for_head(plan.kind))
        for name, value in plan.settings.items()
        if name in shared and shared[name] != value
    }
    if faults:
        raise HeadError(
            f"settings are given twice: {enumerate_some(sorted(faults))}",
            "say each once: with --set for all heads of a kind, or behind each --head",
        )


def _named_heads(
    wanted: Sequence[tuple[str, dict[str, Any]]],
) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the heads by the part of a model's name that tells them apart."""
    named: dict[str, tuple[str, dict[str, Any]]] = {}
    for kind, own in wanted:
        name = f"{kind.rpartition(':')[2]}{_suffix(own)}"
        if named.setdefault(name, (kind, own)) != (kind, own):
            raise HeadError(
                f"two heads would both be called {name}: {named[name][0]} and {kind}, with "
                f"{named[name][1]} and {own}",
                "call their classes differently, or train each in a run of its own",
            )
    return named


def _parsed(text: str) -> tuple[str, dict[str, Any]]:
    """Return the kind of a head and its settings from ``KIND[,NAME=VALUE...]``."""
    kind, *given = re.split(r",(?=\s*[A-Za-z_]\w*=)", text)
    settings = {}
    for one in given:
        name, _, value = one.strip().partition("=")
        if name in settings:
            raise HeadError(f"the head {text} says {name} twice", "say it once")
        settings[name] = setting_value(value)
    return kind.strip(), settings


def _suffix(settings: Mapping[str, Any]) -> str:
    """Return settings as a part of a model's name, safe as a file name."""
    text = "".join(f"-{name}={value}" for name, value in settings.items())
    return re.sub(r"[^A-Za-z0-9._=-]+", "_", text)[:80]


def _all_sets(cache: Any) -> list[list[Any]]:
    """Return all sets of the cache, those that have the same views joined."""
    alike: dict[tuple[str, ...], list[Any]] = {}
    for one in cache.sets():
        # A job that was ended before its first row leaves an empty set.
        if len(one):
            alike.setdefault(one.views, []).append(one)
    if not alike:
        raise no_rows(
            "the cache holds no feature set with rows",
            cache.failures() if hasattr(cache, "failures") else [],
            "run `icecore extract` into it first; `icecore cache verify CACHE` names damaged files",
        )
    return list(alike.values())


def _named_groups(cache: Any, text: str) -> list[list[Any]]:
    """Return the groups of sets that `text` names, those of each group to be joined."""
    if text == "all":
        return _all_sets(cache)
    if text in _WORDS:
        alike = _all_sets(cache)
        parts = [list(part) for sets in alike for part in combinations(sets, _WORDS[text])]
        if not parts:
            named = enumerate_some(one.name for sets in alike for one in sets)
            raise CacheError(
                f"the cache holds no two feature sets with the same views, only {named}",
                "extract with a second network (-b), or take each: --features each",
            )
        return parts
    return [_named_sets(cache, text)]


def _named_sets(cache: Any, text: str) -> list[Any]:
    """Return the sets that `text` names, joined by ``+``, which a file's name may have, too."""
    try:
        return [cache.find(text.strip())]
    except CacheError:
        if "+" not in text:
            raise
    return cache.find_all([part.strip() for part in text.split("+")])


def _require_equal_views(joined: list[list[Any]]) -> None:
    faults = [
        " and ".join(f"{one.name} ({enumerate_some(one.views)})" for one in group)
        for group in joined
        if len({one.views for one in group}) > 1
    ]
    if faults:
        raise CacheError(
            f"feature sets with different views cannot be joined: {'; '.join(faults)}",
            "extract them with the same --views, or train on each alone",
        )


def _titles(sets: list[Any], groups: list[tuple[int, ...]]) -> dict[tuple[int, ...], str]:
    short = [_short(one.name) for one in sets]
    short = [
        name if short.count(name) == 1 else f"{name}-{one.fingerprint[:8]}"
        for name, one in zip(short, sets, strict=True)
    ]
    titles: dict = {}
    for group in groups:
        if len(group) == len(sets) > 1:
            title = "all"
        else:
            title = "+".join(short[index] for index in group)[:150]
        # Two orders of the same sets are two models.
        titles[group] = title if title not in titles.values() else f"{title}-{len(titles)}"
    return titles


def _short(spec: str) -> str:
    name = re.split(r"[/\\]", spec.partition(":")[2] or spec)[-1]
    name = re.sub(r"\.onnx\b", "", name)
    return re.sub(r"[^A-Za-z0-9._@-]+", "-", name).strip("-.") or "features"
