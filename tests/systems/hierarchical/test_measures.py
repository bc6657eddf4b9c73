"""Measures against closed forms: what is known must be read, and what is not, not."""

import numpy as np
import pytest
import torch

from hjepa_utils import HierarchicalJEPA, seeded
from hjepa_utils.runs.hardware import fast
from hjepa_utils.systems.hierarchical import measures
from hjepa_utils.systems.hierarchical.world import draw_sequences, move


@pytest.fixture(scope="module")
def drawn():
    return draw_sequences(60, rng=np.random.default_rng(0))


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_probe_reads_what_is_linear_in_its_own_units():
    z = noise(400, 8)
    places = 128 + 40 * (z @ noise(8, 6, seed=1)).unflatten(1, (3, 2))
    probe = measures.Probe(z[:300], places[:300])
    assert measures.off_px(probe.read(z[300:]), places[300:]).max() < 0.1
    assert probe.r2(z[300:], places[300:]) > 0.9999
    assert probe.r2(noise(100, 8, seed=5), places[300:]) < 0.1
    shifted = places[300:] + torch.tensor([3.0, 4.0])
    assert measures.off_px(shifted, places[300:]).numpy() == pytest.approx(5.0)


def test_truths_are_those_of_the_states():
    states = torch.tensor([[[1.0, 2, 3, 4], [5, 6, 7, 8]]])
    true = measures.truths(states, torch.tensor([[2.0, 0.5]]))
    assert true["energy"].item() == 0.5 * (2 * 25 + 0.5 * 113)
    assert true["position"].tolist() == [[[1, 2], [5, 6]]]
    assert true["velocity"].tolist() == [[[3, 4], [7, 8]]]


def test_ends_are_the_latents_of_the_first_and_the_last_window(drawn):
    with seeded(0):
        model = HierarchicalJEPA(width=16, heads=2, hidden=16).eval()
    ends = measures.encode_ends(model, drawn)
    with torch.no_grad(), measures.fast(model.device):
        for window, latents in ((slice(16), ends[:2]), (slice(25, 41), ends[2:])):
            encoded = model.encode(drawn.positions[:, window], drawn.masses)
            for ours, theirs in zip(latents, encoded, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=2e-2)


class Foresees(torch.nn.Module):
    """Latents hold the places twice, noisy, and exact but tiny; predictions are off in the tiny ones."""

    device = torch.device("cpu")

    def __init__(self, drawn, tiny):
        super().__init__()
        self.places = drawn.states[:, 15:, :, :2].flatten(2).float() / 100
        self.noisy = self.places + 0.2 * noise(*self.places.shape).float()
        self.tiny = tiny

    def latents(self, k, off=0.0):
        return torch.cat([self.noisy[:, k], self.tiny * (self.places[:, k] + off)], dim=-1)

    def rollout(self, shallow, forces):
        return torch.stack([self.latents(k, off=2.0 * (k > 0)) for k in range(26)], dim=1)

    def predict_event(self, deep, forces):
        return self.latents(25, off=2.0)


def test_place_probes_read_what_is_predicted_although_it_errs_where_latents_hardly_vary(drawn):
    model = Foresees(drawn, tiny=1e-3)
    ends = measures.Ends(*(model.latents(k) for k in (0, 0, 25, 25)))
    rolled, event = measures.foreseen(model, ends, drawn.forces[:, 15:])
    probes, true = measures.place_probes(model, drawn, ends), drawn.states[:, -1, :, :2]
    of_encoded = measures.Probe(
        torch.cat([ends.deep, ends.deep_goal]), torch.cat([drawn.states[:, 15, :, :2], true])
    )
    far = measures.off_px(of_encoded.read(event), true).mean()
    assert measures.off_px(of_encoded.read(ends.deep_goal), true).mean() < 1  # it leans on the tiny ones
    assert far > 100
    for tap, latents in (("deep", event), ("shallow", rolled[:, 25])):
        assert measures.off_px(probes[tap].read(latents), true).mean() < 0.3 * far


