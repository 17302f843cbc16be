"""Names that a spreadsheet would take for formulas, from a class folder to an answer file."""

from __future__ import annotations

import csv

import numpy as np
from command import icecore
from PIL import Image

from icecore.cli.main import main
from icecore.core.csv_files import csv_line
from icecore.core.excel_marks import without_excel_marks
from icecore.ensemble.joining.sources import read_sources


def test_predict_quotes_formulas_on_request(tmp_path, write_tiny_onnx):
    rng = np.random.default_rng(0)
    for name, base in (("=1+1", 0), ("@hat", 100)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(8):
            pixels = base + rng.integers(0, 100, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    net = write_tiny_onnx(tmp_path / "net.onnx")
    photos, cache, run = (str(tmp_path / name) for name in ("photos", "cache", "run"))
    main(["extract", photos, "-o", cache, "-b", f"onnx:{net}", "-q"])
    main(["train", cache, "--data", photos, "-o", run, "--head", "ridge", "--folds", "3", "-q"])
    tables = {}
    for options in ([], ["--excel"]):
        answer = str(tmp_path / f"answer{len(options)}.csv")
        main(["predict", run, photos, "-o", answer, "-q", *options])
        with open(answer, newline="") as file:
            tables[len(options)] = list(csv.reader(file))
    plain, quoted = tables[0], tables[1]
    assert plain[0] == ["id", "label", "=1+1", "@hat"]
    assert quoted[0] == ["id", "label", "'=1+1", "'@hat"]
    cells = [cell for row in quoted for cell in row]
    assert not any(cell.startswith(("=", "@")) for cell in cells)
    assert [cell.removeprefix("'") for cell in cells] == [cell for row in plain for cell in row]
    # What a spreadsheet needs is no part of a name: icecore's own readers take it off again.
    scores = []
    for number in tables:
        answer = str(tmp_path / f"answer{number}.csv")
        status, said, error = icecore("blend", answer, "--labels", photos)
        assert status == 0, error
        scores.append(said.replace(f"answer{number}", "answer"))
    assert "16 tuning rows" in scores[0]
    assert "2 classes" in scores[0]
    assert scores[0] == scores[1]


def test_a_name_that_begins_with_an_apostrophe_is_its_own():
    assert without_excel_marks(["'=a"], {"=a"}) == ("=a",)
    for name, known in (("'=a", {"=a", "'=a"}), ("'=a", set()), ("'a", {"a"}), ("a", {"'a"})):
        assert without_excel_marks([name], known) == (name,)
    # One beside a name without an apostrophe was written so, and is not the other one.
    assert without_excel_marks(["'=a", "=a"], {"=a"}) == ("'=a", "=a")
    assert without_excel_marks(["''=a", "'=a"], {"'=a"}) == ("''=a", "'=a")


def test_names_that_an_apostrophe_tells_apart_are_read_back(tmp_path):
    names, ids = ["'=x", "=x", "-y"], ["'=1", "=1", "2"]
    rows = [[one, *(0.8 if one == other else 0.1 for other in ids)] for one in ids]
    for excel in (False, True):
        lines = [["id", *names], *rows]
        text = "".join(csv_line(line, excel=excel) for line in lines)
        (tmp_path / f"{excel}.csv").write_text(text)
    (tmp_path / "labels.csv").write_text("id,label\n'=1,'=x\n=1,=x\n2,-y\n")
    sources = [tmp_path / "False.csv", tmp_path / "True.csv"]
    plain, marked = read_sources(sources, tmp_path / "labels.csv", "refuse").tables
    assert plain.classes == marked.classes == ("'=x", "=x", "-y")
    assert plain.ids == marked.ids == ("'=1", "=1", "2")
