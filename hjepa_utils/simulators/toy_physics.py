"""Toy Physics: trajectories of five small Hamiltonian systems, as in the Hamiltonian Dynamics Suite.

Constant physics, a frame every 0.05 s; states are (q, p) in the suite's units. `toy_systems` defines the
systems, `toy_pictures` draws them.
"""

import numpy as np
from scipy.integrate import solve_ivp

from .checks import check_count, check_generator, finite_floats, is_number
from .toy_systems import SYSTEMS

DT = 0.05  # s, between two frames
TOLERANCE = 1e-9  # relative and absolute, of every trajectory
_SOLVED_TOGETHER = 256
_MOST_FRICTION = 100.0  # more needs a solver for stiff equations


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
    check_friction(friction)
    z0 = np.concatenate(system.draw(rng, n), axis=-1)
    parts = [z0[i : i + _SOLVED_TOGETHER] for i in range(0, n, _SOLVED_TOGETHER)]
    return np.concatenate([_solve(system, part, n_frames, float(friction)) for part in parts])


def check_friction(friction):
    if isinstance(friction, bool) or not is_number(friction) or friction > _MOST_FRICTION:
        raise ValueError(f"friction must be a number, from 0 to {_MOST_FRICTION:g}, got {friction!r:.60}")


def toy_energy(system, states):
    """The true H, in the suite's units: (…, D) → (…). `ValueError` for another width, NaN and infinity."""
    system = toy_system(system)
    return system.energy(*halves(system, states))


def toy_places(system, states):
    """Where the bodies are: (…, D) → (…, n_bodies, 2), x and y in units of length."""
    system = toy_system(system)
    return system.places(halves(system, states)[0])


def toy_system(system):
    """A `ToySystem` by its name. `ValueError` with the names there are for another one."""
    if not isinstance(system, str) or system not in SYSTEMS:
        raise ValueError(f"no toy system {system!r:.60}; there are {', '.join(SYSTEMS)}")
    return SYSTEMS[system]


def halves(system, states):
    """q and p of states (…, D). `ValueError` for another width, NaN and infinity."""
    states = finite_floats(states, "states")
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
