"""Figures of notebooks 7 and 8, in the style of `plotting`. Every function returns the figure."""

from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from .plotting import COLOURS

_PALETTE = sns.color_palette("colorblind")
_DASHES = ("-", "--", "-.", ":")
ARM_COLOURS = COLOURS | {
    "residual MLP": _PALETTE[4],
    "GRU": _PALETTE[2],
    "neural ODE": _PALETTE[9],
    "linear map": _PALETTE[5],
    "linear extrapolation": _PALETTE[8],
    "true latents": "0.1",
    "leapfrog": _PALETTE[0],
    "leapfrog, separable H": _PALETTE[9],
    "implicit midpoint": _PALETTE[2],
    "Störmer–Verlet": _PALETTE[4],
    "Tao": _PALETTE[5],
    "Euler": _PALETTE[1],
    "RK4": _PALETTE[6],
}


def plot_energy_error(curves, horizon=None):
    """{step: largest |ΔH| so far, in units of H's spread, (n + 1)} against the number of steps, log–log."""
    figure, axes = plt.subplots(figsize=(7.5, 4.2))
    for (name, values), dash in zip(curves.items(), cycle(_DASHES), strict=False):
        values = np.minimum(values, 1e6)  # forward Euler has no end
        t = np.unique(np.geomspace(1, len(values) - 1, 200).astype(int))
        axes.loglog(t, values[t], color=ARM_COLOURS[name], ls=dash, lw=1.8, label=name)
    if horizon:
        axes.axvspan(1, horizon, color="0.9", zorder=0, label="training horizon")
    axes.axhline(1, color="0.35", lw=1)
    axes.set_ylim(None, min(axes.get_ylim()[1], 1e4))
    axes.set(xlabel="steps", ylabel="largest |ΔH| so far / std of H")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def plot_arms(compared, labels):
    """Means with 95 % intervals, {quantity: {arm: summary}}; a panel for each of {quantity: axis label}."""
    names = list(next(iter(compared.values())))
    rows, size = np.arange(len(names)), (4.6 * len(labels), 0.9 + 0.36 * len(names))
    figure, axes = plt.subplots(1, len(labels), figsize=size, sharey=True, squeeze=False)
    for panel, (key, label) in zip(axes.flat, labels.items(), strict=True):
        means = np.array([score["mean"] for score in compared[key].values()])
        low, high = np.array([score["interval"] for score in compared[key].values()]).T
        for row, name in enumerate(names):
            panel.plot([low[row], high[row]], [row, row], color=ARM_COLOURS[name], lw=2.5)
            panel.plot(means[row], row, "o", color=ARM_COLOURS[name], ms=7)
        panel.axvline(means[0], color="0.6", lw=1, ls=":", zorder=0)
        panel.set(xlabel=label, yticks=rows, yticklabels=names)
        panel.grid(axis="y", visible=False)
        panel.locator_params(axis="x", nbins=5)
        panel.ticklabel_format(axis="x", scilimits=(-3, 3))
    axes[0, 0].invert_yaxis()
    figure.supxlabel("mean and 95 % interval over test videos", fontsize="small")
    return figure


def plot_horizons(short, long, overlap=4):
    """{arm: errors (n_models, n_windows, n_steps)} over a window and over the whole video; means.

    Before step `overlap` a clip shares frames with the given one.
    """
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), sharey=True)
    top = 1.6 * max(e[..., -1].mean() for name, e in short.items() if "extrapolation" not in name)
    for panel, errors_of, title in zip(axes, (short, long), ("15 steps", "the whole video"), strict=True):
        for (name, errors), dash in zip(errors_of.items(), cycle(_DASHES), strict=False):
            steps, width = np.arange(1, errors.shape[2] + 1), 2.6 if name == "HNN" else 1.6
            panel.plot(
                steps, errors.mean(axis=(0, 1)), color=ARM_COLOURS[name], ls=dash, lw=width, label=name
            )
        panel.axvspan(0, overlap, color="0.9", zorder=0, label="frames shared with z₀")
        panel.set(xlabel="step t (4 frames each)", title=title, xlim=(0, None), ylim=(0, top))
    axes[0].set(ylabel="MSE per dimension")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure


def plot_readings(readings):
    """What probes read from rollouts, {arm: {quantity: (n_models, n_windows, T)}}: means against time."""
    labels = {
        "position": "position, RMS error (px)",
        "velocity": "velocity, RMS error (px/s)",
        "energy drift": "|E(t) − E(0)| / std of E over the data",
    }
    figure, axes = plt.subplots(1, 3, figsize=(12.5, 3.8))
    for panel, (quantity, label) in zip(axes, labels.items(), strict=True):
        for (name, values), dash in zip(readings.items(), cycle(_DASHES), strict=False):
            panel.plot(values[quantity].mean(axis=(0, 1)), color=ARM_COLOURS[name], ls=dash, label=name)
        panel.set(xlabel="step t (4 frames each)", title=label, ylim=(0, None), xticks=range(0, 16, 5))
    axes[2].legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def plot_places(places, shares, errors, touched):
    """Left: errors by where on the table a step lies, {place: {arm: summary}}, with 95 % intervals.

    `shares`: {place: the share of all steps that lie there}. Right: errors (n_models, n_windows,
    n_steps) against the step, for windows `touched` (n_windows, n_steps) or not by a contact so far.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(12.5, 4), width_ratios=(3, 2), sharey=True)
    for k, (arm, marker) in enumerate(zip(errors, cycle("osD^v"), strict=False)):
        x = np.arange(len(places)) + 0.14 * (k - (len(errors) - 1) / 2)
        means = np.array([of_place[arm]["mean"] for of_place in places.values()])
        low, high = np.array([of_place[arm]["interval"] for of_place in places.values()]).T
        bars = [means - low, high - means]
        left.errorbar(x, means, bars, fmt=marker, color=ARM_COLOURS[arm], capsize=3, label=arm)
    left.set_xticks(range(len(places)), [f"{place}\n{shares[place]:.0%} of steps" for place in places])
    left.axvline(1.5, color="0.6", lw=1, ls=":")
    left.set(ylabel="MSE per dimension", ylim=(0, None))
    left.grid(axis="x", visible=False)
    for arm in errors:
        for mask, dash in ((~touched, "--"), (touched, "-")):
            enough = np.flatnonzero(mask.sum(axis=0) >= 10)
            means = [errors[arm].mean(axis=0)[mask[:, t], t].mean() for t in enough]
            right.plot(enough + 1, means, dash, color=ARM_COLOURS[arm])
    right.set(xlabel="step t (4 frames each)", title="dashed: before any contact, solid: after")
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure
