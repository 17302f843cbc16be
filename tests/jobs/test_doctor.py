"""`icecore doctor`: real faults, each found and each with its remedy."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest
from packages import needs

from icecore import jobs
from icecore.features import probe
from icecore.features.engines import gpus
from icecore.features.engines.choose import ENGINES
from icecore.features.engines.gpus import parse_gpus
from icecore.jobs import doctor, doctor_checks
from icecore.jobs.doctor import overwritten

CSV = """0, NVIDIA A10G, 23028
1, NVIDIA H100 80GB HBM3, 81559
"""
# Where a system library is missing the doctor has findings besides those that are tried here.
pytestmark = needs(*(one for one in ("lightgbm", "mxnet") if importlib.util.find_spec(one)))
BLOCKED = "mxnet gluoncv onnx onnxruntime openvino cv2 PIL pi_heif platformdirs".split()


ENGINE_PACKAGES = "mxnet onnxruntime openvino".split()


def nothing_of(pairs):
    """Stand in for what engines answer."""
    return [{"precisions": []} for _ in pairs]


def icecore(*arguments, before="", **environment):
    """Run a command; `before` is looked at first when packages are imported."""
    if before:
        others = os.environ.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([str(before), *([others] if others else [])])
    return subprocess.run(
        [sys.executable, "-c", "from icecore.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def by_area(done):
    found = json.loads(done.stdout)
    areas: dict = {}
    for one in found["findings"]:
        areas.setdefault(one["area"], []).append((one["level"], one["text"], one["fix"]))
    return found, areas


@pytest.fixture
def cache(tmp_path, image_folder, tiny_onnx):
    jobs.extract(image_folder, tmp_path / "cache", [f"onnx:{tiny_onnx}"])
    return tmp_path / "cache"


def test_where_all_is_well_every_engine_computes_and_the_status_is_0(cache):
    done = icecore("doctor", "--cache", cache)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 problems" in done.stdout
    for name in ("openvino", "onnxruntime", "mxnet", "torch"):
        if importlib.util.find_spec(name):
            assert f"engines: {name} " in done.stdout
    assert "computes correctly" in done.stdout
    assert "1 feature set, 6 rows, no row is damaged" in done.stdout


def write_package(folder, name, content):
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(content)


def test_every_fault_is_found_in_one_run_and_has_its_remedy(tmp_path, cache):
    fakes = tmp_path / "fakes"
    library = tmp_path / "nowhere" / "libgomp.so.1"
    write_package(fakes, "openvino", f"import ctypes\nctypes.CDLL({str(library)!r})")
    write_package(fakes, "lightgbm", "import os, signal\nos.kill(os.getpid(), signal.SIGILL)")
    smi = tmp_path / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    # One GPU: each engine is asked on each, in a process of its own.
    smi.write_text(f"#!/bin/sh\ncat <<'END'\n{CSV.splitlines()[0]}\nEND\n")
    smi.chmod(0o755)
    (tmp_path / "file").write_text("no folder")
    shard = next(cache.glob("*/shards/*.h5"))
    shard.write_bytes(shard.read_bytes()[:1000])
    done = icecore(
        "doctor", "--json", "--cache", cache,
        before=fakes,
        PATH=f"{smi.parent}:{os.environ['PATH']}",
        ICECORE_GRAPHS=str(tmp_path / "file" / "graphs"),
    )  # fmt: skip
    found, areas = by_area(done)
    assert done.returncode == 1, done.stdout
    assert found["ok"] is False
    assert found["counts"]["problem"] == 4
    level, text, fix = areas["engines"][0]
    assert (level, fix) == ("problem", "apt-get install libgomp1")
    assert (
        text
        == "openvino on cpu: openvino is installed but the system library libgomp.so.1 is missing"
    )
    problems = [one[:2] for one in areas["libraries"] if one[0] == "problem"]
    assert problems == [("problem", "lightgbm: ends the process that it is in (SIGILL)")]
    (level, text, fix) = areas["graphs"][-1]
    assert level == "problem"
    assert "file is a file" in text
    assert "ICECORE_GRAPHS" in fix
    (level, text, fix) = areas["cache"][0]
    assert level == "problem"
    assert shard.name in text
    assert fix.startswith(f"icecore cache repair {cache}")
    on_gpu = [one for one in areas["engines"] if "cuda:0 (NVIDIA A10G, 22 GiB)" in one[1]]
    assert any("onnxruntime-gpu" in fix for _, _, fix in on_gpu)
    assert all(one["fix"] for one in found["findings"] if one["level"] != "ok")
    # The remedy for the cache is tried.
    assert icecore("cache", "repair", cache).returncode == 0
    assert doctor_checks.check_cache(cache)[0].level == "ok"


def test_the_light_core_alone_is_in_order(tmp_path):
    """Without any engine, train and blend work: a note says what extract needs."""
    names = "\n".join(f"sys.modules[{name!r}] = None" for name in BLOCKED)
    (tmp_path / "sitecustomize.py").write_text(f"import sys\n{names}\n")
    done = icecore("doctor", "--json", before=tmp_path)
    found, areas = by_area(done)
    assert done.returncode == 0, done.stdout + done.stderr
    assert found["ok"] is True
    (level, text, fix) = areas["engines"][0]
    assert level == "note"
    assert "train and blend can" in text
    assert "pip install 'icecore[onnx]'" in fix
    assert any("cv2, PIL" in text for _, text, _ in areas["libraries"])


def test_a_torchvision_that_does_not_fit_and_a_newer_opencv_are_notes(tmp_path):
    fault = "raise RuntimeError('operator torchvision::nms does not exist')"
    write_package(tmp_path, "timm", fault)
    # Most of what computes is not asked here.
    absent = "".join(f"sys.modules[{name!r}] = None\n" for name in ENGINE_PACKAGES)
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys\n{absent}import cv2\ncv2.__version__ = '6.1.0'\n"
    )
    done = icecore("doctor", before=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "note     libraries: timm: timm cannot be loaded: torchvision" in done.stdout
    assert "fix: pip install --force-reinstall torch torchvision" in done.stdout
    assert "note     libraries: OpenCV 6.1.0 is newer than this version of icecore" in done.stdout
    # Colours are for terminals alone, and are no text of a stranger's that is escaped.
    assert "x1b" not in done.stdout


def test_packages_that_overwrite_each_others_files_are_named():
    two = {"onnxruntime": ["onnxruntime", "onnxruntime-gpu"], "numpy": ["numpy"]}
    (found,) = overwritten(two)
    assert found.level == "problem"
    assert found.text == "onnxruntime and onnxruntime-gpu overwrite each other's files"
    assert found.fix.startswith("pip uninstall onnxruntime onnxruntime-gpu, then install")
    # Of one package two entries are no conflict, and neither are packages of others.
    assert overwritten({"cv2": ["opencv-python"] * 2, "google": ["a", "b"]}) == []


def test_answers_of_nvidia_smi_are_read():
    names = {"cuda:0": "NVIDIA A10G, 22 GiB", "cuda:1": "NVIDIA H100 80GB HBM3, 80 GiB"}
    assert parse_gpus(CSV) == names
    odd = 'NVIDIA-SMI has failed\n\n0, "A, B", [N/A]\n1, C\n'
    assert parse_gpus(odd) == {"cuda:0": "A, B"}


def test_an_nvidia_smi_that_fails_is_quoted(tmp_path, monkeypatch):
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed: no driver'; exit 9\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(doctor, "_ask_all", nothing_of)
    assert gpus.find_gpus() == ({}, "nvidia-smi: NVIDIA-SMI has failed: no driver")
    found = doctor._engines()[0]
    assert (found.level, found.area) == ("note", "engines")
    assert "driver" in found.fix


def test_each_engine_is_asked_on_each_gpu(monkeypatch):
    """Here is none: those that run on GPUs say what they lack, and how to get it."""
    ask = doctor._ask_all

    def of_gpus(pairs):
        there = [pair for pair in pairs if "cuda:7" in pair]
        answers = dict(zip(there, ask(there)))
        return [answers.get(pair, {"precisions": []}) for pair in pairs]

    monkeypatch.setattr(doctor, "_ask_all", of_gpus)
    monkeypatch.setattr(doctor, "find_gpus", lambda: ({"cuda:7": "It, 8 GiB"}, ""))
    found = [one for one in doctor._engines() if " on cuda:7 (" in one.text]
    named = {one.text.partition(" ")[0] for one in found}
    assert named == {"onnxruntime", "mxnet", "torch"} & {
        n for n, kind in ENGINES.items() if kind.able("cpu")
    }
    for one in found:
        assert one.level == "note"
        assert "on cuda:7 (It, 8 GiB): " in one.text
        assert "use --device cpu" in one.fix


def test_an_engine_that_computes_wrongly_is_a_problem(monkeypatch):
    plain = probe._expected
    monkeypatch.setattr(probe, "_expected", lambda *a: plain(*a) * 1.001)
    answer = probe._answer("engine:onnxruntime", "cpu")
    assert answer["error"].startswith("computes wrongly: the relative error is 1.0e-03")
    assert "reinstall onnxruntime" in answer["hint"]


def test_a_disk_that_is_nearly_full(tmp_path, monkeypatch):
    import collections

    usage = collections.namedtuple("usage", "total used free")
    for free, level in ((2**20, "problem"), (2**29, "note"), (2**35, "ok")):
        monkeypatch.setattr(doctor_checks.shutil, "disk_usage", lambda path: usage(1, 1, free))  # noqa: B023
        (found,) = doctor_checks.check_disk(tmp_path / "not" / "there")
        assert found.level == level
        assert bool(found.fix) == (level != "ok")


def test_places_for_a_cache(tmp_path):
    (tmp_path / "file").write_text("x")
    assert [f.level for f in doctor_checks.check_cache(tmp_path / "new")] == ["ok"]
    assert [f.level for f in doctor_checks.check_cache(tmp_path / "file" / "new")] == ["problem"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").write_text("x")
    (found,) = doctor_checks.check_cache(tmp_path / "other")
    assert found.level == "problem"
    assert found.fix


def test_a_check_that_fails_does_not_hide_the_others(monkeypatch):
    for name in ("_engines", "_libraries"):
        monkeypatch.setattr(doctor, name, lambda *a: [])
    monkeypatch.setattr(doctor_checks, "check_graphs", lambda: 1 / 0)
    found = {one.area: one for one in doctor.examine()}
    assert found["graphs"].level == "problem"
    assert "ZeroDivisionError" in found["graphs"].text
    assert found["disk"].level in ("ok", "note")


def test_what_would_make_the_fastest_engine_of_a_gpu_work_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "find_gpus", lambda: ({"cuda:0": "It, 8 GiB"}, ""))
    monkeypatch.setattr(doctor, "_ask_all", nothing_of)
    monkeypatch.setattr(ENGINES["torch"], "installed", classmethod(lambda kind: False))
    fixes = {one.text: one.fix for one in doctor._engines()}
    absent = "torch, the fastest engine on cuda:0, is not installed"
    assert fixes[absent] == "pip install 'icecore[torch]'"
    monkeypatch.setattr(doctor, "find_gpus", lambda: ({}, ""))
    monkeypatch.setattr(doctor, "gpu_files", lambda: [tmp_path / "nvidia0"])
    first = doctor._engines()[0]
    assert "so this machine has a GPU, but no nvidia-smi" in first.text
    assert "driver" in first.fix
