"""The arms of an experiment: one kind of model, trained from several seeds, compared on the same windows."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from .evaluation import energy_drift, percentile_levels, rollout_errors, summarise
from .run import seeded
from .training import fit_arm


@dataclass(frozen=True)
class Experiment:
    """What all arms of a notebook share: the seeds, where states are kept, and the settings for `fit`."""

    seeds: range
    folder: Path
    training: dict

    def train(self, builders, windows, name, *, seeds=None, **options):
        """Train `build()` of {arm: build} for every seed: {arm: [model, …]}, in the order of the seeds.

        Initial weights are drawn from the seed. The states are kept under `folder/name/arm`, so that
        an interrupted call goes on; `options` override `training`. Every 19th test window is watched.
        """
        trained, seeds = {}, self.seeds if seeds is None else seeds
        for arm, build in builders.items():
            models = []
            for seed in seeds:
                with seeded(seed):
                    models.append(build().to(windows.train.device))
            settings = {"seeds": seeds, "checkpoint": self.folder / name / arm, "label": f"{name}: {arm}"}
            fit_arm(models, windows.train, windows.test[::19], **self.training | options | settings)
            trained[arm] = models
        return trained

    def compare(self, models, windows, reference="HNN"):
        """`compare_arms` of the errors over test windows, {arm: models}, with intervals over videos."""
        errors = {arm: arm_errors(of_arm, windows.test) for arm, of_arm in models.items()}
        return compare_arms(errors, reference, windows.test_videos.numpy(), seed=self.seeds[0])


def arm_errors(models, windows):
    """MSE at steps 1 … T-1 of every model: windows (n, T, D) → NumPy (n_models, n, T - 1)."""
    return torch.stack([rollout_errors(model, windows) for model in models]).double().cpu().numpy()


@torch.no_grad()
def arm_rollouts(models, windows):
    """Every model's rollout from the first latent of windows (n, T, D): NumPy (n_models, n, T, D)."""
    z0, n_steps = windows[:, 0], windows.shape[1] - 1
    return torch.stack([model.rollout(z0, n_steps) for model in models]).cpu().numpy()


@torch.no_grad()
def arm_drifts(models, windows, n_steps=15):
    """Largest change of each model's own H along rollouts from the test windows, in units of its spread.

    The spread is the standard deviation of H over the training windows of `LatentWindows`; NumPy
    (n_models, n_windows, 1).
    """
    drifts = [
        energy_drift(model.energy, model.rollout(windows.test[:, 0], n_steps))
        / model.energy(windows.train.flatten(0, 1)).std()
        for model in models
    ]
    return torch.stack(drifts).double().cpu().numpy()[..., None]


@torch.no_grad()
def arm_distances(models, windows, n_steps):
    """Distance from the mean of the training windows after n steps, over the true test latents' mean one.

    NumPy (n_models, n_windows, 1): far below 1 in a sink, far above it in an explosion.
    """
    centre = windows.train.flatten(0, 1).mean(dim=0)
    ends = torch.stack([model.rollout(windows.test[:, 0], n_steps)[:, -1] for model in models])
    ratios = (ends - centre).norm(dim=-1) / (windows.test - centre).norm(dim=-1).mean()
    return ratios.double().cpu().numpy()[..., None]


def compare_arms(values, reference, groups, *, seed):
    """{arm: (n_models, n_windows, n_steps)} → {arm: summary}, means over models and steps.

    A summary has "mean", "std" (over windows), "interval" (95 %, resampling whole `groups`, the
    videos of the windows), "n_groups", "per_seed" (the mean of each model), and, but for the
    reference, "difference": the same of arm − reference, paired window by window.
    """

    def summary(of_arm):
        means = of_arm.mean(axis=0)
        summarised = summarise(means, groups, rng=np.random.default_rng(seed))
        return summarised | {"n_groups": len(np.unique(groups))}

    means = {arm: np.mean(of_arm, axis=2) for arm, of_arm in values.items()}
    compared = {}
    for arm, of_arm in means.items():
        compared[arm] = summary(of_arm) | {"per_seed": of_arm.mean(axis=1).tolist()}
        if arm != reference:
            difference = of_arm.mean(axis=0, keepdims=True) - means[reference].mean(axis=0)
            compared[arm]["difference"] = summary(difference)
    return compared


def ratio_of_means(first, second, groups, *, seed, n_resamples=10_000):
    """Mean of one (n_windows) over the mean of another, with its 95 % interval over groups."""
    _, index = np.unique(groups, return_inverse=True)
    sums = np.stack([np.bincount(index, weights=values) for values in (first, second)])
    drawn = np.random.default_rng(seed).integers(sums.shape[1], size=(n_resamples, sums.shape[1]))
    top, bottom = sums[:, drawn].sum(axis=-1)
    interval = np.quantile(top / bottom, percentile_levels(sums.shape[1])).tolist()
    return {"mean": float(np.mean(first) / np.mean(second)), "interval": interval}


def error_growth(errors, groups, *, seed):
    """How errors (n_models, n_windows, n_steps) grow: at the first and the last step, and the "excess".

    That is the summary of last − n_steps · first: below 0 the growth is sublinear.
    """
    first, last = errors[..., 0].mean(axis=0), errors[..., -1].mean(axis=0)
    excess = summarise(last - errors.shape[2] * first, groups, rng=np.random.default_rng(seed))
    return {"first": float(first.mean()), "last": float(last.mean()), "excess": excess}


def arms_table(compared, name="MSE", digits=3):
    """`compare_arms`' result for reading: mean, difference from the reference, and what that says."""
    reference = next(arm for arm, score in compared.items() if "difference" not in score)
    rows = {}
    for arm, score in compared.items():
        difference = score.get("difference")
        rows[arm] = {
            name: in_words(score, digits),
            f"− {reference}": in_words(difference, digits) if difference else "",
            "": effect(difference) if difference else "",
        }
    return pd.DataFrame(rows).T


def training_error(models, windows):
    """MSE over the training windows, averaged over the models: an arm that misses these underfits."""
    return float(arm_errors(models, windows.train).mean())


def in_words(summary, digits=3):
    """1.332 [1.234, 1.440]: a mean and its 95 % interval."""
    low, high = summary["interval"]
    return f"{summary['mean']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def effect(difference):
    """What a difference says: "lower" or "higher" if its interval, to 3 digits, leaves out 0.

    Else "undecided"; also with fewer than six groups, whose intervals cannot cover 95 %.
    """
    low, high = (round(bound, 3) for bound in difference["interval"])
    decided = difference["n_groups"] >= 6
    return "lower" if decided and high < 0 else "higher" if decided and low > 0 else "undecided"
