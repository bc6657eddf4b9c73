"""The state behind a latent: the one whose bodies, moved through a clip and read out, give it."""

import torch

from .paths import states_at
from .readout import frames_up_to

STEPS, RATE = 150, 0.03
AT_ONCE = 512  # states: what they need then stays in a processor's cache


def invert(dynamics, readouts, clips, starts, *, n_steps=STEPS, lr=RATE):
    """States (n_starts, n, D_state) and their residuals (n_starts, n), by Adam from `starts`, shaped alike.

    Least |ψ(path of the state) - z|² over K neighbouring clips z (n, K, D), the state at the last one's
    middle, averaged over `readouts`; every start keeps the best state that it has passed. The times of
    contacts within the clips are differentiated.
    """
    rows, targets = starts.detach().flatten(0, 1), clips.repeat(len(starts), 1, 1)
    parts = [
        _invert(dynamics, readouts, target, some, n_steps, lr)
        for some, target in zip(rows.split(AT_ONCE), targets.split(AT_ONCE), strict=True)
    ]
    best, least = (torch.cat(part) for part in zip(*parts, strict=True))
    return best.reshape(starts.shape), least.reshape(starts.shape[:2])


@torch.enable_grad()
def _invert(dynamics, readouts, target, starts, n_steps, lr):
    states, frames = starts.clone().requires_grad_(), frames_up_to(target.shape[1])
    best, least = starts.clone(), torch.full((len(starts),), torch.inf, dtype=target.dtype)
    optimiser = torch.optim.Adam([states], lr)
    for step in range(n_steps):
        optimiser.param_groups[0]["lr"] = lr * (1 - step / n_steps)
        path = states_at(dynamics, states, frames)
        read = torch.stack([readout.of_windows(path) for readout in readouts]).mean(dim=0)
        residual = (read - target).square().mean(dim=(1, 2))
        better = residual.detach() < least
        least = torch.where(better, residual.detach(), least)
        best = torch.where(better[:, None], states.detach(), best)
        (states.grad,) = torch.autograd.grad(residual.sum(), states)
        optimiser.step()
    return best, least


def find_states(dynamics, readouts, clips, guess, *, generator, n_starts=24, n_kept=6, spread=(0.07, 0.4)):
    """The likeliest states at the last of clips (n, K, D), best first, and their residuals (n_kept, n).

    Short searches from the guess and from `n_starts` - 1 places around it, off by `spread` in positions and
    velocities; then long ones from the `n_kept` that explain the clips best. What follows from several
    states of nearly one residual is not known from the clips; `weights` says how much each counts.
    """
    with torch.no_grad():
        first = guess(clips[:, -1])
    half = first.shape[-1] // 2
    sizes = torch.cat([torch.full((half,), size) for size in spread]).to(first)
    starts = first + sizes * torch.randn((n_starts, *first.shape), generator=generator).to(first)
    starts[0] = first
    starts[..., :half].clamp_(-1, 1)
    states, residuals = invert(dynamics, readouts, clips, starts, n_steps=STEPS // 3, lr=2 * RATE)
    for n_steps, n in ((STEPS, n_kept), (0, n_kept)):
        order = residuals.argsort(dim=0)[:n]
        states = states.gather(0, order[..., None].expand(-1, -1, states.shape[-1]))
        residuals = residuals.gather(0, order)
        if n_steps:
            states, residuals = invert(dynamics, readouts, clips, states, n_steps=n_steps)
    return states, residuals


def weights(residuals, temperature=3e-3):
    """How much each state counts, (n_states, n), by exp(-residual / temperature)."""
    return torch.softmax(-residuals / temperature, dim=0)
