"""The explorer: one page without a server, in which rollouts play beside the true video.

`explorer_data` computes what is shown, `page` puts it into one HTML text that asks for nothing else,
`in_notebook` shows that as a cell's output. What moves is drawn by `assets/explorer/*.js`.
"""

import base64
import html
import io
import json
import math

import numpy as np
import torch
from matplotlib.colors import to_hex
from PIL import Image

from ... import plotting
from ...experiment.shipped import ASSETS
from ...latents.pictures import resize_frames
from ...latents.video import stream_video
from ...latents.windows import Clips
from ...simulators.billiards import COLOURS
from .controls import principal_directions

TRUTH = "true latents"
MAX_BYTES = 3_000_000
_DASHES = {"-": [], "--": [7, 4], "-.": [7, 3, 2, 3], ":": [2, 3]}  # of Matplotlib, in px
_PARTS = ("page.html", "style.css", "panels.js", "explorer.js")
_COLUMNS = 12  # of a sheet of frames
_CLOUD = 600  # points of the training data behind an orbit


def planes(z):
    """The planes in which orbits are drawn, by what standardised training latents z (n, D) look like.

    The first four principal components, two at a time, and the first four pairs (q_i, p_i):
    {name: (basis (D, 2), labels of both axes)}.
    """
    directions, half = principal_directions(z), z.shape[-1] // 2
    share = (z @ directions).square().mean(dim=0) / z.square().sum(dim=-1).mean()
    named = {}
    for k in range(0, min(4, z.shape[-1]), 2):
        labels = [f"component {c + 1} ({share[c]:.0%} of the variance)" for c in (k, k + 1)]
        named[f"principal components {k + 1} and {k + 2}"] = (directions[:, k : k + 2], labels)
    for i in range(min(4, half)):
        basis = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)[:, [i, half + i]]
        named[f"pair q, p number {i}"] = (basis, [f"q, number {i}", f"p, number {i}"])
    return named


def film(path, n_steps, *, clips=None, per_step=4, size=192):
    """The frames of a video file that the page plays: {"n_frames", "per_step", "size", "sheet", "thumbnail"}.

    `per_step` frames an embedding, from the middle of the first clip to that of clip `n_steps`, both of
    `Clips()` unless `clips` are given, as `size` × `size` pixels of WebP. Raises `ValueError` for a
    stride that is no multiple of `per_step`, for a video that ends before, and what `read_video` raises.
    """
    clips = clips or Clips()
    if clips.stride % per_step:
        raise ValueError(f"a stride of {clips.stride} frames cannot be shown in {per_step} parts")
    first, between = clips.frames // 2, clips.stride // per_step
    last, frames, read = first + n_steps * clips.stride, [], 0
    for piece in stream_video(path):
        wanted = torch.arange(read, read + len(piece))
        wanted = (wanted >= first) & (wanted <= last) & ((wanted - first) % between == 0)
        frames.append(resize_frames(piece[wanted], size, label="").permute(0, 2, 3, 1).numpy())
        read += len(piece)
        if read > last:
            break
    frames = np.concatenate(frames)
    if read <= last:
        raise ValueError(f"{path.name} has {read} frames, and {n_steps} steps need {last + 1}")
    small = np.asarray(Image.fromarray(frames[0]).resize((96, 96)))
    about = {"n_frames": len(frames), "per_step": per_step, "size": size}
    return about | {"sheet": _webp(_sheet(frames)), "thumbnail": _webp(small)}


