"""What the latents allow any predictor, and how far Hamilton's equations bind on them."""

import torch

from ...dynamics.baselines import LinearMap
from ...dynamics.hamiltonian import even_dim
from ...dynamics.symplecticity import symplectic_form
from ...experiment.evaluation import rollout_errors
from ...latents.windows import make_windows


def extrapolation_errors(latents, length):
    """ẑ_t = z_0 + t (z_0 - z_{-1}): MSE of all windows of (n_videos, n_clips, D), (n_windows, length - 1).

    It sees one embedding more than the others. A video's first has none before it and stays.
    """
    previous = torch.cat([latents[:, :1], latents[:, :-1]], dim=1)
    now, before = (make_windows(part, length).flatten(0, 1) for part in (latents, previous))
    steps = torch.arange(length, device=latents.device)[:, None]
    predicted = now[:, :1] + steps * (now[:, :1] - before[:, :1])
    return (predicted - now)[:, 1:].square().mean(dim=-1).cpu().numpy()


def principal_directions(latents):
    """Orthogonal (D, D): columns from the largest variance of latents (…, D) about 0 to the smallest."""
    flat = latents.flatten(0, -2).double()
    return torch.linalg.eigh(flat.T @ flat).eigenvectors.flip(1).to(latents)


def best_rank(latents, ranks, *, length=16, n_folds=5):
    """The rank whose `LinearMap` predicts training videos it was not fitted to best, over a window.

    `latents`: (n_videos, n_clips, D), training videos only; every `n_folds`-th is left out in turn.
    """

    def error(rank):
        folds = (torch.arange(len(latents)) % n_folds == k for k in range(n_folds))
        maps = ((LinearMap.fitted_to(latents[~left_out], rank), latents[left_out]) for left_out in folds)
        return sum(rollout_errors(m, make_windows(videos, length)).mean().item() for m, videos in maps)

    return min(ranks, key=error)


def isotropy_defect(latents):
    """tr(C J C Jᵀ) / tr(C²) with the covariance C of latents (…, D): how much q and p pair what varies.

    0: the latents fill an isotropic subspace, on which the symplectic form vanishes. Any field along
    it is that of some H (constant on it), so Hamilton's equations forbid no motion within it. 1: every
    principal direction varies as much as its conjugate. Like an MSE it depends on units: q → c q,
    p → p / c is canonical and changes it.
    """
    covariance = torch.cov(latents.detach().flatten(0, -2).double().cpu().T)
    form = symplectic_form(even_dim(len(covariance)))
    paired = form @ covariance @ form.T
    return ((covariance * paired).sum() / covariance.square().sum()).item()
