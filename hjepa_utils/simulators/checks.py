"""What states, masses and arenas must be: one sentence for any other."""

import reprlib
from numbers import Integral, Real

import numpy as np

from .impacts import tolerance

SMALL, LARGE = 1e-50, 1e50  # beyond them squares overflow, or vanish


def real_array(values, name):
    """An array of real floats, in the precision it has (whole numbers: float64); `ValueError` otherwise."""
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "iuf" or np.ma.is_masked(values):  # the array shows what is masked
            raise TypeError
    except (TypeError, ValueError, RuntimeError):  # the last from tensors that need a gradient
        raise ValueError(
            f"{name} must be real numbers, in rows of one length, got {reprlib.repr(values)}"
        ) from None
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def as_floats(values, name):
    """A float64 copy."""
    return np.array(real_array(values, name), dtype=np.float64)


def finite_floats(values, name):
    """A float64 copy of numbers below 1e50 in size, so that squares are finite; `ValueError` otherwise."""
    floats = as_floats(values, name)
    if not (fine := np.abs(floats) < LARGE).all():
        raise ValueError(f"{name} must be finite, below 1e50, got {floats[~fine][0]:g}")
    return floats


def is_number(value, low=0.0):
    try:
        return isinstance(value, Real) and low <= float(value) < LARGE
    except OverflowError:  # of a whole number
        return False


def check_generator(rng):
    if not isinstance(rng, np.random.Generator):
        kind = f"{type(rng).__module__}.{type(rng).__qualname__}".removeprefix("builtins.")
        raise ValueError(f"rng must be a numpy.random.Generator, got {kind}: use numpy.random.default_rng")


def check_count(**numbers):
    for name, value in numbers.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a whole number, 1 or more, got {value!r}")


def check_positive(**numbers):
    for name, value in numbers.items():
        if not is_number(value, low=SMALL):
            value = reprlib.repr(value)
            raise ValueError(f"{name} must be finite and positive, a number from 1e-50 to 1e50, got {value}")


def check_arena(size, radius):
    check_positive(size=size, radius=radius)
    if not 2 * radius <= size <= 1e9 * radius:
        raise ValueError(f"size must lie between 2 and 1e9 times the radius of {radius}, got {size}")


def checked_states(states, size, radius):
    """The states (…, n_balls, 4) if they are valid ones; `ValueError` otherwise."""
    if states.shape[-1] != 4 or states.shape[-2] < 2:
        raise ValueError(f"a state has shape (n_balls, 4), with two or more balls; got {states.shape}")
    finite = (np.abs(states) < LARGE).all(axis=-1)
    if not finite.all():
        raise ValueError(f"a state must be finite, below 1e50, got a ball of {states[~finite][0].tolist()}")
    position = states[..., :2]
    outside = (np.abs(position - size / 2) > size / 2 - radius + tolerance(size)).any(axis=-1)
    if outside.any():
        where = position[outside][0].tolist()
        raise ValueError(f"ball centres must lie between {radius} and {size - radius}, got {where}")
    distance = least_distance(position)
    if distance < 2 * radius - tolerance(size):
        raise ValueError(f"balls overlap: centres {distance:.6g} px apart, at least {2 * radius} needed")
    return states


def checked_masses(masses, n_balls):
    """One mass per ball, float64 (n_balls,), all 1 for `None`; `ValueError` otherwise."""
    masses = np.ones(n_balls) if masses is None else as_floats(masses, "masses")
    if n_balls < 2 or masses.shape != (n_balls,):
        raise ValueError(
            f"masses must be one a ball, for 2 balls or more (here {n_balls}), got {masses.tolist()}"
        )
    if not ((masses > SMALL) & (masses < LARGE)).all():
        raise ValueError(f"masses must be finite and positive, between 1e-50 and 1e50, got {masses.tolist()}")
    return masses


def least_distance(position):
    """Between the centres of any two balls, over all (…, n_balls, 2)."""
    a, b = np.triu_indices(position.shape[-2], 1)
    return np.linalg.norm(position[..., b, :] - position[..., a, :], axis=-1).min(initial=np.inf)
