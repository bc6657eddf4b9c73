"""The arms of an experiment: one kind of model, trained from several seeds, compared on the same windows."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from .evaluation import energy_drift, rollout_errors, summarise
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
    """MSE at steps 1 … T-1 averaged over the models: windows (n, T, D) → NumPy (n, T - 1)."""
    return (
        torch.stack([rollout_errors(model, windows) for model in models]).double().mean(dim=0).cpu().numpy()
    )


@torch.no_grad()
def arm_drifts(models, windows):
    """Largest change of each model's own H along the rollouts of test windows, in units of its spread.

    The spread is the standard deviation of H over the training windows of `LatentWindows`; averaged
    over the models, NumPy (n_windows).
    """
    n_steps = windows.test.shape[1] - 1
    drifts = [
        energy_drift(model.energy, model.rollout(windows.test[:, 0], n_steps))
        / model.energy(windows.train.flatten(0, 1)).std()
        for model in models
    ]
    return torch.stack(drifts).double().mean(dim=0).cpu().numpy()


def compare_arms(values, reference, groups, *, seed):
    """{arm: (n_windows, n_steps)} → {arm: {"mean", "std", "interval", "difference"}}, over all steps.

    "difference" is the same three of arm − reference, paired window by window; the reference has
    none. Intervals are 95 %, resampling whole `groups` (n_windows), the videos.
    """
    means = {arm: np.mean(of_arm, axis=1) for arm, of_arm in values.items()}

    def summary(of_windows):
        return summarise(of_windows, groups, rng=np.random.default_rng(seed))

    return {
        arm: summary(mean) | ({} if arm == reference else {"difference": summary(mean - means[reference])})
        for arm, mean in means.items()
    }


def error_growth(errors, groups, *, seed):
    """How errors (n_windows, n_steps) grow: at the first and the last step, and what exceeds linear growth.

    "excess" is the summary of last − n_steps · first: below 0 the growth is sublinear.
    """
    first, last = errors[:, 0], errors[:, -1]
    excess = summarise(last - errors.shape[1] * first, groups, rng=np.random.default_rng(seed))
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
    """ "lower" or "higher" if the interval of a difference, to 3 digits, leaves out 0, else "undecided"."""
    low, high = (round(bound, 3) for bound in difference["interval"])
    return "lower" if high < 0 else "higher" if low > 0 else "undecided"
