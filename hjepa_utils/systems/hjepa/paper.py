"""What the paper published, and its models."""

from ...dynamics.baselines import BaselineMLP
from ...dynamics.hamiltonian import HNN
from ...dynamics.predictors import HamiltonianDynamics


def paper_arms(dim):
    """{arm: builder} of the paper's two models and the residual MLP that its comparison lacks."""
    return {
        "HNN": lambda: HamiltonianDynamics(HNN(dim)),
        "MLP": lambda: BaselineMLP(dim),
        "residual MLP": lambda: BaselineMLP(dim, residual=True),
    }


PUBLISHED = {  # the paper's tables 2 and 3: MSE in raw latent units, drift in units of its own H
    "HNN": ("0.102 ± 0.045", "0.010 ± 0.007"),
    "HNN, no energy loss": ("0.087 ± 0.041", "0.146 ± 0.115"),
    "HNN, Euler": ("0.114 ± 0.050", "0.012 ± 0.008"),
    "MLP": ("0.196 ± 0.058", "0.327 ± 0.244"),
}


def mse(arm):
    """The published error of an arm, without its spread, as text."""
    return PUBLISHED[arm][0].partition(" ")[0]


def drift(arm):
    """The published drift of an arm, without its spread, as text."""
    return PUBLISHED[arm][1].partition(" ")[0]


PUBLISHED_TRAINING = {  # its table 1
    "optimiser": "AdamW",
    "learning rate": 1e-3,
    "weight decay": 1e-5,
    "schedule": "cosine to 1e-05",
    "epochs": 50,
    "batch size": 32,
    "updates": 1150,
    "λ (energy)": "0.1 → 1.0",
    "gradient clipping": 1.0,
    "split": "by window",
    "latents": "raw",
}
PUBLISHED_RATIO = 1.9  # §5.1: the MLP's error over the HNN's
PUBLISHED_DT = 1.167  # §5.3
PUBLISHED_DRIFT = {15: 0.018, 50: 0.159}  # §5.1: of H, in units of its own, after so many steps
PUBLISHED_GROWTH = (0.035, 0.13)  # §5.2: the HNN's error at steps 1 and 15
PUBLISHED_PARAMETERS = {"HNN": 919_041, "MLP": 1_312_768}  # §5.1, D = 1024
PUBLISHED_TIMES = {"HNN, autograd": 2.73, "MLP": 0.15}  # §5.6: ms a step, one state, on an A100
PUBLISHED_COST = 18  # §5.6: the HNN's time over the MLP's
