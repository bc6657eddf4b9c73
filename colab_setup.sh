#!/usr/bin/env bash
# Sets up H-JEPA, in Colab's own environment or in a .venv beside this script; runs it; tests it.
set -euo pipefail

script="$(readlink -f "${BASH_SOURCE[0]}" 2>/dev/null || echo "${BASH_SOURCE[0]}")" # it may be a link
root="$(CDPATH= cd "$(dirname "$script")" && pwd)"
requirements="$root/requirements.txt"
lock="$root/tests/requirements.lock"

use_set() { # a set of versions: the tested ones go into .venv, the others into environments of their own
  chosen="$1"
  case "$chosen" in
    tested) venv="$root/.venv" ;;
    lowest | newest) venv="$root/.venv_$chosen" ;;
    *) die "HJEPA_VERSIONS=$chosen is none of tested, lowest and newest" ;;
  esac
  stamp="$venv/requirements_installed.txt" # what the finished installation was made from
  unfinished="${venv}_unfinished"          # is there from an installation's begin to its end
}

usage() {
  cat <<'TEXT'
usage: bash colab_setup.sh          install what is missing (on Colab, or into .venv)
       bash colab_setup.sh run      run the notebooks in order; its options:
            [--scale quick|paper] [--encoder NAME] [--from 03 | --only 03...] [--videos DIR]
            [--publish] [-p NAME VALUE]...
       bash colab_setup.sh test     check the code, the notebooks and their outputs
       bash colab_setup.sh lock     write the newest versions into tests/requirements.lock
       bash colab_setup.sh address OWNER/NAME [COMMIT]
                                    write where this copy can be fetched, for badges and Colab

HJEPA_PYTHON chooses the Python (3.11 to 3.13), HJEPA_ARTIFACTS the folder for all that is generated.
HJEPA_VERSIONS chooses the packages outside Colab: "tested" (the default: tests/requirements.lock), or
the "lowest" or the "newest" of requirements.txt, which are put into .venv_lowest and .venv_newest.
TEXT
}

die() {
  echo "error: $*" >&2
  exit 1
}

# Without this, Ctrl-C in pip or pytest would be told as a failure of theirs.
trap 'printf "\ninterrupted: the same command goes on where it stopped\n" >&2; exit 130' INT

on_colab() {
  [ -n "${COLAB_RELEASE_TAG:-}" ] || { [ -d /content ] && python3 -c "import google.colab" 2>/dev/null; }
}

versions() {
  "$python" -m pip list --format=freeze --disable-pip-version-check | LC_ALL=C sort
}

# Without what only the tests need, unless they are to run.
needed() {
  if [ "$command" = test ]; then cat "$requirements"; else sed '/^# --- the tests/,$d' "$requirements"; fi
}

# Into the Python that Colab runs: pip adds what is missing, and keeps Colab's own torch and numpy.
install_on_colab() {
  local before constraints wanted replaced
  python="$(command -v python3)"
  before="$(versions)"
  constraints="$(mktemp)"
  wanted="$(needed)" # in a line of its own: a failure inside <(…) would go unseen
  grep -E '^(torch|torchvision|torchcodec|numpy)==' <<<"$before" >"$constraints" || true
  "$python" -m pip install --quiet --constraint "$constraints" --requirement <(echo "$wanted") ||
    die "pip could not install requirements.txt; its reason is above"
  rm "$constraints"
  replaced="$(LC_ALL=C comm -23 <(echo "$before") <(versions) | tr '\n' ' ')"
  if [ -n "$replaced" ]; then
    echo "RESTART NEEDED (Runtime > Restart session): the session may still use the replaced ${replaced% }"
  else
    echo "No restart is needed: nothing that the session may have imported was replaced."
  fi
}

python_version() { # such as 3.12; nothing if there is no such Python, or one that is not supported
  "$1" -c 'import sys; v = sys.version_info; (3, 11) <= v < (3, 14) and print("%d.%d" % v[:2])' 2>/dev/null || true
}

