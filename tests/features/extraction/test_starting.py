"""An engine that refuses a graph advises another one only where that one runs it."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from onnx_files import body, classifier, make, save, weights

from icecore import manifest as manifests
from icecore.core.errors import BackboneError
from icecore.features import ExtractOptions, extract
from icecore.features.engines.choose import ENGINES

ALL = ("openvino", "onnxruntime", "torch")


def ask(tmp_path, image_folder, spec: str, engine: str):
    if not ENGINES[engine].able("cpu"):
        pytest.skip(f"{engine} is not installed")
    data = manifests.read(image_folder, labels_required=False)
    return extract(data, tmp_path / "cache", [spec], ExtractOptions(engine=engine))


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_the_engine_that_is_advised_runs_the_graph(tmp_path, image_folder, engine):
    """Of these, ONNX Runtime alone knows a Pad that goes round."""
    first, *rest = body()
    pads = {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])}
    around = helper.make_node("Pad", ["c", "pads"], ["cc"], mode="wrap")
    rest[0].input[0] = "cc"
    model = make([first, around, *rest, *classifier()], weights() | pads, opset=19)
    spec = save(tmp_path / "net.onnx", model)
    with pytest.raises(BackboneError, match=r"(?s)wrap.*use --engine onnxruntime, which runs it"):
        ask(tmp_path, image_folder, spec, engine)
    assert ask(tmp_path, image_folder, spec, "onnxruntime").computed


def test_why_other_engines_refuse_the_rows_is_said(tmp_path, image_folder):
    """They run it; it had been said that none does, and that onnx's checker tells why."""
    mixing = [
        helper.make_node("TopK", ["f", "one"], ["top", "places"], axis=0),
        helper.make_node("Sub", ["f", "top"], ["g"]),
        helper.make_node("Gemm", ["g", "k", "b"], ["out"]),
    ]
    spec = save(tmp_path / "net.onnx", make(body() + mixing, weights() | {"one": np.array([1])}))
    with pytest.raises(BackboneError, match="TopK") as refused:
        ask(tmp_path, image_folder, spec, "torch")
    assert "--engine onnxruntime runs it, and says: " in refused.value.hint
    assert "depend" in refused.value.hint
    assert "checker" not in refused.value.hint


@pytest.mark.parametrize("engine", ALL)
def test_where_none_runs_it_none_is_advised(tmp_path, image_folder, engine):
    """Each said that another one may do, in a circle; OpenVINO did not say why."""
    # Of features of another number; onnx looks at it from 1.19 on.
    wide = {"wide": np.ones((9, 5), np.float32)}
    hidden = [
        helper.make_node("Gemm", ["f", "wide"], ["g"]),
        helper.make_node("Gemm", ["g", "k", "b"], ["out"]),
    ]
    spec = save(tmp_path / "net.onnx", make(body() + hidden, weights() | wide))
    with pytest.raises(
        BackboneError, match="no engine here runs it|none that ONNX defines"
    ) as refused:
        ask(tmp_path, image_folder, spec, engine)
    assert "--engine" not in refused.value.hint
