"""A folder of latents: nothing foreign is destroyed, nothing half-written, nothing silently wrong."""

import os
import warnings
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import hjepa_utils.latents.clips as clips_module
import hjepa_utils.latents.files as files_module
import hjepa_utils.latents.folder as folder_module
from hjepa_utils import Encoder, encode_folder, encode_videos, load_encoder, load_latents, write_video
from hjepa_utils.latents.files import read_manifest, save_latents


@pytest.fixture(scope="module")
def encoder():
    return load_encoder()


@pytest.fixture
def videos(tmp_path):
    """Two videos of 20 and 40 frames: 2 and 7 clips."""
    (tmp_path / "videos").mkdir()
    paths = [tmp_path / "videos" / "a.mp4", tmp_path / "videos" / "b.mp4"]
    for seed, (path, n_frames) in enumerate(zip(paths, (20, 40), strict=True)):
        write(path, n_frames, seed)
    return paths


def write(path, n_frames, seed):
    rng = np.random.default_rng(seed)
    write_video(path, rng.integers(0, 256, (n_frames, 64, 64, 3), dtype=np.uint8))


def test_files_hold_what_encode_videos_gives_and_say_what_they_are_of(encoder, videos, tmp_path):
    done, failed = encode_folder(encoder, videos, tmp_path / "out")
    assert done == {"a.mp4": "encoded", "b.mp4": "encoded"} and failed == {}
    latents = load_latents(tmp_path / "out")
    for path, expected in encode_videos(encoder, videos):
        torch.testing.assert_close(latents[path.stem], expected, rtol=1e-5, atol=1e-5)
    manifest = read_manifest(tmp_path / "out" / "b.safetensors")
    assert manifest["video"] == "b.mp4" and manifest["video_bytes"] == videos[1].stat().st_size
    assert manifest["fps"] == pytest.approx(30, rel=1e-6)
    assert manifest["recipe"] | {"stride": 4, "framing": "whole"} == manifest["recipe"]
    assert manifest["made_with"]["versions"]["torch"] == torch.__version__.split("+")[0] or torch.__version__


def test_what_is_right_is_kept_and_only_the_rest_is_encoded(encoder, videos, tmp_path, monkeypatch):
    encode_folder(encoder, videos, tmp_path / "out")
    write(videos[0], 20, seed=9)
    done, _ = encode_folder(encoder, videos, tmp_path / "out")
    assert done == {"a.mp4": "encoded anew", "b.mp4": "kept"}
    monkeypatch.setattr(Encoder, "embed", None)  # not asked again
    assert set(encode_folder(encoder, videos, tmp_path / "out")[0].values()) == {"kept"}


def test_shares_are_disjoint_and_complete(encoder, videos, tmp_path):
    first, _ = encode_folder(encoder, videos, tmp_path / "out", share=(0, 2))
    second, _ = encode_folder(encoder, videos, tmp_path / "out", share=(1, 2))
    assert {**first, **second} == {"a.mp4": "encoded", "b.mp4": "encoded"} and len(first) == len(second) == 1


@pytest.mark.parametrize("share", [(2, 2), (-1, 2), (0, 0)])
def test_a_share_that_is_none_is_refused(encoder, videos, tmp_path, share):
    with pytest.raises(ValueError, match=r"share=\(k, n\) is the k-th of n, from 0 to n - 1: got"):
        encode_folder(encoder, videos, tmp_path / "out", share=share)
    with pytest.raises(TypeError, match=r"share must be a whole number, got 0\.5"):
        encode_folder(encoder, videos, tmp_path / "out", share=(0.5, 1))
    assert not (tmp_path / "out").exists()


def test_numpys_numbers_are_saved_as_plain_ones(encoder, videos, tmp_path):
    options = {"clip_frames": np.int64(16), "stride_seconds": np.float64(0.2), "batch_size": np.int32(4)}
    done, failed = encode_folder(encoder, videos, tmp_path / "out", **options)
    assert set(done.values()) == {"encoded"} and failed == {}
    plain = {name: number.item() for name, number in options.items()}
    assert set(encode_folder(encoder, videos, tmp_path / "out", **plain)[0].values()) == {"kept"}
    save_latents(tmp_path / "v.safetensors", torch.zeros(1, 4), {"fps": np.float64(30)})
    assert read_manifest(tmp_path / "v.safetensors")["fps"] == 30


