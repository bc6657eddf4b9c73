"""The pages say what was measured, and link to what is there."""

import ast
import json
import re
import shutil
from math import inf

import nbformat
import pytest

import hjepa_utils
from hjepa_utils import Summary, verdict
from hjepa_utils.experiment.ledger import (
    REFUTED,
    UNTESTABLE,
    all_claims,
    of_the_paper,
    said_where,
    saved_parts,
)
from hjepa_utils.project.arguments import find_notebooks
from hjepa_utils.project.readme import SHORT, cost_cell, refresh_readme
from hjepa_utils.runs.places import ROOT

README = (ROOT / "README.md").read_text()
RESULTS = (ROOT / "figures" / "README.md").read_text()
BENCHMARKS = [f"figures/{file.name}" for file in (ROOT / "figures").glob("benchmark_*.json")]
SAVED, CLAIMS = (
    json.loads((ROOT / "figures" / name).read_text()) for name in ("results.json", "claims.json")
)


def test_refreshing_the_pages_from_the_same_results_changes_nothing(tmp_path):
    (tmp_path / "figures").mkdir()
    for file in ("README.md", "figures/README.md", "figures/results.json", *BENCHMARKS):
        shutil.copy(ROOT / file, tmp_path / file)
    for page in ("README.md", "figures/README.md"):  # what is between the markers is not read
        emptied = re.sub(
            r"(<!-- (\w+) -->\n).*?(<!-- end of \2 -->)", r"\1\3", (tmp_path / page).read_text(), flags=re.S
        )
        assert len(emptied) < len((ROOT / page).read_text())
        (tmp_path / page).write_text(emptied)
    refresh_readme(tmp_path)
    assert (tmp_path / "README.md").read_text() == README
    assert (tmp_path / "figures/README.md").read_text() == RESULTS


def test_a_page_without_its_markers_is_refused(tmp_path):
    (tmp_path / "figures").mkdir()
    shutil.copy(ROOT / "figures/results.json", tmp_path / "figures/results.json")
    (tmp_path / "figures/README.md").write_text("<!-- tables -->\n<!-- end of tables -->\n")
    with pytest.raises(
        ValueError, match="needs one pair of markers: <!-- claims --> and <!-- end of claims -->"
    ):
        refresh_readme(tmp_path)


def test_the_results_page_has_every_table_and_claim():
    tables = [pair for _, part in saved_parts(SAVED) for pair in part.get("tables", {}).items()]
    assert len(tables) >= 8
    for title, table in tables:
        assert f"\n## {title}\n" in RESULTS and table["note"] in RESULTS
        for row in table["rows"]:
            assert f"\n| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" in RESULTS
    for row in CLAIMS["claims"]:
        assert (
            f"{row['claim']} {said_where(row)} | " in RESULTS
            and f"| **{row['verdict']}** | {row['on V-JEPA 2']} |" in RESULTS
        )


def test_claims_json_is_the_ledger_of_the_published_run():
    assert CLAIMS["run"] == SAVED["run"] and CLAIMS["claims"] == all_claims(SAVED)
    assert len(CLAIMS["claims"]) == len({row["claim"] for row in CLAIMS["claims"]})
    assert sum(map(of_the_paper, CLAIMS["claims"])) == 16


