"""What whole numbers, a run's seed and a notebook's numbers are held to."""

from operator import eq, ge, index, le

import numpy as np

MAX_SEED = 2**32 - 1  # the largest that every library takes: scikit-learn's limit


def whole_number(value, name):
    """A whole number of any kind as Python's; `TypeError` with `name` for anything else."""
    try:
        return index(value)
    except TypeError as error:
        raise TypeError(f"{name} must be a whole number, got {value!r:.60}") from error


def checked_seed(seed):
    """The seed as an int; NumPy's and torch's are taken too. `ValueError` if not in 0 … `MAX_SEED`."""
    try:
        whole = -1 if isinstance(seed, bool | np.bool_) else index(seed)
    except TypeError:
        whole = -1
    if not 0 <= whole <= MAX_SEED:
        raise ValueError(f"SEED must be a whole number from 0 to {MAX_SEED}, got {seed!r}")
    return whole


def check(label, value, *, equals=None, at_least=None, at_most=None):
    """Print a verdict, or raise `AssertionError` so that a headless run fails loudly; NaN fails."""
    given = {"equal to": (eq, equals), "at least": (ge, at_least), "at most": (le, at_most)}
    wanted = {words: of for words, of in given.items() if of[1] is not None}
    if not wanted:
        raise TypeError("check needs one of equals, at_least, at_most")
    shown = f"{value:.4g}" if isinstance(value, float) else value
    for words, (holds, bound) in wanted.items():
        if not holds(value, bound):
            raise AssertionError(f"{label}: {shown}, expected {words} {bound}")
    bounds = ", ".join(f"{words} {bound}" for words, (_, bound) in wanted.items())
    measured = f" = {shown}" if isinstance(value, int) else ""  # other numbers differ between machines
    print(f"passed: {label}{measured} ({bounds})")
