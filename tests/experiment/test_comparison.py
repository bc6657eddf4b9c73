"""Arms: trained as each would be alone, compared by hand-made numbers."""

import numpy as np
import pytest
import torch

from hjepa_utils import (
    HNN,
    BaselineMLP,
    Experiment,
    HamiltonianDynamics,
    LatentWindows,
    RandomEnergy,
    SeparableHNN,
    Standardiser,
    arm_distances,
    arm_drifts,
    arm_errors,
    arm_rollouts,
    arms_table,
    clustered_interval,
    compare_arms,
    error_growth,
    euler_step,
    fit,
    fit_seeds,
    implicit_midpoint_step,
    leapfrog_step,
    long_drift,
    ratio_of_means,
    rk4_step,
    rollout,
    rollout_errors,
    seeded,
    stormer_verlet_step,
    tao_step,
    training_error,
)
from hjepa_utils.dynamics.baselines import GRU, NeuralODE
from hjepa_utils.dynamics.hamiltonian import FeatureHamiltonian
from hjepa_utils.dynamics.predictors import SubstepDynamics
from hjepa_utils.experiment.ensemble import can_stack
from hjepa_utils.experiment.intervals import percentile_levels

D, TRAINING = 4, {"n_epochs": 2, "batch_size": 4}


@pytest.fixture
def windows():
    generator = torch.manual_seed(0)
    train, test = (torch.randn(n, 5, D, generator=generator) for n in (8, 6))
    train_videos, test_videos = torch.tensor([2, 2, 2, 2, 2, 3, 4, 4]), torch.tensor([0, 0, 0, 1, 1, 1])
    return LatentWindows(train, test, train_videos, test_videos, Standardiser.identity(D))


def builders():
    return {
        "HNN": lambda: HamiltonianDynamics(HNN(D, (8, 8))),
        "midpoint": lambda: HamiltonianDynamics(HNN(D, (8, 8)), implicit_midpoint_step),
        "MLP": lambda: BaselineMLP(D, (8,)),
    }


def test_every_arm_and_seed_is_trained_as_if_it_were_alone(tmp_path, windows):
    experiment = Experiment(range(3, 5), tmp_path, TRAINING)
    trained = experiment.train(builders(), windows, "data")
    for arm, build in builders().items():
        for seed, model in zip((3, 4), trained[arm], strict=True):
            with seeded(seed):
                alone = build()
            fit(alone, windows.train, windows.test, seed=seed, **TRAINING)
            for mine, its in zip(model.parameters(), alone.parameters(), strict=True):
                assert torch.equal(mine, its)


def test_trained_arms_are_taken_from_the_folder(tmp_path, windows):
    experiment = Experiment(range(2), tmp_path, TRAINING)
    first = experiment.train(builders(), windows, "data")
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    again = experiment.train(builders(), windows, "data")
    assert len(files) == 6
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == files
    for arm in first:
        assert np.array_equal(arm_errors(first[arm], windows.test), arm_errors(again[arm], windows.test))


def test_options_of_one_call_override_the_settings(tmp_path, windows):
    experiment = Experiment(range(1), tmp_path, TRAINING)
    mlp = {"MLP": builders()["MLP"]}
    fast, slow = (experiment.train(mlp, windows, f"lr {lr}", lr=lr)["MLP"] for lr in (1e-2, 1e-6))
    with seeded(0):
        untrained = [builders()["MLP"]()]
    start, after_slow, after_fast = (
        training_error(models, windows, seed=0).mean for models in (untrained, slow, fast)
    )
    assert abs(after_slow - start) < 1e-3 < start - after_fast


def test_training_watches_the_first_window_of_every_video(tmp_path, windows):
    experiment = Experiment(range(2), tmp_path, TRAINING)
    planned = experiment.trainings({"MLP": builders()["MLP"]}, windows, "data")["MLP"]
    assert [training.seed for training in planned] == [0, 1]
    for training in planned:
        train, watched = training.windows
        assert train is windows.train and torch.equal(watched, windows.test[[0, 3]])
    assert experiment.train({"MLP": builders()["MLP"]}, windows, "data", seeds=range(0)) == {"MLP": []}


def test_training_errors_have_intervals_over_training_videos(windows):
    mlps = [builders()["MLP"]() for _ in range(2)]
    error = training_error(mlps, windows, seed=3)
    with torch.no_grad():
        rolled = torch.stack([mlp.rollout(windows.train[:, 0], 4)[:, 1:] for mlp in mlps])
    of_windows = (rolled - windows.train[:, 1:]).square().mean(dim=(0, 2, 3)).double().numpy()
    assert error.mean == pytest.approx(of_windows.mean(), rel=1e-6)
    assert error.n_groups == 3
    expected = clustered_interval(of_windows, [2] * 5 + [3] + [4] * 2, rng=np.random.default_rng(3))
    np.testing.assert_allclose(error.interval, expected, rtol=1e-6)


