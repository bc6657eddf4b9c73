"""Clips on disk: lossless and whole, or refused in one sentence."""

import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
import torchcodec
from helpers import ROOT, no_file_above
from torchcodec.decoders import VideoDecoder

from hjepa_utils import (
    preview_video,
    read_video,
    render_frames,
    simulate_collisions,
    stream_video,
    write_video,
)

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="the ffmpeg command is not installed")


@pytest.fixture(scope="module")
def frames():
    return render_frames(simulate_collisions(40, rng=np.random.default_rng(0)))


@pytest.fixture(scope="module")
def video(frames, tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "clip.mp4"
    write_video(path, frames)
    return path


def ffmpeg(path, source, *options):
    """A video made by the ffmpeg command from one of its own sources."""
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, *options, str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this ffmpeg cannot make {path.name}: {done.stderr.strip().splitlines()[0]}")
    return path


def is_one_sentence(error):
    text = str(error)
    return "\n" not in text and len(text) < 400


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
    with pytest.raises(ValueError, match=r"text\.mp4 is (empty|not a readable video)") as refused:
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
    reason = "there is no folder" if folder != "/proc" else "the disk full or read-only"
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
