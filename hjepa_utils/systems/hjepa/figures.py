"""Figures of notebooks 7 and 8, in the style of `plotting`. Every function returns the figure."""

from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from ...experiment.intervals import to_digits
from ...plotting import _DASHES, _PALETTE, ARM_COLOURS, COLOURS, FLOORS


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


BALL_COLOURS = ("#00a5b5", "#d62728")  # cyan and red, dark enough for a white page


def plot_pipeline(frames, latent_dim, n_clips):
    """Figure 1: from frames (n, H, W, 3) to H(q, p)."""
    figure, axes = plt.subplots(figsize=(11, 2.6), layout="none")
    axes.set(xlim=(0, 22), ylim=(0, 5), aspect="equal")
    axes.axis("off")
    for i, frame in enumerate(frames):
        left, bottom = 0.3 + 0.45 * i, 1.5 - 0.3 * i + 0.3 * (len(frames) - 1)
        axes.imshow(frame, extent=(left, left + 2, bottom, bottom + 2), zorder=10 + i)
        axes.add_patch(plt.Rectangle((left, bottom), 2, 2, fill=False, ec="white", lw=1, zorder=10 + i))
    half = latent_dim // 2
    stages = (
        (5.5, 3.4, "frozen V-JEPA 2\nmean over tokens", "0.85"),
        (10.3, 2.6, f"z ∈ ℝ$^{{{latent_dim}}}$\n{n_clips} per video", "0.93"),
        (14.3, 3.0, f"q ∈ ℝ$^{{{half}}}$\np ∈ ℝ$^{{{half}}}$", (*_PALETTE[0], 0.25)),
        (18.7, 3.0, "HNN\nH(q, p) ∈ ℝ", (*_PALETTE[2], 0.25)),
    )
    for left, width, text, colour in stages:
        axes.add_patch(FancyBboxPatch((left, 1.7), width, 1.9, boxstyle="round,pad=0.1", fc=colour, ec="0.3"))
        axes.text(left + width / 2, 2.65, text, ha="center", va="center", fontsize=10)
    for start, end, text in (
        (4.0, 5.3, "clips"),
        (9.05, 10.1, ""),
        (13.05, 14.1, "split"),
        (17.45, 18.5, ""),
    ):
        axes.add_patch(
            FancyArrowPatch((start, 2.65), (end, 2.65), arrowstyle="-|>", mutation_scale=14, color="0.2")
        )
        axes.text((start + end) / 2, 3.0, text, ha="center", fontsize=9)
    back = FancyArrowPatch(
        (20.2, 1.5),
        (15.8, 1.5),
        arrowstyle="-|>",
        mutation_scale=14,
        color="0.2",
        connectionstyle="arc3,rad=-0.3",
    )
    axes.add_patch(back)
    axes.text(18, 0.25, "leapfrog step: q̇ = ∂H/∂p,  ṗ = −∂H/∂q", ha="center", fontsize=10)
    return figure


