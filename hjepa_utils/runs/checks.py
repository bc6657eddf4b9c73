"""What a run's seed and a notebook's numbers are held to."""

from operator import index

MAX_SEED = 2**32 - 1  # the largest that every library takes: scikit-learn's limit


def checked_seed(seed):
    """The seed as an int; NumPy's and torch's are taken too. `ValueError` if not in 0 … `MAX_SEED`."""
    try:
        whole = -1 if isinstance(seed, bool) else index(seed)
    except TypeError:
        whole = -1
    if not 0 <= whole <= MAX_SEED:
        raise ValueError(f"SEED must be a whole number from 0 to {MAX_SEED}, got {seed!r}")
    return whole


def check(label, value, *, equals=None, at_least=None, at_most=None):
    """Print a verdict, or raise `AssertionError` so that a headless run fails loudly."""
    if equals is at_least is at_most is None:
        raise TypeError("check needs one of equals, at_least, at_most")
    shown = f"{value:.4g}" if isinstance(value, float) else value
    conditions = {
        "equal to": (equals, lambda: value == equals),
        "at least": (at_least, lambda: value >= at_least),
        "at most": (at_most, lambda: value <= at_most),
    }
    for words, (bound, holds) in conditions.items():
        if bound is not None and not holds():
            raise AssertionError(f"{label}: {shown}, expected {words} {bound}")
    wanted = ", ".join(f"{words} {bound}" for words, (bound, _) in conditions.items() if bound is not None)
    print(
        f"passed: {label} = {shown} ({wanted})" if isinstance(value, int) else f"passed: {label} ({wanted})"
    )
