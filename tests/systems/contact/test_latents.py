"""Bodies to latents and back: additivity, paths through contacts, inversion."""

import numpy as np
import pytest
import torch

import hjepa_utils as hj
from hjepa_utils.systems.contact.inversion import find_states, invert, weights
from hjepa_utils.systems.contact.latents import ContactLatents
from hjepa_utils.systems.contact.readout import (
    BodyReadout,
    FrameReadout,
    StateGuess,
    fit_guess,
    fit_readout,
    frames_seen,
    frames_up_to,
)


@pytest.fixture(scope="module")
def table():
    """Contact dynamics per frame, in units of half a table and 100 px/s, and states of five videos."""
    videos = np.stack([hj.simulate_collisions(150, rng=np.random.default_rng([5, k])) for k in range(12)])
    states = torch.from_numpy(videos)
    states = torch.cat([(states[..., :2].flatten(2) - 128) / 108, states[..., 2:].flatten(2) / 100], dim=-1)
    return hj.ContactDynamics.fit(states).requires_grad_(False), states


def readout(seed=0, dim=24):
    with hj.seeded(seed):
        return BodyReadout(2, 2, dim, n_units=32, n_waves=3).double().requires_grad_(False)


def test_sees_every_second_frame_of_a_clip_around_its_middle():
    assert list(frames_seen()) == [-7, -5, -3, -1, 1, 3, 5, 7]
    assert list(frames_seen(n_clips=16))[-1] == 67 and len(frames_seen(n_clips=16)) == 38


def test_states_at_other_times_are_those_of_the_simulator(table):
    dynamics, states = table
    times = list(frames_seen(n_clips=3))
    found = dynamics.states_at(states[:, 40], times)
    expected = torch.stack([states[:, 40 + time] for time in times], dim=1)
    torch.testing.assert_close(found, expected, atol=1e-8, rtol=0)
    changed = (expected[..., 4:] - expected[:, :1, 4:]).abs().amax(dim=(1, 2)) > 1e-3
    assert changed.sum() >= 3  # through contacts


def test_states_at_no_time_but_now_are_the_state(table):
    dynamics, states = table
    torch.testing.assert_close(dynamics.states_at(states[:, 3], [0])[:, 0], states[:, 3])


