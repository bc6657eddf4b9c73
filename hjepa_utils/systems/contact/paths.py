"""Where bodies are at many times at once: from contact to contact, not from time to time.

`ContactDynamics.states_at` gives the same. Here all times of a path come out of its few straight legs, which
makes searches over thousands of paths several times as fast.
"""

import torch

from .flow import contact_time, first_contact

MAX_LEGS = 64  # of one path to one side


def states_at(dynamics, z, times):
    """The states (n, T, D) at T rising times, in steps after z's, negative ones before it; z (n, D).

    Differentiable in the states and in all that `dynamics` has learned. A state that does not get away from
    its contacts, as one beyond two walls, flies on through them: a search then finds it wrong, and goes on.
    """
    y, w = dynamics.canonical(z).chunk(2, dim=-1)
    times = torch.as_tensor(times, dtype=y.dtype, device=y.device)
    earlier = times[times < 0].flip(0).neg()
    later = times[times >= 0]
    n = len(y)
    ends = torch.cat([times.new_full((n,), _last(later)), times.new_full((n,), _last(earlier))])
    legs = _legs(torch.cat([y, y]), torch.cat([w, -w]), ends, dynamics.gaps())
    after, after_w = _on(legs, slice(n), later)
    before, before_w = _on(legs, slice(n, None), earlier)
    path = torch.cat([before.flip(1), after], dim=1), torch.cat([-before_w.flip(1), after_w], dim=1)
    return dynamics.from_canonical(torch.cat(path, dim=-1)).to(z.dtype)


def _last(times):
    return times[-1].item() if len(times) else 0.0


def _legs(y, w, ends, gaps):
    """When each straight leg begins (B, L), inf where there is none, and where, how fast: (B, L, n)."""
    at = torch.zeros_like(ends)
    legs = [(at, y, w)]
    while len(legs) < MAX_LEGS:
        time, k = first_contact(y.detach(), w.detach(), gaps)
        meets = at.detach() + time < ends
        if not meets.any():
            break
        step = torch.where(meets, contact_time(y, w, time, k, gaps), 0.0)
        y = y + step[:, None] * w
        normal = gaps.one(y, k)[1]
        impulse = -2 * (normal * w).sum(dim=1) / normal.square().sum(dim=1)
        w = torch.where(meets[:, None], w + impulse[:, None] * normal, w)
        at = torch.where(meets, at + step, torch.inf)
        legs.append((at, y, w))
    return tuple(torch.stack(parts, dim=1) for parts in zip(*legs, strict=True))


def _on(legs, rows, times):
    """Positions and speeds of some rows at times (T,), not negative: (n, T, n_coordinates) each."""
    at, y, w = (part[rows] for part in legs)
    leg = (at[:, None, 1:] < times[:, None]).sum(dim=2)
    index = leg[..., None].expand(-1, -1, y.shape[-1])
    since = times - at.gather(1, leg)
    speed = w.gather(1, index)
    return y.gather(1, index) + since[..., None] * speed, speed
