"""Toy Physics against closed forms, differences of the energy, and another solver."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from hjepa_utils import simulate_toy, toy_energy
from hjepa_utils.simulators.toy_physics import toy_places, toy_system
from hjepa_utils.simulators.toy_systems import SYSTEMS

NAMES = list(SYSTEMS)
WITH_BODIES = ("two_body", "three_body")


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def trajectories():
    """512 frames of each, as published."""
    return {name: simulate_toy(name, 24, 512, rng=rng(1)) for name in NAMES}


@pytest.mark.parametrize(("name", "width", "reach", "radius"), [
    ("mass_spring", 2, 1.39894, 0.39894),
    ("pendulum", 2, 1.39894, 0.39894),
    ("double_pendulum", 4, 2.39894, 0.39894),
    ("two_body", 8, 2.75, 0.56419),
    ("three_body", 12, 2.75, 0.56419),
])  # fmt: skip
def test_widths_pictures_and_discs_are_the_published_ones(name, width, reach, radius):
    assert simulate_toy(name, 3, 2, rng=rng()).shape == (3, 2, width)
    np.testing.assert_allclose(
        [toy_system(name).reach, *toy_system(name).radii[:1]], [reach, radius], atol=1e-5
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_flow_is_that_of_the_energy(name):
    z, h = simulate_toy(name, 5, 1, rng=rng(2))[:, 0], 1e-6
    shifts = h * np.eye(z.shape[-1])
    slopes = np.stack([toy_energy(name, z + s) - toy_energy(name, z - s) for s in shifts], -1) / (2 * h)
    dh_dq, dh_dp = np.split(slopes, 2, axis=-1)
    dq, dp = toy_system(name).flow(*np.split(z, 2, axis=-1))
    np.testing.assert_allclose(dq, dh_dp, atol=1e-8)
    np.testing.assert_allclose(dp, -dh_dq, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_energy_stays_to_the_solvers_tolerance(name, trajectories):
    energy = toy_energy(name, trajectories[name])
    drift = np.abs(energy - energy[:, :1]).max(axis=1)
    worst = trajectories[name][drift.argmax()]
    alone = solve_ivp(  # the suite's own solver, given this trajectory alone
        lambda _, z: np.concatenate(toy_system(name).flow(*np.split(z, 2))), (0, 0.05 * 511), worst[0],
        rtol=1e-9, atol=1e-9,
    ).y.T  # fmt: skip
    suites = np.abs(toy_energy(name, alone) - energy[drift.argmax(), 0]).max()
    assert drift.max() < max(suites, 1e-7)
    assert np.ptp(energy[:, 0]) > 0.1  # and the energies are not all alike


def test_the_spring_is_the_closed_form(trajectories):
    q, p = trajectories["mass_spring"][..., 0], trajectories["mass_spring"][..., 1]
    t, omega = 0.05 * np.arange(512), 2.0
    expected = q[:, :1] * np.cos(omega * t) + p[:, :1] / (0.5 * omega) * np.sin(omega * t)
    np.testing.assert_allclose(q, expected, atol=1e-6)


def test_a_trajectory_in_company_is_as_exact_as_one_alone(trajectories):
    together = trajectories["pendulum"][0]
    alone = solve_ivp(
        lambda _, z: [z[1] / 0.5, -1.5 * np.sin(z[0])], (0, 0.05 * 511), together[0], "LSODA",
        [0.05 * 511], rtol=1e-12, atol=1e-12,
    ).y[:, 0]  # fmt: skip
    np.testing.assert_allclose(together[-1], alone, atol=1e-6)


def test_starts_are_the_suites():
    ring = np.linalg.norm(simulate_toy("pendulum", 4000, 1, rng=rng())[:, 0], axis=-1)
    assert ring.min() >= 1.3 and ring.max() <= 2.3
    np.testing.assert_allclose(ring.mean(), 1.8, atol=0.02)  # uniform in the radius, not over the area
    q, p = simulate_toy("mass_spring", 4000, 1, rng=rng())[:, 0].T
    np.testing.assert_allclose(np.hypot(q, p / np.sqrt(2.0 * 0.5)).mean(), 0.55, atol=0.02)
    double = simulate_toy("double_pendulum", 4000, 1, rng=rng())[:, 0].reshape(-1, 2, 2)
    assert np.linalg.norm(double, axis=1).min() >= 1.3 and np.linalg.norm(double, axis=1).max() <= 2.3
    x, y = simulate_toy("two_body", 4000, 1, rng=rng())[:, 0, :2].T
    assert min(x.min(), y.min()) >= 0.5 and max(x.max(), y.max()) <= 1.5


def test_a_third_of_the_pendulums_goes_over_the_top():
    energy = toy_energy("pendulum", simulate_toy("pendulum", 20_000, 1, rng=rng())[:, 0])
    np.testing.assert_allclose((energy > 3.0).mean(), 0.316, atol=0.01)  # 3 = 2 m g l, the separatrix


@pytest.mark.parametrize("name", WITH_BODIES)
def test_bodies_go_in_circles_about_their_common_centre(name, trajectories):
    places = toy_places(name, trajectories[name])
    np.testing.assert_allclose(places.sum(axis=-2), 0, atol=1e-6)
    distance = np.linalg.norm(places[:, :200], axis=-1)
    np.testing.assert_allclose(distance, np.broadcast_to(distance[:, :1, :1], distance.shape), atol=1e-4)
    start = trajectories[name][:, 0].reshape(24, 2, -1, 2)
    np.testing.assert_allclose((start[:, 0] * start[:, 1]).sum(axis=-1), 0, atol=1e-12)  # at right angles


@pytest.mark.parametrize("name", NAMES)
def test_no_body_leaves_the_picture(name, trajectories):
    system = toy_system(name)
    farthest = np.abs(toy_places(name, trajectories[name])) + system.radii[:, None]
    assert farthest.max() <= system.reach + 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_coordinates_and_momenta_are_found_again(name, trajectories):
    system, z = toy_system(name), trajectories[name][:, :5]
    q, p = np.split(z, 2, axis=-1)
    again = system.coordinates(system.places(q))
    turns = (again - q) / (2 * np.pi)
    np.testing.assert_allclose(turns, np.round(turns) if system.angular else 0, atol=1e-9)
    np.testing.assert_allclose(system.momenta(q, system.flow(q, p)[0]), p, atol=1e-9)


def test_friction_takes_energy_at_the_rate_of_its_power():
    z = simulate_toy("pendulum", 8, 200, rng=rng(), friction=0.05)
    energy, power = toy_energy("pendulum", z), -0.05 * (z[..., 1] / 0.5) ** 2
    by_simpson = 0.05 / 3 * (power[:, :-2:2] + 4 * power[:, 1:-1:2] + power[:, 2::2])
    np.testing.assert_allclose(np.diff(energy[:, ::2], axis=1)[:, :99], by_simpson, atol=2e-6)
    assert (energy[:, -1] < 0.7 * energy[:, 0]).all()


@pytest.mark.parametrize(("change", "words"), [
    ({"system": "spring"}, "no toy system 'spring'; there are mass_spring, pendulum"),
    ({"system": 3}, "no toy system 3"),
    ({"n": 0}, "n must be a whole number, 1 or more, got 0"),
    ({"n_frames": 2.5}, "n_frames must be a whole number"),
    ({"rng": 7}, "rng must be a numpy.random.Generator, got int"),
    ({"friction": True}, "friction must be a number, from 0 to 100, got True"),
    ({"friction": 1e49}, "friction must be a number, from 0 to 100, got 1e[+]49"),
    ({"friction": -1.0}, "friction must be a number, from 0 to 100, got -1.0"),
])  # fmt: skip
def test_bad_input_is_one_sentence(change, words):
    given = {"system": "pendulum", "n": 2, "n_frames": 2, "rng": rng()} | change
    system, n, n_frames = (given.pop(key) for key in ("system", "n", "n_frames"))
    with pytest.raises(ValueError, match=words):
        simulate_toy(system, n, n_frames, **given)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e60])
def test_states_that_are_not_finite_are_refused(value):
    for of_states in (toy_energy, toy_places):
        with pytest.raises(
            ValueError, match=f"states must be finite, below 1e50, got {value:g}".replace("+", ".")
        ):
            of_states("pendulum", [[0.1, value]])


def test_states_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"states of two_body are \(…, 8\), q then p; got \(3, 4\)"):
        toy_energy("two_body", np.zeros((3, 4)))
