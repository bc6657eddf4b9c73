"""From videos to latents: each frame decoded once, in the background, clips encoded in batches."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
import torch
from einops import rearrange

from ..simulators.billiards import render_frames, simulate_collisions
from .encoder import resize_frames
from .names import FRAMINGS
from .video import stream_video

CPU_TOKENS, GPU_TOKENS = 2**11, 2**16  # encoded together: what suits the caches, what fills the units


def encode_video(encoder, video, *, clip_frames=16, stride=4, batch_size=None, framing="whole"):
    """Embeddings of all clips of one video: float32 CPU (n_clips, D), mean over tokens (§4.2).

    `video` is a path, read piece by piece however long it is, or uint8 (n_frames, 3, H, W). Clip k
    holds the frames from `stride * k` to `stride * k + clip_frames - 1`, so
    n_clips = (n_frames - clip_frames) // stride + 1. `batch_size` clips are encoded together, by
    default as many as suit the device. `framing="whole"` resizes the whole picture; `"processor"`
    is V-JEPA 2's default and the published notebook's: resize to 292/256 of the input, keep the
    centre, which cuts the border off. A picture that is not square is centre-cropped with a warning.

    Raises `ValueError` for a video with fewer than `clip_frames` frames or of another shape, and
    what `read_video` raises.
    """
    options = {"clip_frames": clip_frames, "stride": stride, "batch_size": batch_size, "framing": framing}
    ((_, latents),) = encode_videos(encoder, [video], fill_up=False, **options)
    if isinstance(latents, Exception):
        raise latents
    return latents


def encode_videos(encoder, videos, **options):
    """An iterator of (video, latents) over many videos in their order, each as soon as it is complete.

    `options` and latents are those of `encode_video`. A video that cannot be encoded comes with its
    `ValueError` or `OSError` in place of the latents, and the next one follows. Batches go across
    videos and have all the same size, the last one filled up with black clips (unless
    `fill_up=False`), so that an embedding does not depend on which other clips are encoded.
    """
    return ((video, _joined(blocks)) for video, blocks in stream_latents(encoder, videos, **options))


def stream_latents(
    encoder, videos, *, clip_frames=16, stride=4, batch_size=None, framing="whole", fill_up=True
):
    """An iterator of (video, blocks) in order: `encode_videos` for latents too long to be held.

    `blocks` yields float32 CPU (k, D), k from 1, and is to be used up before the next video. An
    exception in place of a block ends a video that cannot be encoded. With `fill_up=False` the last
    batch is as small as it is. Raises `ValueError` for impossible options.
    """
    tubelet, patch = encoder.model.config.tubelet_size, encoder.model.config.patch_size
    if batch_size is None:
        n_tokens = max(clip_frames // tubelet, 1) * (encoder.image_size // patch) ** 2
        batch_size = max((GPU_TOKENS if encoder.device.type == "cuda" else CPU_TOKENS) // n_tokens, 1)
    if clip_frames < 1 or stride < 1 or batch_size < 1:
        raise ValueError(
            "clip_frames, stride and batch_size must be at least 1, "
            f"got {clip_frames}, {stride} and {batch_size}"
        )
    if clip_frames % tubelet:
        raise ValueError(f"clip_frames={clip_frames} is no multiple of {tubelet}")
    if framing not in FRAMINGS:
        raise ValueError(f"framing must be one of {FRAMINGS}, got {framing!r}")
    # A video goes with its number through the pipeline: the same one may come twice.
    clips = (
        (numbered, content)
        for numbered in enumerate(videos)
        for content in _clips_or_error(numbered[1], encoder, clip_frames, stride, framing)
    )
    blocks = _embedded(encoder, _batches(clips, batch_size, fill_up))
    by_video = groupby(blocks, key=itemgetter(0))
    return ((video, _finite(_label(video), (block for _, block in group))) for (_, video), group in by_video)


def _embedded(encoder, batches):
    """Yield (video, block or exception) in order; the next batches are made meanwhile."""
    for clips, parts in _made_ahead(batches, encoder.device):
        latents = None if clips is None else encoder.embed(clips)
        for video, part in parts:
            if isinstance(part, Exception):
                yield video, part
            else:
                yield video, latents[:part]
                latents = latents[part:]


def _made_ahead(items, device, n_ahead=2):
    """The same items, made in a background thread, `n_ahead` before they are asked for."""
    with ThreadPoolExecutor(1, initializer=_begin_own_stream, initargs=(device,)) as thread:
        ahead = deque(thread.submit(next, items, None) for _ in range(n_ahead))
        while (item := ahead.popleft().result()) is not None:
            ahead.append(thread.submit(next, items, None))
            yield item


def _begin_own_stream(device):
    """On a GPU, what this thread copies must not queue behind the encoder's work."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.cuda.set_stream(torch.cuda.Stream(device))


