"""Statistics against closed forms, plain loops and brute force."""

import numpy as np
import pytest
import torch
from scipy.stats import binom, norm, ttest_1samp

from hjepa_utils import (
    HNN,
    BaselineMLP,
    HamiltonianDynamics,
    clustered_interval,
    energy_drift,
    frame_pca,
    kinetic_energy,
    median_and_interval,
    probe_scores,
    ridge_probe,
    rollout_errors,
    simulate_collisions,
)
from hjepa_utils.evaluation import percentile_levels


def brute_force_interval(values, groups, n_resamples, seed):
    rng, means = np.random.default_rng(seed), []
    members = [values[groups == g] for g in np.unique(groups)]
    for _ in range(n_resamples):
        drawn = rng.choice(len(members), len(members))
        means.append(np.concatenate([members[k] for k in drawn]).mean())
    return np.quantile(means, percentile_levels(len(members)))


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


def test_the_drift_is_the_largest_distance_from_the_first_energy():
    t = torch.arange(10, dtype=torch.float64)
    rising, dipping = torch.stack([3 + 0.5 * t, t]), torch.stack([2 - (t - 4) ** 2, t])
    trajectories = torch.stack([rising.T, dipping.T, -rising.T])
    drift = energy_drift(lambda z: z[..., 0], trajectories)
    assert drift.tolist() == [4.5, 16.0, 4.5]  # 0.5 · 9; from -14 up to 2, then down to -23


def test_no_motion_is_no_drift():
    still = torch.randn(3, 1, 4).expand(3, 7, 4)
    assert energy_drift(lambda z: z.square().sum(-1), still).tolist() == [0, 0, 0]


def test_the_interval_is_the_bootstraps_over_groups():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), rng.integers(3, 20, 12))
    values = rng.normal(size=12)[groups] + rng.normal(size=len(groups)) / 3
    actual = clustered_interval(values, groups, rng=np.random.default_rng(1), n_resamples=20_000)
    expected = brute_force_interval(values, groups, 20_000, seed=2)
    np.testing.assert_allclose(actual, expected, atol=0.03)  # Monte Carlo error of a tail of 20,000
    assert actual[0] < values.mean() < actual[1]


def test_one_value_a_group_gives_the_textbook_interval():
    values = np.random.default_rng(0).normal(5, 2, 400)
    low, high = clustered_interval(values, np.arange(400), rng=np.random.default_rng(1), n_resamples=20_000)
    half = 1.96 * values.std() / 20
    np.testing.assert_allclose([low, high], [values.mean() - half, values.mean() + half], atol=0.02)


def test_repeating_every_value_within_its_group_changes_nothing():
    """Overlapping windows are no new samples."""
    values = np.random.default_rng(0).normal(size=15)
    once = clustered_interval(values, np.arange(15), rng=np.random.default_rng(1))
    often = clustered_interval(values.repeat(19), np.arange(15).repeat(19), rng=np.random.default_rng(1))
    np.testing.assert_allclose(often, once, rtol=1e-12)


@pytest.mark.parametrize("n_groups", [10, 40])
def test_the_interval_covers_the_mean_as_often_as_it_says(n_groups):
    """With 10 groups the plain percentiles cover 90.5 %, which is 6 standard errors too few."""
    rng, hits, groups = np.random.default_rng(0), 0, np.arange(n_groups).repeat(5)
    for _ in range(2000):
        values = (rng.normal(size=n_groups)[:, None] + rng.normal(size=(n_groups, 5)) / 2).ravel()
        low, high = clustered_interval(values, groups, rng=rng, n_resamples=1000)
        hits += low <= 0 <= high
    assert 0.925 < hits / 2000 < 0.965


@pytest.mark.parametrize("n_groups", [5, 10, 40])
def test_for_normal_bootstraps_the_levels_give_students_t(n_groups):
    values = np.random.default_rng(0).normal(3, 2, n_groups)
    means = norm(values.mean(), values.std() / np.sqrt(n_groups))  # what many resamples tend to
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    np.testing.assert_allclose(means.ppf(percentile_levels(n_groups)), expected, rtol=1e-9)


def test_equal_values_and_a_single_group_have_no_width():
    rng = np.random.default_rng(0)
    assert clustered_interval([0.25] * 6, [0, 0, 1, 1, 2, 2], rng=rng) == (0.25, 0.25)
    assert clustered_interval([1.0, 3.0], ["a", "a"], rng=rng) == (2.0, 2.0)


def test_the_interval_is_repeatable_and_takes_tensors():
    values, groups = torch.randn(20), torch.arange(20) // 4
    first, again = (clustered_interval(values, groups, rng=np.random.default_rng(3)) for _ in range(2))
    assert first == again and all(isinstance(limit, float) for limit in first)


