"""Latents of a folder of videos, shared out over processes, GPUs and nodes by Accelerate:

accelerate launch -m hjepa_utils extract VIDEOS OUT --encoder NAME
"""

import argparse
import hashlib
import json
import os
import platform
import sys
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from tqdm import tqdm

from ..runs.files import file_hash, saying_where
from ..runs.hardware import pick_device
from .clips import stream_latents
from .encoder import load_encoder
from .names import FRAMINGS
from .video import find_videos

NO_ACCELERATE = (
    "several processes need Accelerate to share the videos out, install it: pip install accelerate"
)
PATIENCE = timedelta(days=7)  # the first process to finish its share waits so long for the last
FATES = ("encoded", "encoded anew", "kept", "failed")
_WORLD_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
_PACKAGES = ("torch", "torchcodec", "transformers")


class Process(NamedTuple):
    """One of `count` processes that were launched together; `gather` joins the lists they hand it."""

    index: int
    count: int
    device: torch.device
    gather: Callable


def this_process():
    """Its place among those launched together. `ModuleNotFoundError` for several without Accelerate."""
    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("true", "1")
    if max(int(os.environ.get(name, 1)) for name in _WORLD_SIZES) == 1:
        return Process(0, 1, pick_device("cpu" if on_cpu else None), list)
    try:
        from accelerate import PartialState
        from accelerate.utils import gather_object
    except ImportError as error:
        raise ModuleNotFoundError(NO_ACCELERATE) from error
    # gloo with GPUs too: nothing but the report is exchanged.
    state = PartialState(cpu=on_cpu or not torch.cuda.is_available(), backend="gloo", timeout=PATIENCE)
    return Process(state.process_index, state.num_processes, state.device, gather_object)


def share_out(folder, process):
    """This process's videos of a folder; raises what `find_videos` does."""
    videos = find_videos(folder)
    # The largest first, dealt out in turn: similar shares without a word between the processes.
    videos.sort(key=lambda video: video.stat().st_size if video.is_file() else 0, reverse=True)
    return videos[process.index :: process.count]


def extract_share(folder, out, encoder, process, *, batch_size=None, compiled=False, **options):
    """Encode this process's share of a folder of videos, each into `out/<stem>.safetensors`.

    Returns {file name: what became of it}: "kept" (it was there, whole, made from the same video,
    settings and weights), "encoded", "encoded anew" (it was stale or damaged), or the exception
    that says why it cannot be encoded. `options` are those of `encode_video`. Raises `ValueError`
    for a file in `out` that is not from here, and what `find_videos` and `load_encoder` raise.
    """
    share, out = share_out(folder, process), Path(out).expanduser()
    model = load_encoder(encoder, device=process.device)
    if compiled:
        model.compile()
    manifest = {
        "recipe": _recipe(model, options | {"compiled": compiled}),
        "made_with": _made_with(model, batch_size),
    }
    targets = {video: out / f"{video.stem}.safetensors" for video in share}
    became = {video.name: _to_do(target, manifest, video) for video, target in targets.items()}
    todo = [video for video in share if became[video.name] != "kept"]
    latents = stream_latents(model, todo, batch_size=batch_size, **options)
    with saying_where(out, advice="free some space, or name a folder that can be written"):
        out.mkdir(parents=True, exist_ok=True)
        for video in todo:
            targets[video].unlink(missing_ok=True)
        bar = tqdm(total=len(share), initial=len(share) - len(todo), unit="video", disable=process.index > 0)
        for video, blocks in latents:
            error = write_latents(targets[video], blocks, model.latent_dim, manifest, video)
            became[video.name] = error or became[video.name]
            bar.update()
        bar.close()
    return became


def write_latents(path, blocks, latent_dim, manifest, video):
    """Write blocks of float32 (k, D) as they come: safetensors with key "latents" and the manifest.

    The file appears under its name when it is complete. Returns None, or the exception that came in
    place of a block, or of reading the video again for its hash; then there is no file.
    """
    unfinished = path.with_name(f".unfinished-{path.name}")  # a kill leaves it, a rerun writes over it
    manifest = manifest | {"video": video.name, "video_sha256": "0" * 64, "latents_sha256": "0" * 64}
    room = len(_header(10**12, latent_dim, manifest))  # enough for any number of clips
    digest, n_clips = hashlib.sha256(), 0
    with open(unfinished, "wb") as file:
        file.seek(room)
        for block in blocks:
            if isinstance(block, Exception):
                unfinished.unlink()
                return block
            content = block.contiguous().numpy().astype("<f4").tobytes()
            digest.update(content)
            file.write(content)
            n_clips += len(block)
        try:
            manifest |= {"video_sha256": file_hash(video), "latents_sha256": digest.hexdigest()}
        except OSError as error:  # the video has gone meanwhile
            unfinished.unlink()
            return error
        file.seek(0)
        file.write(_header(n_clips, latent_dim, manifest, room))
    unfinished.replace(path)
    return None


