"""Walls and distances of contact, found from where bodies met and how they were turned away."""

from typing import NamedTuple

import numpy as np

from .flights import SURE

_REACH = 0.03  # of the extent: contacts this near a wall may be its own, at first
_TURN = 0.15  # sine of the angle, likewise
_SHARP = 1e-4  # of the extent: noise up to which one contact tells a wall from two contacts in one interval
_LOOSE_CENTRE = 0.3  # of the extent: how far apart the origins of two bodies may lie before a contact is seen


class Wall(NamedTuple):
    """body i stays where normal·x_i ≥ offset; seen in n_events contacts."""

    body: int
    normal: np.ndarray
    offset: float
    n_events: int


class Pair(NamedTuple):
    """Bodies i and j stay where |x_i - x_j + shift| ≥ distance; seen in n_events contacts."""

    bodies: tuple
    shift: np.ndarray
    distance: float
    n_events: int


def find_walls(body, contacts, visited, noise_x, noise_v):
    """`Wall`s of one body and how many exact contacts none explains.

    `contacts` of it and `visited` places (n, n_dims), in x. The wall that explains most contacts comes
    first. None is what cuts off places where the body has been, nor what one or two contacts show that
    may be two contacts in one interval: not exact ones, or near other walls where noise hides that.
    """
    x, turn = contacts.q[:, 0], contacts.change[:, 0]
    extent = np.ptp(visited, axis=0).max()
    left, walls, unexplained = np.ones(len(x), bool), [], 0
    while left.any():
        group = _largest_group(x, turn, left, _REACH * extent)
        normal, offset, own = _fitted_wall(x, turn, group, noise_x, noise_v)
        depth = visited @ normal - offset
        real = (depth < -(SURE * noise_x + _REACH / 5 * extent)).mean() < 1e-3
        if own.sum() <= 2:
            apart = all((x[own] @ w.normal - w.offset > 3 * _REACH * extent).all() for w in walls)
            proof = contacts.exact[own].all() if noise_x < _SHARP * extent else apart
            real &= depth.min() > -SURE * noise_x and proof
        if real:
            walls.append(Wall(body, normal, offset, int(own.sum())))
            group |= left & (np.abs(x @ normal - offset) < _REACH * extent) & (_sine(turn, normal) < _TURN)
        else:
            unexplained += (group & contacts.exact).sum()
        left &= ~group
    return walls, int(unexplained)


def _sine(turn, normal):
    """The sine between velocities' changes (E, n_dims) and a normal; 2 where they are opposed."""
    length = np.linalg.norm(turn, axis=1)
    along = turn @ normal
    across = np.linalg.norm(turn - along[:, None] * normal, axis=1)
    return np.where(along > 0, across / length, 2.0)


def _largest_group(x, turn, left, reach):
    """The contacts, among those left, that one of them explains: the most that any does."""
    best = np.zeros(len(x), bool)
    for k in np.flatnonzero(left):
        normal = turn[k] / np.linalg.norm(turn[k])
        group = left & (np.abs((x - x[k]) @ normal) < reach) & (_sine(turn, normal) < _TURN)
        best = group if group.sum() > best.sum() else best
    return best


def _fitted_wall(x, turn, own, noise_x, noise_v):
    """normal, offset and the contacts that are its own: least squares, trimmed."""
    normal, offset = _wall_through(x[own], turn[own], noise_x, noise_v)
    for _ in range(20):
        apart = np.abs(x @ normal - offset) / noise_x
        across = np.linalg.norm(turn - (turn @ normal)[:, None] * normal, axis=1) / noise_v
        worst = np.maximum(apart, across)
        kept = own & (worst <= SURE * max(np.median(worst[own]), 1.0))
        if (kept == own).all():
            break
        own = kept
        normal, offset = _wall_through(x[own], turn[own], noise_x, noise_v)
    return normal, offset, own


def _wall_through(x, turn, noise_x, noise_v):
    """normal and offset of places and turns, by least squares.

    The normal is along all turns and across all places: the least eigenvector of one matrix less another.
    """
    centre = x.mean(axis=0)
    places, turns = (x - centre) / noise_x, turn / noise_v
    normal = np.linalg.eigh(places.T @ places - turns.T @ turns)[1][:, 0]
    normal *= np.sign(turn.sum(axis=0) @ normal)
    return normal, centre @ normal