def test_one_group_per_value_is_needed():
    with pytest.raises(ValueError, match=r"one group per value is needed, got \(3,\) and \(2,\)"):
        clustered_interval([1.0, 2.0, 3.0], [0, 1], rng=np.random.default_rng(0))


@pytest.mark.parametrize(("n", "rank"), [(6, 1), (9, 2), (31, 10)])
def test_the_interval_of_a_median_is_between_two_of_the_values(n, rank):
    """The 1st, 2nd and 10th of 6, 9 and 31 from either end, as in tables of the sign test."""
    values = np.random.default_rng(n).permutation(np.arange(1, n + 1) ** 2)
    found = median_and_interval(values)
    assert found["median"] == np.median(values)
    assert found["interval"] == [rank**2, (n + 1 - rank) ** 2]
    assert binom.cdf(rank - 1, n, 0.5) <= 0.025 < binom.cdf(rank, n, 0.5)


def test_the_interval_of_a_median_covers_it_whatever_the_distribution():
    draws = np.random.default_rng(0).exponential(size=(1_000, 9)) ** 3
    intervals = np.array([median_and_interval(draw)["interval"] for draw in draws])
    covered = (intervals[:, 0] < np.log(2) ** 3) & (np.log(2) ** 3 < intervals[:, 1])
    assert abs(covered.mean() - 0.961) < 3 * (0.961 * 0.039 / 1_000) ** 0.5


def test_five_rounds_are_too_few_for_an_interval():
    with pytest.raises(ValueError, match="median of 5 has no 95 % interval"):
        median_and_interval(np.arange(5.0))


def test_the_probe_recovers_a_linear_map():
    rng = np.random.default_rng(0)
    scales, matrix = np.geomspace(0.01, 100, 12), rng.normal(size=(12, 3))
    train, test = rng.normal(size=(300, 12)) * scales, rng.normal(size=(50, 12)) * scales
    probe = ridge_probe().fit(train, (train / scales) @ matrix + 7)
    np.testing.assert_allclose(probe.predict(test), (test / scales) @ matrix + 7, atol=1e-3)


def test_the_probe_finds_nothing_in_noise():
    rng = np.random.default_rng(0)
    z, target = rng.normal(size=(400, 50)), rng.normal(size=400)
    assert ridge_probe().fit(z[:300], target[:300]).score(z[300:], target[300:]) < 0.1


@pytest.fixture(scope="module")
def clips():
    """The states at 34 clips of each of 20 videos, and the video of each."""
    states = [simulate_collisions(150, rng=np.random.default_rng(s))[7:140:4] for s in range(20)]
    return np.concatenate(states), np.arange(20).repeat(34)


def test_what_is_in_the_latents_is_read_from_them(clips):
    states, videos = clips
    latents = np.hstack([states.reshape(len(states), 8), kinetic_energy(states)[:, None]])
    latents = latents @ np.random.default_rng(0).normal(size=(9, 12))
    assert all(score > 0.999 for score in probe_scores(latents, states, videos).values())


def test_what_is_not_in_the_latents_is_not_found(clips):
    states, videos = clips
    scores = probe_scores(states[..., :2].reshape(-1, 4), states, videos)
    assert scores["position"] > 0.999
    assert max(score for name, score in scores.items() if name != "position") < 0.3


def test_a_latent_that_only_names_its_video_reads_no_energy(clips):
    """It would, were clips of one video on both sides."""
    states, videos = clips
    names = np.random.default_rng(0).normal(size=(20, 30))[videos]
    assert probe_scores(names, states, videos)["energy, straight from z"] < 0.3


def test_frame_pca_is_that_of_the_pixels_written_out():
    generator = torch.Generator().manual_seed(0)
    videos = [torch.randint(0, 256, (n, 3, 8, 8), generator=generator, dtype=torch.uint8) for n in (9, 6)]
    found = frame_pca(videos, 3, seed=0, clip_frames=4, stride=2, size=4)
    rows = []
    for video in videos:
        for start in range(0, len(video) - 3, 2):
            clip = video[start : start + 4].numpy().astype(float)
            rows.append(clip.reshape(4, 3, 4, 2, 4, 2).mean(axis=(3, 5)).ravel())
    centred = np.stack(rows) - np.mean(rows, axis=0)
    u, scale, _ = np.linalg.svd(centred, full_matrices=False)
    assert found.shape == (5, 3)  # 3 and 2 clips
    np.testing.assert_allclose(np.abs(found), np.abs(u * scale)[:, :3], rtol=1e-3, atol=1e-2)
