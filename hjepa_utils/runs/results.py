"""`results.json` of one scale and seed: what all its notebooks measured."""

from . import locks
from .files import ArtifactError, read_json, write_json

_PARTS = ("run", "results", "wall_clock")


def read_results(path):
    """What the file holds, a dict for each of its three parts; `ArtifactError` if it is damaged."""
    if not path.exists():
        return {part: {} for part in _PARTS}
    advice = "delete that file; each notebook run again puts its numbers back"
    saved = {part: {} for part in _PARTS} | read_json(path, advice=advice)
    if not all(isinstance(saved[part], dict) for part in _PARTS):
        raise ArtifactError(f"{path} is damaged: {advice}")
    return saved


def add_results(path, notebook, of_run, results, wall_clock):
    """Put in one notebook's numbers, and what all share; notebooks side by side wait for each other."""
    with locks.alone(path.with_name(".results.lock")):
        saved = read_results(path)
        saved["run"] |= of_run
        saved["results"][notebook] = results
        if wall_clock is not None:
            saved["wall_clock"][notebook] = wall_clock
        for part in ("results", "wall_clock"):
            saved[part] = dict(sorted(saved[part].items()))
        write_json(path, saved)
