"""What numbers, names and settings, a run's seed and a notebook's numbers are held to."""

import math
from dataclasses import fields
from numbers import Integral, Real
from operator import eq, ge, index, le

import numpy as np

MAX_SEED = 2**32 - 1  # the largest that every library takes: scikit-learn's limit


def whole_number(value, name):
    """A whole number of any kind as Python's; `TypeError` with `name` for anything else."""
    try:
        return index(value)
    except TypeError as error:
        raise TypeError(f"{name} must be a whole number, got {value!r:.60}") from error


def check_whole(low, **numbers):
    """`ValueError` with the name for what is no whole number from `low` on; True and False are none."""
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < low:
            raise ValueError(f"{name} must be a whole number, {low} or more, got {value!r:.60}")


def check_between(low, high, **numbers):
    """`ValueError` with the name for what is no finite number from `low` to `high`; bools are none."""
    for name, value in numbers.items():
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        if not is_number or not (low <= value <= high and value < math.inf):
            bounds = f"from {low:g} to {high:g}" if high < math.inf else f"{low:g} or more, and finite"
            raise ValueError(f"{name} must be a number, {bounds}, got {value!r:.60}")


def check_name(what, name, known):
    """`ValueError` that lists the names there are, for another one."""
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"no {what} {name!r:.60}; there are {', '.join(known)}")


def settings_of(kind, given):
    """A dataclass of settings from {name: value}; `TypeError` that lists the names, for another one."""
    names = [field.name for field in fields(kind)]
    if unknown := [name for name in given if name not in names]:
        raise TypeError(f"{unknown[0]} is no setting of this training; there are: {', '.join(names)}")
    return kind(**given)


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
