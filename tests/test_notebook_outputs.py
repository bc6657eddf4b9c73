"""The tolerance with which nbval compares outputs; nbval is given this file beside the notebooks."""

import pytest
from conftest import ChaoticText, TolerantText


@pytest.mark.parametrize(
    ("committed", "now"),
    [
        ("MSE 0.512 after 50 epochs", "MSE 0.519 after 50 epochs"),
        ("drift 0.001", "drift 0.002"),
        ("bias -0.001", "bias 0.001"),
        ("defect 1.2e-07", "defect 3.4e-08"),
        ("HNN   9.99  yes", "HNN  10.01  yes"),
        ("a   | b\n----|---\n9.98|1.5", "a    | b\n-----|---\n10.02|1.5"),
    ],
)
def test_floats_may_differ_a_little(committed, now):
    assert TolerantText(committed) == TolerantText(now)


@pytest.mark.parametrize(
    ("committed", "now"),
    [
        ("MSE 0.512", "MSE 0.530"),
        ("190 windows", "191 windows"),
        ("190 windows", "190.0 windows"),
        ("passed: energy", "failed: energy"),
        ("1.5 2.5", "1.5"),
        ("1.5", "1.5 2.5"),
        ("1.0 nan", "1.0 1.0"),
        ("line one\nline two", "line one line two"),
    ],
)
def test_text_integers_and_larger_differences_count(committed, now):
    assert TolerantText(committed) != TolerantText(now)


@pytest.mark.parametrize(
    ("committed", "now", "same"),
    [
        ("0.96 ± 0.12, refuted", "0.95 ± 0.13, refuted", True),
        ("-0.202", "-0.209", True),
        ("0.96 ± 0.12, refuted", "0.95 ± 0.12, confirmed", False),
        ("0.96", "1.13", False),
        ("190 windows", "191 windows", False),
    ],
)
def test_what_chaotic_trainings_end_with_may_differ_more(committed, now, same):
    assert (ChaoticText(committed) == ChaoticText(now)) is same
