"""Bodies hidden in latents: states of windows as free variables, moved by contacts and read out, all at once.

Nothing is labelled. Positions begin as the axes that `find_axes` finds, in the gauge in which the table is
the square -1 … 1; what is then fitted together are one state a window, the readout, and the distance at
which bodies meet. Windows whose latents are explained worst are left out of the loss and begun again.
"""

from itertools import pairwise
from typing import NamedTuple

import torch

from .model import ContactDynamics
from .readout import STEP, FrameReadout, frames_seen

STRIDE = 4.0  # frames from one clip to the next
SPEED = 8.0  # a velocity of 1 moves an eighth of half a table from clip to clip
WINDOW = 6  # clips


class Fitted(NamedTuple):
    """`states` (n_windows, D_state) at each window's middle clip, `errors` (n_windows,), and the readout."""

    states: torch.Tensor
    errors: torch.Tensor
    readout: FrameReadout


def unit_table(n_bodies, n_dims=2, pairs=(), distance=0.3):
    """`ContactDynamics` per frame between walls at -1 and 1, bodies of one mass.

    Velocities are in units of 1 / `SPEED` per clip, so that they are about as large as positions. The square
    table is a gauge: it is where evenly spread coordinates lie. Of `pairs` the distances are learned.
    """
    axes = torch.eye(n_dims, dtype=torch.float64)
    normals = torch.cat([axes, -axes]).repeat(n_bodies, 1)
    bodies = [body for body in range(n_bodies) for _ in range(2 * n_dims)]
    table = ContactDynamics(n_bodies, bodies, pairs, [0] * (len(bodies) + len(pairs)), n_dims)
    table.wall_normal.data, table.wall_offset.data = normals, -torch.ones(len(bodies), dtype=torch.float64)
    table.rate.data.fill_(1 / (SPEED * STRIDE))
    table.pair_distance.data.fill_(distance)
    return table.requires_grad_(False)


def window_starts(n_clips, length=WINDOW):
    """First clips of windows that cover a video of so many clips and hardly overlap."""
    n = -(-n_clips // length)
    return [round(k * (n_clips - length) / max(n - 1, 1)) for k in range(n)]


def cut(values, starts, length=WINDOW):
    """(n_videos, n_clips, D) → (n_videos · n_windows, length, D)."""
    return torch.stack([values[:, start : start + length] for start in starts], dim=1).flatten(0, 1)


def first_states(positions, starts, length=WINDOW):
    """States (n, D_state) at the middles of windows, out of positions (n_videos, n_clips, N n_dims).

    Velocities are central differences: wrong by contacts, which the fit repairs.
    """
    middles = [start + length // 2 for start in starts]
    speed = [SPEED * (positions[:, k + 1] - positions[:, k - 1]) / 2 for k in middles]
    states = [torch.cat([positions[:, k], v], dim=1) for k, v in zip(middles, speed, strict=True)]
    return torch.stack(states, dim=1).flatten(0, 1)


def frames_of(length=WINDOW):
    """The frames of a window that the readout looks at, counted from the middle of its middle clip."""
    back = round(STRIDE) * (length // 2)
    return [frame - back for frame in frames_seen(n_clips=length)]


def explain(dynamics, readout, states, length=WINDOW):
    """The latents of windows (n, length, D) that states give."""
    return readout.of_windows(dynamics.states_at(states, frames_of(length)), round(STRIDE) // STEP)


def fit_windows(
    dynamics, readout, states, latents, *, n_steps, share=0.8, lr=3e-3, state_lr=0.02, distance_lr=2e-3
):
    """Adam on the states, the readout and the distances of contact together, in place but for the states.

    The loss is the mean over the `share` of windows (n, length, D) that are explained best. Returns `Fitted`.
    """
    length = latents.shape[1]
    states = states.clone().requires_grad_()
    distance = dynamics.pair_distance
    groups = [(list(readout.parameters()), lr), ([states], state_lr)]
    groups += [([distance.requires_grad_()], distance_lr)] * bool(len(distance))
    optimiser = torch.optim.Adam([{"params": parameters, "lr": rate} for parameters, rate in groups])
    errors = torch.zeros(len(states))
    for step in range(n_steps):
        part = min(1.0, (step + 1) / 20) * (1 - step / n_steps) + 0.02
        for group, (_, rate) in zip(optimiser.param_groups, groups, strict=True):
            group["lr"] = rate * part
        errors = (explain(dynamics, readout, states, length) - latents).square().mean(dim=(1, 2))
        loss = errors[errors <= errors.detach().quantile(share)].mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        _keep_inside(states)
    distance.requires_grad_(False)
    return Fitted(states.detach(), errors.detach(), readout)


@torch.no_grad()
def _keep_inside(states):
    half = states.shape[-1] // 2
    states[..., :half].clamp_(-0.999, 0.999)


@torch.no_grad()
def begin_again(dynamics, fitted, latents, starts, *, generator, n_tries=4, spread=(0.1, 0.4)):
    """Better states for windows, where there are: from the neighbours' flows, and from noise of `spread`.

    Windows are in the order of `cut(…, starts)`. Returns `Fitted` with the same readout.
    """
    states, errors, readout = fitted
    length, half = latents.shape[1], states.shape[1] // 2
    of_video = states.unflatten(0, (-1, len(starts)))
    later, earlier = of_video.clone(), of_video.clone()
    for k, (before, after) in enumerate(pairwise(starts)):
        gap = STRIDE * (after - before)
        later[:, k + 1] = dynamics.states_at(of_video[:, k], [gap])[:, 0]
        earlier[:, k] = dynamics.states_at(of_video[:, k + 1], [-gap])[:, 0]
    sizes = torch.cat([torch.full((half,), size) for size in spread]).to(states)
    tries = [later.flatten(0, 1), earlier.flatten(0, 1)]
    tries += [
        states + sizes * torch.randn(states.shape, generator=generator).to(states) for _ in range(n_tries)
    ]
    for other in tries:
        _keep_inside(other)
        error = (explain(dynamics, readout, other, length) - latents).square().mean(dim=(1, 2))
        better = error < errors
        states = torch.where(better[:, None], other, states)
        errors = torch.where(better, error, errors)
    return Fitted(states, errors, readout)


def held_out_error(dynamics, fitted, latents, video_of, *, seed, share=0.8, n_steps=250, every=5):
    """How well a new readout, learned on some videos, reads the states of others: what tells wrong bodies.

    The training error does not: a readout of bodies put together wrongly explains its own windows as well.
    `video_of` (n_windows,) is each window's video; every `every`-th is left out.
    """
    n_bodies, n_dims, dim = dynamics.n_bodies, dynamics.n_dims, latents.shape[-1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        readout = FrameReadout(n_bodies, n_dims, dim, n_units=fitted.readout.n_units)
    good = fitted.errors <= fitted.errors.quantile(share)
    out = video_of % every == every - 1
    path = dynamics.states_at(fitted.states, frames_of(latents.shape[1])).to(latents.dtype)
    optimiser = torch.optim.AdamW(readout.parameters(), 3e-3, weight_decay=1e-2)
    for step in range(n_steps):
        optimiser.param_groups[0]["lr"] = 3e-3 * (1 - step / n_steps) + 1e-5
        loss = (readout.of_windows(path[good & ~out]) - latents[good & ~out]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return (readout.of_windows(path[good & out]) - latents[good & out]).square().mean().item()