base_python() {
  local candidate
  for candidate in "${HJEPA_PYTHON:-python3}" python3.13 python3.12 python3.11; do
    [ -z "$(python_version "$candidate")" ] || { echo "$candidate" && return; }
    [ -z "${HJEPA_PYTHON:-}" ] || die "HJEPA_PYTHON=$HJEPA_PYTHON is not a Python from 3.11 to 3.13"
  done
  die "no Python from 3.11 to 3.13 found: install one, or name one with HJEPA_PYTHON"
}

lowest_versions() { # numpy>=2.1 becomes numpy==2.1.*, timm>=1.0.3 becomes timm==1.0.3
  sed -nE -e 's/^([A-Za-z0-9_-]+)>=([0-9]+\.[0-9]+)([ ,].*)?$/\1==\2.*/p' \
    -e 's/^([A-Za-z0-9_-]+)>=([0-9]+\.[0-9]+\.[0-9]+)([ ,].*)?$/\1==\2/p' "$requirements"
}

pip_install() {
  "$python" -m pip install --disable-pip-version-check --requirement "$requirements" "$@"
}

install_chosen() {
  case "$chosen" in
    tested)
      pip_install --constraint "$lock" && return
      echo "The tested versions cannot be installed here, for pip's reason above: trying others"
      pip_install
      ;;
    lowest) pip_install --constraint <(lowest_versions) ;;
    newest) pip_install --upgrade --upgrade-strategy eager ;;
  esac
}

# The environment is made anew after an interrupted installation (pip takes half a package for a whole
# one), if its Python is gone, or if another Python is asked for. Otherwise pip adds what has changed.
install_in_venv() {
  local base name="${venv##*/}"
  python="$venv/bin/python"
  if up_to_date; then return; fi
  if [ -e "$unfinished" ] || ! venv_is_usable; then
    base="$(base_python)"
    echo "Making $name with Python $(python_version "$base")"
    touch "$unfinished"
    "$base" -m venv --clear "$venv" || die "$base cannot make a virtual environment; its reason is above"
  fi
  touch "$unfinished"
  echo "Installing the $chosen versions of requirements.txt into $name: about 6 GB, a few minutes"
  install_chosen || die "pip could not install requirements.txt; its reason is above"
  cat "$requirements" "$lock" >"$stamp"
  rm "$unfinished"
}

up_to_date() {
  [ ! -e "$unfinished" ] && [ "$chosen" != newest ] && venv_is_usable &&
    cmp -s <(cat "$requirements" "$lock") "$stamp"
}

venv_is_usable() {
  local found wanted
  found="$(python_version "$python")"
  wanted="$(python_version "${HJEPA_PYTHON:-$python}")"
  [ -n "$found" ] && [ "$found" = "$wanted" ] && "$python" -m pip --version >/dev/null 2>&1
}

