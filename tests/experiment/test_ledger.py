"""Verdicts follow from intervals by one rule, in both directions; rows come out as they went in."""

from math import inf

import pytest

from hjepa_utils import PAPER_ENCODER, Summary, effect, verdict
from hjepa_utils.experiment import ledger
from hjepa_utils.experiment.ledger import CONFIRMED, OPEN, REFUTED, UNTESTABLE, Claim


def between(low, high, n_groups=10):
    return Summary((low + high) / 2, (low, high), n_groups)


@pytest.mark.parametrize(
    ("low", "high", "above", "below", "expected"),
    [
        (0.1, 0.2, 0, inf, CONFIRMED),
        (-0.2, -0.1, 0, inf, REFUTED),
        (-0.1, 0.2, 0, inf, OPEN),
        (-0.2, -0.1, -inf, 0, CONFIRMED),
        (0.1, 0.2, -inf, 0, REFUTED),
        (0.9, 1.1, 0.5, 2, CONFIRMED),
        (0.4, 0.6, 0.5, 2, OPEN),
        (1.9, 2.1, 0.5, 2, OPEN),
        (0.3, 2.5, 0.5, 2, OPEN),
        (0.2, 0.4, 0.5, 2, REFUTED),
        (21.8, 23.0, 0.5, 2, REFUTED),
        (0.0004, 0.2, 0, inf, OPEN),  # 0.000 to 3 digits
        (-0.2, -0.0004, 0, inf, OPEN),
        (0.0, 0.0, 0, inf, OPEN),
        (inf, inf, -inf, 1, REFUTED),
    ],
)
def test_a_verdict_is_what_the_interval_leaves(low, high, above, below, expected):
    assert verdict(between(low, high), above=above, below=below) == expected
    assert verdict(between(low, high, n_groups=6), above=above, below=below) == expected
    assert verdict(between(low, high, n_groups=5), above=above, below=below) == OPEN


def test_an_effect_is_the_verdict_on_a_difference():
    assert effect(between(-0.2, -0.1, 6)) == "lower"
    assert effect(between(0.1, 0.2)) == "higher"
    for low, high, n_groups in ((-0.1, 0.2, 10), (0.0004, 0.2, 10), (0.0, 0.0, 10), (0.1, 0.2, 5)):
        assert effect(between(low, high, n_groups)) == "undecided"


def test_a_claim_of_several_parts_stands_and_falls_with_them():
    assert ledger.all_of([CONFIRMED, CONFIRMED]) == CONFIRMED
    assert ledger.all_of([CONFIRMED, OPEN]) == OPEN
    assert ledger.all_of([CONFIRMED, OPEN, REFUTED]) == REFUTED
    assert (ledger.verdict_if(True), ledger.verdict_if(False)) == (CONFIRMED, REFUTED)


def claim(section="5.1", notebook=8, elsewhere=None):
    return Claim("a|b", section, "1", "2", notebook, "latents of embedded", REFUTED, elsewhere)


def test_what_is_decided_here_holds_elsewhere_unless_it_says_so():
    assert claim().to_dict()["on V-JEPA 2"] == REFUTED
    assert claim(elsewhere=UNTESTABLE).to_dict()["on V-JEPA 2"] == UNTESTABLE
    assert ledger.elsewhere_for(PAPER_ENCODER) is ledger.elsewhere_for(f"{PAPER_ENCODER}@main") is None
    assert ledger.elsewhere_for("embedded") == UNTESTABLE


def test_the_ledger_has_every_notebooks_rows_in_the_papers_order():
    saved = {
        "results": {"03": {"claims": [claim("5.10", 3).to_dict()]}, "04": {}},
        "wall_clock": {"05": {"claims": [claim("5.6", 5).to_dict(), claim("3.3", 5).to_dict()]}},
    }
    rows = ledger.all_claims(saved)
    assert [(row["section"], row["notebook"]) for row in rows] == [("3.3", 5), ("5.6", 5), ("5.10", 3)]
    lines = ledger.markdown(ledger.claims_table(rows)).splitlines()
    assert lines[2] == "| a\\|b (§3.3) | 1 | 2 | 5, latents of embedded | **refuted** | refuted |"
    assert len(lines) == 5
    assert all(line.replace("\\|", "").count("|") == 7 for line in lines)


def test_claims_of_others_come_last_and_say_whose_they_are():
    given = [claim(section).to_dict() for section in ("", "Another, 2024", "5.1")]
    rows = ledger.all_claims({"results": {"03": {"claims": given}}})
    assert [row["section"] for row in rows] == ["5.1", "", "Another, 2024"]
    assert [row["on V-JEPA 2"] for row in rows] == [REFUTED, "–", "–"]
    shown = ledger.markdown(ledger.claims_table(rows))
    assert "| a\\|b (this project) | 1 |" in shown and "| a\\|b (Another, 2024) | 1 |" in shown


def test_a_table_is_data_and_prints_as_markdown():
    table = ledger.table(("model", "MSE"), [("HNN", "1.0"), ("MLP", "2.0")], "A note.")
    assert ledger.markdown(table) == "| model | MSE |\n|---|---|\n| HNN | 1.0 |\n| MLP | 2.0 |\n\nA note."
    assert ledger.markdown(table | {"note": ""}).endswith("| 2.0 |")
    with pytest.raises(ValueError, match="a row of 1 cells under 2 columns"):
        ledger.table(("model", "MSE"), [("HNN",)])
