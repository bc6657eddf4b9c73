"""The model as a whole: shapes, units, what a latent depends on, bad input, saving, planning."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hjepa_utils import HierarchicalJEPA, seeded
from hjepa_utils.systems.hierarchical.plans import count_blocks, held, search
from hjepa_utils.systems.hierarchical.world import draw_sequences

SMALL = {"width": 16, "heads": 2, "hidden": 16}


def small(seed=0, **settings):
    with seeded(seed):
        return HierarchicalJEPA(**SMALL | settings).eval()


@pytest.fixture(scope="module")
def drawn():
    return draw_sequences(4, rng=np.random.default_rng(0))


def test_shapes_of_everything(drawn):
    with seeded(0):
        model = HierarchicalJEPA()
    with torch.no_grad():
        shallow, deep = model.encode(drawn.positions[:, :16], drawn.masses)
        assert shallow.shape == deep.shape == (4, 256)
        assert model.predict_next(shallow, drawn.forces[:, 15]).shape == (4, 256)
        assert model.rollout(shallow, drawn.forces[:, 15:]).shape == (4, 26, 256)
        assert model.predict_event(deep, drawn.forces[:, 15:]).shape == (4, 256)
    settings = {"n_candidates": 8, "n_elite": 2, "n_iterations": 2}
    plan = model.plan(drawn.positions[:, :16], drawn.masses, deep, rng=torch.Generator(), **settings)
    assert plan.shape == (4, 25, 3, 2)


def test_a_rollout_is_one_step_after_the_other(drawn):
    model, z = small(), torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        path = model.rollout(z, drawn.forces[:, :3])
        for t in range(3):
            torch.testing.assert_close(path[:, t], z)
            z = model.predict_next(z, drawn.forces[:, t])
        torch.testing.assert_close(path[:, 3], z)


def test_no_latent_sees_what_comes_later(drawn):
    model = small()
    positions = drawn.positions[:, :16]
    later = positions.clone()
    later[:, 10:] += 5.0
    with torch.no_grad():
        for before, after in zip(
            model.tokens(positions, drawn.masses), model.tokens(later, drawn.masses), strict=True
        ):
            assert torch.equal(before[:, :10], after[:, :10])
            assert not torch.equal(before[:, 10], after[:, 10])


def test_a_shallow_latent_sees_its_memory_alone_and_a_deep_one_its_window(drawn):
    model = small(shallow=2, depth=4)
    assert model.memory == 5
    positions = drawn.positions[:, :16]
    with torch.no_grad():
        shallow, deep = model.encode(positions, drawn.masses)
        for frame in range(16):
            changed = positions.clone()
            changed[:, frame] += 5.0
            near, far = model.encode(changed, drawn.masses)
            assert torch.equal(near, shallow) == (frame < 15 - 5), frame
            assert not torch.equal(far, deep), frame


def test_shallow_latents_of_a_long_sequence_are_those_of_its_windows(drawn):
    model = small()
    with torch.no_grad():
        whole = model.shallow_tokens(drawn.positions, drawn.masses)
        for last in range(15, 41):
            alone, _ = model.encode(drawn.positions[:, last - 15 : last + 1], drawn.masses)
            torch.testing.assert_close(whole[:, last], alone)


def test_latents_know_lags_and_not_places_in_a_window(drawn):
    """The same motion, seen from one frame later on, has the same shallow latents."""
    model = small()
    with torch.no_grad():
        early, _ = model.tokens(drawn.positions[:, :16], drawn.masses)
        late, _ = model.tokens(drawn.positions[:, 1:17], drawn.masses)
    torch.testing.assert_close(early[:, 6:], late[:, 5:-1])


def test_units_are_those_of_the_world(drawn):
    """A box, masses and forces of other units, and a model that knows of them, say the same."""
    model, other = small(), small(size=2560.0, masses=(5.0, 20.0), force=4500.0)
    with torch.no_grad():
        for ours, theirs in zip(
            model.encode(drawn.positions[:, :16], drawn.masses),
            other.encode(10 * drawn.positions[:, :16], 10 * drawn.masses),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
        z = torch.ones(4, 16)
        ours, theirs = (
            model.predict_next(z, drawn.forces[:, 0]),
            other.predict_next(z, 10 * drawn.forces[:, 0]),
        )
        torch.testing.assert_close(ours, theirs)


def test_from_pretrained_gives_it_back(drawn, tmp_path):
    model = small(1, depth=3, shallow=1, band=2)
    model.save_pretrained(tmp_path)
    again = HierarchicalJEPA.from_pretrained(tmp_path).eval()
    assert load_file(tmp_path / "model.safetensors")["stem.0.weight"].dtype == torch.float16
    rounded = model.half().float()
    with torch.no_grad():
        for ours, theirs in zip(
            rounded.encode(drawn.positions[:, :16], drawn.masses),
            again.encode(drawn.positions[:, :16], drawn.masses),
            strict=True,
        ):
            assert torch.equal(ours, theirs)
    assert again.memory == 2


def test_a_plan_finds_forces_that_are_known_to_be_best():
    """An event that adds the forces' mean to the latent: the best forces are the goal's offset."""
    model = small()

    def add_forces(deep, forces):
        return deep + torch.nn.functional.pad(forces.mean(dim=1).flatten(1) / 450, (0, 10))

    model.predict_event = add_forces
    drawn = draw_sequences(3, 16, rng=np.random.default_rng(1))
    _, deep = model.encode(drawn.positions, drawn.masses)
    offset = torch.tensor([0.5, -0.3, 0.0, 0.0, 0.9, 2.0])
    goal = deep.detach() + torch.nn.functional.pad(offset, (0, 10))
    call = {"rng": torch.Generator().manual_seed(0), "n_iterations": 40, "min_std": 0.1}
    plan = model.plan(drawn.positions, drawn.masses, goal, controlled=(0, 2), **call)
    found = plan.mean(dim=1) / 450
    assert not found[:, 1].any()  # not controlled
    expected = torch.tensor([[0.5, -0.3], [0.0, 0.0], [0.9, 1.0]])  # nothing beyond the largest force
    torch.testing.assert_close(found, expected.expand(3, 3, 2), rtol=0, atol=0.03)
    assert plan.abs().max() <= 450
    assert torch.equal(plan[:, :5], plan[:, :1].expand(-1, 5, -1, -1))  # held over a block


def test_forces_are_held_on_the_bodies_that_are_named():
    blocks = torch.arange(8.0).reshape(2, 2, 2)  # two blocks, two bodies
    forces = held(blocks, (2, 0), 3, 2)
    assert forces[:, 2].tolist() == [[0, 1], [0, 1], [4, 5], [4, 5]]
    assert forces[:, 0].tolist() == [[2, 3], [2, 3], [6, 7], [6, 7]]
    assert not forces[:, 1].any()


def test_a_search_stays_within_the_largest_force():
    seen = []

    def cost(blocks):
        seen.append(blocks)
        return -blocks.sum(dim=(-3, -2, -1))

    found = search(cost, torch.zeros(2, 5, 3, 2), 450.0, rng=torch.Generator().manual_seed(0))
    assert torch.cat(seen).abs().max() == 450
    assert found.min() > 225


POSITIONS, MASSES = torch.full((2, 16, 3, 2), 100.0), torch.ones(2, 3)


@pytest.mark.parametrize(
    ("positions", "masses", "words"),
    [
        (POSITIONS[:, :, :2], MASSES, r"\(B, T, 3, 2\): this model knows 3 bodies, got \(2, 16, 2, 2\)"),
        (POSITIONS[:, :9], MASSES, r"positions must be \(B, 16, 3, 2\), got \(2, 9, 3, 2\)"),
        (POSITIONS[0], MASSES, r"got \(16, 3, 2\)"),
        (POSITIONS, MASSES[:1], r"masses must be \(2, 3\), got \(1, 3\)"),
        (POSITIONS * torch.nan, MASSES, "finite, got NaN"),
        (POSITIONS, MASSES * torch.inf, "finite, got NaN"),
        (POSITIONS, MASSES - 2, "masses must be above 0, got -1"),
    ],
)
def test_windows_that_are_none_are_refused(positions, masses, words):
    with pytest.raises(ValueError, match=words):
        small().encode(positions, masses)


@pytest.mark.parametrize(
    ("forces", "words"),
    [
        (torch.zeros(2, 24, 3, 2), r"shape \(2, 25, 3, 2\), got \(2, 24, 3, 2\)"),
        (torch.zeros(2, 25, 2, 2), r"got \(2, 25, 2, 2\)"),
        (torch.full((2, 25, 3, 2), torch.nan), "forces must be finite"),
    ],
)
def test_forces_that_are_none_are_refused(forces, words):
    model, z = small(), torch.zeros(2, 16)
    with pytest.raises(ValueError, match=words):
        model.predict_event(z, forces)
    if forces.shape[1] == 25:
        with pytest.raises(ValueError, match="forces must"):
            model.rollout(z, forces)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"goal": torch.zeros(2, 8)}, r"latents \(2, 16\), as `encode` gives them, got \(2, 8\)"),
        ({"goal": torch.full((2, 16), torch.nan)}, "finite latents"),
        ({"block": 4}, "a multiple of the block, got 25 frames and 4"),
        ({"block": 0}, "a multiple of the block"),
        ({"controlled": (0, 3)}, r"different ones of 0 … 2, at least one, got \(0, 3\)"),
        ({"controlled": ()}, r"at least one, got \(\)"),
        ({"controlled": (1, 1)}, "different ones"),
    ],
)
def test_what_cannot_be_planned_is_refused(change, words):
    call = {"goal": torch.zeros(2, 16), "rng": torch.Generator()} | change
    with pytest.raises(ValueError, match=words):
        small().plan(POSITIONS, MASSES, call.pop("goal"), **call)


@pytest.mark.parametrize("values", ["text", [[1.0, 2.0], [1.0]], torch.ones(2, 3) * 1j, None])
def test_what_is_no_table_of_numbers_is_refused(values):
    for call in (lambda m: m.encode(values, MASSES), lambda m: m.rollout(values, torch.zeros(2, 3, 3, 2))):
        with pytest.raises(TypeError, match="must be real numbers, in rows of one length, got"):
            call(small())


def test_lists_and_arrays_are_as_good_as_tensors(drawn):
    model, positions = small(), drawn.positions[:, :16]
    with torch.no_grad():
        expected = model.encode(positions, drawn.masses)
        for as_given in (lambda x: x.numpy(), lambda x: x.tolist(), lambda x: x.double()):
            for ours, theirs in zip(
                model.encode(as_given(positions), as_given(drawn.masses)), expected, strict=True
            ):
                torch.testing.assert_close(ours, theirs)


def test_latents_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"latents must be \(…, 16\), got \(2, 8\)"):
        small().predict_next(torch.zeros(2, 8), torch.zeros(2, 3, 2))


def test_a_first_guess_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"the first guess must be \(2, 5, 3, 2\), got \(2, 4, 3, 2\)"):
        small().plan(
            POSITIONS, MASSES, torch.zeros(2, 16), rng=torch.Generator(), mean=torch.zeros(2, 4, 3, 2)
        )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": 0}, "size must be finite and positive, a number from 1e-50 to 1e50, got 0"),
        ({"force": -1.0}, "force must be finite and positive, .* got -1.0"),
        ({"heads": 0}, "heads must be a whole number, 1 or more, got 0"),
        ({"window": 2.5}, "window must be a whole number"),
        ({"masses": (2.0, 0.5)}, r"the least and the largest in the world, got \(2.0, 0.5\)"),
        ({"masses": (1.0, 1.0)}, "the least and the largest in the world"),
    ],
)
def test_worlds_that_are_none_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        small(**settings)


def test_models_that_are_none_are_refused():
    with pytest.raises(ValueError, match="must lie below the deep one, got 4 and 4 blocks"):
        small(shallow=4, depth=4)
    with pytest.raises(ValueError, match="width must be a multiple of heads, got 16 and 3"):
        small(heads=3)
    assert count_blocks(25, 5) == 5
