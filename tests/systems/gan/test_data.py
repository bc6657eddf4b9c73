"""The videos' file: what is written, read, and refused."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from hjepa_utils import ArtifactError, render_toy, simulate_toy
from hjepa_utils.systems.gan.data import ToyVideos, default_file, make_videos


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="module")
def videos(folder):
    return make_videos(folder / "a.safetensors", "pendulum", 300, 20, seed=3)


def test_the_file_is_safetensors_with_what_was_simulated(videos):
    states = load_file(videos.file)["states"]
    assert states.shape == (300, 20, 2) and (videos.n, videos.n_frames) == (300, 20)
    first = simulate_toy("pendulum", 256, 20, rng=np.random.default_rng([3, 0]))
    np.testing.assert_array_equal(states[:256], first.astype(np.float32))
    assert len({*states[:, 0, 0].tolist()}) == 300  # parts do not repeat


def test_more_of_the_same_seed_begin_with_these(videos, folder):
    few = make_videos(folder / "few.safetensors", "pendulum", 5, 20, seed=3)
    np.testing.assert_array_equal(load_file(few.file)["states"], load_file(videos.file)["states"][:5])


def test_windows_are_neighbouring_frames_of_one_trajectory(videos):
    states = load_file(videos.file)["states"]
    windows = videos.states(np.random.default_rng(0), 50, 6)
    assert windows.shape == (50, 6, 2) and windows.dtype == np.float64
    for window in windows:
        which, when = np.argwhere((states == window[0].astype(np.float32)).all(-1))[0]
        np.testing.assert_array_equal(window, states[which, when : when + 6])


def test_frames_are_the_pictures_of_the_windows(videos):
    frames = videos.frames(np.random.default_rng(0), 3, 4)
    expected = render_toy("pendulum", videos.states(np.random.default_rng(0), 3, 4))
    assert torch.equal(frames, torch.from_numpy(expected))


def test_what_is_there_is_not_made_again(videos):
    before = videos.file.stat().st_mtime_ns
    again = make_videos(videos.file, "pendulum", 300, 20, seed=3)
    assert videos.file.stat().st_mtime_ns == before and again.fingerprint() == videos.fingerprint()
    assert pickle.loads(pickle.dumps(videos)).settings == videos.settings


@pytest.mark.parametrize("other", [
    {"system": "mass_spring"}, {"n": 299}, {"n_frames": 21}, {"seed": 4}, {"friction": 0.05},
])  # fmt: skip
def test_videos_of_other_settings_are_not_taken_for_these(videos, other):
    settings = {"system": "pendulum", "n": 300, "n_frames": 20, "seed": 3} | other
    with pytest.raises(ArtifactError, match=r"holds other videos .*: delete it, or name another file"):
        make_videos(
            videos.file, settings.pop("system"), settings.pop("n"), settings.pop("n_frames"), **settings
        )


def test_a_damaged_foreign_or_missing_file_is_one_sentence(videos, folder):
    damaged, foreign = folder / "damaged.safetensors", folder / "foreign.safetensors"
    damaged.write_bytes(videos.file.read_bytes()[:-100])
    save_file({"weights": np.zeros(3)}, foreign)
    for file in (damaged, foreign):
        with pytest.raises(ArtifactError, match="is damaged or holds no videos of Toy Physics: delete it"):
            ToyVideos(file)
    with pytest.raises(ArtifactError, match="is not there: make it with make_videos"):
        ToyVideos(folder / "none.safetensors")


def test_longer_windows_than_videos_are_refused(videos):
    with pytest.raises(ValueError, match="has 1 to 20 frames a video, got 21"):
        videos.states(np.random.default_rng(0), 1, 21)


@pytest.mark.parametrize(("given", "words"), [
    ({"n": 0}, "n must be a whole number, 1 or more, got 0"),
    ({"n_frames": 2.0}, "n_frames must be a whole number, 1 or more, got 2.0"),
    ({"rng": 3}, "rng must be a numpy.random.Generator, got int: use numpy.random.default_rng"),
])  # fmt: skip
def test_windows_of_no_number_are_refused(videos, given, words):
    with pytest.raises(ValueError, match=words):
        videos.states(**{"rng": np.random.default_rng(0), "n": 2, "n_frames": 3} | given)


@pytest.mark.parametrize(("states", "change"), [
    (np.zeros((3, 4, 8)), {}),  # of another system
    (np.zeros((2, 4, 2)), {}),  # fewer than said
    (np.zeros((3, 4, 2)), {"system": "springs"}),
    (np.zeros((3, 8)), {}),
    (np.zeros((0, 4, 2)), {"n": "0"}),
])  # fmt: skip
def test_a_file_that_is_not_what_it_says_is_refused(tmp_path, states, change):
    words = {"system": "pendulum", "n": "3", "n_frames": "4", "seed": "0", "friction": "0.0"} | change
    save_file({"states": states.astype(np.float32)}, tmp_path / "a", metadata=words)
    with pytest.raises(ArtifactError, match="is damaged or holds no videos of Toy Physics: delete it"):
        ToyVideos(tmp_path / "a")


def test_numbers_that_are_none_are_found_when_they_are_read(tmp_path):
    words = {"system": "pendulum", "n": "3", "n_frames": "4", "seed": "0", "friction": "0.0"}
    save_file({"states": np.full((3, 4, 2), np.nan, np.float32)}, tmp_path / "a", metadata=words)
    with pytest.raises(ArtifactError, match="a holds NaN or infinity: delete it, and make it anew"):
        ToyVideos(tmp_path / "a").frames(np.random.default_rng(0), 1, 2)


def test_places_that_cannot_be_written_are_one_sentence(videos, folder):
    for file, words in (
        (folder, "is a folder: name a file in it"),
        (videos.file / "b.safetensors", "cannot write to .*: .*name a file in a folder that can be written"),
    ):
        with pytest.raises((ArtifactError, OSError), match=words):
            make_videos(file, "pendulum", 2, 3, seed=0)
    with pytest.raises(
        OSError, match=r"would be 160,000,000,000.0 GB, and .* GB are free: ask for fewer videos"
    ):
        make_videos(folder / "large", "pendulum", 10**13, 10**6 * 2, seed=0)
    assert not (folder / "large").exists()


@pytest.mark.parametrize("kind", [np.int64, np.uint8])
def test_numbers_of_numpy_are_as_good_as_pythons(folder, kind):
    file = folder / f"{kind.__name__}.safetensors"
    made = make_videos(file, "pendulum", kind(2), kind(3), seed=kind(1))
    assert make_videos(file, "pendulum", 2, 3, seed=1).settings == made.settings


@pytest.mark.parametrize("friction", ["a", None, float("nan"), -1])
def test_a_friction_that_is_none_writes_nothing(folder, friction):
    with pytest.raises(ValueError, match="friction must be a number, from 0 to 100, got"):
        make_videos(folder / "never", "pendulum", 2, 3, seed=0, friction=friction)
    assert not (folder / "never").exists()


def test_a_name_says_what_is_inside():
    assert default_file("x", "two_body", 2000, seed=1).name == "two_body-2000x512-seed1.safetensors"
    with pytest.raises(ValueError, match="no toy system 'a/b'"):
        default_file("x", "a/b", 2000, seed=1)
