"""Where clips lie in a video, and from latents to standardised windows for training and test (§4.2)."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from ..runs.checks import whole_number


@dataclass(frozen=True)
class Clips:
    """Where clips lie in a video: clip k holds the frames from `stride * k` on, `frames` of them.

    Raises `ValueError` unless both are from 1 to 2³¹ - 1, `TypeError` for anything but whole numbers.
    """

    frames: int = 16
    stride: int = 4

    def __post_init__(self):
        for name, value in (("clip_frames", self.frames), ("stride", self.stride)):
            if not 1 <= whole_number(value, name) < 2**31:
                raise ValueError(f"{name} must be at least 1 and below 2**31, got {value}")

    def count(self, n_frames):
        """Clips in a video of so many frames."""
        return max((n_frames - self.frames) // self.stride + 1, 0)

    def frames_for(self, n_clips):
        """Frames a video needs for so many clips."""
        return self.frames + self.stride * (n_clips - 1)

    def middles(self, states):
        """The states in the middle of every clip, a view: (…, n_frames, N, 4) → (…, n_clips, N, 4)."""
        n_clips = self.count(states.shape[-3])
        first = self.frames // 2
        return states[..., first : first + self.stride * n_clips : self.stride, :, :]

    def seconds(self, fps):
        """From one clip, and so from one embedding, to the next."""
        return self.stride / fps

    def spaced(self, seconds, fps):
        """The same clips with the stride that comes nearest to so many seconds, at least a frame.

        Raises `ValueError` unless both are above 0 and finite.
        """
        if not 0 < seconds * fps < float("inf"):
            raise ValueError(f"seconds and fps must be above 0 and finite, got {seconds} and {fps}")
        return replace(self, stride=max(round(seconds * fps), 1))


def make_windows(latents, length=16):
    """All runs of `length` consecutive clips: (…, n_clips, D) → (…, n_windows, length, D).

    Raises `ValueError` if there are fewer clips than that, and for anything but a tensor of this shape.
    """
    if not isinstance(latents, torch.Tensor) or latents.ndim < 2:
        shape = tuple(getattr(latents, "shape", ()))
        raise ValueError(f"latents must be a tensor (…, n_clips, D), got {type(latents).__name__} {shape}")
    n_clips, length = latents.shape[-2], whole_number(length, "length")
    if length < 1:
        raise ValueError(f"a window needs at least one embedding, got length {length}")
    if n_clips < length:
        raise ValueError(
            f"a window needs {length} embeddings and there are {n_clips}: use videos of at least "
            f"{Clips().frames_for(length)} frames (clips of 16, stride 4)"
        )
    return latents.unfold(-2, length, 1).transpose(-1, -2)


def split_by_video(n_videos, train_fraction=0.8, *, seed):
    """Two disjoint sorted index tensors, training and test videos; both hold at least one.

    `seed` is any whole number, Python's or NumPy's.
    """
    return _split(n_videos, train_fraction, seed, "videos")


def split_by_window(n_windows, train_fraction=0.8, *, seed):
    """The published notebook's split, over overlapping windows: test data leak into training.

    Only for reproducing the published table: nearly every test window shares 15 of its 16 latents
    with a training window.
    """
    return _split(n_windows, train_fraction, seed, "windows")


def _split(n, train_fraction, seed, what):
    if not 0 < train_fraction < 1:
        raise ValueError(f"train_fraction must lie between 0 and 1, got {train_fraction}")
    n = whole_number(n, f"the number of {what}")
    if n < 2:
        raise ValueError(f"{n} {what} cannot be split into training and test: at least 2 are needed")
    n_train = min(max(round(n * train_fraction), 1), n - 1)
    generator = torch.Generator().manual_seed(whole_number(seed, "seed") % 2**64)  # the range it takes
    order = torch.randperm(n, generator=generator)
    return order[:n_train].sort().values, order[n_train:].sort().values


def first_not_finite(clips):
    """The first clip with NaN or infinity, or None."""
    bad = ~clips.isfinite().all(dim=1)
    return bad.nonzero()[0].item() if bad.any() else None


class Standardiser(NamedTuple):
    """z → (z - mean) / scale with the statistics of the training clips; (D,) each."""

    mean: torch.Tensor
    scale: torch.Tensor

    @classmethod
    def fitted_to(cls, latents):
        """`latents`: (n_clips, D). A dimension that changes by no more than rounding keeps scale 1.

        Raises `ValueError` for no clips.
        """
        if len(latents) == 0:
            raise ValueError("there are no clips to standardise by: give at least one")
        scale = latents.std(dim=0, correction=min(len(latents) - 1, 1))
        # The mean of equal numbers is rounded, so that their deviation from it need not be 0.
        rounding = torch.finfo(latents.dtype).eps * latents.abs().amax(dim=0)
        changes = (latents.amax(dim=0) > latents.amin(dim=0)) & (scale > rounding)
        return cls(latents.mean(dim=0), torch.where(changes, scale, 1.0))

    @classmethod
    def identity(cls, latent_dim):
        """The published notebook's choice: raw latents."""
        return cls(torch.zeros(latent_dim), torch.ones(latent_dim))

    def __call__(self, latents):
        return (latents - self.mean) / self.scale

    def undo(self, z):
        """Back to the encoder's units."""
        return z * self.scale + self.mean