def test_is_additive_over_bodies_and_frames():
    model, generator = readout(), torch.Generator().manual_seed(0)
    paths = torch.randn(2, 8, 8, generator=generator, dtype=torch.float64)
    second = [2, 3, 6, 7]
    mixed = paths.clone()
    mixed[0][:, second], mixed[1][:, second] = paths[1][:, second], paths[0][:, second]
    torch.testing.assert_close(model(paths).sum(dim=0), model(mixed).sum(dim=0))
    early = paths.clone()
    early[0, :3], early[1, :3] = paths[1, :3], paths[0, :3]
    torch.testing.assert_close(model(paths).sum(dim=0), model(early).sum(dim=0))
    assert (model(paths)[0] - model(mixed)[0]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", [BodyReadout, FrameReadout])
def test_reads_all_clips_of_a_longer_path(kind, table):
    dynamics, states = table
    with hj.seeded(0):
        model = kind(2, 2, 24, n_units=32, n_waves=3).double().requires_grad_(False)
    path = dynamics.states_at(states[:, 20], list(frames_seen(n_clips=4)))
    found = model.of_windows(path)
    assert found.shape == (12, 4, 24)
    for clip in range(4):
        own = dynamics.states_at(states[:, 20 + 4 * clip], list(frames_seen()))
        torch.testing.assert_close(found[:, clip], model(own), atol=1e-7, rtol=0)
    torch.testing.assert_close(model(path[3, :8]), found[3, 0])


def test_learns_what_another_readout_says(table, tmp_path):
    _, states = table
    paths = states[:, :144].unflatten(1, (9, 16))[:, :, 1::2].flatten(0, 1).float()
    with hj.seeded(1):
        teacher = BodyReadout(2, 2, 5, n_units=16, n_waves=1).requires_grad_(False)
        model = BodyReadout(2, 2, 5, n_units=64, n_waves=2)
    model.save_pretrained(tmp_path)
    again = BodyReadout.from_pretrained(tmp_path)
    latents = teacher(paths)
    errors = [
        fit_readout(model, paths, latents, seed=0, n_epochs=60, batch_size=16) for model in (model, again)
    ]
    assert errors[0] == errors[1] < 0.1 * latents.var(dim=0).mean().item()


def test_finds_the_state_behind_a_latent(table):
    dynamics, states = table
    true, frames = states[:, 70], list(frames_seen())
    readouts = [readout(seed) for seed in (0, 1)]
    z = torch.stack([model(dynamics.states_at(true, frames)) for model in readouts]).mean(dim=0)[:, None]
    generator = torch.Generator().manual_seed(0)
    starts = true + 0.02 * torch.randn(2, *true.shape, generator=generator, dtype=torch.float64)
    found, residuals = invert(dynamics, readouts, z, starts, n_steps=300, lr=0.01)
    best = found[residuals.argmin(dim=0), torch.arange(len(true))]
    assert (best - true).abs().amax(dim=1).median() < 1e-3
    assert (starts - true).abs().amax(dim=2).min(dim=0).values.median() > 1e-2
    assert found.shape == starts.shape and residuals.shape == (2, 12)


def test_likely_states_come_best_first(table):
    dynamics, states = table
    true, frames, model = states[:4, 70], list(frames_seen()), readout()
    z = model(dynamics.states_at(true, frames))
    found, residuals = find_states(
        dynamics, [model], z[:, None], lambda z: true + 0.05,
        generator=torch.Generator().manual_seed(0), n_starts=5, n_kept=3,
    )  # fmt: skip
    assert found.shape == (3, 4, 8) and (residuals.diff(dim=0) >= 0).all()
    assert (residuals[0] < (model(dynamics.states_at(true + 0.05, frames)) - z).square().mean(dim=1)).all()
    counted = weights(residuals)
    torch.testing.assert_close(counted.sum(dim=0), torch.ones(4, dtype=torch.float64))
    assert (counted.diff(dim=0) <= 0).all()


def test_latents_are_predicted_by_the_bodies_behind_them(table):
    dynamics, states = table
    true, model = states[:4, 60], readout()
    path = dynamics.states_at(true, list(frames_seen(n_clips=6)))
    z = model.of_windows(path)

    class NearlyThere(torch.nn.Module):
        def forward(self, z):
            return true[: len(z)] + 0.02

    predictor = ContactLatents(dynamics, [model], NearlyThere(), n_starts=4, n_kept=2)
    predicted = predictor.rollout(z[:, 0], 5)
    assert predicted.shape == z.shape and torch.equal(predicted[:, 0], z[:, 0])
    assert torch.equal(predictor.rollout(z[:, 0], 5), predicted)
    error, unmoved = ((p - z)[:, 1:].square().mean(dim=(1, 2)) for p in (predicted, z[:, :1].expand_as(z)))
    assert error.median() < 0.01 * unmoved.median()
    kinetic = predictor.energy(z[:, 0])
    assert (kinetic / dynamics.energy(true) - 1).abs().median() < 0.01


def test_two_clips_tell_more_than_one(table, tmp_path):
    dynamics, states = table
    at, model = states[:, 64], readout(2)
    z = model.of_windows(dynamics.states_at(states[:, 60], list(frames_seen(n_clips=7))))

    class NotFar(torch.nn.Module):
        def forward(self, z):
            return at + 0.05

    predictor = ContactLatents(dynamics, [model], NotFar(), n_starts=6, n_kept=2)
    found, residuals = predictor.states_behind(z[:, :2])
    assert found.shape == (2, 12, 8) and residuals.shape == (2, 12)
    read = model.of_windows(dynamics.states_at(found[0], frames_up_to(2)))  # back through the clip before
    torch.testing.assert_close((read - z[:, :2]).square().mean(dim=(1, 2)), residuals[0])
    two, one = predictor.rollout_from(z[:, :2], 5), predictor.rollout(z[:, 1], 5)
    assert two.shape == one.shape == (12, 6, 24) and torch.equal(two[:, 0], z[:, 1])
    errors = [(predicted - z[:, 1:]).square().mean(dim=(1, 2)).median() for predicted in (two, one)]
    assert errors[0] < errors[1]
    for _ in range(2):  # the second time from the file
        kept = predictor.states_behind(z[:, :2], tmp_path / "states.safetensors")
        assert torch.equal(kept[0], found) and torch.equal(kept[1], residuals)
    assert len(list(tmp_path.iterdir())) == 1
    batched = predictor.rollout_from(z[:, :2].reshape(3, 4, 2, 24), 5)
    assert torch.equal(batched.flatten(0, 1), two)


def test_a_guess_learns_a_linear_map():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(512, 6, generator=generator)
    states = z @ torch.randn(6, 4, generator=generator)
    with hj.seeded(0):
        guess = StateGuess(6, 4, dropout=0.0)
    fit_guess(guess, z, states, seed=0, n_epochs=40)
    with torch.no_grad():
        assert (guess(z) - states).square().mean() < 0.05 * states.square().mean()
