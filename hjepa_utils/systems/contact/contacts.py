"""Contacts in tracks: when and where each happened, what changed, and the masses that this shows."""

from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares

from .flights import SURE

_LOOSE = 2e-3  # of the extent: what tracks of another simulator may miss of a sharp contact
_LOST = 0.02  # of the energy in a contact: more is no rounding and no simulator's step
_SAME = 1e-9  # standard deviation of log scales that are known to be equal
_EQUAL = 0.3  # standard deviation of log masses and log scales before a contact is seen


class Contacts(NamedTuple):
    """E contacts of the same bodies: where, (E, k, n_dims) of q, and velocities before and after, the same.

    Velocities are those of q, per step. `exact` (E,): whether the noise of flights explains what is left of
    two straight lines that meet, and no other body met anything; else there may have been two contacts.
    """

    q: np.ndarray
    before: np.ndarray
    after: np.ndarray
    exact: np.ndarray

    def kept(self, mask):
        return Contacts(self.q[mask], self.before[mask], self.after[mask], self.exact[mask])

    @property
    def change(self):
        return self.after - self.before


def find_contacts(tracks, flights):
    """Contacts of one body, {body: Contacts}, and of two, {(i, j): Contacts}, of every clean interval.

    In a clean interval the body flies straight to one place, and from there straight on:
    q + τ v = q' - (1 - τ) v'. Two bodies whose τ agree may have met each other; `pairs_only` says so.
    """
    v = flights.rate * tracks.p + flights.drift
    where = np.nonzero(flights.meets.any(axis=2))
    q0, q1, v0, v1 = tracks.q[:, :-1][where], tracks.q[:, 1:][where], v[:, :-1][where], v[:, 1:][where]
    meets, known = flights.meets[where], np.isfinite(v0 + v1).all(axis=2)
    noise, loose = 8 * flights.noise_q, 8 * flights.noise_q + _LOOSE * tracks.extent
    n_bodies = meets.shape[1]
    single, pairs, taken = {}, {}, np.zeros_like(meets)
    for i, j in combinations(range(n_bodies), 2):
        both = meets[:, i] & meets[:, j] & known[:, i] & known[:, j]
        found, clean = _contacts([x[both][:, [i, j]] for x in (q0, q1, v0, v1)], noise[[i, j]], loose[[i, j]])
        pairs[i, j] = found
        rows = np.nonzero(both)[0][clean]
        taken[rows[:, None], [i, j]] = True
    for i in range(n_bodies):
        own = meets[:, i] & known[:, i] & ~taken[:, i]
        found, clean = _contacts([x[own][:, [i]] for x in (q0, q1, v0, v1)], noise[[i]], loose[[i]])
        alone = (meets[own].sum(axis=1) == 1) & known[own].all(axis=1)
        single[i] = found._replace(exact=found.exact & alone[clean])
    return single, pairs


def _contacts(interval, noise, loose):
    """`Contacts` of the clean ones of intervals, (E, k, n_dims) each, and which those are, (E,)."""
    q0, q1, v0, v1 = interval
    rest, change = q1 - q0 - v1, v0 - v1  # rest = τ change
    size = np.square(change / loose).sum(axis=(1, 2))
    tau = (rest * change / np.square(loose)).sum(axis=(1, 2)) / np.where(size > 0, size, 1)
    left = np.abs(rest - tau[:, None, None] * change)
    clean = (left <= loose).all(axis=(1, 2)) & (np.abs(tau - 0.5) < 0.6 + 1 / np.sqrt(size + 1e-9))
    t = tau[:, None, None]
    q = (q0 + t * v0 + q1 - (1 - t) * v1) / 2
    return Contacts(q, v0, v1, (left <= noise).all(axis=(1, 2))).kept(clean), clean


class Units(NamedTuple):
    """x = scale q (n_bodies, n_dims) has one unit of length for all; `mass` (n_bodies,), the first is 1.

    The geometric mean of the scales is 1, so that tracks that have one unit keep theirs.
    """

    scale: np.ndarray
    mass: np.ndarray

    def of(self, contacts, bodies):
        """`Contacts` in x."""
        scale = self.scale[list(bodies)]
        q, before, after, exact = contacts
        return Contacts(scale * q, scale * before, scale * after, exact)


