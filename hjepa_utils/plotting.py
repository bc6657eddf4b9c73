"""One style: a colour and a dash per model everywhere, and the figures that several systems share."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from PIL import Image, ImageDraw, ImageFont
from scipy.optimize import isotonic_regression

PALETTE = sns.color_palette("colorblind")
STYLE = {  # model: (colour, dash)
    "HNN": (PALETTE[0], "-"),
    "HNN, no energy loss": (PALETTE[2], "-"),
    "HNN, Euler": (PALETTE[1], "--"),
    "HNN, RK4": (PALETTE[6], "-."),
    "HNN, implicit midpoint": (PALETTE[2], "-."),
    "HNN, Störmer–Verlet": (PALETTE[4], ":"),
    "HNN, Tao": (PALETTE[5], "-"),
    "HNN, autograd": (PALETTE[4], "-"),
    "HNN, compiled": (PALETTE[6], "-"),
    "separable HNN": (PALETTE[9], "--"),
    "MLP": (PALETTE[3], "--"),
    "residual MLP": (PALETTE[4], "-."),
    "GRU": (PALETTE[2], ":"),
    "neural ODE": (PALETTE[9], "-"),
    "HNN, Fourier features": (PALETTE[9], "-."),
    "lifted HNN": ("#5b3f95", "--"),
    "lifted ODE": ("#5b3f95", ":"),
    "entity HNN": (PALETTE[0], "--"),
    "interaction network": (PALETTE[8], "-."),
    "gap networks": (PALETTE[6], "--"),
    "contact": (PALETTE[1], "-"),
    "contact, as it ships": (PALETTE[1], ":"),
    "contact, mean of searches": ("#8c4500", "--"),
    "contact, labels": ("#e0a030", "-."),
    "contact, labels, mean": ("#e0a030", ":"),
    "contact, one pass": ("#c44e00", ":"),
    "contact, first guess": ("#b08a5a", ":"),
    "residual MLP between": ("#7a3b69", ":"),
    "readout alone": ("0.1", "-."),
    "readout alone, labels": ("0.1", ":"),
    "perturbed truth": ("0.1", "--"),
    "Hamiltonian, as it ships": (PALETTE[0], ":"),
    "free force": (PALETTE[8], "--"),
    "Hamiltonian, springs": (PALETTE[1], "-."),
    "Hamiltonian, smooth V and U": ("#5b3f95", "-."),
    "free flight": ("#8a7d00", "-."),
    "H-JEPA": (PALETTE[0], (0, (5, 1))),
    "H-JEPA, short": (PALETTE[9], (0, (5, 1))),
    "plain statistics": (PALETTE[3], (0, (5, 1))),
    "no variance term": (PALETTE[4], (0, (5, 1))),
    "no inverse dynamics": (PALETTE[5], (0, (5, 1))),
    "random weights": ("0.5", (0, (5, 1))),
    "deep": (PALETTE[0], (0, (3, 1, 1, 1))),
    "shallow, rolled": (PALETTE[2], (0, (3, 1, 1, 1))),
    "flat, closed loop": (PALETTE[2], (0, (1, 1))),
    "two levels": (PALETTE[1], (0, (5, 1))),
    "straight lines": ("#8a7d00", "--"),
    "straight lines, forces known": ("#8a7d00", (0, (1, 1))),
    "supervised": ("0.1", (0, (1, 1))),
    "true world": ("0.1", (0, (5, 1))),
    "random": ("0.5", ":"),
    "linear map": (PALETTE[5], "--"),
    "linear extrapolation": ("#8a7d00", ":"),
    "training mean": ("0.6", "--"),
    "persistence": ("0.35", ":"),
    "true latents": ("0.1", "-"),
    "HGAN": (PALETTE[0], "-."),
    "HNN-GAN": (PALETTE[4], (0, (1, 1))),
    "HGAN, angle": (PALETTE[1], (0, (3, 1, 1, 1))),
    "MoCoGAN": (PALETTE[3], "-"),
    "HGN": (PALETTE[2], "--"),
    "real videos": ("0.25", "-"),
}
LIKE = {  # what plays the same part in another system, and never stands beside it: one look for both
    "Hamiltonian": "HNN",
    "true law from there": "perturbed truth",
    "law known": "readout alone",  # the most that knowing the truth allows
}
STYLE |= {model: STYLE[other] for model, other in LIKE.items()}


def style(model):
    """Matplotlib's colour and line style of a model, grey for one that has none of its own."""
    colour, dash = STYLE.get(model, ("0.65", "-"))
    return {"color": colour, "ls": dash}


