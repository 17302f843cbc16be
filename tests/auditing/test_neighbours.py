from __future__ import annotations

import numpy as np
import pytest

from icecore.auditing import nearest, neighbours, whitened


def unit(rows, dim, seed=0):
    points = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


@pytest.mark.parametrize("rows", [2, 3, 50, 200])
def test_blocks_find_what_all_pairs_at_once_find(rows, monkeypatch):
    monkeypatch.setattr(neighbours, "_BLOCK", 17)
    points = unit(rows, 8)
    index, cosine = nearest(points, 5)
    every = points @ points.T
    np.fill_diagonal(every, -np.inf)
    k = min(5, rows - 1)
    assert index.shape == (rows, k)
    assert cosine == pytest.approx(-np.sort(-every, axis=1)[:, :k], abs=1e-6)
    assert np.take_along_axis(every, index, 1) == pytest.approx(cosine, abs=1e-6)


def test_cells_find_what_all_pairs_find(monkeypatch):
    """Beyond 200,000 rows; here 3,000, of which each is compared with about 375 (an eighth)."""
    points = unit(3000, 32)
    copies = points[:300] + 0.1 * unit(300, 32, seed=1)
    points[300:600] = copies / np.linalg.norm(copies, axis=1, keepdims=True)
    exact, _ = nearest(points, 5)
    monkeypatch.setattr(neighbours, "EXACT", 2000)
    monkeypatch.setattr(neighbours, "_LOOKED_AT", 375)
    index, cosine = nearest(points, 5, seed=3)
    assert index[:300, 0].tolist() == list(range(300, 600))
    found = [len(set(one) & set(other)) for one, other in zip(index.tolist(), exact.tolist())]
    assert np.mean(found) / 5 > 0.7  # random points, which nothing holds together
    assert all(len(set(row)) == 5 for row in index.tolist())
    assert not (index == np.arange(3000)[:, None]).any()
    assert np.einsum("nd,nkd->nk", points, points[index]) == pytest.approx(cosine, abs=1e-5)
    assert (nearest(points, 5, seed=3)[0] == index).all()


def test_memory_does_not_grow_with_the_square_of_the_rows():
    import tracemalloc

    points = unit(6000, 4)
    tracemalloc.start()
    nearest(points, 3)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 6000 * 6000 * 4 / 2


def test_whitening_brings_copies_forward_and_is_read_in_blocks():
    rng = np.random.default_rng(0)
    # One direction has all the variance; copies agree in the small ones.
    features = rng.normal(size=(400, 20)).astype(np.float32)
    features[:, 0] = 50 + 100 * rng.random(400)
    features[1] = features[0] + 0.05 * rng.normal(size=20)
    features[1, 0] = 60
    asked = []

    def read(rows):
        asked.append(len(rows))
        return features[rows]

    points, components = whitened(read, 400, seed=0)
    assert components.var(axis=0).sum() == pytest.approx(9, rel=1e-3)
    assert np.linalg.norm(points, axis=1) == pytest.approx(np.ones(400), abs=1e-5)
    index, cosine = nearest(points, 2)
    assert (index[0, 0], index[1, 0]) == (1, 0)
    assert cosine[0, 0] > cosine[2:, 0].max()


def test_features_that_do_not_vary_are_no_trouble():
    points, _ = whitened(lambda rows: np.ones((len(rows), 5), np.float32), 30, seed=0)
    assert np.isfinite(points).all()
    nearest(points, 3)
