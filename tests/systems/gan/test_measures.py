"""Reading bodies from pictures, and whether the measures say what was done to the videos."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from hjepa_utils import render_toy, simulate_toy, toy_energy
from hjepa_utils.simulators.toy_systems import SYSTEMS
from hjepa_utils.systems.gan import tracks
from hjepa_utils.systems.gan.measures import frozen, gates, measure, observe, physics, shuffled
from hjepa_utils.systems.gan.tracks import find_bodies, motion_of, reading_error


def rng(seed=0):
    return np.random.default_rng(seed)


def real(name, n=60, seed=0, n_frames=16):
    states = simulate_toy(name, n, 40, rng=rng(seed))[:, 40 - n_frames :]
    return states, render_toy(name, states)


@pytest.fixture(scope="module")
def pendulums():
    return real("pendulum", 150), real("pendulum", 150, seed=1)


@pytest.mark.parametrize("name", list(SYSTEMS))
def test_bodies_are_read_where_they_are(name):
    states, frames = real(name, 12)
    mean, largest = reading_error(name, states, frames)
    assert find_bodies(name, frames).seen.all() and mean < 0.03 and largest < 0.15  # px


@pytest.mark.parametrize("name", list(SYSTEMS))
def test_states_and_forces_are_those_of_the_flow_where_frames_are_close(name, monkeypatch):
    system, dt = SYSTEMS[name], 0.0005  # 0.05 s are coarse for a fast double pendulum
    monkeypatch.setattr(tracks, "DT", dt)
    for start in simulate_toy(name, 3, 1, rng=rng())[:, 0]:
        solved = solve_ivp(
            lambda _, z: np.concatenate(system.flow(*np.split(z, 2))), (0, 15 * dt), start,
            t_eval=dt * np.arange(16), rtol=1e-10, atol=1e-10,
        ).y.T  # fmt: skip
        found = motion_of(name, system.places(np.split(solved, 2, axis=-1)[0])[None])
        edge = (16 - found.states.shape[1]) // 2
        true_q, true_p = np.split(solved[edge:-edge], 2, axis=-1)
        q, p = np.split(found.states[0], 2, axis=-1)
        turns = np.round((q - true_q) / (2 * np.pi)) if system.angular else 0
        np.testing.assert_allclose(q - 2 * np.pi * turns, true_q, atol=1e-4)
        np.testing.assert_allclose(p, true_p, atol=1e-3)
        np.testing.assert_allclose(found.rates[0], system.flow(true_q, true_p)[1], atol=1e-2)


def test_an_angle_is_followed_over_the_top():
    q = np.linspace(2, 5, 16)[None, :, None]
    found = motion_of("pendulum", SYSTEMS["pendulum"].places(q))
    np.testing.assert_allclose(found.states[0, :, 1], 0.5 * 0.2 / 0.05, rtol=1e-9)  # p = m l² q̇, throughout


def test_a_body_that_is_missing_doubled_or_small_is_not_seen():
    states, frames = real("pendulum", 1, n_frames=6)
    empty, double, small = frames.copy(), frames.copy(), frames.copy()
    empty[0, 1] = np.array([81, 88, 93])[:, None, None]
    opposite = render_toy("pendulum", states + np.array([np.pi, 0]))
    another = opposite[0, 2, 0] > 90  # redder than the background
    double[0, 2] = np.where(another, opposite[0, 2], frames[0, 2])
    small[0, 3, :, :, :] = np.array([81, 88, 93])[:, None, None]
    small[0, 3, 0, 10:13, 10:13], small[0, 3, 1:, 10:13, 10:13] = 255, 0
    for changed, at in ((empty, 1), (double, 2), (small, 3)):
        assert np.flatnonzero(~find_bodies("pendulum", changed).seen[0, :, 0]).tolist() == [at]
    assert np.isnan(find_bodies("pendulum", empty).places[0, 1]).all()


def test_real_videos_pass_the_gates_and_keep_their_energy(pendulums):
    (_, frames), (states, others) = pendulums
    found = measure("pendulum", frames, observe("pendulum", others))
    assert found["counts"] and found["whole_videos"] == 1
    assert found["energy_within"] < 0.05 and found["force_correlation"] > 0.8
    np.testing.assert_allclose([found["motion"], found["second_differences"]], 1, atol=0.15)
    energy = observe("pendulum", others).energy.mean(axis=1)
    np.testing.assert_allclose(energy, toy_energy("pendulum", states)[:, 0], atol=0.1)  # of 1.1 … 5.3


def test_still_videos_do_not_count_though_their_energy_is_constant(pendulums):
    (_, frames), (_, others) = pendulums
    found = measure("pendulum", frozen(frames), observe("pendulum", others))
    assert not found["counts"] and found["motion"] == 0 and found["places"] < 0.3
    assert np.isnan(found["energy_within"])  # none of them moves


def test_videos_that_are_all_alike_do_not_count(pendulums):
    (_, frames), (_, others) = pendulums
    alike = np.repeat(frames[:1], 50, axis=0)
    assert not measure("pendulum", alike, observe("pendulum", others))["counts"]


def test_frames_in_random_order_are_punished_by_every_measure_of_motion(pendulums):
    (_, frames), (_, others) = pendulums
    made, against = observe("pendulum", shuffled(frames, rng())), observe("pendulum", others)
    found = gates(made, against) | physics(made, against)
    assert not found["counts"] and found["places"] < 0.3  # places alone do not tell
    assert found["energy_within"] > 2 and found["second_differences"] > 10
    assert found["force_correlation"] < 0.5 and found["energies"] > 1


def test_reversed_videos_are_as_good(pendulums):
    (_, frames), (_, others) = pendulums
    against = observe("pendulum", others)
    there, back = (physics(observe("pendulum", f), against) for f in (frames, frames[:, ::-1]))
    np.testing.assert_allclose(list(there.values()), list(back.values()), rtol=1e-6)


def test_a_slower_film_shows_in_the_slope_of_the_force():
    states = simulate_toy("mass_spring", 60, 32, rng=rng())
    q, p = states[..., :1], states[..., 1:]
    t = 0.05 * np.arange(16) * 0.9  # nine tenths of the frequency, from every first state on
    slow = q[:, :1] * np.cos(2 * t)[:, None] + p[:, :1] * np.sin(2 * t)[:, None]  # m ω = 1
    frames = render_toy("mass_spring", np.concatenate([slow, np.zeros_like(slow)], -1))
    against = observe("mass_spring", render_toy("mass_spring", states[:, :16]))
    np.testing.assert_allclose(
        physics(observe("mass_spring", frames), against)["force_slope"], 0.81, atol=0.02
    )


@pytest.mark.parametrize("name", ["mass_spring", "double_pendulum", "two_body", "three_body"])
def test_of_every_system_real_videos_count_and_keep_their_energy(name):
    made, against = (observe(name, real(name, 40, seed)[1]) for seed in (0, 1))
    found, law = gates(made, against), physics(made, against)
    assert found["whole_frames"] == law["whole_videos"] == 1
    assert law["energy_within"] < 0.15 and law["force_correlation"] > 0.8
    np.testing.assert_allclose([law["force_slope"], found["motion"]], 1, atol=0.2)
    assert not gates(observe(name, frozen(real(name, 40)[1])), against)["counts"]


def test_too_few_whole_videos_say_nothing_of_physics(pendulums):
    (_, frames), (_, others) = pendulums
    found = measure("pendulum", frames[:10], observe("pendulum", others))
    assert found["whole_videos"] == 1 and np.isnan(found["energies"])


@pytest.mark.parametrize("name", SYSTEMS)
def test_videos_without_bodies_do_not_count(name):
    blank = np.zeros((30, 16, 3, 32, 32), np.uint8)
    found = measure(name, blank, observe(name, real(name, 40)[1]))
    assert not found["counts"] and found["whole_frames"] == 0 and found["whole_videos"] == 0


@pytest.mark.parametrize(("frames", "words"), [
    (np.zeros((2, 16, 3, 64, 64), np.uint8), r"frames are uint8 \(n, T, 3, 32, 32\), got uint8"),
    (np.zeros((2, 16, 3, 32, 32)), r"got float64 .*: use a uint8 array as render_toy and sample draw them"),
    (np.zeros((2, 16, 32, 32, 3), np.uint8),
     r"got uint8 \(2, 16, 32, 32, 3\): put the channels before the rows"),
    (np.zeros((0, 16, 3, 32, 32), np.uint8), r"got uint8 \(0, 16, 3, 32, 32\)"),
    (None, "got object"),
    (np.zeros((2, 4, 3, 32, 32), np.uint8), "the motion of pendulum needs 5 frames or more, got 4"),
])  # fmt: skip
def test_bad_input_is_one_sentence(frames, words):
    with pytest.raises(ValueError, match=words):
        observe("pendulum", frames)


def test_videos_are_judged_by_their_own_system(pendulums):
    with pytest.raises(ValueError, match="mass_spring cannot be judged by those of pendulum"):
        measure("mass_spring", pendulums[0][1], observe("pendulum", pendulums[1][1]))


def test_what_is_no_videos_cannot_be_judged_or_judge(pendulums):
    made = observe("pendulum", pendulums[0][1])
    still = observe("pendulum", frozen(pendulums[1][1]))
    blank = observe("pendulum", np.zeros((30, 16, 3, 32, 32), np.uint8))
    for real, words in ((still, "50 of them whole"), (blank, "got 30 videos, 0 of them whole: take others")):
        for judge in (gates, physics):
            with pytest.raises(ValueError, match=f"two or more different motions, .*{words}"):
                judge(made, real)
    with pytest.raises(TypeError, match="real must be a Observed, got ndarray"):
        gates(made, pendulums[1][1])
    with pytest.raises(ValueError, match=r"rng must be a numpy.random.Generator, got int"):
        shuffled(pendulums[0][1], 3)


@pytest.mark.parametrize(("states", "places", "words"), [
    (slice(0, 3), None, r"states are \(3, 16, 2\): draw the frames of these states"),
    (None, np.full((2, 6, 1, 2), np.nan), "places must be finite, below 1e50, got nan"),
    (None, np.zeros((2, 6, 2, 2)), r"places of pendulum are \(n, T, 1, 2\), got \(2, 6, 2, 2\)"),
])  # fmt: skip
def test_tracks_of_other_videos_are_refused(pendulums, states, places, words):
    with pytest.raises(ValueError, match=words):
        if places is None:
            reading_error("pendulum", pendulums[0][0][states], pendulums[0][1])
        else:
            motion_of("pendulum", places)
