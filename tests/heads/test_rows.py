"""Rows travel whole, and without what was derived from them."""

import dataclasses
import pickle

import numpy as np

from icecore.heads.rows import Rows


def test_rows_travel_with_every_field_and_without_their_memory():
    rng = np.random.default_rng(0)
    given = {
        "features": rng.standard_normal((4, 3)).astype(np.float16),
        "targets": np.eye(4, 2, dtype=np.float32),
        "weights": np.arange(4.0),
        "classes": np.array(["a", "b"]),
        "sets": (2, 1),
        "groups": np.eye(4, 3, dtype=np.float32),
        "class_weights": np.array([1.0, 3.0]),
    }
    fields = {one.name for one in dataclasses.fields(Rows) if one.name[0] != "_"}
    assert set(given) == fields
    rows = Rows(**given)
    rows.derived("twice", lambda rows: 2 * rows.features)
    there = pickle.loads(pickle.dumps(rows))
    for name, value in given.items():
        np.testing.assert_array_equal(getattr(there, name), value)
    assert rows._memory
    assert not there._memory
