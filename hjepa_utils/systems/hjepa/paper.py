"""What the paper published, and its models."""

from ...dynamics.baselines import BaselineMLP
from ...dynamics.hamiltonian import HNN
from ...dynamics.predictors import HamiltonianDynamics


def paper_arms(dim):
    """{arm: builder} of the paper's two models and the residual MLP that its comparison lacks."""
    return {
        "HNN": lambda: HamiltonianDynamics(HNN(dim)),
        "Baseline MLP": lambda: BaselineMLP(dim),
        "residual MLP": lambda: BaselineMLP(dim, residual=True),
    }


PUBLISHED = {  # the paper's tables 2 and 3: MSE in raw latent units, drift in units of its own H
    "HNN (full)": ("0.102 ± 0.045", "0.010 ± 0.007"),
    "HNN (no energy loss)": ("0.087 ± 0.041", "0.146 ± 0.115"),
    "HNN (Euler)": ("0.114 ± 0.050", "0.012 ± 0.008"),
    "Baseline MLP": ("0.196 ± 0.058", "0.327 ± 0.244"),
}
