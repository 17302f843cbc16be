"""The sources of networks: what a spec may name is what is registered, and each is whole."""

from __future__ import annotations

import inspect

import pytest

from icecore.core.errors import BackboneError
from icecore.features.records.spec import SOURCES as NAMES
from icecore.features.records.spec import BackboneSpec
from icecore.features.sources.base import Source
from icecore.features.sources.registry import SOURCES, source_of
from icecore.features.weights.request import WeightsRequest


def test_what_a_spec_may_name_is_what_is_registered():
    assert set(NAMES) == set(SOURCES)
    for name in NAMES:
        assert source_of(BackboneSpec.parse(f"{name}:resnet18_v1")) is SOURCES[name]


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_each_source_keeps_to_the_form_of_all(source):
    assert isinstance(source, Source)
    for name in ("load_graph", "load_gluon", "layers", "check"):
        ours, theirs = (inspect.signature(getattr(one, name)) for one in (type(source), Source))
        assert list(ours.parameters) == list(theirs.parameters), name
    assert source.is_gluon == (type(source).load_gluon is not Source.load_gluon)


@pytest.mark.parametrize("name", [n for n, source in SOURCES.items() if not source.is_gluon])
def test_a_network_that_is_not_gluons_says_so(name):
    with pytest.raises(BackboneError, match=r"(?s)no Gluon network.*use --engine auto"):
        SOURCES[name].load_gluon(BackboneSpec(name, "x"), WeightsRequest())
