"""The arms of an experiment: one kind of model, trained from several seeds, compared on the same windows."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..runs.hardware import seeded
from .evaluation import arm_errors
from .intervals import Summary, arm_summary
from .side_by_side import Training, fit_side_by_side


@dataclass(frozen=True)
class Experiment:
    """What all arms of a notebook share: the seeds, where states are kept, and the settings for `fit`."""

    seeds: range
    folder: Path
    training: dict

    def train(self, builders, windows, name, *, seeds=None, **options):
        """Train `build()` of {arm: build} for every seed: {arm: [model, …]}, in the order of the seeds.

        Side by side, as `fit_side_by_side` does it. The states are kept under `folder/name/arm`, so that
        an interrupted call goes on; `options` override `training`.
        """
        planned = self.trainings(builders, windows, name, seeds=seeds, **options)
        return train_arms(planned)

    def trainings(self, builders, windows, name, *, seeds=None, **options):
        """What `train` would do: {arm: [Training, …]}, for `train_arms` to do together with others.

        Initial weights are drawn from the seed. The first window of every test video is watched.
        """
        watched, settings, planned = windows.first_of_videos().test, self.training | options, {}
        for arm, build in builders.items():
            planned[arm] = []
            for seed in self.seeds if seeds is None else seeds:
                with seeded(seed):
                    model = build().to(windows.train.device)
                where = self.folder / name / arm, f"{name}: {arm}"
                planned[arm].append(Training(model, (windows.train, watched), seed, *where, settings))
        return planned

    def compare(self, models, windows, reference="HNN"):
        """`compare_arms` of the errors over test windows, {arm: models}, with intervals over videos."""
        errors = {arm: arm_errors(of_arm, windows.test) for arm, of_arm in models.items()}
        return compare_arms(errors, reference, windows.test_videos.numpy(), seed=self.seeds[0])


def train_arms(planned):
    """`fit_side_by_side` over all of {arm: [Training, …]}: {arm: [model, …]}."""
    fit_side_by_side([training for arm in planned.values() for training in arm])
    return {arm: [training.model for training in of_arm] for arm, of_arm in planned.items()}


@dataclass(frozen=True)
class Comparison:
    """Arms on the same windows: each one's `Summary`, and that of its difference from the reference.

    `summaries` and `per_seed`, the mean of each model, have all arms: {arm: …}. `differences`, arm −
    reference, paired window by window, have all arms but `reference`.
    """

    reference: str
    summaries: dict[str, Summary]
    differences: dict[str, Summary]
    per_seed: dict[str, list[float]]

    def to_dict(self):
        """As in `results.json`: {arm: its summary, with "per_seed" and "difference"}."""
        saved = {a: s.to_dict() | {"per_seed": self.per_seed[a]} for a, s in self.summaries.items()}
        for arm, difference in self.differences.items():
            saved[arm]["difference"] = difference.to_dict()
        return saved

    def difference(self, arm, digits=2):
        """The difference from the reference, printed; a dash for the reference itself."""
        return "–" if arm == self.reference else self.differences[arm].fixed(digits)


def compare_arms(values, reference, groups, *, seed):
    """`Comparison` of {arm: (n_models, n_windows, n_steps)}; `groups` are the videos of the windows."""
    shapes = {arm: tuple(of_arm.shape) for arm, of_arm in values.items()}
    if any(len(shape) != 3 or shape[1:] != shapes.get(reference, ())[1:] for shape in shapes.values()):
        raise ValueError(
            f"arms are (n_models, n_windows, n_steps), on the windows of {reference!r}; got {shapes}"
        )
    of_reference = values[reference].mean(axis=0, keepdims=True)
    differences = {
        a: v.mean(axis=0, keepdims=True) - of_reference for a, v in values.items() if a != reference
    }
    return Comparison(
        reference,
        {arm: arm_summary(of_arm, groups, seed=seed) for arm, of_arm in values.items()},
        {arm: arm_summary(of_arm, groups, seed=seed) for arm, of_arm in differences.items()},
        {arm: of_arm.mean(axis=(1, 2)).tolist() for arm, of_arm in values.items()},
    )


def arms_table(compared, name="MSE", digits=3):
    """A `Comparison` for reading: mean, and difference from the reference; verdicts are the ledger's."""
    columns = {
        name: {arm: summary.fixed(digits) for arm, summary in compared.summaries.items()},
        f"− {compared.reference}": {a: d.fixed(digits) for a, d in compared.differences.items()},
    }
    return pd.DataFrame(columns, index=list(compared.summaries)).fillna("")