def test_what_cannot_be_saved_is_refused_before_anything_is_encoded(encoder, videos, tmp_path, monkeypatch):
    monkeypatch.setattr(Encoder, "embed", None)  # not asked
    with pytest.raises(TypeError, match=r"Fraction\(1, 5\) .*cannot be saved as JSON"):
        encode_folder(encoder, videos, tmp_path / "out", stride_seconds=Fraction(1, 5))
    assert not (tmp_path / "out").exists()


def test_a_pipe_named_like_a_video_or_latents_is_told_and_the_others_go_on(encoder, videos, tmp_path):
    os.mkfifo(tmp_path / "videos" / "pipe.mp4")
    given = [*videos, tmp_path / "videos" / "pipe.mp4"]
    for fate in ("encoded", "kept"):
        done, failed = encode_folder(encoder, given, tmp_path / "out")
        assert done == {"a.mp4": fate, "b.mp4": fate} and "no video at" in failed["pipe.mp4"]
    os.mkfifo(tmp_path / "out" / "pipe.safetensors")
    with pytest.raises(ValueError, match=r"pipe\.safetensors is no file with latents: move it"):
        load_latents(tmp_path / "out")


@pytest.mark.parametrize("options", [{}, {"stride_seconds": 0.2}])
def test_a_film_is_gone_through_once_for_its_rate_and_not_at_all_if_kept(
    encoder, videos, tmp_path, monkeypatch, options
):
    asked, frame_rate = [], folder_module.frame_rate
    monkeypatch.setattr(folder_module, "frame_rate", lambda video: asked.append(video) or frame_rate(video))
    monkeypatch.setattr(clips_module, "frame_rate", None)  # not asked
    encode_folder(encoder, videos, tmp_path / "out", **options)
    assert sorted(asked) == videos
    encode_folder(encoder, videos, tmp_path / "out", **options)
    assert len(asked) == 2
    write_video(videos[0], np.zeros((20, 64, 64, 3), np.uint8), fps=15)
    with (
        pytest.warns(UserWarning, match=r"a\.mp4 has 15 frames/s, b\.mp4 30")
        if not options
        else nullcontext()
    ):
        encode_folder(encoder, videos, tmp_path / "out", **options)
    assert asked[2:] == videos[:1]
    assert read_manifest(tmp_path / "out" / "a.safetensors")["fps"] == 15


def test_seconds_that_suit_no_rate_are_told_with_what_helps(encoder, videos, tmp_path):
    write_video(videos[0], np.zeros((20, 64, 64, 3), np.uint8), fps=25)
    with pytest.warns(UserWarning, match="s apart: take a multiple of their frames' intervals$"):
        encode_folder(encoder, videos, tmp_path / "out", stride_seconds=0.1)


@pytest.mark.parametrize("content", [b"my own data", b"\0" * 200, b"x", "folder", "pipe", "link", "nowhere"])
def test_what_is_not_ours_is_refused_and_stays(encoder, videos, tmp_path, content):
    path, own = tmp_path / "out" / "a.safetensors", tmp_path / "own.txt"
    path.parent.mkdir()
    own.write_bytes(b"precious")
    if content == "folder":
        path.mkdir()
    elif content == "pipe":
        os.mkfifo(path)
    elif isinstance(content, str):
        path.symlink_to(own if content == "link" else tmp_path / "nowhere")
    else:
        path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"a\.safetensors holds no latents of this module: name another folder"
    ):
        encode_folder(encoder, videos, tmp_path / "out")
    assert own.read_bytes() == b"precious" and os.listdir(tmp_path / "out") == ["a.safetensors"]
    if isinstance(content, bytes):
        assert path.read_bytes() == content


