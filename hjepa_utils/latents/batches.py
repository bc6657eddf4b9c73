"""Batches of clips that go across videos, made ahead in the background."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor

import torch


def made_ahead(items, device, n_ahead=2):
    """Yield the same items, made in a background thread, `n_ahead` before they are asked for."""
    with ThreadPoolExecutor(1, initializer=_begin_own_stream, initargs=(device,)) as thread:
        ahead = deque(thread.submit(next, items, None) for _ in range(n_ahead))
        try:
            while (item := ahead.popleft().result()) is not None:
                ahead.append(thread.submit(next, items, None))
                yield item
        finally:
            thread.shutdown(wait=False, cancel_futures=True)


def _begin_own_stream(device):
    """On a GPU, what this thread copies must not queue behind the encoder's work."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.cuda.set_stream(torch.cuda.Stream(device))


def batches(jobs, size, fill_up):
    """Yield (uint8 (size, T, 3, S, S), [(job, number of its clips)]); 0 clips mark a video's end."""
    held, parts, room = [], [], size
    for job, pieces in jobs:
        for piece in pieces:
            while len(piece):
                held.append(piece[:room])
                parts.append((job, len(held[-1])))
                piece, room = piece[room:], room - len(held[-1])
                if room == 0:
                    yield _stacked(held), parts
                    held, parts, room = [], [], size
        parts.append((job, 0))
    if held and fill_up:
        held.append(held[0].new_zeros(room, *held[0].shape[1:]))
    if parts:
        yield (_stacked(held) if held else None), parts


def _stacked(held):
    batch = torch.cat(held).contiguous()
    if batch.is_cuda:  # the encoder works on another stream and must find it complete
        torch.cuda.current_stream(batch.device).synchronize()
    return batch
