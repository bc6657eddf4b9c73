"""Bodies that look alike: which is which can only be told by carrying each from picture to picture."""

import torch
import torch.nn.functional as F

from .grids import pixel_grid


@torch.no_grad()
def carried_places(pictures, n_slots, n_rounds=4):
    """Float pictures (B, T, 3, 64, 64), 0 where there is nothing, → q (B, T, 2 n_slots), x then y.

    k-means of what is there: every pixel belongs to the nearest slot, a slot lies at the centre of mass of
    its pixels, and begins where it was in the picture before. A body must move less than half of its
    distance from the next one between two pictures, as touching ones do. Slots start where most lies
    farthest from the slots before; nothing is learned.
    """
    there = F.avg_pool2d(pictures.abs().sum(dim=2), 2).flatten(2)  # (B, T, 32 · 32)
    grid = pixel_grid(32).flatten(0, 1).to(there)
    q = _spread(there[:, 0], grid, n_slots)
    path = []
    for weight in there.unbind(dim=1):
        for _ in range(n_rounds):
            q = _centres(weight, grid, q)
        path.append(q.flatten(1))
    return torch.stack(path, dim=1)


def pushed_first(places, actions):
    """The slots of every episode in the order in which they follow the actions: int (B, n_slots).

    places (B, T, 2 n_slots), actions (B, T - 1, A). By the size of Σ_t a_t ū_tᵀ, a the second difference of
    a slot's places, clipped where a contact would drown it, ū the mean of the two actions around it.
    """
    bends = places.diff(n=2, dim=1).unflatten(-1, (-1, 2))  # (B, T - 2, S, 2)
    bound = bends.abs().flatten(1).median(dim=1).values * 5 + 1e-12
    bends = bends.clamp(-bound[:, None, None, None], bound[:, None, None, None])
    held = (actions[:, 1:] + actions[:, :-1]) / 2
    follows = torch.einsum("btsx,bta->bsxa", bends, held.to(bends)).square().sum(dim=(-2, -1))
    return follows.argsort(dim=1, descending=True)


def in_order(places, order):
    """Slots of places (B, T, 2 S) in the order (B, S) of each episode."""
    q = places.unflatten(-1, (-1, 2))
    return q.take_along_dim(order[:, None, :, None], dim=2).flatten(2)


def _spread(weight, grid, n_slots):
    """Where slots begin, (B, n_slots, 2): at most weight, times distance² from the slots before."""
    chosen = [grid[weight.argmax(dim=1)]]
    for _ in range(n_slots - 1):
        apart = torch.stack([(grid - one[:, None]).square().sum(dim=-1) for one in chosen]).amin(dim=0)
        chosen.append(grid[(weight * apart).argmax(dim=1)])
    return torch.stack(chosen, dim=1)


def _centres(weight, grid, q):
    """One round: (B, P), (P, 2), (B, S, 2) → (B, S, 2). A slot without a pixel stays."""
    apart = (grid - q[:, :, None]).square().sum(dim=-1)
    mine = F.one_hot(apart.argmin(dim=1), q.shape[1]).mT * weight[:, None]
    total = mine.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, mine @ grid / total.clamp(min=1e-9), q)
