"""Toy Physics: five small Hamiltonian systems with the constants of the Hamiltonian Dynamics Suite.

Botev et al., "Which priors matter? Benchmarking models for learning latent dynamics" (2021): constant
physics, a frame every 0.05 s. States are (q, p); units are the suite's. `toy_pictures` draws them.
Its three bodies are in the suite's code and in none of its data sets: distances from the centre are here
those of Greydanus et al. (2019), and velocities are at right angles to the places, as circles need.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.integrate import solve_ivp

from .checks import as_floats, check_count, check_generator, is_number

DT = 0.05  # s, between two frames
TOLERANCE = 1e-9  # relative and absolute, of every trajectory
_SOLVED_TOGETHER = 256


@dataclass(frozen=True)
class ToySystem:
    """One system. q and p are (…, n_coordinates), places (…, n_bodies, 2) in units of length."""

    name: str
    n_coordinates: int
    masses: tuple[float, ...]  # of the bodies; a disc of mass m has the radius √(m/π)
    reach: float  # the picture shows -reach … reach, along x and along y
    angular: bool  # q are angles
    draw: Callable  # (rng, n) → q, p at the start
    energy: Callable  # (q, p) → H (…)
    flow: Callable  # (q, p) → q̇, ṗ without friction
    momenta: Callable  # (q, q̇) → p
    places: Callable  # q → places
    coordinates: Callable  # places → q, angles within ±π

    @property
    def radii(self):
        """Of the discs, in units of length: (n_bodies,)."""
        return np.sqrt(np.array(self.masses) / np.pi)


def simulate_toy(system, n, n_frames, *, rng, friction=0.0):
    """Trajectories of one system: float64 (n, n_frames, D), q then p, frames 0.05 s apart.

    `system` is one of `SYSTEMS`; `rng` a `numpy.random.Generator`. Starts are drawn as the suite draws them,
    its variants with friction have `friction=0.05`: ṗ = -∂H/∂q - friction ∂H/∂p. SciPy's RK45 at the
    suite's tolerance of 1e-9, for each trajectory by itself. No body leaves the picture. Raises
    `ValueError` for an unknown system, and for counts, a `friction` or an `rng` that are none.
    """
    system = toy_system(system)
    check_count(n=n, n_frames=n_frames)
    check_generator(rng)
    if not is_number(friction):
        raise ValueError(f"friction must be a number, 0 or more, got {friction!r}")
    z0 = np.concatenate(system.draw(rng, n), axis=-1)
    parts = [z0[i : i + _SOLVED_TOGETHER] for i in range(0, n, _SOLVED_TOGETHER)]
    return np.concatenate([_solve(system, part, n_frames, float(friction)) for part in parts])


def toy_energy(system, states):
    """The true H, in the suite's units: (…, D) → (…). `ValueError` for states of another width."""
    system = toy_system(system)
    return system.energy(*halves(system, states))


def toy_places(system, states):
    """Where the bodies are: (…, D) → (…, n_bodies, 2), x and y in units of length."""
    system = toy_system(system)
    return system.places(halves(system, states)[0])


def toy_system(system):
    """A `ToySystem` by its name. `ValueError` with the names there are for another one."""
    if not isinstance(system, str) or system not in SYSTEMS:
        raise ValueError(f"no toy system {system!r}; there are {', '.join(SYSTEMS)}")
    return SYSTEMS[system]


def halves(system, states):
    """q and p of states (…, D). `ValueError` for another width."""
    states = as_floats(states, "states")
    width = 2 * system.n_coordinates
    if states.ndim == 0 or states.shape[-1] != width:
        raise ValueError(f"states of {system.name} are (…, {width}), q then p; got {states.shape}")
    return states[..., : system.n_coordinates], states[..., system.n_coordinates :]