def test_what_is_foreseen_is_what_the_model_predicts(drawn):
    with seeded(0):
        model = HierarchicalJEPA(width=16, heads=2, hidden=16).eval()
    ends = measures.encode_ends(model, drawn)
    rolled, event = measures.foreseen(model, ends, drawn.forces[:, 15:])
    assert rolled.shape == (60, 26, 16) and event.shape == (60, 16)
    with torch.no_grad(), fast(model.device):  # in the same precision
        assert (rolled[:, 0] == ends.shallow).all()
        for t in range(25):  # each from the one before: over all of them rounding errors would grow
            after = model.predict_next(rolled[:, t], drawn.forces[:, 15 + t]).float()
            torch.testing.assert_close(rolled[:, t + 1], after, rtol=1e-2, atol=1e-2)
        by_event = model.predict_event(ends.deep, drawn.forces[:, 15:]).float()
        torch.testing.assert_close(event, by_event, rtol=1e-2, atol=1e-2)


def test_a_collapse_shows_in_the_deviation_and_not_in_the_rank():
    z = noise(5000, 6)
    healthy, tiny = measures.spread(z), measures.spread(1e-3 * z)
    assert healthy.deviation == pytest.approx(1, abs=0.03)
    assert healthy.n_flat == 0
    assert healthy.rank == pytest.approx(6, abs=0.05)
    assert healthy.covariance < 1e-3
    assert tiny.n_flat == 6
    assert tiny.rank == pytest.approx(healthy.rank)
    copies = measures.spread(z[:, :1].expand(-1, 6))  # one number, six times
    assert copies.rank == pytest.approx(1, abs=1e-6)
    assert copies.covariance == pytest.approx(1, abs=0.1)


def test_persistence_is_1():
    now, later = noise(50, 4), noise(50, 4, seed=1)
    assert measures.beside_persistence(now, now, later) == 1
    assert measures.beside_persistence(later, now, later) == 0
    assert measures.beside_persistence((now + later) / 2, now, later) == pytest.approx(0.25)


def test_straight_ends_are_true_where_nothing_is_met(drawn):
    """Bodies that meet walls but no other body: folded lines under the known forces are then exact."""
    masses, forces = drawn.masses, drawn.forces[:, 15:]
    alone = drawn.states[:, 15, :1]  # the first body, as if there were no others
    true = move(alone, masses[:, :1], torch.zeros(60, 25, 1, 2))[:, -1, :, :2]
    torch.testing.assert_close(measures.straight_ends(alone, masses[:, :1]), true, rtol=0, atol=1e-9)
    still = torch.tensor([[[128.0, 128.0, 0.0, 0.0]]], dtype=torch.float64).expand(60, -1, -1)
    true = move(still, masses[:, :1], forces[:, :, :1])[:, -1, :, :2]
    folded = measures.straight_ends(still, masses[:, :1], forces[:, :, :1])
    free = (true - 128).abs().amax(dim=(1, 2)) < 60  # under a force walls are met at another speed
    assert free.sum() > 20
    torch.testing.assert_close(folded[free], true[free], rtol=0, atol=1e-9)


def test_straight_ends_after_fewer_frames(drawn):
    """One frame of a lone body far from the walls: its kick, then its flight."""
    now = torch.tensor([[[128.0, 128.0, 60.0, -30.0]]], dtype=torch.float64)
    masses, force = torch.full((1, 1), 2.0), torch.tensor([[[[90.0, 0.0]]]])
    ends = measures.straight_ends(now, masses, force, n_frames=1)
    assert ends[0, 0].tolist() == pytest.approx([128 + (60 + 90 / 2 / 30) / 30, 127])
    true = move(now, masses, force)[:, -1, :, :2]
    torch.testing.assert_close(ends, true, rtol=0, atol=1e-9)


def test_a_counterfactual_is_the_true_world_under_other_forces(drawn):
    first, other = measures.counterfactual(drawn, rng=np.random.default_rng(1))
    assert torch.equal(first.states[:, :16], other.states[:, :16])
    assert torch.equal(first.forces[:, :15], other.forces[:, :15])
    assert not torch.equal(first.forces[:, 15:], other.forces[:, 15:])
    expected = move(first.states[:, 15], first.masses, other.forces[:, 15:])
    torch.testing.assert_close(other.states[:, 15:], expected)


