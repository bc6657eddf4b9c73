"""Statistics against closed forms, plain loops and brute force."""

import numpy as np
import pytest
import torch

from hjepa_utils import (
    HNN,
    BaselineMLP,
    HamiltonianDynamics,
    arm_rollouts,
    energy_drift,
    rollout_errors,
)


def test_errors_over_the_horizon_are_those_of_a_plain_loop():
    torch.manual_seed(0)
    windows = torch.randn(5, 4, 6)
    for dynamics in (BaselineMLP(6, (8,)), HamiltonianDynamics(HNN(6, (8, 8)))):
        errors = rollout_errors(dynamics, windows)
        assert errors.shape == (5, 3) and not errors.requires_grad
        for i, window in enumerate(windows):
            predicted = dynamics.rollout(window[0], 3).detach().numpy()
            for t in range(1, 4):
                expected = np.mean((predicted[t] - window[t].numpy()) ** 2)
                assert errors[i, t - 1].item() == pytest.approx(expected, rel=1e-4)


class Telling(BaselineMLP):
    """Says with how many threads it is rolled out."""

    def rollout(self, z0, n_steps):
        self.threads = torch.get_num_threads()
        return super().rollout(z0, n_steps)


@pytest.mark.parametrize("evaluated", [rollout_errors, lambda model, windows: arm_rollouts([model], windows)])
def test_an_evaluation_takes_one_thread_and_leaves_torch_as_it_was(evaluated):
    model, before = Telling(6, (8,)), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        evaluated(model, torch.randn(5, 4, 6))
        after = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
    assert (model.threads, after) == (1, 2)


def test_the_drift_is_the_largest_distance_from_the_first_energy():
    t = torch.arange(10, dtype=torch.float64)
    rising, dipping = torch.stack([3 + 0.5 * t, t]), torch.stack([2 - (t - 4) ** 2, t])
    trajectories = torch.stack([rising.T, dipping.T, -rising.T])
    drift = energy_drift(lambda z: z[..., 0], trajectories)
    assert drift.tolist() == [4.5, 16.0, 4.5]  # 0.5 · 9; from -14 up to 2, then down to -23


def test_no_motion_is_no_drift():
    still = torch.randn(3, 1, 4).expand(3, 7, 4)
    assert energy_drift(lambda z: z.square().sum(-1), still).tolist() == [0, 0, 0]
