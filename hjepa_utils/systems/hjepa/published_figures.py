"""The figures that are drawn from `figures/results.json` alone, each with a line of what was found."""

import matplotlib.pyplot as plt
import numpy as np

from ...runs.files import write_atomically
from .drawings import ablations_found, plot_ablations
from .result_figures import (
    controls,
    difference,
    is_lower,
    limits,
    outside,
    partition,
    probe,
    steps_trained,
    true_energy,
    true_state,
)


def steps_found(results):
    """In words, which steps predict better than the paper's and which keep H best."""
    errors, drifts = results["arms"]["mse"], results["arms"]["drift"]
    better = [arm for arm in errors if arm != "HNN" and is_lower(difference(errors, arm))]
    best = min(drifts, key=lambda arm: drifts[arm]["mean"])
    return f"{len(better)} of {len(errors) - 1} predict better than the HNN, paired; {best} keeps H best"


def controls_found(results):
    """In words, the best model and the HNN beside the training mean."""
    of_arms = results["controls"]["15 steps"]
    best = min(of_arms, key=lambda arm: of_arms[arm]["mean"])
    hnn, mean = of_arms["HNN"]["mean"], of_arms["training mean"]["mean"]
    than = "more" if hnn > mean else "less"
    return f"The {best} is best over 15 steps; the HNN errs {than} than the training mean"


def true_energy_found(results):
    """In words, whose rollouts keep the balls' energy worst."""
    drifts = results["true_energy"]["largest energy drift"]
    worst = max(drifts, key=lambda arm: drifts[arm]["mean"])
    return f"The balls' true energy drifts most in rollouts of the {worst}"


def partition_found(results):
    """In words, whether the order by error is that by defect, but for ties."""
    errors, defects = results["partition"], results["isotropy_defect"]
    best = min(errors, key=lambda arm: errors[arm]["mean"])
    least = min(defects, key=lambda arm: np.mean(defects[arm]))
    return f"Lowest error: {best}. Lowest isotropy defect: {least}"


def outside_found(results):
    """In words, which model is best under most conditions."""
    conditions = results["outside"].values()
    best = [min(of, key=lambda arm, of=of: of[arm]["mean"]) for of in conditions]
    most = max(best, key=best.count)
    return f"Best in {best.count(most)} of {len(best)} kinds of videos: the {most}"


def true_state_found(results):
    """In words, who is best before the first contact, and the place of the HNN after it."""
    before, after = (results["places"][f"{when} contact"] for when in ("before", "after"))
    best = min(before, key=lambda arm: before[arm]["mean"])
    worse = sum(of_arm["mean"] > after["HNN"]["mean"] for of_arm in after.values())
    place = f"{len(after) - worse} of {len(after)}"
    return f"Before the first contact the {best} is best; after it the HNN is number {place}"


def limits_found(results):
    """In words, which changes lower the error."""
    of_arms = results["limits"]
    helps = [arm for arm in of_arms if is_lower(difference(of_arms, arm, "HNN, width 256"))]
    helps = [arm.removeprefix("HNN, width 256, ") for arm in helps]
    return f"Lower the error: {', '.join(helps)}" if helps else "Nothing lowers the error"


def probe_found(results):
    """In words, what the committed encoder adds to PCA of the frames."""
    ours, pca = (results["probe_r2"][name]["velocity"] for name in ("committed weights", "PCA of frames"))
    return f"The encoder sees velocity (R² {ours:.2f}); PCA of the same frames does not ({pca:.2f})"


FIGURES = {  # name: (notebook, what draws it, what says what it found)
    "figure_7_ablation": ("04_ablations", plot_ablations, ablations_found),
    "figure_probe": ("06_pretrain_embedded_encoder", probe, probe_found),
    "figure_steps_trained": ("07_symplecticity", steps_trained, steps_found),
    "figure_controls": ("08_controls", controls, controls_found),
    "figure_true_energy": ("08_controls", true_energy, true_energy_found),
    "figure_partition": ("08_controls", partition, partition_found),
    "figure_outside": ("08_controls", outside, outside_found),
    "figure_true_state": ("09_true_state", true_state, true_state_found),
    "figure_limits": ("09_true_state", limits, limits_found),
}


def redraw(saved, folder):
    """Draw every figure whose numbers a `results.json` holds into `folder`; returns their names."""
    drawn = {name: row for name, row in FIGURES.items() if row[0] in saved["results"]}
    for name, (notebook, draw, found) in drawn.items():
        figure = draw(saved["results"][notebook])
        figure.suptitle(found(saved["results"][notebook]), x=0.01, ha="left", fontweight="bold")
        write_atomically(folder / f"{name}.png", lambda path, f=figure: f.savefig(path, format="png"))
        plt.close(figure)
    return list(drawn)
