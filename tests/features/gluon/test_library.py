"""The graphs that icecore brings along: all there, proved, made again, and never trusted."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from packages import needs

from icecore.core.errors import BackboneError
from icecore.features.gluon import library
from icecore.features.gluon.library import (
    GRAPHS,
    check_library,
    graph_file,
    graph_index,
    network_graph,
)
from icecore.features.gluon.parameters import parameters_digest, random_parameters
from icecore.features.gluon.zoo import zoo
from icecore.features.records.spec import BackboneSpec

FAMILIES = {network.family: network.spec for network in reversed(zoo().values())}
MISSION = ("gluon:resnet152_v2", "gluon:inceptionv3", "gluon:densenet201")


def scales_of(spec):
    return [int(n) for n in graph_index()[spec]["scales"].split()]


def test_every_network_of_both_zoos_is_there_with_its_proof():
    assert set(graph_index()) == {network.spec for network in zoo().values()}
    for network in zoo().values():
        known = graph_index()[network.spec]
        sides = {str(network.resolution)}
        errors = known["relative_error"]
        assert sides < set(errors) if not network.fixed else sides == set(errors), network.spec
        assert max(errors.values()) < 1e-5, network.spec
        assert known["made_with"]["mxnet"] == "1.9.1"
        assert graph_file(network.source, network.name).is_file()


def test_all_of_them_are_small():
    assert sum(path.stat().st_size for path in GRAPHS.rglob("*.*")) < 3e6


@pytest.mark.parametrize("spec", [*MISSION, "mxnet:resnet18_v1", "gluon:googlenet"])
def test_parameters_are_gluons_own(spec):
    graph = network_graph(*spec.split(":"))
    shapes = graph.shapes
    assert len(shapes) == len(graph.parameters)
    assert sum(tensor.doc_string != "" for tensor in graph.model.graph.initializer) == len(shapes)
    # Only gammas that are fixed have values; the statistics follow each norm.
    given = [t.name for t in graph.model.graph.initializer if t.doc_string and t.raw_data]
    assert all(name.endswith("gamma") for name in given)
    assert len(scales_of(spec)) == sum(name.endswith("running_var") for name in shapes)
    assert all(internal.internal for internal in graph.parameters)
    trained = sum(np.prod(s) for n, s in shapes.items() if "running" not in n)
    entry = zoo()[tuple(spec.split(":"))]
    assert trained > entry.parameters  # the classifier comes on top


@pytest.fixture
def own_library(tmp_path, monkeypatch):
    """A copy of the library that a test may spoil."""
    graphs = tmp_path / "graphs"
    (graphs / "gluon").mkdir(parents=True)
    shutil.copy(library.INDEX, graphs)
    shutil.copy(graph_file("gluon", "alexnet"), graphs / "gluon")
    monkeypatch.setattr(library, "GRAPHS", graphs)
    monkeypatch.setattr(library, "INDEX", graphs / "index.json")
    graph_index.cache_clear()
    yield graphs
    graph_index.cache_clear()


def test_a_graph_that_was_changed_is_refused(own_library):
    path = own_library / "gluon" / "alexnet.onnx.gz"
    content = gzip.decompress(path.read_bytes())
    network_graph("gluon", "alexnet")
    assert not any("alexnet," in fault for fault in check_library())
    path.write_bytes(gzip.compress(content.replace(b"AveragePool", b"MaxPool0000")[::-1]))
    with pytest.raises(BackboneError, match=r"(?s)has the SHA-256 .* not .*reinstall icecore"):
        network_graph("gluon", "alexnet")
    assert any("gluon:alexnet," in fault for fault in check_library())
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BackboneError, match=r"(?s)gluon:alexnet cannot be read.*reinstall"):
        network_graph("gluon", "alexnet")
    path.unlink()
    with pytest.raises(BackboneError, match=r"(?s)gluon:alexnet cannot be read.*reinstall"):
        network_graph("gluon", "alexnet")


def test_an_index_that_is_damaged_is_said(own_library):
    (own_library / "index.json").write_text("{")
    with pytest.raises(BackboneError, match=r"(?s)index.json cannot be read.*reinstall"):
        network_graph("gluon", "alexnet")


def test_random_parameters_are_the_same_on_every_machine_and_python():
    graph = network_graph("gluon", "resnet18_v2")
    values = random_parameters(graph.parameters, scales_of(graph.spec), 0)
    assert list(values) == list(graph.shapes)
    assert {n: v.shape for n, v in values.items()} == graph.shapes
    assert {v.dtype for v in values.values()} == {np.dtype(np.float32)}
    other = random_parameters(graph.parameters, scales_of(graph.spec), 1)
    assert parameters_digest(values) != parameters_digest(other)
    assert parameters_digest(values) == (
        "b19fca140cb962c1acdd84dcc589537025305d670520cc242f51ad0a9cd63d3a"
    )


def test_no_framework_is_loaded_for_a_zoos_network(tmp_path):
    code = (
        "import sys; from icecore.features import load_backbone, BackboneSpec, WeightsRequest\n"
        "spec = BackboneSpec.parse('gluon:mobilenet0.25@64')\n"
        "one = load_backbone(spec, 'onnxruntime', WeightsRequest.parse('random:0'))\n"
        "import numpy as np\n"
        "rows = one.start('cpu').run(np.zeros((2, 64, 64, 3), np.uint8))\n"
        "assert rows.shape == (2, 256)\n"
        "assert not {'mxnet', 'gluoncv', 'torch', 'openvino', 'lightgbm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def made_again(text):
    from make_graphs import make_graph

    spec = BackboneSpec.parse(text)
    kept = gzip.decompress(graph_file(spec.source, spec.name).read_bytes())
    assert make_graph(spec) == kept, f"tools/make_graphs.py {text} makes another file"


@needs("mxnet", "gluoncv")
@pytest.mark.parametrize("family", FAMILIES)
def test_one_of_each_family_is_made_again_byte_for_byte(family):
    made_again(FAMILIES[family])


@pytest.mark.slow
@needs("mxnet", "gluoncv")
@pytest.mark.parametrize("spec", [network.spec for network in zoo().values()])
def test_every_graph_is_made_again_byte_for_byte(spec):
    made_again(spec)


@needs("mxnet", "gluoncv")
def test_the_scales_of_random_weights_are_measured_again():
    from make_graphs import measure_scales

    graph = network_graph("gluon", "resnet18_v2")
    found = measure_scales(BackboneSpec.parse(graph.spec), graph)
    # The last bits differ from machine to machine, and so may a rounding.
    assert np.abs(np.subtract(found, scales_of(graph.spec))).max() <= 1


def test_the_index_is_what_a_person_can_read():
    text = library.INDEX.read_text()
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert len(text) < 300_000
