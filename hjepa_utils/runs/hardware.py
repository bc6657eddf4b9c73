"""Devices, number formats and seeds."""

from contextlib import contextmanager

import torch

from .words import counted


def pick_device(device=None):
    """The device asked for, else the GPU if there is one, else the CPU."""
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def pick_encoder_dtype(device):
    """What an encoder multiplies fastest in: bf16 on A100-class GPUs and on CPUs with AMX or AVX-512
    BF16, fp16 on older GPUs such as the T4, float32 otherwise."""
    if device.type == "cuda":
        real_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if real_bf16 else torch.float16
    fast_bf16 = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast_bf16 else torch.float32


def fast(device):
    """A context in which products are bf16, where the device is faster by it; float32 elsewhere.

    fp16 is never taken: a loss would have to be scaled.
    """
    is_fast = pick_encoder_dtype(device) == torch.bfloat16
    return torch.autocast(device.type, torch.bfloat16, enabled=is_fast)


def hardware(device):
    """One line for tables, without a path or a host name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {counted(torch.get_num_threads(), 'thread')}, {torch.backends.cpu.get_cpu_capability()}"


@contextmanager
def seeded(seed):
    """Draw what torch draws by default, such as initial weights, from `seed`.

    The global generators, also those of all GPUs, are left as they were.
    """
    with torch.random.fork_rng(range(torch.cuda.device_count())):  # it warns of several that are not named
        torch.manual_seed(seed)
        yield


@contextmanager
def one_thread():
    """PyTorch with one thread on the CPU; also a decorator, `@one_thread()`.

    No sum then depends on how many cores there are. And threads that share small products wait for each
    other: two gain a third, and lose it many times over where another process has one of the cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
