"""What only a GPU can show to be wrong: its numbers beside the CPU's, graphs, restarts, half precision."""

import copy

import pytest
import torch

import hjepa_utils as hj
from hjepa_utils.dynamics.predictors import STEPS
from hjepa_utils.runs import checkpoints
from hjepa_utils.runs.cuda_graphs import graphed
from hjepa_utils.systems.hjepa.benchmark import AutogradHNN, updates_of, windows_for
from hjepa_utils.systems.hjepa.measure_record import difference

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
D = 64


def hnn(step=STEPS["leapfrog_step"], kind=hj.HNN):
    """A model on the CPU whose field is not almost zero, as it is at the published initial weights."""
    with hj.seeded(0):
        model = hj.HamiltonianDynamics(kind(D), step)
        for weight in (p for p in model.parameters() if p.ndim == 2):
            torch.nn.init.xavier_normal_(weight, gain=0.9)
    return model


def mlp():
    with hj.seeded(0):
        return hj.BaselineMLP(D)


MODELS = {name: lambda step=step: hnn(step) for name, step in STEPS.items()} | {
    "separable leapfrog": lambda: hnn(kind=hj.SeparableHNN),
    "leapfrog by autograd": lambda: hj.HamiltonianDynamics(AutogradHNN(hnn().hamiltonian)),
    "MLP": mlp,
}


def windows(n=8, n_steps=5):
    return torch.randn(n, n_steps + 1, D, generator=torch.Generator().manual_seed(1))


def rollout_and_gradients(model, windows):
    """Predictions and the derivatives of the loss as one vector each."""
    with torch.no_grad():
        states = model.rollout(windows[:, 0], windows.shape[1] - 1)
    hj.rollout_loss(model, windows, 0.5).total.backward()
    return states, torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("name", MODELS)
def test_rollouts_and_gradients_are_those_of_float64_on_a_cpu(name):
    make = MODELS[name]
    exact = rollout_and_gradients(make().double(), windows().double())
    on_gpu = rollout_and_gradients(make().cuda(), windows().cuda())
    on_cpu = rollout_and_gradients(make(), windows())
    for mine, usual, right in zip(on_gpu, on_cpu, exact, strict=True):
        assert difference(mine, right) < max(1e-4, 4 * difference(usual, right))


@pytest.mark.parametrize("make", [hnn, mlp])
def test_a_graphed_rollout_is_the_plain_one(make):
    model, given = make().cuda(), windows().cuda()
    with torch.no_grad():
        graph = graphed(lambda z: model.rollout(z, 5), torch.zeros_like(given[:, 0]))
        for z0 in (given[:, 0], given[:, 1]):
            assert difference(graph(z0), model.rollout(z0, 5)) < 1e-5


@pytest.mark.parametrize("make", [hnn, mlp, lambda: hj.stack([hnn(), hnn()])])
def test_recorded_updates_are_the_plain_ones(make):
    model, given, weight = make().cuda(), windows(32).cuda(), torch.tensor(0.5, device="cuda")
    given, twin = windows_for(model, given), copy.deepcopy(model)
    recorded, plain = updates_of(model), updates_of(twin)
    for batch in (given, -given, given):
        assert difference(recorded.run(batch, weight), plain.update(batch, weight)) < 1e-4
    weights = [torch.cat([p.flatten() for p in m.parameters()]) for m in (model, twin)]
    assert difference(*weights) < 1e-2  # AdamW turns a derivative's rounding about 0 into a whole step


class Waiting(hj.BaselineMLP):
    """A model that asks the GPU for a number, which no graph can record."""

    def rollout(self, z0, n_steps):
        return super().rollout(z0, n_steps) * (1.0 if z0.sum().item() < 1e9 else 2.0)


@pytest.mark.parametrize(
    "make",
    [lambda: Waiting(D), lambda: hnn(STEPS["implicit_midpoint_step"]), lambda: hnn(kind=hj.SeparableHNN)],
)
def test_what_cannot_be_recorded_is_trained_plainly(make):
    model = make().cuda()
    history = hj.fit(model, windows(64).cuda(), windows(8).cuda(), n_epochs=3, seed=0)
    assert history[-1]["loss"] < history[0]["loss"]


@pytest.mark.parametrize("make", [hnn, mlp])
def test_training_twice_and_after_an_interruption_gives_the_same_bits(make, tmp_path, monkeypatch):
    options, start, data = {"n_epochs": 4, "seed": 0}, make().cuda(), (windows(96).cuda(), windows(16).cuda())
    one, two, halted, resumed = (copy.deepcopy(start) for _ in range(4))
    hj.fit(one, *data, **options)
    hj.fit(two, *data, **options)
    saves, write = [], checkpoints.write_atomically

    def stop_at_the_third(*arguments):
        saves.append(1)
        if len(saves) == 3:
            raise KeyboardInterrupt
        write(*arguments)

    monkeypatch.setattr(checkpoints, "write_atomically", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        hj.fit(halted, *data, **options, checkpoint=tmp_path)
    assert len(hj.fit(resumed, *data, **options, checkpoint=tmp_path)) == 4
    assert len(saves) == 5  # of the epochs 1, 2, 3 and again 3 and 4
    for same in (two, resumed):
        assert all(torch.equal(p, q) for p, q in zip(one.parameters(), same.parameters(), strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_embeddings_in_half_precision_are_close_to_those_in_float32(dtype):
    exact = hj.load_encoder(device="cuda")
    shape = (4, 16, 3, exact.image_size, exact.image_size)
    clips = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    latents = hj.load_encoder(device="cuda", dtype=dtype).embed(clips)
    assert torch.cosine_similarity(latents, exact.embed(clips)).min() > 0.99
