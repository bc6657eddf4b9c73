"""Times of several calls, measured side by side in one run."""

import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from .intervals import Median, median_and_interval


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


@dataclass(frozen=True)
class SideBySide:
    """Times of one run: each one's `Median`, and that of its ratio to the reference's, round by round.

    `medians` have all names, `ratios` all but `reference`. Intervals are 95 %, over the rounds of this
    run: another run, on a machine in another state, may lie outside.
    """

    reference: str
    medians: dict[str, Median]
    ratios: dict[str, Median]

    def to_dict(self):
        """As in `results.json`: {name: its median, with "ratio"}."""
        saved = {name: median.to_dict() for name, median in self.medians.items()}
        for name, ratio in self.ratios.items():
            saved[name]["ratio"] = ratio.to_dict()
        return saved


def side_by_side(measured, reference):
    """`SideBySide` of {name: (rounds)}; the ratio is value / reference."""
    ratios = {name: values / measured[reference] for name, values in measured.items() if name != reference}
    return SideBySide(
        reference,
        {name: median_and_interval(values) for name, values in measured.items()},
        {name: median_and_interval(values) for name, values in ratios.items()},
    )


def times_table(compared, unit="ms per step"):
    """A `SideBySide` for reading: medians and ratios with their intervals."""
    columns = {unit: compared.medians, f"× {compared.reference}": compared.ratios}
    words = {title: {name: m.significant(3) for name, m in of.items()} for title, of in columns.items()}
    return pd.DataFrame(words, index=list(compared.medians)).fillna("")


def _wait_for_gpu():
    if torch.cuda.is_available():
        torch.cuda.synchronize()
