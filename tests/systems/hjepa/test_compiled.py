"""Compiled rollouts give the plain ones' states and gradients, or fall back to them."""

import pytest
import torch

from hjepa_utils import HNN, BaselineMLP, HamiltonianDynamics, Persistence
from hjepa_utils.systems.hjepa.compiled import compile_rollouts


def dynamics():
    torch.manual_seed(0)
    hnn = HNN(8, (12, 10))
    for parameter in hnn.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return HamiltonianDynamics(hnn)


@pytest.fixture
def z0():
    return torch.randn(5, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("make", [dynamics, lambda: BaselineMLP(8, (12,))])
def test_states_and_gradients_are_the_plain_ones(make, z0, capsys):
    torch.manual_seed(0)
    plain = make()
    torch.manual_seed(0)
    compiled = compile_rollouts(make())
    for model in (plain, compiled):
        model.rollout(z0, 3).square().sum().backward()
    torch.testing.assert_close(compiled.rollout(z0, 3), plain.rollout(z0, 3), rtol=1e-5, atol=1e-5)
    for mine, other in zip(compiled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-4)
    assert capsys.readouterr().out == ""  # no fallback


def test_gradients_with_respect_to_the_start_and_through_it(z0):
    plain, compiled = dynamics().requires_grad_(False), compile_rollouts(dynamics().requires_grad_(False))
    starts = [z0.clone().requires_grad_() for _ in range(2)]
    for model, start in zip((plain, compiled), starts, strict=True):
        model.rollout(model.rollout(start, 1)[:, -1], 2).square().sum().backward()
    torch.testing.assert_close(starts[1].grad, starts[0].grad, rtol=1e-4, atol=1e-5)


def test_no_steps_and_no_parameters(z0, capsys):
    assert torch.equal(compile_rollouts(dynamics()).rollout(z0, 0), z0[:, None])
    assert torch.equal(compile_rollouts(Persistence()).rollout(z0, 2), z0[:, None].expand(5, 3, 8))
    assert capsys.readouterr().out == ""


def test_what_a_gpu_trains_with_has_the_hand_written_adjoints_gradients(z0, monkeypatch, capsys):
    plain, compiled = dynamics(), dynamics()
    with monkeypatch.context() as pretended:
        pretended.setattr("torch.Tensor.is_cuda", True)
        compile_rollouts(compiled)
    results = [model.rollout_with_energy(z0, 3) for model in (plain, compiled)]
    for states, energies in results:
        (states.square().mean() + energies.square().mean()).backward()
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-5)
    for mine, other in zip(compiled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-5)
    assert capsys.readouterr().out == ""


class NoBackward(torch.autograd.Function):
    """What a compiler gives that fails at the backward pass."""

    @staticmethod
    def forward(ctx, states):
        return states.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("no kernel for this derivative")


def test_a_compiler_that_fails_at_the_backward_pass_is_not_used(z0, monkeypatch, capsys):
    def broken(function, mode):
        return lambda *inputs: NoBackward.apply(function(*inputs))

    monkeypatch.setattr("torch.compile", broken)
    plain, compiled = dynamics(), compile_rollouts(dynamics())
    for model in (plain, compiled):
        model.rollout(z0, 3).square().sum().backward()
    assert torch.equal(compiled.dt.grad, plain.dt.grad)
    assert torch.equal(compiled.hamiltonian.layers[0].weight.grad, plain.hamiltonian.layers[0].weight.grad)
    notice = "not compiled, the plain rollout is used: no kernel for this derivative\n"
    assert capsys.readouterr().out == notice


def test_without_a_compiler_the_plain_rollout_stays_with_one_line(z0, monkeypatch, capsys):
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("/there/is/no/compiler",))
    monkeypatch.setattr("torch._inductor.config.force_disable_caches", True)
    torch.compiler.reset()
    model = compile_rollouts(dynamics())
    for _ in range(2):
        assert torch.equal(model.rollout(z0, 3), dynamics().rollout(z0, 3))
    notice = capsys.readouterr().out
    assert notice.startswith("not compiled, the plain rollout is used:") and notice.count("\n") == 1
    torch.compiler.reset()


def test_bad_input_gets_the_plain_rollouts_own_sentence():
    with pytest.raises(ValueError, match="this model takes z of width 8"):
        compile_rollouts(dynamics()).rollout(torch.zeros(2, 6), 3)