def test_errors_drifts_and_distances_are_those_of_each_model(windows):
    models = []
    for seed in (0, 1):
        with seeded(seed):
            models.append(HamiltonianDynamics(HNN(D, (8, 8))))
        for parameter in models[-1].hamiltonian.parameters():
            torch.nn.init.normal_(parameter, std=0.5, generator=torch.manual_seed(seed))
    each = [rollout_errors(model, windows.test).numpy() for model in models]
    np.testing.assert_allclose(arm_errors(models, windows.test), np.stack(each), rtol=1e-6)
    rollouts = arm_rollouts(models, windows.test)
    np.testing.assert_allclose(np.square(rollouts - windows.test.numpy())[:, :, 1:].mean(-1), each, rtol=1e-5)
    drifts, distances = [], []
    centre = windows.train.reshape(-1, D).mean(dim=0)
    true = (windows.test - centre).norm(dim=-1).mean()
    with torch.no_grad():
        for model in models:
            energies = model.energy(model.rollout(windows.test[:, 0], 4)).numpy()
            spread = model.energy(windows.train.reshape(-1, D)).numpy().std(ddof=1)
            drifts.append(np.abs(energies - energies[:, :1]).max(axis=1) / spread)
            distances.append((model.rollout(windows.test[:, 0], 7)[:, 7] - centre).norm(dim=-1) / true)
    np.testing.assert_allclose(arm_drifts(models, windows, 4)[..., 0], drifts, rtol=1e-5)
    np.testing.assert_allclose(arm_distances(models, windows, 7)[..., 0], torch.stack(distances), rtol=1e-5)


def test_a_long_drift_is_that_of_the_first_windows_in_float64(windows):
    with seeded(0):
        models = [HamiltonianDynamics(HNN(D, (8, 8)), dt=dt) for dt in (0.5, 0.7)]
    for model in models:
        for parameter in model.hamiltonian.parameters():
            torch.nn.init.normal_(parameter, std=0.3, generator=torch.manual_seed(0))
    found = long_drift(models, rk4_step, windows, 200, seed=0)
    energy, starts, ratios = models[0].hamiltonian.double(), windows.test[[0, 3], 0].double(), []
    with torch.no_grad():
        spread = energy(windows.train.double()).std()
        for model in models:
            energies = energy(rollout(rk4_step, energy, starts, model.clamped_dt.double(), 200))
            ratios.append((energies - energies[:, :1]).abs().amax(dim=1) / spread)
    assert found.mean == pytest.approx(torch.stack(ratios).mean().item(), rel=1e-9)
    assert found.n_groups == 2


@pytest.mark.parametrize("step", [euler_step, implicit_midpoint_step])
def test_a_long_drift_without_a_number_is_none(windows, step):
    """Euler's rollout in a steep H overflows; the iteration of the implicit step does not converge."""
    dynamics = HamiltonianDynamics(RandomEnergy(HNN, D, seed=0), dt=2.0)
    assert long_drift([dynamics], step, windows, 3_000, seed=0) is None


