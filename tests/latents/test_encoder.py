"""V-JEPA 2 in and out: loading, clips, framing and bad input, on tiny random weights."""

import json
import shutil
import socket
import subprocess
import sys
import threading
import warnings
from itertools import count

import numpy as np
import pytest
import torch
from helpers import ROOT
from safetensors.torch import load_file, save_file
from transformers import ViTConfig, ViTModel, VJEPA2Config, VJEPA2ForVideoClassification, VJEPA2Model
from transformers import VJEPA2VideoProcessor as Processor

import hjepa_utils.latents.encoder as encoder_module
from hjepa_utils import (
    Encoder,
    encode_video,
    encode_videos,
    load_encoder,
    render_frames,
    simulate_collisions,
    simulate_latents,
    write_video,
)
from hjepa_utils.latents.encoder import EMBEDDED, random_encoder
from hjepa_utils.latents.pictures import resize_frames
from hjepa_utils.latents.video import find_videos

TINY = {"crop_size": 32, "hidden_size": 48, "num_attention_heads": 2, "num_hidden_layers": 2}
TINY |= {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
TINY |= {"num_pooler_layers": 1, "frames_per_clip": 48}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A classifier with random weights, in the format of the paper's checkpoint."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    VJEPA2ForVideoClassification(VJEPA2Config(**TINY, num_labels=5)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tiny(checkpoint):
    return load_encoder(checkpoint, dtype=torch.float32)


@pytest.fixture
def no_network(monkeypatch):
    """Every look-up and connection fails at once; the list counts them."""
    attempts = []

    def refuse(*arguments, **options):
        attempts.append(arguments)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return attempts


def noise(n_frames, height=32, width=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n_frames, 3, height, width), generator=generator, dtype=torch.uint8)


def by_hand(model, video, processor, stride=4):
    """One clip at a time through the library's own processor and its full forward pass."""
    latents = []
    for start in range(0, len(video) - 15, stride):
        pixels = processor(video[start : start + 16], return_tensors="pt")["pixel_values_videos"]
        with torch.no_grad():
            latents.append(model(pixel_values_videos=pixels).last_hidden_state.mean(dim=1))
    return torch.cat(latents)


