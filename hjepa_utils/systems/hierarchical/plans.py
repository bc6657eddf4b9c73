"""Plans of a `HierarchicalJEPA`: forces, held for blocks of frames, that bring a latent to a goal's."""

import torch

from ...dynamics.planning import cem
from ...runs.checks import whole_number
from ...runs.hardware import fast
from ...simulators.checks import SMALL, is_number
from .world import checked_bodies

_CHUNK = 8192  # candidates predicted at once


@torch.no_grad()
def event_plan(model, positions, masses, goal, rng, controlled, block, mean, **settings):
    """What `HierarchicalJEPA.plan` returns."""
    controlled = checked_bodies(range(model.n_bodies) if controlled is None else controlled, model.n_bodies)
    n_blocks = count_blocks(model.event, block)
    with fast(model.device):
        _, deep = model.encode(positions, masses)
    cost = event_cost(model, deep, goal, controlled, block)
    wanted = (len(deep), n_blocks, len(controlled), 2)
    if mean is not None and tuple(mean.shape) != wanted:
        raise ValueError(f"the first guess must be {wanted}, got {tuple(mean.shape)}")
    if mean is None:
        mean = torch.zeros(wanted, device=model.device)
    blocks = search(cost, mean, model.force, rng=rng, **settings)
    return held(blocks, controlled, model.n_bodies, block)


def event_cost(model, deep, goal, controlled, block):
    """How far from the goal an event ends, for candidates of `cem`: (B, S, n_blocks, C, 2) → (B, S)."""

    def cost(blocks):
        forces = held(blocks, controlled, model.n_bodies, block)
        return latent_distance(model.predict_event, deep, forces, goal)

    return cost


def latent_distance(predict, latent, forces, goal):
    """|predicted - goal|² a dimension, for S candidates of each of B problems: (B, S)."""
    n_candidates = forces.shape[1]
    starts, flat = latent.repeat_interleave(n_candidates, dim=0), forces.flatten(0, 1)
    with fast(latent.device):
        chunks = zip(starts.split(_CHUNK), flat.split(_CHUNK), strict=True)
        ends = torch.cat([predict(z, f).float() for z, f in chunks])
    return (ends.unflatten(0, forces.shape[:2]) - goal[:, None]).square().mean(dim=-1).to(forces.device)


def search(cost, mean, force, *, rng, n_candidates=300, n_elite=30, n_iterations=10, **settings):
    """`cem` over forces within ± `force`."""
    if not is_number(force, low=SMALL):
        raise ValueError(f"force must be finite and above 0, a number, got {force!r}")
    counts = {"n_candidates": n_candidates, "n_elite": n_elite, "n_iterations": n_iterations}
    settings = counts | {"min_std": 0.02 * force} | settings
    return cem(cost, mean, 0.6 * force, rng=rng, low=-force, high=force, **settings)


def held(blocks, controlled, n_bodies, block):
    """Forces for every frame and body: (…, n_blocks, n_controlled, 2) → (…, n_blocks · block, N, 2)."""
    forces = blocks.new_zeros(*blocks.shape[:-2], n_bodies, 2)
    forces[..., list(controlled), :] = blocks
    return forces.repeat_interleave(block, dim=-3)


def count_blocks(n_frames, block):
    """How many blocks there are in so many frames; `ValueError` if it is no whole number."""
    if whole_number(block, "block") < 1 or n_frames % block:
        raise ValueError(f"a horizon must be a multiple of the block, got {n_frames} frames and {block}")
    return n_frames // int(block)
