"""timm's ViT, frame by frame."""

import pytest
import timm
import torch

from hjepa_utils.latents.image_encoder import encode_images, load_image_encoder

SMALL = {"name": "vit_tiny_patch16_224", "image_size": 32}


def test_a_clip_is_the_mean_of_its_frames_features():
    model, origin = load_image_encoder(pretrained=False, seed=0, **SMALL)
    frames = torch.randint(0, 256, (24, 3, 32, 32), dtype=torch.uint8, generator=torch.manual_seed(1))
    clips = encode_images(model, frames, batch_size=7)
    assert origin == "random weights" and clips.shape == (3, model.num_features)
    config = timm.data.resolve_model_data_config(model)
    mean, std = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        by_hand = model((frames[4:20] / 255 - mean) / std).mean(dim=0)
    torch.testing.assert_close(clips[1], by_hand, rtol=1e-4, atol=1e-5)


def test_it_is_blind_to_the_order_of_frames():
    model, _ = load_image_encoder(pretrained=False, seed=0, **SMALL)
    frames = torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8, generator=torch.manual_seed(1))
    torch.testing.assert_close(encode_images(model, frames), encode_images(model, frames.flip(0)))


def test_random_weights_follow_the_seed_and_leave_the_generator_alone():
    before = torch.random.get_rng_state()
    first, again, other = (load_image_encoder(pretrained=False, seed=s, **SMALL)[0] for s in (0, 0, 1))
    weights = [model.blocks[0].attn.qkv.weight for model in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_without_a_hub_random_weights_are_used_and_said(monkeypatch, capsys):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    _, origin = load_image_encoder(pretrained=True, seed=0, **SMALL)
    assert origin == "random weights"
    assert "no pretrained weights" in capsys.readouterr().out


@pytest.mark.parametrize(
    "frames",
    [torch.zeros(20, 3, 32, 32), torch.zeros(20, 32, 32, 3).byte(), torch.zeros(15, 3, 32, 32).byte()],
)
def test_frames_of_another_kind_are_refused(frames):
    model, _ = load_image_encoder(pretrained=False, seed=0, **SMALL)
    with pytest.raises(ValueError, match=r"frames must be uint8 \(n_frames, 3, H, W\), at least 16, got "):
        encode_images(model, frames)


def test_sides_that_are_cut_off_are_told_of_once_a_video():
    model, _ = load_image_encoder(pretrained=False, seed=0, **SMALL)
    with pytest.warns(UserWarning, match="is 40×32: its centre square is used") as told:
        encode_images(model, torch.zeros(24, 3, 32, 40, dtype=torch.uint8), batch_size=7)
    assert len(told) == 1


def test_features_can_go_into_training():
    model, _ = load_image_encoder(pretrained=False, seed=0, **SMALL)
    z = encode_images(model, torch.zeros(20, 3, 32, 32, dtype=torch.uint8))
    layer = torch.nn.Linear(z.shape[1], 1)
    layer(z).sum().backward()
    torch.testing.assert_close(layer.weight.grad[0], torch.tensor(z.tolist()).sum(dim=0))
