"""The door: `import icecore` shows what a user needs, costs nothing, and its examples run."""

from __future__ import annotations

import ast
import doctest
import subprocess
import sys

from repository import ROOT

import icecore

PROMISED = {
    "AuditOptions", "AuditOutputs", "audit", "CompareOptions", "compare",
    "BlendOptions", "BlendOutputs", "DetectorOptions", "ExtractOptions", "FeatureCache",
    "ImageFeatures", "load_features", "extract_bar", "train_bar",
    "PredictOptions", "ProgressListener", "TrainOptions",
    "blend", "bundle", "extract", "open_run", "predict", "read_manifest", "train",
}  # fmt: skip


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_door_shows_what_a_user_needs_and_nothing_else():
    assert set(icecore.__all__) == PROMISED
    shown = python("import icecore; print([n for n in dir(icecore) if not n.startswith('_')])")
    assert set(ast.literal_eval(shown)) == PROMISED
    for name in icecore.__all__:
        assert getattr(icecore, name).__doc__, name


def test_types_are_told_of_every_public_name():
    tree = ast.parse((ROOT / "__init__.pyi").read_text(encoding="utf-8"))
    typed = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == PROMISED
    assert (ROOT / "py.typed").exists()


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(icecore, "no_such_job")


def test_importing_loads_nothing_else():
    before = python("import sys; print(len(sys.modules))")
    after = python("import sys, icecore; print(len(sys.modules))")
    assert int(after) - int(before) < 40
    loaded = python(
        "import sys, icecore; print({'numpy', 'scipy', 'h5py', 'sklearn'} & set(sys.modules))"
    )
    assert loaded == "set()"


def test_the_examples_of_the_door_run(tmp_path, monkeypatch, image_folder, tiny_onnx):
    monkeypatch.chdir(tmp_path)
    names = {
        "photos": image_folder, "network": f"onnx:{tiny_onnx}",
        "network_in_cache": "onnx:tiny.onnx",
    }  # fmt: skip
    failed, tried = doctest.testmod(icecore, extraglobs=names)
    assert tried > 0
    assert failed == 0
