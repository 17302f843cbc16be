import numpy as np
from drawing import few
from hypothesis import given
from hypothesis import strategies as st

from icecore.core.folds import deal_folds, fold_rows

rows = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=60)


@few(100)
@given(rows, st.integers(2, 6), st.integers(0, 5))
def test_groups_stay_together_whatever_the_order_of_the_rows(pairs, folds, seed):
    y, groups = np.array(pairs).T
    fold = deal_folds(y, groups, folds, [seed])
    assert fold.max() + 1 == min(folds, len(set(groups.tolist())))
    for group in set(groups.tolist()):
        assert len(set(fold[groups == group].tolist())) == 1
    order = np.random.default_rng(seed).permutation(len(y))
    assert np.array_equal(deal_folds(y[order], groups[order], folds, [seed]), fold[order])


def test_classes_are_spread_evenly_and_rows_score_once():
    y = np.repeat([0, 1, 2], [50, 7, 3])
    fold = deal_folds(y, np.arange(60), 5, [0])
    counts = np.array([np.bincount(y[fold == k], minlength=3) for k in range(5)])
    assert np.ptp(counts[:, 0]) <= 1
    assert np.ptp(counts[:, 1]) <= 1
    assert counts[:, 2].max() == 1
    parts = list(fold_rows(fold))
    assert sorted(np.concatenate([score for _, score in parts]).tolist()) == list(range(60))
    assert all(not set(learn) & set(score) for learn, score in parts)
