"""Encoders, decoders, gauges and measures, each against what it must say about a case worked out."""

import math

import pytest
import torch

from hjepa_utils import Hamiltonian
from hjepa_utils.systems.world_model.coordinates import Angle, Place
from hjepa_utils.systems.world_model.decoders import FreeDecoder, MovedTemplates, TurnedTemplate
from hjepa_utils.systems.world_model.dynamics import ControlledDynamics, NoDamping, ScaledLinear
from hjepa_utils.systems.world_model.encoders import MomentumHead, SlotEncoder, TurnEncoder
from hjepa_utils.systems.world_model.gauge import AngleGauge, fit_gauge
from hjepa_utils.systems.world_model.grids import pixel_grid
from hjepa_utils.systems.world_model.measures import (
    angle_errors,
    ceiling,
    energy_fit,
    predicted_states,
)

DT = 0.05


def drawn(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_angles_that_differ_by_turns_are_the_same():
    a, b = torch.tensor([3.0]), torch.tensor([-3.0])
    torch.testing.assert_close(Angle.difference(a, b), torch.tensor([2 * math.pi - 6]))
    torch.testing.assert_close(Angle.features(a + 2 * math.pi), Angle.features(a))
    torch.testing.assert_close(
        Angle.distance(a, b), (torch.polar(a * 0 + 1, a) - torch.polar(b * 0 + 1, b)).abs() ** 2
    )
    assert Place.difference(a, b).item() == -6.0
    for kind in (Angle, Place):
        torch.testing.assert_close(kind.from_features(kind.features(a)), a)
    torch.testing.assert_close(Angle.from_features(5 * Angle.features(b)), b)


def test_the_grid_is_the_pixels_centres():
    grid = pixel_grid(4)
    assert grid[0, 0].tolist() == [-0.75, -0.75]
    assert grid[0, 3].tolist() == [0.75, -0.75]  # x runs right, y down


def test_a_turn_encoder_gives_an_angle():
    q = TurnEncoder()(drawn(5, 3, 64, 64))
    assert q.shape == (5, 1)
    assert (q.abs() <= math.pi).all()


def test_one_slot_looks_at_the_centre_of_mass():
    pictures = torch.zeros(2, 3, 64, 64)
    pictures[0, 1, 10:14, 50:54] = 0.8
    pictures[1, :, 32:36, 0:2] = 0.3
    q = SlotEncoder(1)(pictures)
    expected = torch.tensor([[52 / 32 - 1, 12 / 32 - 1], [1 / 32 - 1, 34 / 32 - 1]])
    torch.testing.assert_close(q, expected, rtol=0, atol=2e-3)  # every pixel keeps a weight of 1e-6


def test_slots_share_what_there_is():
    """Whatever the slots take, their shares add up to the picture: the weighted mean is its centre."""
    encoder, picture = SlotEncoder(3), drawn(1, 3, 64, 64)
    there = torch.nn.functional.avg_pool2d(picture.sum(dim=1, keepdim=True), 2)
    share = encoder.network(picture).softmax(dim=1) * there
    weights = share.sum(dim=(-2, -1))[0]
    places = encoder(picture)[0].unflatten(0, (3, 2))
    centre = torch.einsum("hw,hwc->c", there[0, 0], pixel_grid(32)) / there.sum()
    torch.testing.assert_close(weights @ places / weights.sum(), centre, rtol=0, atol=1e-4)


def test_no_slots_are_refused():
    with pytest.raises(ValueError, match="one slot or more, got 0"):
        SlotEncoder(0)


def test_momentum_begins_as_the_last_difference():
    head = MomentumHead(Angle, 1, 1, n_frames=4, dt=DT)
    q = torch.tensor([[[3.0], [3.05], [3.1], [3.2 - 2 * math.pi]]])  # over the seam of the circle
    torch.testing.assert_close(head(q, torch.ones(1, 3, 1)), torch.tensor([[2.0]]), rtol=1e-5, atol=0)


def test_momentum_of_places_can_use_every_push():
    head = MomentumHead(Place, 4, 2, n_frames=3, dt=0.1, hidden=0)
    head.weight.data = torch.tensor([-0.5, 1.5])  # the derivative at the end of a parabola
    head.push.weight.data[0, 2] = 0.25
    times = torch.tensor([0.0, 0.1, 0.2])
    q = torch.stack([times**2, times, -times, 0 * times], dim=-1)[None]
    p = head(q, torch.tensor([[[9.0, 9.0], [2.0, 0.0]]]))
    torch.testing.assert_close(p, torch.tensor([[0.4 + 0.5, 1.0, -1.0, 0.0]]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_template_turned_by_quarters_is_the_picture_turned(quarters):
    decoder = TurnedTemplate(16)
    still, turned = decoder(torch.zeros(1, 1)), decoder(torch.full((1, 1), quarters * math.pi / 2))
    assert (torch.rot90(still, 1, (-2, -1)) - still).abs().max() > 0.01
    either = [torch.rot90(still, k, (-2, -1)) for k in (quarters, -quarters)]
    assert min((turned - other).abs().max().item() for other in either) < 1e-5


def test_a_template_turns_about_its_pivot_alone():
    decoder = TurnedTemplate(16)
    decoder.pivot.data = torch.tensor([0.25, -0.5])
    decoder.background.data.fill_(0.125)
    with torch.no_grad():
        decoder.template.zero_()
        decoder.template[..., 3:5, 9:11] = 1.0  # the four pixels about the pivot
    turned = decoder(torch.tensor([[0.0], [1.1], [2.9]]))
    assert (turned[:, 0, 3:5, 9:11].mean(dim=(-2, -1)) > 0.8).all()
    assert (turned[:, :, 12:] == 0.125).all()


def test_a_free_decoder_draws_the_same_after_a_turn_and_adds_to_its_background():
    decoder, q = FreeDecoder(Angle, 1), 6 * drawn(4, 1)
    pictures = decoder(q)
    assert pictures.shape == (4, 3, 64, 64)
    torch.testing.assert_close(decoder(q + 2 * math.pi), pictures, rtol=0, atol=1e-5)
    decoder.background.data.fill_(0.5)
    torch.testing.assert_close(decoder(q), pictures + 0.5)


def test_templates_move_by_whole_pixels_as_a_shifted_picture():
    decoder = MovedTemplates(2, size=32, template=16)
    there = torch.tensor([[-0.25, 0.0, 0.5, 0.25]])
    moved = there + torch.tensor([[2 / 16, 0.0, 2 / 16, 0.0]])  # two pixels of 1/16 to the right
    torch.testing.assert_close(decoder(moved)[..., 2:], decoder(there)[..., :-2], rtol=0, atol=1e-5)


def test_the_later_slot_covers_the_earlier_where_it_is_opaque():
    decoder = MovedTemplates(2, size=32, template=16)
    decoder.cover.data.fill_(20.0)
    decoder.colour.data[0], decoder.colour.data[1] = -20.0, 20.0
    picture = decoder(torch.zeros(1, 4))
    torch.testing.assert_close(picture[0, :, 12:20, 12:20], torch.ones(3, 8, 8))
    assert picture[0, :, 0, 0].abs().max() == 0  # the background, learned, is black at first


@pytest.mark.parametrize("sign", [1, -1])
def test_a_gauge_is_found_again(sign):
    theta = 20 * drawn(500).double() - 10
    q = torch.remainder(sign * theta + 0.7, 2 * math.pi)
    gauge = fit_gauge(q, theta)
    assert gauge.sign == sign
    assert gauge.offset == pytest.approx(0.7)
    assert gauge.error < 1e-12
    assert gauge.winding == pytest.approx(sign)
    states = torch.stack([theta, theta.sin()], dim=-1)
    torch.testing.assert_close(gauge.true_states(gauge.model_states(states)), states)


def test_a_constant_encoder_has_no_winding():
    theta = 6 * drawn(300)
    gauge = fit_gauge(0 * theta + 0.3, theta)
    assert gauge.winding == pytest.approx(0)
    assert gauge.error > 1


class Truth(Hamiltonian):
    """Pendulum-v1's own energy in the gauge (-1, 0.4), with a constant added."""

    separable = True

    def forward(self, z):
        q, p = z.chunk(2, dim=-1)
        return (p.square() / 2 + 15 * (0.4 - q).cos() + 7).squeeze(-1)


def true_model():
    control = ScaledLinear(1, 1)
    control.weight.data.fill_(-3.0)
    return ControlledDynamics(Truth(), control, NoDamping(), dt=DT), AngleGauge(-1, 0.4, 0.0, -1.0)


def test_the_true_energy_is_recognised_in_another_gauge():
    fit = energy_fit(*true_model())
    assert fit.r2 == pytest.approx(1.0, abs=1e-6)
    assert fit.scale == pytest.approx(1.0, abs=1e-4)
    assert fit.push == pytest.approx(3.0, rel=1e-5)
    assert fit.force_error < 1e-4


def true_angles(n=3, n_frames=40):
    """Episodes of the simulator's own law, as another encoder would see them."""
    from hjepa_utils.systems.world_model.pendulum import true_rollout

    states = torch.stack([4 * drawn(n), drawn(n, seed=1)], dim=-1).double()
    actions = 2 * drawn(n, n_frames - 1, 1, seed=2) - 1
    path = true_rollout(states, actions.double())
    return AngleGauge(-1, 0.4, 0.0, -1.0).model_states(path)[..., :1].float(), actions, path


def test_the_ceiling_of_exact_angles_is_the_truth():
    q, actions, path = true_angles()
    predicted = ceiling(q, actions, AngleGauge(-1, 0.4, 0.0, -1.0), [10, 15], 20)
    assert angle_errors(predicted, path, [10, 15]).max() < 1e-3


def test_a_rollout_is_compared_with_the_frames_that_follow_its_context():
    q, actions, path = true_angles()
    dynamics, gauge = true_model()
    momentum = MomentumHead(Angle, 1, 1, n_frames=4, dt=DT)
    predicted = predicted_states(dynamics, momentum, gauge, q, actions, [10, 20], 15)
    assert predicted.shape == (6, 16, 2)
    errors = angle_errors(predicted, path, [10, 20])
    assert errors[:, 0].max() < 1e-5
    assert errors[:, 1].max() < 0.06  # leapfrog's p is the simulator's half a step on
    assert errors.max() < 1
