"""The Hamiltonian GAN in action-angle variables, against autograd and the properties it is built for."""

import math

import numpy as np
import pytest
import torch

from hjepa_utils.systems.gan.angles import AngleGAN, AngleMotion


def rng(seed=0):
    return np.random.default_rng(seed)


def small(**options):
    torch.manual_seed(0)
    model = AngleGAN(channels=4, **options)
    with torch.no_grad():  # its batch norms know means and deviations, without which fresh pictures are grey
        for seed in range(30):
            model.imagine(model.draw_noise(8, rng(seed)), 2)
    return model


def motion_and_noise(n=64, motion_dim=4):
    torch.manual_seed(0)
    motion = AngleMotion(motion_dim).double()
    return motion, torch.from_numpy(rng().standard_normal((n, motion_dim)))


def test_angles_turn_at_the_slope_of_the_energy_and_actions_stay():
    motion, noise = motion_and_noise()
    states = motion(noise, 5)
    angle, action = states.detach().chunk(2, dim=-1)
    leaf = states[:, 0].detach().requires_grad_()
    (slope,) = torch.autograd.grad(motion.energy(leaf).sum(), leaf)
    per_frame = motion.frame_time * slope[:, 2:]
    torch.testing.assert_close(angle[:, 1:] - angle[:, :-1], per_frame[:, None].expand(-1, 4, -1))
    assert (slope[:, :2] == 0).all() and (per_frame.std(dim=0) > 1e-4).all()  # each at a rate of its own
    assert torch.equal(action, action[:, :1].expand_as(action))


def test_any_time_step_is_exact_also_backwards():
    motion, noise = motion_and_noise()
    whole, halves = motion(noise, 4), motion(noise, 7, speed=0.5)
    torch.testing.assert_close(halves[:, ::2], whole)
    back = motion(noise, 4, speed=-1.0)
    torch.testing.assert_close(back + whole, 2 * whole[:, :1].expand_as(whole))


def test_states_are_spread_at_every_time_as_at_the_first():
    motion, noise = motion_and_noise(4000)
    angle, _ = motion(noise, 200).detach().chunk(2, dim=-1)
    for frame in (0, 100, 199):
        turns = (angle[:, frame] / (2 * math.pi)).remainder(1).sort(dim=0).values
        even = torch.linspace(0, 1, len(turns), dtype=torch.float64)[:, None]
        assert (turns - even).abs().max() < 1.63 / math.sqrt(len(turns))  # Kolmogorov–Smirnov, 1 %


def test_a_turn_more_is_the_same_picture():
    model = small().double().eval()
    noise = torch.from_numpy(rng().standard_normal((3, model.noise_dim)))
    turns = []
    with torch.no_grad():
        first = model.imagine(noise, 1)[0]
        model.motion.register_forward_hook(lambda _, given, states: turns.append(states) or turned(states))
        torch.testing.assert_close(model.imagine(noise, 1)[0], first)
    assert len(turns) == 1


def turned(states):
    """With every angle once around."""
    angle, action = states.chunk(2, dim=-1)
    return torch.cat([angle + 2 * math.pi, action], dim=-1)


def test_it_samples_and_comes_back_from_a_folder(tmp_path):
    model = small()
    model.save_pretrained(tmp_path)
    first = model.sample(3, 5, rng=rng(1))
    assert first.shape == (3, 5, 3, 32, 32) and first.dtype == torch.uint8
    assert torch.equal(first, AngleGAN.from_pretrained(tmp_path).sample(3, 5, rng=rng(1)))
    assert not torch.equal(first, model.sample(3, 5, rng=rng(2)))


@pytest.mark.parametrize(("wrong", "words"), [
    ({"motion_dim": 3}, "needs an even number of dimensions, got 3"),
    ({"motion_dim": 0}, "motion_dim must be a whole number, 1 or more, got 0"),
    ({"frame_time": 0.0}, "frame_time must be finite and positive, .* got 0"),
])  # fmt: skip
def test_widths_and_times_that_are_none_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        AngleGAN(**wrong)
