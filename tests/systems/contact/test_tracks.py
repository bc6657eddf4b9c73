"""Positions alone: velocities, and contact dynamics from tracks of this project's simulator and of pymunk."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import oscillators

import hjepa_utils as hj
from hjepa_utils.simulators.pymunk_table import simulate_pymunk
from hjepa_utils.systems.contact.surfaces import Pair, Wall
from hjepa_utils.systems.contact.tracks import states_from_tracks

ANGLES = 0.2 + np.arange(6) * np.pi / 3  # as make_pymunk_tracks.py
HEXAGON = 128 + 120 * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
RADII, MASSES = (15.0, 25.0), (1.0, 3.0)


def videos(n, seed=0):
    return np.stack([hj.simulate_collisions(150, rng=np.random.default_rng([seed, k])) for k in range(n)])


def pymunk_tracks():
    return np.load(Path(__file__).with_name("pymunk_tracks.npz"))["tracks"]


def test_velocities_are_those_of_the_simulator_where_a_body_flies():
    states = videos(5)
    estimated = states_from_tracks(states[..., :2]).numpy()
    velocities = estimated[..., 4:].reshape(5, 150, 2, 2) * 30
    known = np.isfinite(velocities)
    assert known.mean() > 0.95
    np.testing.assert_allclose(velocities[known], states[..., 2:][known], atol=1e-8)
    np.testing.assert_allclose(estimated[..., :4].reshape(5, 150, 2, 2), states[..., :2], atol=1e-9)


def test_lines_through_runs_take_noise_away():
    states, rng = videos(5), np.random.default_rng(0)
    noisy = states[..., :2] + rng.normal(scale=0.5, size=states[..., :2].shape)
    velocities = states_from_tracks(noisy).numpy()[..., 4:].reshape(5, 150, 2, 2) * 30
    wrong = np.abs(velocities - states[..., 2:])
    differences = np.abs(np.diff(noisy, axis=1) * 30 - states[:, 1:, :, 2:])
    assert np.nanmedian(wrong) < np.median(differences) / 10


def test_positions_of_the_simulator_give_its_walls():
    model = hj.ContactDynamics.fit_tracks(videos(10)[..., :2])
    walls = [surface for surface in model.surfaces if isinstance(surface, Wall)]
    (pair,) = [surface for surface in model.surfaces if isinstance(surface, Pair)]
    found = sorted((wall.body, round(wall.offset, 6)) for wall in walls)
    assert found == [(k, offset) for k in (0, 1) for offset in (-236.0, -236.0, 20.0, 20.0)]
    assert pair.distance == pytest.approx(40, abs=1e-6)


def test_pymunks_hexagon_masses_and_radii_are_found():
    model = hj.ContactDynamics.fit_tracks(pymunk_tracks()[:12])
    walls = [surface for surface in model.surfaces if isinstance(surface, Wall)]
    (pair,) = [surface for surface in model.surfaces if isinstance(surface, Pair)]
    apothem = 120 * np.cos(np.pi / 6)
    for body, radius in enumerate(RADII):
        own = [wall for wall in walls if wall.body == body]
        angles = np.sort([np.arctan2(-wall.normal[1], -wall.normal[0]) for wall in own])
        np.testing.assert_allclose(np.diff(angles), np.pi / 3, atol=2e-3)
        from_centre = [wall.normal @ [128, 128] - wall.offset for wall in own]
        np.testing.assert_allclose(from_centre, apothem - radius, atol=0.1)
    assert pair.distance == pytest.approx(sum(RADII), abs=0.1)
    assert model.mass[1].item() == pytest.approx(MASSES[1] / MASSES[0], rel=1e-3)


def test_pymunks_motion_is_predicted_for_a_second():
    tracks = pymunk_tracks()
    model, new = hj.ContactDynamics.fit_tracks(tracks[:12]), tracks[12:]
    states, errors = states_from_tracks(new), []
    for video, time in np.argwhere(np.isfinite(states.numpy()).all(axis=2))[::7]:
        if time < 120:
            with torch.no_grad():
                predicted = model.rollout(states[video, time], 30)[:, :4].numpy().reshape(31, 2, 2)
            errors.append(np.linalg.norm(predicted - new[video, time : time + 31], axis=-1).max())
    assert np.median(errors) < 0.3 and np.quantile(errors, 0.8) < 2.0  # px; a disc goes 120 px in that time


def test_says_what_is_wrong_with_positions():
    positions = videos(2)[..., :2]
    broken, resting = positions.copy(), positions.copy()
    broken[1, 9, 0, 1], resting[:, :, 1] = np.nan, 100.0
    turns = oscillators(4, length=150, interval=0.1)[..., :2].reshape(4, 150, 1, 2).numpy()
    for bad, message in [
        (broken, "video 1 holds NaN or infinity at time 9 for body 0"),
        (resting, "body 1 never moves"),
        (positions[0], r"n_videos, n_times, n_bodies, n_dims.*got float64 \(150, 2, 2\)"),
        (positions[:, :4], "five times or more"),
        (turns, "contacts change the energy, .* only contacts that keep it can be learned"),
    ]:
        with pytest.raises(ValueError, match=message):
            hj.ContactDynamics.fit_tracks(bad)


@pytest.mark.skipif(find_spec("pymunk") is not None, reason="pymunk is installed")
def test_says_that_pymunk_is_missing():
    with pytest.raises(ImportError, match="pip install pymunk"):
        simulate_pymunk(1, 5, rng=np.random.default_rng(0))


@pytest.mark.skipif(find_spec("pymunk") is None, reason="pymunk is an extra")
def test_pymunk_keeps_the_energy_and_makes_these_tracks():
    tracks = simulate_pymunk(
        1, 150, rng=np.random.default_rng(0), corners=HEXAGON, radii=RADII, masses=MASSES
    )
    np.testing.assert_allclose(tracks[0, :5], pymunk_tracks()[0, :5], rtol=1e-6)
