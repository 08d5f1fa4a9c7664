"""Inversion: exact cases, and equal to loops that are written out here."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from raysplit import DecoderTraining, ImagePrior, QueryDecoder, UnSplit, WhiteBoxInversion
from raysplit.attacks.inference.inference_attack import InferenceAttack, Knowledge, Reconstruction
from raysplit.attacks.inference.inversion import total_variation
from raysplit.attacks.inference.narrow_convolutions import fast_kernels
from raysplit.attacks.inference.target import Auxiliary, Target
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.models.decoders import DECODERS, decoder
from tests.attacks.inference.test_threat_model import seen


def target(head: nn.Module, fresh: nn.Module, auxiliary: Auxiliary | None = None, shape=(1, 8, 8)) -> Target:
    return Target(1, shape, 3, 0.0, 1.0, lambda _: copy.deepcopy(fresh), head, nn.Flatten(), auxiliary, 1000)


def attacked(attack: InferenceAttack, x: torch.Tensor, against: Target) -> Reconstruction:
    z = against.client(x).detach()
    return attack.infer(seen(attack, len(x), smashed=z), Knowledge(attack, against))


def conv(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU()).double()


def published_loop(z, x, clone, rounds, inner, lr, variation, energy):
    """UnSplit's public code, as the reference describes it: one image, one clone, two optimisers with amsgrad."""
    x = x.clone().requires_grad_()
    inputs = torch.optim.Adam([x], lr=lr, amsgrad=True)
    model = torch.optim.Adam(clone.parameters(), lr=lr, amsgrad=True)
    for _ in range(rounds):
        for _ in range(inner):
            inputs.zero_grad()
            across, down = (x[:, :, :, 1:] - x[:, :, :, :-1]) ** 2, (x[:, :, 1:] - x[:, :, :-1]) ** 2
            loss = nn.functional.mse_loss(clone(x), z) + variation * (across.mean() + down.mean())
            (loss + energy * (x**2).mean()).backward()
            inputs.step()
        for _ in range(inner):
            model.zero_grad()
            nn.functional.mse_loss(clone(x.detach()), z).backward()
            model.step()
    return x.detach()


@pytest.mark.parametrize("clones", ["one_an_image", "in_turn"])
def test_unsplit_equals_the_published_loop_image_by_image(clones):
    truth, fresh = conv(1), conv(2)
    x = torch.rand(3, 1, 8, 8, dtype=torch.float64)
    attack = UnSplit(rounds=3, input_steps=4, model_steps=4, lr=0.01, prior=ImagePrior(0.1, 1.0), clones=clones)
    found = attacked(attack, x, target(truth, fresh))
    clone = copy.deepcopy(fresh)
    for index in range(3):
        if clones == "one_an_image":
            clone = copy.deepcopy(fresh)
        z = truth(x[index : index + 1]).detach()
        by_hand = published_loop(z, torch.full((1, 1, 8, 8), 0.5, dtype=torch.float64), clone, 3, 4, 0.01, 0.1, 1.0)
        assert torch.allclose(found.inputs[index : index + 1], by_hand, atol=1e-10, rtol=0)
        if clones == "one_an_image":
            pairs = zip(found.clones[index].parameters(), clone.parameters(), strict=True)
            assert all(torch.allclose(one, other, atol=1e-10, rtol=0) for one, other in pairs)


def test_a_shared_clone_goes_by_all_images_at_once():
    truth, fresh = conv(1)[:1], conv(2)[:1]
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    attack = UnSplit(rounds=3, input_steps=10, model_steps=10, lr=0.05, clones="shared")
    both, one = attacked(attack, x, target(truth, fresh)), attacked(attack, x[:1], target(truth, fresh))
    assert len(both.clones) == 1 and not torch.equal(both.inputs[:1], one.inputs)


def test_images_are_attacked_independently_of_each_other():
    x = torch.rand(4, 1, 8, 8, dtype=torch.float64)
    attack = WhiteBoxInversion(steps=20, prior=ImagePrior(0.5, 0.1, "isotropic"))
    against = target(conv(1), conv(2))
    together = attacked(attack, x, against).inputs
    apart = torch.cat([attacked(attack, one, against).inputs for one in x.split(1)])
    assert torch.allclose(together, apart, atol=1e-12)


def test_white_box_inversion_of_what_shows_everything_finds_the_input():
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    for head in (nn.Sequential(nn.Identity()), nn.Sequential(nn.Flatten(), nn.Linear(64, 64).double())):
        if len(head) == 2:
            nn.init.orthogonal_(head[1].weight)
        found = attacked(WhiteBoxInversion(steps=2000, lr=0.02), x, target(head, head)).inputs
        assert (found - x).square().mean() < 1e-6


def test_unsplit_cannot_tell_data_and_weights_that_are_rotated_alike():
    """With a dense first layer (Qx, WQᵀ) sends what (x, W) sends: what UnSplit finds is the same, so it is wrong at
    least once."""
    torch.manual_seed(0)
    x = torch.rand(3, 1, 8, 8, dtype=torch.float64)
    q, _ = torch.linalg.qr(torch.randn(64, 64, dtype=torch.float64))
    head = nn.Sequential(nn.Flatten(), nn.Linear(64, 32)).double()
    rotated = copy.deepcopy(head)
    rotated[1].weight.data = head[1].weight @ q.T
    x_rotated = (x.flatten(1) @ q.T).view_as(x)
    assert torch.allclose(head(x), rotated(x_rotated), atol=1e-12)
    attack = UnSplit(rounds=5, input_steps=20, model_steps=20, lr=0.01)
    fresh = copy.deepcopy(head)
    one = attacked(attack, x, target(head, fresh)).inputs
    other = attacked(attack, x_rotated, target(rotated, fresh)).inputs
    assert torch.allclose(one, other, atol=1e-6)
    errors = (one - x).square().mean(), (other - x_rotated).square().mean()
    assert max(errors) >= (x - x_rotated).square().mean() / 4  # by the parallelogram law, whatever was found