def test_a_classifier_folder_loads_silently_and_gives_the_models_own_tokens(checkpoint, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder = load_encoder(checkpoint, dtype=torch.float32)
    printed = capfd.readouterr()
    assert "UNEXPECTED" not in printed.err + printed.out and "classifier" not in printed.err + printed.out
    classifier = VJEPA2ForVideoClassification.from_pretrained(checkpoint).vjepa2.eval()
    processor = Processor(do_resize=False, do_center_crop=False)
    expected = by_hand(classifier, noise(24), processor)
    torch.testing.assert_close(encode_video(encoder, noise(24)), expected, rtol=1e-4, atol=1e-5)
    assert encoder.latent_dim == 48 and encoder.image_size == 32
    assert not any(p.requires_grad for p in encoder.model.parameters()) and not encoder.model.training


def test_the_embedded_encoder_needs_no_network(no_network):
    encoder = load_encoder()
    latents = encode_video(encoder, noise(20, 64, 64))
    assert latents.shape == (2, encoder.latent_dim) and latents.dtype == torch.float32
    assert latents.isfinite().all() and next(encoder.model.parameters()).dtype == torch.float32
    assert no_network == []


def test_the_papers_architecture_runs_in_bfloat16():
    """ViT-L with random weights, two of its 24 equal layers, without the predictor's pass.

    At 128 × 128, because most CPUs have to imitate bfloat16: 256 × 256 takes them minutes.
    """
    size = {"hidden_size": 1024, "num_attention_heads": 16, "mlp_ratio": 4}
    with torch.device("meta"):
        whole, model = (
            VJEPA2Model(VJEPA2Config(crop_size=pixels, frames_per_clip=16, num_hidden_layers=n, **size))
            for pixels, n in ((256, 24), (128, 2))
        )
    assert sum(p.numel() for p in whole.encoder.parameters()) == pytest.approx(303.9e6, rel=1e-3)
    model.predictor = None  # must not be called
    model = model.to(torch.bfloat16).to_empty(device="cpu").eval()
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        ones = "norm" in name and name.endswith("weight")
        torch.nn.init.ones_(parameter) if ones else torch.nn.init.normal_(parameter, std=0.02)
    frames = render_frames(simulate_collisions(16, rng=np.random.default_rng(0)))
    latents = encode_video(Encoder("ViT-L", model), torch.from_numpy(frames).permute(0, 3, 1, 2))
    assert latents.shape == (1, 1024) and latents.dtype == torch.float32 and latents.device.type == "cpu"
    assert latents.isfinite().all() and latents.std() > 1e-3


@pytest.mark.parametrize("n_frames", [16, 17, 19, 20, 35, 150])
@pytest.mark.parametrize("stride", [4, 7])
def test_the_number_of_clips(tiny, n_frames, stride):
    expected = len(range(0, n_frames - 15, stride))
    assert encode_video(tiny, noise(n_frames), stride=stride).shape == (expected, 48)


def test_clips_are_the_frames_they_should_be_in_batches_of_any_size(tiny):
    video = noise(30)
    alone = torch.cat([encode_video(tiny, video[4 * k : 4 * k + 16]) for k in range(4)])
    for batch_size in (1, 3, 16):
        together = encode_video(tiny, video, batch_size=batch_size)
        torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    assert (alone[1:] - alone[:-1]).abs().max() > 1e-3


def test_the_processor_framing_is_the_processors_own(tiny):
    """The enlarged picture is rounded differently by the library, by at most one grey level in 256."""
    frames = render_frames(simulate_collisions(16, rng=np.random.default_rng(0)))
    video = torch.from_numpy(frames).permute(0, 3, 1, 2)
    size, crop = {"shortest_edge": round(32 * 292 / 256)}, {"height": 32, "width": 32}
    processor = Processor(size=size, crop_size=crop, do_rescale=False, do_normalize=False)
    pixels = processor(video, return_tensors="pt")["pixel_values_videos"][0]
    assert (resize_frames(video, 32, framing="processor").float() - pixels.float()).abs().max() <= 1
    processor = Processor(size=size, crop_size=crop)
    actual = encode_video(tiny, video, framing="processor")
    torch.testing.assert_close(actual, by_hand(tiny.model, video, processor), rtol=0, atol=0.02)
    assert (actual - encode_video(tiny, video)).abs().max() > 0.02


def test_the_whole_picture_is_seen_when_it_is_resized():
    frames = torch.zeros(1, 3, 256, 256, dtype=torch.uint8)
    frames[..., :8, :] = 255
    assert (resize_frames(frames, 64)[..., 0, :] > 200).all()
    assert (resize_frames(frames, 64, framing="processor") == 0).all()


def test_a_video_file_gives_what_its_frames_give(tiny, tmp_path):
    write_video(tmp_path / "clip.mp4", noise(20).permute(0, 2, 3, 1))
    assert torch.equal(encode_video(tiny, tmp_path / "clip.mp4"), encode_video(tiny, noise(20)))
    with pytest.raises(ValueError, match=r"clip\.mp4 has 20 frames; a clip needs 32"):
        encode_video(tiny, str(tmp_path / "clip.mp4"), clip_frames=32)


@pytest.mark.parametrize(("clip_frames", "stride"), [(16, 1), (16, 7), (16, 16), (16, 37), (48, 5), (2, 3)])
def test_clips_of_any_length_and_stride_hold_the_frames_they_should(tiny, tmp_path, clip_frames, stride):
    """Read piece by piece, pieces shorter and longer than a clip and than what lies between two."""
    video = noise(101)
    write_video(tmp_path / "clip.mp4", video.permute(0, 2, 3, 1))
    options = {"clip_frames": clip_frames, "stride": stride}
    streamed = encode_video(tiny, tmp_path / "clip.mp4", **options)
    starts = range(0, 101 - clip_frames + 1, stride)
    alone = [encode_video(tiny, video[k : k + clip_frames], clip_frames=clip_frames) for k in starts]
    torch.testing.assert_close(streamed, torch.cat(alone), rtol=1e-5, atol=1e-5)


def test_many_videos_give_what_each_gives_alone_in_their_order(tmp_path):
    """The embedded encoder, to the bit: no clip's embedding depends on which others are in the batch."""
    encoder = load_encoder()
    videos = [noise(n, 64, 64, seed=n) for n in (40, 16, 150, 20, 83)]
    write_video(tmp_path / "clip.mp4", videos[2].permute(0, 2, 3, 1))
    given = [videos[0], videos[1], tmp_path / "clip.mp4", videos[3], videos[1], str(tmp_path / "clip.mp4")]
    encoded = list(encode_videos(encoder, given))
    assert [video for video, _ in encoded[2:3] + encoded[5:]] == given[2:3] + given[5:]
    assert all(video is wanted for (video, _), wanted in zip(encoded, given, strict=True))
    for video, latents in encoded:
        ((_, alone),) = encode_videos(encoder, [video])
        assert torch.equal(latents, alone)
        torch.testing.assert_close(latents, encode_video(encoder, video), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 5, 16, 64, None])
