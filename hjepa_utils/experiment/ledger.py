"""Claims and their verdicts: one rule, one table."""

from typing import NamedTuple

CONFIRMED, REFUTED, OPEN = "confirmed", "refuted", "not decided"
UNTESTABLE = "not testable without the published weights"


class Claim(NamedTuple):
    """One row: what the paper says in which section, both numbers in words, where it was measured."""

    claim: str
    section: str
    published: str
    here: str
    notebook: int
    scope: str
    verdict: str


def _sign(summary, wanted=1):
    """Confirmed if the interval, to 3 digits, lies above 0 (`wanted=-1`: below), refuted if beyond 0."""
    low, high = sorted(wanted * round(bound, 3) for bound in summary["interval"])
    return CONFIRMED if low > 0 else REFUTED if high < 0 else OPEN


def claims_table(claims):
    """Markdown from the content of a `claims.json`."""
    lines = [
        "| the paper says | published | here | where | verdict here | on V-JEPA 2 |",
        "|---|---|---|---|---|---|",
    ]
    for row in claims["claims"]:
        says, where = f"{row['claim']} (§{row['section']})", f"{row['notebook']}, {row['scope']}"
        cells = (says, row["published"], row["here"], where, f"**{row['verdict']}**", row["on V-JEPA 2"])
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)
