"""What `hjepa_utils benchmark` measured on other hardware, as tables for the results page."""

import json

from ..experiment.intervals import Median
from ..experiment.ledger import markdown, table


def benchmark_page(folder):
    """The tables of every `benchmark_*.json` in a folder, each under its device's name."""
    records = [json.loads(file.read_text()) for file in sorted(folder.glob("benchmark_*.json"))]
    return "\n\n".join(f"### {record['header']['device']}\n\n{_tables(record)}" for record in records)


def _tables(record):
    """Of the parts that were measured."""
    tables = {"ms_per_step": _steps, "update": _updates, "ten_seeds": _seeds, "encoder": _encoders}
    return "\n\n".join(markdown(made(record)) for part, made in tables.items() if part in record)


def _steps(record):
    return _by_batch(record, "ms_per_step", "ms per step, no gradients")


def _updates(record):
    return _by_batch(record, "update", "ms per update in training")


def _by_batch(record, section, title):
    batches = {key: row for key, row in record[section].items() if "times" in _dict(row)}
    names = dict.fromkeys(name for row in batches.values() for name in row["times"])
    rows = [
        (name, *(_cell(row["times"].get(name), row["rounds"]) for row in batches.values())) for name in names
    ]
    settings, header = record["settings"], record["header"]
    note = (
        f"D = {settings['dim']}, {settings['n_steps']} steps, torch {header['torch']}, JAX {header['jax']}, "
        "float32 without TF32; medians of one run with 95 % intervals, below them the ratio to the MLP as "
        "people write it, round by round."
    )
    return table((title, *batches), rows, note)


def _seeds(record):
    rows = [
        (model, name, _cell(time, row["rounds"]))
        for model, row in record["ten_seeds"].items()
        if "times" in _dict(row)
        for name, time in row["times"].items()
    ]
    taken = ", ".join(
        f"{epochs} of the {model} in {row['seconds']:.1f} s"
        for epochs, models in record["fifty_epochs"].items()
        for model, row in _dict(models).items()
    )
    note = f"Batch 32, ratios to one model. `fit` at the paper's size, with its test errors: {taken}."
    return table(("model", "several seeds", "ms per update"), rows, note)


def _encoders(record):
    rows = [
        (encoder, batch.removeprefix("batch "), way, _cell(rate, ways["rounds"]), f"{rate['share']:.0%}")
        for encoder, batches in record["encoder"].items()
        for batch, ways in _dict(batches).items()
        for way, rate in _dict(ways).items()
        if "share" in _dict(rate)
    ]
    note = (
        "Clips of noise that lie on the device; the share is of a large matrix product's rate in the same "
        "format, measured in the same run. *product* replaces the patch embedding's convolution by the same "
        "matrix product. ViT-L has random weights."
    )
    return table(("encoder", "batch", "form", "clips per second", "share of the matrix rate"), rows, note)


def _cell(saved, n_rounds):
    """A median with its interval and, below, its ratio to the reference."""
    if saved is None:
        return "–"
    shown = Median(saved["median"], tuple(saved["interval"]), n_rounds).significant(3)
    return f"{shown}<br>{saved['ratio']['median']:.2g} ×" if "ratio" in saved else shown


def _dict(value):
    """The value if it is a dict; else none: a section's seconds stand beside its rows."""
    return value if isinstance(value, dict) else {}
