"""Figures of the numbers that notebooks 6 to 9 save.

Each takes what a notebook saved, as `results.json` holds it, and returns a figure, so that a notebook
draws its own run's and `published_figures` the published ones.
"""

import matplotlib.pyplot as plt
import numpy as np

from ...experiment.intervals import Summary
from ...experiment.ledger import CONFIRMED, verdict
from ...plotting import colour

GREY = "0.6"


def steps_trained(results):
    """Notebook 7: each step's error less the paper's, paired, and the drift of its own H."""
    errors, drifts = results["arms"]["mse"], results["arms"]["drift"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.3), sharey=True)
    ours = Summary.from_dict(errors["HNN"]).mean
    _dots(left, {arm: difference(errors, arm) for arm in errors}, mark=(0, f"HNN: {ours:.2f}"))
    _dots(right, _summaries(drifts), log=True)
    left.set(title="error over 15 steps", xlabel="MSE per dimension, less the HNN's (paired)")
    right.set(title="drift of its own H over 15 steps", xlabel="largest |ΔH| / std of H over the data")
    return figure


def controls(results):
    """Notebook 8: the error of every model over a window and over the whole video."""
    titles = {"15 steps": "15 steps", "whole video": "the whole video, 33 steps"}
    figure, panels = plt.subplots(1, 2, figsize=(9.6, 3.4), sharey=True)
    order = sorted(results["controls"]["15 steps"], key=lambda arm: _mean(results, "15 steps", arm))
    order = [arm for arm in order if arm != "linear extrapolation"]  # fifty times worse
    for panel, (horizon, title) in zip(panels, titles.items(), strict=True):
        of_arms = _summaries(results["controls"][horizon])
        mark = of_arms["training mean"].mean, "training mean"
        _dots(panel, {arm: of_arms[arm] for arm in order}, mark=mark)
        panel.set(title=title, xlabel="MSE per dimension, lower is better")
    return figure


def true_energy(results):
    """Notebook 8: what probes read from rollouts, beside what they read from true latents."""
    labels = {
        "position": "position, RMS error (px)",
        "velocity": "velocity, RMS error (px/s)",
        "largest energy drift": "largest |ΔE| / std of E",
    }
    figure, panels = plt.subplots(1, 3, figsize=(9.6, 2.8), sharey=True)
    for panel, (quantity, label) in zip(panels, labels.items(), strict=True):
        _dots(panel, _summaries(results["true_energy"][quantity]))
        panel.set(xlabel=label, xlim=(0, None))
    return figure


def partition(results):
    """Notebook 8: the HNN's error against the isotropy defect of its choice of q and p."""
    figure, panel = plt.subplots(figsize=(7.2, 3.6))
    for arm, summary in _summaries(results["partition"]).items():
        defect, mean = np.mean(results["isotropy_defect"][arm]), summary.mean
        bars = [[mean - summary.interval[0]], [summary.interval[1] - mean]]
        panel.errorbar(defect, mean, bars, fmt="o", ms=7, color=colour("HNN"))
        name, below = ("halves of z (the paper)" if arm == "HNN" else arm), arm == "HNN"
        panel.annotate(
            name, (defect, mean), (-8, -12 if below else 6), textcoords="offset points", ha="right"
        )
    of_arms = results["controls"]["15 steps"]
    for arm, side in (("MLP", "top"), ("training mean", "bottom")):
        mean = of_arms[arm]["mean"]
        panel.axhline(mean, color=colour(arm), ls="--", lw=1)
        panel.text(1.6, mean, f" {arm}", color=colour(arm), va=side, ha="right", fontsize="small")
    panel.set(xscale="log", xlim=(5e-5, 1.7), xlabel="isotropy defect: how much Hamilton's equations bind")
    panel.set(ylabel="MSE per dimension, 15 steps")
    return figure


