"""Compiled rollouts: fused kernels on a CPU, CUDA graphs on a GPU."""

import logging
from contextlib import contextmanager

import torch


def compile_rollouts(dynamics):
    """Replace the model's rollouts by compiled ones in place, and return it.

    A first call for a new shape is slow, so this pays for many rollouts of one shape. On a GPU the
    kernels are recorded and replayed as CUDA graphs, in training too (not yet run on one); on a CPU
    training keeps the hand-written adjoint. Without a compiler that works, for derivatives too, the
    plain rollouts stay, with one line of notice.
    """
    parameters = list(dynamics.parameters())
    on_gpu = parameters[0].is_cuda
    mode = "reduce-overhead" if on_gpu else "default"
    plain = dynamics.rollout

    def with_energy(z0, n_steps):
        states = plain(z0, n_steps)
        return states, dynamics.energy(states)

    dynamics.rollout = _compiled(plain, plain, mode, parameters)
    if on_gpu and hasattr(dynamics, "energy"):
        fallback = dynamics.rollout_with_energy
        dynamics.rollout_with_energy = _compiled(with_energy, fallback, mode, parameters)
    return dynamics


def _compiled(function, fallback, mode, parameters):
    """`function` compiled, or `fallback` from the first call at which the compiler fails."""
    chosen, differentiated = torch.compile(function, mode=mode), False

    def call(z0, n_steps):
        nonlocal chosen, differentiated
        if chosen is fallback:
            return fallback(z0, n_steps)
        try:
            with _quiet():
                if torch.is_grad_enabled() and not differentiated:
                    _differentiate(chosen(z0, n_steps), parameters)
                    differentiated = True
                torch.compiler.cudagraph_mark_step_begin()
                result = chosen(z0, n_steps)
            # A CUDA graph writes its next results into the same memory.
            return result.clone() if isinstance(result, torch.Tensor) else tuple(r.clone() for r in result)
        except Exception as error:
            result = fallback(z0, n_steps)  # raises what is wrong with the input itself
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            print(f"not compiled, the plain rollout is used: {reason}")
            chosen = fallback
            return result

    return call


def _differentiate(result, parameters):
    """A backward pass for nothing: it is compiled when it first runs, and must fail here if at all."""
    total = sum(part.sum() for part in ([result] if isinstance(result, torch.Tensor) else result))
    wanted = [parameter for parameter in parameters if parameter.requires_grad]
    if wanted:
        torch.autograd.grad(total, wanted, allow_unused=True)


@contextmanager
def _quiet():
    """Without the line that tells of CUDA's compiler being there and a GPU not."""
    logger = logging.getLogger("torch.utils.cpp_extension")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
