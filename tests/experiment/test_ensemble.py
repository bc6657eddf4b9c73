"""Models trained together end as if each had been trained alone."""

import pytest
import torch
from helpers import oscillators
from torch import nn
from torch.nn.utils import clip_grad_norm_

from hjepa_utils import (
    HNN,
    BaselineMLP,
    HamiltonianDynamics,
    SeparableHNN,
    euler_step,
    fit,
    fit_seeds,
)  # fmt: skip
from hjepa_utils.experiment.ensemble import clip_each, stack
from hjepa_utils.runs import checkpoints

MAKERS = {
    "HNN, leapfrog": lambda: HamiltonianDynamics(HNN(4, (12, 8))),
    "HNN, Euler": lambda: HamiltonianDynamics(HNN(4, (12, 8)), euler_step),
    "separable": lambda: HamiltonianDynamics(SeparableHNN(4, (12, 8))),
    "MLP": lambda: BaselineMLP(4, (12,)),
    "residual MLP": lambda: BaselineMLP(4, (12,), residual=True),
}
SEEDS = (3, 0, 7)


def models(make):
    made = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        made.append(make().double())
    return made


@pytest.fixture(scope="module")
def windows():
    return oscillators(40).double(), oscillators(8, seed=1).double()


@pytest.mark.parametrize("arm", MAKERS)
def test_each_seed_is_what_training_it_alone_gives(arm, windows):
    alone, together = models(MAKERS[arm]), models(MAKERS[arm])
    settings = {"n_epochs": 3, "batch_size": 8, "lr": 1e-2, "max_norm": 0.1}  # small: clipping is at work
    histories = [
        fit(model, *windows, seed=seed, **settings) for seed, model in zip(SEEDS, alone, strict=True)
    ]
    joint = fit_seeds(together, *windows, seeds=SEEDS, **settings)
    for mine, other in zip(joint, histories, strict=True):
        assert [row.keys() for row in mine] == [row.keys() for row in other]
        for key in other[-1]:
            assert mine[-1][key] == pytest.approx(other[-1][key], rel=1e-9)
    for mine, other in zip(together, alone, strict=True):
        for name, parameter in other.state_dict().items():
            torch.testing.assert_close(mine.state_dict()[name], parameter, rtol=1e-9, atol=1e-10)
    assert len({row[-1]["loss"] for row in joint}) == len(SEEDS)


def test_interrupted_they_go_on_to_the_same_bits(windows, tmp_path, monkeypatch):
    undisturbed, killed = models(MAKERS["HNN, leapfrog"]), models(MAKERS["HNN, leapfrog"])
    settings = {"n_epochs": 4, "batch_size": 8, "seeds": SEEDS}
    histories = fit_seeds(undisturbed, *windows, **settings)

    class Killed(Exception):
        pass

    save = checkpoints._save

    def killed_in_epoch_3(path, epoch, *rest):
        if epoch == 3:
            raise Killed
        save(path, epoch, *rest)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(checkpoints, "_save", killed_in_epoch_3)
        fit_seeds(killed, *windows, **settings, checkpoint=tmp_path)
    again = models(MAKERS["HNN, leapfrog"])
    assert fit_seeds(again, *windows, **settings, checkpoint=tmp_path) == histories
    for mine, other in zip(again, undisturbed, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("change", ["seeds (3, 0, 8)", "the initial weights", "lr"])
def test_a_stack_of_something_else_begins_anew(windows, tmp_path, capsys, change):
    settings = {"n_epochs": 1, "batch_size": 8, "seeds": SEEDS, "checkpoint": tmp_path}
    fit_seeds(models(MAKERS["MLP"]), *windows, **settings)
    others = models(MAKERS["MLP"])
    if change == "the initial weights":
        others[2].network[0].weight.data += 1e-9
    other = {"seeds (3, 0, 8)": {"seeds": (3, 0, 8)}, "lr": {"lr": 0.1}}.get(change, {})
    fit_seeds(others, *windows, **settings | other)
    assert f"made with other settings ({change.split()[0][:4]}" in capsys.readouterr().out
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("arm", MAKERS)
def test_stacked_rollouts_are_the_models_own(arm):
    made = models(MAKERS[arm])
    z0 = torch.randn(len(SEEDS), 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([model.rollout(z, 6) for model, z in zip(made, z0, strict=True)])
    torch.testing.assert_close(stack(made).rollout(z0, 6), expected, rtol=1e-10, atol=1e-10)


def test_gradients_are_clipped_model_by_model():
    generator = torch.Generator().manual_seed(0)
    stacked = [nn.Parameter(torch.zeros(3, *shape)) for shape in ((4, 2), (4,), ())]
    for parameter in stacked:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
        parameter.grad[1] *= 0.01  # this model is below the bound
    gradients = [parameter.grad.clone() for parameter in stacked]
    clip_each(stacked, 1.0)
    for index in range(3):
        alone = [nn.Parameter(torch.zeros(p.shape[1:])) for p in stacked]
        for parameter, gradient in zip(alone, gradients, strict=True):
            parameter.grad = gradient[index].clone()
        clip_grad_norm_(alone, 1.0)
        for mine, other in zip(stacked, alone, strict=True):
            torch.testing.assert_close(mine.grad[index], other.grad)


def test_models_of_two_kinds_or_too_few_seeds_are_refused(windows):
    mlp, residual = BaselineMLP(4, (12,)), BaselineMLP(4, (12,), residual=True)
    for mixed in (
        [],
        [mlp, residual],
        [mlp, BaselineMLP(4, (8,))],
        [MAKERS["HNN, Euler"](), MAKERS["separable"]()],
    ):
        with pytest.raises(ValueError, match="one kind and size"):
            stack(mixed)
    with pytest.raises(ValueError, match="one seed per model is needed, got 1 for 2"):
        fit_seeds([mlp, mlp], *windows, seeds=[0], n_epochs=1)
