"""Discs on a table with straight walls, simulated by pymunk: tracks that our own physics did not make."""

from importlib import import_module

import numpy as np

_MAX_DRAWS = 10_000
SQUARE = ((0.0, 0.0), (256.0, 0.0), (256.0, 256.0), (0.0, 256.0))


def simulate_pymunk(
    n_videos, n_frames, *, rng, corners=SQUARE, radii=(20.0, 20.0), masses=(1.0, 1.0),
    speeds=(40.0, 200.0), fps=30, substeps=40,
):  # fmt: skip
    """Positions of discs, float64 (n_videos, n_frames, n_bodies, 2), restitution 1, no friction, no gravity.

    `corners` of a convex table, in order; pymunk moves in `substeps` steps a frame and resolves contacts
    after discs overlap, so that walls are as sharp as a disc moves in one of them. Needs pymunk; raises
    `ImportError` without it, and `ValueError` where the table has no room for the discs.
    """
    try:
        pymunk = import_module("pymunk")
    except ImportError as error:
        raise ImportError("these tracks are simulated by pymunk: pip install pymunk") from error
    corners = np.asarray(corners, dtype=float)
    positions = np.empty((n_videos, n_frames, len(radii), 2))
    for video in positions:
        space = pymunk.Space()
        space.iterations, space.collision_slop, space.collision_bias = 30, 0.0, 0.0  # no pushing apart
        for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            wall = pymunk.Segment(space.static_body, tuple(a), tuple(b), 0)
            _add_smooth(space, wall)
        bodies = []
        for start, radius, mass in zip(_starts(corners, radii, rng), radii, masses, strict=True):
            body = pymunk.Body(mass, float("inf"))
            angle, speed = rng.uniform(0, 2 * np.pi), rng.uniform(*speeds)
            body.position, body.velocity = tuple(start), (speed * np.cos(angle), speed * np.sin(angle))
            space.add(body)
            _add_smooth(space, pymunk.Circle(body, radius))
            bodies.append(body)
        for frame in video:
            frame[:] = [tuple(body.position) for body in bodies]
            for _ in range(substeps):
                space.step(1 / fps / substeps)
    return positions


def _add_smooth(space, shape):
    shape.elasticity, shape.friction = 1.0, 0.0
    space.add(shape)


def _starts(corners, radii, rng):
    """Places without overlap, uniform over the table."""
    edges = np.roll(corners, -1, axis=0) - corners
    inwards = np.stack([-edges[:, 1], edges[:, 0]], axis=1) / np.linalg.norm(edges, axis=1)[:, None]
    inwards *= np.sign(((corners.mean(axis=0) - corners) * inwards).sum(axis=1))[:, None]
    placed = []
    for _ in range(_MAX_DRAWS):
        radius = radii[len(placed)]
        place = rng.uniform(corners.min(axis=0), corners.max(axis=0))
        inside = (((place - corners) * inwards).sum(axis=1) > radius + 1).all()
        if inside and all(np.hypot(*(place - p)) > radius + r + 1 for p, r in placed):
            placed.append((place, radius))
        if len(placed) == len(radii):
            return [place for place, _ in placed]
    raise ValueError(f"no room for discs of radii {tuple(radii)} on this table found: take smaller ones")
