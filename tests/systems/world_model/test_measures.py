"""What the pendulum's model is measured by, against cases that are known."""

import math

import numpy as np
import pytest
import torch

from hjepa_utils import HamiltonianWorldModel, seeded
from hjepa_utils.systems.world_model import measures
from hjepa_utils.systems.world_model.gauge import AngleGauge
from hjepa_utils.systems.world_model.pendulum import true_rollout

GAUGE = AngleGauge(-1, 0.4, 0.0, -1.0)


def random_states(n, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.uniform([-np.pi, -7.0], [np.pi, 7.0], (n, 2)))


def test_frames_within_counts_up_to_the_first_beyond():
    errors = torch.tensor([[0.0, 0.1, 0.4, 0.1], [0.0, 0.1, 0.2, 0.2], [0.0, 0.5, 0.1, 0.1]])
    assert measures.frames_within(errors).tolist() == [1, 3, 0]


def test_a_path_keeps_its_energy_but_for_the_integrators_error():
    """Small swings about rest below, exact to second order in their size: θ̇²/2 + 15 (1 + cos θ)."""
    times = 0.05 * torch.arange(400.0, dtype=torch.float64)
    theta = math.pi + 0.02 * (math.sqrt(15) * times).cos()
    exact = torch.stack([theta, torch.zeros_like(theta)], dim=-1)[None]
    energy = 15 * 0.02**2 / 2
    assert measures.energy_drifts(exact).item() < 0.3 * energy / 30
    growing = exact.clone()
    growing[0, 1:, 0] += 0.1 * torch.arange(399)  # θ̇ is larger by 2 rad/s from the first frame on
    assert measures.energy_drifts(growing).item() > 0.5
    exact[0, 200:] = math.nan
    assert measures.energy_drifts(exact).item() == math.inf


def test_the_simulators_own_drift_is_that_of_symplectic_euler():
    """Its modified energy E - h/2 ∂V/∂θ θ̇ is kept to h², so E swings by h/2 |15 sin θ θ̇|."""
    start = torch.tensor([[math.pi - 1.0, 0.0]], dtype=torch.float64)
    path = true_rollout(start, torch.zeros(1, 500, 1, dtype=torch.float64))
    swing = 0.025 * 15 * path[0, 1:, 0].sin() * path[0, 1:, 1] / 30
    wanted = (swing - swing[0]).abs().max().item()
    assert measures.energy_drifts(path).item() == pytest.approx(wanted, rel=0.1)


def test_pixel_errors_of_what_the_decoder_draws_are_nothing():
    with seeded(0):
        model = HamiltonianWorldModel()
        model.decoder.template.data.uniform_(-1, 0)
    states = random_states(3)[:, None].expand(-1, 5, -1)
    frames = model.decode(GAUGE.model_states(states).float())
    drawn = measures.pixel_errors(model, GAUGE, states, frames, [0], 2)
    assert drawn.shape == (3,)
    assert drawn.max() < 1e-5
    turned = states + torch.tensor([1.0, 0.0])
    assert measures.pixel_errors(model, GAUGE, turned, frames, [0], 2).min() > 1e-3


def test_a_symplectic_map_is_one_and_a_stretched_one_is_not():
    """θ̇ = p + 2 sin θ is a shear; a scale of p changes the determinant alone; p³ changes areas."""
    z = random_states(400)
    theta, p = GAUGE.true_states(z).unbind(dim=-1)
    shear = torch.stack([theta, p + 2 * theta.sin()], dim=-1)
    fit = measures.phase_space_fit(z, shear, GAUGE)
    assert fit.r2 > 1 - 1e-9
    assert fit.angle_error < 1e-9
    assert (fit.scale, fit.distortion) == pytest.approx((1.0, 0.0), abs=1e-9)
    fit = measures.phase_space_fit(z, torch.stack([theta, 3 * p], dim=-1), GAUGE)
    assert (fit.scale, fit.distortion) == pytest.approx((3.0, 0.0), abs=1e-9)
    bent = torch.stack([theta, p + p.pow(3) / 49], dim=-1)
    area = 1 + 3 * p[1::2].square() / 49
    fit = measures.phase_space_fit(z, bent, GAUGE)
    assert fit.distortion == pytest.approx((area / area.mean() - 1).square().mean().sqrt().item(), rel=1e-6)


def test_damping_is_read_where_it_is():
    with seeded(0):
        model = HamiltonianWorldModel()
    last = model.dynamics.damping.network[2]
    slow, fast = measures.damping_read(model.dynamics, GAUGE)
    assert slow == fast == pytest.approx(math.log1p(math.exp(-10)), rel=1e-2)
    last.bias.data.fill_(0.25)
    assert measures.damping_read(model.dynamics, GAUGE)[0] == pytest.approx(math.log1p(math.e), rel=1e-5)
