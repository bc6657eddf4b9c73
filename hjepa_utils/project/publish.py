"""From a run's folder into the repository: figures, results and the outputs of the notebooks."""

import json
import shutil
from pathlib import Path

import nbformat

from ..experiment.ledger import all_claims
from ..experiment.shipped import InEncoderUnits, load_with_class, save_with_class
from ..runs.files import write_atomically, write_json

MAX_NOTEBOOK_KB = 300  # GitHub shows larger notebooks late or not at all
SHIPPED_WHOLE = {  # they need no standardiser
    "world_model_pendulum": "20_world_model",
    "world_model_balls": "22_pushed_balls",
    "hierarchical": "30_hierarchical",
    **dict.fromkeys(
        ("hgan_angle_pendulum", "hgan_pendulum", "hnngan_pendulum", "mocogan_pendulum", "hgn_pendulum"),
        "41_hamiltonian_gan",
    ),
}
_WIDGET = "application/vnd.jupyter.widget-view+json"


def publish_figures(run_folder, target, names, *, since):
    """Copy pictures and pages of the run that began at `since`, and remove those that it no longer makes.

    `names` are the notebooks whose results are kept. Their claims become `claims.json`.
    """
    saved = json.loads((run_folder / "results.json").read_text())
    for part in ("results", "wall_clock"):
        saved[part] = {name: value for name, value in saved.get(part, {}).items() if name in names}
    pictures = [p for p in _pictures(run_folder / "figures") if p.stat().st_mtime >= since - 2]
    target.mkdir(exist_ok=True)
    for picture in pictures:
        write_atomically(target / picture.name, lambda copy, picture=picture: shutil.copyfile(picture, copy))
    for stale in {p.name for p in _pictures(target)} - {p.name for p in pictures}:
        (target / stale).unlink()
    write_json(target / "results.json", saved)
    if claims := all_claims(saved):
        write_json(target / "claims.json", {"run": saved["run"], "claims": claims})
    print(f"published {len(pictures)} figures and results.json to {target}")


def publish_some(run_folder, target, names, *, since):
    """Put what notebooks `names` made since `since` beside what is published, which stays as it is.

    Raises `ValueError` if that is of another scale or seed.
    """
    results = target / "results.json"
    kept, new = json.loads(results.read_text()), json.loads((run_folder / "results.json").read_text())
    for key in ("scale", "seed"):
        was, now = (saved["run"].get(key) for saved in (kept, new))
        if was != now:
            raise ValueError(f"what is published has {key} {was!r}, not {now!r}: publish all notebooks")
    for part in ("results", "wall_clock"):
        own = {name: value for name, value in new.get(part, {}).items() if name in names}
        kept[part] = dict(sorted((kept.get(part, {}) | own).items()))
    pictures = [p for p in _pictures(run_folder / "figures") if p.stat().st_mtime >= since - 2]
    for picture in pictures:
        write_atomically(target / picture.name, lambda copy, picture=picture: shutil.copyfile(picture, copy))
    write_json(results, kept)
    if claims := all_claims(kept):
        write_json(target / "claims.json", {"run": kept["run"], "claims": claims})
    print(f"published {len(pictures)} figures and the results of {', '.join(sorted(names))} to {target}")


def publish_models(run_folder, assets):
    """Ship the models of a run, as `load_model` finds them.

    Notebook 3's and 11's, if their encoder is the one that ships, 10's contact dynamics, world models and
    generators of videos.
    """
    saved, names = json.loads((run_folder / "results.json").read_text()), {}
    if saved["run"].get("encoder") == "embedded":
        names = {"HNN": "03_train_hnn", "MLP": "03_train_hnn", "contact_latents": "11_contact_latents"}
    for name, notebook in (names | {"contact": "10_contact"}).items():
        if notebook in saved["results"]:
            trained = InEncoderUnits.from_pretrained(run_folder / notebook / name)
            trained.save_pretrained(assets / name.lower())
    for name, notebook in SHIPPED_WHOLE.items():
        if notebook in saved["results"]:
            save_with_class(load_with_class(run_folder / notebook / name), assets / name)


def _pictures(folder):
    return [path for path in folder.iterdir() if path.suffix in (".png", ".gif", ".html")]


def publish_costs(run_folder, results):
    """Put what each notebook took under `wall_clock` of the published results, as `<scale>_costs`.

    Of a run that was resumed, these are the costs of its last part.
    """
    saved = json.loads(results.read_text())
    costs, name = json.loads((run_folder / "costs.json").read_text()), f"{run_folder.name}_costs"
    of_all = saved["wall_clock"].get(name, {})
    if not of_all.keys() <= costs.keys():  # only some notebooks ran
        costs = {notebook: cost for notebook, cost in costs.items() if notebook != "all"}
        costs = {key: cost for key, cost in sorted((of_all | costs).items()) if key != "all"}
        peak = max(cost["peak_GB"] for cost in costs.values())
        costs["all"] = {"seconds": sum(cost["seconds"] for cost in costs.values()), "peak_GB": peak}
    saved["wall_clock"][name] = costs
    write_json(results, saved)


def refresh_notebooks(notebooks, executed_folder):
    """Put the outputs of the executed copies into the committed notebooks: into all, or into none."""
    texts = {path: refreshed(path, executed_folder / path.name) for path in notebooks}
    for path, text in texts.items():
        write_atomically(path, lambda copy, text=text: Path(copy).write_text(text, encoding="utf-8"))
    print(f"refreshed the outputs of {len(texts)} notebooks")


def refreshed(path, executed):
    """The text of the notebook at `path` with the counts and outputs of its executed copy.

    Nothing else of the copy is taken, so no timings, injected cells or widget states come along.
    Raises `ValueError` if the copy has other cells or the result is too large.
    """
    notebook, ran = nbformat.read(path, as_version=4), nbformat.read(executed, as_version=4)
    if [cell.source for cell in notebook.cells] != [cell.source for cell in ran.cells]:
        raise ValueError(f"{path.name}: the executed copy has other cells or parameters; run it again")
    for cell, ran_cell in zip(notebook.cells, ran.cells, strict=True):
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.execution_count, cell.outputs = ran_cell.execution_count, ran_cell.outputs
            for output in cell.outputs:
                output.get("data", {}).pop(_WIDGET, None)  # shows an error where its state is not saved
    kept = {k: v for k, v in notebook.metadata.items() if k not in ("papermill", "widgets")}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = kept | {"kernelspec": kernel, "language_info": {"name": "python"}}
    text = nbformat.writes(notebook) + "\n"
    if len(text.encode()) > MAX_NOTEBOOK_KB * 1000:
        raise ValueError(f"{path.name} would be larger than {MAX_NOTEBOOK_KB} KB: show smaller figures")
    return text
