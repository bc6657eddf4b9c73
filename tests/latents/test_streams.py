"""Streams without an index: read as ffmpeg shows them, and a cut is told of where it can be known."""

import subprocess
import warnings

import pytest
import torch
from video_files import H264, cut, ffmpeg, is_one_sentence, moving, needs_ffmpeg, run_ffmpeg, shown

from hjepa_utils import read_video, stream_video
from hjepa_utils.latents.decoding import torchcodec_part
from hjepa_utils.latents.endings import missing_at_end
from hjepa_utils.latents.video import frame_times, video_facts

MPEG2 = ["-c:v", "mpeg2video", "-bf", "2"]
CODECS = {"mpg": MPEG2, "vob": MPEG2, "m2v": MPEG2, "mxf": MPEG2, "m1v": ["-c:v", "mpeg1video", "-bf", "2"]}
CODECS |= {"webm": ["-c:v", "libvpx"], "ivf": ["-c:v", "libvpx"], "wmv": ["-c:v", "wmv2"]}
CODECS |= {"ogv": ["-c:v", "libtheora"], "mjpeg": ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"], "gif": []}
CODECS |= {"y4m": ["-pix_fmt", "yuv420p"], "avi": [*H264, "-bf", "0"], "m4v": ["-c:v", "mpeg4", "-f", "m4v"]}
WITHOUT_SOUND = ("m2v", "m1v", "ivf", "mjpeg", "gif", "y4m", "m4v")
SOUND = {"flv": ["-ar", "44100"], "3gp": ["-c:a", "aac"], "webm": ["-c:a", "libvorbis"]}
PIPED = {"mkv": "matroska", "webm": "webm", "ts": "mpegts", "flv": "flv", "avi": "avi", "mpg": "mpeg"}
PIPED |= {"wmv": "asf", "ogv": "ogg"}


def made(path, sound=False, **changes):
    """Four seconds of 64 × 64 pixels in the container of that name's ending."""
    codec = CODECS.get(path.suffix[1:], H264)
    tone = ["-f", "lavfi", "-i", f"sine=d={sound}:r=48000"] if sound else []
    codec = [*codec, *SOUND.get(path.suffix[1:], [])] if sound else codec
    options = ["-f", "lavfi", "-i", moving(**changes), *tone, *codec]
    if not path.stem.startswith("piped"):
        return run_ffmpeg(path, *options)
    command = ["ffmpeg", "-v", "error", *options, "-f", PIPED[path.suffix[1:]], "-"]
    done = subprocess.run(command, capture_output=True)
    if done.returncode:
        pytest.skip(f"this ffmpeg cannot make {path.name}")
    path.write_bytes(done.stdout)
    return path


def told_of(path):
    """The frames, and all warnings, each once."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        frames = read_video(path)
    return frames, [str(warning.message) for warning in told]


ENDINGS = [
    "ts",
    "mts",
    "m2ts",
    "mpg",
    "vob",
    "mkv",
    "webm",
    "flv",
    "mp4",
    "mov",
    "3gp",
    "avi",
    "wmv",
    "ogv",
    "mxf",
]


@needs_ffmpeg
@pytest.mark.parametrize(
    "name",
    [f"{'sound' if sound else 'silent'}{sound}.{ending}" for ending in ENDINGS for sound in (0, 7)]
    + [f"silent0.{ending}" for ending in WITHOUT_SOUND]
    + [f"piped{sound}.{ending}" for ending in PIPED for sound in (0, 4)],
)
def test_a_healthy_file_is_read_whole_and_not_accused(tmp_path, name):
    """Without sound and with more of it than pictures; to a pipe, which cannot go back to its header."""
    path = made(tmp_path / name, sound=int(name.split(".")[0][-1]))
    frames, told = told_of(path)
    # An AVI has a place for early sound, and the file's own times leave a gap there.
    assert [text for text in told if not (name.endswith("avi") and "intervals" in text)] == []
    expected = shown(path, 64, 64)
    assert len(frames) == len(expected) == 120 and missing_at_end(path) == ""
    assert (frames.int() - expected.int()).abs().max() <= 2


@needs_ffmpeg
@pytest.mark.filterwarnings("ignore:.*intervals between frames")
@pytest.mark.parametrize("ending", ["ts", "mkv", "flv", "avi", "mov"])
@pytest.mark.parametrize("options", [["-ss", "1.2"], ["-t", "2.33"]])
def test_a_trimmed_copy_is_not_accused(tmp_path, ending, options):
    """In an AVI such a copy has twice as many places as frames."""
    whole = ffmpeg(tmp_path / "whole.mp4", moving(), *H264, "-g", "30")
    path = run_ffmpeg(tmp_path / f"trim.{ending}", *options, "-i", str(whole), "-c", "copy")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*(truncated|decoded)")
        assert torch.equal(read_video(path), shown(path, 64, 64))


@needs_ffmpeg
@pytest.mark.parametrize("name", ["a.mpg", "a.flv", "piped.flv", "a.ts", "a.mpg with zeros"])
def test_what_may_stand_at_an_end_is_no_damage(tmp_path, name):
    """The end code of a program stream, padding, a packet without content; FLV without its last length."""
    path = made(tmp_path / name.split()[0])
    content = path.read_bytes()
    null = bytes([0x47, 0x1F, 0xFF, 0x10]) + b"\xff" * 184
    ends = {
        "a.mpg": content + b"\0\0\1\xb9",
        "a.mpg with zeros": content + bytes(512),
        "a.ts": content + null,
    }
    path.write_bytes(ends.get(name, content[:-4] if name[0] == "p" else content + b"end"))
    frames, told = told_of(path)
    assert told == [] and len(frames) == 120


CUT = ["ts", "m2ts", "mpg", "vob", "mxf", "flv", "mkv", "wmv", "ogv", "y4m", "mjpeg", "m2v"]


@needs_ffmpeg
@pytest.mark.parametrize("kept", [0.31, 0.9])
@pytest.mark.parametrize("name", [f"a.{ending}" for ending in CUT] + [f"piped.{ending}" for ending in PIPED])
def test_a_cut_is_told_of_once_and_what_is_left_is_read(tmp_path, name, kept):
    path = made(tmp_path / name, size="64x256")
    length = 192 if name == "a.m2ts" else 188
    cut(path, kept)
    if name.endswith("ts") and path.stat().st_size % length == 0:  # between two packets nothing is known
        path.write_bytes(path.read_bytes()[:-1])
    frames, told = told_of(path)
    expected = shown(path, 256, 64)
    assert len(frames) == len(expected) < 120
    # In the last one FFmpeg makes up what is missing, in ways that depend on its number of threads.
    assert (frames.int() - expected.int())[:-1].abs().max() <= 2
    assert len(told) == 1 and "may be truncated" in told[0]


@needs_ffmpeg
@pytest.mark.parametrize("name", ["b.m2v", "plain.m2v", "b.m1v"])
def test_every_picture_of_mpeg_video_without_a_container_is_read(tmp_path, name):
    """The last one has no time, and the file has none at all: only a rate."""
    codec = ["-c:v", "mpeg1video" if name.endswith("m1v") else "mpeg2video"]
    path = ffmpeg(tmp_path / name, moving(), *codec, "-bf", "2" if name[0] == "b" else "0")
    frames, told = told_of(path)
    assert told == [] and torch.equal(frames, shown(path, 64, 64)) and len(frames) == 120
    assert torch.equal(torch.cat(list(stream_video(path, 7))), frames)
    assert frame_times(path).isnan().all() and video_facts(path).fps == 30


@needs_ffmpeg
@pytest.mark.parametrize("offset", [5000, 95440, 95442.3, 95443.6])
@pytest.mark.parametrize("name", ["clock.ts", "clock.m2ts", "clock.mpg", "sound.ts"])
def test_a_clock_may_start_anywhere_and_begin_anew(tmp_path, name, offset):
    """MPEG counts 33 bits at 90 kHz, 95443.7 s."""
    tone = ["-f", "lavfi", "-i", "sine=d=4"] if name[0] == "s" else []
    codec = MPEG2 if name.endswith("mpg") else [*H264, "-bf", "2"]
    options = ["-f", "lavfi", "-i", moving(), *tone, *codec, "-output_ts_offset", str(offset)]
    path = run_ffmpeg(tmp_path / name, *options)
    frames, told = told_of(path)
    assert told == [] and len(frames) == 120 and torch.equal(frames, shown(path, 64, 64))
    steps = frame_times(path).diff()
    assert (steps[steps.isfinite()] - 1 / 30).abs().max() < 1e-3 and video_facts(path).fps == pytest.approx(
        30
    )


@needs_ffmpeg
def test_a_program_stream_trimmed_within_a_group_begins_as_a_player_does(tmp_path):
    whole = ffmpeg(tmp_path / "whole.mpg", moving(), *MPEG2, "-g", "15")
    path = run_ffmpeg(tmp_path / "trim.mpg", "-ss", "1.2", "-i", str(whole), "-t", "1.7", "-c", "copy")
    frames, told = told_of(path)
    assert torch.equal(frames, shown(path, 64, 64)) and len(frames) > 40
    assert all("frames can be decoded" in text and is_one_sentence(text) for text in told)


@needs_ffmpeg
def test_pictures_one_after_the_other_have_no_rate(tmp_path):
    """FFmpeg takes 25 frames per second where a file says nothing."""
    path = made(tmp_path / "raw.mjpeg")
    assert video_facts(path)[:3] == (0, 120, 0)


@needs_ffmpeg
@pytest.mark.parametrize(("n_frames", "rate"), [(2, 1), (3, 0.5), (3, 30), (50, 1), (50, 600), (50, 700)])
@pytest.mark.parametrize(
    "name", ["clip.flv", "bare.flv", "piped.flv", "clip.mkv", "clip.webm", "piped.webm", "clip.wmv"]
)
def test_a_rate_is_found_where_a_clock_counts_milliseconds(tmp_path, name, n_frames, rate):
    """600 per second are 1 or 2 ms apart; of a short film FFmpeg may take the clock's rate, 1000."""
    codec = [*CODECS.get(name.split(".")[1], H264), *(["-flvflags", "no_metadata"] if name[0] == "b" else [])]
    options = ["-f", "lavfi", "-i", moving(rate=rate, seconds=60 / rate), "-frames:v", str(n_frames), *codec]
    path = tmp_path / name
    if name.startswith("piped"):
        command = ["ffmpeg", "-v", "error", *options, "-f", PIPED[path.suffix[1:]], "-"]
        path.write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)
    else:
        run_ffmpeg(path, *options)
    frames, told = told_of(path)
    assert told == [] and len(frames) == n_frames
    seconds = (n_frames - 1) / rate  # its beginning and its end to a millisecond
    assert video_facts(path).fps == pytest.approx(rate, rel=0.001 + 0.002 / seconds)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["gaps.flv", "gaps.mkv"])
def test_lost_frames_are_no_rounding_to_milliseconds(tmp_path, name):
    source = ["-f", "lavfi", "-i", moving(rate=600, seconds=0.2)]
    path = run_ffmpeg(
        tmp_path / name, *source, "-vf", "select='not(between(n,40,49))'", "-vsync", "vfr", *H264
    )
    _, told = told_of(path)
    assert len(told) == 1 and "intervals between frames vary" in told[0]


@needs_ffmpeg
@pytest.mark.parametrize("name", ["a.mp4", "b.mkv", "c.webm", "interlaced.mp4"])
def test_without_torchcodecs_inner_call_plain_films_are_read_all_the_same(tmp_path, monkeypatch, name):
    """No promise is made for it, and a release may drop it."""
    fields = ["-flags", "+ildct+ilme"] if name[0] == "i" else []
    codec = ["-c:v", "libvpx"] if name.endswith("webm") else [*H264, "-bf", "2", *fields]
    path = ffmpeg(tmp_path / name, moving(), *codec)
    monkeypatch.delattr(torchcodec_part("_core"), "get_next_frame")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frames = read_video(path)
    assert torch.equal(frames, shown(path, 64, 64))
