"""The README's generated parts, made from `figures/results.json`."""

import json
import re
from pathlib import Path

from ..experiment.ledger import claims_table
from ..runs.files import write_atomically
from ..systems.hjepa.tables import controls_table, results_table, timing_table, true_state_table

_MARKED = r"(<!-- {0} -->\n).*?(<!-- end of {0} -->)"


def cost_cell(cost):
    """What a notebook took at quick scale, for the README's index."""
    minutes, seconds = divmod(cost["seconds"], 60)
    return f"{minutes}:{seconds:02d} min, {cost['peak_GB']} GB"


def refresh_readme(root):
    """Put the tables of `figures/results.json` and `claims.json` between the README's markers.

    What the notebooks cost goes into its index.
    """
    readme = root / "README.md"
    saved, claims = (
        json.loads((root / "figures" / name).read_text()) for name in ("results.json", "claims.json")
    )
    tables = {"results": results_table(saved), "timing": timing_table(saved)}
    tables |= {"controls": controls_table(saved), "true state": true_state_table(saved)}
    tables["claims"] = claims_table(claims)
    text = readme.read_text(encoding="utf-8")
    for name, table in tables.items():
        marked = re.compile(_MARKED.format(name), re.DOTALL)
        text, n_marked = marked.subn(lambda m, table=table: f"{m[1]}{table}\n{m[2]}", text)
        if n_marked != 1:
            wanted = f"<!-- {name} --> and <!-- end of {name} -->"
            raise ValueError(f"README.md needs one pair of markers: {wanted}")
    for name, cost in saved["wall_clock"]["quick_costs"].items():
        row = re.compile(rf"(\(notebooks/{name}\.ipynb\) \|[^|\n]*\|)[^|\n]*\|")
        text = row.sub(lambda m, cost=cost: f"{m[1]} {cost_cell(cost)} |", text)
    write_atomically(readme, lambda path: Path(path).write_text(text, encoding="utf-8"))
