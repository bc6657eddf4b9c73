"""What is made from `figures/results.json`: parts of this repository's pages, and figures.

`python -m hjepa_utils pages` makes them; publishing does too.
"""

import argparse
import json
import re
from pathlib import Path

from ..experiment.intervals import Summary
from ..experiment.ledger import CONFIRMED, REFUTED, all_claims, claims_table, markdown, saved_parts, table
from ..plotting import use_style
from ..runs.files import write_atomically
from ..runs.places import ROOT
from ..systems.hjepa.paper import mse
from ..systems.hjepa.published_figures import redraw
from .benchmarks import benchmark_page

SHORT = ("linear map", "residual MLP", "MLP", "training mean", "HNN", "persistence")


def cost_cell(cost):
    """What a notebook took at quick scale, for the README's index."""
    minutes, seconds = divmod(cost["seconds"], 60)
    return f"{minutes}:{seconds:02d} min, {cost['peak_GB']} GB"


def short_table(saved):
    """The README's rows: notebook 11's contact dynamics, and six of notebook 8's table of controls.

    Beside them are the errors of all on notebook 11's fresh videos, where that is published.
    """
    controls = saved["results"]["08_controls"]["tables"]["Controls"]
    columns = ["model", "error, test videos [95 %]"]
    rows = [row[:2] for row in controls["rows"] if row[0] in SHORT]
    if _compared(saved, "test videos"):
        fresh = [_compared(saved, "fresh videos", row[0]) for row in rows]
        rows = [[*row, error.fixed(2)] for row, error in zip(rows, fresh, strict=True)]
        found = {
            "contact dynamics, no labels, mean of searches": "contact, mean of searches",
            "contact dynamics, no labels": "contact",
        }
        sets = "test videos", "fresh videos"
        first = [
            [name, *(_compared(saved, videos, arm).fixed(2) for videos in sets)]
            for name, arm in found.items()
        ]
        columns, rows = [*columns, "error, fresh videos [95 %]"], [*first, *rows]
    return markdown(table(columns, rows))


def _compared(saved, videos, model="contact"):
    """Notebook 11's `Summary` of a model on those videos, None where that is not published."""
    published = saved["results"].get("11_contact_latents")
    return published and Summary.from_dict(published["compared"][videos][model])


def answer(saved):
    """The README's first sentences: whether the paper's main claim holds, and by how much."""
    measured, claims = saved["results"]["08_controls"], all_claims(saved)
    (claim,) = (row for row in claims if row["claim"] == "1.9× lower error than the MLP")
    short = {CONFIRMED: "yes", REFUTED: "not as published"}.get(claim["verdict"], "not decided")
    means = measured["controls"]["15 steps"]
    best, published = min(SHORT, key=lambda name: means[name]["mean"]), float(mse("MLP")) / float(mse("HNN"))
    ratio = Summary.from_dict(measured["mlp_over_hnn"])
    low, high = (1 / bound for bound in reversed(ratio.interval))
    also = "; with bodies and bounces in the model, yes" if _pays(claims) else ""
    text = (
        f"**Short answer: {short}{also}.** The paper *H-JEPA* (Bergl, 2025; its "
        "[code](https://github.com/qkdistributor/H-JEPA)) reports a Hamiltonian network (HNN) whose error "
        f"is {published:.1f} times lower than a plain network's (MLP). Here it is {1 / ratio.mean:.1f} times "
        f"the MLP's [{low:.1f}, {high:.1f}], and a {best} errs less than any network."
    )
    if contact := _compared(saved, "fresh videos"):
        linear, mean = (
            _compared(saved, "fresh videos", arm) for arm in ("linear map", "contact, mean of searches")
        )
        n = saved["results"]["11_contact_latents"]["n_seeds"]
        text += (
            " Bodies and bounces can be found in the same embeddings without labels. On fresh videos a "
            f"Hamiltonian model of them errs by {contact.fixed(2)} (predicting the average costs 1), the "
            f"mean of {n} such models by {mean.fixed(2)}, the linear map by {linear.fixed(2)}."
        )
    return text


def _pays(claims):
    """Whether notebook 11's claim that Hamiltonian structure pays is confirmed."""
    return any("structure pays" in row["claim"] and row["verdict"] == CONFIRMED for row in claims)


def all_tables(saved):
    """Every table that a notebook saved, under its title, with its note."""
    sections = [
        f"## {title}\n\nMeasured in [notebook {int(notebook[:2])}](../notebooks/{notebook}.ipynb).\n\n"
        + markdown(data)
        for notebook, part in saved_parts(saved)
        for title, data in part.get("tables", {}).items()
    ]
    return "\n\n".join(sections)


def refresh_readme(root):
    """Put `figures/results.json` and `figures/benchmark_*.json` between the markers of both pages.

    What the notebooks cost goes into the README's index. Raises `ValueError` where a marker is missing.
    """
    saved = json.loads((root / "figures" / "results.json").read_text())
    ledger = markdown(claims_table(all_claims(saved)))
    generated = {"claims": ledger, "tables": all_tables(saved), "gpu": benchmark_page(root / "figures")}
    _fill(root / "figures" / "README.md", generated)
    _fill(
        root / "README.md",
        {"answer": answer(saved), "results": short_table(saved)},
        costs=saved["wall_clock"]["quick_costs"],
    )


def _fill(page, generated, costs=()):
    text = page.read_text(encoding="utf-8")
    for name, new in generated.items():
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        text, n_marked = marked.subn(lambda m, new=new: f"{m[1]}{new}\n{m[2]}", text)
        if n_marked != 1:
            wanted = f"<!-- {name} --> and <!-- end of {name} -->"
            raise ValueError(f"{page} needs one pair of markers: {wanted}")
    for name in costs:
        row = re.compile(rf"(\(notebooks/{name}\.ipynb\) \|[^|\n]*\|)[^|\n]*\|")
        text = row.sub(lambda m, cost=costs[name]: f"{m[1]} {cost_cell(cost)} |", text)
    write_atomically(page, lambda path: Path(path).write_text(text, encoding="utf-8"))


def refresh_pages(root):
    """`refresh_readme`, and every figure that the published numbers alone draw, in `figures/`."""
    refresh_readme(root)
    use_style()
    figures = root / "figures"
    drawn = redraw(json.loads((figures / "results.json").read_text()), figures)
    print(f"wrote both pages, and {len(drawn)} figures in {figures.name}/: {', '.join(drawn)}")


def main(argv=None):
    """The command line; returns the exit status."""
    argparse.ArgumentParser(
        prog="hjepa_utils pages",
        description="Write the generated parts of README.md and figures/README.md, and draw the figures "
        "whose numbers are in figures/results.json.",
    ).parse_args(argv)
    refresh_pages(ROOT)
    return 0
