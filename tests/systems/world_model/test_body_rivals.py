"""What an interaction network can see, and that its rollout is one of steps."""

import torch

from hjepa_utils import seeded
from hjepa_utils.systems.world_model.body_rivals import DrivenInteraction


def network(n_bodies=2):
    with seeded(0):
        return DrivenInteraction(n_bodies, 2, dt=0.05)


def drawn(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def test_a_rollout_goes_on_from_where_it_is():
    model, z0, u = network(), drawn(3, 8), drawn(3, 6, 2)
    whole = model.rollout(z0, u)
    assert whole.shape == (3, 7, 8)
    torch.testing.assert_close(model.rollout(whole[:, 4], u[:, 4:])[:, -1], whole[:, -1])
    many = model.rollout(z0[:, None].expand(-1, 5, -1), u[:, None].expand(-1, 5, -1, -1))
    torch.testing.assert_close(many[:, 2], whole)


def test_bodies_see_each_other_through_pairs_alone():
    model, z0, u = network(), drawn(1, 8), drawn(1, 1, 2)
    other = z0.clone()
    other[0, [2, 3, 6, 7]] += 0.3  # the second body
    first = torch.tensor([0, 1, 4, 5])
    moved, apart = (model.rollout(z, u)[0, 1, first] for z in (z0, other))
    assert (moved - apart).abs().max() > 1e-5
    with torch.no_grad():
        for parameter in model.pair[-1].parameters():
            parameter.zero_()
    moved, apart = (model.rollout(z, u)[0, 1, first] for z in (z0, other))
    assert torch.equal(moved, apart)


def test_it_does_not_ask_for_the_order_of_those_around():
    """Of three bodies, the first goes the same way if the other two change their numbers."""
    model, z0, u = network(3), drawn(1, 12), drawn(1, 1, 2)
    swapped = z0.unflatten(1, (2, 3, 2))[:, :, [0, 2, 1]].flatten(1)
    first = torch.tensor([0, 1, 6, 7])
    torch.testing.assert_close(model.rollout(z0, u)[0, 1, first], model.rollout(swapped, u)[0, 1, first])
