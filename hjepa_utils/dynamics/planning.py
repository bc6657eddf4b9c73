"""Planning by sampling: the cross-entropy method, for many problems side by side."""

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


def _start(mean, std, low, high):
    if not isinstance(mean, torch.Tensor) or mean.ndim < 2 or not mean.isfinite().all():
        shape = tuple(mean.shape) if isinstance(mean, torch.Tensor) else type(mean).__name__
        raise ValueError(f"mean must be a finite tensor (B, …), a first guess for each problem, got {shape}")
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
