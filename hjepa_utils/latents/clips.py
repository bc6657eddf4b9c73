"""From videos to latents: each frame decoded once, in the background, clips encoded in batches."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange

from ..runs.checks import whole_number
from ..simulators.billiards import render_frames, simulate_collisions
from .batches import batches, made_ahead
from .names import FRAMINGS
from .pictures import resize_frames
from .video import frame_rate, stream_video
from .windows import Clips, first_not_finite

CPU_TOKENS, GPU_TOKENS = 2**11, 2**16  # encoded together: fits the CPU's caches; fills the GPU


def encode_video(
    encoder, video, *, clip_frames=16, stride=4, stride_seconds=None, batch_size=None, framing="whole"
):
    """Embeddings of all clips of one video: float32 CPU (n_clips, D), mean over tokens (§4.2).

    `video` is a path, read piece by piece however long it is, or uint8 (n_frames, 3, H, W), torch or
    NumPy. Clip k holds the frames from `stride * k` to `stride * k + clip_frames - 1`, so
    n_clips = (n_frames - clip_frames) // stride + 1 (see `Clips`). For files `stride_seconds` can replace
    `stride`; it is rounded to whole frames. `clip_frames` is a multiple of
    the encoder's tubelet, at most the frames it was made for. `batch_size` clips are encoded together,
    by default as many as suit the device. `framing="whole"` resizes the whole picture; `"processor"`
    is V-JEPA 2's default and the published notebook's: resize to 292/256 of the input, keep the
    centre, which cuts the border off. A picture that is not square is centre-cropped with a warning.

    Raises `ValueError` for a video with fewer than `clip_frames` frames or of another shape, and for
    options out of range; `TypeError` for anything but a video; and what `read_video` raises.
    """
    options = {"clip_frames": clip_frames, "stride": stride, "stride_seconds": stride_seconds}
    options |= {"batch_size": batch_size, "framing": framing}
    ((_, latents),) = encode_videos(encoder, [video], **options, fill_up=False)
    if isinstance(latents, Exception):
        raise latents
    return latents


def encode_videos(
    encoder,
    videos,
    *,
    clip_frames=16,
    stride=4,
    stride_seconds=None,
    batch_size=None,
    framing="whole",
    fill_up=True,
    rate_of=frame_rate,
):
    """An iterator of (video, latents) of many videos in their order, each as soon as it is complete.

    Options and latents are those of `encode_video`. A video that cannot be encoded comes with the
    exception that says why in place of the latents, and the next one follows. Batches go across
    videos and have all the same size, the last one filled up with black clips (unless
    `fill_up=False`), so that an embedding does not depend on which other clips are encoded.
    `rate_of(path)`, the frames per second of a file, is asked for `stride_seconds` alone.

    Raises `ValueError` for options out of range, `TypeError` for one video instead of several.
    """
    one = isinstance(videos, str | bytes | Path) or getattr(videos, "ndim", 5) < 5
    if one or not isinstance(videos, Iterable):
        kind = type(videos).__name__
        raise TypeError(f"videos must be a list of videos, got one {kind}: put it into [ ]")
    clips = Clips(whole_number(clip_frames, "clip_frames"), whole_number(stride, "stride"))
    batch_size = _check_options(encoder, clips, stride_seconds, batch_size, framing)

    def clips_of(video):
        if stride_seconds is None:
            return clips
        return clips.spaced(stride_seconds, _checked_rate(video, rate_of))

    return _encoded(encoder, iter(videos), clips_of, batch_size, framing, fill_up)


def _check_options(encoder, clips, stride_seconds, batch_size, framing):
    """The size of a batch, by default what suits the device; `ValueError` for options out of range."""
    config = encoder.config
    if batch_size is None:
        n_tokens = max(clips.frames // config.tubelet_size, 1) * (config.crop_size // config.patch_size) ** 2
        batch_size = max((GPU_TOKENS if encoder.device.type == "cuda" else CPU_TOKENS) // n_tokens, 1)
    if (batch_size := whole_number(batch_size, "batch_size")) < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if stride_seconds is not None and not 0 < stride_seconds < float("inf"):
        raise ValueError(f"stride_seconds must be above 0 and finite, got {stride_seconds}")
    if clips.frames % config.tubelet_size:
        raise ValueError(f"clip_frames={clips.frames} is no multiple of {config.tubelet_size}")
    if not encoder.takes_length(clips.frames):
        most = config.frames_per_clip
        raise ValueError(f"clip_frames={clips.frames}: {encoder.name} was made for at most {most}")
    if framing not in FRAMINGS:
        raise ValueError(f"framing must be one of {FRAMINGS}, got {framing!r}")
    return batch_size


@dataclass
class _Job:
    """A video on its way: its embeddings so far, and what stopped it."""

    video: Any
    latents: list = field(default_factory=list)
    error: Exception | None = None

    def outcome(self, encoder):
        """float32 (n_clips, D), or the exception that says why not."""
        if self.error:
            return self.error
        latents = torch.cat(self.latents)
        if (clip := first_not_finite(latents)) is not None:
            return ValueError(f"{_label(self.video)}, clip {clip}: {encoder.why_not_finite()}")
        return latents


def _encoded(encoder, videos, clips_of, batch_size, framing, fill_up):
    """Yield (video, latents or exception) in order; the next batches are made meanwhile."""
    jobs = ((job, _clips(job, encoder, clips_of, framing)) for job in map(_Job, videos))
    for clips, parts in made_ahead(batches(jobs, batch_size, fill_up), encoder.device):
        latents, error = _embed(encoder, clips)
        for job, n_clips in parts:
            if n_clips:
                job.error = job.error or error
                job.latents.append(latents[:n_clips])
                latents = latents[n_clips:]
            else:
                yield job.video, job.outcome(encoder)


def _embed(encoder, clips):
    """The embeddings of a batch, and the exception that left it without."""
    none = torch.empty(0, encoder.latent_dim)
    if clips is None:
        return none, None
    try:
        return encoder.embed(clips), None
    except torch.OutOfMemoryError:
        return none, RuntimeError(f"out of memory with {len(clips)} clips at once: use a smaller batch size")
    except RuntimeError as error:
        return none, error


def _clips(job, encoder, clips_of, framing):
    """Yield uint8 (k, T, 3, S, S) on the encoder's device as soon as their frames are there.

    What keeps the video from being read becomes the error of the job, and ends it.
    """
    label, n_frames = _label(job.video), 0
    held, skipped = None, 0  # frames that the next clip may need; frames between clips yet to come
    try:
        clips = clips_of(job.video)
        for frames in _pieces(job.video):
            frames = resize_frames(
                frames, encoder.image_size, framing=framing, label="" if n_frames else label
            ).to(encoder.device)
            n_frames += len(frames)
            new = frames[skipped:]
            skipped -= len(frames) - len(new)
            held = new if held is None else torch.cat([held, new])
            n_clips = clips.count(len(held))
            if n_clips:
                yield rearrange(held.unfold(0, clips.frames, clips.stride), "n c h w t -> n t c h w")
                skipped += max(n_clips * clips.stride - len(held), 0)
                held = held[n_clips * clips.stride :]
            if job.error:  # its clips could not be embedded
                return
        if n_frames < clips.frames:
            raise ValueError(
                f"{label} has {n_frames} frames; a clip needs {clips.frames}: use a longer video"
            )
    except (ValueError, TypeError, OSError, RuntimeError) as error:
        job.error = error


def _checked_rate(video, rate_of):
    if not isinstance(video, str | Path):
        raise ValueError("stride_seconds needs a video file: frames by themselves have no rate, give stride")
    if not (fps := rate_of(video)) > 0:
        raise ValueError(f"{_label(video)} does not say how many frames a second has: give stride in frames")
    return fps


def _pieces(video):
    """The frames of a path or of uint8 (n_frames, 3, H, W), some at a time."""
    if isinstance(video, str | Path):
        return stream_video(video)
    if not isinstance(video, torch.Tensor | np.ndarray):
        kind = type(video).__name__
        raise TypeError(f"a video must be a path or uint8 (n_frames, 3, H, W), torch or NumPy, got {kind}")
    if video.ndim != 4 or video.shape[1] != 3 or str(video.dtype).removeprefix("torch.") != "uint8":
        raise ValueError(f"video must be uint8 (n_frames, 3, H, W), got {video.dtype} {tuple(video.shape)}")
    if 0 in video.shape[2:]:
        raise ValueError(f"video has no pixels: {tuple(video.shape)} is (n_frames, 3, H, W)")
    if isinstance(video, torch.Tensor):
        return video.split(64)
    # Copied some frames at a time: torch takes no array that runs backwards or cannot be written.
    return (torch.from_numpy(np.array(video[k : k + 64])) for k in range(0, len(video), 64))


def _label(video):
    return Path(video).name if isinstance(video, str | Path) else "video"


def simulate_latents(encoder, n_videos, *, seed, framing="whole", **options):
    """Latents of new videos, (n_videos, n_clips, D); `options` are those of `simulate_collisions`.

    Raises what `simulate_collisions` and `render_frames` raise: pictures have a whole `size`.
    """
    drawn, latents = {name: options[name] for name in ("size", "radius") if name in options}, []
    for k in range(n_videos):
        states = simulate_collisions(rng=np.random.default_rng([seed, k]), **options)
        frames = torch.from_numpy(render_frames(states, **drawn))
        latents.append(encode_video(encoder, frames.permute(0, 3, 1, 2), framing=framing))
    return torch.stack(latents)
