"""The state behind a latent: the one whose bodies, moved through a clip and read out, give it."""

import torch

STEPS, RATE = 150, 0.03


def invert(dynamics, readouts, z, starts, frames, *, n_steps=STEPS, lr=RATE):
    """States (n_starts, n, D_state) and their residuals (n_starts, n), by Adam from `starts`, shaped alike.

    Least |ψ(path of the state) - z|², z (n, D), averaged over `readouts`; every start keeps the best state
    that it has passed. The times of contacts within the clip are differentiated.
    """
    n_starts, n, _ = starts.shape
    target = z.repeat(n_starts, 1)
    states = starts.detach().reshape(n_starts * n, -1).clone().requires_grad_()
    best, least = states.detach().clone(), torch.full((n_starts * n,), torch.inf, dtype=z.dtype)
    optimiser = torch.optim.Adam([states], lr)
    for step in range(n_steps):
        optimiser.param_groups[0]["lr"] = lr * (1 - step / n_steps)
        path = dynamics.states_at(states, frames)
        read = torch.stack([readout(path) for readout in readouts]).mean(dim=0)
        residual = (read - target).square().mean(dim=1)
        better = residual.detach() < least
        least = torch.where(better, residual.detach(), least)
        best = torch.where(better[:, None], states.detach(), best)
        (states.grad,) = torch.autograd.grad(residual.sum(), states)
        optimiser.step()
    return best.reshape(starts.shape), least.reshape(n_starts, n)
