"""The models: what moves, what is conserved, what a video depends on, and what is saved."""

import numpy as np
import pytest
import torch

from hjepa_utils import HNN, SeparableHNN, leapfrog_step
from hjepa_utils.systems.gan.hgn import HGN, unfixed_step
from hjepa_utils.systems.gan.model import MOTIONS, VideoGAN
from hjepa_utils.systems.gan.motion import GRUMotion, HamiltonianMotion
from hjepa_utils.systems.gan.networks import Discriminators, MinibatchDeviation, to_bytes, to_unit

NAMES = list(MOTIONS)
HAMILTONIAN = ("HGAN", "HNN-GAN")


def rng(seed=0):
    return np.random.default_rng(seed)


def small(name="HGAN", **options):
    torch.manual_seed(0)
    return seen_batches(VideoGAN(name, channels=4, **options))


def small_hgn(**options):
    torch.manual_seed(0)
    return seen_batches(HGN(channels=4, **options))


@torch.no_grad()
def seen_batches(model):
    """Its batch norms know means and deviations, without which fresh pictures are grey."""
    for seed in range(30):
        model.imagine(model.draw_noise(8, rng(seed)), 2)
    return model


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_videos_and_follow_the_seed(name):
    model = small(name)
    first, again, other = (model.sample(3, 5, rng=rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (3, 5, 3, 32, 32) and first.dtype == torch.uint8
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert model.training  # as it was


def test_a_video_does_not_depend_on_its_company():
    many, one = (small().sample(n, 4, rng=rng()) for n in (70, 1))
    assert (many[:1].int() - one.int()).abs().max() <= 1  # products of another batch size round otherwise


@pytest.mark.parametrize("name", HAMILTONIAN)
def test_a_tenth_of_the_time_step_ten_times_is_the_same_motion(name):
    motion = small(name).eval().motion
    noise = torch.randn(4, 20, generator=torch.Generator().manual_seed(0))
    whole, tenths = motion(noise, 5), motion(noise, 41, speed=0.1)[:, ::10]
    moved = (whole[:, -1] - whole[:, 0]).norm()
    assert moved > 0.05 * whole[:, 0].norm()
    assert (tenths[:, -1] - whole[:, -1]).norm() < 0.1 * moved  # one is made of ten times longer steps


def test_negative_time_goes_back_with_a_symplectic_step():
    torch.manual_seed(0)
    motion = HamiltonianMotion(SeparableHNN(20, (30,)), normalise=False).double()
    start = torch.randn(3, 20, dtype=torch.float64)
    there = motion(start, 9)
    back = motion(there[:, -1], 9, speed=-1.0)
    assert torch.allclose(back.flip(1), there, atol=1e-12)
    assert (there[:, -1] - start).norm() > 0.1


@pytest.mark.parametrize(("energy", "step"), [
    ("SeparableHNN", "leapfrog_step"), ("HNN", "stormer_verlet_step"),
])  # fmt: skip
def test_the_learned_energy_stays_with_a_symplectic_pair(energy, step):
    motion = small(energy=energy, step=step).double().eval().motion
    noise = torch.randn(8, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def drift(speed, n):
        energies = motion.energy(motion(noise, n, speed=speed))
        return (energies - energies[:, :1]).abs().max()

    with torch.no_grad():
        coarse, fine = drift(0.2, 6), drift(0.1, 11)
    assert 3 < coarse / fine < 5  # second order


def test_momenta_change_at_the_rate_the_motion_has():
    motion = small().double().eval().motion
    noise = torch.randn(4, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    states, dt = motion(noise, 3, speed=1e-3), 0.5e-3
    p = states.chunk(2, dim=-1)[1]
    rates = motion.momentum_rates(states)
    assert torch.allclose((p[:, 2] - p[:, 0]) / (2 * dt), rates[:, 1], atol=1e-4) and rates.abs().max() > 0.01


def test_normalised_starts_have_mean_0_and_deviation_1_over_a_batch():
    noise = torch.randn(64, 20, generator=torch.Generator().manual_seed(0))
    start = small().motion(noise, 1)[:, 0]
    assert torch.allclose(start.mean(0), torch.zeros(20), atol=1e-5)
    assert torch.allclose(start.std(0, correction=0), torch.ones(20), atol=1e-3)


def test_a_fresh_hamiltonian_moves_with_half_a_unit_and_hardly_with_the_papers_step():
    noise = torch.randn(64, 20, generator=torch.Generator().manual_seed(0))

    def share(frame_time):
        states = small(frame_time=frame_time).motion(noise, 16)
        return ((states[:, -1] - states[:, 0]).norm(dim=-1) / states[:, 0].norm(dim=-1)).mean().item()

    assert share(0.05) < 0.1 < 0.25 < share(0.5)


def test_a_gru_knows_its_own_time_step_only():
    with pytest.raises(ValueError, match=r"a GRU moves by its own time step only, got 0\.5"):
        small("MoCoGAN").sample(1, 4, rng=rng(), dt=0.025)


def test_the_content_stays_and_the_motion_moves():
    model = small("HGAN").eval()
    noise = model.draw_noise(2, rng())
    swapped = torch.cat([noise[:, :20], noise[:, 20:].flip(0)], dim=1)
    with torch.no_grad():
        assert torch.equal(model.imagine(noise, 4)[1], model.imagine(swapped, 4)[1])
        assert not torch.equal(model.imagine(noise, 4)[0], model.imagine(swapped, 4)[0])


@pytest.mark.parametrize("build", [small, lambda: small("MoCoGAN"), small_hgn])
def test_what_is_saved_comes_back(build, tmp_path):
    model = build()
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert torch.equal(model.sample(2, 3, rng=rng()), again.sample(2, 3, rng=rng()))


def test_the_four_models_have_as_many_parameters_as_published():
    count = {name: sum(p.numel() for p in VideoGAN(name).motion.parameters()) for name in NAMES}
    assert count["HGAN"] - count["HNN-GAN"] == 14_220 and count["HNN-GAN"] == 12_301  # f, and H
    assert count["MoCoGAN"] == 3 * (20 * 100 + 100 * 100 + 200) + 20 * 100 + 20


def test_hgn_reconstructs_from_what_it_sees_first():
    model = small_hgn()
    frames = torch.randint(0, 256, (2, 8, 3, 32, 32), dtype=torch.uint8)
    changed = frames.clone()
    changed[:, 5:] = 0
    said = model.reconstruct(frames, 12)
    assert said.shape == (2, 12, 3, 32, 32) and torch.equal(said, model.reconstruct(changed, 12))
    with pytest.raises(ValueError, match="HGN sees 5 frames or more of 3 × 32 × 32"):
        model.reconstruct(frames[:, :4], 12)


def test_hgn_draws_pictures_of_q_alone():
    model = small_hgn().eval()
    states = model.motion(torch.randn(1, 20), 1)
    with torch.no_grad():
        pictures = model.imagine(torch.randn(1, 20), 1)[0]
    assert model.pictures.layers[0].in_channels == states.shape[-1] // 2 and pictures.shape[1] == 1


class Oscillator(HNN):
    """H = q²/2 + p²/(2m)."""

    def __init__(self, mass):
        super().__init__(2, (3,))
        self.mass = mass

    def gradient_q(self, z):
        return z[..., :1]

    def gradient_p(self, z):
        return z[..., 1:] / self.mass


def test_the_unfixed_step_is_the_leapfrog_for_mass_1_and_ignores_every_other():
    z = torch.tensor([[0.8, -0.3]], dtype=torch.float64)
    assert torch.allclose(unfixed_step(Oscillator(1.0), z, 0.1), leapfrog_step(Oscillator(1.0), z, 0.1))
    assert torch.equal(unfixed_step(Oscillator(4.0), z, 0.1), unfixed_step(Oscillator(1.0), z, 0.1))
    assert not torch.allclose(unfixed_step(Oscillator(4.0), z, 0.1), leapfrog_step(Oscillator(4.0), z, 0.1))
    assert small_hgn(step="unfixed_step").motion.step is unfixed_step


def test_discriminators_take_their_pictures_only():
    told = Discriminators(8, channels=4)
    frames = torch.zeros(3, 8, 3, 32, 32)
    assert told.video(frames).shape == told.image(frames[:, 0]).shape == (3,)
    with pytest.raises(ValueError, match=r"takes \('B', 8, 3, 32, 32\), got \(3, 7, 3, 32, 32\)"):
        told.video(frames[:, :7])
    with pytest.raises(ValueError, match="takes 8, 16, 24 … frames, got 12"):
        Discriminators(12)


def test_the_minibatch_channel_is_the_mean_deviation_over_the_batch():
    x = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    added = MinibatchDeviation()(x)
    assert torch.equal(added[:, :3], x) and added.shape[1] == 4
    np.testing.assert_allclose(added[:, 3], np.full((5, 4, 4), x.numpy().std(axis=0).mean()), rtol=1e-5)
    alike = torch.ones(5, 3, 4, 4, requires_grad=True)
    MinibatchDeviation()(alike).sum().backward()
    assert alike.grad is not None and alike.grad.isfinite().all()


def test_bytes_and_units_are_each_others_inverse():
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(to_unit(every)), every) and to_unit(every).min() == -1


@pytest.mark.parametrize(("call", "words"), [
    (lambda: VideoGAN("GAN"), "no model 'GAN'; there are HGAN, HNN-GAN, MoCoGAN"),
    (lambda: VideoGAN(energy="kinetic"), "no energy 'kinetic'; there are HNN, SeparableHNN"),
    (lambda: VideoGAN(step="leap"), "no step 'leap'; there are leapfrog_step"),
    (lambda: small().sample(0, 4, rng=rng()), "n must be a whole number, 1 or more, got 0"),
    (lambda: small().sample(1, 0, rng=rng()), "n_frames must be a whole number, 1 or more, got 0"),
    (lambda: small().sample(1, 4, rng=3), "rng must be a numpy.random.Generator, got int"),
    (lambda: small().sample(1, 4, rng=rng(), dt=np.nan), "dt must be a number, from -1000 to 1000, got nan"),
    (lambda: small().sample(1, 4, rng=rng(), dt="0.1"), "dt must be a number, from -1000 to 1000, got '0.1'"),
    (lambda: small().sample(True, 4, rng=rng()), "n must be a whole number, 1 or more, got True"),
    (lambda: VideoGAN(["HGAN"]), r"no model \['HGAN'\]; there are HGAN"),
    (lambda: VideoGAN(channels=0), "channels must be a whole number, 1 or more, got 0"),
    (lambda: VideoGAN(motion_dim=-2), "motion_dim must be a whole number, 1 or more, got -2"),
    (lambda: VideoGAN(motion_dim=3), "needs an even number of dimensions, got 3"),
    (lambda: VideoGAN(content_dim=-1), "content_dim must be a whole number, 0 or more, got -1"),
    (lambda: VideoGAN(frame_time=float("nan")), "frame_time must be finite and positive, .* got nan"),
    (lambda: HGN(n_seen=0), "n_seen must be a whole number, 1 or more, got 0"),
    (lambda: HGN(channels=2.5), "channels must be a whole number, 1 or more, got 2.5"),
    (lambda: Discriminators(8.0), "n_frames must be a whole number, 1 or more, got 8.0"),
    (lambda: Discriminators(8, 0), "channels must be a whole number, 1 or more, got 0"),
    (lambda: small_hgn().reconstruct(torch.zeros(1, 5, 3, 32, 32), 2),
     r"frames are uint8 \(n, T, 3, 32, 32\), got float32 \(1, 5, 3, 32, 32\): use a uint8 tensor"),
])  # fmt: skip
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_motions_are_exchangeable():
    noise = torch.randn(3, 20)
    for motion in (GRUMotion(), HamiltonianMotion(HNN(20, (8,))), HamiltonianMotion(SeparableHNN(20, (8,)))):
        assert motion(noise, 6).shape == (3, 6, 20)
