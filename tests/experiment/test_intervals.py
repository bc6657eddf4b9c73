"""Statistics against closed forms, plain loops and brute force."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import binom, norm, ttest_1samp

from hjepa_utils import (
    Summary,
    clustered_interval,
    in_words,
    median_and_interval,
    ratio_of_means,
    summarise,
    to_digits,
    write_json,
)
from hjepa_utils.experiment.intervals import Median, percentile_levels, share


def brute_force_interval(values, groups, n_resamples, seed):
    rng, means = np.random.default_rng(seed), []
    members = [values[groups == g] for g in np.unique(groups)]
    for _ in range(n_resamples):
        drawn = rng.choice(len(members), len(members))
        means.append(np.concatenate([members[k] for k in drawn]).mean())
    return np.quantile(means, percentile_levels(len(members)))


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


NO_NUMBERS = {
    "none": [],
    "missing": [1.0, None],
    "words": ["1", "2"],
    "complex": np.ones(2) * 1j,
    "a table": np.ones((2, 3)),
    "one": 1.0,
    "masked": np.ma.masked_greater([1.0, 5.0], 3),
}


@pytest.mark.parametrize("values", NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_what_are_no_numbers_of_windows_is_refused(values):
    groups = np.zeros(np.shape(values))
    said = "masked arrays are not taken" if isinstance(values, np.ma.MaskedArray) else "one number per window"
    with pytest.raises(ValueError, match=said):
        summarise(values, groups, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match=said):
        ratio_of_means(values, values, groups, seed=0)
    with pytest.raises(ValueError, match=said):
        median_and_interval(values)


def test_masked_groups_and_numbers_of_other_windows_are_refused():
    with pytest.raises(ValueError, match="masked arrays are not taken"):
        summarise([1.0, 2.0], np.ma.masked_equal([0, 1], 0), rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="both need a number of every window, got 3 and 2"):
        ratio_of_means([1.0, 2.0, 3.0], [1.0, 2.0], [0, 1, 2], seed=0)


def test_tensors_in_training_count_as_their_numbers():
    values, groups = torch.tensor([1.0, 2.0, 6.0], requires_grad=True), torch.tensor([0, 1, 2])
    found = ratio_of_means(values, 2 * values, groups, seed=0)
    assert found.mean == 0.5 and found.interval == pytest.approx((0.5, 0.5))
    assert summarise(values, groups, rng=np.random.default_rng(0)).mean == 3


@pytest.mark.parametrize(("n", "rank"), [(6, 1), (9, 2), (31, 10)])
def test_the_interval_of_a_median_is_between_two_of_the_values(n, rank):
    """The 1st, 2nd and 10th of 6, 9 and 31 from either end, as in tables of the sign test."""
    values = np.random.default_rng(n).permutation(np.arange(1, n + 1) ** 2)
    found = median_and_interval(values)
    assert found.median == np.median(values)
    assert found.interval == (rank**2, (n + 1 - rank) ** 2)
    assert binom.cdf(rank - 1, n, 0.5) <= 0.025 < binom.cdf(rank, n, 0.5)


def test_the_interval_of_a_median_covers_it_whatever_the_distribution():
    draws = np.random.default_rng(0).exponential(size=(1_000, 9)) ** 3
    intervals = np.array([median_and_interval(draw).interval for draw in draws])
    covered = (intervals[:, 0] < np.log(2) ** 3) & (np.log(2) ** 3 < intervals[:, 1])
    assert abs(covered.mean() - 0.961) < 3 * (0.961 * 0.039 / 1_000) ** 0.5


def test_five_rounds_are_too_few_for_an_interval():
    with pytest.raises(ValueError, match="median of 5 has no 95 % interval"):
        median_and_interval(np.arange(5.0))


def test_a_summary_is_printed_one_way():
    summary = Summary(1.33249, (1.2, -0.5), 10)
    assert summary.fixed(2) == in_words(summary, 2) == "1.33 [1.20, -0.50]"
    assert summary.fixed() == "1.332 [1.200, -0.500]"
    assert Summary(1.33249, (1.33249, 1.33249), 1).fixed(2) == "1.33"
    assert Summary(1.33249, (1.3, 1.4), 5).significant(3) == "1.33"
    time = Median(1152.0, (0.00462, 1e20), 9)
    assert time.significant(2) == to_digits(time, 2) == "1,200 [0.0046, 1e+20]"
    assert Median(2.0, (9.96, 99.9), 9).significant() == "2.0 [10, 100]"


def test_a_summary_comes_back_from_json(tmp_path):
    values, groups = np.random.default_rng(0).normal(size=24), np.arange(24) // 3
    summary = summarise(values, groups, rng=np.random.default_rng(1))
    assert summary.n_groups == 8
    np.testing.assert_allclose([summary.mean, summary.std], [values.mean(), values.std()])
    assert summary.interval == clustered_interval(values, groups, rng=np.random.default_rng(1))
    ratio = ratio_of_means(values + 5, values + 6, groups, seed=0)
    write_json(tmp_path / "saved.json", {"summary": summary, "of": [ratio]})
    saved = json.loads((tmp_path / "saved.json").read_text())
    assert list(saved["summary"]) == ["mean", "std", "interval", "n_groups"]
    assert Summary.from_dict(saved["summary"] | {"per_seed": [1.0]}) == summary
    assert "std" not in saved["of"][0] and Summary.from_dict(saved["of"][0]) == ratio
    assert median_and_interval(np.arange(7.0)).to_dict() == {"median": 3.0, "interval": [0.0, 6.0]}


def test_a_share_has_wilsons_interval():
    """All or none of n: the bound is n / (n + z²), or what is missing to 1 (Wilson 1927)."""
    z2 = norm.ppf(0.975) ** 2
    none, every = share(np.zeros(10, dtype=bool)), share([True] * 10)
    assert (none.mean, every.mean, every.n_groups) == (0.0, 1.0, 10)
    np.testing.assert_allclose(none.interval, (0.0, z2 / (10 + z2)), atol=1e-12)
    np.testing.assert_allclose(every.interval, (10 / (10 + z2), 1.0), atol=1e-12)
    some = share([True] * 3 + [False] * 7)
    for bound in some.interval:  # where the score test just rejects
        assert abs(0.3 - bound) / np.sqrt(bound * (1 - bound) / 10) == pytest.approx(np.sqrt(z2))