def test_correlations_of_changes_are_per_body():
    true = noise(500, 3, 2)
    predicted = torch.stack([2 * true[:, 0], -true[:, 1], noise(500, 2, seed=7)], dim=1)
    found = measures.change_correlations(predicted, true)
    np.testing.assert_allclose(found[:2], [1, -1], rtol=1e-12)
    assert abs(found[2]) < 0.15


def test_distances_agree_in_any_monotone_unit():
    states, others = noise(200, 3, 4), noise(200, 3, 4, seed=1)
    places, other_places = (part[..., :2].flatten(1) for part in (states, others))
    assert measures.distance_agreement(0.1 * places, 0.1 * other_places, states, others) == pytest.approx(1)
    assert abs(measures.distance_agreement(noise(200, 9), noise(200, 9, seed=3), states, others)) < 0.2


def ends_of(n):
    return measures.Ends(*(noise(n, 16).float() for _ in range(4)))


BAD = {
    "a probe of latents and targets that are not of one number": (
        lambda data: measures.Probe(noise(5, 4), noise(4, 2)), r"latents must be \(4, D\), .*got \(5, 4\)"
    ),
    "a probe of NaN": (
        lambda data: measures.Probe(noise(5, 4) * np.nan, noise(5, 2)), "latents must be finite, got NaN"
    ),
    "a target of another shape": (
        lambda data: measures.Probe(noise(5, 4), noise(5, 2)).r2(noise(5, 4), noise(5, 1)),
        r"read, target must have one shape, got \(5, 2\) and \(5, 1\)",
    ),
    "sequences that are too short": (
        lambda data: measures.place_probes(None, data._replace(states=data.states[:, :30]), ends_of(60)),
        "41 frames, a window and an event, got 30",
    ),
    "frames before the event": (
        lambda data: measures.place_probes(None, data, ends_of(60), (-1,)),
        r"frames must be from 0 to the 25 of the event, got \[-1\]",
    ),
    "masses that are not of the states": (
        lambda data: measures.truths(data.states[:, 0], data.masses[0]),
        r"masses \(n, N\), got \(60, 3, 4\) and \(3,\)",
    ),
    "places of one sequence beside all": (
        lambda data: measures.off_px(data.positions[:, 0], data.positions[0, 0]),
        r"got \(60, 3, 2\) and \(3, 2\)",
    ),
    "a spread of one latent": (lambda data: measures.spread(noise(1, 4)), r"two latents .* got \(1, 4\)"),
    "one prediction beside all": (
        lambda data: measures.beside_persistence(noise(1, 4), noise(5, 4), noise(5, 4)),
        r"one shape, got \(1, 4\) and \(5, 4\) and \(5, 4\)",
    ),
    "time that runs back": (
        lambda data: measures.straight_ends(data.states[:, 0], data.masses, n_frames=-3),
        "n_frames must be 0 or more, got -3",
    ),
    "forces for other frames": (
        lambda data: measures.straight_ends(data.states[:, 0], data.masses, data.forces[:, :10]),
        r"forces must be \(60, 25, 3, 2\), .*got \(60, 10, 3, 2\)",
    ),
    "another kind of generator": (
        lambda data: measures.counterfactual(data, rng=torch.Generator()), "must be a numpy.random.Generator"
    ),
    "no event": (
        lambda data: measures.counterfactual(
            data._replace(states=data.states[:, :20]), rng=np.random.default_rng(0)
        ),
        "more than the 25 frames of an event, got 20",
    ),
    "other bodies": (
        lambda data: measures.change_correlations(noise(4, 3, 2), noise(4, 2, 2)),
        r"predicted, true must have one shape, got \(4, 3, 2\) and \(4, 2, 2\)",
    ),
    "distances in fewer states": (
        lambda data: measures.distance_agreement(
            noise(60, 4), noise(60, 4, seed=1), data.states[:3, 0], data.states[:3, 1]
        ),
        r"latents must be \(3, D\), .*got \(60, 4\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_measured_is_one_sentence(drawn, name):
    call, words = BAD[name]
    with pytest.raises(ValueError, match=words):
        call(drawn)


def test_sequences_of_another_length_have_no_ends():
    with seeded(0):
        model = HierarchicalJEPA(width=16, heads=2, hidden=16)
    long = draw_sequences(1, 50, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="41 frames, a window and an event, got 50"):
        measures.encode_ends(model, long)
