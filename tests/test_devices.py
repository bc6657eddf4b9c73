"""What is computed on a GPU stays there: traced on fake CUDA tensors, which need none.

A fake tensor has a shape, a dtype and a device, and operations on two devices are errors, but for
single numbers and indices on the CPU, which a GPU takes as well. Left out is what cannot be traced
without numbers: backward passes, and steps that ask whether they have converged.
"""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from hjepa_utils import (
    HNN,
    BaselineMLP,
    EntityHamiltonian,
    HamiltonianDynamics,
    InteractionNetwork,
    Persistence,
    SeparableHNN,
    TrainingMean,
    energy_drift,
    euler_step,
    leapfrog_step,
    rk4_step,
    rollout_errors,
    rollout_loss,
    tao_step,
)
from hjepa_utils.dynamics.baselines import GRU, LinearMap, NeuralODE
from hjepa_utils.dynamics.predictors import SubstepDynamics
from hjepa_utils.experiment.ensemble import stack
from hjepa_utils.runs.checkpoints import resumable
from hjepa_utils.systems.hjepa.controls import principal_directions

D = 8
MODELS = {
    f"{kind.__name__}, {step.__name__}": lambda step=step, kind=kind: HamiltonianDynamics(
        kind(D, (6, 4)), step
    )
    for step in (leapfrog_step, euler_step, rk4_step, tao_step)
    for kind in (HNN, SeparableHNN)
} | {
    "sub-steps": lambda: SubstepDynamics(HNN(D, (6, 4)), 4),
    "entity HNN": lambda: HamiltonianDynamics(EntityHamiltonian(2, 2, 6)),
    "interaction network": lambda: InteractionNetwork(2, 2, 4),
    "MLP": lambda: BaselineMLP(D, (6,)),
    "GRU": lambda: GRU(D, 4),
    "neural ODE": lambda: NeuralODE(D, (6,)),
    "persistence": Persistence,
}


@torch.library.register_fake("aten::_thnn_fused_gru_cell", allow_override=True)
def gru_cell(input_gates, hidden_gates, hidden, input_bias, hidden_bias):
    """What a GPU computes for `nn.GRUCell` in one kernel, which PyTorch cannot trace, in plain operations."""
    r, z, n = (input_gates + input_bias).chunk(3, dim=1)
    hidden_r, hidden_z, hidden_n = (hidden_gates + hidden_bias).chunk(3, dim=1)
    z, n = torch.sigmoid(z + hidden_z), torch.tanh(n + torch.sigmoid(r + hidden_r) * hidden_n)
    return n + z * (hidden - n), hidden.new_empty(len(hidden), 5 * hidden.shape[1])


@pytest.fixture
def windows():
    with FakeTensorMode():
        yield torch.randn(10, 5, D, device="cuda")


@pytest.mark.parametrize("name", MODELS)
def test_rollouts_losses_and_errors_stay_on_the_gpu(windows, name):
    with torch.device("cuda"):
        model = MODELS[name]()
    assert model.rollout(windows[:, 0], 4).device.type == "cuda"
    assert all(loss.device.type == "cuda" for loss in rollout_loss(model, windows, 0.5))
    assert rollout_errors(model, windows).device.type == "cuda"
    if hasattr(model, "energy"):
        assert energy_drift(model.energy, windows).device.type == "cuda"


@pytest.mark.parametrize("name", ["HNN, leapfrog_step", "SeparableHNN, leapfrog_step", "MLP"])
def test_stacked_models_stay_on_the_gpu(windows, name):
    with torch.device("cuda"):
        stacked = stack([MODELS[name]() for _ in range(3)])
    losses = rollout_loss(stacked, windows.expand(3, *windows.shape), 0.5)
    assert [(loss.shape, loss.device.type) for loss in losses] == [((3,), "cuda")] * 3


def test_what_is_fitted_on_the_gpu_predicts_there(windows):
    for predictor in (LinearMap.fitted_to(windows, 4), TrainingMean(windows.mean(dim=(0, 1)))):
        assert rollout_errors(predictor, windows).device.type == "cuda"
    assert (windows @ principal_directions(windows)).device.type == "cuda"


@pytest.mark.parametrize("name", [name for name in MODELS if name != "persistence"])
def test_a_model_left_behind_is_noticed(windows, name):
    with pytest.raises(RuntimeError, match=r"two (different )?devices"):
        MODELS[name]().rollout(windows[:, 0], 4)


@pytest.mark.parametrize("name", [name for name, _ in GRU(D, 4).named_parameters()])
def test_a_weight_left_behind_is_noticed(windows, name):
    with torch.device("cuda"):
        model = GRU(D, 4)
    module, _, parameter = name.rpartition(".")
    setattr(
        model.get_submodule(module), parameter, nn.Parameter(torch.empty(model.get_parameter(name).shape))
    )
    with pytest.raises(RuntimeError, match=r"two (different )?devices"):
        model.rollout(windows[:, 0], 4)


def test_the_cell_that_is_traced_is_pytorchs():
    cell, z, hidden = nn.GRUCell(D, 4), torch.randn(10, D), torch.randn(10, 4)
    traced, _ = gru_cell(z @ cell.weight_ih.T, hidden @ cell.weight_hh.T, hidden, cell.bias_ih, cell.bias_hh)
    torch.testing.assert_close(traced, cell(z, hidden))


@pytest.mark.filterwarnings("ignore:for network:UserWarning")  # meta tensors have no numbers to copy
def test_a_restored_training_counts_its_updates_on_the_cpu(tmp_path):
    """On a GPU every update would wait for a count that lies there."""
    for device in ("cpu", "meta"):
        model = BaselineMLP(D, (6,)).to(device)
        optimiser, history = torch.optim.AdamW(model.parameters()), []
        parts = {"modules": {"model": model}, "optimisers": {"AdamW": optimiser}}
        for _ in resumable(tmp_path / "training", 1, fingerprint={}, history=history, **parts):
            rollout_loss(model, torch.randn(2, 3, D), 0.5).total.backward()
            optimiser.step()
            history.append(device)
        assert history == ["cpu"]
    places = {key: value.device.type for key, value in optimiser.state_dict()["state"][0].items()}
    assert places == {"step": "cpu", "exp_avg": "meta", "exp_avg_sq": "meta"}
