"""Compiled rollouts: fused kernels on a CPU, CUDA graphs on a GPU."""

import logging
from contextlib import contextmanager

import torch


def compile_rollouts(dynamics):
    """Replace the model's rollouts by compiled ones in place, and return it.

    A first call for a new shape is slow, so this pays for many rollouts of one shape; predict under
    `torch.no_grad()`, or their derivatives are compiled, too. On a GPU the kernels are recorded and
    replayed as CUDA graphs, in training too, where one backward pass may follow one rollout only (not
    yet run on one). On a CPU an `HNN` keeps its hand-written adjoint in training. Without a compiler
    that works, for derivatives too, the plain rollouts stay, with one line of notice.
    """
    parameters = list(dynamics.parameters())
    on_gpu = any(parameter.is_cuda for parameter in parameters)
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
    chosen, tried = torch.compile(function, mode=mode), set()

    def call(z0, n_steps):
        nonlocal chosen
        if chosen is fallback:
            return fallback(z0, n_steps)
        try:
            with _quiet():
                case = (z0.shape, n_steps, *(x.requires_grad for x in (z0, *parameters)))
                if torch.is_grad_enabled() and case not in tried:
                    for _ in range(2):  # on a GPU the second is recorded
                        _differentiate(chosen, z0, n_steps, parameters)
                    tried.add(case)
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


def _differentiate(function, z0, n_steps, parameters):
    """A backward pass for nothing: it is compiled when it first runs, where its failure must not do harm."""
    z0 = z0.detach().requires_grad_(z0.requires_grad)
    torch.compiler.cudagraph_mark_step_begin()
    result = function(z0, n_steps)
    total = sum(part.sum() for part in ([result] if isinstance(result, torch.Tensor) else result))
    if total.requires_grad:
        wanted = [x for x in (z0, *parameters) if x.requires_grad]
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
