"""Claims and tables as data: one rule for verdicts, one form for rows, one way to print them."""

from dataclasses import dataclass
from math import inf

from ..latents.names import PAPER_ENCODER
from ..runs.files import read_json
from ..runs.places import ROOT
from .intervals import FEWEST

CONFIRMED, REFUTED, OPEN = "confirmed", "refuted", "not decided"
UNTESTABLE = "not testable without the published weights"


def verdict(summary, *, above=-inf, below=inf):
    """What a number with an interval says of the claim that it lies between `above` and `below`.

    Confirmed if its interval, to 3 digits, lies between them; refuted if beyond one of them; else, and
    with fewer than six groups, whose intervals cannot cover 95 %, not decided.
    """
    low, high = (round(bound, 3) for bound in summary.interval)
    if summary.n_groups < FEWEST:
        return OPEN
    if above < low and high < below:
        return CONFIRMED
    return REFUTED if high < above or low > below else OPEN


def verdict_if(holds):
    """For what is exact, a count or what a step does whatever the weights."""
    return CONFIRMED if holds else REFUTED


def all_of(verdicts):
    """Of a claim that says several things: refuted if one of them is, confirmed if all are."""
    return REFUTED if REFUTED in verdicts else CONFIRMED if set(verdicts) == {CONFIRMED} else OPEN


def effect(difference):
    """What a difference says: "lower", "higher" or, where `verdict` decides nothing, "undecided"."""
    return {CONFIRMED: "higher", REFUTED: "lower", OPEN: "undecided"}[verdict(difference, above=0)]


@dataclass(frozen=True)
class Claim:
    """One row: what the paper says in which section, both numbers in words, where it was measured.

    Section "" is of this project's own claims, which nobody has published; of another paper's claims it
    names that paper, as "Allen-Blanchette, 2024". `elsewhere` is the verdict for what the paper itself
    measured, its latents and its GPU, where it is not that of the scope here.
    """

    claim: str
    section: str
    published: str
    here: str
    notebook: int
    scope: str
    verdict: str
    elsewhere: str | None = None

    def to_dict(self):
        """As in `claims.json`."""
        row = {key: value for key, value in vars(self).items() if key != "elsewhere"}
        return row | {"on V-JEPA 2": self.elsewhere or self.verdict}


def elsewhere_for(encoder):
    """`Claim.elsewhere` of a claim about latents: untestable unless they are the paper's own."""
    return None if encoder.partition("@")[0] == PAPER_ENCODER else UNTESTABLE


def table(columns, rows, note=""):
    """A table as data, for "tables" in a notebook's results: names, rows of cells in words, a note."""
    rows = [list(row) for row in rows]
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"a row of {len(row)} cells under {len(columns)} columns: {row}")
    return {"columns": list(columns), "rows": rows, "note": note}


def saved_parts(saved):
    """What each notebook left in a `results.json`, results and measured times: [(notebook, part), …]."""
    parts = [pair for kind in ("results", "wall_clock") for pair in saved.get(kind, {}).items()]
    return sorted((pair for pair in parts if isinstance(pair[1], dict)), key=lambda pair: pair[0])


def all_claims(saved):
    """Every row of a `results.json`, in the order of the paper's sections, those of others last.

    What V-JEPA 2's latents would say is known, or unknown, of the paper's own claims alone.
    """
    rows = [row for _, part in saved_parts(saved) for row in part.get("claims", [])]
    rows = [row if of_the_paper(row) else row | {"on V-JEPA 2": "–"} for row in rows]
    return sorted(
        rows, key=lambda row: [int(n) for n in row["section"].split(".")] if of_the_paper(row) else [inf]
    )


def of_the_paper(row):
    """Whether a claim is of the paper of notebooks 1 to 9."""
    return row["section"][:1].isdigit()


def said_where(row):
    """Whose claim a row is: `(§5.1)` of the paper, `(Allen-Blanchette, 2024)`, or `(this project)`."""
    return f"(§{row['section']})" if of_the_paper(row) else f"({row['section'] or 'this project'})"


def claims_table(rows):
    """The ledger's rows as a `table`."""
    columns = ("claim", "published", "here", "where", "verdict here", "on V-JEPA 2")
    cells = [
        (
            f"{row['claim']} {said_where(row)}",
            row["published"],
            row["here"],
            f"{row['notebook']}, {row['scope']}",
            f"**{row['verdict']}**",
            row["on V-JEPA 2"],
        )
        for row in rows
    ]
    return table(columns, cells)


def markdown(table):
    """A `table` in Markdown, its note below it."""
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in (table["columns"], *table["rows"])]
    header, *rows = (f"| {' | '.join(row)} |" for row in escaped)
    lines = [header, "|" + "---|" * len(table["columns"]), *rows]
    return "\n".join(lines + (["", table["note"]] if table["note"] else []))


def published(notebook, part="results"):
    """What the published run of a notebook saved, out of `figures/results.json`: verdicts come from it."""
    return read_json(ROOT / "figures" / "results.json")[part].get(notebook, {})


def published_page(notebook, leave_out=()):
    """The published run's tables, but for those titled in `leave_out`, and verdicts, in Markdown."""
    parts = [published(notebook, part) for part in ("results", "wall_clock")]
    tables = [
        f"**{title}**\n\n{markdown(data)}"
        for part in parts
        for title, data in part.get("tables", {}).items()
        if title not in leave_out
    ]
    claims = [row for part in parts for row in part.get("claims", [])]
    verdicts = [f"- {row['claim']} {said_where(row)}: **{row['verdict']}**. {row['here']}" for row in claims]
    return "\n\n".join([*tables, "\n".join(verdicts)])
