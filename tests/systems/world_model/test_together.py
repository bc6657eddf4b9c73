"""Trainings together are those alone, to rounding, and go on where they stopped."""

import pytest
import torch
from helpers import count_updates, true_episodes

from hjepa_utils import seeded
from hjepa_utils.systems.world_model import rivals, training
from hjepa_utils.systems.world_model.coordinates import Angle
from hjepa_utils.systems.world_model.dynamics import BoundedResidual
from hjepa_utils.systems.world_model.encoders import MomentumHead
from hjepa_utils.systems.world_model.model import pendulum_parts
from hjepa_utils.systems.world_model.together import Lesson, fit_together

SHORT = {"n_steps": 6, "batch_size": 8, "horizons": (2, 5), "residual_weight": 0.3}


def with_residual():
    dynamics = pendulum_parts().dynamics
    dynamics.residual = BoundedResidual(Angle, 1, 2.0)
    return dynamics


BUILT = {
    "Hamiltonian": lambda: pendulum_parts().dynamics,
    "with a residual": with_residual,
    "residual MLP": lambda: rivals.ResidualMLP(Angle, 1, 1, dt=0.05),
    "neural ODE": lambda: rivals.DrivenODE(Angle, 1, 1, dt=0.05),
    "free force": lambda: rivals.FreeForce(Angle, 1, 1, dt=0.05),
    "GRU": lambda: rivals.DrivenGRU(Angle, 1, 1),
}


def lessons(name, clipped=1.0):
    made = []
    for seed, n in ((0, 4), (3, 2)):
        with seeded(seed):
            dynamics, momentum = BUILT[name](), MomentumHead(Angle, 1, 1, n_frames=3, dt=0.05)
        places, actions = true_episodes(n, 12, seed=seed)
        made.append(Lesson(dynamics, momentum, places, clipped * actions, seed))
    return made


def weights(one):
    return [p.detach().clone() for m in (one.dynamics, one.momentum) for p in m.parameters()]


@pytest.mark.parametrize("name", BUILT)
def test_each_is_trained_as_alone(name):
    together, alone = lessons(name), lessons(name)
    history = fit_together(together, **SHORT)
    for k, (one, other) in enumerate(zip(together, alone, strict=True)):
        before = weights(other)
        own = training.fit_dynamics(
            other.dynamics, other.momentum, other.places, other.actions, seed=other.seed, **SHORT
        )
        assert [row["loss"][k] for row in history] == pytest.approx([row["loss"] for row in own], rel=1e-4)
        moved = [(a - b).abs().max().item() for a, b in zip(weights(other), before, strict=True)]
        assert max(moved) > 1e-3
        for mine, wanted in zip(weights(one), weights(other), strict=True):
            torch.testing.assert_close(mine, wanted, rtol=0, atol=1e-4)


def test_an_interrupted_one_ends_with_the_same_bits(tmp_path, monkeypatch):
    settings = SHORT | {"n_steps": 52}
    whole, broken, resumed = (lessons("free force") for _ in range(3))
    history = fit_together(whole, **settings)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        count_updates(patch, break_off_after=51)
        fit_together(broken, checkpoint=tmp_path, **settings)
    done = count_updates(monkeypatch)
    assert fit_together(resumed, checkpoint=tmp_path, **settings) == history
    assert len(done) == 2  # the last state is that after step 50
    for one, other in zip(resumed, whole, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def test_other_architectures_and_lost_trainings_are_told():
    mixed = [lessons("free force")[0], lessons("GRU")[1]]
    with pytest.raises(ValueError, match="2 laws of one architecture are needed"):
        fit_together(mixed, **SHORT)
    lost = lessons("free force")
    lost[1].places.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"dynamics: the loss of step 0 is not finite for seeds \[3\]"):
        fit_together(lost, **SHORT)
