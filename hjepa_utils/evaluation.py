"""Errors over the horizon, drifts, probes and confidence intervals."""

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from scipy.stats import norm, quantile_test, t
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .billiards import kinetic_energy


@torch.no_grad()
def rollout_errors(dynamics, windows):
    """MSE at steps 1 … T-1, averaged over dimensions: (…, n_windows, T, D) → (…, n_windows, T - 1)."""
    predicted = dynamics.rollout(windows[..., 0, :], windows.shape[-2] - 1)
    return (predicted - windows)[..., 1:, :].square().mean(dim=-1)


@torch.no_grad()
def energy_drift(energy, trajectories):
    """max over t of |H(z_t) - H(z_0)| (§5.1): (n, T, D) → (n), in the units of `energy(z)`.

    Comparable between models only after division by the spread of H over the data, because
    H → cH with dt → dt/c leaves every trajectory as it is and multiplies this by c.
    """
    energies = energy(trajectories)
    return (energies - energies[:, :1]).abs().amax(dim=1)


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


def ridge_probe():
    """A linear read-out, not yet fitted: ridge on standardised latents, penalty by leave-one-out.

    scikit-learn's `fit` (n, D), (n, k) and `predict` (m, D) → (m, k). Fit and predict on different
    videos: clips of one video overlap.
    """
    return make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(-3, 4, 15)))


def probe_scores(latents, states, groups):
    """What a linear read-out finds in z: R² of position, velocity and energy, each a float.

    `latents` (n, D), the true `states` at the same clips (n, 2, 4), and the video of each clip (n).
    Every clip is read by a probe fitted on other videos (five folds). Energy is read straight from
    z, and computed from the probed velocities. 1 is perfect, 0 no better than the mean.
    """
    truth = {
        "position": states[..., :2].reshape(len(states), 4),
        "velocity": states[..., 2:].reshape(len(states), 4),
        "energy, straight from z": kinetic_energy(states),
    }
    read = {
        name: cross_val_predict(ridge_probe(), latents, target, groups=groups, cv=GroupKFold(5))
        for name, target in truth.items()
    }
    scores = {name: float(r2_score(target, read[name])) for name, target in truth.items()}
    energy_from_velocities = 0.5 * np.square(read["velocity"]).sum(axis=1)
    energy_score = r2_score(truth["energy, straight from z"], energy_from_velocities)
    return scores | {"energy, from velocities": float(energy_score)}


def frame_pca(videos, n_components, *, seed, clip_frames=16, stride=4, size=16):
    """The control for a probe that needs no network: PCA of all frames of a clip at `size` × `size` pixels.

    `videos`: uint8 (n_frames, 3, H, W) each → float32 (n_clips, n_components), all videos' clips in order.
    """
    clips = []
    for frames in videos:
        coarse = F.adaptive_avg_pool2d(frames.float(), size)
        clips.append(rearrange(coarse.unfold(0, clip_frames, stride), "n c h w t -> n (t c h w)"))
    return PCA(n_components, random_state=seed).fit_transform(torch.cat(clips).numpy())