def colour(model):
    """A model's colour alone, for bars, markers and fills."""
    return style(model)["color"]


def use_style():
    """Seaborn's white grid with colour-blind-safe colours, for all figures that follow."""
    sns.set_theme(context="notebook", style="whitegrid", palette="colorblind", font_scale=0.9)
    plt.rcParams.update({"figure.dpi": 72, "savefig.dpi": 150, "savefig.bbox": "tight"})
    plt.rcParams.update({"figure.constrained_layout.use": True, "axes.titlesize": "medium"})


def label_ends(axes, gap=0.06):
    """Write each line's label beside its last point, in its colour; this replaces a legend.

    Set the limits first. Labels that would touch are moved apart by `gap`, a share of the axes' height;
    ↑ marks a line that ends above the frame.
    """
    lines = [line for line in axes.lines if not line.get_label().startswith("_")]
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = np.array([to_axes.transform((0, float(line.get_ydata()[-1])))[1] for line in lines])
    order, apart = np.argsort(ends, kind="stable"), gap * np.arange(len(lines))
    places = isotonic_regression(ends.clip(0, 1)[order] - apart).x + apart  # as near to the ends as can be
    for k, place in zip(order, places, strict=True):
        text = lines[k].get_label() + (" ↑" if ends[k] > 1 else "")
        where = {"transform": axes.transAxes, "va": "center", "fontsize": "small"}
        axes.text(1.015, place, text, color=lines[k].get_color(), **where)


def plot_training(histories, training_mean=None):
    """{model: history of `fit`}: losses, test error and, where learned, energy loss and dt.

    `training_mean` is what predicting the mean costs on the training windows.
    """
    panels = {"figsize": (12.5, 3.8), "width_ratios": (1.7, 1, 1)}
    figure, (error, energy, dt) = plt.subplots(1, 3, **panels)

    def draw(panel, history, quantity, model, label, **line):
        values = [row[quantity] for row in history]
        panel.plot([row["epoch"] for row in history], values, color=colour(model), label=label, **line)

    for model, history in histories.items():
        draw(error, history, "prediction", model, f"{model}, train")
        draw(error, history, "test_mse", model, f"{model}, test", ls="--")
        if "dt" in history[0]:
            draw(energy, history, "energy", model, model)
            draw(dt, history, "dt", model, model)
    last = {model: history[-1] for model, history in histories.items()}
    found = ", ".join(
        f"{model} {row['prediction']:.2f} → {row['test_mse']:.2f}" for model, row in last.items()
    )
    error.set(ylabel="MSE per dimension", title=f"training → test: {found}")
    if training_mean is not None:
        error.axhline(training_mean, **style("training mean"), lw=1, label="training mean")
    error.set_ylim(0, None)
    label_ends(error, gap=0.075)
    energy.set(ylabel="$L_{energy}$ (units of the learned H)", title="energy loss, before its weight λ")
    energy.set_ylim(0, None)
    dt.set(ylabel="dt (embeddings)", title="learned time step")
    for panel in (error, energy, dt):
        panel.set_xlabel("epoch")
    return figure


def plot_arms(compared, labels):
    """{quantity: `Comparison`}: means with 95 % intervals, a panel for each of {quantity: axis label}."""
    names = list(next(iter(compared.values())).summaries)
    rows, size = np.arange(len(names)), (4.6 * len(labels), 0.9 + 0.36 * len(names))
    figure, axes = plt.subplots(1, len(labels), figsize=size, sharey=True, squeeze=False)
    for panel, (quantity, label) in zip(axes.flat, labels.items(), strict=True):
        comparison = compared[quantity]
        for row, name in enumerate(names):
            summary = comparison.summaries[name]
            panel.plot(summary.interval, [row, row], color=colour(name), lw=2.5)
            panel.plot(summary.mean, row, "o", color=colour(name), ms=7)
        reference = comparison.summaries[comparison.reference].mean
        panel.axvline(reference, color="0.6", lw=1, ls=":", zorder=0)
        panel.set(xlabel=label, yticks=rows, yticklabels=names)
        panel.grid(axis="y", visible=False)
        panel.locator_params(axis="x", nbins=5)
        panel.ticklabel_format(axis="x", scilimits=(-3, 3))
    axes[0, 0].invert_yaxis()
    figure.supxlabel("mean and 95 % interval over test videos", fontsize="small")
    return figure


