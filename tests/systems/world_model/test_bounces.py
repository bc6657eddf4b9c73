"""Hard contacts against the project's exact event-driven flights, finite differences, and their own books."""

import numpy as np
import pytest
import torch

from hjepa_utils import advance_balls, seeded, symplectic_defect
from hjepa_utils.simulators.pushed import push_balls
from hjepa_utils.systems.world_model.bounces import BouncingDynamics, HardBodies
from hjepa_utils.systems.world_model.dynamics import ConstantDamping, ScaledLinear

HALF, DT = 128.0, 0.05  # px


def table(n_bodies=2, **settings):
    """The collection's table: balls of 20 px in 256 px."""
    return HardBodies(n_bodies, 1 - 20 / HALF, 40 / HALF, **settings).double()


def to_z(px):
    """(…, N, 4) in px and px/s → (…, 4 N)."""
    px = torch.as_tensor(px)
    return torch.cat([(px[..., :2] / HALF - 1).flatten(-2), (px[..., 2:] / HALF).flatten(-2)], dim=-1)


def starts(n, n_balls=2, seed=0):
    rng, found = np.random.default_rng(seed), []
    while len(found) < n:
        at = rng.uniform(21, 235, (n_balls, 2))
        apart = np.linalg.norm(at[:, None] - at, axis=-1)[np.triu_indices(n_balls, 1)]
        if apart.min() > 41:
            found.append(np.hstack([at, rng.uniform(-200, 200, (n_balls, 2))]))
    return np.stack(found)


def driven(hamiltonian, damping, **settings):
    control = ScaledLinear(2, 2 * hamiltonian.n_bodies)
    with torch.no_grad():
        control.weight.zero_()[:2] = 3 * torch.eye(2)
    return BouncingDynamics(hamiltonian, control, damping, dt=DT, **settings).double()


@pytest.mark.parametrize("n_balls", [2, 3])
def test_flights_and_contacts_are_the_exact_ones(n_balls):
    """A second of 20 drifts, walls and bodies met on the way, against `advance_balls`, which finds roots
    in another way, one state at a time."""
    hamiltonian, px = table(n_balls, n_contacts=4), starts(40, n_balls)
    q, p = to_z(px).chunk(2, dim=-1)
    turned = torch.zeros(len(px), dtype=torch.bool)
    with torch.no_grad():
        for _ in range(20):
            before = p
            q, p = hamiltonian.drift(q, p, DT)
            turned |= (p != before).any(dim=1)
    exact = to_z(np.stack([advance_balls(state, 1.0) for state in px]))
    torch.testing.assert_close(torch.cat([q, p], dim=-1), exact, rtol=0, atol=1e-8)
    assert turned.float().mean() > 0.7


def test_pushed_and_slowed_it_is_the_worlds_law_as_substeps_get_shorter():
    """Against `push_balls`: second order between contacts, and first where a contact meets the push."""
    px = starts(30, seed=3)
    px[..., 2:] *= 0.5
    exact = px
    for _ in range(10):
        forces = np.array([[0.5 * 3 * HALF, -0.3 * 3 * HALF], [0, 0]])
        exact = np.stack([push_balls(state, DT, forces, drag=0.3) for state in exact])
    u = torch.tensor([0.5, -0.3], dtype=torch.float64).expand(30, 10, 2)
    errors = []
    for substeps in (1, 4, 16):
        dynamics = driven(table(), ConstantDamping(0.3), substeps=substeps)
        with torch.no_grad():
            errors.append((dynamics.rollout(to_z(px), u)[:, -1] - to_z(exact)).abs()[:, :4].median().item())
    assert errors[0] < 3e-3
    assert errors[1] < errors[0] / 8
    assert errors[2] < errors[1] / 8


def test_it_is_symplectic_through_contacts():
    hamiltonian = table(n_contacts=4)
    dynamics, none = (
        driven(hamiltonian, lambda q, p: torch.zeros_like(p)),
        torch.zeros(20, 2, dtype=torch.float64),
    )
    for state in to_z(starts(5, seed=1)):
        jacobian = torch.autograd.functional.jacobian(lambda z: dynamics.rollout(z, none)[-1], state)
        assert symplectic_defect(jacobian).relative < 1e-9


def test_the_ledger_closes_to_rounding():
    """A mirror keeps T, so that pushes, drag and contacts leave nothing unexplained."""
    dynamics = driven(table(), ConstantDamping(0.3), substeps=2)
    u = 2 * torch.rand(20, 30, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1
    with torch.no_grad():
        ledger = dynamics.ledger(to_z(starts(20)), u)
    assert ledger.defect.abs().max() < 1e-12
    assert (ledger.dissipated.diff(dim=1) >= 0).all()
    assert ledger.work.abs().max() > 0.1


def test_where_a_body_turned_tells_where_the_wall_is():
    """The gradients by L and D against finite differences."""
    z0 = torch.tensor(
        [[-0.5, 0.0, 0.1, 0.05, 1.2, 0.0, -0.8, 0.0], [0.5, 0.6, -0.5, -0.5, 1.5, 0.9, 0.0, 0.0]],
        dtype=torch.float64,
    )
    weights = torch.linspace(1, 2, 8, dtype=torch.float64)

    def outcome(hamiltonian):
        q, p = z0.chunk(2, dim=-1)
        for _ in range(10):
            q, p = hamiltonian.drift(q, p, DT)
        return (torch.cat([q, p], dim=-1) * weights).sum()

    hamiltonian = table()
    outcome(hamiltonian).backward()
    for name in ("wall", "contact"):
        parameter, values = getattr(hamiltonian, name), []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * 1e-6
                values.append(outcome(hamiltonian).item())
                parameter -= sign * 1e-6
        assert abs(parameter.grad.item()) > 0.01
        assert parameter.grad.item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5)


def test_what_one_call_missed_the_next_one_meets():
    """Beyond the wall and on its way out, a body is put where it would be had it turned in time."""
    hamiltonian = table(1)
    q, p = torch.tensor([[0.9, 0.0]], dtype=torch.float64), torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    with torch.no_grad():
        later, turned = hamiltonian.drift(q, p, 0.1)
    torch.testing.assert_close(later, torch.tensor([[2 * 0.84375 - 1.0, 0.0]], dtype=torch.float64))
    assert turned.tolist() == [[-1.0, 0.0]]


def test_bodies_without_a_distance_of_contact_pass_through_each_other():
    z = torch.tensor([[-0.2, 0.0, 0.2, 0.0, 1.0, 0.0, -1.0, 0.0]])
    q, p = HardBodies(2, contact=0.0).drift(*z.chunk(2, dim=-1), 0.5)
    torch.testing.assert_close(q, torch.tensor([[0.3, 0.0, -0.3, 0.0]]))
    torch.testing.assert_close(p, z[:, 4:])


def test_no_bodies_are_refused():
    with pytest.raises(ValueError, match="one body or more, got 0"), seeded(0):
        HardBodies(0)