def outside(results):
    """Notebook 8: errors on new kinds of videos, less persistence's."""
    conditions = results["outside"]
    models = [arm for arm in next(iter(conditions.values())) if arm != "persistence"]
    less = [[difference(of, arm, "persistence") for of in conditions.values()] for arm in models]
    means = np.array([[summary.mean for summary in row] for row in less])
    figure, panel = plt.subplots(figsize=(9.6, 3.6))
    limit = np.abs(means).max()
    panel.imshow(means, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    for row, of_arm in enumerate(less):
        for column, summary in enumerate(of_arm):
            decided = not summary.interval[0] <= 0 <= summary.interval[1]
            shade = "white" if abs(summary.mean) > 0.6 * limit else "0.1" if decided else "0.5"
            value = f"{summary.mean:+.2f}".replace("-", "−")
            panel.text(column, row, value, ha="center", va="center", color=shade)
    panel.set_xticks(range(len(conditions)), [c.replace(" ", "\n", 1) for c in conditions])
    panel.set_yticks(range(len(models)), models)
    panel.grid(visible=False)
    panel.set_title("MSE over 15 steps less persistence's: blue is better, grey figures are not decided")
    return figure


def true_state(results):
    """Notebook 9: errors on the true state by where on the table a step lies."""
    figure, panels = plt.subplots(2, 2, figsize=(9.6, 4.6), sharey=True)
    for panel, (place, of_arms) in zip(panels.flat, results["places"].items(), strict=True):
        _dots(panel, _summaries(of_arms))
        panel.set(title=f"{place} ({results['shares'][place]:.0%} of steps)", xlim=(0, None))
    for panel in panels[1]:
        panel.set_xlabel("MSE per dimension, lower is better")
    return figure


def limits(results):
    """Notebook 9: what each change of the network does to its error on the true state."""
    of_arms = results["limits"]
    figure, panel = plt.subplots(figsize=(8.4, 3.4))
    short = {arm: arm.removeprefix("HNN, width 256, ") for arm in of_arms} | {"HNN": "HNN, width 512"}
    less = {short[arm]: difference(of_arms, arm, "HNN, width 256") for arm in of_arms}
    colours = {arm: colour("HNN") if is_lower(summary) else GREY for arm, summary in less.items()}
    mean = of_arms["HNN, width 256"]["mean"]
    _dots(panel, less, mark=(0, f"width 256: {mean:.2f}"), colours=colours)
    panel.set_xlabel("MSE per dimension, less the HNN's of width 256 (paired)")
    return figure


def probe(results):
    """Notebook 6: what linear probes read from z, beside controls."""
    looks = {"committed weights": (colour("HNN"), "o"), "PCA of frames": ("0.2", "|")}
    looks["random weights"] = (GREY, "D")
    quantities = ["position", "velocity", "velocity, no bounce", "energy, straight from z"]
    quantities.append("energy, straight from z, no bounce")
    figure, panel = plt.subplots(figsize=(9, 2.9))
    for encoder, (shade, marker) in looks.items():
        scores = results["probe_r2"][encoder]
        shown = [(row, scores[name]) for row, name in enumerate(quantities) if scores.get(name) is not None]
        rows, values = zip(*shown, strict=True)
        panel.plot(values, rows, marker, color=shade, ms=9, mew=2, label=encoder, clip_on=False)
    panel.axvline(0, color=GREY, lw=1, ls=":")
    panel.set(
        xlim=(None, 1),
        ylim=(-0.6, len(quantities) - 0.4),
        yticks=range(len(quantities)),
        yticklabels=quantities,
    )
    panel.set_xlabel("R² on other videos: 1 reads it exactly, 0 knows nothing")
    panel.invert_yaxis()
    panel.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
    return figure


def _mean(results, horizon, arm):
    return results["controls"][horizon][arm]["mean"]


def _summaries(of_arms):
    return {arm: Summary.from_dict(saved) for arm, saved in of_arms.items()}


def difference(of_arms, arm, reference="HNN"):
    """The paired difference from the reference, 0 for the reference itself."""
    if arm == reference:
        return Summary(0.0, (0.0, 0.0), of_arms[arm]["n_groups"])
    return Summary.from_dict(of_arms[arm]["difference"])


def is_lower(summary):
    """Whether the whole interval of a difference lies below 0."""
    return verdict(summary, below=0) == CONFIRMED


def _dots(panel, summaries, *, log=False, mark=None, colours=None):
    """A row for each model: its mean, and its 95 % interval over videos where there are enough."""
    for row, (name, summary) in enumerate(summaries.items()):
        shade = colours[name] if colours else colour(name)
        panel.plot(summary.interval, [row, row], color=shade, lw=2.5, solid_capstyle="round")
        panel.plot(summary.mean, row, "o", color=shade, ms=7)
    if mark:
        panel.axvline(mark[0], color=GREY, lw=1, ls=":", zorder=0)
        panel.annotate(
            mark[1],
            (mark[0], 1),
            (3, -3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            va="top",
            fontsize="small",
            color="0.35",
        )
    panel.set(
        yticks=range(len(summaries)),
        yticklabels=list(summaries),
        ylim=(len(summaries) - 0.4, -1.2 if mark else -0.6),
    )
    panel.grid(axis="y", visible=False)
    if log:
        panel.set_xscale("log")
    else:
        panel.locator_params(axis="x", nbins=6)