def find_pair(bodies, contacts, mass, visited, noise_x):
    """`Pair` of two bodies and how many exact contacts it does not explain, or None where they never met.

    x_i - x_j + shift = distance e, with e along the impulse: linear least squares, trimmed.
    `visited` (2, n, n_dims) are their places at the same times, in x.
    """
    if not len(contacts.q):
        return None, 0
    impulse = mass[0] * contacts.change[:, 0] - mass[1] * contacts.change[:, 1]
    e = impulse / np.linalg.norm(impulse, axis=1, keepdims=True)
    apart, n_dims = contacts.q[:, 0] - contacts.q[:, 1], e.shape[1]
    extent = np.ptp(visited, axis=(0, 1)).max()
    rows = np.concatenate([np.tile(-np.eye(n_dims), (len(e), 1)), e.reshape(-1, 1)], axis=1) / noise_x
    rows, target = rows.reshape(len(e), n_dims, -1), apart / noise_x
    weight, own = np.ones(len(e)), np.ones(len(e), bool)
    shift, distance = _solved_pair(rows, target, weight, extent)
    for _ in range(20):  # least absolute deviations first: some may be no contacts of these two
        worst = np.linalg.norm(apart + shift - distance * e, axis=1) / noise_x
        shift, distance = _solved_pair(rows, target, 1 / np.sqrt(np.maximum(worst, 1.0)), extent)
    for _ in range(20):
        worst = np.linalg.norm(apart + shift - distance * e, axis=1) / noise_x
        kept = worst <= SURE * max(np.median(worst[own]), 1.0)
        shift, distance = _solved_pair(rows[kept], target[kept], weight[kept], extent)
        if (kept == own).all():
            break
        own = kept
    between = np.linalg.norm(visited[0] - visited[1] + shift, axis=1)
    closer = between < distance - (SURE * noise_x + _REACH / 5 * extent)
    if distance <= 0 or closer.mean() > 1e-2:
        return None, int(contacts.exact.sum())
    return Pair(tuple(bodies), shift, float(distance), int(own.sum())), int((contacts.exact & ~own).sum())


def _solved_pair(rows, target, weight, extent):
    """shift and distance by weighted least squares; the shift is near 0 where no contact shows it."""
    n_dims = rows.shape[1]
    prior = np.eye(n_dims, n_dims + 1) / (_LOOSE_CENTRE * extent)
    rows = np.concatenate([(weight[:, None, None] * rows).reshape(-1, n_dims + 1), prior])
    target = np.append((weight[:, None] * target).ravel(), np.zeros(n_dims))
    *shift, distance = np.linalg.lstsq(rows, target, rcond=None)[0]
    return np.array(shift), distance


def shared_walls(walls, pair, visited, noise_x):
    """The walls that one body of a pair has met and the other has not yet: bodies on one table share them.

    Where x_j = x_i + shift the two are in one place, but for a difference of their radii, which walls that
    both have met show. None are taken over if fewer than n_dims such walls agree, or if the other body has
    been beyond one. `visited` as in `find_pair`; the new walls have n_events 0.
    """
    i, j = pair.bodies
    tolerance = SURE * noise_x + _REACH / 5 * np.ptp(visited, axis=(0, 1)).max()
    as_of_j = {i: lambda w: w.offset + w.normal @ pair.shift, j: lambda w: w.offset}
    own = {k: [w for w in walls if w.body == k] for k in (i, j)}
    both = [(a, b) for a in own[i] for b in own[j] if a.normal @ b.normal > 1 - _TURN**2 / 2]
    radii = np.array([as_of_j[j](b) - as_of_j[i](a) for a, b in both])
    if len(both) < visited.shape[-1] or np.ptp(radii) > tolerance:
        return []
    wider, new = np.median(radii), []
    met = {k: [pair_of_walls[side] for pair_of_walls in both] for side, k in enumerate((i, j))}
    for w in own[i]:
        if not any(w is other for other in met[i]):
            new.append((1, Wall(j, w.normal, float(as_of_j[i](w) + wider), 0)))
    for w in own[j]:
        if not any(w is other for other in met[j]):
            new.append((0, Wall(i, w.normal, float(w.offset - wider - w.normal @ pair.shift), 0)))
    beyond = [(visited[row] @ w.normal - w.offset).min() < -tolerance for row, w in new]
    return [] if any(beyond) else [w for _, w in new]