def test_unsplit_stays_at_the_mean_image_where_data_and_a_dense_first_layer_are_rotated_alike():
    """What is sent is that of the unrotated data, bit-close, and the images found are no nearer to them than a guess."""
    torch.manual_seed(3)
    base = torch.rand(40, 1, 2, 2, dtype=torch.float64).repeat_interleave(4, 2).repeat_interleave(4, 3)
    x, mean = base[:8], base[8:].mean(0)
    q, _ = torch.linalg.qr(torch.randn(64, 64, dtype=torch.float64))
    head = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU()).double()
    rotated = copy.deepcopy(head)
    rotated[1].weight.data = head[1].weight @ q.T
    x_rotated = (x.flatten(1) @ q.T).view_as(x)
    assert (head(x) - rotated(x_rotated)).abs().max() < 1e-12
    torch.manual_seed(4)
    fresh = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU()).double()
    attack = UnSplit(rounds=20, input_steps=20, model_steps=20, lr=0.01)
    found = attacked(attack, x_rotated, target(rotated, fresh)).inputs
    guess = (mean - x).square().mean()
    assert (found - x).square().mean() > guess and (found - x_rotated).square().mean() > guess


@pytest.mark.parametrize("form", ["squared", "isotropic"])
@pytest.mark.parametrize(("variation", "energy"), [(0.3, 0.7), (0.0, 0.7), (0.3, 0.0), (0.0, 0.0)])
def test_the_priors_gradient_is_autograds(form, variation, energy):
    x = torch.rand(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    prior = ImagePrior(variation, energy, form)
    loss = prior(x).sum() + 0 * x.sum()
    assert torch.allclose(prior.gradient(x.detach()), torch.autograd.grad(loss, [x])[0], atol=1e-14, rtol=0)


def test_kernels_are_chosen_by_the_widest_convolution_and_left_as_they_were():
    before = torch.backends.mkldnn.enabled
    for network, on in ((conv(1), False), (nn.Conv2d(1, 17, 1), before), (nn.Linear(2, 2), before)):
        with pytest.raises(KeyError), fast_kernels(network):
            assert torch.backends.mkldnn.enabled == on
            raise KeyError
        assert torch.backends.mkldnn.enabled == before


def test_total_variation_is_what_the_formulas_say():
    x = torch.rand(2, 2, 4, 5, dtype=torch.float64)
    for one, value in zip(x, total_variation(x, "isotropic"), strict=True):
        by_hand = sum(
            ((one[c, i + 1, j] - one[c, i, j]) ** 2 + (one[c, i, j + 1] - one[c, i, j]) ** 2) ** 0.5
            for c in range(2)
            for i in range(3)
            for j in range(4)
        )
        assert value == pytest.approx(float(by_hand) / 40, abs=1e-6)
    assert total_variation(torch.full((1, 1, 3, 3), 0.5)).item() == 0
    flat = torch.full((1, 1, 3, 3), 0.5, requires_grad=True)
    (gradient,) = torch.autograd.grad(total_variation(flat, "isotropic").sum(), [flat])
    assert gradient.isfinite().all()


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("z_shape", [(4, 8, 8), (6, 4, 4), (3, 3, 3), (5,)])
def test_decoders_give_images_of_the_right_shape(kind, z_shape):
    for shape in ((1, 8, 8), (3, 28, 28), (1, 23, 19)):
        assert decoder(kind, z_shape, shape)(torch.rand(2, *z_shape)).shape == (2, *shape)


def test_a_decoder_learns_from_queries_and_is_chosen_by_held_out_pairs():
    torch.manual_seed(0)
    head = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1))
    base = torch.rand(40, 1, 2, 2).repeat_interleave(4, 2).repeat_interleave(4, 3)
    against = target(head, head, Auxiliary(base[4:], torch.zeros(36, dtype=torch.int64)))
    attack = QueryDecoder(
        queries=36, decoders=("small", "residual"), training=DecoderTraining(epochs=30, lr=5e-3, batch_size=8)
    )
    found = attacked(attack, base[:4], against)
    assert found.queries == 36
    assert (found.inputs - base[:4]).square().mean() < (base[4:].mean(0) - base[:4]).square().mean() / 2


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: UnSplit(rounds=0),
        lambda: UnSplit(lr=0.0),
        lambda: WhiteBoxInversion(steps=0),
        lambda: ImagePrior(variation=-1.0),
        lambda: DecoderTraining(validation=1.0),
        lambda: QueryDecoder(inputs="nothing"),
        lambda: QueryDecoder(decoders=()),
    ],
)
def test_arguments_out_of_range_are_refused(wrong):
    with pytest.raises(ScenarioError):
        wrong()


def test_as_published_is_the_code_with_its_own_prior():
    published = UnSplit.as_published()
    assert (published.clones, published.prior, published.rounds) == ("in_turn", ImagePrior(0.1, 1.0), 1000)
    assert published.reads == {Channel.SMASHED} and published.needs == {"architecture"}
