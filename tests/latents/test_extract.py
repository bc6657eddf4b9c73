"""A folder of videos becomes a folder of latents: by one process, by several, after a kill."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from helpers import ROOT, no_file_above
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hjepa_utils import encode_video, load_encoder, load_latents, write_video
from hjepa_utils.latents.extract import main, write_latents

LENGTHS = {"a": 40, "b": 150, "c": 16, "d": 83}  # frames


def noise(n_frames, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n_frames, 64, 64, 3), generator=generator, dtype=torch.uint8)


@pytest.fixture(scope="module")
def one_thread():
    """As many as each launched process has: on some processors the last bits depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, one_thread):
    """Four videos, and their latents made by one process."""
    folder = tmp_path_factory.mktemp("extract")
    (folder / "videos").mkdir()
    for seed, (name, n_frames) in enumerate(LENGTHS.items()):
        write_video(folder / "videos" / f"{name}.mp4", noise(n_frames, seed))
    assert main([str(folder / "videos"), str(folder / "out")]) == 0
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def extract(folder, *options):
    return main([str(folder / "videos"), str(folder / "out"), *options])


def contents(folder):
    return {path.name: path.read_bytes() for path in (folder / "out").iterdir()}


def manifest(path):
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["manifest"])


def test_the_latents_are_those_of_encode_video(finished):
    latents, encoder = load_latents(finished / "out"), load_encoder()
    assert {name: len(clips) for name, clips in latents.items()} == {"a": 7, "b": 34, "c": 1, "d": 17}
    for name, clips in latents.items():
        assert clips.dtype == torch.float32
        torch.testing.assert_close(
            clips, encode_video(encoder, finished / "videos" / f"{name}.mp4"), rtol=1e-5, atol=1e-5
        )


def test_the_manifest_says_what_from_and_nothing_of_this_machine(finished):
    found = manifest(finished / "out" / "b.safetensors")
    assert found["video"] == "b.mp4" and found["made_with"]["encoder"] == "embedded"
    assert found["recipe"]["weights_sha256"] == load_encoder().weights_hash()
    assert found["recipe"] | {"stride": 4, "clip_frames": 16, "dtype": "float32"} == found["recipe"]
    assert str(finished) not in json.dumps(found) and str(ROOT) not in json.dumps(found)


def test_an_encoder_in_a_folder_is_named_without_its_path(folder):
    shutil.copytree(ROOT / "hjepa_utils/assets/embedded_vjepa2", folder / "my encoder")
    shutil.rmtree(folder / "out")
    assert extract(folder, "--encoder", str(folder / "my encoder")) == 0
    assert manifest(folder / "out" / "a.safetensors")["made_with"]["encoder"] == "my encoder"
    assert str(folder).encode() not in b"".join(contents(folder).values())


def test_what_is_whole_is_kept(folder, capsys):
    before = {path: path.stat().st_mtime_ns for path in (folder / "out").iterdir()}
    assert extract(folder) == 0
    assert "4 kept, by 1 process" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (folder / "out").iterdir()} == before


def test_what_is_missing_damaged_or_stale_is_made_anew(finished, folder, capsys):
    out, whole = folder / "out", contents(finished)
    (out / "a.safetensors").unlink()
    (out / "b.safetensors").write_bytes(whole["b.safetensors"][:-100])
    flipped = bytearray(whole["c.safetensors"])
    flipped[-1] ^= 1
    (out / "c.safetensors").write_bytes(flipped)
    assert extract(folder) == 0
    assert "1 encoded, 2 encoded anew, 1 kept" in capsys.readouterr().out
    assert contents(folder) == whole
    write_video(folder / "videos" / "d.mp4", noise(20))
    assert extract(folder) == 0
    assert "1 encoded anew, 3 kept" in capsys.readouterr().out
    assert len(load_latents(out)["d"]) == 2
    assert extract(folder, "--stride", "8") == 0
    assert "4 encoded anew" in capsys.readouterr().out
    assert len(load_latents(out)["b"]) == 17


def test_other_weights_make_the_latents_stale(folder, capsys, monkeypatch):
    monkeypatch.setattr("hjepa_utils.latents.encoder.Encoder.weights_hash", lambda encoder: "of others")
    assert extract(folder) == 0
    assert "4 encoded anew" in capsys.readouterr().out


