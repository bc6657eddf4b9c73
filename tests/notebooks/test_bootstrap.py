"""The first code cell, run by IPython: it finds the project, fetches what is pinned, or says what to do."""

import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from helpers import ROOT

NOTEBOOK = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))[0]
CELL = nbformat.read(NOTEBOOK, as_version=4).cells[1].source
# Runs the cell of argv[1]; argv[2:] are the modules to pretend. Prints an error's name and text, or the
# folder from which the module would be imported.
HOST = """
import os, sys, types
from IPython.core.interactiveshell import InteractiveShell
for name in sys.argv[2:]:
    sys.modules[name] = types.ModuleType(name)
if "google.colab" in sys.modules:
    mount = lambda folder: open("mounted", "w").write(folder)
    sys.modules["google.colab"].drive = types.SimpleNamespace(mount=mount)
shell = InteractiveShell()
shell.showtraceback = lambda *_, **__: None
before = list(sys.path)
result = shell.run_cell(open(sys.argv[1]).read())
print("kept in", os.environ.get("HJEPA_ARTIFACTS"))
error = result.error_before_exec or result.error_in_exec
print(f"{type(error).__name__}: {error}" if error else f"found {sys.path[0] if sys.path != before else None}")
"""
SETUP = """#!/usr/bin/env bash
touch "$(dirname "$0")/set_up"
exit "${FAKE_STATUS:-0}"
"""
UPLOAD = "upload the project's zip to Colab's files (folder symbol on the left) and run this cell again"
LOCAL = "start Jupyter in the project's folder, or set the environment variable HJEPA_ROOT to that folder"


