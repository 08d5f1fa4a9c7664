import pytest
import torch
from torch import nn

from raysplit.models.flat import FlatPortion, digest
from raysplit.models.network import build
from tests.toys import ToyCnn


def portion(batch_norm=True):
    network = build(ToyCnn(batch_norm=batch_norm), 42)
    return network, FlatPortion([network])


def test_flattening_moves_parameters_into_one_vector_without_changing_them():
    untouched = build(ToyCnn(batch_norm=True), 42)
    network, flat = portion()
    x = torch.rand(4, 1, 8, 8)
    assert network(x).equal(untouched(x))
    flat.vector.zero_()
    assert all(not p.any() for p in network.parameters())
    assert len(flat.vector) == 301 + 2 * (2 * 3 + 2 * 4)


def test_flattening_keeps_every_tensors_strides():
    """Kernels choose their path by them: one input channel is contiguous both ways, and only channels_last is fast."""
    untouched = build(ToyCnn(batch_norm=True), 42)
    network, _ = portion()
    for before, after in zip(untouched.parameters(), network.parameters(), strict=True):
        assert after.stride() == before.stride()
    assert network.conv1(torch.rand(2, 1, 8, 8)).is_contiguous(memory_format=torch.channels_last)
    first = network.conv1[0]
    assert first.weight.stride() == (9, 1, 3, 1)


def test_named_tensors_and_back_give_the_same_bits():
    network, flat = portion()
    vector = torch.randn(len(flat.vector))
    named = flat.named_tensors(vector)
    assert all(tensor.is_contiguous() for tensor in named.values())
    assert flat.from_named(named).equal(vector)
    flat.vector.copy_(vector)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            assert named[name].equal(tensor)


def test_a_step_of_an_optimiser_is_seen_in_the_vector():
    network, flat = portion(batch_norm=False)
    before = flat.vector.clone()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network(torch.rand(4, 1, 8, 8)).square().sum().backward()
    optimizer.step()
    gradients = torch.cat([_memory_order(p.grad) for p in network.parameters()])
    torch.testing.assert_close(flat.vector, before - 0.1 * gradients)


def _memory_order(tensor):
    return (tensor.permute(0, 2, 3, 1) if tensor.dim() == 4 else tensor).reshape(-1)


def test_buffers_stand_behind_all_parameters_and_integer_ones_stay_out():
    _, flat = portion()
    assert flat.parameters == 301 + 2 * 3 + 2 * 4
    names = [name.rsplit(".", 1)[-1] for name in flat.names]
    assert names[-4:] == ["running_mean", "running_var"] * 2
    assert "num_batches_tracked" not in names
    assert set(names[:-4]) == {"weight", "bias"}


def test_a_portion_of_several_modules_flattens_them_in_order():
    modules = [nn.Sequential(nn.Linear(2, 3)), nn.Sequential()]
    flat = FlatPortion(modules)
    assert flat.vector.tolist() == [*modules[0][0].weight.flatten().tolist(), *modules[0][0].bias.tolist()]
    assert len(FlatPortion([]).vector) == 0


def test_tensors_of_another_model_are_refused():
    _, flat = portion()
    named = flat.named_tensors(flat.vector)
    with pytest.raises(ValueError, match=r"fc2\.weight has shape"):
        flat.from_named({**named, "fc2.weight": torch.zeros(2, 2)})
    with pytest.raises(KeyError):
        flat.from_named({name: tensor for name, tensor in named.items() if name != "fc2.bias"})


def test_a_digest_names_bits_types_shapes_and_names_but_not_memory_order():
    one = {"a": torch.arange(24.0).view(1, 2, 3, 4), "b": torch.ones(2)}
    assert digest(one) == digest({name: one[name].clone() for name in ("b", "a")})
    assert digest(one) == digest({**one, "a": one["a"].contiguous(memory_format=torch.channels_last)})
    for other in (
        {**one, "b": torch.tensor([1.0, 1.0 + 2**-23])},
        {**one, "b": torch.ones(2, 1)},
        {**one, "b": torch.ones(2, dtype=torch.float64)},
        {"a": one["a"], "c": one["b"]},
        {"a": one["a"]},
    ):
        assert digest(other) != digest(one)