def plot_horizons(short, long, overlap=4):
    """{arm: errors (n_models, n_windows, n_steps)} over a window and over the whole video; means.

    Before step `overlap` a clip shares frames with the given one. Lines are named at their ends.
    """
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), sharey=True)
    top = 1.6 * max(e[..., -1].mean() for name, e in short.items() if "extrapolation" not in name)
    for panel, errors_of, title in zip(axes, (short, long), ("15 steps", "the whole video"), strict=True):
        for name, errors in errors_of.items():
            steps, width = np.arange(1, errors.shape[2] + 1), 2.6 if name == "HNN" else 1.6
            panel.plot(steps, errors.mean(axis=(0, 1)), **style(name), lw=width, label=name)
        panel.axvspan(0, overlap - 0.5, color="0.92", zorder=0)
        panel.text(
            0.1, 0.98 * top, "shares frames with z₀", rotation=90, va="top", fontsize="small", color="0.4"
        )
        panel.set(xlabel="step t (4 frames each)", title=title, xlim=(0, None), ylim=(0, top))
        label_ends(panel)
    axes[0].set(ylabel="MSE per dimension")
    return figure


def frames_of(figure, draw, n):
    """A figure's pictures while `draw(t)` changes it, t = 0 … n - 1, for `save_gif`: uint8 (n, H, W, 3)."""
    frames = []
    for t in range(n):
        draw(t)
        figure.canvas.draw()
        figure.set_layout_engine("none")  # the first picture's holds for all, and need not be found again
        frames.append(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())
    return np.stack(frames)


def film_strip(rows, gap=4):
    """{title: uint8 frames (n, H, W, 3)} as one picture: time to the right, a row below its title."""
    shapes = {frames.shape for frames in rows.values()}
    if len(shapes) != 1:
        raise ValueError(f"rows need one size and number of frames, got {sorted(shapes)}")
    (n, height, width, _) = shapes.pop()
    head = 16 if any(rows) else 0
    picture = Image.new("RGB", (n * (width + gap) - gap, len(rows) * (head + height + gap) - gap), "white")
    for row, (title, frames) in enumerate(rows.items()):
        top = row * (head + height + gap)
        ImageDraw.Draw(picture).text((2, top), title, fill="black", font=ImageFont.load_default(size=12))
        for t, frame in enumerate(frames):
            picture.paste(Image.fromarray(frame), (t * (width + gap), top + head))
    return picture


def save_gif(path, panels, *, fps=7.5, pause=1.0, colours=32):
    """A looping picture of {title: uint8 frames (n, H, W, 3)} side by side, which GitHub plays.

    `pause` (s) holds the last frame. All panels have one size and number of frames, else `ValueError`.
    """
    videos = list(panels.values())
    if len({video.shape for video in videos}) != 1:
        shapes = ", ".join(f"{title} {video.shape}" for title, video in panels.items())
        raise ValueError(f"panels need one size and number of frames, got {shapes}")
    n, height, width, _ = videos[0].shape
    gap, head = max(2, width // 32), max(14, min(width, height) // 8)
    page = (len(videos) * (width + gap) - gap, height + head)
    font, frames = ImageFont.load_default(size=head * 0.7), []
    for t in range(n):
        picture = Image.new("RGB", page, "white")
        for k, (title, video) in enumerate(panels.items()):
            left = k * (width + gap)
            picture.paste(Image.fromarray(video[t]), (left, head))
            middle = (left + width / 2, head / 2)
            ImageDraw.Draw(picture).text(middle, title, fill="black", font=font, anchor="mm")
        frames.append(picture)
    palette = _palette(frames[:: max(1, n // 8)], colours)
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    milliseconds = [round(1000 / fps)] * (n - 1) + [round(1000 * pause)]
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=milliseconds, loop=0, optimize=True
    )


def _palette(frames, colours):
    """A quarter of the colours are the most frequent ones, so that backgrounds stay as they are."""
    pixels = np.concatenate([np.asarray(frame) for frame in frames])
    n_frequent = colours // 4
    codes, counts = np.unique(pixels @ np.array([65536, 256, 1]), return_counts=True)
    frequent = codes[np.argsort(-counts, kind="stable")[:n_frequent], None] // [65536, 256, 1] % 256
    spread = Image.fromarray(pixels).quantize(  # a median cut loses small, bright areas
        colours - n_frequent, Image.Quantize.MAXCOVERAGE
    )
    palette = Image.new("P", (1, 1))
    palette.putpalette(frequent.astype(np.uint8).tobytes() + bytes(spread.getpalette() or ()))
    return palette
