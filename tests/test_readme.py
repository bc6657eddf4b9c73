"""The README says what was measured, and links to what is there."""

import json
import re

from hjepa_utils.notebooks import find_notebooks
from hjepa_utils.report import results_table
from hjepa_utils.run import ROOT

README = (ROOT / "README.md").read_text()


def test_the_table_is_that_of_results_json():
    saved = json.loads((ROOT / "figures" / "results.json").read_text())
    assert results_table(saved) in README


def test_every_local_link_and_picture_exists():
    links = re.findall(r"\]\(([^)#\s]+)", README) + re.findall(r'src="([^"]+)"', README)
    local = [link for link in links if not link.startswith("http")]
    assert local
    assert [link for link in local if not (ROOT / link).exists()] == []


def test_every_notebook_is_in_the_index_with_its_colab_badge():
    for notebook in find_notebooks():
        assert f"(notebooks/{notebook.name})" in README
        assert f"blob/main/notebooks/{notebook.name})" in README


def test_the_model_card_has_the_probes_of_results_json():
    card = (ROOT / "hjepa_utils/assets/embedded_vjepa2/README.md").read_text()
    saved = json.loads((ROOT / "figures" / "results.json").read_text())
    probes = saved["results"]["06_pretrain_embedded_encoder"]["probe_r2"]
    columns = [probes[name] for name in ("committed weights", "random weights", "PCA of frames")]
    for quantity in ("position", "velocity", "energy, from velocities", "energy, straight from z"):
        ours, *controls = (f"{column[quantity]:.2f}".replace("-", "−") for column in columns)
        assert f"| **{ours}** | {' | '.join(controls)} |" in card