RULES = {  # claim: (where its number is in results.json, between what it must lie)
    "1.9× lower error than the MLP": ("08_controls/mlp_over_hnn", 1.45, inf),
    "leapfrog predicts better than Euler": ("07_symplecticity/arms/mse/HNN, Euler/difference", 0, inf),
    "the error grows sublinearly": ("08_controls/growth/HNN/excess", -inf, 0),
    "the drift of H stays bounded": ("07_symplecticity/long_drift/HNN", -inf, 1),
    "lower error than the MLP, in the published configuration": (
        "11_contact_latents/like for like/HNN/difference", -inf, 0,
    ),
    "no sinks, no explosions": ("07_symplecticity/distance_after_100_steps", 0.5, 2),
    "Hamiltonian structure pays on video latents, with contacts and without a label": (
        "11_contact_latents/compared/fresh videos/contact/difference", -inf, 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("claim", RULES)
def test_a_published_verdict_follows_from_the_published_number(claim):
    path, above, below = RULES[claim]
    number = SAVED["results"]
    for key in path.split("/"):
        number = number[key]
    (row,) = (row for row in CLAIMS["claims"] if row["claim"] == claim)
    assert verdict(Summary.from_dict(number), above=above, below=below) == row["verdict"]
    assert SAVED["run"]["encoder"] == "embedded"
    assert row["on V-JEPA 2"] == (UNTESTABLE if row["section"] else "–")


def test_a_published_verdict_of_two_parts_follows_from_both():
    for sentence, saved in SAVED["results"]["04_ablations"]["differences"].items():
        assert verdict(Summary.from_dict(saved), above=0) == saved["verdict"], sentence
    assert SAVED["results"]["04_ablations"]["differences"]["the HNN beats the MLP"]["verdict"] == REFUTED


def test_the_readmes_rows_are_the_controls_and_contact_dynamics():
    saved = SAVED["results"]
    controls = saved["08_controls"]["controls"]["15 steps"]
    means = {name: controls[name] for name in SHORT}
    contact = "contact dynamics, no labels"
    found = {contact: "contact", f"{contact}, mean of searches": "contact, mean of searches"}
    test, fresh = (saved["11_contact_latents"]["compared"][f"{name} videos"] for name in ("test", "fresh"))
    means |= {name: test[arm] for name, arm in found.items()}
    fresh = fresh | {name: fresh[arm] for name, arm in found.items()}
    order = sorted(means, key=lambda name: means[name]["mean"])
    shown = re.search(r"<!-- results -->\n(.*?)<!-- end", README, flags=re.S)[1].splitlines()[2:]
    errors = {name: [Summary.from_dict(of[name]).fixed(2) for of in (means, fresh)] for name in order}
    assert shown == [f"| {name} | {' | '.join(errors[name])} |" for name in order]


NOTEBOOKS = [f"notebooks/{path.name}" for path in find_notebooks()]
PAGES = ["README.md", "figures/README.md", "hjepa_utils/README.md", *NOTEBOOKS]


@pytest.mark.parametrize("page", PAGES)
def test_every_local_link_and_picture_exists(page):
    text, folder = (ROOT / page).read_text(), (ROOT / page).parent
    if page.endswith(".ipynb"):
        cells = (cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")
        text = "\n".join("".join(cell["source"]) for cell in cells)
    links = re.findall(r"\]\(([^)\s]+)", text) + re.findall(r'src="([^"]+)"', text)
    local = [link.split("#") for link in links if not link.startswith("http")]
    assert local
    assert [link for link, *_ in local if link and not (folder / link).exists()] == []
    titles = re.findall(r"^#+ (.*)", RESULTS, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    of_results = [anchor for link, *anchor in local if link.endswith("figures/README.md")]
    assert {anchor for one in of_results for anchor in one} <= anchors


def shows_what_is_published(cell):
    return (
        cell.cell_type == "code" and "ledger.published" in cell.source and "\nMarkdown(" in f"\n{cell.source}"
    )


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_notebooks_show_what_is_published(page):
    """A later run may be published beside a notebook whose outputs still tell of the one before."""
    cells = nbformat.read(ROOT / page, as_version=4).cells
    imports = [
        line
        for cell in cells
        if cell.cell_type == "code" and cell.source.startswith("# @title Imports")
        for line in ast.parse(cell.source).body
        if isinstance(line, ast.Import | ast.ImportFrom)
    ]
    shown = [cell for cell in cells if shows_what_is_published(cell)]
    assert shown
    for cell in shown:
        *before, last = ast.parse(cell.source).body
        names = {}
        exec(compile(ast.Module([*imports, *before], []), page, "exec"), names)
        assert isinstance(last, ast.Expr)
        page_now = eval(compile(ast.Expression(last.value), page, "eval"), names)
        (output,) = cell.outputs
        assert output.data["text/markdown"] == page_now.data


def test_what_the_map_of_the_module_calls_is_there():
    text = (ROOT / "hjepa_utils/README.md").read_text().split("## What to call")[1].split("## Running it")[0]
    called = re.findall(r"(?<![.\w])([A-Za-z]\w+)\(", text)
    assert len(called) >= 15
    assert [name for name in called if not hasattr(hjepa_utils, name)] == []


def test_every_notebook_is_in_the_index():
    for notebook in find_notebooks():
        assert f"(notebooks/{notebook.name}) |" in README


def test_the_index_has_the_costs_of_results_json():
    costs = SAVED["wall_clock"]["quick_costs"]
    for notebook in find_notebooks():
        (row,) = (line for line in README.splitlines() if f"(notebooks/{notebook.name}) |" in line)
        assert f"| {cost_cell(costs[notebook.stem])} |" in row


def test_the_model_card_has_the_probes_of_results_json():
    card = (ROOT / "hjepa_utils/assets/embedded_vjepa2/README.md").read_text()
    probes = SAVED["results"]["06_pretrain_embedded_encoder"]["probe_r2"]
    columns = [probes[name] for name in ("committed weights", "random weights", "PCA of frames")]
    for quantity in ("position", "velocity", "energy, from velocities", "energy, straight from z"):
        ours, *controls = (f"{column[quantity]:.2f}".replace("-", "−") for column in columns)
        assert f"| **{ours}** | {' | '.join(controls)} |" in card
    for quantity in ("velocity, no bounce", "energy, from velocities, no bounce"):
        ours, control = (f"{column[quantity]:.2f}".replace("-", "−") for column in columns[:2])
        assert f"| **{ours}** | {control} |" in card