def test_a_broken_video_is_told_with_its_reason_and_its_old_latents_go(folder, capsys):
    whole = contents(folder)
    (folder / "videos" / "b.mp4").write_bytes((folder / "videos" / "b.mp4").read_bytes()[:9000])
    (folder / "videos" / "e.mkv").write_text("no video")
    write_video(folder / "videos" / "f.mp4", noise(9))
    (folder / "videos" / "g.mp4").mkdir()
    for _ in range(2):
        assert extract(folder) == 1
        told = capsys.readouterr()
        assert told.out.strip() == "3 kept, 3 failed, by 1 process"
        failures = [line for line in told.err.splitlines() if "video" in line and "%" not in line]
        assert len(failures) == 3  # a folder is no video
        for name, reason in zip("bef", ["truncated", "not a readable", "9 frames"], strict=True):
            assert [reason in line for line in failures if f"{name}.m" in line] == [True]
    del whole["b.safetensors"]
    assert contents(folder) == whole


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--encoder", "vjepa"], "unknown encoder 'vjepa'"),
        (["--stride", "0"], "stride and batch_size must be at least 1, got 16, 0"),
        (["--batch-size", "-1"], "batch_size must be at least 1"),
        (["--clip-frames", "15"], "clip_frames=15 is no multiple of 2"),
    ],
)
def test_impossible_options_are_refused_before_anything_is_lost(folder, capsys, options, reason):
    whole = contents(folder)
    assert extract(folder, *options) == 1
    told = capsys.readouterr().err
    assert f"error: {reason}" in told or reason in told
    assert "Traceback" not in told and contents(folder) == whole


def test_two_videos_of_one_name_are_refused(folder, capsys):
    shutil.copy(folder / "videos" / "a.mp4", folder / "videos" / "a.mkv")
    assert extract(folder) == 1
    assert "error: a.mkv and a.mp4 would" in capsys.readouterr().err


def test_latents_from_elsewhere_are_not_overwritten(folder, capsys):
    foreign = folder / "out" / "a.safetensors"
    save_file({"latents": torch.zeros(3, 192)}, foreign)
    assert extract(folder) == 1
    assert "a.safetensors was not made by this command" in capsys.readouterr().err
    assert load_file(foreign)["latents"].shape == (3, 192)


def test_folders_that_are_not_there_or_cannot_be_written_are_named(folder, capsys):
    assert main([str(folder / "no such"), str(folder / "out")]) == 1
    assert f"error: no folder {folder / 'no such'}" in capsys.readouterr().err
    assert main([str(folder / "out"), str(folder / "out")]) == 1
    assert "error: no videos in" in capsys.readouterr().err
    (folder / "file").touch()
    assert main([str(folder / "videos"), str(folder / "file")]) == 1
    assert f"error: cannot write to {folder / 'file'}" in capsys.readouterr().err


def test_a_video_that_vanishes_is_told_and_leaves_no_file(tmp_path):
    blocks, video = [torch.zeros(2, 4)], tmp_path / "gone.mp4"
    error = write_latents(tmp_path / "gone.safetensors", blocks, 4, {}, video)
    assert isinstance(error, FileNotFoundError) and "gone.mp4" in str(error)
    assert list(tmp_path.iterdir()) == []


def test_after_a_full_disk_a_rerun_finishes(finished, folder, capsys):
    shutil.rmtree(folder / "out")
    with no_file_above(15_000):  # b has 27 kB of latents
        assert extract(folder) == 1
    told = capsys.readouterr().err
    assert f"error: cannot write to {folder / 'out'} (File too large): free some space" in told
    assert not (folder / "out" / "b.safetensors").exists()
    assert extract(folder) == 0
    assert contents(folder) == contents(finished)


def test_several_processes_without_accelerate_are_told_what_to_install(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    assert extract(folder) == 0  # one needs none
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert extract(folder) == 1
    assert "install it: pip install accelerate" in capsys.readouterr().err


def launch(folder):
    """Two processes by Accelerate; without a GPU they are on the CPU, and talk by gloo."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--main_process_port", "0", "-m", "hjepa_utils", "extract", folder / "videos", folder / "out"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([str(word) for word in command], cwd=ROOT, env=environment, **pipe)


def workers(launcher):
    return [child for child in psutil.Process(launcher.pid).children() if "extract" in child.cmdline()]


def open_files(process):
    return [file.path for file in process.open_files()]


def test_two_processes_of_which_one_is_killed_and_then_two_more_make_what_one_makes(finished, folder):
    """Killed with kill -9 in the middle of a video whose latents are half written."""
    shutil.rmtree(folder / "out")
    for name in ("long", "longer"):  # 146 clips each, a second or two
        write_video(folder / "videos" / f"{name}.mp4", noise(600))
    first, unfinished = launch(folder), folder / "out" / ".unfinished-longer.safetensors"
    while not unfinished.exists() and first.poll() is None:
        time.sleep(0.05)
    (victim,) = (worker for worker in workers(first) if str(unfinished) in open_files(worker))
    victim.kill()
    told, _ = first.communicate(timeout=60)
    assert first.returncode != 0, told
    assert not (folder / "out" / "longer.safetensors").exists() and unfinished.exists()

    (folder / "videos" / "broken.mp4").write_text("no video")
    second = launch(folder)
    told, _ = second.communicate(timeout=300)
    assert second.returncode == 1 and told.count("broken.mp4 is not a readable video") == 1, told
    assert "6 encoded, 1 failed, by 2 processes" in told
    alone = folder / "alone"
    assert main([str(folder / "videos"), str(alone / "out")]) == 1
    assert contents(folder) == contents(alone)
    assert contents(folder).items() >= contents(finished).items()
