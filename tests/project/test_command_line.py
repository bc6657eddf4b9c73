"""How the commands begin and end: what they import, unknown ones, and Ctrl-C."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from helpers import ROOT

from hjepa_utils import __main__ as command_line
from hjepa_utils.__main__ import COMMANDS, main

INTERRUPTED = "\ninterrupted: the same command goes on where it stopped\n"


@pytest.mark.parametrize("command", ["run", "pages", "address", ""])
def test_help_imports_no_encoder(command):
    """transformers and timm take seconds, and torchcodec needs FFmpeg, which may be what is missing."""
    heavy = "{'transformers', 'torchcodec', 'timm'}"
    program = (
        "import sys; from hjepa_utils.__main__ import main\n"
        f"try: main([*{command.split()}, '--help'])\nexcept SystemExit: pass\n"
        f"print(*sorted({heavy} & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr.strip() == ""
    assert done.stdout.startswith("usage: ")


def test_the_runs_help_says_how_it_ends(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["run", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert "exit status: 0 done, 1 a notebook failed, 2 bad arguments, 130 interrupted" in out


@pytest.mark.parametrize("arguments", [[], [""], ["runs"], ["--scale", "quick"]])
def test_unknown_commands_show_the_usage_and_end_with_2(capsys, arguments):
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("usage: python -m hjepa_utils COMMAND")
    assert all(f"\n  {command} " in shown.err for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_ends_every_command_with_one_line_and_130(monkeypatch, capsys, command):
    class Interrupted:
        @staticmethod
        def main(_):
            raise KeyboardInterrupt

    monkeypatch.setattr(command_line, "import_module", lambda *_: Interrupted)
    assert main([command]) == 130
    assert capsys.readouterr().err == INTERRUPTED


@pytest.fixture
def setup_script(tmp_path):
    """colab_setup.sh in a project whose Python has everything installed and whose module takes long."""
    for name in ("colab_setup.sh", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    if (ROOT / "tests" / "requirements.lock").exists():
        (tmp_path / "tests").mkdir()
        shutil.copy(ROOT / "tests" / "requirements.lock", tmp_path / "tests")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text(
        "#!/usr/bin/env bash\n"
        'case "$*" in\n'
        '*" pip "* | "-P -") exit 0 ;;\n'
        f"*pytest* | *ruff*) touch '{tmp_path}/busy'; sleep 60; exit 0 ;;\n"
        f'*) exec "{sys.executable}" "$@" ;;\n'
        "esac\n"
    )
    python.chmod(0o755)
    return tmp_path


def interrupt(script, *arguments):
    """Start it as from a terminal, press Ctrl-C when it is busy; its exit status and standard error."""
    running = subprocess.Popen(
        ["bash", script / "colab_setup.sh", *arguments],
        env={k: v for k, v in os.environ.items() if k not in ("HJEPA_PYTHON", "HJEPA_VERSIONS")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # what a shell puts into the background, as some CI does, ignores Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not (script / "busy").exists() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.3)
    os.killpg(running.pid, signal.SIGINT)
    return running.wait(timeout=60), running.communicate()[1]


def test_ctrl_c_ends_the_scripts_tests_with_one_line(setup_script):
    assert interrupt(setup_script, "test") == (130, INTERRUPTED)


@pytest.mark.parametrize("where", ["__init__", "__main__"])
@pytest.mark.parametrize("swallowed", [False, True])
def test_ctrl_c_ends_the_scripts_run_with_one_line(setup_script, where, swallowed):
    """Also while the module is still being imported, which takes seconds; some packages swallow it."""
    package = setup_script / "hjepa_utils"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").touch()
    wait = "try:\n    time.sleep(60)\nexcept BaseException:\n    time.sleep(60)\n"
    busy = f"import time\nopen({str(setup_script / 'busy')!r}, 'w').close()\n"
    (package / f"{where}.py").write_text(busy + (wait if swallowed else "time.sleep(60)\n"))
    assert interrupt(setup_script, "run") == (130, INTERRUPTED)


def test_ctrl_c_ends_a_command_that_is_still_imported():
    """As the script's test, for the modules of commands: here one that swallows every exception."""
    code = (
        "import sys, time, types, importlib\n"
        "import hjepa_utils.__main__ as project\n"
        "def slow(*_):\n"
        "    print('busy', flush=True)\n"
        "    try:\n        time.sleep(60)\n"
        "    except BaseException:\n        time.sleep(60)\n"
        "project.import_module = slow\n"
        "sys.exit(project.main(['pages']))\n"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert running.stdout.readline() == "busy\n"
    running.send_signal(signal.SIGINT)
    assert running.communicate(timeout=60)[1] == INTERRUPTED and running.returncode == 130


def test_the_script_refuses_unknown_words():
    done = subprocess.run(["bash", ROOT / "colab_setup.sh", "install"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("usage: bash colab_setup.sh")


def test_the_script_may_be_called_through_a_link(tmp_path):
    (tmp_path / "setup").symlink_to(ROOT / "colab_setup.sh")
    done = subprocess.run(["bash", tmp_path / "setup", "address", "x"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: 'x' is no address")


@pytest.mark.parametrize("versions_after", ["numpy==2.1.3", "numpy==2.2.0"])
def test_on_colab_what_the_notebooks_need_is_installed_beside_colabs_own(tmp_path, versions_after):
    python = tmp_path / "python3"
    python.write_text(
        "#!/usr/bin/env bash\n"
        f"cd '{tmp_path}'\n"
        'case "$*" in\n'
        f'*" pip list "*) [ -e wanted ] && echo {versions_after} || echo numpy==2.1.3 ;;\n'
        '*" pip install "*) cat "$6" > kept; cat "$8" > wanted ;;\n'
        "esac\n"
    )
    python.chmod(0o755)
    environment = {"COLAB_RELEASE_TAG": "release", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", ROOT / "colab_setup.sh"], env=os.environ | environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    restart = "RESTART NEEDED" if versions_after != "numpy==2.1.3" else "No restart is needed"
    assert restart in done.stdout and done.stdout.endswith("H-JEPA is set up.\n")
    wanted = {re.match(r"[\w-]*", line)[0] for line in (tmp_path / "wanted").read_text().splitlines()}
    assert {"torch", "torchcodec", "papermill", "torchdiffeq", "accelerate"} <= wanted
    assert not {"pytest", "ruff", "basedpyright"} & wanted
    assert (tmp_path / "kept").read_text() == "numpy==2.1.3\n"
