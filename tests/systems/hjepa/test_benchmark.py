"""The benchmark times what it says: the same states, the counted arithmetic, everyone in turn."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import VJEPA2Config, VJEPA2Model

from hjepa_utils import (
    BaselineMLP,
    encode_video,
    load_encoder,
    render_frames,
    simulate_collisions,
    write_video,
)
from hjepa_utils.experiment import timing
from hjepa_utils.experiment.ensemble import stack
from hjepa_utils.latents.encoder import Encoder
from hjepa_utils.systems.hjepa import benchmark, encoder_rates


@pytest.fixture(scope="module")
def contestants():
    return benchmark.contestants(64, "cpu")


def states(model, n_steps=4):
    z0 = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.rollout(z0, n_steps)


def test_all_leapfrogs_go_through_the_same_states(contestants):
    expected = states(contestants["HNN"])
    assert (expected[:, -1] - expected[:, 0]).norm(dim=1).min() > 0.5
    others = [name for name in contestants if name.startswith("HNN,") and name != "HNN, Euler"]
    assert {"HNN, autograd", "HNN, compiled"} <= set(others)
    for other in others:
        torch.testing.assert_close(states(contestants[other]), expected, rtol=1e-5, atol=1e-5)


def test_without_a_compiler_the_compiled_rollout_is_left_out_with_one_line(monkeypatch, capsys):
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("/there/is/no/compiler",))
    monkeypatch.setattr("torch._inductor.config.force_disable_caches", True)
    torch.compiler.reset()
    assert "HNN, compiled" not in benchmark.contestants(8, "cpu")
    notice = capsys.readouterr().out
    assert notice.startswith("the compiled rollout is left out") and notice.count("\n") == 1
    torch.compiler.reset()


def test_graphs_are_for_gpus_only(contestants):
    assert not [name for name in contestants if "graphed" in name]


def test_torchdiffeq_solves_the_same_equations(contestants):
    euler = states(contestants["HNN, Euler"])
    torch.testing.assert_close(states(contestants["torchdiffeq, Euler"]), euler, rtol=1e-5, atol=1e-5)
    distance = {
        name: (states(m) - euler).abs().max() for name, m in contestants.items() if "torchdiffeq" in name
    }
    assert 0 < distance["torchdiffeq, RK4"] < 0.2 * euler.diff(dim=1).abs().max()


@pytest.mark.parametrize("name", ["HNN", "MLP"])
def test_the_arithmetic_is_that_of_a_flop_counter(name):
    contestants = benchmark.contestants(1024, "cpu")
    counts = []
    for n_steps in (1, 2):  # their difference is one step, without what a rollout begins with
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            contestants[name].rollout(torch.randn(1, 1024), n_steps)
        counts.append(counter.get_total_flops())
    assert counts[1] - counts[0] == 2 * benchmark.multiply_adds(1024)[name]


def test_everyone_takes_a_turn_in_every_round():
    calls = []
    taken = timing.seconds({n: lambda n=n: calls.append(n) for n in "abc"}, rounds=3, warm_up=1)
    assert "".join(calls) == "abc" * 4
    assert list(taken) == ["a", "b", "c"]
    assert all(times.shape == (3,) and (times > 0).all() for times in taken.values())


def test_ratios_are_taken_round_by_round():
    """A machine that is now fast and now slow moves the times and leaves the ratios."""
    slowness = np.random.default_rng(0).permutation(np.logspace(0, 2, 9))
    factors = np.array([3.0, 3.4, 2.9, 3.1, 3.3, 2.8, 3.2, 2.7, 3.5])
    compared = timing.side_by_side({"new": factors * slowness, "old": slowness}, "old")
    assert compared.ratios["new"].median == pytest.approx(3.1)
    np.testing.assert_allclose(compared.ratios["new"].interval, [2.8, 3.4])
    np.testing.assert_allclose(compared.medians["old"].median, 10)
    np.testing.assert_allclose(compared.medians["old"].interval, 10 ** np.array([0.25, 1.75]))
    table = timing.times_table(compared, "s")
    assert list(table.loc["old"]) == ["10.0 [1.78, 56.2]", ""]
    assert table.loc["new", "× old"] == "3.10 [2.80, 3.40]"


def test_updates_move_the_weights_of_single_and_stacked_models():
    models = {"one": BaselineMLP(8, (4,)), "two": stack([BaselineMLP(8, (4,)) for _ in range(2)])}
    before = {name: [p.clone() for p in model.parameters()] for name, model in models.items()}
    benchmark.milliseconds_per_update(models, torch.randn(5, 16, 8), rounds=1)
    for name, model in models.items():
        assert all((p != q).any() for p, q in zip(model.parameters(), before[name], strict=True))


def test_growth_has_every_value_of_every_quantity():
    grown = benchmark.growth({"batch": (1, 2), "horizon": (1, 3)}, "cpu", dim=16, rounds=1)
    assert {quantity: list(rows) for quantity, rows in grown.items()} == {"batch": [1, 2], "horizon": [1, 3]}
    assert all(set(row) == {"HNN", "MLP"} for rows in grown.values() for row in rows.values())


def test_one_clip_at_a_time_gives_the_same_embeddings(tmp_path):
    encoder = load_encoder()
    write_video(tmp_path / "balls.mp4", render_frames(simulate_collisions(28, rng=np.random.default_rng(0))))
    latents = encoder_rates.one_clip_at_a_time(encoder, tmp_path / "balls.mp4")
    expected = encode_video(encoder, tmp_path / "balls.mp4")
    torch.testing.assert_close(latents, expected, rtol=1e-4, atol=1e-4)
    rates = encoder_rates.clips_per_second([tmp_path / "balls.mp4"], encoder, encoder, rounds=6)
    assert all(rate.interval[0] > 0 for rate in rates.medians.values())
    one = encoder_rates.share_of_matrix_rate(1, encoder)
    rate = encoder_rates.flops_per_clip(encoder) / one
    assert 1e9 < rate < 1e13  # what CPUs do


def test_the_arithmetic_of_a_clip_is_counted():
    """Every product of the embedded encoder, written out: 128 tokens, 4 layers, 192 wide."""
    n, d, layers = 128, 192, 4
    per_layer = 4 * n * d * d + 2 * n * n * d + 2 * n * d * 4 * d  # projections, attention, MLP
    patches = n * d * 3 * 2 * 16 * 16
    flops = encoder_rates.flops_per_clip(load_encoder())
    assert flops == 2 * (layers * per_layer + patches)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"crop_size": 32, "patch_size": 8, "tubelet_size": 4},
        {"hidden_size": 48, "num_attention_heads": 4, "mlp_ratio": 2.5, "num_hidden_layers": 3},
    ],
)
def test_the_arithmetic_of_a_clip_is_that_of_a_flop_counter(settings):
    """Attention is written out here (`eager`): the counter does not see into every release's fused one."""
    config = load_encoder().model.config.to_dict() | settings
    model = VJEPA2Model(VJEPA2Config(**config, attn_implementation="eager")).eval()
    encoder = Encoder("random weights", model)
    with FlopCounterMode(display=False) as counter:
        encoder.embed(torch.zeros(1, 16, 3, encoder.image_size, encoder.image_size, dtype=torch.uint8))
    assert encoder_rates.flops_per_clip(encoder) == counter.get_total_flops()