def _solve(system, z0, n_frames, friction):
    """(n, D) → (n, n_frames, D). Solved side by side, each is as exact as if it were alone: RK45 bounds the
    mean square of all errors in units of the tolerance, so a tolerance smaller by √n bounds every one.
    (DOP853 mixes two estimates over all of them: the same argument does not hold.)"""
    if n_frames == 1:
        return z0[:, None]

    def slope(_, flat):
        q, p = np.split(flat.reshape(z0.shape), 2, axis=-1)
        dq, dp = system.flow(q, p)
        return np.concatenate([dq, dp - friction * dq], axis=-1).ravel()

    times, tolerance = DT * np.arange(n_frames), TOLERANCE / np.sqrt(len(z0))
    solution = solve_ivp(
        slope, times[[0, -1]], z0.ravel(), "RK45", times, rtol=tolerance, atol=tolerance
    )  # fmt: skip
    if not solution.success:
        raise ValueError(f"{system.name} could not be followed for {n_frames} frames: {solution.message}")
    return np.moveaxis(solution.y.reshape(*z0.shape, n_frames), -1, 1)


def _on_a_ring(rng, n, low, high):
    """(n, 2): directions uniform, distances uniform in low … high (so not uniform over the area)."""
    angle, distance = rng.uniform(0, 2 * np.pi, n), rng.uniform(low, high, n)
    return distance[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def _mass_spring(mass=0.5, stiffness=2.0, high=1.0):
    """H = k q²/2 + p²/(2m), hung vertically; q and p / √(km) start on a ring."""

    def draw(rng, n):
        q, p = np.split(_on_a_ring(rng, n, 0.1, high), 2, axis=-1)
        return q, p * np.sqrt(stiffness * mass)

    return ToySystem(
        name="mass_spring", n_coordinates=1, masses=(mass,), angular=False,
        reach=high + np.sqrt(mass / np.pi), draw=draw,
        energy=lambda q, p: (stiffness * q**2 / 2 + p**2 / (2 * mass))[..., 0],
        flow=lambda q, p: (p / mass, -stiffness * q),
        momenta=lambda q, dq: mass * dq,
        places=lambda q: np.stack([np.zeros_like(q), q], axis=-1),
        coordinates=lambda places: places[..., 0, 1:],
    )  # fmt: skip


def _down(angle, length):
    """An end of a rod: angle 0 is at -y, the top of the picture, for its rows follow y."""
    return length * np.stack([np.sin(angle), -np.cos(angle)], axis=-1)


def _angle(rod):
    return np.arctan2(rod[..., 0], -rod[..., 1])


def _pendulum(mass=0.5, g=3.0, length=1.0):
    """H = m g l (1 - cos q) + p²/(2 m l²); (q, p) starts on a ring, a third of them goes over the top."""
    inertia, weight = mass * length**2, mass * g * length
    return ToySystem(
        name="pendulum", n_coordinates=1, masses=(mass,), angular=True,
        reach=length + np.sqrt(mass / np.pi),
        draw=lambda rng, n: np.split(_on_a_ring(rng, n, 1.3, 2.3), 2, axis=-1),
        energy=lambda q, p: (weight * (1 - np.cos(q)) + p**2 / (2 * inertia))[..., 0],
        flow=lambda q, p: (p / inertia, -weight * np.sin(q)),
        momenta=lambda q, dq: inertia * dq,
        places=lambda q: _down(q, length),
        coordinates=_angle,
    )  # fmt: skip


def _double_pendulum(mass=0.5, g=3.0, length=1.0):
    """Two equal rods and bobs, angles from the vertical; each (q_i, p_i) starts on a ring.

    With δ = q₁ - q₂: H = (p₁² + 2 p₂² - 2 p₁ p₂ cos δ) / (2 m l² (1 + sin² δ)) - m g l (2 cos q₁ + cos q₂).
    """
    inertia, weight = mass * length**2, mass * g * length

    def parts(q, p):
        delta, (p1, p2) = q[..., 0] - q[..., 1], (p[..., 0], p[..., 1])
        sin, cos = np.sin(delta), np.cos(delta)
        return sin, cos, p1, p2, p1**2 + 2 * p2**2 - 2 * p1 * p2 * cos, 1 + sin**2

    def draw(rng, n):
        first, second = _on_a_ring(rng, n, 1.3, 2.3), _on_a_ring(rng, n, 1.3, 2.3)
        return np.stack([first[:, 0], second[:, 0]], -1), np.stack([first[:, 1], second[:, 1]], -1)

    def energy(q, p):
        *_, twice, spread = parts(q, p)
        return twice / (2 * inertia * spread) - weight * (2 * np.cos(q[..., 0]) + np.cos(q[..., 1]))

    def flow(q, p):
        sin, cos, p1, p2, twice, spread = parts(q, p)
        dq = np.stack([p1 - p2 * cos, 2 * p2 - p1 * cos], -1) / (inertia * spread)[..., None]
        turn = sin * (p1 * p2 * spread - twice * cos) / (inertia * spread**2)  # ∂H/∂δ of the first term
        dp = [-turn - 2 * weight * np.sin(q[..., 0]), turn - weight * np.sin(q[..., 1])]
        return dq, np.stack(dp, -1)

    def momenta(q, dq):
        cos, (w1, w2) = np.cos(q[..., 0] - q[..., 1]), (dq[..., 0], dq[..., 1])
        return inertia * np.stack([2 * w1 + w2 * cos, w2 + w1 * cos], -1)

    return ToySystem(
        name="double_pendulum", n_coordinates=2, masses=(mass, mass), angular=True,
        reach=2 * length + np.sqrt(mass / np.pi),
        draw=draw, energy=energy, flow=flow, momenta=momenta,
        places=lambda q: np.cumsum(_down(q, length), axis=-2),
        coordinates=lambda places: _angle(np.diff(places, axis=-2, prepend=0.0)),
    )  # fmt: skip


def _bodies(name, n_bodies, draw, reach=2.75):
    """Bodies of mass 1 under gravity with G = 1: H = Σ p²/2 - Σ 1/|q_i - q_j|."""
    a, b = np.triu_indices(n_bodies, 1)

    def apart(q):
        return q[..., b, :] - q[..., a, :]

    def energy(q, p):
        distance = np.linalg.norm(apart(_split(q)), axis=-1)
        return (p**2).sum(axis=-1) / 2 - (1 / distance).sum(axis=-1)

    def flow(q, p):
        between = apart(_split(q))
        pull, force = between / np.linalg.norm(between, axis=-1, keepdims=True) ** 3, np.zeros_like(_split(q))
        for pair, (i, j) in enumerate(zip(a, b, strict=True)):
            force[..., i, :] += pull[..., pair, :]
            force[..., j, :] -= pull[..., pair, :]
        return p, force.reshape(p.shape)

    return ToySystem(
        name=name, n_coordinates=2 * n_bodies, masses=(1.0,) * n_bodies, angular=False, reach=reach,
        draw=draw, energy=energy, flow=flow, momenta=lambda q, dq: dq, places=_split,
        coordinates=lambda places: places.reshape(*places.shape[:-2], -1),
    )  # fmt: skip


def _split(q):
    return q.reshape(*q.shape[:-1], -1, 2)


def _two_on_a_circle(rng, n):
    """Opposite each other, x and y of the first uniform in 0.5 … 1.5, speed 1 / (2 √r)."""
    place = rng.uniform(0.5, 1.5, (n, 2))
    r = np.linalg.norm(place, axis=-1, keepdims=True)
    speed = place[:, ::-1] * [1, -1] / (2 * r**1.5)
    return np.concatenate([place, -place], -1), np.concatenate([speed, -speed], -1)


def _three_on_a_circle(rng, n):
    """An equilateral triangle that turns: r uniform in 0.9 … 1.2, speed 3^(-1/4) / √r."""
    first = _on_a_ring(rng, n, 0.9, 1.2)
    turns = 2 * np.pi / 3 * np.arange(3)
    turn = np.stack([np.cos(turns), -np.sin(turns), np.sin(turns), np.cos(turns)], -1).reshape(3, 2, 2)
    place = np.einsum("bij,nj->nbi", turn, first)
    r = np.linalg.norm(first, axis=-1)[:, None, None]
    speed = np.stack([-place[..., 1], place[..., 0]], -1) * 3**-0.25 / r**1.5
    return place.reshape(n, 6), speed.reshape(n, 6)


SYSTEMS = {
    system.name: system
    for system in (
        _mass_spring(),
        _pendulum(),
        _double_pendulum(),
        _bodies("two_body", 2, _two_on_a_circle),
        _bodies("three_body", 3, _three_on_a_circle),
    )
}
