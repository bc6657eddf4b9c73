"""Planning by sampling: the cross-entropy method, for many problems side by side.

`cem` minimises anything; `plan_actions` asks it for actions that lead where one wants to be.
"""

import torch

from ..runs.checks import whole_number


@torch.no_grad()
def cem(
    cost, mean, std, *, rng, n_candidates=100, n_elite=10, n_iterations=3, low=None, high=None, min_std=0.0
):
    """Minimise `cost` over arrays (…) for B problems at once; returns the last mean, (B, …).

    `cost`: candidates (B, n_candidates, …) → (B, n_candidates); NaN counts as infinitely bad.
    `mean` (B, …) is the first guess, `std` its deviation, a number or of the same shape, `rng` a
    `torch.Generator`. In every iteration the candidates are drawn from the normal law of the moment,
    clipped to [`low`, `high`], the mean itself among them; the mean and deviation of the `n_elite`
    cheapest make the next law, no deviation below `min_std` (Rubinstein & Kroese, *The Cross-Entropy
    Method*, Springer 2004).

    Raises `ValueError` for numbers of candidates, elites or iterations that do not fit, bounds that cross,
    costs of another shape, and a problem with fewer than `n_elite` finite costs.
    """
    if not isinstance(rng, torch.Generator):
        raise TypeError(f"rng must be a torch.Generator, got {type(rng).__module__}.{type(rng).__name__}")
    mean, std = _start(mean, std, low, high)
    counts = {"n_candidates": n_candidates, "n_elite": n_elite, "n_iterations": n_iterations}
    n_candidates, n_elite, n_iterations = (whole_number(value, name) for name, value in counts.items())
    if not 1 <= n_elite <= n_candidates or n_iterations < 1:
        raise ValueError(f"cem needs 1 <= n_elite <= n_candidates and n_iterations >= 1, got {counts}")
    for _ in range(n_iterations):
        candidates = _draw(mean, std, n_candidates, rng)
        if low is not None or high is not None:
            candidates = candidates.clamp(low, high)
        elite = _cheapest(candidates, cost(candidates), n_elite)
        mean = elite.mean(dim=1)
        std = elite.std(dim=1, unbiased=False).clamp_min(min_std)
    return mean


def plan_actions(dynamics, z0, utility, *, rng, action_dim, bound, horizon=30, mean=None, **settings):
    """Actions (B, horizon, A) within ± `bound` of high utility by `cem`, as `dynamics` imagines them from z0.

    `dynamics` is anything with `rollout(z0, actions)`: (…, D), (…, n, A) → (…, n + 1, D), z0 here is
    (B, D). `utility(states, actions)`: (B, n, horizon + 1, D), (B, n, horizon, A) → (B, n), the higher
    the better. `mean` (B, horizon, A) is a first guess, such as the last plan moved on by a frame;
    `settings` are those of `cem`, whose `std` is ¾ bound here and `min_std` bound/40 unless given.

    Raises `ValueError` for a z0 that is not finite (B, D), a horizon below 1, a first guess of another
    shape, and what `cem` does.
    """
    if not isinstance(z0, torch.Tensor) or z0.ndim != 2 or not z0.isfinite().all():
        shape = tuple(z0.shape) if isinstance(z0, torch.Tensor) else type(z0).__name__
        raise ValueError(f"a plan starts from finite states (B, D), got {shape}")
    if whole_number(horizon, "horizon") < 1:
        raise ValueError(f"a plan's horizon must be 1 frame or more, got {horizon}")
    wanted = (len(z0), horizon, action_dim)
    if mean is None:
        mean = torch.zeros(wanted, dtype=z0.dtype, device=z0.device)
    elif mean.shape != wanted:
        raise ValueError(f"the first guess must be {wanted}, got {tuple(mean.shape)}")

    def cost(actions):
        start = z0[:, None].expand(-1, actions.shape[1], -1)
        return -utility(dynamics.rollout(start, actions), actions)

    settings = {"std": 0.75 * bound, "min_std": 0.025 * bound} | settings
    return cem(cost, mean, settings.pop("std"), rng=rng, low=-bound, high=bound, **settings)


def _start(mean, std, low, high):
    is_float = isinstance(mean, torch.Tensor) and mean.is_floating_point()
    if not is_float or mean.ndim < 2 or not mean.numel() or not mean.isfinite().all():
        shape = tuple(mean.shape) if isinstance(mean, torch.Tensor) else type(mean).__name__
        raise ValueError(f"mean must be finite floats (B, …), a first guess for each problem, got {shape}")
    std = torch.as_tensor(std, dtype=mean.dtype, device=mean.device)
    if not (std.isfinite().all() and (std > 0).all()):
        raise ValueError(f"std must be finite and above 0, got {std.min().item():.4g} as its least")
    if low is not None and high is not None and not low < high:
        raise ValueError(f"low must be below high, got {low} and {high}")
    return mean, std.expand_as(mean)


def _draw(mean, std, n, rng):
    """(B, n, …), the first of every problem its mean."""
    noise = torch.randn(
        (len(mean), n, *mean.shape[1:]), generator=rng, dtype=mean.dtype, device=rng.device
    ).to(mean.device)
    noise[:, 0] = 0
    return mean[:, None] + std[:, None] * noise


def _cheapest(candidates, costs, n_elite):
    """(B, n_elite, …)."""
    if costs.shape != candidates.shape[:2]:
        raise ValueError(
            f"cost must give {tuple(candidates.shape[:2])}, one a candidate, got {tuple(costs.shape)}"
        )
    costs = costs.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
    n_finite = costs.isfinite().sum(dim=1).min().item()
    if n_finite < n_elite:
        raise ValueError(
            f"only {n_finite} candidates of one problem have a finite cost, {n_elite} are needed"
        )
    chosen = costs.topk(n_elite, dim=1, largest=False).indices
    return candidates[torch.arange(len(candidates), device=chosen.device)[:, None], chosen]
