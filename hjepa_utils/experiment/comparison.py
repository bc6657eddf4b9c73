"""The arms of an experiment: one kind of model, trained from several seeds, compared on the same windows."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..runs.hardware import seeded
from .evaluation import arm_errors
from .intervals import arm_summary, effect, in_words
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
