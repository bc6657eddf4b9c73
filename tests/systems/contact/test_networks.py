"""Surfaces as networks: gradients, the events they are trained on, and that training finds walls."""

import numpy as np
import pytest
import torch

import hjepa_utils as hj
from hjepa_utils.systems.contact.networks import GapNetworks, NetworkContactDynamics, contact_events

RADIUS, SIZE = 20.0, 256.0


@pytest.fixture(scope="module")
def states():
    """Ten videos (10, 34, 8), positions and then velocities, 2 / 15 s apart."""
    rngs = [np.random.default_rng([0, k]) for k in range(10)]
    videos = torch.from_numpy(np.stack([hj.simulate_collisions(133, rng=rng) for rng in rngs]))[:, ::4]
    return torch.cat([videos[..., :2].flatten(2), videos[..., 2:].flatten(2)], dim=-1)


def test_slopes_are_those_of_autograd():
    with hj.seeded(0):
        gaps = GapNetworks(4, 3, 5, torch.randn(4), torch.tensor(2.0)).double()
    y = torch.randn(6, 4, dtype=torch.float64, generator=torch.manual_seed(1)).requires_grad_()
    gap, slopes = gaps.with_slopes(y)
    torch.testing.assert_close(gaps(y), gap)
    for k in range(3):
        (expected,) = torch.autograd.grad(gap[:, k].sum(), y, retain_graph=True)
        torch.testing.assert_close(slopes[:, k], 2.0 * expected)


def test_events_lie_on_walls_or_at_the_distance_of_contact(states):
    model = hj.ContactDynamics.fit(states)
    points, normals = contact_events(model, states)
    assert len(points) > 30
    q = points.detach().numpy().reshape(-1, 2, 2)  # one mass, one unit: y is in pixels
    to_wall = np.minimum(q - RADIUS, SIZE - RADIUS - q).min(axis=(1, 2))
    between = np.linalg.norm(q[:, 0] - q[:, 1], axis=1) - 2 * RADIUS
    np.testing.assert_allclose(np.minimum(to_wall, between), 0, atol=1e-6)
    wall = to_wall < between
    assert wall.any() and not wall.all()
    np.testing.assert_allclose(normals[wall].abs().amax(dim=1), 1, atol=1e-9)


def test_training_finds_a_table_and_goes_on_from_its_state(states, tmp_path):
    options = {"seed": 0, "n_surfaces": 12, "n_updates": 150}
    model = NetworkContactDynamics.fit(states, checkpoint=tmp_path, **options)
    again = NetworkContactDynamics.fit(states, checkpoint=tmp_path, **options)  # reads it
    untrained = NetworkContactDynamics.fit(states, **options | {"n_updates": 1})
    windows = hj.make_windows(states, 6).flatten(0, 1)[::7]
    spread = states.flatten(0, 1).std(dim=0)

    def error(model):
        return ((model.rollout(windows[:, 0], 5) - windows)[:, 1:] / spread).square().mean().item()

    assert torch.equal(again.rollout(windows[:, 0], 5), model.rollout(windows[:, 0], 5))
    straight = (
        windows[:, :1, :4] + torch.arange(6)[:, None] * 4 / 30 * windows[:, :1, 4:],
        windows[:, :1, 4:],
    )
    through_walls = (torch.cat([straight[0], straight[1].expand(-1, 6, -1)], dim=-1) - windows)[
        :, 1:
    ] / spread
    assert error(model) < 0.5 * min(error(untrained), through_walls.square().mean().item())


def test_between_contacts_bodies_fly_straight(states):
    model = NetworkContactDynamics.fit(states, seed=0, n_updates=1)
    with torch.no_grad():
        model.gaps.level.fill_(1e3)  # no surface anywhere near
        path = model.rollout(states[:, 0], 3)
    expected = states[:, 0, :4] + 3 * 4 / 30 * states[:, 0, 4:]
    torch.testing.assert_close(path[:, 3, :4], expected, rtol=1e-4, atol=1e-2)
