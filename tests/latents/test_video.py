"""Clips on disk: lossless and whole, or refused in one sentence."""

import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torchcodec
import torchcodec._core
from helpers import ROOT, no_file_above
from torchcodec.decoders import VideoDecoder
from video_files import H264, cut, ffmpeg, is_one_sentence, moving, needs_ffmpeg, run_ffmpeg, shown

from hjepa_utils import (
    find_videos,
    preview_video,
    read_video,
    render_frames,
    simulate_collisions,
    stream_video,
    write_video,
)
from hjepa_utils.latents.containers import _h264_fields
from hjepa_utils.latents.endings import missing_at_end
from hjepa_utils.latents.video import frame_times, video_facts


@pytest.fixture(scope="module")
def frames():
    return render_frames(simulate_collisions(40, rng=np.random.default_rng(0)))


@pytest.fixture(scope="module")
def video(frames, tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "clip.mp4"
    write_video(path, frames)
    return path


def test_what_is_written_is_read_back_bit_for_bit(frames, video):
    read = read_video(video)
    assert read.dtype == torch.uint8 and read.shape == (40, 3, 256, 256)
    np.testing.assert_array_equal(read.permute(0, 2, 3, 1).numpy(), frames)


def test_noise_of_odd_size_and_torch_frames_survive_too(tmp_path):
    noise = torch.randint(0, 256, (5, 37, 51, 3), generator=torch.manual_seed(0), dtype=torch.uint8)
    write_video(tmp_path / "noise.mp4", noise)
    assert torch.equal(read_video(tmp_path / "noise.mp4").permute(0, 2, 3, 1), noise)


@pytest.mark.parametrize("n_frames", [1, 7, 16, 40, 100])
def test_a_stream_is_the_same_frames_piece_by_piece(video, n_frames):
    pieces = list(stream_video(video, n_frames))
    assert [len(piece) for piece in pieces[:-1]] == [n_frames] * (len(pieces) - 1)
    assert torch.equal(torch.cat(pieces), read_video(video))


@pytest.mark.parametrize("fps", [12, 30, 59.94])
def test_the_frame_rate_is_kept(tmp_path, frames, fps):
    write_video(tmp_path / "clip.mp4", frames[:20], fps=fps)
    assert VideoDecoder(str(tmp_path / "clip.mp4")).metadata.average_fps == pytest.approx(fps, rel=1e-3)


def test_writing_over_a_video_replaces_it(tmp_path, frames):
    write_video(tmp_path / "clip.mp4", frames[:20])
    write_video(tmp_path / "clip.mp4", frames[20:25])
    assert len(read_video(tmp_path / "clip.mp4")) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_preview_is_playable_and_close(tmp_path, frames):
    preview_video(tmp_path / "preview.mp4", frames)
    read = read_video(tmp_path / "preview.mp4").permute(0, 2, 3, 1).numpy()
    assert np.abs(read.astype(int) - frames).mean() < 3
    assert VideoDecoder(str(tmp_path / "preview.mp4")).metadata.codec == "h264"


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "source", "options", "shape"),
    [
        ("grey.mp4", "testsrc2=s=64x48:r=25:d=1", ["-pix_fmt", "gray"], (25, 3, 48, 64)),
        ("tall.mkv", "mandelbrot=s=50x98:r=12", ["-frames:v", "20"], (20, 3, 98, 50)),
        ("ten_bit.mp4", "testsrc2=s=64x64:r=60:d=0.5", ["-pix_fmt", "yuv420p10le"], (30, 3, 64, 64)),
        ("life.gif", "life=s=64x64:r=10:mold=9:seed=1", ["-frames:v", "20"], (20, 3, 64, 64)),
    ],
)
def test_videos_from_elsewhere_are_read(tmp_path, name, source, options, shape):
    frames = read_video(ffmpeg(tmp_path / name, source, *options))
    assert torch.equal(torch.cat(list(stream_video(tmp_path / name, 7))), frames)
    assert tuple(frames.shape) == shape and frames.dtype == torch.uint8
    assert frames.float().std() > 10  # not a black picture
    if name == "grey.mp4":
        assert torch.equal(frames[:, 0], frames[:, 1]) and torch.equal(frames[:, 1], frames[:, 2])


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("alpha.mov", ["-c:v", "qtrle", "-pix_fmt", "argb"]),
        ("png.mov", ["-c:v", "png", "-pix_fmt", "rgba"]),
        ("prores.mov", ["-c:v", "prores_ks", "-pix_fmt", "yuva444p10le"]),
        ("alpha.webm", ["-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p"]),
    ],
)
def test_alpha_is_dropped_and_the_colour_stays(tmp_path, name, options):
    source = "color=c=0xc04020@0.5:s=64x64:r=25:d=0.8,format=rgba"
    frames = read_video(ffmpeg(tmp_path / name, source, *options)).float()
    assert frames.shape == (20, 3, 64, 64)
    colour = torch.tensor([0xC0, 0x40, 0x20]).view(3, 1, 1)
    assert (frames - colour).abs().max() <= 4  # two roundings of YUV; exact for RGB codecs


