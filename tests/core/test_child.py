"""Questions to another process: nothing in the folder of the command answers in its place."""

from icecore.core.child import Limits, ask_child

LIMITS = Limits(processor_seconds=60, seconds=120.0, memory_bytes=2**40)


def test_files_in_the_folder_of_the_command_are_no_modules(tmp_path, monkeypatch):
    """It may be a stranger's data set."""
    for name in ("dataclasses", "json", "numpy", "icecore", "warnings"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w').close(); raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    assert ask_child("icecore.features.probe", ["import:numpy", "cpu"], LIMITS) == {"newer": []}
    assert not (tmp_path / "ran").exists()


def test_a_module_that_its_package_imports_answers_where_warnings_are_errors(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    (tmp_path / "a.h5").write_bytes(b"nothing")
    answer = ask_child("icecore.runs.hdf5_child", [str(tmp_path / "a.h5"), "out.npz"], LIMITS)
    assert "cannot be used as HDF5" in answer["error"]