def _header(n_clips, latent_dim, manifest, n_bytes=0):
    """How a safetensors file of one tensor begins: the length of a JSON text, the text, blanks."""
    tensor = {"dtype": "F32", "shape": [n_clips, latent_dim], "data_offsets": [0, 4 * n_clips * latent_dim]}
    text = json.dumps({"__metadata__": {"manifest": json.dumps(manifest)}, "latents": tensor}).encode()
    text = text.ljust(max(n_bytes - 8, -8 * (-len(text) // 8)))  # the tensor begins at a multiple of 8
    return len(text).to_bytes(8, "little") + text


def _to_do(path, manifest, video):
    """Whether the file is to be "kept": it is what encoding the video would give. Else "encoded"…"""
    if not path.exists():
        return "encoded"
    try:
        with safe_open(path, framework="pt") as file:  # which refuses a truncated one
            found = json.loads((file.metadata() or {})["manifest"])
        with open(path, "rb") as file:
            file.seek(8 + int.from_bytes(file.read(8), "little"))
            whole = hashlib.file_digest(file, "sha256").hexdigest() == found["latents_sha256"]
        same = found["recipe"] == manifest["recipe"] and found["video_sha256"] == file_hash(video)
    except (KeyError, json.JSONDecodeError) as error:
        message = f"{path} was not made by this command: name another folder, or move that file away"
        raise ValueError(message) from error
    except (OSError, SafetensorError):
        return "encoded anew"
    return "kept" if whole and same else "encoded anew"


def _recipe(model, options):
    """What the latents depend on, beside the video."""
    dtype = str(model.model.dtype).removeprefix("torch.")
    return {"weights_sha256": model.weights_hash(), "image_size": model.image_size, "dtype": dtype, **options}


def _made_with(model, batch_size):
    """What may change their last bits, and a name."""
    name = Path(model.name).name if Path(model.name).is_dir() else model.name  # no path of this machine
    device = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else "CPU"
    versions = {"python": platform.python_version()} | {package: version(package) for package in _PACKAGES}
    return {"encoder": name, "batch_size": batch_size, "device": device, "versions": versions}


def main(argv=None):
    """The command line; returns the exit status: 1 if anything failed, told by the first process."""
    parser = argparse.ArgumentParser(prog="hjepa_utils extract", description=__doc__.split(":")[0])
    parser.add_argument("videos", help="a folder of videos")
    parser.add_argument("out", help="the folder for the latents, one safetensors file a video")
    parser.add_argument("--encoder", default="embedded", help="embedded, a hub id, or a folder")
    parser.add_argument("--clip-frames", type=int, default=16, help="frames in a clip")
    parser.add_argument("--stride", type=int, default=4, help="frames from one clip to the next")
    parser.add_argument("--framing", choices=FRAMINGS, default="whole", help="how a picture is fitted in")
    parser.add_argument("--batch-size", type=int, help="clips encoded together; less takes less memory")
    parser.add_argument("--compile", action="store_true", dest="compiled", help="for many videos on a GPU")
    args = vars(parser.parse_args(argv))
    folder, out, encoder = (args.pop(name) for name in ("videos", "out", "encoder"))
    try:
        process = this_process()
    except ModuleNotFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    try:
        became = extract_share(folder, out, encoder, process, **args)
        report = [_line(video, fate) for video, fate in became.items()]
    except (ValueError, OSError) as error:
        report = [("failed", f"error: {error}")]
    report = process.gather(report)
    return _tell(report, process.count) if process.index == 0 else 0


def _line(video, fate):
    if isinstance(fate, Exception):
        return "failed", str(fate) if video in str(fate) else f"{video}: {fate}"
    return fate, video


def _tell(report, n_processes):
    """Print how many videos were encoded, and each failure on a line of its own; the exit status."""
    lines = set(report)  # all processes may say the same of a folder or an encoder
    fates = Counter(fate for fate, _ in lines)
    told = ", ".join(f"{fates[fate]} {fate}" for fate in FATES if fates[fate])
    print(f"{told}, by {n_processes} process{'es' if n_processes > 1 else ''}")
    for failure in sorted(text for fate, text in lines if fate == "failed"):
        print(failure, file=sys.stderr)
    return 1 if "failed" in fates else 0
