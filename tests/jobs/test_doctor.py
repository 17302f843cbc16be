"""`icecore doctor`: real faults, each found and each with its remedy."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from icecore import jobs
from icecore.features import probe
from icecore.features.engines import gpus
from icecore.features.engines.gpus import (
    MXNET_ARCHITECTURES,
    ORT_ARCHITECTURES,
    Gpu,
    parse_gpus,
    runs_on,
)
from icecore.jobs import doctor
from icecore.jobs.doctor import conflicts, judge_gpus

CSV = """0, NVIDIA A10G, 8.6, 23028, 550.54.15
1, NVIDIA H100 80GB HBM3, 9.0, 81559, 550.54.15
"""
BLOCKED = "mxnet gluoncv onnx onnxruntime openvino cv2 PIL platformdirs".split()


def icecore(*arguments, **environment):
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
    for name in ("openvino", "onnxruntime", "mxnet"):
        if importlib.util.find_spec(name):
            assert f"engines: {name} " in done.stdout
    assert "computes correctly" in done.stdout
    assert "1 feature sets, 6 rows, no row is damaged" in done.stdout


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
    smi.write_text(f"#!/bin/sh\ncat <<'END'\n{CSV}END\n")
    smi.chmod(0o755)
    (tmp_path / "file").write_text("no folder")
    shard = next(cache.glob("*/shards/*.h5"))
    shard.write_bytes(shard.read_bytes()[:1000])
    done = icecore(
        "doctor", "--json", "--cache", cache,
        PYTHONPATH=str(fakes),
        PATH=f"{smi.parent}:{os.environ['PATH']}",
        ICECORE_GRAPHS=str(tmp_path / "file" / "graphs"),
    )  # fmt: skip
    found, areas = by_area(done)
    assert done.returncode == 1, done.stdout
    assert found["ok"] is False
    assert found["counts"]["problem"] == 4
    level, text, fix = areas["engines"][0]
    assert (level, fix) == ("problem", "apt-get install libgomp1")
    assert text == "openvino: openvino is installed but the system library libgomp.so.1 is missing"
    assert [one[:2] for one in areas["libraries"]] == [
        ("problem", "lightgbm: the process was ended by SIGILL")
    ]
    (level, text, fix) = areas["graphs"][0]
    assert level == "problem"
    assert "file is a file" in text
    assert "ICECORE_GRAPHS" in fix
    (level, text, fix) = areas["cache"][0]
    assert level == "problem"
    assert shard.name in text
    assert fix.startswith(f"icecore cache repair {cache}")
    assert any("cuda:0 NVIDIA A10G, sm_86, 22 GiB" in text for _, text, _ in areas["gpus"])
    assert any("onnxruntime-gpu" in fix for _, _, fix in areas["gpus"])
    assert all(one["fix"] for one in found["findings"] if one["level"] != "ok")
    # The remedy for the cache is tried.
    assert icecore("cache", "repair", cache).returncode == 0
    assert doctor._cache(cache)[0].level == "ok"


def test_the_light_core_alone_is_in_order(tmp_path):
    """Without any engine, train and blend work: a note says what extract needs."""
    names = "\n".join(f"sys.modules[{name!r}] = None" for name in BLOCKED)
    (tmp_path / "sitecustomize.py").write_text(f"import sys\n{names}\n")
    done = icecore("doctor", "--json", PYTHONPATH=str(tmp_path))
    found, areas = by_area(done)
    assert done.returncode == 0, done.stdout + done.stderr
    assert found["ok"] is True
    (level, text, fix) = areas["engines"][0]
    assert level == "note"
    assert "train and blend can" in text
    assert "pip install 'icecore[onnx]'" in fix
    assert any("opencv-python-headless, pillow" in text for _, text, _ in areas["libraries"])


@pytest.mark.parametrize(
    ("versions", "python", "text", "fix"),
    [
        ({"mxnet": "1.9.1", "numpy": "2.1.0"}, (3, 11), "not work with numpy 2.1.0", "numpy<2"),
        ({"mxnet-cu117": "1.9.1", "numpy": "2.0"}, (3, 11), "not work with numpy 2.0", "numpy<2"),
        ({"mxnet": "1.9.1"}, (3, 12), "does not work on Python 3.12", "uninstall mxnet: Gluon's"),
        ({"onnxruntime": "1", "onnxruntime-gpu": "1"}, (3, 11), "overwrite", "pip uninstall"),
        ({"opencv-python": "4", "opencv-python-headless": "4"}, (3, 13), "overwrite", "headless"),
    ],
)
def test_packages_that_do_not_work_together_are_named(versions, python, text, fix):
    (found,) = conflicts(versions, python)
    assert found.level == "problem"
    assert text in found.text
    assert fix in found.fix


def test_packages_that_work_together_are_not_named():
    good = {"mxnet": "1.9.1", "numpy": "1.26.4", "onnx": "1.18.0", "onnxruntime": "1.31.1"}
    assert conflicts(good, (3, 11)) == []
    assert conflicts({"numpy": "2.4", "onnx": "1.20", "onnxruntime": "1.31"}, (3, 14)) == []


def test_old_pythons_are_refused():
    assert [one.level for one in doctor._python((3, 10, 4))] == ["problem"]
    assert [one.level for one in doctor._python((3, 13, 0))] == ["ok"]


@pytest.mark.parametrize(
    ("capability", "mxnet", "ort"),
    [
        ((3, 7), False, False), ((5, 2), True, False), ((6, 1), True, False),
        ((7, 5), True, True), ((8, 0), True, True), ((8, 6), True, True), ((8, 9), True, True),
        ((9, 0), False, True), ((10, 0), False, True), ((12, 0), False, True),
    ],
)  # fmt: skip
def test_which_builds_run_on_which_gpus(capability, mxnet, ort):
    assert runs_on(MXNET_ARCHITECTURES, capability) == mxnet
    assert runs_on(ORT_ARCHITECTURES, capability) == ort


def test_ptx_runs_on_newer_generations():
    assert runs_on(["compute_70"], (9, 0))
    assert not runs_on(["compute_90"], (8, 9))


def test_answers_of_nvidia_smi_are_read():
    assert parse_gpus(CSV) == [
        Gpu(0, "NVIDIA A10G", (8, 6), 23028, "550.54.15"),
        Gpu(1, "NVIDIA H100 80GB HBM3", (9, 0), 81559, "550.54.15"),
    ]
    odd = 'NVIDIA-SMI has failed\n\n0, "A, B", 12.0, [N/A], 1\n1, C, [N/A], 5, 1\n'
    assert parse_gpus(odd) == [Gpu(0, "A, B", (12, 0), 0, "1")]


def test_an_nvidia_smi_that_fails_is_quoted(tmp_path, monkeypatch):
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed: no driver'; exit 9\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert gpus.find_gpus() == ([], "nvidia-smi: NVIDIA-SMI has failed: no driver")
    (found,) = doctor._gpus()
    assert (found.level, found.area) == ("note", "gpus")
    assert "driver" in found.fix


CUDA = ["CUDAExecutionProvider", "CPUExecutionProvider"]


@pytest.mark.parametrize(
    ("capability", "providers", "mxnet_cuda", "levels", "words"),
    [
        ((8, 6), CUDA, True, ["ok"], "onnxruntime and mxnet can use it"),
        ((9, 0), CUDA, True, ["ok", "note"], "onnxruntime can use it"),
        ((9, 0), [], True, ["note", "note"], "onnxruntime-gpu"),
        ((8, 6), [], False, ["note"], "pip install onnxruntime-gpu"),
        ((6, 1), CUDA, False, ["note"], "pip install mxnet-cu117"),
        ((3, 5), CUDA, True, ["note", "note"], "no engine runs on it"),
    ],
)
def test_each_gpu_is_told_which_engine_can_use_it(capability, providers, mxnet_cuda, levels, words):
    found = judge_gpus([Gpu(0, "It", capability, 1024, "1")], providers, mxnet_cuda)
    assert [one.level for one in found] == levels
    assert words in f"{found[0].text} {found[0].fix}"


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
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage(1, 1, free))  # noqa: B023
        (found,) = doctor._disk(tmp_path / "not" / "there")
        assert found.level == level
        assert bool(found.fix) == (level != "ok")


def test_places_for_a_cache(tmp_path):
    (tmp_path / "file").write_text("x")
    assert [f.level for f in doctor._cache(tmp_path / "new")] == ["ok"]
    assert [f.level for f in doctor._cache(tmp_path / "file" / "new")] == ["problem"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").write_text("x")
    (found,) = doctor._cache(tmp_path / "other")
    assert found.level == "problem"
    assert found.fix


def test_a_check_that_fails_does_not_hide_the_others(monkeypatch):
    for name in ("_engines", "_libraries", "_weights", "_gpus"):
        monkeypatch.setattr(doctor, name, lambda *a: [])
    monkeypatch.setattr(doctor, "_graphs", lambda: 1 / 0)
    found = {one.area: one for one in doctor.examine()}
    assert found["graphs"].level == "problem"
    assert "ZeroDivisionError" in found["graphs"].text
    assert found["disk"].level in ("ok", "note")
