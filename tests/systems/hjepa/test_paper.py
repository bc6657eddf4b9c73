"""What the ledger quotes of the paper is what `paper` holds, where it stands once."""

import json

import pytest
from helpers import ROOT

from hjepa_utils.systems.hjepa import paper

QUOTED = {
    "1.9× lower error than the MLP": (paper.mse("HNN"), paper.mse("MLP")),
    "all HNN variants beat the MLP": (
        paper.mse("HNN, no energy loss"),
        paper.mse("HNN, Euler"),
        paper.mse("MLP"),
    ),
    "leapfrog predicts better than Euler": (paper.mse("HNN"), paper.mse("HNN, Euler")),
    "prediction–conservation trade-off": (
        paper.mse("HNN, no energy loss"),
        paper.mse("HNN"),
        paper.drift("HNN, no energy loss"),
        paper.drift("HNN"),
    ),
    "the error grows sublinearly": paper.PUBLISHED_GROWTH,
    "the drift of H stays bounded": (paper.PUBLISHED_DRIFT[50],),
    "dt* is a dilated time scale": (paper.PUBLISHED_DT,),
    "18 times the MLP's cost is its price": paper.PUBLISHED_TIMES.values(),
}


@pytest.mark.parametrize("claim", QUOTED)
def test_the_ledger_quotes_the_paper(claim):
    rows = json.loads((ROOT / "figures" / "claims.json").read_text())["claims"]
    (row,) = (row for row in rows if row["claim"] == claim)
    found = iter(row["published"].replace(",", " ").split())
    assert all(str(number) in found for number in QUOTED[claim])  # all of them, in this order


def test_the_papers_numbers_agree_with_each_other():
    assert float(paper.mse("MLP")) / float(paper.mse("HNN")) == pytest.approx(paper.PUBLISHED_RATIO, abs=0.05)
    slow, fast = paper.PUBLISHED_TIMES.values()
    assert slow / fast == pytest.approx(paper.PUBLISHED_COST, abs=0.5)
    hnn, mlp = paper.PUBLISHED_PARAMETERS.values()
    assert 1 - hnn / mlp == pytest.approx(0.3, abs=0.005)
