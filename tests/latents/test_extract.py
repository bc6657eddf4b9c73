"""A folder of videos becomes a folder of latents: by one process, by several, after a kill."""

import json
import os
import shutil
import socket
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

import hjepa_utils.latents.extract as extract_module
from hjepa_utils import Encoder, encode_video, load_encoder, load_latents, write_video
from hjepa_utils.latents.encoder import EMBEDDED
from hjepa_utils.latents.extract import main

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
        (["--stride", "0"], "stride must be at least 1 and below 2**31, got 0"),
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
    assert "a.safetensors holds no latents of this module" in capsys.readouterr().err
    assert load_file(foreign)["latents"].shape == (3, 192)


def test_the_videos_own_folder_is_refused_before_the_encoder_is_loaded(folder, capsys, monkeypatch):
    monkeypatch.setattr("hjepa_utils.latents.extract.load_encoder", None)
    before = sorted(folder.rglob("*"))
    assert main([str(folder / "videos"), str(folder / "videos" / ".." / "videos")]) == 1
    words = f"error: {folder / 'videos'} holds the videos: name another folder for the latents\n"
    assert capsys.readouterr().err == words
    assert sorted(folder.rglob("*")) == before


def test_folders_that_are_not_there_or_cannot_be_written_are_named(folder, capsys):
    assert main([str(folder / "no such"), str(folder / "out")]) == 1
    assert f"error: no folder {folder / 'no such'}" in capsys.readouterr().err
    assert main([str(folder / "out"), str(folder / "out")]) == 1
    assert "error: no videos in" in capsys.readouterr().err
    (folder / "file").touch()
    assert main([str(folder / "videos"), str(folder / "file")]) == 1
    assert f"error: cannot write to {folder / 'file'}" in capsys.readouterr().err


def test_on_a_full_disk_the_others_are_told_nothing_stays_behind_and_a_rerun_finishes(
    finished, folder, capsys
):
    shutil.rmtree(folder / "out")
    with no_file_above(15_000):  # b has 27 kB of latents
        assert extract(folder) == 1
    told = capsys.readouterr()
    assert told.out.strip() == "3 encoded, 1 failed, by 1 process"
    assert f"b.mp4: cannot write to {folder / 'out'} (" in told.err and "File too large" in told.err
    assert "free some space, or name a folder that can be written" in told.err
    assert contents(folder).keys() == {"a.safetensors", "c.safetensors", "d.safetensors"}
    assert extract(folder) == 0
    assert contents(folder) == contents(finished)


def test_several_processes_without_accelerate_are_told_what_to_install(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    assert extract(folder) == 0  # one needs none
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert extract(folder) == 1
    assert "install it: pip install accelerate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"WORLD_SIZE": "abc"}, "WORLD_SIZE is 'abc', no number of processes: unset it, or use accelerate"),
        ({"PMI_SIZE": "-1"}, "PMI_SIZE is '-1', no number of processes"),
        (
            {"WORLD_SIZE": "2"},
            "WORLD_SIZE is '2' but no launcher set MASTER_ADDR: unset it",
        ),
        ({"PMI_SIZE": "2"}, "PMI_SIZE is '2' but no launcher set MASTER_ADDR"),
        (
            {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "x", "RANK": "0"},
            "the 2 processes of WORLD_SIZE do not find each other",
        ),
    ],
)
def test_variables_that_no_launcher_set_are_told(folder, capsys, monkeypatch, variables, words):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert extract(folder) == 1
    told = capsys.readouterr().err
    assert words in told and "Traceback" not in told and told.count("\n") == 1


def test_an_empty_variable_is_none(folder, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "")
    assert extract(folder) == 0
    assert "4 kept, by 1 process" in capsys.readouterr().out


def test_a_process_says_that_it_waits_for_the_others(monkeypatch, capsys):
    monkeypatch.setattr(extract_module, "SOON", 0.01)
    with extract_module._saying_that_it_waits("WORLD_SIZE", 3):
        time.sleep(1)
    assert "waiting for 2 other processes of WORLD_SIZE=3" in capsys.readouterr().err


def test_weights_that_do_not_fit_their_configuration_are_told(folder, capsys):
    shutil.copytree(EMBEDDED, folder / "enc")
    config = (folder / "enc" / "config.json").read_text()
    for text, words in {
        config.replace('"hidden_size": 192', '"hidden_size": 96'): "enc: its weights do not fit",
        "[1, 2]": "enc/config.json is damaged: download or save the model again",
    }.items():
        (folder / "enc" / "config.json").write_text(text)
        assert extract(folder, "--encoder", str(folder / "enc")) == 1
        told = capsys.readouterr()
        assert words in told.err and "Traceback" not in told.err
        assert told.out.strip() == "1 failed, by 1 process"


def test_without_ffmpeg_one_sentence_says_what_to_install(folder, capsys, monkeypatch):
    whole = contents(folder)
    monkeypatch.setattr("torchcodec.ffmpeg_major_version", None, raising=False)
    assert extract(folder, "--stride", "8") == 1
    told = capsys.readouterr().err
    assert told.count("install the package ffmpeg") == 1 and "Traceback" not in told
    assert contents(folder) == whole