def test_batches_go_across_videos_and_are_all_of_one_size(tiny, monkeypatch, batch_size):
    sizes, embed = [], Encoder.embed
    monkeypatch.setattr(
        Encoder, "embed", lambda self, clips: (sizes.append(len(clips)), embed(self, clips))[1]
    )
    videos = [noise(n, seed=n) for n in (16, 40, 17, 30)]  # 1 + 7 + 1 + 4 clips
    encoded = dict(enumerate(latents for _, latents in encode_videos(tiny, videos, batch_size=batch_size)))
    assert [len(latents) for latents in encoded.values()] == [1, 7, 1, 4]
    assert len(set(sizes)) == 1 and sum(sizes) < 13 + sizes[0]
    assert sizes[0] == batch_size or (batch_size is None and sizes[0] > 1)


def test_a_video_that_cannot_be_encoded_comes_with_its_reason_and_the_next_follows(tiny, tmp_path):
    (tmp_path / "empty.mp4").touch()
    write_video(tmp_path / "short.mp4", noise(9).permute(0, 2, 3, 1))
    given = [
        tmp_path / "empty.mp4",
        noise(16),
        noise(16).float(),
        tmp_path / "short.mp4",
        tmp_path / "no.mp4",
    ]
    given += [noise(40)]
    outcomes = [outcome for _, outcome in encode_videos(tiny, given)]
    assert [type(outcome).__name__ for outcome in outcomes] == [
        "ValueError", "Tensor", "ValueError", "ValueError", "FileNotFoundError", "Tensor",
    ]  # fmt: skip
    assert "empty.mp4 is empty" in str(outcomes[0]) and "must be uint8" in str(outcomes[2])
    assert str(outcomes[3]) == "short.mp4 has 9 frames; a clip needs 16: use a longer video"
    assert torch.equal(outcomes[5], encode_video(tiny, noise(40)))
    assert list(encode_videos(tiny, [])) == []
    assert [type(outcome) for _, outcome in encode_videos(tiny, [given[0]])] == [ValueError]


def test_videos_are_taken_as_they_are_needed_and_the_thread_ends_with_the_loop(tiny):
    taken, before = [], threading.active_count()
    endless = (taken.append(k) or noise(40, seed=k) for k in count())
    encoded = encode_videos(tiny, endless, batch_size=4)
    for _, (_, latents) in zip(range(3), encoded, strict=False):
        assert latents.shape == (7, 48)
    encoded.close()
    assert len(taken) < 12 and threading.active_count() == before


def test_a_long_video_is_not_held_in_memory(tmp_path):
    """4,000 frames of 256 × 256 are 790 MB; a new process, because peak memory never falls."""
    code = f"""if True:
        import resource, torch
        from hjepa_utils import encode_video, load_encoder, write_video
        def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        few = torch.zeros(40, 256, 256, 3, dtype=torch.uint8)
        write_video("{tmp_path}/short.mp4", few)
        encoder = load_encoder()
        encode_video(encoder, "{tmp_path}/short.mp4", stride=1)
        before = peak()
        print(len(encode_video(encoder, "{tmp_path}/long.mp4", stride=80)), peak() - before)"""
    source = ["-f", "lavfi", "-i", "color=s=256x256:r=30:c=navy", "-frames:v", "4000", "-pix_fmt", "yuv420p"]
    command = ["ffmpeg", "-v", "error", *source, str(tmp_path / "long.mp4")]
    if not shutil.which("ffmpeg") or subprocess.run(command).returncode:
        pytest.skip("this ffmpeg cannot make the video")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    n_clips, growth = done.stdout.split()
    assert int(n_clips) == 50 and float(growth) < 80  # MB