@pytest.mark.parametrize("manifest", ["[1, 2]", "no json", "[" * 100_000, '{"recipe": 1}', None])
def test_another_tools_safetensors_are_refused_and_stay(encoder, videos, tmp_path, manifest):
    path = tmp_path / "out" / "a.safetensors"
    path.parent.mkdir()
    save_file({"latents": torch.zeros(3, 192)}, path, metadata=manifest and {"manifest": manifest})
    before = path.read_bytes()
    with pytest.raises(ValueError, match="holds no latents of this module"):
        encode_folder(encoder, videos, tmp_path / "out")
    assert path.read_bytes() == before


def test_links_under_names_of_ours_are_not_written_through(encoder, videos, tmp_path):
    out, precious = tmp_path / "out", tmp_path / "precious.safetensors"
    encode_folder(encoder, videos[:1], tmp_path / "other", stride=8)
    (tmp_path / "other" / "a.safetensors").rename(precious)
    before = precious.read_bytes()
    out.mkdir()
    (out / ".unfinished-a.safetensors").symlink_to(precious)
    (out / "a.safetensors").symlink_to(precious)
    done, _ = encode_folder(encoder, videos[:1], out)
    assert done == {"a.mp4": "encoded anew"}
    assert precious.read_bytes() == before and not (out / "a.safetensors").is_symlink()


def test_of_two_runs_at_once_the_later_wins_whole(tmp_path, monkeypatch):
    """The second writes its file from beginning to end while the first is in the middle of its own."""
    path, write_file, seen = tmp_path / "v.safetensors", files_module.save_file, []

    def slow(tensors, file, metadata):
        Path(file).write_bytes(b"half")
        monkeypatch.setattr(files_module, "save_file", write_file)
        save_latents(path, torch.ones(1, 4), {})
        seen.append(load_latents(tmp_path)["v"])
        write_file(tensors, file, metadata=metadata)

    monkeypatch.setattr(files_module, "save_file", slow)
    save_latents(path, torch.zeros(2, 4), {})
    assert torch.equal(seen[0], torch.ones(1, 4))
    assert torch.equal(load_latents(tmp_path)["v"], torch.zeros(2, 4))
    assert os.listdir(tmp_path) == ["v.safetensors"]


def test_a_video_that_changes_or_vanishes_while_it_is_read_is_told_and_leaves_no_file(
    encoder, videos, tmp_path, monkeypatch
):
    embed = Encoder.embed

    def swap(self, clips):
        write(tmp_path / "new.mp4", 20, seed=5)
        os.replace(tmp_path / "new.mp4", videos[0])
        videos[1].unlink(missing_ok=True)
        return embed(self, clips)

    monkeypatch.setattr(Encoder, "embed", swap)
    done, failed = encode_folder(encoder, videos, tmp_path / "out")
    assert done == {} and failed["a.mp4"] == "a.mp4 changed while it was read: run again"
    assert "b.mp4" in failed["b.mp4"] and os.listdir(tmp_path / "out") == []
    monkeypatch.setattr(Encoder, "embed", embed)
    done, failed = encode_folder(encoder, videos, tmp_path / "out")
    assert done == {"a.mp4": "encoded"} and list(failed) == ["b.mp4"]


def test_what_appears_in_the_way_while_videos_are_read_stays_too(encoder, videos, tmp_path, monkeypatch):
    """A text file in place of a, and b's latents, finished by another run while this one fails."""
    encode_folder(encoder, videos, tmp_path / "other")
    encode_folder(encoder, videos[1:], tmp_path / "out", stride=8)
    finished, whole = (
        tmp_path / "other" / "b.safetensors",
        (tmp_path / "other" / "b.safetensors").read_bytes(),
    )

    def fail(self, clips):
        (tmp_path / "out" / "a.safetensors").write_text("precious")
        if finished.exists():
            finished.replace(tmp_path / "out" / "b.safetensors")
        raise RuntimeError("no memory")

    monkeypatch.setattr(Encoder, "embed", fail)
    done, failed = encode_folder(encoder, videos, tmp_path / "out")
    assert done == {} and failed == {"a.mp4": "no memory", "b.mp4": "no memory"}
    assert (tmp_path / "out" / "a.safetensors").read_text() == "precious"
    assert (tmp_path / "out" / "b.safetensors").read_bytes() == whole
    with pytest.raises(ValueError, match="holds no latents of this module"):
        save_latents(tmp_path / "out" / "a.safetensors", torch.zeros(1, 192), {})
    assert (tmp_path / "out" / "a.safetensors").read_text() == "precious"