def test_differences_are_paired_and_intervals_over_videos():
    """Two arms with a large common part: their difference is known far better than either."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(10), 3)
    common = rng.normal(size=(10, 1)).repeat(3, axis=0) * 5
    one_seed = np.tile(common, (1, 1, 4))
    values = {"A": np.concatenate([one_seed - 1, one_seed + 1]), "B": one_seed + 0.3}
    compared = compare_arms(values, "A", groups, seed=1)
    assert compared.reference == "A" and list(compared.differences) == ["B"]
    np.testing.assert_allclose(compared.differences["B"].interval, [0.3, 0.3], rtol=1e-9)
    expected = clustered_interval(one_seed.mean(axis=(0, 2)), groups, rng=np.random.default_rng(1))
    np.testing.assert_allclose(compared.summaries["A"].interval, expected, rtol=1e-12)
    middle = common.mean()
    np.testing.assert_allclose(compared.per_seed["A"], [middle - 1, middle + 1])
    table = arms_table(compared)
    assert list(table["− A"]) == ["", "0.300 [0.300, 0.300]"]
    assert list(compared.summaries) == list(table.index) == ["A", "B"]
    assert (compared.difference("A"), compared.difference("B")) == ("–", "0.30 [0.30, 0.30]")
    saved = compared.to_dict()
    assert list(saved["A"]) == ["mean", "std", "interval", "n_groups", "per_seed"]
    assert list(saved["B"]) == [*saved["A"], "difference"]
    assert saved["B"]["difference"] == compared.differences["B"].to_dict()


def test_growth_is_compared_with_growth_in_proportion():
    steps, groups = np.arange(1, 6), np.arange(4)
    for exponent, sign in ((0.5, -1), (1, 0), (2, 1)):
        growth = error_growth(np.tile(0.1 * steps**exponent, (2, 4, 1)), groups, seed=0)
        np.testing.assert_allclose([growth["first"].mean, *growth["first"].interval], 0.1)
        np.testing.assert_allclose([growth["last"].mean, *growth["last"].interval], 0.1 * 5**exponent)
        assert np.sign(np.round(growth["excess"].mean, 12)) == sign


@pytest.mark.parametrize("step", [euler_step, leapfrog_step, rk4_step, tao_step])
@pytest.mark.parametrize("kind", [HNN, SeparableHNN])
def test_what_can_be_stacked_is_trained_together_as_alone(windows, step, kind):
    data = windows.train.double(), windows.test.double()
    together, alone = [], []
    for models in (together, alone):
        for seed in (0, 1):
            with seeded(seed):
                models.append(HamiltonianDynamics(kind(D, (8, 8)), step).double())
    assert can_stack(together[0])
    fit_seeds(together, *data, seeds=[0, 1], **TRAINING)
    for seed, (stacked, model) in enumerate(zip(together, alone, strict=True)):
        fit(model, *data, seed=seed, **TRAINING)
        for mine, its in zip(stacked.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(mine, its, rtol=1e-8, atol=1e-9)


def test_a_ratio_of_means_has_the_interval_of_resampled_videos():
    """Exactly proportional errors have no interval; others the quantiles of a plain loop."""
    rng, groups = np.random.default_rng(0), np.array([0, 0, 1, 2, 2, 2, 3])
    first, second = rng.uniform(1, 2, 7), rng.uniform(1, 2, 7)
    exact = ratio_of_means(1.9 * second, second, groups, seed=3)
    np.testing.assert_allclose([exact.mean, *exact.interval], 1.9)
    drawn = np.random.default_rng(3).integers(4, size=(10_000, 4))
    ratios = []
    for draw in drawn:
        rows = np.concatenate([np.flatnonzero(groups == group) for group in draw])
        ratios.append(first[rows].sum() / second[rows].sum())
    found = ratio_of_means(first, second, groups, seed=3)
    np.testing.assert_allclose(found.interval, np.quantile(ratios, percentile_levels(4)))


def test_arms_of_other_seeds_are_not_mixed_up_where_seeds_are_trained_together(
    tmp_path, windows, monkeypatch
):
    """As on a GPU: the second call must not find the first one's states."""
    monkeypatch.setattr("hjepa_utils.experiment.side_by_side.can_stack", lambda model: True)
    monkeypatch.setattr("torch.Tensor.is_cuda", True)
    monkeypatch.setattr(
        "hjepa_utils.experiment.side_by_side.fit_seeds",
        lambda *args, checkpoint, **rest: calls.append(checkpoint) or [],
    )
    calls, experiment = [], Experiment(range(2), tmp_path, TRAINING)
    for seeds in ([0], [1], [0, 1]):
        experiment.train({"MLP": builders()["MLP"]}, windows, "data", seeds=seeds)
    assert len(set(calls)) == 3


def test_what_cannot_be_stacked_is_known():
    assert can_stack(BaselineMLP(D)) and can_stack(NeuralODE(D))
    for step in (implicit_midpoint_step, stormer_verlet_step):
        assert not can_stack(HamiltonianDynamics(HNN(D, (8, 8)), step))
    by_autograd = FeatureHamiltonian(HNN(D, (8, 8)), lambda z: 4 * z)
    assert not can_stack(HamiltonianDynamics(by_autograd))
    assert not can_stack(GRU(D, 3)) and not can_stack(SubstepDynamics(HNN(D, (8, 8)), 2))


@pytest.mark.parametrize(
    "shapes",
    [{"B": (2, 6, 3)}, {"A": (2, 6, 3), "B": (2, 1, 3)}, {"A": (2, 6, 3), "B": (2, 6, 4)}, {"A": (6, 3)}],
)
def test_arms_of_other_windows_are_not_compared(shapes):
    """One window of B would else be taken for each of A's."""
    values = {arm: np.ones(shape) for arm, shape in shapes.items()}
    with pytest.raises(ValueError, match=r"arms are \(n_models, n_windows, n_steps\), on the windows of 'A'"):
        compare_arms(values, "A", np.arange(6), seed=0)