def find_units(single, pairs, noise_v, one_unit=False):
    """`Units` in which contacts keep the energy Σ m |ẋ|²/2, and those of two bodies their momentum.

    Standardising every coordinate by itself is not canonical: masses and scales decide how contacts
    reflect, and only contacts show them. What none shows stays near equal masses, one unit; `one_unit` says
    that the unit of length is known to be one. Returns the units and the pairs without contacts that do
    not keep momentum: two bodies that met walls together. Raises `ValueError` where contacts lose energy.
    """
    n_bodies, n_dims = noise_v.shape
    events = {(i,): contacts for i, contacts in single.items()} | pairs
    theta = np.zeros((n_dims + 1) * n_bodies)
    spread = np.full(len(theta), _EQUAL)  # of what is expected before a contact is seen
    spread[: n_dims * n_bodies] = _SAME if one_unit else _EQUAL
    speed = np.sqrt(np.mean([np.square(c.before).mean() for c in events.values() if len(c.q)] or [1.0]))
    for blur in (0.1, 0.01, 1e-3):  # of the speed: from far away the fine residuals show no way
        noise = np.maximum(noise_v, blur * speed)
        theta = _least(theta, spread, events, noise, loss="soft_l1", max_nfev=30)
    _check_energy(theta, events)
    for _ in range(3):
        events = {bodies: c.kept(_plausible(theta, bodies, c, noise_v)) for bodies, c in events.items()}
        theta = _least(theta, spread, events, noise_v)
    scale, mass = _unpacked(theta, n_bodies)
    units = Units(scale / np.exp(np.log(scale).mean()), mass / mass[0])
    return units, {bodies: c for bodies, c in events.items() if len(bodies) == 2}


def _check_energy(theta, events):
    """`ValueError` where contacts change the energy, by more than their differences leave open."""
    kept = []
    for bodies, contacts in events.items():
        scale, mass = _unpacked(theta, len(theta) // (1 + contacts.q.shape[2]))
        weight = mass[list(bodies), None] * scale[list(bodies)] ** 2
        before, after = ((weight * np.square(v)).sum(axis=(1, 2)) for v in (contacts.before, contacts.after))
        kept.append(after / np.where(before > 0, before, 1.0))
    kept = np.sort(np.concatenate(kept))
    kept = kept[len(kept) // 10 : len(kept) - len(kept) // 10]  # two contacts in one interval aside
    change, unsure = kept.mean() - 1, kept.std() / np.sqrt(len(kept))
    if abs(change) > _LOST + 3 * unsure:
        raise ValueError(
            f"contacts change the energy, by {100 * change:+.0f} % on average: these bodies lose or gain "
            "some when they meet; only contacts that keep it can be learned"
        )


def _least(theta, spread, events, noise, loss="linear", max_nfev=None):
    """log scales and log masses, in one row, by least squares from `theta` on."""
    return least_squares(
        lambda x: np.concatenate([_residuals(x, events, noise), x / spread]),
        theta, loss=loss, max_nfev=max_nfev, xtol=1e-15, ftol=1e-15, gtol=1e-15,
    ).x  # fmt: skip


def _unpacked(theta, n_bodies):
    values = np.exp(theta.clip(-20, 20))  # a first trial step may go far
    return values[:-n_bodies].reshape(n_bodies, -1), values[-n_bodies:]


def _residuals(theta, events, noise):
    """What energy and momentum change by in every contact, in standard deviations of the noise."""
    rows = [_balance(theta, bodies, c, noise).ravel() for bodies, c in events.items() if len(c.q)]
    return np.concatenate([np.zeros(0), *rows])


def _balance(theta, bodies, contacts, noise):
    """The energy of one body, (E, 1); of two, and their momentum along each axis, (E, 1 + n_dims)."""
    scale, mass = _unpacked(theta, len(noise))
    bodies = list(bodies)
    m, s, noise = mass[bodies, None], scale[bodies], noise[bodies] / np.sqrt(2)
    weight = m * s**2
    energy = (weight * (np.square(contacts.after) - np.square(contacts.before))).sum(axis=(1, 2))
    wrong = np.square(weight * noise) * (np.square(contacts.after) + np.square(contacts.before))
    rows = [energy / (2 * np.sqrt(wrong.sum(axis=(1, 2))))]
    if len(bodies) == 2:
        momentum = (m * s * contacts.change).sum(axis=1)
        rows += list((momentum / np.sqrt(2 * np.square(m * s * noise).sum(axis=0))).T)
    return np.stack(rows, axis=1)


def _plausible(theta, bodies, contacts, noise):
    """Which contacts keep energy and momentum as well as most do."""
    worst = np.abs(_balance(theta, bodies, contacts, noise)).max(axis=1)
    return worst <= SURE * max(np.median(worst), 1.0) if len(worst) else np.zeros(0, bool)
