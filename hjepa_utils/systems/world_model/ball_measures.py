"""What the model of the balls is measured by: against true states, which training never sees."""

from itertools import permutations

import numpy as np
import torch

from ...experiment.intervals import Summary, summarise
from .balls import DRAG, HALF, PUSH, RADIUS, contacts, true_rollout
from .episodes import FRAME, FRAMES_PER_SECOND
from .measures import windows_ahead

PX = FRAME / 2  # pixels of a picture in a half-width
TRUE = {"wall": 1 - RADIUS / HALF, "contact": 2 * RADIUS / HALF, "G": PUSH, "damping": DRAG}


def slots_of_balls(places, states):
    """Which slot is which ball: the order under which places (n, T, 2 S) fit states (n, T, N, 4) best."""
    q, true = places.unflatten(-1, (-1, 2)), states[..., :2].to(places)
    orders = permutations(range(q.shape[-2]), true.shape[-2])
    return list(min(orders, key=lambda order: (q[..., list(order), :] - true).square().sum().item()))


def balls_at(z, order):
    """z (…, 4 S) → states of the balls (…, N, 4), in the world's order and units."""
    return torch.stack(
        [half.unflatten(-1, (-1, 2))[..., order, :] for half in z.chunk(2, dim=-1)], dim=-2
    ).flatten(-2)


def distances(predicted, true):
    """How far off the balls are, in px of a picture: (…, N, ≥ 2) each → rms over balls, (…)."""
    apart = predicted[..., :2].double() - true[..., :2].double()
    return PX * apart.square().sum(dim=-1).mean(dim=-1).sqrt()


@torch.no_grad()
def rolled_out(dynamics, read, places, actions, n_frames, starts, horizon):
    """Rollouts from K = `n_frames` places that end at `starts`: (n · starts, horizon + 1, D).

    `read(q, actions)` gives the momenta of the last of K frames.
    """
    q, u = windows_ahead(places, actions, n_frames, horizon, starts)
    z0 = torch.cat([q[:, -1], read(q, u[:, : n_frames - 1])], dim=-1)
    return dynamics.rollout(z0, u[:, n_frames - 1 :])


def true_windows(states, starts, horizon):
    """What rollouts are compared with, in their order: (n · starts, horizon + 1, N, 4)."""
    return torch.cat([states[:, t : t + horizon + 1] for t in starts])


def touched(episodes, starts, ahead):
    """Whether something was touched within `ahead` frames of the starts, bool (n · starts)."""
    met = contacts(episodes.states, episodes.actions)
    return torch.cat([met[:, t : t + ahead].any(dim=1) for t in starts])


def floors_and_ceiling(z0, actions, order):
    """{name: states (B, n + 1, N, 4)} from encoded states z0 (B, D).

    Persistence, free flight (nothing pushes, slows or touches), and the true law: no model can be asked
    for more than that, what is missing there is missing in what was encoded.
    """
    first, n = balls_at(z0, order), actions.shape[1]
    stays = first[:, None].expand(-1, n + 1, -1, -1).clone()
    flies = stays.clone()
    seconds = torch.arange(n + 1)[:, None, None] / FRAMES_PER_SECOND
    flies[..., :2] += seconds * first[:, None, :, 2:]
    return {"persistence": stays, "free flight": flies, "true law from there": true_rollout(first, actions)}


def rms_summary(distance, groups, *, seed):
    """`Summary` of the root mean square of (n_models, B) or (B,), its interval over groups (B,)."""
    squares = distance.double().square().reshape(-1, distance.shape[-1]).mean(dim=0).numpy()
    of = summarise(squares, groups, rng=np.random.default_rng(seed))
    low, high = np.sqrt(np.maximum(of.interval, 0)).tolist()
    return Summary(float(np.sqrt(of.mean)), (low, high), of.n_groups)


def learned(dynamics, order):
    """Walls, distance of contact, G and damping, as learned: {name: number}, beside `TRUE`."""
    energy, pushed = dynamics.hamiltonian, dynamics.control.matrix.detach().unflatten(0, (-1, 2))[order]
    right = torch.zeros_like(pushed)
    right[0] = PUSH * torch.eye(2)
    return {
        "wall": energy.wall.item(),
        "contact": energy.contact.item(),
        "G": pushed[0].diagonal().mean().item(),
        "G, largest wrong entry": (pushed - right).abs().max().item(),
        "damping": dynamics.damping.rate.item(),
    }
