"""The model as a whole: shapes, units, bad input, saving, planning."""

import pytest
import torch

from hjepa_utils import HamiltonianWorldModel, seeded
from hjepa_utils.systems.world_model.episodes import draw_actions

SIZES = {"pendulum": (2, 1, 8), "balls": (8, 2, 4)}  # D, A, K


def model_of(world):
    with seeded(0):
        return HamiltonianWorldModel(world).eval()


def pictures(n, n_frames, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, n_frames, 3, 64, 64), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("world", SIZES)
def test_shapes_of_everything(world):
    model, (width, action_dim, n_frames) = model_of(world), SIZES[world]
    assert (model.action_dim, model.n_frames) == (action_dim, n_frames)
    with torch.no_grad():
        z = model.encode(pictures(3, n_frames + 2))
        actions = torch.zeros(3, 5, action_dim)
        states = model.rollout(z, actions)
        ledger = model.energy_ledger(z, actions)
    assert z.shape == (3, width)
    assert states.shape == (3, 6, width)
    assert all(entry.shape == (3, 6) for entry in ledger)
    drawn = model.decode(states)
    assert drawn.shape == (3, 6, 3, 64, 64)
    assert drawn.dtype == torch.uint8


@pytest.mark.parametrize("world", SIZES)
def test_a_state_is_read_from_the_last_pictures_and_the_pushes_between_them(world):
    model, (width, action_dim, n_frames) = model_of(world), SIZES[world]
    shown, pushed = pictures(2, n_frames + 3), torch.rand(2, n_frames + 2, action_dim)
    with torch.no_grad():
        z = model.encode(shown, pushed)
        last = model.encode(shown[:, 3:], pushed[:, 3:])
        alone = model.encoder(model.pictures(shown[:, -1]))
    torch.testing.assert_close(z, last)
    torch.testing.assert_close(z[:, : width // 2], alone)


def test_an_empty_picture_is_nothing():
    white, black = (torch.full((1, 3, 64, 64), level, dtype=torch.uint8) for level in (255, 0))
    assert (model_of("pendulum").pictures(white) == 0).all()
    assert (model_of("balls").pictures(black) == 0).all()


@pytest.mark.parametrize("world", SIZES)
def test_from_pretrained_gives_it_back(world, tmp_path):
    with seeded(1):
        model = HamiltonianWorldModel(world, n_frames=3, residual=0.5).eval()
    model.save_pretrained(tmp_path)
    again = HamiltonianWorldModel.from_pretrained(tmp_path)
    assert not again.training
    shown = pictures(2, 3)
    with torch.no_grad():
        z, z_again = model.encode(shown), again.encode(shown)
        actions = torch.ones(2, 4, model.action_dim)
        assert torch.equal(z, z_again)
        assert torch.equal(model.rollout(z, actions), again.rollout(z, actions))
        assert torch.equal(model.decode(z), again.decode(z))
    assert again.n_frames == 3


def test_another_world_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="no world model for 'cartpole'; there are pendulum, balls"):
        HamiltonianWorldModel("cartpole")


BAD_FRAMES = [
    (pictures(2, 7), ValueError, "momenta from 8 frames, got 7"),
    (pictures(2, 8).float(), TypeError, "uint8 tensor, got torch.float32"),
    (pictures(2, 8).numpy(), TypeError, "uint8 tensor, got uint8"),
    (pictures(2, 8)[..., :32], ValueError, r"\(B, T, 3, 64, 64\), got \(2, 8, 3, 64, 32\)"),
    (pictures(2, 8)[0], ValueError, r"got \(8, 3, 64, 64\)"),
]


@pytest.mark.parametrize(("frames", "error", "words"), BAD_FRAMES)
def test_pictures_that_are_none_are_refused(frames, error, words):
    with pytest.raises(error, match=words):
        model_of("pendulum").encode(frames)


BAD_ACTIONS = [
    (torch.zeros(2, 5), r"shape \(2, n, 1\), got \(2, 5\)"),
    (torch.zeros(2, 5, 3), r"got \(2, 5, 3\)"),
    (torch.zeros(3, 5, 1), r"got \(3, 5, 1\)"),
    (torch.full((2, 5, 1), torch.nan), "finite, got NaN"),
    (torch.full((2, 5, 1), 2.5), r"within ± 2\.0, got 2\.5: clip them"),
]


@pytest.mark.parametrize(("actions", "words"), BAD_ACTIONS)
def test_actions_that_are_none_are_refused(actions, words):
    model, z = model_of("pendulum"), torch.zeros(2, 2)
    for call in (model.rollout, model.energy_ledger):
        with pytest.raises(ValueError, match=words):
            call(z, actions)


def test_actions_must_fit_the_pictures():
    with pytest.raises(ValueError, match=r"shape \(2, 7, 1\), got \(2, 8, 1\)"):
        model_of("pendulum").encode(pictures(2, 8), torch.zeros(2, 8, 1))


def test_a_plan_from_pictures_is_within_bounds_and_goes_where_it_is_wanted():
    """Go fast: with the pendulum's push in one direction, the best actions are all at one bound."""
    model, shown = model_of("pendulum"), pictures(2, 9)
    rng = torch.Generator().manual_seed(0)
    settings = {"horizon": 5, "n_iterations": 15, "n_candidates": 200, "n_elite": 20, "min_std": 0.0}
    plan = model.plan(shown, lambda states, actions: states[..., -1, 1], rng=rng, **settings)
    assert plan.shape == (2, 5, 1)
    assert plan.min() > 1.9
    assert plan.max() <= 2.0


def test_a_plan_starts_from_the_state_that_the_pictures_show():
    model, shown, pushed = model_of("pendulum"), pictures(2, 9), torch.rand(2, 8, 1)
    starts = []

    def utility(states, actions):
        starts.append(states[:, :, 0])
        return -actions.square().sum(dim=(-2, -1))

    model.plan(shown, utility, rng=torch.Generator(), actions=pushed, n_iterations=1)
    wanted = model.encode(shown, pushed).detach()
    torch.testing.assert_close(starts[0], wanted[:, None].expand(-1, 100, -1))
    with pytest.raises(ValueError, match="momenta from 8 frames, got 7"):
        model.plan(shown[:, :7], utility, rng=torch.Generator())


def test_actions_to_explore_with():
    import numpy as np

    actions = draw_actions(40, 200, 2, 1.5, rng=np.random.default_rng(0))
    assert actions.shape == (40, 200, 2)
    assert np.abs(actions).max() == 1.5
    assert (actions[3::4] == 0).all()
    steps = np.abs(np.diff(actions, axis=1)).mean(axis=(1, 2))
    assert steps[0::4].max() < steps[2::4].min()  # smooth ones change less than uniform ones
    uniform = actions[2::4].ravel()
    assert np.abs(np.histogram(uniform, bins=6, range=(-1.5, 1.5))[0] / uniform.size - 1 / 6).max() < 0.02
