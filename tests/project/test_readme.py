"""The README says what was measured, and links to what is there."""

import json
import re
import shutil

from hjepa_utils.experiment.ledger import claims_table
from hjepa_utils.project.arguments import find_notebooks
from hjepa_utils.project.readme import cost_cell, refresh_readme
from hjepa_utils.runs.run import ROOT
from hjepa_utils.systems.hjepa.claims import ledger
from hjepa_utils.systems.hjepa.tables import (
    controls_table,
    mean_and_range,
    results_table,
    time_cell,
    timing_table,
    true_state_table,
)

README = (ROOT / "README.md").read_text()


def test_the_tables_are_those_of_results_json():
    saved = json.loads((ROOT / "figures" / "results.json").read_text())
    for table in (results_table, timing_table, controls_table, true_state_table):
        assert table(saved) in README


def test_cells_say_medians_intervals_and_ranges():
    time = {"median": 1.2345, "interval": [1.2, 1.3]}
    assert time_cell(time) == "1.23 [1.20, 1.30] ms"
    assert time_cell(time | {"ratio": {"median": 3.21, "interval": [3, 3.4]}}) == (
        "1.23 [1.20, 1.30] ms<br>3.2 [3.0, 3.4] ×"
    )
    assert time_cell(None) == "–"
    assert mean_and_range([0.141]) == "0.14"
    assert mean_and_range([0.1, 0.2, 0.15]) == "0.15 (0.10 to 0.20)"


def test_the_ledger_is_that_of_claims_json_which_follows_from_results_json():
    saved, claims = (
        json.loads((ROOT / "figures" / name).read_text()) for name in ("results.json", "claims.json")
    )
    assert claims_table(claims) in README
    assert claims == {"run": saved["run"], "claims": ledger(saved)}


def test_refreshing_it_from_the_same_results_changes_nothing(tmp_path):
    (tmp_path / "figures").mkdir()
    for file in ("README.md", "figures/results.json", "figures/claims.json"):
        shutil.copy(ROOT / file, tmp_path / file)
    refresh_readme(tmp_path)
    assert (tmp_path / "README.md").read_text() == README


def test_every_local_link_and_picture_exists():
    links = re.findall(r"\]\(([^)#\s]+)", README) + re.findall(r'src="([^"]+)"', README)
    local = [link for link in links if not link.startswith("http")]
    assert local
    assert [link for link in local if not (ROOT / link).exists()] == []


def test_every_notebook_is_in_the_index():
    for notebook in find_notebooks():
        assert f"(notebooks/{notebook.name}) |" in README


def test_the_index_has_the_costs_of_results_json():
    costs = json.loads((ROOT / "figures" / "results.json").read_text())["wall_clock"]["quick_costs"]
    for notebook in find_notebooks():
        (row,) = (line for line in README.splitlines() if f"(notebooks/{notebook.name}) |" in line)
        assert f"| {cost_cell(costs[notebook.stem])} |" in row


def test_the_model_card_has_the_probes_of_results_json():
    card = (ROOT / "hjepa_utils/assets/embedded_vjepa2/README.md").read_text()
    saved = json.loads((ROOT / "figures" / "results.json").read_text())
    probes = saved["results"]["06_pretrain_embedded_encoder"]["probe_r2"]
    columns = [probes[name] for name in ("committed weights", "random weights", "PCA of frames")]
    for quantity in ("position", "velocity", "energy, from velocities", "energy, straight from z"):
        ours, *controls = (f"{column[quantity]:.2f}".replace("-", "−") for column in columns)
        assert f"| **{ours}** | {' | '.join(controls)} |" in card
    for quantity in ("velocity, no bounce", "energy, from velocities, no bounce"):
        ours, control = (f"{column[quantity]:.2f}".replace("-", "−") for column in columns[:2])
        assert f"| **{ours}** | {control} |" in card
