"""Clips a second of the encoders from tensors on the device, as they are and made faster."""

import copy
from dataclasses import replace

import torch
from torch import nn

from ...experiment.timing import side_by_side
from ...latents.encoder import load_encoder
from . import encoder_rates
from .measure_record import difference

ONE, PLAIN, FASTER = "one clip at a time, predictor on", "plain", "product and compiled layers"
CLIP_FRAMES = 16


class PatchProduct(nn.Module):
    """A `Conv3d` whose kernel is its stride as one matrix product, on the same weights.

    cuDNN computes it without tensor cores. (B, C, T, H, W) → (B, D, T/t, H/h, W/w).
    """

    def __init__(self, convolution):
        super().__init__()
        if convolution.kernel_size != convolution.stride:
            raise ValueError(
                f"patches must not overlap: kernel {convolution.kernel_size}, stride {convolution.stride}"
            )
        self.weight, self.bias, self.patch = convolution.weight, convolution.bias, convolution.kernel_size

    def forward(self, videos):
        for axis, size in zip((2, 3, 4), self.patch, strict=True):
            videos = videos.unfold(axis, size, size)  # (B, C, T/t, H/h, W/w, t, h, w)
        patches = videos.movedim(1, 4).flatten(4)
        return nn.functional.linear(patches, self.weight.flatten(1), self.bias).movedim(-1, 1)


def with_patch_product(encoder):
    """A copy of the encoder whose patches are embedded by `PatchProduct`."""
    encoder = replace(encoder, model=copy.deepcopy(encoder.model))
    embedding = encoder.model.encoder.embeddings.patch_embeddings
    embedding.proj = PatchProduct(embedding.proj)
    return encoder


def with_compiled_layers(encoder):
    """A copy whose layers are compiled: all are one code, compiled once for a batch size."""
    encoder = replace(encoder, model=copy.deepcopy(encoder.model))
    for layer in encoder.model.encoder.layer:
        layer.compile(dynamic=False)
    return encoder


def faster(encoder):
    """Both: equal to rounding, slow at the first batch of a size."""
    return with_compiled_layers(with_patch_product(encoder))


def encoders(record, into):
    """Clips a second, the share of a large product's rate, and how far the embeddings are from the plain."""
    on_gpu = record.device.type == "cuda"
    half = [torch.bfloat16] if on_gpu else []  # on a CPU without such products it takes minutes
    made = {"ViT-L": half, "embedded": [*half, torch.float32]}
    for name, batches in record.settings["encoder_batches"].items():
        for dtype in made[name]:
            key = f"{name}, {str(dtype).removeprefix('torch.')}"
            record.attempt(key, _one_encoder, record, name, dtype, batches, into.setdefault(key, {}))
            record.save()


def _one_encoder(record, name, dtype, batches, into):
    if name == "embedded":
        plain = load_encoder(name, device=record.device, dtype=dtype)
    else:
        plain = encoder_rates.random_vit_l(record.device, dtype)
    flops, rate = encoder_rates.flops_per_clip(plain), encoder_rates.matrix_rate(record.device, dtype)
    into |= {"attention": plain.model.config._attn_implementation}
    into |= {"operations per clip": flops, "matrix rate": rate}
    record.say(f"{name} is there")
    ways = {
        PLAIN: plain,
        "product": with_patch_product(plain),
        "compiled layers": with_compiled_layers(plain),
        FASTER: faster(plain),
    }
    for batch in batches:
        if batch == batches[0]:
            here = ways
        elif record.left > 200:
            here = {key: ways[key] for key in (PLAIN, FASTER)}
        else:
            record.note(f"{name}, batch {batch}", f"left out, {record.left:.0f} s were left")
            continue
        into[f"batch {batch}"] = _rates(record, f"{name}, batch {batch}", here, batch, flops / rate)
        record.save()


def _rates(record, name, ways, batch, seconds_at_best):
    """{way: clips a second, share of the matrix rate, difference from plain}; of one clip at a time, too."""
    clips, expected = _clips(ways[PLAIN], batch), None
    calls, apart = {}, {}
    for way, encoder in ways.items():
        latents = record.attempt(f"{name}, {way}", encoder.embed, clips)
        if latents is None:
            continue
        expected = latents if way == PLAIN else expected
        record.say(f"{name}, {way} has begun")
        calls[way] = lambda encoder=encoder: encoder.embed(clips)
        apart[way] = None if expected is None else difference(latents, expected)
    calls[ONE] = lambda: encoder_rates.embed_one_by_one(ways[PLAIN], clips[:4])
    taken = record.timed(name, calls, at_most=8)
    n_clips = {key: min(batch, 4) if key == ONE else batch for key in taken}
    rates = {key: n_clips[key] / s for key, s in taken.items()}
    row = side_by_side(rates, PLAIN).to_dict() if PLAIN in rates else {}
    for key in row:
        row[key] |= {"share": row[key]["median"] * seconds_at_best, "difference from plain": apart.get(key)}
    if record.device.type == "cuda":
        row["peak bytes"] = {way: _peak(call) for way, call in calls.items()}
    return row | {"rounds": len(next(iter(taken.values()), ()))}


def _clips(encoder, batch):
    """uint8 (B, 16, 3, S, S) of noise on the device."""
    shape = (batch, CLIP_FRAMES, 3, encoder.image_size, encoder.image_size)
    generator = torch.Generator(encoder.device).manual_seed(0)
    return torch.randint(0, 256, shape, dtype=torch.uint8, device=encoder.device, generator=generator)


def _peak(call):
    """Bytes of the GPU's memory at most, and those in use before: weights, clips, what others hold."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return {"at most": torch.cuda.max_memory_allocated(), "before": before}
