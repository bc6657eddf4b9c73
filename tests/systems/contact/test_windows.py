"""Windows of latents explained by free states: on latents that a known readout makes of known bodies."""

import numpy as np
import pytest
import torch

import hjepa_utils as hj
from hjepa_utils.systems.contact import windows as w
from hjepa_utils.systems.contact.readout import FrameReadout


def readout(seed):
    with hj.seeded(seed):
        return FrameReadout(2, 2, 24, n_units=32, n_waves=2)


@pytest.fixture(scope="module")
def hidden():
    """The true table, states at clips (n_videos, 34, 8) in its gauge, their latents (n_videos, 34, 24)."""
    videos = np.stack([hj.simulate_collisions(150, rng=np.random.default_rng([3, k])) for k in range(10)])
    middles = torch.from_numpy(hj.Clips().middles(videos).copy())
    speed = w.SPEED * w.STRIDE / 30 / 108
    states = torch.cat(
        [(middles[..., :2].flatten(2) - 128) / 108, middles[..., 2:].flatten(2) * speed], dim=-1
    )
    table = w.unit_table(2, pairs=[(0, 1)], distance=40 / 108)
    with torch.no_grad():
        path = table.states_at(states[:, 0], [w.STRIDE * 0 + f for f in range(-7, 140, 2)]).float()
        latents = readout(0).of_windows(path)
    return table, states, (latents - latents.mean(dim=(0, 1))) / latents.std(dim=(0, 1))


def test_the_unit_table_moves_bodies_as_the_simulator_does(hidden):
    table, states, _ = hidden
    found = table.states_at(states[:, 3], [w.STRIDE * k for k in range(8)])
    torch.testing.assert_close(found, states[:, 3:11], atol=1e-9, rtol=0)


def test_windows_cover_a_video():
    assert w.window_starts(34) == [0, 6, 11, 17, 22, 28]
    assert w.window_starts(6) == [0]
    assert w.frames_of()[0] == -19 and len(w.frames_of()) == 18


def test_first_states_are_the_true_ones_where_nothing_is_met(hidden):
    _, states, _ = hidden
    starts = w.window_starts(34)
    found = w.first_states(states[..., :4], starts)
    middles = torch.stack([states[:, s + 3] for s in starts], dim=1).flatten(0, 1)
    torch.testing.assert_close(found[:, :4], middles[:, :4])
    assert ((found - middles).abs().amax(dim=1) < 1e-6).double().mean() > 0.3


def test_states_and_readout_and_distance_are_found_together(hidden):
    _, states, latents = hidden
    starts = w.window_starts(34)
    table = w.unit_table(2, pairs=[(0, 1)], distance=0.3)
    z = w.cut(latents, starts)
    generator = torch.Generator().manual_seed(0)
    rough = w.first_states(states[..., :4], starts)
    rough = rough + 0.02 * torch.randn(rough.shape, generator=generator, dtype=torch.float64)
    first = w.fit_windows(table, readout(1), rough, z, n_steps=150)
    better = w.begin_again(table, first, z, starts, generator=generator)
    assert (better.errors <= first.errors).all() and (better.errors < first.errors).any()
    second = w.fit_windows(table, first.readout, better.states, z, n_steps=150, share=0.9)
    assert second.errors.median() < first.errors.median() < 0.5
    assert abs(table.pair_distance.item() - 40 / 108) < 0.6 * (40 / 108 - 0.3)


def test_readouts_of_wrong_bodies_read_other_videos_worse(hidden):
    table, states, latents = hidden
    starts = w.window_starts(34)
    z, video_of = w.cut(latents, starts), torch.arange(10).repeat_interleave(len(starts))
    free = w.unit_table(2)
    errors = []
    for order in ([0, 1, 2, 3], [0, 3, 1, 2]):  # x and y of one ball; x of one with y of the other
        own = w.first_states(states[..., order], starts)
        path = w.explain(free, readout(2), own)
        fitted = w.Fitted(own, (path - z).square().mean(dim=(1, 2)).detach(), readout(2))
        errors.append(w.held_out_error(free, fitted, z, video_of, seed=0, share=1.0))
    assert errors[0] < errors[1]
    assert table.n_bodies == 2
