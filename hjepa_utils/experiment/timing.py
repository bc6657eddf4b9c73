"""Times of several calls, measured side by side in one run."""

import time

import numpy as np
import pandas as pd
import torch

from .intervals import median_and_interval, to_digits


def seconds(calls, *, rounds, warm_up=2):
    """Seconds of each call in every round, {name: function} → {name: (rounds)}; all take turns.

    Taking turns, whatever else the machine does falls on all alike, and ratios keep their meaning.
    """
    taken = {name: [] for name in calls}
    for _ in range(warm_up + rounds):
        for name, call in calls.items():
            _wait_for_gpu()
            begin = time.perf_counter()
            call()
            _wait_for_gpu()
            taken[name].append(time.perf_counter() - begin)
    return {name: np.array(times[warm_up:]) for name, times in taken.items()}


def side_by_side(measured, reference):
    """{name: (rounds)} → {name: {"median", "interval"}}, and "ratio", the same of value / reference.

    The ratio is taken round by round; the reference has none. Intervals are 95 %, of the median over
    the rounds of this run: another run, on a machine in another state, may lie outside.
    """
    compared = {name: median_and_interval(values) for name, values in measured.items()}
    for name, values in measured.items():
        if name != reference:
            compared[name]["ratio"] = median_and_interval(values / measured[reference])
    return compared


def times_table(compared, unit="ms per step"):
    """`side_by_side`'s result for reading: medians and ratios with their intervals."""
    reference = next(name for name, of in compared.items() if "ratio" not in of)
    table = pd.DataFrame({unit: {name: to_digits(of, 3) for name, of in compared.items()}})
    ratios = [to_digits(of["ratio"], 3) if "ratio" in of else "" for of in compared.values()]
    return table.assign(**{f"× {reference}": ratios})


def _wait_for_gpu():
    if torch.cuda.is_available():
        torch.cuda.synchronize()
