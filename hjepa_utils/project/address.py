"""Where this copy of the project can be fetched: `bash colab_setup.sh address OWNER/NAME [COMMIT]`.

Writes the address and the commit into every notebook's first code cell, which in Colab fetches exactly
that commit, and the badges into the notebooks and the README. Needs only the standard library, so that
it runs before anything is installed.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/(?!\.{1,2}$)[\w.-]{1,100}", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
SET_IN_CELL = re.compile(r'^ADDRESS, COMMIT = "[^"]*", "[^"]*"', re.MULTILINE)
COLAB_BADGE = re.compile(r"\[!\[Open In Colab\]\([^)]*\)\]\([^)]*\)")
TESTS_BADGE = re.compile(r"\[!\[tests\]\([^)]*\)\]\([^)]*\)\n")
CLONE = re.compile(r"Clone or download (this repository|\[this repository\]\([^)]*\))")


def colab_badge(address, notebook):
    """Markdown that opens a notebook (its file name) in Colab."""
    picture = "https://colab.research.google.com/assets/colab-badge.svg"
    page = f"https://colab.research.google.com/github/{address}/blob/main/notebooks/{notebook}"
    return f"[![Open In Colab]({picture})]({page})"


def addressed_notebook(text, name, address, commit):
    """A notebook's JSON text with the address and commit in its set-up cell and the badge under its title.

    Raises `ValueError` if it does not have one such cell and a title.
    """
    notebook = json.loads(text)
    title = "".join(notebook["cells"][0]["source"])
    title = re.sub(COLAB_BADGE.pattern + r"\n\n", "", title)
    title, n_titles = re.subn(r"\A# .*\n\n", lambda m: f"{m[0]}{colab_badge(address, name)}\n\n", title)
    notebook["cells"][0]["source"] = title.splitlines(keepends=True)
    cells = [cell for cell in notebook["cells"] if SET_IN_CELL.search("".join(cell["source"]))]
    if n_titles != 1 or len(cells) != 1:
        raise ValueError(f'{name} needs a title and one cell with a line ADDRESS, COMMIT = "", ""')
    source = SET_IN_CELL.sub(f'ADDRESS, COMMIT = "{address}", "{commit}"', "".join(cells[0]["source"]))
    cells[0]["source"] = source.splitlines(keepends=True)
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def addressed_readme(text, address):
    """The README with the address where it says to clone, a badge of the tests, and the notebooks' badges.

    Those stand before every link to a notebook that begins a row of a table.
    """
    workflow = f"https://github.com/{address}/actions/workflows/tests.yml"
    text = CLONE.sub(f"Clone or download [this repository](https://github.com/{address})", text)
    text = TESTS_BADGE.sub("", text)
    text = text.replace("[![licence", f"[![tests]({workflow}/badge.svg)]({workflow})\n[![licence", 1)
    text = re.sub(r"^\| " + COLAB_BADGE.pattern + " ", "| ", text, flags=re.MULTILINE)
    row = re.compile(r"^\| (?=\[[^\]]*\]\(notebooks/([^)/]+\.ipynb)\))", re.MULTILINE)
    return row.sub(lambda m: f"| {colab_badge(address, m[1])} ", text)


def checked(address, commit, root):
    """The commit, today's if none is given. `ValueError` for what cannot be an address or a commit here."""
    if not ADDRESS.fullmatch(address):
        raise ValueError(f"{address!r} is no address: give OWNER/NAME, as in github.com/OWNER/NAME")
    if address.lower().endswith(".git"):
        raise ValueError(f"{address!r} is no address: leave .git out, no repository's name ends so")
    head = _git(root, "rev-parse", "HEAD")
    if commit is None and not head:
        raise ValueError(f"{root} is no git repository with a commit: give the 40 digits of a commit")
    commit = head if commit is None else commit
    if not COMMIT.fullmatch(commit):
        raise ValueError(
            f"{commit!r} is no commit: give all its 40 hexadecimal digits, as git log shows them"
        )
    if head and _git(root, "cat-file", "-t", commit) != "commit":
        raise ValueError(f"this repository has no commit {commit}: fetch it first, or give another")
    if head and not _git(root, "ls-tree", "--full-tree", commit, "colab_setup.sh"):
        raise ValueError(
            f"commit {commit} has no colab_setup.sh at its top, so it is not of this project: is {root} "
            "within another repository? Give a commit of the project's own"
        )
    return commit


def _git(root, *words):
    """What git prints; "" if it fails or is not there."""
    try:
        git = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return "" if git.returncode else git.stdout.strip()


def set_address(address, commit=None, root=ROOT):
    """Rewrite the notebooks and the README of the project in `root`: all of them, or none."""
    commit = checked(address, commit, root)
    notebooks = sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    texts = {
        path: addressed_notebook(path.read_text(encoding="utf-8"), path.name, address, commit)
        for path in notebooks
    }
    readme = root / "README.md"
    texts[readme] = addressed_readme(readme.read_text(encoding="utf-8"), address)
    unfinished = {path: path.with_name(f".unfinished-{path.name}") for path in texts}
    try:
        for path, text in texts.items():
            unfinished[path].write_text(text, encoding="utf-8")
        for path in texts:
            os.replace(unfinished[path], path)
    finally:
        for path in unfinished.values():
            path.unlink(missing_ok=True)
    print(f"{len(notebooks)} notebooks and README.md name github.com/{address} at commit {commit}.")
    print("Commit and push them; that commit must have been pushed too, because Colab fetches it.")


def main(argv=None):
    """The command line; returns the exit status: 2 for bad arguments, 1 if a file cannot be written."""
    about = "Write where this copy can be fetched into the notebooks and the README."
    parser = argparse.ArgumentParser(prog="address", description=about)
    parser.add_argument("address", metavar="OWNER/NAME", help="the repository on GitHub, yours")
    parser.add_argument("commit", metavar="COMMIT", nargs="?", help="40 digits; by default the current one")
    args = parser.parse_args(argv)
    try:
        set_address(args.address, args.commit)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
