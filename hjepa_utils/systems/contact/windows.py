"""Bodies hidden in latents: states of windows as free variables, moved by contacts and read out, all at once.

Nothing is labelled. Positions begin as the axes that `find_axes` finds, in the gauge in which the table is
the square -1 … 1; what is then fitted together are one state a window, the readout, and the distance at
which bodies meet. Windows whose latents are explained worst are left out of the loss and begun again.
"""

from itertools import pairwise
from typing import NamedTuple

import torch

from .model import ContactDynamics
from .paths import states_at
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
    return readout.of_windows(states_at(dynamics, states, frames_of(length)), round(STRIDE) // STEP)


def errors_of(dynamics, readout, states, latents):
    """The mean squared error of every window, (n,), latents (n, length, D)."""
    return (explain(dynamics, readout, states, latents.shape[1]) - latents).square().mean(dim=(1, 2))


def fit_windows(
    dynamics, readout, states, latents, *, n_steps, share=0.8, lr=3e-3, state_lr=0.02, distance_lr=2e-3,
    map_lr=0.0,
):  # fmt: skip
    """Adam on the states, the readout and the distances of contact together, in place but for the states.

    The loss is the mean over the `share` of windows (n, length, D) that are explained best. `map_lr` is that
    of one linear map of all positions and velocities, for axes that are found a little askew. Returns
    `Fitted`.
    """
    states = states.clone().requires_grad_()
    distance = dynamics.pair_distance
    askew = torch.eye(states.shape[1] // 2, dtype=states.dtype, requires_grad=True)
    groups = [(list(readout.parameters()), lr), ([states], state_lr), ([askew], map_lr)]
    groups += [([distance.requires_grad_()], distance_lr)] * bool(len(distance))
    optimiser = torch.optim.Adam([{"params": parameters, "lr": rate} for parameters, rate in groups])
    mapped, errors = states, torch.zeros(len(states))
    for step in range(n_steps):
        part = min(1.0, (step + 1) / 20) * (1 - step / n_steps) + 0.02
        for group, (_, rate) in zip(optimiser.param_groups, groups, strict=True):
            group["lr"] = rate * part
        mapped = _mapped(states, askew)
        errors = errors_of(dynamics, readout, mapped, latents)
        loss = errors[errors <= errors.detach().quantile(share)].mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    distance.requires_grad_(False)
    return Fitted(mapped.detach(), errors.detach(), readout)


def _mapped(states, matrix):
    q, p = states.chunk(2, dim=-1)
    return torch.cat([(q @ matrix.T).clamp(-0.999, 0.999), p @ matrix.T], dim=-1)


@torch.no_grad()
def better_of(dynamics, fitted, latents, tries):
    """`Fitted` with the best state of each window, of its own and those of `tries`, (n, D_state) each."""
    states, errors, readout = fitted
    for other in tries:
        other = _mapped(other, torch.eye(other.shape[1] // 2, dtype=other.dtype))
        error = errors_of(dynamics, readout, other, latents)
        better = error < errors
        states = torch.where(better[:, None], other, states)
        errors = torch.where(better, error, errors)
    return Fitted(states, errors, readout)


@torch.no_grad()
def begin_again(dynamics, fitted, latents, starts, *, generator, n_tries=4, spread=(0.1, 0.4)):
    """Better states for windows, where there are: from the neighbours' flows, and from noise of `spread`.

    Windows are in the order of `cut(…, starts)`. Returns `Fitted` with the same readout.
    """
    states, half = fitted.states, fitted.states.shape[1] // 2
    of_video = states.unflatten(0, (-1, len(starts)))
    later, earlier = of_video.clone(), of_video.clone()
    for k, (before, after) in enumerate(pairwise(starts)):
        gap = STRIDE * (after - before)
        later[:, k + 1] = states_at(dynamics, of_video[:, k], [gap])[:, 0]
        earlier[:, k] = states_at(dynamics, of_video[:, k + 1], [-gap])[:, 0]
    sizes = torch.cat([torch.full((half,), size) for size in spread]).to(states)
    tries = [later.flatten(0, 1), earlier.flatten(0, 1)]
    for k in range(n_tries):
        noise = torch.randn(states.shape, generator=generator, dtype=states.dtype)
        tries.append(states + (1.0, 0.3, 0.1)[k % 3] * sizes * noise)
    return better_of(dynamics, fitted, latents, tries)


@torch.no_grad()
def lengthened(dynamics, fitted, starts, latents, long_starts):
    """`Fitted` for longer windows, from that of shorter ones: the states of the two nearest, moved there.

    `latents` are those of the longer windows, in the order of `cut(…, long_starts)`.
    """
    of_video = fitted.states.unflatten(0, (-1, len(starts)))
    length, tries = latents.shape[1], ([], [])
    for start in long_starts:
        middle = start + length // 2
        gaps = [middle - (short + WINDOW // 2) for short in starts]
        for kept, k in zip(tries, sorted(range(len(starts)), key=lambda k: abs(gaps[k])), strict=False):
            kept.append(states_at(dynamics, of_video[:, k], [STRIDE * gaps[k]])[:, 0])
    first, second = (torch.stack(kept, dim=1).flatten(0, 1) for kept in tries)
    nowhere = Fitted(first, torch.full((len(first),), torch.inf), fitted.readout)
    return better_of(dynamics, nowhere, latents, [first, second])


def learn_readout(readout, path, latents, *, n_steps=250, lr=3e-3, decay=1e-2):
    """Train in place on paths (n, T, 2 N n_dims) of windows (n, length, D), all at once."""
    optimiser = torch.optim.AdamW(readout.parameters(), lr, weight_decay=decay)
    for step in range(n_steps):
        optimiser.param_groups[0]["lr"] = lr * (1 - step / n_steps) + lr / 300
        loss = (readout.of_windows(path, round(STRIDE) // STEP) - latents).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return readout


def held_out_error(dynamics, fitted, latents, video_of, *, seed, share=0.8, n_steps=250, every=5):
    """How well a new readout, learned on some videos, reads the states of others: what tells wrong bodies.

    The training error does not: a readout of bodies put together wrongly explains its own windows as well.
    `video_of` (n_windows,) is each window's video; every `every`-th is left out.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        readout = FrameReadout(**fitted.readout.config())
    good = fitted.errors <= fitted.errors.quantile(share)
    out = video_of % every == every - 1
    path = states_at(dynamics, fitted.states, frames_of(latents.shape[1])).to(latents.dtype)
    learn_readout(readout, path[good & ~out], latents[good & ~out], n_steps=n_steps)
    with torch.no_grad():
        return (readout.of_windows(path[good & out]) - latents[good & out]).square().mean().item()