def test_a_video_that_is_not_square_is_cropped_with_a_warning(tiny):
    wide = noise(16, 32, 50)
    with pytest.warns(UserWarning, match="video is 50×32: its centre square is used"):
        latents = encode_video(tiny, wide)
    assert torch.equal(latents, encode_video(tiny, wide[..., 9:41]))
    with pytest.warns(UserWarning) as caught:
        encode_video(tiny, noise(60, 32, 50))
    assert len(caught) == 1  # not one for each piece


def test_random_weights_are_drawn_from_the_seed(tiny):
    before = torch.random.get_rng_state()
    first, again, other = (random_encoder(tiny, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    video = noise(16)
    assert torch.equal(encode_video(first, video), encode_video(again, video))
    assert not torch.allclose(encode_video(first, video), encode_video(other, video))


@pytest.mark.parametrize(
    ("video", "options", "words"),
    [
        (noise(15), {}, "video has 15 frames; a clip needs 16"),
        (noise(16).float(), {}, "video must be uint8"),
        (noise(16).permute(0, 2, 3, 1), {}, r"must be uint8 \(n_frames, 3, H, W\), got .* \(16, 32, 32, 3\)"),
        (noise(40), {"framing": "stretched"}, r"framing must be one of .*'stretched'"),
        (noise(40), {"clip_frames": 15}, "clip_frames=15 is no multiple of 2"),
        (noise(16)[..., :0], {}, r"video has no pixels: \(16, 3, 32, 0\)"),
        (noise(40), {"stride": 0}, "stride"),
        (noise(40), {"stride": 2**70}, "stride must be at least 1 and below"),
        (noise(40), {"batch_size": 0}, "batch_size"),
    ],
)
def test_an_impossible_video_is_refused(tiny, video, options, words):
    with pytest.raises(ValueError, match=words):
        encode_video(tiny, video, **options)


def test_nan_names_the_video_and_the_clip(tmp_path):
    """Weights that overflow on bright pictures only; frame 25 is first in clip 3 (frames 12 to 27)."""
    torch.manual_seed(0)
    model = VJEPA2Model(VJEPA2Config(**TINY)).eval()
    model.encoder.embeddings.patch_embeddings.proj.weight.data.fill_(1e17)
    model.encoder.embeddings.patch_embeddings.proj.bias.data.zero_()
    frames = torch.full((40, 3, 32, 32), 124, dtype=torch.uint8)  # the mean: next to zero
    frames[:, 1], frames[:, 2] = 116, 104
    frames[25] = 255
    write_video(tmp_path / "bright.mp4", frames.permute(0, 2, 3, 1))
    with pytest.raises(ValueError, match=r"bright\.mp4, clip 3: the encoder gave NaN or infinity"):
        encode_video(Encoder("broken", model), tmp_path / "bright.mp4")
    frames[25] = 124
    videos = [frames, tmp_path / "bright.mp4", frames[:20]]
    outcomes = [outcome for _, outcome in encode_videos(Encoder("broken", model), videos, batch_size=3)]
    assert [len(outcomes[0]), type(outcomes[1]), len(outcomes[2])] == [7, ValueError, 2]
    assert "bright.mp4, clip 3: " in str(outcomes[1])


@pytest.mark.parametrize(
    "name",
    [
        "vjepa",
        "no/such/folder",
        "",
        "a b/c",
        "https://huggingface.co/x/y",
        "../x",
        "./x",
        "a--b/c",
        "a/" + 99 * "b",
    ],
)
def test_an_unknown_encoder_is_refused(name):
    with pytest.raises(ValueError, match=r"unknown encoder .*use \"embedded\", a hub id such as"):
        load_encoder(name)


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path):
    config = ViTConfig(hidden_size=48, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    ViTModel(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="not a V-JEPA 2 checkpoint"):
        load_encoder(tmp_path)


@pytest.mark.parametrize("damaged", ["config.json", "model.safetensors"])
def test_a_checkpoint_without_a_file_or_with_half_of_it_is_refused(checkpoint, tmp_path, damaged):
    shutil.copytree(checkpoint, tmp_path, dirs_exist_ok=True)
    content = (tmp_path / damaged).read_bytes()
    (tmp_path / damaged).write_bytes(content[: len(content) // 2])
    with pytest.raises((ValueError, OSError), match=str(tmp_path)):
        load_encoder(tmp_path)
    (tmp_path / damaged).unlink()
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} holds no {damaged}"):
        load_encoder(tmp_path)


def test_a_hub_encoder_without_network_fails_at_once_and_names_the_embedded_one(no_network):
    with pytest.raises(ConnectionError, match=r'hub cannot be reached .*"embedded"') as refused:
        load_encoder("nobody-at-home/no-such-encoder")
    assert "\n" not in str(refused.value)
    assert len(no_network) <= 2  # not the hub library's five retries


@pytest.mark.parametrize("name", ["nobody/tiny", "nobody/tiny@refs/pr/1"])
def test_a_revision_is_passed_to_the_hub(checkpoint, monkeypatch, name):
    calls, load = [], VJEPA2Model.from_pretrained

    def from_pretrained(source, *, revision=None, **options):
        calls.append((source, revision, options["use_safetensors"], options.get("trust_remote_code", False)))
        return load(checkpoint, **options)

    monkeypatch.setattr(encoder_module.VJEPA2Model, "from_pretrained", from_pretrained)
    assert load_encoder(name).name == name
    repo, _, revision = name.partition("@")
    assert calls == [(repo, revision or None, True, False)]


def test_videos_of_a_folder_are_found_by_name(tmp_path):
    for name in ("b.MP4", "a.webm", "notes.txt", "._b.MP4", ".unfinished-c.mp4"):
        (tmp_path / name).touch()
    assert [path.name for path in find_videos(tmp_path)] == ["a.webm", "b.MP4"]
    with pytest.raises(FileNotFoundError, match="no folder"):
        find_videos(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match="no videos in"):
        find_videos(EMBEDDED)
    (tmp_path / "a.mov").touch()
    with pytest.raises(ValueError, match=r"a\.mov and a\.webm would become the same a\.safetensors"):
        find_videos(tmp_path)


@pytest.mark.parametrize(
    "clips",
    [
        torch.zeros(1, 16, 3, 32, 32, dtype=torch.uint8),
        torch.zeros(1, 16, 3, 64, 128, dtype=torch.uint8),
        torch.zeros(1, 16, 3, 64, 64),
        torch.zeros(1, 16, 64, 64, 3, dtype=torch.uint8),
        torch.zeros(16, 3, 64, 64, dtype=torch.uint8),
        *(torch.zeros(1, n, 3, 64, 64, dtype=torch.uint8) for n in (0, 1, 3, 18, 32)),
        np.zeros((1, 16, 3, 64, 64), np.uint8),
        None,
    ],
)
def test_clips_that_the_encoder_was_not_made_for_are_refused(clips):
    with pytest.raises(
        ValueError, match=r"clips must be uint8 \(B, T, 3, 64, 64\), .*up to 16, got "
    ) as refused:
        load_encoder().embed(clips)
    got = str(refused.value).split("got ")[1]
    assert got == (
        f"{clips.dtype} {tuple(clips.shape)}" if isinstance(clips, torch.Tensor) else type(clips).__name__
    )


def test_an_encoder_keeps_the_sizes_that_its_model_was_built_with(checkpoint):
    """Positions are laid out when a model is built: another size in its config would go unseen."""
    encoder = load_encoder(checkpoint, dtype=torch.float32)
    expected = encode_video(encoder, noise(16))
    encoder.model.config.crop_size, encoder.model.config.frames_per_clip = 64, 64
    assert encoder.image_size == 32 and torch.equal(encode_video(encoder, noise(16)), expected)
    for clips in (noise(16, 64, 64)[None], noise(64)[None]):
        with pytest.raises(ValueError, match=r"clips must be uint8 \(B, T, 3, 32, 32\), .* up to 48, got"):
            encoder.embed(clips)
    with pytest.raises(ValueError, match=r"clip_frames=64: .* was made for at most 48"):
        encode_video(encoder, noise(64), clip_frames=64)
    assert random_encoder(encoder, seed=0).image_size == 32


def test_new_balls_are_drawn_in_their_own_arena(tiny):
    latents = simulate_latents(tiny, 1, seed=7, n_frames=20, size=128.0)
    states = simulate_collisions(20, rng=np.random.default_rng([7, 0]), size=128.0)
    frames = torch.from_numpy(render_frames(states, size=128)).permute(0, 3, 1, 2)
    assert torch.equal(latents[0], encode_video(tiny, frames))
    with pytest.raises(ValueError, match=r"size must be a whole number of pixels, got 128\.5"):
        simulate_latents(tiny, 1, seed=7, n_frames=20, size=128.5)


@pytest.mark.parametrize("n_frames", [2, 8, 16])
def test_clips_up_to_the_length_of_training_are_taken(n_frames):
    assert load_encoder().embed(torch.zeros(3, n_frames, 3, 64, 64, dtype=torch.uint8)).shape == (3, 192)


def test_embeddings_can_go_into_training(tiny):
    """Gradients of a linear map of them are those of the same numbers made otherwise."""
    for z in (tiny.embed(noise(16)[None]), encode_video(tiny, noise(40))):
        layer = torch.nn.Linear(48, 1)
        layer(z).sum().backward()
        torch.testing.assert_close(layer.weight.grad[0], torch.tensor(z.tolist()).sum(dim=0))


def test_numpy_frames_and_integers_are_like_any_other(tiny):
    assert torch.equal(encode_video(tiny, noise(20).numpy()), encode_video(tiny, noise(20)))
    options = {"clip_frames": np.int64(16), "stride": np.int32(8), "batch_size": np.int64(3)}
    plain = {name: int(value) for name, value in options.items()}
    assert torch.equal(encode_video(tiny, noise(40), **options), encode_video(tiny, noise(40), **plain))


def test_arrays_that_run_backwards_or_cannot_be_written_are_like_any_other(tiny, recwarn):
    frames = noise(20).numpy()
    fixed = frames.copy()
    fixed.setflags(write=False)
    assert torch.equal(encode_video(tiny, fixed), encode_video(tiny, noise(20)))
    backwards = frames[::-1, ::-1]  # the film turned round, BGR for RGB
    assert torch.equal(encode_video(tiny, backwards), encode_video(tiny, noise(20).flip(0, 1)))
    assert not recwarn.list


def test_no_clips_have_no_embeddings(tiny):
    assert tiny.embed(noise(16)[None][:0]).shape == (0, tiny.latent_dim)


@pytest.mark.parametrize("video", [None, [1, 2], [np.zeros((3, 32, 32), np.uint8)] * 16, 3, b"a.mp4"])
def test_what_is_no_video_is_named_by_its_type_and_the_others_go_on(tiny, video):
    with pytest.raises(TypeError, match=f"a video must be a path or uint8 .*, got {type(video).__name__}"):
        encode_video(tiny, video)
    first, second, third = encode_videos(tiny, [noise(16), video, noise(20)])
    assert torch.is_tensor(first[1]) and torch.is_tensor(third[1])
    assert isinstance(second[1], TypeError) and second[0] is video


def test_an_open_decoder_is_named_by_its_type(tiny, tmp_path):
    from torchcodec.decoders import VideoDecoder

    write_video(tmp_path / "clip.mp4", noise(16).permute(0, 2, 3, 1))
    with pytest.raises(TypeError, match="got VideoDecoder"):
        encode_video(tiny, VideoDecoder(str(tmp_path / "clip.mp4")))


@pytest.mark.parametrize(
    "videos", ["src.mp4", encoder_module.EMBEDDED / "src.mp4", noise(16), noise(16).numpy(), None, b"a"]
)
def test_one_video_in_place_of_several_is_refused_at_once(tiny, videos):
    with pytest.raises(TypeError, match=f"a list of videos, got one {type(videos).__name__}"):
        encode_videos(tiny, videos)


def test_a_stride_in_seconds_is_that_of_the_frame_rate(tiny, tmp_path):
    for fps, stride in ((15, 3), (50, 10)):
        write_video(tmp_path / "clip.mp4", noise(60).permute(0, 2, 3, 1), fps=fps)
        by_seconds = encode_video(tiny, tmp_path / "clip.mp4", stride_seconds=0.2)
        assert torch.equal(by_seconds, encode_video(tiny, noise(60), stride=stride))
    with pytest.raises(ValueError, match="frames by themselves have no rate, give stride"):
        encode_video(tiny, noise(60), stride_seconds=0.2)


def test_what_to_do_about_nan_depends_on_the_weights_and_their_format(tiny):
    model = VJEPA2Model(VJEPA2Config(**TINY)).eval()
    half = Encoder("half", VJEPA2Model(VJEPA2Config(**TINY)).to(torch.float16))
    assert "load it with dtype=torch.float32" in half.why_not_finite()
    assert "take another encoder" in Encoder("overflowing", model).why_not_finite()
    next(model.parameters()).data[0] = torch.nan
    with pytest.raises(
        ValueError, match="NaN or infinity, which stand in its weights: download or save it again"
    ):
        encode_video(Encoder("damaged", model), noise(16))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("[1]", "config.json is damaged"),
        ("{", "config.json is damaged"),
        ("[" * 100_000, "config.json is damaged"),
        ('{"model_type": "vit"}', "is not a V-JEPA 2 checkpoint: its config.json says 'vit'"),
        ({"hidden_size": 24}, "its weights do not fit its config.json"),
        ({"hidden_size": "wide"}, "its weights do not fit its config.json"),
        ({"num_attention_heads": 0}, "its weights do not fit its config.json"),
    ],
)
def test_a_configuration_that_does_not_fit_is_told_in_one_sentence(checkpoint, tmp_path, config, words):
    shutil.copytree(checkpoint, tmp_path, dirs_exist_ok=True)
    if isinstance(config, dict):
        config = json.dumps(json.loads((tmp_path / "config.json").read_text()) | config)
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ValueError, match=words) as refused:
        load_encoder(tmp_path)
    assert str(tmp_path) in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int64", "bool", "float8_e4m3fn"])