def _batches(clips, size, fill_up):
    """(video, clips or exception) → (uint8 (size, T, 3, S, S), [(video, number of clips or exception)])."""
    held, parts, room = [], [], size
    for video, content in clips:
        if isinstance(content, Exception):
            parts.append((video, content))
            continue
        while len(content):
            held.append(content[:room])
            parts.append((video, len(held[-1])))
            content, room = content[room:], room - len(held[-1])
            if room == 0:
                yield _stacked(held), parts
                held, parts, room = [], [], size
    if held and fill_up:
        held.append(held[0].new_zeros(room, *held[0].shape[1:]))
    if parts:
        yield (_stacked(held) if held else None), parts


def _stacked(held):
    batch = torch.cat(held).contiguous()
    if batch.is_cuda:  # the encoder works on another stream and must find it complete
        torch.cuda.current_stream(batch.device).synchronize()
    return batch


def _clips_or_error(video, encoder, clip_frames, stride, framing):
    try:
        yield from _clips(video, encoder, clip_frames, stride, framing)
    except (ValueError, OSError) as error:
        yield error


def _clips(video, encoder, clip_frames, stride, framing):
    """Yield uint8 (k, clip_frames, 3, S, S) on the encoder's device as soon as their frames are there."""
    label, n_frames = _label(video), 0
    held, skipped = None, 0  # frames that the next clip may need; frames between clips yet to come
    for frames in _pieces(video):
        frames = resize_frames(
            frames, encoder.image_size, framing=framing, label="" if n_frames else label
        ).to(encoder.device)
        n_frames += len(frames)
        new = frames[skipped:]
        skipped -= len(frames) - len(new)
        held = new if held is None else torch.cat([held, new])
        n_clips = max((len(held) - clip_frames) // stride + 1, 0)
        if n_clips:
            yield rearrange(held.unfold(0, clip_frames, stride), "n c h w t -> n t c h w")
            skipped += max(n_clips * stride - len(held), 0)
            held = held[n_clips * stride :]
    if n_frames < clip_frames:
        raise ValueError(f"{label} has {n_frames} frames; a clip needs {clip_frames}: use a longer video")


def _pieces(video):
    """The frames of a path or of uint8 (n_frames, 3, H, W), some at a time."""
    if isinstance(video, str | Path):
        return stream_video(video)
    if video.ndim != 4 or video.shape[1] != 3 or video.dtype != torch.uint8:
        raise ValueError(f"video must be uint8 (n_frames, 3, H, W), got {video.dtype} {tuple(video.shape)}")
    return video.split(64)


def _joined(blocks):
    blocks = list(blocks)
    return blocks[-1] if isinstance(blocks[-1], Exception) else torch.cat(blocks)


def _label(video):
    return Path(video).name if isinstance(video, str | Path) else "video"


def _finite(label, blocks):
    """The same blocks up to the first that is not finite, which becomes a `ValueError`."""
    n_clips = 0
    for block in blocks:
        if not isinstance(block, Exception) and not block.isfinite().all():
            bad = n_clips + (~block.isfinite().all(dim=1)).nonzero()[0].item()
            reason = "the encoder gave NaN or infinity; load it with dtype=torch.float32"
            yield ValueError(f"{label}, clip {bad}: {reason}")
            return
        yield block
        n_clips += 0 if isinstance(block, Exception) else len(block)


def simulate_latents(encoder, n_videos, *, seed, framing="whole", **options):
    """Latents of new videos, (n_videos, n_clips, D); `options` are those of `simulate_collisions`."""
    latents = []
    for k in range(n_videos):
        states = simulate_collisions(rng=np.random.default_rng([seed, k]), **options)
        frames = torch.from_numpy(render_frames(states, radius=options.get("radius", 20.0)))
        latents.append(encode_video(encoder, frames.permute(0, 3, 1, 2), framing=framing))
    return torch.stack(latents)
