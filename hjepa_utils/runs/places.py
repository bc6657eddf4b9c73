"""Where generated files go."""

import os
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_TAKEN = ("", "..", "earlier", "executed", "figures", "results.json", "costs.json")  # shared by the notebooks


def scale_folder(scale, seed=0):
    """`<artifacts>/<scale>`, and for another seed than 0 `<artifacts>/<scale>, seed <seed>`."""
    return artifacts_root() / (scale if seed == 0 else f"{scale}, seed {seed}")


def artifacts_root():
    """`notebooks/artifacts`, or where the environment variable HJEPA_ARTIFACTS says."""
    named = os.environ.get("HJEPA_ARTIFACTS", "").strip()
    try:
        folder = Path(named or ROOT / "notebooks" / "artifacts").expanduser().resolve()
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            folder.stat()  # from Python 3.13 on, `resolve` takes links in a circle
        return folder
    except (RuntimeError, OSError) as error:  # an unknown user's home, links in a circle, a long name
        raise ValueError(f"HJEPA_ARTIFACTS is {named!r}, no folder ({error}): set it to another") from error


def checked_notebook(name):
    """The name, if a folder of its own can have it beside what all notebooks share; else `ValueError`."""
    if not _is_plain(name) or name in _TAKEN:
        raise ValueError(f"the notebook must be a name such as '03_train_hnn', got {name!r}")
    return name


def checked_figure(name):
    """The name, if it stays in the folder of the figures; else `ValueError`."""
    if not _is_plain(name) or not name.strip("."):
        raise ValueError(f"a figure must have a name without a folder, such as 'figure_3', got {name!r}")
    return name


def _is_plain(name):
    return isinstance(name, str) and Path(name).name == name and "\0" not in name