@torch.no_grad()
def explorer_data(videos, films, models, train, *, energy, probe=None, states=None, fps=30, start=0):
    """What the page shows, as a dict for JSON.

    `videos`: {name: standardised latents (n_clips, D)} of test videos; every model of {name: predictor}
    gets clip `start` and predicts the others. `films` are `film` of each. `train` (n, D) says what the
    planes and the spread of `energy`, the learned H(z), are. With a `StateProbe` and the true `states`
    in the clips' middles, (n_clips, 2, 4) each, the balls that every path shows are drawn on the frames.
    Raises `ValueError` where less than two clips or frames are left.
    """
    drawn_in, shown = planes(train), []
    bases = [basis for basis, _ in drawn_in.values()]
    for k, (name, clips) in enumerate(videos.items()):
        z, last = clips[start:], (films[k]["n_frames"] - 1) // films[k]["per_step"]
        if len(z) < 2 or last < len(clips) - 1:
            raise ValueError(f"{name}: {len(clips)} clips and frames up to {last}; start={start} is too late")
        paths = {TRUTH: z} | {arm: model.rollout(z[0], len(z) - 1) for arm, model in models.items()}
        about = {"name": name, "n_steps": len(z) - 1, "balls": probe is not None}
        about |= {part: films[k][part] for part in ("sheet", "thumbnail")}
        of_balls = (None, None) if probe is None or states is None else (probe, states[k][start:])
        shown.append(
            about | {"paths": {arm: _path(p, z, bases, energy, *of_balls) for arm, p in paths.items()}}
        )
    every_h = [h for video in shown for path in video["paths"].values() for h in path["H"] if h is not None]
    levels = energy(train)
    middle, spread = levels.mean().item(), levels.std().item()
    return {
        "truth": TRUTH,
        "models": [_look(name) for name in (TRUTH, *models)],
        "n_steps": max(video["n_steps"] for video in shown),
        "trained": 15,
        "start": start,
        "seconds": Clips().seconds(fps),
        "frames": {part: films[0][part] for part in ("per_step", "size")} | {"columns": _COLUMNS},
        "table": 256,
        "radius": 20,
        "ball_colours": [to_hex(tuple(np.divide(colour, 255))) for colour in COLOURS[:2]],
        "planes": [_plane(name, basis, labels, train) for name, (basis, labels) in drawn_in.items()],
        "energy": {"band": [_short(middle - spread), _short(middle + spread)], "limits": _limits(every_h)},
        "error": {"limits": [0, 4], "average": _short(train.var(dim=0, correction=0).mean().item())},
        "videos": shown,
    }


def _path(path, z, bases, energy, probe, states):
    """Numbers of one path (T, D) of a video whose true latents are z (T, D)."""
    values = {
        "planes": [_rounded(path @ basis) for basis in bases],
        "H": _rounded(energy(path)),
        "error": _rounded((path - z).square().mean(dim=-1)),
    }
    if probe is not None:
        numbers = path.cpu().numpy().astype(float)
        read = probe.read(np.nan_to_num(numbers))["position"]
        read[~np.isfinite(numbers).all(axis=1)] = np.nan
        off = np.sqrt(np.square(read - states[..., :2].reshape(len(read), 4)).mean(axis=1))
        values |= {"balls": _rounded(read), "off": _rounded(off)}
    return values


def _rounded(values):
    """Nested lists of numbers with four digits, for what is not finite None, as JSON knows no NaN."""
    values = values.tolist()
    return [_short(v) if isinstance(v, float) else [_short(u) for u in v] for v in values]


def _short(value):
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _look(model):
    look = plotting.style(model)
    return {"name": model, "colour": to_hex(look["color"]), "dash": _DASHES[look["ls"]]}


def _plane(name, basis, labels, train):
    points = (train @ basis)[:: max(1, len(train) // _CLOUD)]
    low, high = np.array([_limits(column) for column in points.T.tolist()]).T.tolist()
    limits = {"x": [low[0], high[0]], "y": [low[1], high[1]]}
    return {
        "name": name,
        "labels": dict(zip("xy", labels, strict=True)),
        "limits": limits,
        "cloud": _rounded(points),
    }


def _limits(values):
    """From the lowest to the highest of the values, with a tenth of that around them."""
    low, high = min(values), max(values)
    spare = 0.1 * (high - low) or 1.0
    return [_short(low - spare), _short(high + spare)]


def _sheet(frames):
    """Frames (n, H, W, 3) side by side in one picture."""
    n, height, width, _ = frames.shape
    rows = -(-n // _COLUMNS)
    sheet = np.zeros((rows * _COLUMNS, height, width, 3), np.uint8)
    sheet[:n] = frames
    sheet = sheet.reshape(rows, _COLUMNS, height, width, 3).swapaxes(1, 2)
    return sheet.reshape(rows * height, _COLUMNS * width, 3)


def _webp(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "WEBP", quality=70, method=1)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def page(data):
    """One HTML text with everything in it. Raises `ValueError` above `MAX_BYTES`."""
    parts = {name: (ASSETS / "explorer" / name).read_text(encoding="utf-8") for name in _PARTS}
    text = parts["page.html"].replace("/* STYLE */", parts["style.css"])
    text = text.replace("/* SCRIPT */", parts["panels.js"] + parts["explorer.js"])
    numbers = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = text.replace("/* DATA */", numbers.replace("</", "<\\/"))  # a name may not end the script
    if (size := len(text.encode())) > MAX_BYTES:
        raise ValueError(f"the explorer would have {size:,} bytes, above {MAX_BYTES:,}: give fewer videos")
    return text


def in_notebook(text):
    """HTML that shows a `page` as the output of a cell, in Colab, JupyterLab and VS Code alike."""
    frame = f'<iframe srcdoc="{html.escape(text)}" style="width: 100%; height: 960px; border: 0"></iframe>'
    return f"<div>{frame}</div>"  # IPython warns of a bare frame
