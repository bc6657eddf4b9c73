"""Windows and splits against plain slicing."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hjepa_utils import LatentWindows, load_latents, make_windows, split_by_video, split_by_window


def videos(lengths, dim=6, seed=0):
    """{name: (n_clips, dim)}; every number differs, so a window tells where it comes from."""
    rng = np.random.default_rng(seed)
    return {
        f"video_{k:02}": torch.from_numpy(rng.normal(3, 2, (n, dim))).float() for k, n in enumerate(lengths)
    }


FIFTY = videos([34] * 50)


def rows(tensor):
    """The distinct last-axis vectors of a tensor."""
    return {tuple(row) for row in tensor.flatten(0, -2).tolist()}


def test_windows_are_slices():
    latents = torch.randn(3, 34, 5)
    windows = make_windows(latents)
    assert windows.shape == (3, 19, 16, 5)
    for start in range(19):
        assert torch.equal(windows[:, start], latents[:, start : start + 16])
    assert torch.equal(make_windows(latents[0], length=4)[7], latents[0, 7:11])
    assert make_windows(latents, length=34).shape == (3, 1, 34, 5)


def test_fewer_than_16_embeddings_are_refused_with_the_frames_they_need():
    with pytest.raises(
        ValueError, match="needs 16 embeddings and there are 15: use videos of at least 76 frames"
    ):
        make_windows(torch.zeros(2, 15, 4))


@pytest.mark.parametrize("split", [split_by_video, split_by_window])
@pytest.mark.parametrize(
    ("n", "fraction", "n_train"), [(50, 0.8, 40), (950, 0.8, 760), (7, 0.5, 4), (2, 0.9, 1)]
)
def test_a_split_is_disjoint_complete_and_repeatable(split, n, fraction, n_train):
    train, test = split(n, fraction, seed=3)
    assert len(train) == n_train
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(n))
    assert train.tolist() == sorted(train.tolist()) and test.tolist() == sorted(test.tolist())
    assert all(torch.equal(a, b) for a, b in zip((train, test), split(n, fraction, seed=3), strict=True))


def test_another_seed_is_another_split():
    assert not torch.equal(split_by_video(50, seed=0)[1], split_by_video(50, seed=1)[1])


@pytest.mark.parametrize("fraction", [0, 1, -0.2, 1.5, float("nan")])
def test_a_fraction_outside_0_and_1_is_refused(fraction):
    with pytest.raises(ValueError, match=f"train_fraction must lie between 0 and 1, got {fraction}"):
        split_by_video(50, fraction, seed=0)


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_videos_are_refused(n):
    with pytest.raises(ValueError, match=f"{n} videos cannot be split"):
        split_by_video(n, seed=0)


def test_fifty_videos_of_34_clips_give_760_and_190_windows():
    for split in ("video", "window"):
        windows = LatentWindows.from_latents(FIFTY, seed=0, split=split)
        assert windows.train.shape == (760, 16, 6) and windows.test.shape == (190, 16, 6)
        assert windows.test_videos.shape == (190,)


def test_no_clip_of_a_test_video_is_in_training():
    windows = LatentWindows.from_latents(FIFTY, seed=0, scaling="raw")
    assert not rows(windows.train) & rows(windows.test)
    assert len(set(windows.test_videos.tolist())) == 10


def test_the_published_split_leaks():
    windows = LatentWindows.from_latents(FIFTY, seed=0, scaling="raw", split="window")
    shared, training = 0, rows(windows.train)
    for window in windows.test:
        shared += len(rows(window) & training) >= 15
    assert shared > 150 and len(set(windows.test_videos.tolist())) > 40


def test_every_window_knows_its_video():
    names = list(FIFTY)
    for split in ("video", "window"):
        windows = LatentWindows.from_latents(FIFTY, seed=0, scaling="raw", split=split)
        for part, videos_of_part in zip(windows[:2], windows[2:4], strict=True):
            for window, video in zip(part, videos_of_part, strict=True):
                assert rows(window) <= rows(FIFTY[names[video]])


def test_the_first_windows_begin_with_their_videos():
    windows = LatentWindows.from_latents(FIFTY, seed=0, scaling="raw")
    firsts = windows.first_of_videos()
    assert firsts.test_videos.tolist() == sorted(set(windows.test_videos.tolist()))
    for window, video in zip(firsts.test, firsts.test_videos, strict=True):
        assert torch.equal(window, FIFTY[list(FIFTY)[video]][:16])
    assert firsts.train is windows.train


def test_latents_are_standardised_by_the_training_clips():
    raw = LatentWindows.from_latents(FIFTY, seed=0, scaling="raw")
    scaled = LatentWindows.from_latents(FIFTY, seed=0)
    clips = np.array(sorted(rows(raw.train)))  # each once, though it is in up to 16 windows
    mean, scale = clips.mean(axis=0), clips.std(axis=0, ddof=1)
    for before, after in ((raw.train, scaled.train), (raw.test, scaled.test)):
        np.testing.assert_allclose(after, (before.numpy() - mean) / scale, atol=1e-5)
    torch.testing.assert_close(scaled.standardiser.undo(scaled.test), raw.test, rtol=1e-5, atol=1e-5)


def test_raw_latents_are_what_the_encoder_gave():
    windows = LatentWindows.from_latents(FIFTY, seed=0, scaling="raw")
    assert rows(windows.train) <= rows(torch.stack(list(FIFTY.values())))
    assert torch.equal(windows.standardiser(windows.train), windows.train)


def test_a_dimension_that_never_changes_stays_finite():
    latents = {name: clips.clone() for name, clips in FIFTY.items()}
    for clips in latents.values():
        clips[:, 2] = 7.0
    windows = LatentWindows.from_latents(latents, seed=0)
    assert windows.train.isfinite().all() and windows.train[..., 2].abs().max() < 1e-5


def test_short_videos_are_left_out_with_a_warning():
    latents = videos([34, 15, 20, 3, 16])
    with pytest.warns(UserWarning, match="2 videos have fewer than 16 embeddings: left out"):
        windows = LatentWindows.from_latents(latents, seed=0, scaling="raw")
    assert len(windows.train) + len(windows.test) == 19 + 5 + 1
    used = rows(windows.train) | rows(windows.test)
    assert not used & (rows(latents["video_01"]) | rows(latents["video_03"]))


def test_only_short_videos_are_refused_with_the_frames_they_need():
    with pytest.raises(
        ValueError, match=r"no video has 16 embeddings, the longest has 15: .*at least 76 frames"
    ):
        LatentWindows.from_latents(videos([3, 15, 9]), seed=0)


@pytest.mark.parametrize("options", [{"scaling": "whitened"}, {"split": "time"}])
def test_another_scaling_or_split_is_refused(options):
    with pytest.raises(ValueError, match=f"got .*'{next(iter(options.values()))}'"):
        LatentWindows.from_latents(FIFTY, seed=0, **options)


def test_latents_are_loaded_by_name(tmp_path):
    latents = videos([20, 16, 18])
    for name, clips in reversed(latents.items()):
        save_file({"latents": clips}, tmp_path / f"{name}.safetensors")
    loaded = load_latents(tmp_path)
    assert list(loaded) == list(latents)
    assert all(torch.equal(loaded[name], latents[name]) for name in latents)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_nan_and_infinity_name_the_video_and_the_clip(tmp_path, value):
    latents = videos([20, 20])
    latents["video_01"][13, 2] = value
    for name, clips in latents.items():
        save_file({"latents": clips}, tmp_path / f"{name}.safetensors")
    with pytest.raises(ValueError, match="latents of video_01 hold NaN or infinity at clip 13"):
        load_latents(tmp_path)


def test_an_empty_folder_names_the_notebook_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="run notebook 02_extract_vjepa_latents first"):
        load_latents(tmp_path)


def test_mapped_windows_are_those_of_mapped_latents():
    latents = videos([20] * 5)
    windows = LatentWindows.from_latents(latents, seed=0, scaling="raw")
    dim = windows.train.shape[-1]
    matrix = torch.randn(dim, dim + 2, generator=torch.manual_seed(1))
    mapped = LatentWindows.from_latents({k: z @ matrix for k, z in latents.items()}, seed=0, scaling="raw")
    torch.testing.assert_close(windows.mapped(matrix).train, mapped.train)
    torch.testing.assert_close(windows.mapped(matrix).test, mapped.test)