@pytest.fixture
def run_cell(tmp_path):
    """Run the cell in a folder; what it printed last. /content is a folder of the test's."""
    content = tmp_path / "content"

    def run(cwd, *, colab=False, drive=False, address="", commit="", **environment):
        source = re.sub(
            'ADDRESS, COMMIT = "[^"]*", "[^"]*"', f'ADDRESS, COMMIT = "{address}", "{commit}"', CELL
        )
        assert source.count('Path("/content")') == 1
        cell = tmp_path / "cell.py"
        source = source.replace('Path("/content")', f"Path({str(content)!r})")
        source = source.replace("KEEP_ON_DRIVE = False", f"KEEP_ON_DRIVE = {drive}")
        cell.write_text(source)
        modules = ["google", "google.colab"] if colab else []
        unset = {"HJEPA_ROOT", "JPY_SESSION_NAME"}
        usual = {name: value for name, value in os.environ.items() if name not in unset}
        done = subprocess.run(
            [sys.executable, "-P", "-c", HOST, cell, *modules],
            cwd=cwd,
            env=usual | {"IPYTHONDIR": str(tmp_path / "ipython")} | environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        (tmp_path / "kept_in").write_text(done.stdout.strip().splitlines()[-2])
        return done.stdout.strip().splitlines()[-1]

    return run


@pytest.fixture
def foreign(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


def make_project(folder):
    """The two files by which the cell knows the project; its set-up leaves a trace."""
    (folder / "hjepa_utils").mkdir(parents=True)
    (folder / "hjepa_utils" / "__init__.py").touch()
    (folder / "colab_setup.sh").write_text(SETUP)
    return folder


@pytest.mark.parametrize("folder", [".", "notebooks", "hjepa_utils/project"])
def test_the_real_project_is_found_from_within(run_cell, folder):
    assert run_cell(ROOT / folder) == f"found {ROOT}"


def test_a_foreign_folder_is_one_sentence(run_cell, foreign):
    assert run_cell(foreign) == f"RuntimeError: no H-JEPA project around {foreign}: {LOCAL}"


def test_a_folder_that_only_looks_like_it_is_not_taken(run_cell, foreign):
    (foreign / "hjepa_utils").mkdir()
    assert run_cell(foreign).startswith("RuntimeError: no H-JEPA project")


def test_the_notebooks_own_folder_is_looked_at(run_cell, foreign, tmp_path):
    project = make_project(tmp_path / "my project")
    opened = str(project / "notebooks" / "01_generate_videos.ipynb")
    assert run_cell(foreign, JPY_SESSION_NAME=opened) == f"found {project}"
    assert not (project / "set_up").exists()  # only in Colab


def test_vs_codes_name_of_the_notebook_is_looked_at(foreign, tmp_path):
    project = make_project(tmp_path / "project")
    names = {"__vsc_ipynb_file__": str(project / "notebooks" / "a.ipynb")}
    finder = CELL[CELL.index("def find_project") : CELL.index("def unpack")]
    imports = "import os\nfrom pathlib import Path\nnamed, content = None, Path('/none')\n"
    exec(imports + finder, names)
    before = os.getcwd()
    os.chdir(foreign)
    try:
        assert names["find_project"]() == project
    finally:
        os.chdir(before)


def test_hjepa_root_says_where_and_nowhere_else_is_looked(run_cell, foreign, tmp_path):
    project = make_project(tmp_path / "drive" / "hjepa")
    assert run_cell(foreign, HJEPA_ROOT=str(project)) == f"found {project}"
    error = run_cell(project, HJEPA_ROOT=str(foreign))
    assert error == f"RuntimeError: no H-JEPA project in HJEPA_ROOT={foreign}: {LOCAL}"
    (tmp_path / "content").mkdir()
    assert LOCAL in run_cell(foreign, colab=True, HJEPA_ROOT=str(foreign))


@pytest.mark.parametrize("where", [".", "hjepa", "hjepa-main", "hjepa/hjepa-main"])
def test_colab_finds_what_was_put_among_its_files_and_sets_it_up(run_cell, foreign, tmp_path, where):
    project = make_project(tmp_path / "content" / where)
    assert run_cell(foreign, colab=True) == f"found {project}"
    assert (project / "set_up").exists()


def test_colab_unpacks_an_uploaded_zip_of_the_project_and_no_other(run_cell, tmp_path):
    content = tmp_path / "content"
    for name, folder in (
        ("upload", make_project(tmp_path / "up" / "hjepa-main")),
        ("other", tmp_path / "up2"),
    ):
        folder.mkdir(exist_ok=True)
        (folder / "notes.txt").touch()
        shutil.make_archive(content / name, "zip", folder.parent, folder.name)
    (content / "broken.zip").write_bytes((content / "upload.zip").read_bytes()[:100])
    assert run_cell(content, colab=True) == f"found {content / 'hjepa' / 'hjepa-main'}"
    assert (content / "hjepa" / "hjepa-main" / "set_up").exists()
    assert sorted(p.name for p in (content / "hjepa").iterdir()) == ["hjepa-main"]


def test_colab_without_project_or_address_says_how_and_fetches_nothing(run_cell, tmp_path):
    content = tmp_path / "content"
    content.mkdir()
    trap = tmp_path / "bin" / "git"
    trap.parent.mkdir()
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path / 'git_was_run'}\n")
    trap.chmod(0o755)
    said = run_cell(content, colab=True, PATH=f"{trap.parent}:{os.environ['PATH']}")
    assert said == f"RuntimeError: no H-JEPA project around {content}: {UPLOAD}"
    assert not (tmp_path / "git_was_run").exists()


@pytest.mark.parametrize(
    ("ticked", "environment", "kept_in"),
    [
        (False, {}, ""),
        (True, {}, "/content/drive/MyDrive/hjepa"),
        (True, {"HJEPA_ARTIFACTS": "/elsewhere"}, "/elsewhere"),
    ],
)
def test_colab_mounts_drive_only_where_it_is_asked_to(
    run_cell, foreign, tmp_path, ticked, environment, kept_in
):
    make_project(tmp_path / "content")
    assert run_cell(foreign, colab=True, drive=ticked, **{"HJEPA_ARTIFACTS": ""} | environment)
    assert (foreign / "mounted").exists() == ticked
    assert (tmp_path / "kept_in").read_text().split() == ["kept", "in", *kept_in.split()]


def test_a_set_up_that_fails_stops_the_notebook(run_cell, foreign, tmp_path):
    make_project(tmp_path / "content")
    said = run_cell(foreign, colab=True, FAKE_STATUS="1")
    assert said == "RuntimeError: colab_setup.sh could not install what is missing: its reason is above"


@pytest.fixture
def remote(tmp_path):
    """A repository that git takes for github.com/owner/name: its two commits, a tag, and git's settings."""
    repository = make_project(tmp_path / "github" / "owner" / "name")

    def git(*words):
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "init.defaultBranch=main"]
        command = ["git", *identity, "-C", repository, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    git("config", "uploadpack.allowAnySHA1InWant", "true")  # as GitHub does
    commits = []
    for version in ("first", "second"):
        (repository / "hjepa_utils" / "__init__.py").write_text(f"version = {version!r}\n")
        git("add", "-A")
        git("commit", "-qm", version)
        commits.append(git("rev-parse", "HEAD"))
    git("tag", "-a", "-m", "a tag", "v1")
    settings = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{tmp_path / 'github'}/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
    }
    (tmp_path / "content").mkdir()
    return commits, git("rev-parse", "v1"), settings


