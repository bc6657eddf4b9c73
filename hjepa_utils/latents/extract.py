"""Latents of a folder of videos, shared out over processes, GPUs and nodes by Accelerate:

accelerate launch -m hjepa_utils extract VIDEOS OUT --encoder NAME
"""

import argparse
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from threading import Timer

import torch
from tqdm import tqdm

from ..runs.hardware import pick_device
from .decoding import first_line
from .encoder import load_encoder
from .folder import check_apart, encode_folder
from .names import FRAMINGS
from .video import find_videos

DESCRIPTION = "Latents of a folder of videos, shared out over processes, GPUs and nodes by Accelerate"
NO_ACCELERATE = (
    "several processes need Accelerate to share the videos out, install it: pip install accelerate"
)
PATIENCE = timedelta(days=7)  # the first process to finish its share waits so long for the last
SOON = 5  # seconds after which a process says that it waits for the others
FATES = ("encoded", "encoded anew", "kept", "failed")
DTYPES = ("float32", "bfloat16", "float16")
_WORLD_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


@dataclass(frozen=True)
class Process:
    """One of `count` processes that were launched together; `gather` joins the lists they hand it."""

    index: int
    count: int
    device: torch.device
    gather: Callable


def this_process():
    """Rank and world size, from the launcher's variables.

    Raises `ModuleNotFoundError` for several processes without Accelerate, `ValueError` for variables
    that no launcher sets so.
    """
    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("true", "1")
    name, count = _world_size()
    if count == 1:
        return Process(0, 1, pick_device("cpu" if on_cpu else None), list)
    try:
        from accelerate import PartialState
        from accelerate.utils import gather_object
    except ImportError as error:
        raise ModuleNotFoundError(NO_ACCELERATE) from error
    if not os.environ.get("MASTER_ADDR"):
        raise ValueError(
            f"{name} is '{count}' but no launcher set MASTER_ADDR: unset it, or use accelerate launch"
        )
    # gloo with GPUs too: nothing but the report is exchanged.
    options = {"backend": "gloo", "timeout": PATIENCE}
    with _saying_that_it_waits(name, count):
        try:
            state = PartialState(cpu=on_cpu or not torch.cuda.is_available(), **options)
        except (ValueError, RuntimeError) as error:
            message = f"the {count} processes of {name} do not find each other ({first_line(error)})"
            raise ValueError(f"{message}: unset it, or use accelerate launch") from error
    return Process(state.process_index, state.num_processes, pick_device(state.device), gather_object)


def _world_size():
    """The variable that says how many processes were launched, and the number, at least 1."""
    sizes = {"WORLD_SIZE": 1}
    for name in _WORLD_SIZES:
        text = os.environ.get(name, "").strip()
        if text and not text.isdecimal():
            raise ValueError(
                f"{name} is {text!r}, no number of processes: unset it, or use accelerate launch"
            )
        sizes[name] = max(int(text or 1), 1)
    return max(sizes.items(), key=lambda item: item[1])


@contextmanager
def _saying_that_it_waits(name, count):
    others = f"{count - 1} other process{'es' if count > 2 else ''}"
    text = f"waiting for {others} of {name}={count}; if there are none, stop with Ctrl-C and unset it"
    timer = Timer(SOON, lambda: print(text, file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def extract_share(folder, out, name, process, *, compiled=False, dtype=None, **options):
    """Encode this process's share of a folder of videos; `options` are those of `encode_folder`.

    Returns (what became of it, line for the report) of every video. Raises what `find_videos`,
    `load_encoder` and `encode_folder` raise.
    """
    videos = find_videos(folder)
    check_apart(videos, out)
    encoder = load_encoder(name, device=process.device, dtype=dtype and getattr(torch, dtype))
    if compiled:
        encoder.compile()
    done, failed = encode_folder(encoder, videos, out, share=(process.index, process.count), **options)
    lines = [("failed", text if video in text else f"{video}: {text}") for video, text in failed.items()]
    return lines + [(fate, video) for video, fate in done.items()]


def main(argv=None):
    """The command line; returns the exit status, told by the first process.

    0, 1 if anything failed, 2 for arguments that are none, 130 after Ctrl-C.
    """
    args = vars(_parser().parse_args(argv))
    try:
        return _run(args.pop("videos"), args.pop("out"), args.pop("encoder"), args)
    except KeyboardInterrupt:
        print(
            "\ninterrupted: finished latents are kept, the same command goes on from there", file=sys.stderr
        )
        return 130


def _parser():
    parser = argparse.ArgumentParser(prog="hjepa_utils extract", description=DESCRIPTION)
    parser.add_argument("videos", help="a folder of videos")
    parser.add_argument("out", help="the folder for the latents, one safetensors file a video")
    parser.add_argument("--encoder", default="embedded", help="embedded, a hub id, or a folder")
    parser.add_argument("--clip-frames", type=int, default=16, help="frames in a clip")
    strides = parser.add_mutually_exclusive_group()
    strides.add_argument("--stride", type=int, default=4, help="frames from one clip to the next")
    strides.add_argument("--stride-seconds", type=float, help="the same in seconds, for mixed frame rates")
    parser.add_argument("--framing", choices=FRAMINGS, default="whole", help="how a picture is fitted in")
    parser.add_argument("--batch-size", type=int, help="clips encoded together; less takes less memory")
    parser.add_argument("--dtype", choices=DTYPES, help="number format, by default what is fastest")
    parser.add_argument("--compile", action="store_true", dest="compiled", help="for many videos on a GPU")
    return parser


def _run(folder, out, encoder, options):
    try:
        process = this_process()
    except (ModuleNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = _show
        try:
            report = extract_share(folder, out, encoder, process, **options)
        except (ValueError, TypeError, OSError, RuntimeError) as error:
            report = [("failed", f"error: {first_line(error)}")]
    report = process.gather(report)
    return _tell(report, process.count) if process.index == 0 else 0


def _show(message, category, filename, lineno, file=None, line=None):
    """A warning as one line, above the progress bar."""
    tqdm.write(f"warning: {message}", file=sys.stderr)


def _tell(report, n_processes):
    """Print how many videos were encoded, and each failure on a line of its own; the exit status."""
    lines = set(report)  # all processes may say the same of a folder or an encoder
    fates = Counter(fate for fate, _ in lines)
    told = ", ".join(f"{fates[fate]} {fate}" for fate in FATES if fates[fate])
    print(f"{told}, by {n_processes} process{'es' if n_processes > 1 else ''}")
    for failure in sorted(text for fate, text in lines if fate == "failed"):
        print(failure, file=sys.stderr)
    return 1 if "failed" in fates else 0
