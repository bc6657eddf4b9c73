"""When an action acts: half before and half after the drift, or all of it before."""

import math

import pytest
import torch
from torch import nn

from hjepa_utils import Hamiltonian
from hjepa_utils.systems.world_model.dynamics import (
    ConstantDamping,
    ControlledDynamics,
    NoDamping,
    ScaledLinear,
)
from hjepa_utils.systems.world_model.pendulum import true_rollout
from hjepa_utils.systems.world_model.timing import TimedDynamics


class Rod(Hamiltonian):
    """Pendulum-v1's energy."""

    separable = True

    def forward(self, z):
        q, p = z.chunk(2, dim=-1)
        return (p.square() / 2 + 15 * q.cos()).squeeze(-1)


class Free(Hamiltonian):
    """No force at all."""

    separable = True

    def forward(self, z):
        return z.chunk(2, dim=-1)[1].square().sum(dim=-1) / 2


def model(kind, energy, damping, share=0.5, substeps=1):
    control = ScaledLinear(1, 1)
    control.weight.data.fill_(3.0)
    made = kind(energy, control, damping, dt=0.05, substeps=substeps).double()
    if share != 0.5:
        made.lead.data.fill_((share - 0.5) / 3)
    return made


def driven(n=40):
    generator = torch.Generator().manual_seed(0)
    start = torch.tensor([[2.4, 0.0], [3.5, 1.0]], dtype=torch.float64)
    return start, 4 * torch.rand(2, n, 1, generator=generator, dtype=torch.float64) - 2


@pytest.mark.parametrize("substeps", [1, 3])
def test_at_first_it_is_the_action_held(substeps):
    start, actions = driven()
    ours, held = (
        model(kind, Rod(), ConstantDamping(0.2), substeps=substeps)
        for kind in (TimedDynamics, ControlledDynamics)
    )
    torch.testing.assert_close(ours.rollout(start, actions), held.rollout(start, actions))
    for mine, other in zip(ours.ledger(start, actions), held.ledger(start, actions), strict=True):
        torch.testing.assert_close(mine, other)


def test_all_of_it_before_the_drift_is_the_simulators_own_law():
    """Its θ̇ is that of half a step ago: p = θ̇ + h/2 · 15 sin θ. Held, the angle would be off by far more."""
    start, actions = driven()
    true = true_rollout(start, actions)
    assert true[..., 1].abs().max() < 8  # nowhere at the clip
    z0 = torch.stack([start[:, 0], start[:, 1] + 0.025 * 15 * start[:, 0].sin()], dim=-1)
    path = model(TimedDynamics, Rod(), NoDamping(), share=1.0).rollout(z0, actions)
    torch.testing.assert_close(path[..., 0], true[..., 0], rtol=0, atol=1e-9)
    held = model(TimedDynamics, Rod(), NoDamping()).rollout(z0, actions)
    assert (held[..., 0] - true[..., 0]).abs().max() > 1e-2


@pytest.mark.parametrize("share", [0.0, 0.7, 1.0])
def test_without_a_force_the_books_close_whenever_it_acts(share):
    start, actions = driven()
    book = model(TimedDynamics, Free(), ConstantDamping(0.2), share, substeps=2).ledger(start, actions)
    assert book.work.abs().max() > 0.1
    assert book.defect.abs().max() < 1e-12


def test_the_share_is_learned():
    """From angles of the simulator's law, its force and push known."""
    start, actions = driven()
    true = true_rollout(start, actions)[..., 0]
    z0 = torch.stack([start[:, 0], start[:, 1] + 0.025 * 15 * start[:, 0].sin()], dim=-1)
    ours = model(TimedDynamics, Rod(), NoDamping())
    optimiser = torch.optim.Adam([ours.lead], 1e-2)
    for _ in range(60):
        loss = nn.functional.mse_loss(ours.rollout(z0, actions)[..., 0], true)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert ours.share.item() == pytest.approx(1.0, abs=0.05)
    assert math.isfinite(loss.item())
