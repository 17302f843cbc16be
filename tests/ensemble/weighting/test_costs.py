import json

import pytest

from icecore.core.errors import MissingFileError, ProbabilityError
from icecore.ensemble import parse_size, read_costs
from icecore.ensemble.weighting.costs import run_costs


@pytest.mark.parametrize(
    ("text", "size"), [("600MB", 6e8), ("1.5 GiB", 1.5 * 2**30), ("12", 12), ("3kb", 3000)]
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "6 bananas", "1.2.3MB"])
def test_what_is_no_size(text):
    with pytest.raises(ProbabilityError, match="is not a size"):
        parse_size(text)


def test_a_table_of_prices(tmp_path):
    path = tmp_path / "costs.json"
    content = {
        "backbones": {"big": {"size_bytes": 100, "latency_ms": 9}, "small": {"size_bytes": 10}},
        "models": {"both": ["big", "small"], "big-head": ["big"]},
    }
    path.write_text(json.dumps(content))
    costs = read_costs(path)
    assert costs.of(["both"], "size") == 110
    assert costs.of(["both", "big-head"], "size") == 110
    assert costs.of(["big-head", "small"], "size") == 110
    with pytest.raises(ProbabilityError, match="latency of 1 part is not known: small"):
        costs.require(["both"], "latency")
    path.write_text("{}")
    with pytest.raises(ProbabilityError, match="costs.json has no field 'backbones'"):
        read_costs(path)
    with pytest.raises(MissingFileError):
        read_costs(tmp_path / "none.json")


def test_prices_of_a_run_come_from_its_records():
    about = {
        "backbones": [
            {"spec": "onnx:a", "fingerprint": "f1", "record": {"backbone": {"size_bytes": 5}}},
            {"spec": "onnx:b", "fingerprint": "f2", "size_bytes": 7, "latency_ms": 1.5},
            "onnx:c",
        ],
        "tasks": {"label": {"features": {"mlp-all": ["f1", "f2"], "mlp-a": ["f1"]}}},
    }
    costs = run_costs(about, "label")
    assert costs.of(["mlp-all", "mlp-a"], "size") == 12
    with pytest.raises(ProbabilityError, match="latency of 1 part is not known: f1"):
        costs.require(["mlp-all"], "latency")
