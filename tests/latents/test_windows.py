"""Windows and splits against plain slicing."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hjepa_utils import (
    Clips,
    LatentWindows,
    Standardiser,
    load_latents,
    make_windows,
    split_by_video,
    split_by_window,
)


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


def test_every_third_window_to_train_on_leaves_all_to_test_on():
    windows = LatentWindows.from_latents(FIFTY, seed=0)
    fewer = windows.to_train_on_every(3)
    assert torch.equal(fewer.train, windows.train[[*range(0, 760, 3)]])
    assert torch.equal(fewer.train_videos, windows.train_videos[[*range(0, 760, 3)]])
    assert fewer.train_videos.unique().tolist() == windows.train_videos.unique().tolist()
    assert torch.equal(fewer.test, windows.test) and fewer.standardiser is windows.standardiser


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


@pytest.mark.parametrize("value", [0.1, 123.456, 1e30])
def test_a_dimension_that_never_changes_keeps_scale_1_though_its_mean_is_rounded(value):
    assert Standardiser.fitted_to(torch.full((60, 2), value)).scale.tolist() == [1, 1]


@pytest.mark.parametrize("unit", [1e-12, 1e-9, 1e9])
def test_the_unit_of_the_latents_does_not_matter(unit):
    clips = torch.randn(60, 3, generator=torch.Generator().manual_seed(0)) + 2
    one, other = (Standardiser.fitted_to(z) for z in (clips, unit * clips))
    torch.testing.assert_close(other(unit * clips), one(clips), rtol=1e-5, atol=1e-5)


def test_what_changes_by_rounding_alone_keeps_scale_1():
    clips = torch.full((60, 2), 0.7)
    clips[::2, 1] = torch.nextafter(clips[0, 1], torch.tensor(1.0))
    assert Standardiser.fitted_to(clips).scale.tolist() == [1, 1]


def test_one_clip_keeps_scale_1_in_silence_and_none_is_refused(recwarn):
    one = Standardiser.fitted_to(torch.tensor([[2.0, 3.0]]))
    assert one.mean.tolist() == [2, 3] and one.scale.tolist() == [1, 1] and not recwarn.list
    with pytest.raises(ValueError, match="no clips to standardise by"):
        Standardiser.fitted_to(torch.empty(0, 2))


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
    with pytest.raises(
        FileNotFoundError, match=r"encode videos first \(notebook 02, or python -m hjepa_utils extract\)"
    ):
        load_latents(tmp_path)


def test_mapped_windows_are_those_of_mapped_latents():
    latents = videos([20] * 5)
    windows = LatentWindows.from_latents(latents, seed=0, scaling="raw")
    dim = windows.train.shape[-1]
    matrix = torch.randn(dim, dim + 2, generator=torch.manual_seed(1))
    mapped = LatentWindows.from_latents({k: z @ matrix for k, z in latents.items()}, seed=0, scaling="raw")
    torch.testing.assert_close(windows.mapped(matrix).train, mapped.train)
    torch.testing.assert_close(windows.mapped(matrix).test, mapped.test)


@pytest.mark.parametrize(
    ("frames", "stride", "n_frames"), [(16, 4, 150), (16, 4, 15), (16, 37, 100), (2, 3, 9)]
)
def test_clips_lie_where_they_are_said_to(frames, stride, n_frames):
    clips, starts = Clips(frames, stride), range(0, n_frames - frames + 1, stride)
    assert clips.count(n_frames) == len(starts)
    states = np.random.default_rng(0).normal(size=(3, n_frames, 2, 4))
    expected = states[:, [start + frames // 2 for start in starts]]
    np.testing.assert_array_equal(clips.middles(states), expected)
    assert torch.equal(clips.middles(torch.from_numpy(states)), torch.from_numpy(expected))
    np.testing.assert_array_equal(clips.middles(states[0]), expected[0])
    if starts:
        assert clips.count(clips.frames_for(len(starts))) == len(starts)
        assert clips.count(clips.frames_for(len(starts)) - 1) == len(starts) - 1


def test_clips_are_apart_in_seconds_as_they_are_in_frames():
    assert Clips().seconds(30) == pytest.approx(4 / 30)
    assert Clips().spaced(4 / 15, fps=60) == Clips(16, 16)
    assert Clips().spaced(0.001, fps=30).stride == 1


@pytest.mark.parametrize("split", [split_by_video, split_by_window])
@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
def test_numpy_integers_are_seeds_and_numbers_like_any_other(split, kind):
    for ours, plain in zip(split(kind(9), seed=kind(3)), split(9, seed=3), strict=True):
        assert torch.equal(ours, plain)
    windows = LatentWindows.from_latents(FIFTY, seed=kind(3), length=kind(16))
    assert torch.equal(windows.test, LatentWindows.from_latents(FIFTY, seed=3).test)


@pytest.mark.parametrize("seed", [20261126133244, 2**63, 2**64 + 5, 2**200, -1])
def test_any_whole_number_is_a_seed(seed):
    train, test = split_by_video(50, seed=seed)
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(50))


def test_the_videos_of_windows_are_counted_in_the_latents_given_short_ones_too():
    latents = videos([34, 3, 20, 34, 15, 18])
    with pytest.warns(UserWarning, match="2 videos have fewer"):
        windows = LatentWindows.from_latents(latents, seed=0, scaling="raw")
    names = list(latents)
    for part, of_part in zip(windows[:2], windows[2:4], strict=True):
        for window, video in zip(part, of_part, strict=True):
            assert rows(window) <= rows(latents[names[video]])


def test_latents_of_two_widths_are_refused():
    mixed = {"a": torch.randn(20, 6), "b": torch.randn(20, 8)}
    with pytest.raises(
        ValueError, match="latents of b have width 8, those of a 6: encode all videos with one"
    ):
        LatentWindows.from_latents(mixed, seed=0)


@pytest.mark.parametrize(
    ("latents", "words"),
    [
        ({}, "there are no latents"),
        ({"a": torch.zeros(20, 6, dtype=torch.int64)}, r"must be float \(n_clips, D\), got torch.int64"),
        ({"a": torch.zeros(20)}, r"must be float \(n_clips, D\), got torch.float32 \(20,\)"),
        ({"a": torch.full((20, 6), torch.nan)}, "latents of a hold NaN or infinity at clip 0"),
    ],
)
def test_latents_that_are_none_are_refused(latents, words):
    with pytest.raises(ValueError, match=words):
        LatentWindows.from_latents(latents, seed=0)


@pytest.mark.parametrize(
    ("latents", "words"),
    [
        (torch.zeros(3, 20, 6), "latents must be a dict of tensors by name, .* got Tensor"),
        ([torch.zeros(20, 6)], "latents must be a dict .* got list"),
        ({"a": np.zeros((20, 6))}, "latents of a must be a tensor, got ndarray: use torch.as_tensor"),
    ],
)
def test_latents_that_are_no_tensors_by_name_are_refused(latents, words):
    with pytest.raises(TypeError, match=words):
        LatentWindows.from_latents(latents, seed=0)


def test_latents_without_a_dimension_are_refused():
    with pytest.raises(ValueError, match=r"must be float \(n_clips, D\), got torch.float32 \(20, 0\)"):
        LatentWindows.from_latents({"a": torch.zeros(20, 0)}, seed=0)


@pytest.mark.parametrize("latents", [np.zeros((20, 4)), torch.zeros(20)])
def test_windows_are_made_of_tensors_with_clips(latents):
    with pytest.raises(ValueError, match=rf"tensor \(…, n_clips, D\), got {type(latents).__name__} \(20,"):
        make_windows(latents)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: LatentWindows.from_latents(FIFTY, seed=0, length="5"), "length must be .*, got '5'"),
        (lambda: make_windows(FIFTY["video_00"], 5.0), "length must be a whole number, got 5.0"),
        (lambda: split_by_video(2.5, seed=0), "number of videos must be a whole number, got 2.5"),
        (lambda: split_by_window(5, seed=None), "seed must be a whole number, got None"),
        (lambda: Clips(16, 4.0), "stride must be a whole number, got 4.0"),
    ],
)
def test_what_must_be_whole_is_named(call, words):
    with pytest.raises(TypeError, match=words):
        call()


@pytest.mark.parametrize("lengths", [(0, 4), (16, 0), (16, -4), (16, 2**70)])
def test_clips_that_lie_nowhere_are_refused(lengths):
    with pytest.raises(ValueError, match=r"must be at least 1 and below 2\*\*31, got"):
        Clips(*lengths)


@pytest.mark.parametrize("seconds", [-1, 0, float("nan"), float("inf")])
def test_clips_are_spaced_by_a_time_that_there_is(seconds):
    with pytest.raises(ValueError, match="above 0 and finite, got"):
        Clips().spaced(seconds, 30)


def test_windows_of_no_length_are_refused():
    with pytest.raises(ValueError, match="a window needs at least one embedding, got length 0"):
        make_windows(torch.zeros(20, 4), 0)


def test_files_that_begin_with_a_dot_are_passed_over(tmp_path):
    save_file({"latents": torch.randn(20, 8)}, tmp_path / "a.safetensors")
    (tmp_path / ".unfinished-b.safetensors").write_bytes(b"half")
    assert list(load_latents(tmp_path)) == ["a"]


def damaged(tmp_path):
    save_file({"latents": torch.randn(20, 8)}, tmp_path / "whole")
    return (tmp_path / "whole").read_bytes()[:-50]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (damaged, "is damaged"),
        (lambda _: b"", "is damaged"),
        (lambda _: b"some text that is long enough", "is damaged"),
        ({"weights": torch.zeros(3, 8)}, r"holds \['weights'\], no latents"),
        ({"latents": torch.zeros(3, 6)}, r"has width 6, a.safetensors 8"),
        ({"latents": torch.zeros(0, 8)}, r"float32 \(0, 8\); latents are float32 \(n_clips, D\)"),
        ({"latents": torch.zeros(3, 8, dtype=torch.int64)}, "torch.int64"),
        ({"latents": torch.zeros(3, 8, dtype=torch.float64)}, "torch.float64"),
        ({"latents": torch.zeros(8)}, r"torch.float32 \(8,\)"),
    ],
)
def test_a_file_that_holds_something_else_is_named(tmp_path, content, words):
    save_file({"latents": torch.randn(20, 8)}, tmp_path / "a.safetensors")
    if callable(content):
        (tmp_path / "b.safetensors").write_bytes(content(tmp_path))
    else:
        save_file(content, tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match=words) as refused:
        load_latents(tmp_path)
    assert str(tmp_path / "b.safetensors") in str(refused.value)
