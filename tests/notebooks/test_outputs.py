"""The tolerance with which nbval compares outputs; nbval is given this file beside the notebooks."""

import pytest
from helpers import TolerantText


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


HTML = "<tr>\n<th>HNN</th>\n<td>{}</td></tr>\n<tr>\n<th>Baseline MLP</th>\n<td>{}</td></tr>"


@pytest.mark.parametrize("table", ["HNN  {}\nBaseline MLP  {}", HTML])
@pytest.mark.parametrize(
    ("hnn", "mlp", "same"),
    [
        ("1.44 ± 0.21", "0.96 ± 0.12 lower", True),
        ("1.44 ± 0.21", "0.95 ± 0.13 lower", True),
        ("1.44 ± 0.22", "0.96 ± 0.12 lower", False),
        ("1.44 ± 0.21", "0.96 ± 0.12 higher", False),
        ("1.44 ± 0.21", "1.13 ± 0.12 lower", False),
        ("1.44 ± 0.21", "0.96 ± 0.10 lower", False),
    ],
)
def test_rows_of_chaotic_trainings_may_differ_more(table, hnn, mlp, same):
    committed = TolerantText(table.format("1.44 ± 0.21", "0.96 ± 0.12 lower"))
    assert (committed == TolerantText(table.format(hnn, mlp))) is same
