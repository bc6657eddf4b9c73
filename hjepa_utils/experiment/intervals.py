"""Errors over the horizon, drifts, probes and confidence intervals."""

import numpy as np
from scipy.stats import norm, quantile_test, t


def percentile_levels(n_groups):
    """The quantiles (low, high) of bootstrapped means that are a 95 % interval for so few groups.

    The plain 2.5 % and 97.5 % are those of a known spread and of many groups: with 10 they cover 90 %.
    These make the interval Student's t where the means are normal (the expanded percentile interval:
    Hesterberg 2014, arXiv:1411.5279). Skewed data are covered less, and fewer than 6 groups never 95 %.
    """
    freedom = max(n_groups - 1, 1)
    low = norm.cdf(-np.sqrt(n_groups / freedom) * t.ppf(0.975, freedom))
    return low, 1 - low


def clustered_interval(values, groups, *, rng, n_resamples=10_000):
    """95 % bootstrap interval of the mean, resampling whole groups (videos): (n), (n) → (low, high).

    Windows of one video overlap, so they are no independent samples; `rng` is a NumPy `Generator`.
    The levels are those of `percentile_levels`.
    """
    values, groups = np.asarray(values, float), np.asarray(groups)
    if values.shape != groups.shape:
        raise ValueError(f"one group per value is needed, got {values.shape} and {groups.shape}")
    _, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    sums = np.bincount(index, weights=values)
    drawn = rng.integers(len(sizes), size=(n_resamples, len(sizes)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return tuple(np.quantile(means, percentile_levels(len(sizes))).tolist())


def summarise(values, groups, *, rng):
    """Mean, standard deviation over windows and 95 % interval over videos of a number per window, (n)."""
    values = np.asarray(values, float)
    interval = clustered_interval(values, groups, rng=rng)
    return {"mean": float(values.mean()), "std": float(values.std()), "interval": list(interval)}


def median_and_interval(values):
    """Median of repeated measurements (n) and its 95 % interval, {"median", "interval"}, for times.

    The interval lies between two of the values and holds for any distribution, if they are
    independent (`scipy.stats.quantile_test`). Raises `ValueError` for fewer than 6, which have none.
    """
    if len(values) < 6:
        raise ValueError(f"a median of {len(values)} has no 95 % interval: 6 rounds or more are needed")
    low, high = quantile_test(values, p=0.5).confidence_interval(0.95)
    return {"median": float(np.median(values)), "interval": [float(low), float(high)]}


def in_words(summary, digits=3):
    """1.332 [1.234, 1.440]: a mean, or of times a median, and its 95 % interval."""
    return _in_words(summary, lambda x: f"{x:.{digits}f}")


def to_digits(summary, digits=2):
    """0.0046 [0.0035, 0.0058] or 1,200 [1,100, 1,200]: `in_words` to so many significant digits."""

    def show(x):
        rounded = float(f"{x:.{digits}g}")
        return f"{rounded:,g}" if abs(rounded) >= 10 ** (digits - 1) else f"{rounded:#.{digits}g}"

    return _in_words(summary, show)


def _in_words(summary, show):
    centre = summary["median"] if "median" in summary else summary["mean"]
    if summary.get("n_groups", 6) < 6:  # no interval of so few covers 95 %
        return show(centre)
    low, high = summary["interval"]
    return f"{show(centre)} [{show(low)}, {show(high)}]"


def arm_summary(values, groups, *, seed):
    """One arm's numbers (n_models, n_windows, n_steps), averaged over models and steps.

    A dict of "mean", "std" (over windows), "interval" (95 %, resampling whole `groups`, the videos of
    the windows) and "n_groups".
    """
    summary = summarise(values.mean(axis=(0, 2)), groups, rng=np.random.default_rng(seed))
    return summary | {"n_groups": len(np.unique(groups))}


def ratio_of_means(first, second, groups, *, seed, n_resamples=10_000):
    """Mean of one (n_windows) over the mean of another, with its 95 % interval over groups."""
    _, index = np.unique(groups, return_inverse=True)
    sums = np.stack([np.bincount(index, weights=values) for values in (first, second)])
    drawn = np.random.default_rng(seed).integers(sums.shape[1], size=(n_resamples, sums.shape[1]))
    top, bottom = sums[:, drawn].sum(axis=-1)
    interval = np.quantile(top / bottom, percentile_levels(sums.shape[1])).tolist()
    return {"mean": float(np.mean(first) / np.mean(second)), "interval": interval}


def effect(difference):
    """What a difference says: "lower" or "higher" if its interval, to 3 digits, leaves out 0.

    Else "undecided"; also with fewer than six groups, whose intervals cannot cover 95 %.
    """
    low, high = (round(bound, 3) for bound in difference["interval"])
    decided = difference["n_groups"] >= 6
    return "lower" if decided and high < 0 else "higher" if decided and low > 0 else "undecided"
