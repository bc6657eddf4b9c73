"""The paper's figures 1, 2 and 7, for notebooks 1, 2 and 4."""

import matplotlib.pyplot as plt
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from ...plotting import PALETTE, colour, style

BALL_COLOURS = ("#00a5b5", "#d62728")  # cyan and red, dark enough for a white page


def plot_pipeline(frames, latent_dim, n_clips):
    """Figure 1: from frames (n, H, W, 3) to H(q, p)."""
    figure, axes = plt.subplots(figsize=(11, 2.6), layout="none")
    axes.set(xlim=(0, 22), ylim=(0, 5), aspect="equal")
    axes.axis("off")
    for i, frame in enumerate(frames):
        left, bottom = 0.3 + 0.45 * i, 1.5 - 0.3 * i + 0.3 * (len(frames) - 1)
        axes.imshow(frame, extent=(left, left + 2, bottom, bottom + 2), zorder=10 + i)
        axes.add_patch(Rectangle((left, bottom), 2, 2, fill=False, ec="white", lw=1, zorder=10 + i))
    half = latent_dim // 2
    stages = (
        (5.5, 3.4, "frozen V-JEPA 2\nmean over tokens", "0.85"),
        (10.3, 2.6, f"z ∈ ℝ$^{{{latent_dim}}}$\n{n_clips} per video", "0.93"),
        (14.3, 3.0, f"q ∈ ℝ$^{{{half}}}$\np ∈ ℝ$^{{{half}}}$", (*PALETTE[0], 0.25)),
        (18.7, 3.0, "HNN\nH(q, p) ∈ ℝ", (*PALETTE[2], 0.25)),
    )
    for left, width, text, shade in stages:
        axes.add_patch(FancyBboxPatch((left, 1.7), width, 1.9, boxstyle="round,pad=0.1", fc=shade, ec="0.3"))
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
    step = "one step, $z_t → z_{t+1}$:  q̇ = ∂H/∂p,  ṗ = −∂H/∂q"
    axes.text(17.2, 0.25, step, ha="center", fontsize=10)
    return figure


def plot_trajectories(videos, contacts, *, size=256.0, radius=20.0):
    """Figure 2: paths of both balls, (n_videos, n_frames, 2, 4), in a grid of four columns.

    `contacts` (n_videos, n_frames - 1) are the ball–ball contacts between neighbouring frames; a cross
    marks each.
    """
    figure, axes = plt.subplots(-(-len(videos) // 4), 4, figsize=(10, 5.5), sharex=True, sharey=True)
    for k, (panel, states, met) in enumerate(zip(axes.flat, videos, contacts, strict=True)):
        for ball, name in enumerate(BALL_COLOURS):
            x, y = states[:, ball, 0], states[:, ball, 1]
            panel.plot(x, y, color=name, lw=1.3)
            panel.plot(x[0], y[0], "o", color=name, ms=5)
            panel.add_patch(Circle((x[-1], y[-1]), radius, color=name, alpha=0.3, lw=0))
        at = states[:-1, :, :2][met > 0].mean(axis=1)  # half-way between the centres
        panel.plot(at[:, 0], at[:, 1], "x", color="0.1", ms=8, mew=1.8)
        panel.set(xlim=(0, size), ylim=(size, 0), aspect="equal", title=f"video {k}: {_times(met.sum())}")
        panel.set(xticks=[0, size / 2, size], yticks=[0, size / 2, size])
    figure.supxlabel("x (px)")
    figure.supylabel("y (px), down as in the picture")
    return figure


def _times(n):
    return {0: "no contact", 1: "1 contact"}.get(int(n), f"{int(n)} contacts")


def plot_ablations(results):
    """Figure 7: error and drift of every arm, out of what notebook 4 saves in `results.json`.

    A dot is the mean, a thick bar its 95 % interval over videos, a thin one ± 1 std over windows.
    """
    arms, floors = results["arms"], results["floors"]
    figure, axes = plt.subplots(1, 2, figsize=(10, 0.5 * len(arms) + 1.6), sharey=True)
    for panel, key in zip(axes, ("mse", "drift_over_spread"), strict=True):
        for row, (arm, of_arm) in enumerate(arms.items()):
            mean, std = of_arm[key]["mean"], of_arm[key]["std"]
            low = max(mean - std, 0 if key == "mse" else 0.2 * mean)
            panel.plot([low, mean + std], [row, row], color=colour(arm), lw=1)
            panel.plot(of_arm[key]["interval"], [row, row], color=colour(arm), lw=4, alpha=0.6)
            panel.plot(mean, row, "o", color=colour(arm), ms=7)
        panel.grid(axis="y", visible=False)
    error, drift = axes
    error.set(yticks=range(len(arms)), yticklabels=list(arms), ylim=(len(arms) - 0.5, -0.9))
    for name, mse in floors.items():
        error.axvline(mse, **style(name), lw=1.2, zorder=0)
        label = error.text(mse, -0.6, name, ha="center", va="center", fontsize="small", color="0.3", zorder=2)
        label.set_bbox({"fc": "white", "ec": "none", "pad": 2})
    tops = [of_arm["mse"]["mean"] + of_arm["mse"]["std"] for of_arm in arms.values()]
    error.set(xlabel="MSE per dimension over 15 steps", xlim=(0, 1.1 * max(*tops, *floors.values())))
    drift.set(xlabel="max |ΔH| in 15 steps / std of H over the data", xscale="log")
    drift.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    drift.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    drift.xaxis.set_minor_formatter(NullFormatter())
    return figure


def ablations_found(results):
    """In words, which arm of figure 7 errs least and which keeps its H best."""
    least = {
        key: min(results["arms"], key=lambda arm, key=key: results["arms"][arm][key]["mean"])
        for key in ("mse", "drift_over_spread")
    }
    return f"Lowest error: {least['mse']}. Lowest drift of H: {least['drift_over_spread']}"
