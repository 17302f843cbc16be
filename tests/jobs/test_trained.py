"""What `predict` and `bundle` take from a run."""

from __future__ import annotations

import pytest
from heads_support import go, make_cache, samples

from icecore.jobs.trained import open_trained


@pytest.mark.parametrize(
    ("heads", "told"),
    [(["ridge"], "the only model, ridge-all"), (["ridge", "logistic"], "the plain average")],
)
def test_a_run_that_was_not_blended_says_what_its_answer_is(tmp_path, heads, told):
    rows = samples(30)
    go(make_cache(tmp_path / "cache", rows), rows, tmp_path / "run", heads=heads)
    assert open_trained(tmp_path / "run").weights["label"].answer == told