@pytest.mark.parametrize("which", ["all", "one"])
def test_quantised_weights_are_refused(checkpoint, tmp_path, kind, which):
    """Without their scales, which lie elsewhere, they are other weights."""
    shutil.copytree(checkpoint, tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    names = [name for name in weights if name.startswith("vjepa2.encoder")]
    for name in names if which == "all" else names[-1:]:
        weights[name] = (100 * weights[name]).to(getattr(torch, kind))
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ValueError, match=rf"{tmp_path}/model\.safetensors holds .* in \w+: .*save it in float32"
    ):
        load_encoder(tmp_path)


def test_quantised_shards_and_those_in_the_hubs_cache_are_refused(checkpoint, tmp_path, monkeypatch):
    model = VJEPA2Model.from_pretrained(checkpoint)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    shard = sorted(tmp_path.glob("model-*-of-*.safetensors"))[-1]
    weights = {name: tensor.to(torch.int8) for name, tensor in load_file(shard).items()}
    save_file(weights, shard, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=rf"{shard.name} holds .* in I8"):
        load_encoder(tmp_path)
    load = VJEPA2Model.from_pretrained
    monkeypatch.setattr(VJEPA2Model, "from_pretrained", lambda _, **options: load(tmp_path, **options))
    monkeypatch.setattr(
        encoder_module, "try_to_load_from_cache", lambda *_, **__: str(tmp_path / "config.json")
    )
    with pytest.raises(ValueError, match=rf"{shard.name} holds .* in I8"):
        load_encoder("someone/quantised")


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "fp8", "unknown"])
def test_a_configuration_with_a_quantisation_is_refused_in_one_sentence(checkpoint, tmp_path, method):
    shutil.copytree(checkpoint, tmp_path, dirs_exist_ok=True)
    quantised = {"quantization_config": {"quant_method": method, "bits": 4, "load_in_8bit": True}}
    config = json.dumps(json.loads((tmp_path / "config.json").read_text()) | quantised)
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(
        ValueError, match=f"{tmp_path} (holds quantised weights|: its weights do not fit)"
    ) as refused:
        load_encoder(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_every_precision_are_read_with_their_values(checkpoint, tmp_path, kind):
    shutil.copytree(checkpoint, tmp_path, dirs_exist_ok=True)
    weights = {name: tensor.to(kind) for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    read = load_encoder(tmp_path, dtype=torch.float32).model.state_dict()
    for name, tensor in read.items():
        assert torch.equal(tensor, weights[f"vjepa2.{name}"].float())