def _check(latents):
    """`ValueError` unless all are finite floats (n_clips, D) of one D, `TypeError` if no dict of tensors."""
    if not isinstance(latents, Mapping):
        kind = type(latents).__name__
        raise TypeError(f"latents must be a dict of tensors by name, as load_latents gives, got {kind}")
    if not latents:
        raise ValueError("there are no latents: encode at least two videos")
    first, of_first = next(iter(latents.items()))
    for name, clips in latents.items():
        if not isinstance(clips, torch.Tensor):
            kind = type(clips).__name__
            raise TypeError(f"the latents of {name} must be a tensor, got {kind}: use torch.as_tensor")
        if clips.ndim != 2 or clips.shape[1] == 0 or not clips.is_floating_point():
            raise ValueError(
                f"the latents of {name} must be float (n_clips, D), got {clips.dtype} {tuple(clips.shape)}"
            )
        if clips.shape[1] != of_first.shape[1]:
            raise ValueError(
                f"the latents of {name} have width {clips.shape[1]}, those of {first} {of_first.shape[1]}: "
                "encode all videos with one encoder"
            )
        if (clip := first_not_finite(clips)) is not None:
            raise ValueError(f"the latents of {name} hold NaN or infinity at clip {clip}")


class LatentWindows(NamedTuple):
    """What training and evaluation need: windows (n, length, D) and the video of each, its place in
    the latents they were made from."""

    train: torch.Tensor
    test: torch.Tensor
    train_videos: torch.Tensor
    test_videos: torch.Tensor
    standardiser: Standardiser

    @classmethod
    def from_latents(cls, latents, *, seed, length=16, scaling="standardised", split="video"):
        """Split, standardise and cut the latents of `load_latents`.

        `scaling="raw"` and `split="window"` are the published notebook's choices. Videos with fewer
        than `length` embeddings are left out with a warning; `train_videos` and `test_videos` count
        all videos of `latents`, these too. Raises `ValueError` for another choice, for latents of two
        widths or with NaN or infinity, and if no window is left.
        """
        if scaling not in ("standardised", "raw") or split not in ("video", "window"):
            raise ValueError(
                f'scaling "standardised" or "raw", split "video" or "window"; got {scaling!r}, {split!r}'
            )
        length = whole_number(length, "length")
        _check(latents)
        clips = {k: c for k, c in enumerate(latents.values()) if len(c) >= length}
        if not clips:
            raise ValueError(
                f"no video has {length} embeddings, the longest has {max(map(len, latents.values()))}: "
                f"use videos of at least {Clips().frames_for(length)} frames"
            )
        if len(clips) < len(latents):
            left_out = len(latents) - len(clips)
            warnings.warn(f"{left_out} videos have fewer than {length} embeddings: left out", stacklevel=2)
        windows = {k: make_windows(c, length) for k, c in clips.items()}
        video = torch.cat([torch.full((len(w),), k) for k, w in windows.items()])
        windows = torch.cat(list(windows.values()))
        if split == "video":
            train_videos = torch.tensor(list(clips))[split_by_video(len(clips), seed=seed)[0]]
            in_train = torch.isin(video, train_videos)
            seen = torch.cat([clips[k] for k in train_videos.tolist()])
        else:
            in_train = torch.zeros(len(windows), dtype=torch.bool)
            in_train[split_by_window(len(windows), seed=seed)[0]] = True
            seen = windows[in_train].flatten(0, 1)
        identity = Standardiser.identity(windows.shape[-1])
        standardiser = Standardiser.fitted_to(seen) if scaling == "standardised" else identity
        train, test = standardiser(windows[in_train]), standardiser(windows[~in_train])
        return cls(train, test, video[in_train], video[~in_train], standardiser)

    def mapped(self, matrix):
        """The windows in other coordinates, z → z M with M (D, D'); the standardiser stays the old one's."""
        return self._replace(train=self.train @ matrix, test=self.test @ matrix)

    def to_train_on_every(self, nth):
        """With every nth training window alone, for trainings that only show that they run."""
        return self._replace(train=self.train[::nth], train_videos=self.train_videos[::nth])

    def first_of_videos(self):
        """With the first test window of every video alone, for what is too long to follow from all."""
        videos = self.test_videos
        first = videos.diff(prepend=videos[:1] - 1) != 0
        return self._replace(test=self.test[first.to(self.test.device)], test_videos=videos[first])

    def to(self, device_or_dtype):
        """The windows on a device or in a dtype; the rest stays."""
        return self._replace(train=self.train.to(device_or_dtype), test=self.test.to(device_or_dtype))
