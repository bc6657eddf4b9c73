"""The five systems of Toy Physics, with the constants and starts of the Hamiltonian Dynamics Suite.

Botev et al., "Which priors matter? Benchmarking models for learning latent dynamics" (2021). Its three
bodies are in the suite's code and in none of its data sets: distances from the centre are here those of
Greydanus et al. (2019), and velocities are at right angles to the places, as circles need.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


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
