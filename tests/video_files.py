"""Video files made by the ffmpeg command, and what it shows of them."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="the ffmpeg command is not installed")
H264 = ["-c:v", "libx264", "-pix_fmt", "yuv420p"]


def ffmpeg(path, source, *options):
    """A video made by the ffmpeg command from one of its own sources, or from a file."""
    given = ["-i", str(source)] if isinstance(source, Path) else ["-f", "lavfi", "-i", source]
    return run_ffmpeg(path, *given, *options)


def run_ffmpeg(path, *options):
    done = subprocess.run(
        ["ffmpeg", "-y", "-v", "error", *options, str(path)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"this ffmpeg cannot make {path.name}: {done.stderr.strip().splitlines()[0]}")
    return path


def shown(path, height, width):
    """What the ffmpeg command decodes, every frame once: uint8 (n_frames, 3, height, width)."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-map", "0:v:0", "-vsync", "0"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)
    return torch.from_numpy(frames.copy()).permute(0, 3, 1, 2)


def moving(seconds=4, rate=30, size="64x64"):
    return f"testsrc2=s={size}:r={rate}:d={seconds}"


def cut(path, kept):
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    return path


def is_one_sentence(error):
    text = str(error)
    return "\n" not in text and len(text) < 400
