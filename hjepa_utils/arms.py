"""The arms of an experiment: one kind of model, trained from several seeds, compared on the same windows."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from .evaluation import energy_drift, in_words, percentile_levels, rollout_errors, summarise
from .fixed_point import NotConverged
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


def long_drift(models, step, windows, n_steps, *, seed):
    """`arm_summary` of `arm_drifts` in float64 under a step, from the first window of every test video.

    None where a rollout overflows or an implicit step does not converge. Ten starts at a time, because
    all states of a rollout are held.
    """
    firsts = windows.first_of_videos().to(torch.float64)
    moved = [model.under(step).double() for model in models]
    parts = [firsts._replace(test=starts) for starts in firsts.test.split(10)]
    try:
        drifts = np.concatenate([arm_drifts(moved, part, n_steps) for part in parts], axis=1)
    except NotConverged:
        return None
    return arm_summary(drifts, firsts.test_videos.numpy(), seed=seed) if np.isfinite(drifts).all() else None


def compare_arms(values, reference, groups, *, seed):
    """{arm: (n_models, n_windows, n_steps)} → {arm: `arm_summary`}, with two more entries.

    "per_seed" is the mean of each model; "difference", which the reference does not have, the summary
    of arm − reference, paired window by window.
    """
    compared, of_reference = {}, values[reference].mean(axis=0, keepdims=True)
    for arm, of_arm in values.items():
        compared[arm] = arm_summary(of_arm, groups, seed=seed)
        compared[arm]["per_seed"] = of_arm.mean(axis=(1, 2)).tolist()
        if arm != reference:
            difference = of_arm.mean(axis=0, keepdims=True) - of_reference
            compared[arm]["difference"] = arm_summary(difference, groups, seed=seed)
    return compared


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


def error_growth(errors, groups, *, seed):
    """How errors (n_models, n_windows, n_steps) grow: three summaries.

    Of the "first" step's, the "last" step's, and the "excess", last − n_steps · first: below 0 the
    growth is sublinear.
    """
    first, last = errors[..., :1], errors[..., -1:]
    compared = {"first": first, "last": last, "excess": last - errors.shape[2] * first}
    return {name: arm_summary(values, groups, seed=seed) for name, values in compared.items()}


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


def training_error(models, windows, *, seed):
    """`arm_summary` of the errors over the training windows: an arm that misses these underfits."""
    return arm_summary(arm_errors(models, windows.train), windows.train_videos.numpy(), seed=seed)


def effect(difference):
    """What a difference says: "lower" or "higher" if its interval, to 3 digits, leaves out 0.

    Else "undecided"; also with fewer than six groups, whose intervals cannot cover 95 %.
    """
    low, high = (round(bound, 3) for bound in difference["interval"])
    decided = difference["n_groups"] >= 6
    return "lower" if decided and high < 0 else "higher" if decided and low > 0 else "undecided"