def test_colab_fetches_the_pinned_commit_and_not_the_newest(run_cell, remote, foreign, tmp_path):
    (first, _), _, settings = remote
    project = tmp_path / "content" / "hjepa"
    assert run_cell(foreign, colab=True, address="owner/name", commit=first, **settings) == f"found {project}"
    assert (project / "hjepa_utils" / "__init__.py").read_text() == "version = 'first'\n"
    assert (project / "set_up").exists()
    assert not (tmp_path / "content" / ".hjepa_unfinished").exists()


@pytest.mark.parametrize("pinned", ["a commit it has not", "a branch", "a tag"])
def test_another_commit_is_refused_before_anything_of_it_runs(run_cell, remote, foreign, tmp_path, pinned):
    (_, second), tag, settings = remote
    commit = {"a commit it has not": "0" * 39 + "1", "a branch": "main", "a tag": tag}[pinned]
    for _ in range(2):  # nor is what the first try left behind taken for the project by the second
        said = run_cell(foreign, colab=True, address="owner/name", commit=commit, **settings)
        assert said.startswith("RuntimeError: https://github.com/owner/name ")
        assert commit in said
        assert pinned == "a commit it has not" or f"gave commit {second}" in said
    assert not list((tmp_path / "content").rglob("set_up"))
    assert not (tmp_path / "content" / "hjepa").exists()


def test_an_address_that_does_not_exist_is_one_sentence(run_cell, remote, foreign):
    (first, _), _, settings = remote
    said = run_cell(foreign, colab=True, address="owner/none", commit=first, **settings)
    assert said.startswith(f"RuntimeError: https://github.com/owner/none does not give commit {first}: ")


def test_what_was_uploaded_is_preferred_to_the_address(run_cell, remote, foreign, tmp_path):
    (first, _), _, settings = remote
    shutil.make_archive(tmp_path / "content" / "mine", "zip", make_project(tmp_path / "mine"))
    run_cell(foreign, colab=True, address="owner/name", commit=first, **settings)
    assert (tmp_path / "content" / "hjepa" / "hjepa_utils" / "__init__.py").read_text() == ""


def test_a_real_kernel_elsewhere_says_it_in_one_sentence(foreign):
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    client = NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(foreign)}})
    with pytest.raises(CellExecutionError) as caught:
        client.execute(env={k: v for k, v in os.environ.items() if k != "HJEPA_ROOT"})
    assert caught.value.ename == "RuntimeError"
    assert caught.value.evalue == f"no H-JEPA project around {foreign}: {LOCAL}"
