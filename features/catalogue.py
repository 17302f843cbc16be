"""What can be named as a backbone: list the zoos, list a network's layers, prove graphs."""

import dataclasses
import fnmatch
import time
from collections.abc import Callable, Iterator, Sequence

from ..core.errors import BackboneError, IcecoreError, enumerate_some
from .engines.mxnet import MXNetEngine
from .engines.proof import prove_graph
from .gluon.zoo import ZOOS, ZooNetwork, require_known, zoo
from .records.spec import BackboneSpec
from .sources.registry import source_of
from .sources.timm_names import HUB, TimmNetwork, find_timm_networks, why_no_timm
from .weights.origins import ORIGINS
from .weights.request import WeightsRequest


@dataclasses.dataclass(frozen=True)
class Verified:
    """The outcome of one proof.

    Attributes
    ----------
    spec : str
    relative_error : float or None
        L2, of the graph's features against MXNet's; None if it failed earlier.
    num_features : int or None
    seconds : float
    problem : str or None
        What went wrong; None if the graph is proved.
    """

    spec: str
    relative_error: float | None
    num_features: int | None
    seconds: float
    problem: str | None = None


def find_networks(names: Sequence[str] = ()) -> list[ZooNetwork]:
    """Return the networks of both zoos that are named; all if none is.

    Parameters
    ----------
    names : sequence of str
        Names (``resnet50_v1``), specs (``mxnet:resnet50_v1``), parts of names, or patterns
        with ``*`` and ``?``.

    Raises
    ------
    BackboneError
        One of them names nothing; all such are listed, with near matches for the first.
    """
    networks = list(zoo().values())
    if not names:
        return networks
    chosen = {text: [one for one in networks if _matches(text, one)] for text in names}
    nothing = [text for text, found in chosen.items() if not found]
    if nothing:
        source, _, name = nothing[0].rpartition(":")
        try:
            require_known(name, source if source in ZOOS else "gluon")
            hint = "'icecore backbones' lists all"
        except BackboneError as error:
            hint = error.hint
        raise BackboneError(f"no network of the zoos is named by {enumerate_some(nothing)}", hint)
    named = {one.spec for found in chosen.values() for one in found}
    return [one for one in networks if one.spec in named]


def search_networks(wanted: Sequence[str]) -> tuple[list[ZooNetwork], list[TimmNetwork]]:
    """Return the networks of both zoos and of timm that `wanted` names.

    Parameters
    ----------
    wanted : sequence of str
        As for `find_networks`; ``timm:NAME`` too. If it is empty, all of the zoos and none of
        timm. Where timm cannot be used, nothing is found there.

    Raises
    ------
    BackboneError
        One of them names nothing anywhere.
    """
    theirs = {text: find_timm_networks(text) for text in wanted}
    ours = [text for text in wanted if not text.startswith("timm:")]
    known = [text for text in ours if any(_matches(text, one) for one in zoo().values())]
    lost = [text for text in wanted if text not in known and not theirs[text]]
    if lost:
        try:
            find_networks(lost)
        except BackboneError as error:
            reason = why_no_timm()
            more = f"; timm's networks are not looked at: {reason}" if reason else ""
            raise BackboneError(error.message, f"{error.hint}{more}") from error
    zoos = find_networks(known) if known or not wanted else []
    every = {one.spec: one for found in theirs.values() for one in found}
    return zoos, list(every.values())


def weights_from(network: ZooNetwork) -> str:
    """Say where the weights of a zoo's network can be had now."""
    if network.weights is not None and not network.is_published:
        return f"package {network.weights}"
    if network.spec in ORIGINS:
        return HUB
    return "Gluon's old host only" if network.is_published else "none"


def list_layers(text: str, request: WeightsRequest) -> list[tuple[str, str, tuple[int, ...]]]:
    """List the layers that a backbone's features may come from.

    Parameters
    ----------
    text : str
        A spec.
    request : WeightsRequest
        Says where files are.

    Returns
    -------
    list of (name, operator, shape of the output for one image)
    """
    spec = BackboneSpec.parse(text)
    return source_of(spec).layers(spec, request)


def verify_backbones(
    names: Sequence[str],
    request: WeightsRequest,
    on_step: Callable[[int, int, str], None] | None = None,
) -> Iterator[Verified]:
    """Compare the graphs of Gluon networks with MXNet, filled with the weights asked for.

    Parameters
    ----------
    names : sequence of str
        As for `find_networks`; or specs with a resolution, or of files.
    request : WeightsRequest
    on_step : callable, optional
        Called with what is done, how many there are, and the next spec.

    Yields
    ------
    Verified
        A network that fails is among them; the others follow.
    """
    specs = list(dict.fromkeys(spec for text in names for spec in _specs(text)))
    for number, spec in enumerate(specs):
        if on_step is not None:
            on_step(number, len(specs), spec)
        yield _verify(BackboneSpec.parse(spec), request)


def _specs(text: str) -> list[str]:
    exact = ":" in text and not any(one in text for one in "*?[")
    if exact:
        spec = BackboneSpec.parse(text)
        if not source_of(spec).is_gluon:
            raise BackboneError(
                f"{spec.canonical} is no Gluon network: there is nothing to compare it with",
                f"verify networks of the sources {', '.join([*ZOOS, 'gluon-file'])}",
            )
        return [text]
    return [network.spec for network in find_networks([text])]


def _verify(spec: BackboneSpec, request: WeightsRequest) -> Verified:
    started = time.perf_counter()
    error = width = problem = None
    try:
        source = source_of(spec)
        graph, reference = source.load_graph(spec, request), source.load_gluon(spec, request)
        width = graph.record.num_features
        hint = "use --engine mxnet for this network, and report it"
        run = MXNetEngine(reference).run
        error = prove_graph(graph.record, graph.graph, run, "MXNet", hint)
    except IcecoreError as failure:
        problem = failure.message
    return Verified(spec.canonical, error, width, time.perf_counter() - started, problem)


def _matches(text: str, network: ZooNetwork) -> bool:
    source, colon, name = text.rpartition(":")
    if colon and source != network.source:
        return False
    if any(one in name for one in "*?["):
        return fnmatch.fnmatchcase(network.name, name)
    if (source or "gluon", name) in zoo() or ("mxnet", name) in zoo():
        return network.name == name
    return not colon and (name in network.name or name == network.family)
