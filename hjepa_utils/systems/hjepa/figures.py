"""The paper's figures 1 and 2, for notebooks 1 and 2. Every function returns the figure."""

import matplotlib.pyplot as plt
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

from ...plotting import PALETTE

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