def test_stale_latents_of_a_video_that_cannot_be_encoded_go(encoder, videos, tmp_path):
    encode_folder(encoder, videos, tmp_path / "out")
    videos[0].write_text("no video any more")
    done, failed = encode_folder(encoder, videos, tmp_path / "out")
    assert done == {"b.mp4": "kept"} and "a.mp4" in failed["a.mp4"]
    assert os.listdir(tmp_path / "out") == ["b.safetensors"]


def test_latents_without_their_video_are_named_and_twins_are_noticed(encoder, videos, tmp_path):
    encode_folder(encoder, videos, tmp_path / "out")
    renamed = videos[0].rename(videos[0].with_name("c.mp4"))
    with pytest.warns(UserWarning, match=r"^a\.safetensors in .*out: no such video is among those given"):
        encode_folder(encoder, [renamed, videos[1]], tmp_path / "out")
    with pytest.warns(UserWarning, match="a and c in .*out are of the same video: remove one"):
        load_latents(tmp_path / "out")
    (tmp_path / "out" / "a.safetensors").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encode_folder(encoder, [renamed, videos[1]], tmp_path / "out")
        load_latents(tmp_path / "out")


def test_latents_of_two_settings_in_one_folder_are_refused(encoder, videos, tmp_path):
    """As an extraction that was stopped leaves them, with another stride than the one before."""
    encode_folder(encoder, videos, tmp_path / "out")
    encode_folder(encoder, videos[1:], tmp_path / "other", stride=8)
    (tmp_path / "other" / "b.safetensors").replace(tmp_path / "out" / "b.safetensors")
    with pytest.raises(ValueError, match=r"b\.safetensors was made with other settings than a\.safetensors"):
        load_latents(tmp_path / "out")


def test_an_error_of_any_library_ends_one_video_only(encoder, videos, tmp_path, monkeypatch):
    stream = clips_module.stream_video

    def broken(path):
        if path.name == "b.mp4":
            raise RuntimeError("a decoder's own words\nand a second line")
        return stream(path)

    monkeypatch.setattr(clips_module, "stream_video", broken)
    done, failed = encode_folder(encoder, videos, tmp_path / "out")
    assert done == {"a.mp4": "encoded"} and failed == {"b.mp4": "a decoder's own words"}


def test_a_tilde_is_the_home_folder(encoder, videos, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path / "videos")
    encode_folder(encoder, ["~/videos/a.mp4"], "~/out")
    assert load_latents("~/out")["a"].shape == (2, 192)
    assert not Path("~").exists()


def test_one_path_or_two_of_one_name_are_refused(encoder, videos, tmp_path):
    with pytest.raises(TypeError, match=r"videos must be a list of paths, got .*find_videos lists a folder"):
        encode_folder(encoder, str(videos[0].parent), tmp_path / "out")
    with pytest.raises(ValueError, match=r"would become the same a\.safetensors: rename all but one"):
        encode_folder(encoder, [videos[0], tmp_path / "a.mkv"], tmp_path / "out")


def test_latents_do_not_go_among_the_videos(encoder, videos, monkeypatch):
    monkeypatch.chdir(videos[0].parent)
    before = sorted(videos[0].parent.iterdir())
    for given, folder in ((videos, videos[0].parent), (videos, "."), ([videos[0].name], Path.cwd())):
        with pytest.raises(ValueError, match="holds the videos: name another folder for the latents"):
            encode_folder(encoder, given, folder)
    assert sorted(videos[0].parent.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stride_seconds": 0.0}, "stride_seconds must be above 0 and finite, got 0.0"),
        ({"stride_seconds": float("nan")}, "stride_seconds must be above 0 and finite, got nan"),
        ({"clip_frames": 32}, "clip_frames=32: embedded was made for at most 16"),
        ({"framing": "crop"}, "framing must be one of"),
    ],
)
def test_impossible_options_are_refused_before_anything_is_written(encoder, videos, tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        encode_folder(encoder, videos, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