def test_a_missing_video_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no video at .*nothing\.mp4"):
        read_video(tmp_path / "nothing.mp4")
    with pytest.raises(FileNotFoundError, match="no video at"):
        read_video(tmp_path)


@pytest.mark.parametrize("content", [b"", b"this is a text\n" * 100, bytes(5000)])
def test_a_file_that_is_no_video_is_refused(tmp_path, content):
    path = tmp_path / "text.mp4"
    path.write_bytes(content)
    reason = "(empty|not a readable video|truncated: it is filled with zeros at its end)"
    with pytest.raises(ValueError, match=rf"text\.mp4 is {reason}") as refused:
        read_video(path)
    assert is_one_sentence(refused.value)


@needs_ffmpeg
def test_a_stream_of_pictures_that_depend_on_later_ones_is_in_order(tmp_path):
    """Groups of 12 with up to three pictures between those they are predicted from."""
    options = ["-c:v", "libx264", "-bf", "3", "-g", "12", "-pix_fmt", "yuv420p"]
    path = ffmpeg(tmp_path / "groups.mp4", "testsrc2=s=64x64:r=30:d=4", *options)
    assert torch.equal(torch.cat(list(stream_video(path, 5))), read_video(path))


def test_a_stream_refuses_what_reading_refuses(tmp_path, video):
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:5000])
    (tmp_path / "empty.mp4").touch()
    for name in ("cut.mp4", "empty.mp4", "nothing.mp4"):
        with pytest.raises((ValueError, FileNotFoundError)) as refused:
            read_video(tmp_path / name)
        with pytest.raises(refused.type) as streamed:
            next(stream_video(tmp_path / name))
        assert str(streamed.value) == str(refused.value)
    with pytest.raises(ValueError, match="n_frames must be at least 1, got 0"):
        next(stream_video(video, 0))


@pytest.mark.parametrize("kept", [0.3, 0.7, 0.99])
def test_a_truncated_video_is_refused(tmp_path, video, kept):
    path, content = tmp_path / "cut.mp4", video.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match=r"cut\.mp4 .*truncated") as refused:
        read_video(path)
    assert is_one_sentence(refused.value)


@needs_ffmpeg
@pytest.mark.parametrize("kept", [0.3, 0.7])
@pytest.mark.parametrize("name", ["index_first.mp4", "clip.avi"])
def test_a_truncated_video_from_elsewhere_is_refused(tmp_path, name, kept):
    options = ["-movflags", "+faststart"] if name.endswith("mp4") else []
    path = ffmpeg(tmp_path / name, "testsrc2=s=64x64:r=25:d=4", *options)
    content = path.read_bytes()
    assert len(read_video(path)) == 100
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match=f"{name} .*truncated") as refused:
        read_video(path)
    assert is_one_sentence(refused.value)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["clip.mkv", "clip.webm"])
def test_a_video_that_ends_before_its_container_does_is_warned_about(tmp_path, name):
    """Matroska promises a duration, not a number of frames, and sound may be longer than the picture."""
    path = ffmpeg(tmp_path / name, "testsrc2=s=64x64:r=25:d=4")
    path.write_bytes(path.read_bytes()[: int(0.7 * path.stat().st_size)])
    with pytest.warns(UserWarning, match=f"{name} .*truncated"):
        assert 20 < len(read_video(path)) < 100


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((4, 32, 32, 3), np.float32),
        np.zeros((4, 3, 32, 32), np.uint8),
        np.zeros((32, 32, 3), np.uint8),
        np.zeros((0, 32, 32, 3), np.uint8),
    ],
)
def test_frames_of_another_kind_are_refused(tmp_path, bad):
    with pytest.raises(ValueError, match=r"frames must be uint8 \(n_frames, H, W, 3\), got"):
        write_video(tmp_path / "clip.mp4", bad)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", ["a file", "no folder", "/proc"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path, frames, folder):
    (tmp_path / "a file").touch()
    path = tmp_path / folder / "clip.mp4"
    reason = "there is no folder" if folder != "/proc" else "(No such file|Permission)"
    with pytest.raises(OSError, match=f"cannot write {path}: .*{reason}") as refused:
        write_video(path, frames[:4])
    assert is_one_sentence(refused.value)


