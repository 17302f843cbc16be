"""Fixtures and small builders for the cache's tests."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from icecore.cache import FeatureCache


class Maker:
    """Rows, keys and records that tests share."""

    @staticmethod
    def key(i: int) -> str:
        return hashlib.sha256(str(i).encode()).hexdigest()

    @classmethod
    def keys(cls, n: int, start: int = 0) -> list[str]:
        return [cls.key(i) for i in range(start, start + n)]

    @staticmethod
    def row(key: str, dim: int) -> np.ndarray:
        """The one row that a key has: any process computes the same."""
        seed = int(key[:12], 16)
        return np.random.default_rng(seed).normal(size=dim).astype(np.float16)

    @classmethod
    def rows(cls, keys: list[str], dim: int) -> np.ndarray:
        return np.array([cls.row(key, dim) for key in keys], np.float16).reshape(-1, dim)

    @staticmethod
    def record(spec: str = "gluon:inceptionv3", **fields) -> dict:
        backbone = {"spec": spec, "weights_digest": "aa", "input_size": 299}
        backbone.update({k: fields.pop(k) for k in list(fields) if k in backbone})
        whole = {"fit": "crop", "views": ["center"], "precision": "float16", "layer": "pool"}
        return {"backbone": backbone, **whole, **fields}

    @classmethod
    def asked(cls, dim: int, spec: str = "gluon:inceptionv3", **fields) -> dict:
        """What `FeatureCache.open_set` takes."""
        record = cls.record(spec, **fields)
        views = record["views"]
        return {
            "record": record, "name": spec, "width": dim // len(views), "views": views,
            "dtype": record["precision"],
        }  # fmt: skip

    @classmethod
    def fill(cls, one, keys: list[str], shard: int) -> None:
        for i in range(0, len(keys), shard):
            part = keys[i : i + shard]
            one.append(part, cls.rows(part, one.dim), {"engine": "test"})


@pytest.fixture(scope="session")
def make():
    return Maker


@pytest.fixture
def cache(tmp_path):
    return FeatureCache.create(tmp_path / "cache")
