"""A penalty that was chosen by hand, against those that the head tries by itself."""

import numpy as np
from sklearn.base import clone

from ..base import Head
from ..crossfit import judge_pair
from ..rows import Rows

# scikit-learn's name of a penalty's inverse.
_INVERSE = "C"
# In log-loss; and in standard errors.
_MUCH, _SURE = 0.1, 3


def advice_on_penalty(head: Head, rows: Rows, dealt: np.ndarray) -> str:
    """Say that a head does much worse with its given penalty than with one of its own.

    Heads with either are fitted without two folds and judged on these.

    Parameters
    ----------
    head : Head
        With its settings; it is not fitted.
    dealt : ndarray of int, shape (N,)
        Fold of each row.

    Returns
    -------
    str
        Empty where no penalty was given, or nothing is to be said of it.
    """
    given = head.given() & {head.penalty, _INVERSE}
    if not given:
        return ""
    defaults = type(head)().get_params()
    free = clone(head).set_params(**{name: defaults[name] for name in given})
    own, best = (_least(one, rows, dealt) for one in (head, free))
    lost = own - best
    if not len(lost) or lost.mean() < max(_MUCH, _SURE * lost.std() / np.sqrt(len(lost))):
        return ""
    settings = ", ".join(f"{name}={head.get_params()[name]:g}" for name in sorted(given))
    return (
        f"{settings} suits these features badly: log-loss {own.mean():.2f} on {len(own)} rows left "
        f"out, against {best.mean():.2f} with a penalty that {head.kind} chooses itself; leave "
        f"{' and '.join(sorted(given))} out"
    )


def _least(head: Head, rows: Rows, dealt: np.ndarray) -> np.ndarray:
    """Return the losses of the rows of two folds with the best of a head's open settings."""
    _, _, (losses, _) = judge_pair(head, dealt, head.choices(), rows, 0)
    return losses[losses.sum(axis=1).argmin()]
