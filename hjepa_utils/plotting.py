"""One style, and one function per figure of the paper. Every function returns the figure."""

from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.ticker import FormatStrFormatter

_PALETTE = sns.color_palette("colorblind")
COLOURS = {  # the paper's colours, in their colour-blind-safe shades
    "HNN": _PALETTE[0],
    "HNN (full)": _PALETTE[0],
    "HNN (leapfrog)": _PALETTE[0],
    "HNN (leapfrog, compiled)": _PALETTE[9],
    "HNN (leapfrog, autograd)": _PALETTE[4],
    "HNN (no energy loss)": _PALETTE[2],
    "HNN (Euler)": _PALETTE[1],
    "Baseline MLP": _PALETTE[3],
    "persistence": "0.35",
    "training mean": "0.6",
}
FLOORS = {"persistence": ":", "training mean": "--"}


def use_style():
    """Seaborn's white grid with colour-blind-safe colours, for all figures that follow."""
    sns.set_theme(context="notebook", style="whitegrid", palette="colorblind", font_scale=0.9)
    plt.rcParams.update({"figure.dpi": 72, "savefig.dpi": 150, "savefig.bbox": "tight"})
    plt.rcParams.update({"figure.constrained_layout.use": True, "axes.titlesize": "medium"})


def plot_error_over_time(errors):
    """Figure 4: {name: (n_windows, n_steps)}, mean ± 1 std over windows; the floors as lines."""
    figure, axes = plt.subplots(figsize=(7, 4.2))
    for name, values in errors.items():
        steps, mean, std = np.arange(1, values.shape[1] + 1), values.mean(0), values.std(0)
        axes.plot(steps, mean, FLOORS.get(name, "-"), color=COLOURS[name], label=name)
        if name not in FLOORS:
            axes.fill_between(steps, mean - std, mean + std, color=COLOURS[name], alpha=0.2, lw=0)
    axes.set(xlabel="step t (4 frames each)", ylabel="MSE per dimension", ylim=(0, None))
    axes.legend(title="mean ± 1 std over test windows", fontsize="small", title_fontsize="small")
    return figure


def plot_training(histories):
    """Figure 5: {name: history of `fit`}; losses, test error and, where learned, energy loss and dt."""
    with_dt = {name: history for name, history in histories.items() if "dt" in history[0]}
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6))
    for name, history in histories.items():
        epochs = [row["epoch"] for row in history]
        axes[0].plot(
            epochs, [row["prediction"] for row in history], color=COLOURS[name], label=f"{name}, train"
        )
        axes[0].plot(
            epochs, [row["test_mse"] for row in history], "--", color=COLOURS[name], label=f"{name}, test"
        )
    axes[0].set(ylabel="MSE per dimension", title="prediction error", yscale="log")
    for axis_formatter in (axes[0].yaxis.set_major_formatter, axes[0].yaxis.set_minor_formatter):
        axis_formatter(FormatStrFormatter("%g"))
    axes[0].legend(fontsize="small")
    for name, history in with_dt.items():
        epochs = [row["epoch"] for row in history]
        axes[1].plot(epochs, [row["energy"] for row in history], color=COLOURS[name], label=name)
        axes[2].plot(epochs, [row["dt"] for row in history], color=COLOURS[name], label=name)
    axes[1].set(ylabel="$L_{energy}$ (a.u.)", title="energy loss, before its weight λ", ylim=(0, None))
    axes[2].set(ylabel="dt (embeddings)", title="learned time step")
    for panel in axes:
        panel.set_xlabel("epoch")
    return figure


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