def test_an_error_in_one_batch_spares_the_other_videos(finished, folder, capsys, monkeypatch):
    """A GPU out of memory, for instance: those encoded are kept, and a rerun does the others."""
    shutil.rmtree(folder / "out")
    embed, calls = Encoder.embed, []

    def fail_once(self, clips):
        calls.append(len(clips))
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate much")
        return embed(self, clips)

    monkeypatch.setattr(Encoder, "embed", fail_once)
    assert extract(folder, "--batch-size", "17") == 1  # b: 34 clips; d: 17; a: 7; c: 1
    told = capsys.readouterr()
    assert told.out.strip() == "3 encoded, 1 failed, by 1 process"
    assert "b.mp4: out of memory with 17 clips at once: use a smaller batch size" in told.err
    assert extract(folder, "--batch-size", "17") == 0
    assert {name: clips.shape for name, clips in load_latents(folder / "out").items()} == {
        name: clips.shape for name, clips in load_latents(finished / "out").items()
    }


def test_ctrl_c_ends_in_one_line_and_the_same_command_goes_on(finished, folder, capsys, monkeypatch):
    shutil.rmtree(folder / "out")
    embed, calls = Encoder.embed, []

    def interrupted(self, clips):
        calls.append(len(clips))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return embed(self, clips)

    with monkeypatch.context() as patch:
        patch.setattr(Encoder, "embed", interrupted)
        assert extract(folder) == 130
    told = capsys.readouterr().err
    assert "the same command goes on" in told and "Traceback" not in told
    whole = contents(finished)
    assert 0 < len(contents(folder)) < 4 and contents(folder).items() <= whole.items()
    assert extract(folder) == 0
    assert contents(folder) == whole


def test_frame_rates_that_differ_are_told_once_and_seconds_put_them_right(tmp_path, capsys):
    (tmp_path / "videos").mkdir()
    for rate in (15, 30, 60):
        write_video(tmp_path / "videos" / f"v{rate}.mp4", noise(4 * rate), fps=rate)
    assert extract(tmp_path) == 0
    told = capsys.readouterr().err
    warned = [line for line in told.splitlines() if line.startswith("warning: ")]
    assert warned == [
        "warning: v15.mp4 has 15 frames/s, v60.mp4 60: embeddings are 0.27 and 0.07 s apart: "
        "use stride_seconds (--stride-seconds)"
    ]
    assert extract(tmp_path, "--stride-seconds", str(4 / 15)) == 0
    told = capsys.readouterr()
    assert "warning" not in told.err and "3 encoded anew" in told.out
    latents, encoder = load_latents(tmp_path / "out"), load_encoder()
    for rate, stride in {15: 4, 30: 8, 60: 16}.items():
        path = tmp_path / "videos" / f"v{rate}.mp4"
        expected = encode_video(encoder, path, stride=stride)
        torch.testing.assert_close(latents[f"v{rate}"], expected, rtol=1e-5, atol=1e-5)
        assert manifest(tmp_path / "out" / f"v{rate}.safetensors")["fps"] == pytest.approx(rate, rel=1e-6)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def launch(folder):
    """Two processes by Accelerate; without a GPU they are on the CPU, and talk by gloo."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    # Not port 0, which Accelerate 1.1 would not choose for itself: its processes never met.
    command += [
        "--main_process_port",
        free_port(),
        "-m",
        "hjepa_utils",
        "extract",
        folder / "videos",
        folder / "out",
    ]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([str(word) for word in command], cwd=ROOT, env=environment, **pipe)


def workers(launcher):
    return [child for child in psutil.Process(launcher.pid).children() if "extract" in child.cmdline()]


def test_two_processes_of_which_one_is_killed_and_then_two_more_make_what_one_makes(finished, folder):
    """Killed with kill -9 while it encodes; whatever is there then is whole."""
    shutil.rmtree(folder / "out")
    for name in ("long", "longer"):  # 146 clips each, the first of both
        write_video(folder / "videos" / f"{name}.mp4", noise(600))
    first = launch(folder)
    latest = time.monotonic() + 120
    while not (folder / "out").is_dir() and first.poll() is None and time.monotonic() < latest:
        time.sleep(0.05)
    workers(first)[0].kill()
    told, _ = first.communicate(timeout=120)
    assert first.returncode != 0, told
    if (folder / "out").is_dir() and list((folder / "out").glob("[!.]*")):
        load_latents(folder / "out")

    (folder / "videos" / "broken.mp4").write_text("no video")
    second = launch(folder)
    told, _ = second.communicate(timeout=300)
    assert second.returncode == 1 and told.count("broken.mp4 is not a readable video") == 1, told
    assert "1 failed, by 2 processes" in told
    alone = folder / "alone"
    assert main([str(folder / "videos"), str(alone / "out")]) == 1
    whole = {name: content for name, content in contents(folder).items() if name[0] != "."}
    assert whole == contents(alone)
    assert whole.items() >= contents(finished).items()
