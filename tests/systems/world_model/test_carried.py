"""Bodies of one colour, carried from picture to picture."""

import numpy as np
import pytest
import torch

pytest.importorskip("gymnasium")

from hjepa_utils.systems.world_model.balls import draw_balls, record_balls
from hjepa_utils.systems.world_model.carried import carried_places, in_order, pushed_first


def seen(states):
    frames = draw_balls(states, one_colour=True)
    return torch.from_numpy(frames).permute(0, 3, 1, 2)[None].float() / 255


def test_bodies_that_bounce_off_each_other_keep_their_slots():
    """Head on, in touch at frame 8: the places to a tenth of a pixel, and nobody changes sides."""
    gap = 0.16 + 0.04 * np.abs(np.arange(17) - 8)
    states = np.zeros((17, 2, 4))
    states[:, 0, 0], states[:, 1, 0] = -gap, gap
    states[:, 1, 1] = 0.02
    q = carried_places(seen(states), 2)[0].unflatten(1, (2, 2))
    first = int(q[0, 0, 0] > 0)  # which ball slot 0 begins on
    true = torch.from_numpy(states[:, [first, 1 - first], :2]).float()
    assert (q - true).abs().max() < 0.1 / 32


def test_the_pushed_one_is_known_by_what_it_does():
    episodes = record_balls(6, 60, rng=np.random.default_rng(0), one_colour=True)
    pushed = episodes.actions.abs().sum(dim=(1, 2)) > 1
    true = episodes.states[..., :2].flatten(2).float()
    swapped = in_order(true, torch.tensor([[1, 0]] * 6))
    assert pushed_first(true, episodes.actions)[pushed].tolist() == [[0, 1]] * int(pushed.sum())
    order = pushed_first(swapped, episodes.actions)
    assert order[pushed].tolist() == [[1, 0]] * int(pushed.sum())
    assert torch.equal(in_order(swapped, order)[pushed], true[pushed])


def test_a_slot_without_a_pixel_stays():
    q = carried_places(torch.zeros(1, 3, 3, 64, 64), 2)
    assert torch.equal(q[:, 0], q[:, 2])
    assert q.isfinite().all()