def plot_trajectories(videos, *, size=256.0, radius=20.0):
    """Figure 2: paths of both balls, (n_videos, n_frames, 2, 4), in a grid of four columns."""
    figure, axes = plt.subplots(-(-len(videos) // 4), 4, figsize=(10, 5.3), sharex=True, sharey=True)
    for k, (panel, states) in enumerate(zip(axes.flat, videos, strict=True)):
        for ball, colour in enumerate(BALL_COLOURS):
            x, y = states[:, ball, 0], states[:, ball, 1]
            panel.plot(x, y, color=colour, lw=1.3)
            panel.plot(x[0], y[0], "o", color=colour, ms=5)
            panel.add_patch(Circle((x[-1], y[-1]), radius, color=colour, alpha=0.3, lw=0))
        panel.set(xlim=(0, size), ylim=(size, 0), aspect="equal", title=f"video {k}")
        panel.set(xticks=[0, 128, 256], yticks=[0, 128, 256])
    figure.supxlabel("x (px)")
    figure.supylabel("y (px), down as in the picture")
    return figure


def plot_energy(short, long, train_steps=15):
    """Figure 3: H along rollouts of (n + 1) states, within and beyond the training horizon."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6))
    for panel, energies in zip(axes, (short, long), strict=True):
        drift = np.abs(energies - energies[0]).max()
        panel.plot(energies, color=COLOURS["HNN"], marker=".", label="$H(z_t)$")
        panel.axhline(energies[0], color=COLOURS["Baseline MLP"], ls="--", label="$H(z_0)$")
        panel.set(
            xlabel="step t",
            ylabel="learned H (a.u.)",
            title=f"{len(energies) - 1} steps, largest drift {drift:.3f}",
        )
    axes[1].axvspan(0, train_steps, color="0.9", label="training horizon", zorder=0)
    for panel in axes:
        panel.legend()
    return figure


def plot_phase_portraits(true, predicted, pairs=(0, 1, 2, 3)):
    """Figure 6: conjugate pairs (q_i, p_i) of one true and one predicted trajectory, (T, D) each."""
    half = true.shape[-1] // 2
    figure, axes = plt.subplots(1, len(pairs), figsize=(3.1 * len(pairs), 3.5), squeeze=False)
    for panel, i in zip(axes.flat, pairs, strict=True):
        for z, style, colour, name in (
            (true, "-", "0.45", "true"),
            (predicted, "-", COLOURS["HNN"], "predicted"),
        ):
            q, p = z[:, i], z[:, half + i]
            panel.plot(q, p, style, color=colour, marker=".", ms=4, lw=1.4, label=name)
            panel.plot(q[-1], p[-1], "X", color=COLOURS["Baseline MLP"], ms=9, mec="white", label="end")
        panel.plot(
            true[0, i],
            true[0, half + i],
            "o",
            color=COLOURS["HNN (no energy loss)"],
            ms=8,
            mec="white",
            label="start",
        )
        panel.set(xlabel=f"$q_{{{i}}}$", ylabel=f"$p_{{{i}}}$", title=f"pair {i}")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def plot_ablation(mse, drift, floors):
    """Figure 7: {name: (n_windows)} for error and for drift in units of H's spread; bars ± 1 std.

    `floors`: {name: MSE}, drawn as lines over the errors.
    """
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8))
    titles = ("prediction error", "largest energy drift over 15 steps")
    labels = ("MSE per dimension", "max |ΔH| / std of H over the data")
    for panel, table, title, label in zip(axes, (mse, drift), titles, labels, strict=True):
        for k, (name, values) in enumerate(table.items()):
            error = values.std()
            panel.bar(k, values.mean(), yerr=error, color=COLOURS[name], capsize=4, width=0.65)
        panel.set_xticks(range(len(table)), [name.replace(" (", "\n(") for name in table], fontsize="small")
        panel.set(title=title, ylabel=label, ylim=(0, None))
        panel.grid(axis="x", visible=False)
    for name, value in floors.items():
        axes[0].axhline(value, ls=FLOORS[name], color=COLOURS[name], label=name)
    axes[0].set_ylim(
        0, 1.25 * max([*floors.values(), *(values.mean() + values.std() for values in mse.values())])
    )
    axes[0].legend(fontsize="small", ncols=2, loc="upper left")
    return figure


def plot_step_times(milliseconds, limit):
    """{batch size: `side_by_side`'s ms per step}: medians, 95 % intervals, ratios to the MLP.

    `limit` is the ratio that the arithmetic of leapfrog alone would give, drawn as a line.
    """
    n_rows = max(map(len, milliseconds.values()))
    figure, axes = plt.subplots(
        1, len(milliseconds), figsize=(9, 0.9 + 0.34 * n_rows), squeeze=False, sharey=True
    )
    for panel, (batch, times) in zip(axes.flat, milliseconds.items(), strict=True):
        colours = [COLOURS.get(name, "0.65") for name in times]
        medians = np.array([of["median"] for of in times.values()])
        low, high = np.array([of["interval"] for of in times.values()]).T
        panel.barh(list(times), medians, color=colours, height=0.65)
        ends = {"fmt": "none", "ecolor": "0.15", "elinewidth": 1, "capsize": 2}
        panel.errorbar(medians, list(times), xerr=(medians - low, high - medians), **ends)
        white = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
        for name, end, of in zip(times, high, times.values(), strict=True):
            ratio = of["ratio"]["median"] if "ratio" in of else 1.0  # the MLP
            label = f"{to_digits(of, 3).split(' [')[0]} ms, {ratio:.1f}×"
            at = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
            panel.annotate(label, (end, name), fontsize="small", bbox=white, **at)
        panel.axvline(limit * times["Baseline MLP"]["median"], color="0.2", ls="--", lw=1, zorder=0)
        panel.set(
            title=f"batch {batch}", xlabel="ms per step: median, 95 % interval", xlim=(0, 1.5 * high.max())
        )
        panel.grid(axis="y", visible=False)
    axes[0, 0].invert_yaxis()
    line = plt.Line2D(
        [], [], color="0.2", ls="--", lw=1, label=f"arithmetic of leapfrog, {limit:.1f}× the MLP"
    )
    figure.legend(handles=[line], loc="outside lower center", frameon=False)
    return figure


def plot_growth(milliseconds):
    """{quantity: {value: {name: ms per step}}}: log–log, with the slope between the last two points."""
    figure, axes = plt.subplots(1, len(milliseconds), figsize=(9, 3.4), sharey=True)
    labels = {"batch": "batch", "dim": "D, width of z", "horizon": "horizon, steps"}
    for panel, (quantity, rows) in zip(axes, milliseconds.items(), strict=True):
        values = np.array(list(rows))
        for name in next(iter(rows.values())):
            times = np.array([row[name] for row in rows.values()])
            slope = np.diff(np.log(times[-2:]))[0] / np.diff(np.log(values[-2:]))[0]
            label = f"{name}, last slope {slope:.1f}".replace("-0.0", "0.0")
            panel.loglog(values, times, marker="o", ms=4, color=COLOURS[name], label=label)
        panel.set_xticks(values, values)
        panel.minorticks_off()
        panel.set(xlabel=labels[quantity])
        panel.legend(fontsize="small")
    axes[0].set(ylabel="ms per step", ylim=(None, 6 * axes[0].get_ylim()[1]))  # room for the legends
    return figure