# torchcodec can be imported without FFmpeg's libraries, and fails when it is used: so use it.
ffmpeg_loads() {
  "$python" -P - >/dev/null 2>&1 <<'PYTHON'
import torch
from torchcodec.encoders import VideoEncoder

VideoEncoder(torch.zeros(1, 3, 16, 16, dtype=torch.uint8), frame_rate=1)
PYTHON
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

install_ffmpeg() {
  if command -v brew >/dev/null; then
    brew install ffmpeg
  elif as_root true 2>/dev/null && command -v apt-get >/dev/null; then
    as_root apt-get update -q
    as_root apt-get install -qy --no-install-recommends ffmpeg
  elif as_root true 2>/dev/null && command -v dnf >/dev/null; then
    as_root dnf install -y ffmpeg-free
  fi
}

# Versions for the oldest Python suit the newer ones too, and Linux x86-64 needs the most packages.
write_lock() {
  local made
  [ "$(uname -sm)" = "Linux x86_64" ] || die "a lock file is made on Linux x86-64, which needs every package"
  HJEPA_PYTHON="${HJEPA_PYTHON:-python3.11}"
  [ "$(python_version "$HJEPA_PYTHON")" = 3.11 ] ||
    die "a lock file is made with Python 3.11: name one with HJEPA_PYTHON"
  use_set newest
  touch "$unfinished" # so that it is made anew, without packages that are no longer required
  install_in_venv
  made="$(versions | grep -v '^pip==')"
  {
    echo "# Made by 'bash colab_setup.sh lock': the newest versions for Python 3.11 on Linux x86-64."
    echo "$made"
  } >"$lock"
}

setup() {
  if on_colab; then install_on_colab; else install_in_venv; fi
  if ! ffmpeg_loads; then
    install_ffmpeg || true
    ffmpeg_loads || die "torchcodec cannot load FFmpeg's libraries: install the package ffmpeg" \
      "(sudo apt-get install ffmpeg, for example) and run this again"
  fi
}

# Every check runs, also after a failure; the report has each one's verdict and last printed line.
check() {
  local name="$1" verdict=passed
  printf '\n== %s\n' "$name"
  "${@:2}" 2>&1 | tee "$scratch/log" || verdict=FAILED
  if [[ "$*" == *" -m pytest "* ]] && ! tail -n 1 "$scratch/log" | grep -q ' passed'; then verdict=FAILED; fi
  [ "$verdict" = passed ] || failed=1
  report+="$(printf '%s  %-17s %s' "$verdict" "$name" "$(grep . "$scratch/log" | tail -n 1)")"$'\n'
}

run_tests() {
  local pytest=("$python" -m pytest -c tests/pytest.ini --rootdir .)
  report="" failed=0 scratch="$(mktemp -d)"
  trap 'rm -rf "$scratch"' EXIT
  export HJEPA_ARTIFACTS="$scratch/artifacts" HF_HUB_OFFLINE=1 HJEPA_HEADLESS=1 TQDM_DISABLE=1 HF_HUB_DISABLE_PROGRESS_BARS=1
  cd "$root"
  check "ruff check" "$python" -m ruff check .
  check "ruff format" "$python" -m ruff format --check .
  if [ "$chosen" = tested ] && ! on_colab; then # other versions of the packages have other types
    check "types" "$python" tests/check_types.py
  fi
  # One process a core, one thread each: threads of several processes would wait for each other.
  check "unit tests" env OMP_NUM_THREADS=1 "${pytest[@]}" -n logical --maxprocesses 4 --dist worksteal tests
  # From an empty folder on, each notebook reading what those before it left; every output is compared.
  check "notebooks" "${pytest[@]}" --nbval --nbval-current-env --durations=20 \
    tests/notebooks/test_outputs.py notebooks/[0-9][0-9]_*.ipynb
  check "what they left" "${pytest[@]}" -m chain tests/notebooks/test_chain.py
  printf '\n%s' "$report"
  return "$failed"
}

# As `python -m hjepa_utils`, but Ctrl-C ends the import as well: some packages swallow an exception there.
start='import os, signal, sys
def end(*_):
    os.write(2, b"\ninterrupted: the same command goes on where it stopped\n")
    os._exit(130)
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, end)
from hjepa_utils.__main__ import main
sys.exit(main())'

command="${1-}"
use_set "${HJEPA_VERSIONS:-tested}"
case "$command" in
  "")
    setup
    echo "H-JEPA is set up."
    ;;
  run)
    setup
    # -P: not a hjepa_utils of the current directory; relative folders are still meant from there.
    PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -P -c "$start" "$@"
    ;;
  test)
    [ $# -eq 1 ] || { usage >&2 && exit 2; }
    setup
    run_tests
    ;;
  lock)
    write_lock
    echo "tests/requirements.lock is written. Before it is committed: bash colab_setup.sh test"
    ;;
  address)
    shift
    exec "${HJEPA_PYTHON:-python3}" "$root/hjepa_utils/project/address.py" "$@"
    ;;
  -h | --help) usage ;;
  *)
    usage >&2
    exit 2
    ;;
esac