def test_a_full_disk_is_an_error_and_leaves_the_old_file(tmp_path):
    noise = torch.randint(0, 256, (20, 64, 64, 3), generator=torch.manual_seed(0), dtype=torch.uint8)
    path = tmp_path / "clip.mp4"
    write_video(path, noise[:2])
    with no_file_above(50_000), pytest.raises(OSError, match="cannot write") as refused:
        write_video(path, noise)  # 250 kB
    assert str(path) in str(refused.value) and is_one_sentence(refused.value)
    assert len(read_video(path)) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_killed_writer_leaves_only_what_the_next_run_sweeps_up(tmp_path):
    """The system kills the process in the middle of the file, as `kill -9` would."""
    code = f"""if True:
        import numpy as np, resource, signal
        from hjepa_utils import write_video
        noise = np.random.default_rng(0).integers(0, 256, (60, 64, 64, 3), dtype=np.uint8)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        write_video({str(tmp_path / "clip.mp4")!r}, noise)"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == -signal.SIGXFSZ
    assert [path.name[:12] for path in tmp_path.iterdir()] == [".unfinished-"]  # see Run.begin


def test_importing_the_module_imports_neither_transformers_nor_torchcodec():
    code = "import sys, hjepa_utils; print(sorted({'transformers', 'torchcodec', 'timm'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("release", ["older", "newer"])
def test_without_ffmpegs_libraries_the_package_to_install_is_named(
    tmp_path, frames, video, monkeypatch, release
):
    """Older torchcodecs cannot be imported then, newer ones say that they found none."""
    if release == "newer":
        monkeypatch.setattr(torchcodec, "ffmpeg_major_version", None, raising=False)
    for part in ("decoders", "encoders") if release == "older" else ():
        monkeypatch.setitem(sys.modules, f"torchcodec.{part}", None)
    for use in (lambda: read_video(video), lambda: write_video(tmp_path / "clip.mp4", frames)):
        with pytest.raises(RuntimeError, match="finds no FFmpeg libraries: install the package ffmpeg"):
            use()


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("browser.webm", ["-c:v", "libvpx", "-f", "webm"]),
        ("piped.mkv", [*H264, "-f", "matroska"]),
        ("raw.mjpeg", ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-f", "mjpeg"]),
        ("moving.apng", ["-c:v", "apng", "-f", "apng"]),
    ],
)
def test_a_recording_without_a_duration_is_read_whole(tmp_path, name, options):
    """Browsers and pipes cannot go back to write how long it became."""
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", moving(), *options, "-"]
    done = subprocess.run(command, capture_output=True)
    if done.returncode:
        pytest.skip(f"this ffmpeg cannot make {name}")
    (tmp_path / name).write_bytes(done.stdout)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frames = read_video(tmp_path / name)
    assert len(frames) == 120
    assert (frames.int() - shown(tmp_path / name, 64, 64).int()).abs().max() <= 2


@needs_ffmpeg
@pytest.mark.parametrize(("name", "start"), [("trim.mp4", "1.5"), ("trim.mov", "0.5")])
def test_of_a_trimmed_clip_is_read_what_a_player_shows(tmp_path, name, start):
    """A phone trims by an edit list: the frames before the start stay in the file, and in its count."""
    whole = ffmpeg(tmp_path / "whole.mp4", moving(), *H264, "-g", "60", "-bf", "2")
    path = run_ffmpeg(tmp_path / name, "-ss", start, "-i", str(whole), "-t", "2", "-c", "copy")
    expected = shown(path, 64, 64)
    assert VideoDecoder(str(path)).metadata.num_frames_from_header > len(expected) >= 60
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*intervals between frames")  # copying loses one
        assert torch.equal(read_video(path), expected)
        assert torch.equal(torch.cat(list(stream_video(path, 7))), expected)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["pause.avi", "pause.mp4", "pause.mkv"])
def test_a_pause_is_read_and_told_of(tmp_path, name):
    """30 of 120 frames left out: an AVI counts them all the same."""
    options = ["-vf", "select='not(between(n,40,69))'", "-vsync", "vfr", "-pix_fmt", "yuv420p"]
    path = ffmpeg(tmp_path / name, moving(), *options)
    with pytest.warns(UserWarning, match=rf"{name}: the intervals .* from 0\.033 to 1\.033 s") as told:
        assert len(read_video(path)) == 90
    assert len(told) == 1
    with pytest.warns(UserWarning, match="intervals"):
        times = frame_times(path)
    frames = [*range(40), *range(70, 120)]
    torch.testing.assert_close(times, torch.tensor(frames).double() / 30, atol=1e-3, rtol=0)
    assert video_facts(path).fps == pytest.approx(90 / 4, rel=1e-3)


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("b.avi", [*H264, "-bf", "3"]),
        ("b.mpg", [*H264, "-bf", "3", "-f", "mpeg"]),
        ("b.ts", [*H264, "-bf", "3"]),
        ("dvd.mpg", ["-c:v", "mpeg2video", "-bf", "2"]),
        ("camera.mts", ["-c:v", "mpeg2video", "-bf", "2", "-f", "mpegts"]),
        ("divx.avi", ["-c:v", "mpeg4", "-bf", "2"]),
        ("b.mkv", [*H264, "-bf", "3"]),
        ("film.wmv", ["-c:v", "wmv2"]),
        ("film.flv", [*H264, "-bf", "3"]),
        ("film.3gp", H264),
        ("film.ogv", ["-c:v", "libtheora"]),
    ],
)
def test_frames_that_depend_on_later_ones_come_in_order_of_display(tmp_path, name, options):
    """AVI and MPEG streams give some or all frames no time of presentation."""
    path = ffmpeg(tmp_path / name, moving(), *options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frames = read_video(path)
        assert torch.equal(torch.cat(list(stream_video(path, 7))), frames)
        facts = video_facts(path)
    expected = shown(path, 64, 64)
    assert len(frames) == 120 and (frames.int() - expected.int()).abs().max() <= 2
    assert (facts.fps, facts.n_frames) == (pytest.approx(30), 120)


def trimmed(path):
    whole = ffmpeg(path.with_name("whole.mp4"), moving(), *H264, "-g", "60", "-bf", "2")
    return run_ffmpeg(path, "-ss", "1.5", "-i", str(whole), "-t", "2", "-c", "copy")


@needs_ffmpeg
@pytest.mark.filterwarnings("ignore:.*intervals between frames")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("trim.mp4", None),
        ("plain.mp4", [*H264, "-bf", "3"]),
        ("b.avi", [*H264, "-bf", "3"]),
        ("b.mpg", [*H264, "-bf", "3", "-f", "mpeg"]),
        ("dvd.mpg", ["-c:v", "mpeg2video", "-bf", "2"]),
        ("b.ts", [*H264, "-bf", "3"]),
        ("rounded.mkv", [*H264, "-r", "12", "-frames:v", "20"]),  # by its duration it has 19
        ("live.webm", ["-c:v", "libvpx", "-f", "webm", "-live", "1"]),
    ],
)
def test_frames_read_in_ranges_are_those_read_one_by_one(tmp_path, monkeypatch, name, options):
    path = ffmpeg(tmp_path / name, moving(), *options) if options else trimmed(tmp_path / name)
    singly, following = [], torchcodec._core.get_next_frame
    monkeypatch.setattr(
        torchcodec._core, "get_next_frame", lambda decoder: singly.append(1) or following(decoder)
    )
    frames, times, in_pieces = read_video(path), frame_times(path), torch.cat(list(stream_video(path, 7)))
    if name in ("trim.mp4", "plain.mp4", "b.ts", "rounded.mkv"):
        assert len(singly) == 3  # the one after the last, of each reading
    n_asked = len(singly)

    def refuse(self, indices):
        raise RuntimeError("no ranges")

    monkeypatch.setattr(VideoDecoder, "get_frames_at", refuse)
    assert torch.equal(frames, read_video(path)) and torch.equal(in_pieces, frames)
    torch.testing.assert_close(times, frame_times(path), rtol=0, atol=0, equal_nan=True)
    assert len(singly) - n_asked >= 2 * len(frames)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["clip.avi", "clip.mpg", "clip.ts"])
def test_what_torchcodec_cannot_give_is_never_left_out_in_silence(tmp_path, name, monkeypatch):
    """As a release would do that loses the last five frames."""
    path = ffmpeg(tmp_path / name, moving(), *H264)
    following, get_range, given = torchcodec._core.get_next_frame, VideoDecoder.get_frames_at, {}

    def fail():
        raise RuntimeError("Requested next frame while there are no more frames left to decode.")

    def up_to(self, indices):
        return get_range(self, indices) if indices[-1] < 115 else fail()

    def next_of(decoder):
        given[id(decoder)] = given.get(id(decoder), 0) + 1
        return following(decoder) if given[id(decoder)] <= 115 else fail()

    monkeypatch.setattr(torchcodec._core, "get_next_frame", next_of)
    monkeypatch.setattr(VideoDecoder, "get_frames_at", up_to)
    with pytest.warns(UserWarning, match="only 115 of 120"):
        assert len(torch.cat(list(stream_video(path, 50)))) == 115
    given.clear()
    with pytest.warns(UserWarning, match=f"{name}: only 115 of 120 frames can be decoded"):
        assert len(read_video(path)) == 115


@needs_ffmpeg
@pytest.mark.parametrize("kept", [0.7, 0.96, 0.99])
@pytest.mark.parametrize("name", ["long.mkv", "long.webm", "long.flv", "long.wmv"])
def test_a_cut_near_the_end_is_told_of(tmp_path, name, kept):
    path = ffmpeg(tmp_path / name, moving(seconds=20))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read_video(path)) == 600
    whole = path.stat().st_size
    cut(path, kept)
    assert missing_at_end(path) == f"{whole - path.stat().st_size:,} bytes are missing at its end"
    with pytest.warns(UserWarning, match=f"{name} may be truncated: .* bytes are missing"):
        assert len(read_video(path)) < 600


@needs_ffmpeg
@pytest.mark.parametrize("ending", ["mkv", "wmv", "flv", "ts", "mpg"])
def test_an_end_that_was_never_filled_in_is_told_of(tmp_path, ending):
    """As an interrupted download leaves it: of full length, zeros from some byte on."""
    path = ffmpeg(tmp_path / f"unfilled.{ending}", moving())
    n_bytes = path.stat().st_size
    assert len(read_video(path)) == 120 and missing_at_end(path) == ""
    cut(path, 0.7)
    with open(path, "ab") as file:
        file.truncate(n_bytes)
    with pytest.warns(UserWarning, match=r"may be truncated: it is filled with zeros at its end"):
        assert 60 < len(read_video(path)) < 100


@needs_ffmpeg
def test_zeros_behind_the_end_of_a_film_are_no_damage(tmp_path):
    path = ffmpeg(tmp_path / "whole.mkv", moving())
    with open(path, "ab") as file:
        file.write(bytes(5000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read_video(path)) == 120


@needs_ffmpeg
@pytest.mark.parametrize("name", ["short.gif", "short.apng", "short.ogv"])
def test_a_missing_mark_is_not_called_a_number_of_bytes(tmp_path, name):
    path = cut(
        ffmpeg(tmp_path / name, moving(seconds=1), *(["-f", "apng"] if name == "short.apng" else [])), 0.5
    )
    assert missing_at_end(path) == "the mark at its end is missing"


@needs_ffmpeg
def test_a_missing_byte_is_one(tmp_path):
    path = ffmpeg(tmp_path / "short.mkv", moving(seconds=1))
    os.truncate(path, path.stat().st_size - 1)
    assert missing_at_end(path) == "1 byte is missing at its end"


@needs_ffmpeg
def test_frames_lost_within_an_avi_are_told_of(tmp_path):
    """Its header counts 120; times are counted by those found, so they leave no gap."""
    path = ffmpeg(tmp_path / "hole.avi", moving(), "-c:v", "mpeg4")
    content = path.read_bytes()
    middle, n_zeros = len(content) // 2, len(content) // 20
    path.write_bytes(content[:middle] + bytes(n_zeros) + content[middle + n_zeros :])
    with pytest.warns(UserWarning, match=r"hole\.avi: only 1\d\d of 120 frames can be decoded"):
        assert 100 < len(read_video(path)) < 120


@needs_ffmpeg
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("name", ["index_first.mp4", "pause.avi", "fragments.mp4"])
def test_a_cut_is_still_told_from_a_trimmed_film_and_a_pause(tmp_path, name, kept):
    options = {"index": ["-movflags", "+faststart"], "fragme": ["-movflags", "frag_keyframe", "-g", "10"]}
    options = options.get(name[:6], ["-vf", "select='not(between(n,40,69))'", "-vsync", "vfr"])
    path = cut(ffmpeg(tmp_path / name, moving(), *options, "-pix_fmt", "yuv420p"), kept)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            read_video(path)
        except ValueError as refused:
            assert "truncated" in str(refused) and is_one_sentence(refused)
        else:
            assert any("truncated" in str(warning.message) for warning in told)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["sound.mkv", "sound.mp4", "sound.webm", "sound.avi"])
def test_sound_that_goes_on_after_the_picture_is_no_damage(tmp_path, name):
    path = run_ffmpeg(tmp_path / name, "-f", "lavfi", "-i", moving(), "-f", "lavfi", "-i", "sine=d=10")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*intervals")  # an AVI leaves a place for early sound
        assert len(read_video(path)) == 120


@needs_ffmpeg
def test_the_facts_of_a_file(tmp_path):
    path = ffmpeg(tmp_path / "plain.mp4", moving(rate=15, size="64x48"), *H264)
    facts = video_facts(str(path))
    assert facts[:5] == (15, 60, pytest.approx(4), 64, 48)
    assert facts[5:] == (1, 0, "unknown", False)
    turned = run_ffmpeg(tmp_path / "turned.mp4", "-i", str(path), "-c", "copy", "-metadata:s:v", "rotate=90")
    if video_facts(turned).rotation == 0:
        pytest.skip("this ffmpeg does not write rotations in this way")
    assert video_facts(turned)[3:7] == (48, 64, 1, 90)
    assert torch.equal(read_video(turned), read_video(path).rot90(1, (2, 3)))


@needs_ffmpeg
@pytest.mark.parametrize(("aspect", "shape"), [("2/1", (48, 128)), ("1/2", (96, 64))])
def test_pixels_that_are_not_square_are_made_so(tmp_path, aspect, shape):
    path = ffmpeg(tmp_path / "wide.mp4", moving(size="64x48"), *H264, "-vf", f"setsar={aspect}")
    frames = read_video(path)
    assert frames.shape == (120, 3, *shape) and frames.dtype == torch.uint8
    # Averaging the added pixels away gives the stored picture, up to the filter at edges.
    stored = shown(path, 48, 64).float()
    back = torch.nn.functional.adaptive_avg_pool2d(frames.float(), (48, 64))
    assert (back - stored).abs().mean() < 4
    turned = run_ffmpeg(tmp_path / "turned.mp4", "-i", str(path), "-c", "copy", "-metadata:s:v", "rotate=90")
    if video_facts(turned).rotation:
        assert read_video(turned).shape == (120, 3, *shape[::-1])


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fields.mp4", [*H264, "-flags", "+ildct+ilme", "-x264opts", "tff=1"]),
        ("fields.mkv", [*H264, "-flags", "+ildct+ilme", "-x264opts", "tff=1"]),
        ("fields.mts", [*H264, "-flags", "+ildct+ilme", "-x264opts", "tff=1", "-f", "mpegts"]),
        ("fields.mpg", ["-c:v", "mpeg2video", "-flags", "+ildct+ilme"]),
    ],
)
def test_fields_are_named_once(tmp_path, name, options):
    path = ffmpeg(tmp_path / name, moving(), *options)
    with pytest.warns(UserWarning, match=f"{name} is stored in fields .*yadif") as told:
        assert len(read_video(path)) == 120
    assert len(told) == 1 and video_facts(path).interlaced


def test_a_parameter_set_that_was_cut_off_says_nothing_of_fields():
    """Written by hand after 7.3.2.1.1: profile 66, level 30, then 1 1 011 1 0 1 1 and the flag."""
    in_fields, in_frames = b"\x42\0\x1e\xdd\x80", b"\x42\0\x1e\xdd\xc0"
    assert _h264_fields(in_fields) is True and _h264_fields(in_frames) is False
    for n_bytes in range(5):
        assert _h264_fields(in_fields[:n_bytes]) is False
    assert _h264_fields(b"\x42\0\x1e\x80") is False


@needs_ffmpeg
@pytest.mark.parametrize(("transfer", "name"), [("smpte2084", "PQ"), ("arib-std-b67", "HLG")])
def test_high_dynamic_range_is_named_once(tmp_path, transfer, name):
    options = ["-c:v", "libx264", "-pix_fmt", "yuv420p10le", "-color_trc", transfer]
    options += ["-color_primaries", "bt2020", "-colorspace", "bt2020nc"]
    path = ffmpeg(tmp_path / "bright.mp4", moving(), *options)
    with pytest.warns(UserWarning, match=rf"bright.mp4 is HDR \({name}\)") as told:
        read_video(path)
    assert len(told) == 1 and video_facts(path).transfer == transfer


@needs_ffmpeg
@pytest.mark.parametrize("name", ["two.ts", "two.mp4", "two.mkv"])
def test_a_change_of_size_is_named_with_its_frame(tmp_path, name):
    parts = [
        ffmpeg(tmp_path / f"{k}.ts", moving(seconds=2, size=size), *H264, "-bf", "0").read_bytes()
        for k, size in enumerate(["64x64", "96x64"])
    ]
    (tmp_path / "joined.ts").write_bytes(b"".join(parts))
    path = run_ffmpeg(tmp_path / name, "-i", str(tmp_path / "joined.ts"), "-c", "copy")
    with pytest.raises(
        ValueError, match=r"changes size at frame 60: 64×64 then 96×64; .*ffmpeg -i"
    ) as refused:
        read_video(path)
    assert is_one_sentence(refused.value)


@needs_ffmpeg
def test_sound_and_pictures_are_called_so(tmp_path):
    run_ffmpeg(tmp_path / "sound.mp4", "-f", "lavfi", "-i", "sine=d=1")
    with pytest.raises(ValueError, match=r"sound\.mp4 holds no pictures, only sound or text"):
        read_video(tmp_path / "sound.mp4")
    for name in ("picture.png", "picture.jpg"):
        picture = ffmpeg(tmp_path / name, moving(), "-frames:v", "1")
        shutil.copy(picture, tmp_path / "picture.mp4")
        for path in (picture, tmp_path / "picture.mp4"):
            with pytest.raises(ValueError, match=f"{path.name} is a picture, not a video"):
                read_video(path)


@needs_ffmpeg
def test_a_film_that_torchcodec_cannot_index_comes_with_the_command_that_mends_it(tmp_path):
    path = ffmpeg(tmp_path / "raw.h264", moving(), *H264)
    with pytest.raises(ValueError, match=r"put it into an mp4: ffmpeg -i raw\.h264 raw_new") as refused:
        read_video(path)
    assert is_one_sentence(refused.value)


@pytest.mark.parametrize("bad", [None, 3, ["a.mp4"], np.zeros((20, 3, 8, 8), np.uint8)])
def test_what_is_no_path_is_named_by_its_type(bad):
    for use in (read_video, lambda bad: next(stream_video(bad)), video_facts):
        with pytest.raises(TypeError, match=type(bad).__name__):
            use(bad)


def test_a_url_is_to_be_downloaded_first():
    for url in ("https://host/a.mp4", Path("https://host/a.mp4"), "s3://bucket/a.mp4"):
        with pytest.raises(ValueError, match=r"URLs are not read: download .*a\.mp4 first"):
            read_video(url)


def test_the_home_folder_is_found(tmp_path, frames, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_video("~/clip.mp4", frames[:4])
    assert (tmp_path / "clip.mp4").is_file()
    assert len(read_video("~/clip.mp4")) == len(next(stream_video("~/clip.mp4"))) == 4
    assert find_videos("~") == [tmp_path / "clip.mp4"]


def test_a_name_that_is_not_utf8_is_to_be_changed(tmp_path, video):
    path = Path(str(tmp_path) + "/caf\udce9.mp4")
    try:
        shutil.copy(video, path)
    except OSError:
        pytest.skip("this disk takes UTF-8 only")
    with pytest.raises(
        ValueError, match=r"caf\\udce9\.mp4: the name is not UTF-8, rename the file"
    ) as refused:
        read_video(path)
    str(refused.value).encode()  # can be printed
    shutil.copy(video, tmp_path / "good.mp4")
    with pytest.warns(UserWarning, match=r"left out of .*: caf\\udce9\.mp4 \(the name is not UTF-8"):
        assert find_videos(tmp_path) == [tmp_path / "good.mp4"]


@pytest.mark.parametrize("suffix", [".txt", ".gif", ".webm", ""])
def test_an_ending_that_cannot_hold_it_is_refused(tmp_path, frames, suffix):
    with pytest.raises(ValueError, match=r"cannot write .*: write \.mp4, \.mkv, \.mov, \.avi"):
        write_video(tmp_path / f"clip{suffix}", frames[:4])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".avi"])
def test_every_ending_that_is_offered_is_lossless(tmp_path, frames, suffix):
    write_video(tmp_path / f"clip{suffix}", frames)
    read = read_video(tmp_path / f"clip{suffix}").permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(read, frames)


@pytest.mark.parametrize("fps", [float("nan"), float("inf"), 0, -30, "30", None])
def test_an_impossible_frame_rate_is_named(tmp_path, frames, fps):
    with pytest.raises(ValueError, match=rf"fps must be a number above 0 and below 2\*\*31, got {fps!r}"):
        write_video(tmp_path / "clip.mp4", frames[:4], fps=fps)


def test_sides_that_a_preview_cannot_have_are_named(tmp_path):
    with pytest.raises(ValueError, match="preview_video needs even sides, got 17×33"):
        preview_video(tmp_path / "p.mp4", np.zeros((5, 33, 17, 3), np.uint8))
    with pytest.raises(ValueError, match="at least 2×2 pixels, got 1×8"):
        write_video(tmp_path / "p.mp4", np.zeros((5, 8, 1, 3), np.uint8))
    with pytest.raises(
        TypeError, match="frames must be a NumPy array or a dense tensor of uint8, got NoneType"
    ):
        write_video(tmp_path / "p.mp4", None)


def test_what_looks_like_a_video_and_is_left_out_is_named(tmp_path, video):
    names = ["a.mp4", "b.MPG", "c.ts", "d.wmv", "e.flv", "f.3gp", "g.ogv", "h.mts", "notes.txt", "._a.mp4"]
    for name in [*names, "raw.h264", "more/i.mp4", "papers/j.pdf"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(video, tmp_path / name)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.warns(UserWarning, match="left out of") as told:
        found = find_videos(tmp_path)
    assert [path.name for path in found] == names[:8]
    assert len(told) == 1
    message = str(told[0].message)
    assert "more/ (a folder" in message and "raw.h264" in message
    assert not any(word in message for word in ("papers", "notes", "folder.mp4", "._a"))


def test_a_folder_without_surprises_is_listed_in_silence(tmp_path, video):
    for name in ("b.mp4", "a.mkv", "notes.txt"):
        shutil.copy(video, tmp_path / name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [path.name for path in find_videos(tmp_path)] == ["a.mkv", "b.mp4"]


@pytest.mark.parametrize("name", ["12:30.mp4", "concat:a.mp4", "file:a.mkv", "%03d.avi", "a|b?c#d.mov"])
def test_a_name_that_ffmpeg_would_take_for_something_else_is_a_name(tmp_path, frames, monkeypatch, name):
    """A name without a folder, with a colon, looks like a protocol to FFmpeg."""
    monkeypatch.chdir(tmp_path)
    write_video(name, frames[:4])
    np.testing.assert_array_equal(read_video(name).permute(0, 2, 3, 1).numpy(), frames[:4])
    assert video_facts(name).n_frames == 4


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("view", ["reversed", "mirrored", "read-only", "repeated"])
def test_every_view_of_an_array_is_written(tmp_path, frames, view):
    views = {"reversed": frames[:5][::-1], "mirrored": frames[:5, :, ::-1], "read-only": frames[:5].copy()}
    views["read-only"].setflags(write=False)
    views["repeated"] = np.broadcast_to(frames[:1], (5, *frames.shape[1:]))
    write_video(tmp_path / "view.mp4", views[view])
    read = read_video(tmp_path / "view.mp4").permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(read, views[view])


def test_tensors_without_pixels_are_refused(tmp_path):
    dense = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)
    for bad in (dense.to("meta"), dense.to_sparse(), np.array(["a"])):
        with pytest.raises(TypeError, match=r"must be a NumPy array or a dense tensor of uint8, got \w+ of"):
            write_video(tmp_path / "clip.mp4", bad)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fps", [1e-12, 1e12, 10**400])
def test_a_rate_or_size_that_cannot_be_encoded_is_not_blamed_on_the_disk(tmp_path, frames, fps):
    with pytest.raises(ValueError, match=r"fps must be|frames per second: take"):
        write_video(tmp_path / "clip.mp4", frames[:2], fps=fps)
    with pytest.raises(ValueError, match="no 20000×2 pixels"):
        write_video(tmp_path / "clip.mp4", np.zeros((1, 2, 20000, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_what_names_no_file_is_refused_before_writing(frames):
    for bad in (None, 3, b"clip.mp4"):
        with pytest.raises(TypeError, match=r"named by a path \(str or Path\), got"):
            write_video(bad, frames[:2])
    for bad in ("a\0b.mp4", "caf\udce9.mp4"):
        with pytest.raises(ValueError, match="a name is UTF-8 without a zero byte"):
            write_video(bad, frames[:2])
    with pytest.raises(OSError, match=r"cannot read x+\.mp4: File name too long"):
        read_video("x" * 300 + ".mp4")


@pytest.mark.parametrize("n_frames", [2.5, "2", float("nan"), [2]])
def test_a_number_of_frames_is_whole(video, n_frames):
    with pytest.raises(TypeError, match="n_frames must be a whole number, got"):
        stream_video(video, n_frames)


@pytest.mark.parametrize(("name", "n_frames"), [("short.mkv", 2), ("short.mkv", 6), ("short.avi", 6)])
def test_the_rate_of_a_short_clip_counts_its_last_frame(tmp_path, frames, name, n_frames):
    """At 1000 fps these files do not say how long their last frame is."""
    write_video(tmp_path / name, frames[:n_frames], fps=1000)
    assert video_facts(tmp_path / name).fps == pytest.approx(1000)
