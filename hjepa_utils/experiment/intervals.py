"""Numbers with what they may be wrong by: means over windows of videos, medians of times."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, norm, quantile_test, t

FEWEST = 6  # groups: no bootstrap of fewer, and no order statistic, covers 95 %


class _Printed:
    """Printing shared by `Summary` and `Median`: the centre, then the interval in brackets."""

    interval: tuple
    n_groups: int

    @property
    def centre(self) -> float:
        raise NotImplementedError

    def fixed(self, digits=3):
        """1.332 [1.234, 1.440]; without brackets where fewer than six groups leave no interval."""
        return self._text(lambda x: f"{x:.{digits}f}")

    def significant(self, digits=2):
        """0.0046 [0.0035, 0.0058] or 1,200 [1,100, 1,200]: so many significant digits."""

        def show(x):
            rounded = float(f"{x:.{digits}g}")
            return f"{rounded:,g}" if abs(rounded) >= 10 ** (digits - 1) else f"{rounded:#.{digits}g}"

        return self._text(show)

    def _text(self, show):
        if self.n_groups < FEWEST:
            return show(self.centre)
        low, high = self.interval
        return f"{show(self.centre)} [{show(low)}, {show(high)}]"


@dataclass(frozen=True)
class Summary(_Printed):
    """A mean, its 95 % interval (low, high) over independent groups (videos), and how many there are.

    `std` is the standard deviation over windows, None for a ratio.
    """

    mean: float
    interval: tuple
    n_groups: int
    std: float | None = None

    @property
    def centre(self):
        return self.mean

    def to_dict(self):
        """As in `results.json`."""
        spread = {} if self.std is None else {"std": self.std}
        return {"mean": self.mean, **spread, "interval": list(self.interval), "n_groups": self.n_groups}

    @classmethod
    def from_dict(cls, saved):
        """From `to_dict`'s form; whatever else was saved beside it is left out."""
        return cls(saved["mean"], tuple(saved["interval"]), saved["n_groups"], saved.get("std"))


@dataclass(frozen=True)
class Median(_Printed):
    """The median of repeated measurements, its 95 % interval (low, high), and how many there were."""

    median: float
    interval: tuple
    n_groups: int

    @property
    def centre(self):
        return self.median

    def to_dict(self):
        """As in `results.json`."""
        return {"median": self.median, "interval": list(self.interval)}


def percentile_levels(n_groups):
    """The quantiles (low, high) of bootstrapped means that are a 95 % interval for so few groups.

    The plain 2.5 % and 97.5 % are those of a known spread and of many groups: with 10 they cover 90 %.
    These make the interval Student's t where the means are normal (the expanded percentile interval:
    Hesterberg 2014, arXiv:1411.5279). Skewed data are covered less, and fewer than 6 groups never 95 %.
    """
    freedom = max(n_groups - 1, 1)
    low = norm.cdf(-np.sqrt(n_groups / freedom) * t.ppf(0.975, freedom))
    return low, 1 - low


def _array(values):
    """A NumPy array of an array, a list or a tensor; `ValueError` for a masked one."""
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError("masked arrays are not taken: leave the masked out, of values and groups alike")
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def _checked(values):
    """One number per window, (n); else `ValueError`."""
    values = _array(values)
    if values.ndim != 1 or len(values) == 0 or values.dtype.kind not in "fiub":
        raise ValueError(f"one number per window is needed, (n), got {values.dtype} {values.shape}")
    return values


def _checked_groups(groups, values):
    """The group of each value, (n); else `ValueError`."""
    groups = _array(groups)
    if groups.shape != values.shape:
        raise ValueError(f"one group per value is needed, got {values.shape} and {groups.shape}")
    return groups


def _interval_of_ratio(top, bottom, groups, *, rng, n_resamples):
    """95 % interval of Σ top / Σ bottom, (n) each, over whole groups drawn with replacement; their number."""
    _, index = np.unique(groups, return_inverse=True)
    tops, bottoms = (np.bincount(index, weights=values) for values in (top, bottom))
    drawn = rng.integers(len(tops), size=(n_resamples, len(tops)))
    ratios = tops[drawn].sum(axis=1) / bottoms[drawn].sum(axis=1)
    return tuple(np.quantile(ratios, percentile_levels(len(tops))).tolist()), len(tops)


def clustered_interval(values, groups, *, rng, n_resamples=10_000):
    """95 % bootstrap interval of the mean, resampling whole groups (videos): (n), (n) → (low, high).

    Windows of one video overlap, so they are no independent samples; `rng` is a NumPy `Generator`.
    The levels are those of `percentile_levels`.
    """
    values = _checked(values).astype(float)
    groups = _checked_groups(groups, values)
    return _interval_of_ratio(values, np.ones_like(values), groups, rng=rng, n_resamples=n_resamples)[0]


def summarise(values, groups, *, rng):
    """`Summary` of a number per window, (n), (n): the interval is over groups (videos)."""
    values = _checked(values).astype(float)
    interval = clustered_interval(values, groups, rng=rng)
    return Summary(float(values.mean()), interval, len(np.unique(groups)), float(values.std()))


def share(successes):
    """`Summary` of how often trials succeeded, (n) of booleans: Wilson's interval, each a group."""
    successes = _checked(successes).astype(bool)
    interval = binomtest(int(successes.sum()), len(successes)).proportion_ci(0.95, method="wilson")
    return Summary(float(successes.mean()), (float(interval.low), float(interval.high)), len(successes))


def arm_summary(values, groups, *, seed):
    """`Summary` of one arm's numbers (n_models, n_windows, n_steps), averaged over models and steps."""
    return summarise(values.mean(axis=(0, 2)), groups, rng=np.random.default_rng(seed))


def ratio_of_means(first, second, groups, *, seed, n_resamples=10_000):
    """`Summary` of the mean of one (n_windows) over the mean of another, paired group by group."""
    rng, first, second = np.random.default_rng(seed), _checked(first), _checked(second)
    if len(first) != len(second):
        raise ValueError(f"both need a number of every window, got {len(first)} and {len(second)}")
    groups = _checked_groups(groups, first)
    interval, n_groups = _interval_of_ratio(first, second, groups, rng=rng, n_resamples=n_resamples)
    return Summary(float(np.mean(first) / np.mean(second)), interval, n_groups)


def median_and_interval(values):
    """`Median` of repeated measurements (n), for times.

    The interval lies between two of the values and holds for any distribution, if they are
    independent (`scipy.stats.quantile_test`). Raises `ValueError` for fewer than 6, which have none.
    """
    values = _checked(values)
    if len(values) < FEWEST:
        raise ValueError(
            f"a median of {len(values)} has no 95 % interval: {FEWEST} rounds or more are needed"
        )
    low, high = quantile_test(values, p=0.5).confidence_interval(0.95)
    return Median(float(np.median(values)), (float(low), float(high)), len(values))


def in_words(summary, digits=3):
    """1.332 [1.234, 1.440]: `summary.fixed(digits)`."""
    return summary.fixed(digits)


def to_digits(summary, digits=2):
    """0.0046 [0.0035, 0.0058]: `summary.significant(digits)`."""
    return summary.significant(digits)
