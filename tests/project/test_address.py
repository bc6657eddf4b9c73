"""The address is written into every page by one command that needs nothing installed."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from helpers import ROOT

from hjepa_utils.project.address import SET_IN_CELL, addressed_readme, colab_badge, set_address

NAMES = sorted(path.name for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


@pytest.fixture
def fork(tmp_path):
    """A copy of the project's pages and of the command, in a repository with one commit; and the commit."""
    root = tmp_path / "a fork"
    for name in ("README.md", "colab_setup.sh", *(f"notebooks/{name}" for name in NAMES)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    (root / "hjepa_utils" / "project").mkdir(parents=True)
    shutil.copy(ROOT / "hjepa_utils" / "project" / "address.py", root / "hjepa_utils" / "project")
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    for words in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "all"]):
        subprocess.run(["git", "-C", root, *words], check=True)
    return root, git(root, "rev-parse", "HEAD")


def git(root, *words):
    return subprocess.run(
        ["git", "-C", root, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


def source(root, name, cell):
    return "".join(
        json.loads((root / "notebooks" / name).read_text(encoding="utf-8"))["cells"][cell]["source"]
    )


def test_every_page_names_the_address_and_the_commit(fork):
    root, commit = fork
    set_address("some-one/h.jepa", root=root)
    for name in NAMES:
        assert source(root, name, 0).split("\n\n")[1] == colab_badge("some-one/h.jepa", name)
        assert f'ADDRESS, COMMIT = "some-one/h.jepa", "{commit}"' in source(root, name, 1)
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert all(f"| {colab_badge('some-one/h.jepa', name)} [" in readme for name in NAMES)
    assert readme.count("some-one/h.jepa/actions/workflows/tests.yml/badge.svg") == 1
    assert readme.count("Clone or download [this repository](https://github.com/some-one/h.jepa).") == 1
    assert not list(root.rglob(".unfinished-*"))


def test_nothing_else_changes(fork):
    """The lines that differ are badges, the blank lines after them, and one of code."""
    root, _ = fork
    set_address("some-one/hjepa", root=root)
    changed = git(root, "diff", "-U0", "--no-color").splitlines()
    removed = [line for line in changed if re.match(r"-(?!--)", line)]
    added = [line for line in changed if re.match(r"\+(?!\+\+)", line)]
    clone, row, code, blank = "Clone or download ", "[![Open In Colab]", 'ADDRESS, COMMIT = \\"', '    "\\n",'
    assert all("](notebooks/" in line or code in line or clone in line for line in removed)
    known = (clone, row, code, "[![tests]")
    assert all(line[1:] == blank or any(text in line for text in known) for line in added)
    assert len(added) >= 3 * len(NAMES)


def test_a_second_address_replaces_the_first_wholly(fork):
    root, commit = fork
    set_address("first/one", root=root)
    set_address("second/two", commit, root=root)
    twice = {path: path.read_bytes() for path in [root / "README.md", *(root / "notebooks").iterdir()]}
    assert not any(b"first/one" in page for page in twice.values())
    set_address("second/two", root=root)
    assert {path: path.read_bytes() for path in twice} == twice


@pytest.mark.parametrize(
    "address",
    [
        "",
        "hjepa",
        "a/b/c",
        "https://github.com/a/b",
        "a b/c",
        "a/..",
        "-a/b",
        'a/b"; import os',
        "a/b\n",
        "é/b",
    ],
)
def test_what_is_no_address_is_refused(fork, address):
    with pytest.raises(ValueError, match="is no address: give OWNER/NAME"):
        set_address(address, root=fork[0])
    assert git(fork[0], "status", "--porcelain") == ""


@pytest.mark.parametrize("commit", ["", "main", "abc1234", "0" * 39, "0" * 41, "G" * 40, "A" * 40])
def test_what_is_no_commit_is_refused(fork, commit):
    with pytest.raises(ValueError, match="is no commit: give all its 40 hexadecimal digits"):
        set_address("a/b", commit, root=fork[0])
    assert git(fork[0], "status", "--porcelain") == ""


def test_a_commit_that_is_not_there_is_refused(fork):
    root, commit = fork
    tree = git(root, "rev-parse", "HEAD^{tree}")
    for other in ("0" * 40, tree):
        with pytest.raises(ValueError, match=f"this repository has no commit {other}"):
            set_address("a/b", other, root=root)
    set_address("a/b", commit, root=root)


def test_without_git_the_commit_must_be_given(fork):
    root, commit = fork
    shutil.rmtree(root / ".git")
    with pytest.raises(ValueError, match="is no git repository with a commit: give the 40 digits"):
        set_address("a/b", root=root)
    set_address("a/b", commit, root=root)
    assert commit in source(root, NAMES[0], 1)


def test_without_a_first_commit_the_commit_must_be_given(fork):
    root, _ = fork
    shutil.rmtree(root / ".git")
    git(root, "init", "-q")
    with pytest.raises(ValueError, match="is no git repository with a commit: give the 40 digits"):
        set_address("a/b", root=root)


def test_all_or_none_are_written(fork):
    root, _ = fork
    last = root / "notebooks" / NAMES[-1]
    last.write_text(last.read_text(encoding="utf-8").replace("ADDRESS, COMMIT", "ADDRESS"), encoding="utf-8")
    before = {path: path.read_bytes() for path in (root / "notebooks").iterdir()}
    with pytest.raises(
        ValueError, match=f"{NAMES[-1]} needs a title and one cell with a line ADDRESS, COMMIT"
    ):
        set_address("a/b", root=root)
    assert {path: path.read_bytes() for path in (root / "notebooks").iterdir()} == before


def test_one_command_does_it_and_needs_nothing_installed(fork):
    """With the plain Python of a fresh machine: neither this environment's packages nor the module."""
    root, commit = fork
    base = shutil.which("python3", path=f"{sys.base_prefix}/bin:/usr/bin:/bin")
    command = ["bash", root / "colab_setup.sh", "address", "some-one/hjepa"]
    path = f"{root / 'bin'}:/usr/bin:/bin"
    (root / "bin").mkdir()
    (root / "bin" / "python3").write_text(f'#!/bin/sh\nexec "{base}" -I -S "$@"\n')
    (root / "bin" / "python3").chmod(0o755)
    done = subprocess.run(command, env={"PATH": path}, cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"name github.com/some-one/hjepa at commit {commit}." in done.stdout
    assert commit in source(root, NAMES[0], 1)
    refused = subprocess.run([*command[:-1], "nobody"], env={"PATH": path}, capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stderr == "error: 'nobody' is no address: give OWNER/NAME, as in github.com/OWNER/NAME\n"


def test_the_python_that_was_chosen_does_it(fork):
    root, _ = fork
    chosen = root / "chosen python"
    chosen.write_text('#!/bin/sh\necho "$(basename "$1")" "$2"\n')
    chosen.chmod(0o755)
    command, environment = ["bash", root / "colab_setup.sh", "address", "a/b"], {"HJEPA_PYTHON": str(chosen)}
    done = subprocess.run(
        command, env={"PATH": "/usr/bin:/bin"} | environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "address.py a/b\n")


def test_pages_name_no_address_or_the_one_that_was_set():
    """Of a repository that nobody owns nothing may be fetched; also not by what the README says."""
    (found,) = {SET_IN_CELL.search(source(ROOT, name, 1))[0] for name in NAMES}
    address = found.split('"')[1]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    if address:
        assert addressed_readme(readme, address) == readme
    else:
        assert "Open In Colab" not in readme and "/actions/workflows/" not in readme
        assert "git clone" not in readme


def test_the_addresss_git_ending_is_refused(fork):
    with pytest.raises(ValueError, match=r"leave \.git out"):
        set_address("owner/name.git", root=fork[0])


def test_a_commit_of_a_repository_around_the_project_is_refused(tmp_path):
    project = tmp_path / "project"
    for words in (
        ["init", "-q"],
        ["-c", "user.name=n", "-c", "user.email=e@example.org", "commit", "-qm", "x", "--allow-empty"],
    ):
        subprocess.run(["git", "-C", tmp_path, *words], check=True)
    project.mkdir()
    with pytest.raises(ValueError, match=r"has no colab_setup\.sh at its top"):
        set_address("owner/name", root=project)
