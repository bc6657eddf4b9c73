"""Surfaces of contact as general networks, trained by gradient on where bodies met and how they turned."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from ...dynamics.integrators import check_n_steps
from ...runs.checkpoints import resumable
from ...runs.fingerprint import hash_code, hash_tensors
from ...runs.hardware import seeded
from .model import ContactDynamics

_EXACT = 1e-6  # of the spread: what changes by more has met something
_MAX_EVENTS, _GRID, _HALVINGS = 20, 64, 30
_KEEP_OUT = 0.005  # gaps are at least this where bodies have been


class Events(NamedTuple):
    """Where bodies met something, y (E, n), and the unit normals along which they turned, (E, n)."""

    points: torch.Tensor
    normals: torch.Tensor


def contact_events(model, states):
    """`Events` of exact states (n_videos, n_times, D), in the canonical coordinates of `model`.

    Of every interval with one contact: y + τ ẏ = y' - (1 - τ) ẏ', and the normal is along ẏ' - ẏ.
    """
    y, w = (half.flatten(0, 1) for half in model.canonical(states).detach().chunk(2, dim=-1))
    first = torch.arange(len(y)).reshape(states.shape[:2])[:, :-1].flatten().to(y.device)
    y0, y1, w0, w1 = y[first], y[first + 1], w[first], w[first + 1]
    turn, rest = w1 - w0, y1 - y0 - w1
    tau = -(rest * turn).sum(dim=1, keepdim=True) / turn.square().sum(dim=1, keepdim=True)
    left = (rest + tau * turn).norm(dim=1)
    one = (
        (turn.norm(dim=1) > _EXACT * w.std())
        & (left < _EXACT * y.std())
        & (tau[:, 0] >= 0)
        & (tau[:, 0] <= 1)
    )
    return Events((y0 + tau * w0)[one], nn.functional.normalize(turn[one], dim=1))


class GapNetworks(nn.Module):
    """K networks g_k: R^n → R of two tanh layers plus a linear map, of random start: y (B, n) → (B, K)."""

    centre: torch.Tensor
    spread: torch.Tensor

    def __init__(self, width, n_surfaces, hidden_dim, centre, spread):
        super().__init__()

        def normal(*shape, scale=1.0):
            return nn.Parameter(scale * torch.randn(n_surfaces, *shape))

        self.first, self.first_bias = normal(width, hidden_dim, scale=0.5), normal(1, hidden_dim)
        self.second = normal(hidden_dim, hidden_dim, scale=hidden_dim**-0.5)
        self.second_bias = nn.Parameter(torch.zeros(n_surfaces, 1, hidden_dim))
        self.last = normal(hidden_dim, 1, scale=hidden_dim**-0.5)
        self.slope, self.level = (
            normal(width, 1, scale=0.5),
            nn.Parameter(torch.full((n_surfaces, 1, 1), 1.5)),
        )
        self.register_buffer("centre", centre)
        self.register_buffer("spread", spread)

    def forward(self, y):
        return self._layers(y)[0]

    def with_slopes(self, y):
        """Gaps (B, K) and their gradients in u = (y - centre) / spread, (B, K, n), in closed form."""
        gap, one, two = self._layers(y)
        back = ((1 - two.square()) * self.last.mT) @ self.second.mT * (1 - one.square())
        return gap, (back @ self.first.mT + self.slope.mT).transpose(0, 1)

    def _layers(self, y):
        u = (y - self.centre) / self.spread
        one = torch.tanh(u @ self.first + self.first_bias)
        two = torch.tanh(one @ self.second + self.second_bias)
        return (two @ self.last + u @ self.slope + self.level)[..., 0].T, one, two


class NetworkContactDynamics(nn.Module):
    """`ContactDynamics` whose surfaces are `GapNetworks`: flights and masses of `free`, float32.

    The time of a contact is bracketed on a grid and halved; the turn is along the network's gradient.
    `rollout` (…, D) → (…, n_steps + 1, D), without gradients.
    """

    def __init__(self, free, gaps):
        super().__init__()
        self.free, self.gaps = free, gaps

    @classmethod
    def fit(
        cls, states, *, seed, n_surfaces=12, hidden_dim=24, n_updates=1500, lr=3e-3, checkpoint=None, label=""
    ):
        """Learn from exact states as `ContactDynamics.fit`; `n_surfaces` networks share the contacts.

        Loss: each contact is on its best surface, g = 0 there with the unit normal as gradient (softly
        assigned, ever more sharply), and no gap is negative where bodies have been. `checkpoint` is a
        folder that keeps the state of the training, as that of `hj.fit`.
        """
        free = ContactDynamics.fit(states)
        points, normals = (part.float() for part in contact_events(free, states))
        y = free.canonical(states).detach().chunk(2, dim=-1)[0].flatten(0, 1).float()
        with seeded(seed):
            gaps = GapNetworks(y.shape[1], n_surfaces, hidden_dim, y.mean(dim=0), y.std()).to(y.device)
        chosen, optimiser = torch.Generator().manual_seed(seed), torch.optim.Adam(gaps.parameters(), lr)
        made_from = {"seed": seed, "n_surfaces": n_surfaces, "hidden_dim": hidden_dim, "n_updates": n_updates}
        made_from |= {"lr": lr, "code": hash_code(_loss, GapNetworks)}
        made_from |= {"data": hash_tensors({"points": points, "normals": normals, "visited": y})}
        file = Path(checkpoint).expanduser() / "training.safetensors" if checkpoint else None
        parts = {"modules": {"gaps": gaps}, "optimisers": {"adam": optimiser}}
        parts |= {"generators": {"visited": chosen}, "every": 100, "label": label}
        for update in resumable(file, n_updates, fingerprint=made_from, history=[], **parts):
            left = 1 - update / n_updates
            optimiser.param_groups[0]["lr"] = lr * left + 1e-5
            visited = y[torch.randint(len(y), (512,), generator=chosen)]
            loss = _loss(gaps, points, normals, visited, sharpness=0.3 * left + 0.01)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return cls(free, gaps)

    @torch.no_grad()
    def rollout(self, z0, n_steps):
        check_n_steps(n_steps)
        y, w = self.free.canonical(z0).float().reshape(-1, z0.shape[-1]).chunk(2, dim=-1)
        states = [z0]
        for _ in range(n_steps):
            y, w = self._step(y, w)
            z = self.free.from_canonical(torch.cat([y, w], dim=-1))
            states.append(z.reshape(z0.shape).to(z0.dtype))
        return torch.stack(states, dim=-2)

    def _step(self, y, w):
        """One step, contact by contact; after `_MAX_EVENTS` of them what is left is flown straight."""
        y, w, left = y.clone(), w.clone(), torch.ones(len(y), device=y.device)
        moving = torch.arange(len(y), device=y.device)
        for _ in range(_MAX_EVENTS):
            time, k = self._first_contact(y[moving], w[moving], left[moving])
            moving, time, k = moving[k >= 0], time[k >= 0], k[k >= 0]
            if not len(moving):
                break
            y[moving] += time[:, None] * w[moving]
            left[moving] -= time
            slopes = self.gaps.with_slopes(y[moving])[1]
            normal = nn.functional.normalize(slopes[torch.arange(len(moving)), k], dim=1)
            w[moving] -= 2 * (normal * w[moving]).sum(dim=1, keepdim=True).clamp_max(0) * normal
        return y + left[:, None] * w, w

    def _first_contact(self, y, w, left):
        """When a gap first closes within `left` (B,), and which: -1, at the end, where none does."""
        part = torch.linspace(0, 1, _GRID + 1, device=y.device) * left[:, None]
        path = y[:, None] + part[..., None] * w[:, None]
        gap = self.gaps(path.flatten(0, 1)).unflatten(0, part.shape)
        closed = (gap[:, 1:] < 0) & (gap[:, 1:] < gap[:, :-1])
        meets, row = closed.any(dim=2).max(dim=1)
        k = closed[torch.arange(len(y)), row].float().argmax(dim=1)
        low, high = (torch.where(meets, part.gather(1, (row + more)[:, None])[:, 0], left) for more in (0, 1))
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            inside = self.gaps(y + middle[:, None] * w)[torch.arange(len(y)), k] < 0
            low, high = torch.where(inside, low, middle), torch.where(inside, middle, high)
        return torch.where(meets, low, left), torch.where(meets, k, -1)


def _loss(gaps, points, normals, visited, sharpness):
    gap, slope = gaps.with_slopes(points)
    wrong = gap.square() + (slope - normals[:, None]).square().sum(dim=2)
    share = torch.softmax(-wrong.detach() / sharpness, dim=1)
    cut_off = torch.relu(_KEEP_OUT - gaps(visited)).sum(dim=1).mean()
    behind = torch.relu(-gap - _KEEP_OUT).sum(dim=1).mean()
    return (share * wrong).sum(dim=1).mean() + 10 * (cut_off + behind)
