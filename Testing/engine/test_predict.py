"""Probabilities over whole volumes."""

import pytest
import torch
from torch.nn import functional as F

from llmboost.errors import Cancelled
from llmboost.inference.mirror import Mirrored
from llmboost.inference.predict import predict, probability_slabs
from llmboost.inference.watch import Watch

WINDOW = (16, 16, 16)
TWO_AXES = (Mirrored(), Mirrored((0,)), Mirrored((2,)))


@pytest.fixture
def network(tiny_network):
    return tiny_network().eval().requires_grad_(False)


def volume(*shape):
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(3))


def test_one_window_is_the_plain_network(network):
    image = volume(*WINDOW)
    torch.testing.assert_close(predict(network, image, WINDOW), network(image[None]).softmax(1)[0])


@pytest.mark.parametrize("shape", [(16, 16, 16), (17, 16, 40), (33, 30, 24), (9, 20, 5), (1, 1, 1)])
def test_probabilities_and_progress(network, shape):
    seen = []
    result = predict(
        network,
        volume(*shape),
        WINDOW,
        watch=Watch(progress=seen.append),
        mirror=TWO_AXES,
    )
    assert result.shape == (3, *shape)
    assert result.min() >= 0
    torch.testing.assert_close(result.sum(dim=0), torch.ones(shape))
    assert seen == sorted(seen)
    assert seen[-1] == 1
    assert all(0 < fraction < 1 for fraction in seen[:-1])


def test_a_volume_smaller_than_the_window_lies_in_its_middle(network):
    image = volume(10, 16, 12)
    padded = F.pad(image, (2, 2, 0, 0, 3, 3))
    expected = network(padded[None]).softmax(1)[0, :, 3:13, :, 2:14]
    torch.testing.assert_close(predict(network, image, WINDOW), expected)


def test_windows_agree_with_one_large_window_where_the_network_is_local():
    """A network that sees one voxel at a time gives the same, however the volume is cut."""
    network = torch.nn.Conv3d(1, 3, 1)
    image = volume(37, 20, 29)
    torch.testing.assert_close(predict(network, image, WINDOW), network(image[None]).softmax(1)[0].detach())


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_with_mirroring_the_mirrored_volume_gives_the_mirrored_result(network, axis):
    image = volume(24, 24, 24)  # patches at 0 and 8: the same from both ends
    result = predict(network, image, WINDOW, mirror=(Mirrored(), Mirrored((axis,))))
    mirrored = predict(network, image.flip(axis + 1), WINDOW, mirror=(Mirrored(), Mirrored((axis,)))).flip(axis + 1)
    torch.testing.assert_close(result, mirrored)
    plain = predict(network, image, WINDOW)
    assert (result - plain).abs().max() > 1e-3, "the mirrored half takes part"


def test_the_mean_over_mirrored_axes(network):
    image = volume(*WINDOW)
    views = [network(image[None])] + [network(image[None].flip(axis)).flip(axis) for axis in (2, 4)]
    expected = torch.stack([view.softmax(1)[0] for view in views]).mean(0)
    torch.testing.assert_close(predict(network, image, WINDOW, mirror=TWO_AXES), expected)


def test_cancel_stops_before_the_next_window(network):
    seen = []
    network.train()
    with pytest.raises(Cancelled):
        predict(network, volume(32, 16, 16), WINDOW, watch=Watch(seen.append, lambda: len(seen) == 2))
    assert len(seen) == 2
    assert network.training


def test_dropout_is_off_and_the_mode_comes_back(network):
    image = volume(*WINDOW)
    expected = predict(network, image, WINDOW)
    network.train()
    torch.testing.assert_close(predict(network, image, WINDOW), expected)
    assert network.training
    assert not predict(network, image, WINDOW).requires_grad


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shape", [(37, 20, 29), (16, 50, 16), (9, 20, 5)])
def test_slabs_make_the_volume(network, axis, shape):
    image = volume(*shape)
    slabs = [slab.clone() for slab in probability_slabs(network, image, WINDOW, axis=axis)]
    depths = [slab.shape[axis + 1] for slab in slabs]
    assert sum(depths) == shape[axis]
    assert max(depths) <= WINDOW[axis]
    torch.testing.assert_close(torch.cat(slabs, dim=axis + 1), predict(network, image, WINDOW))


def test_half_precision_for_large_slabs(network, monkeypatch):
    image = volume(37, 20, 29)
    exact = predict(network, image, WINDOW)
    monkeypatch.setattr("llmboost.inference.predict.HALF_ABOVE", 1000)
    result = predict(network, image, WINDOW)
    assert result.dtype == torch.float16
    torch.testing.assert_close(result.float(), exact, atol=2e-3, rtol=0)


def test_a_slab_comes_before_the_next_windows(network):
    """What is held does not grow with the volume's length."""
    seen = []
    slabs = probability_slabs(network, volume(160, 16, 16), WINDOW, watch=Watch(seen.append))
    counts = [len(seen) for _ in slabs]
    assert counts == list(range(1, 20))


class SmallMemory(torch.nn.Module):
    """A network on a device that takes ``most`` patches at a time, or, with 0, none but on the CPU."""

    def __init__(self, most):
        super().__init__()
        self.most, self.sizes = most, []
        self.layer = torch.nn.Conv3d(1, 3, 1, device="meta" if most == 0 else "cpu")

    def to(self, device):
        self.layer = self.layer.to_empty(device=device)
        torch.nn.init.ones_(self.layer.weight)
        torch.nn.init.zeros_(self.layer.bias)
        self.most = 1
        return self

    def forward(self, windows):
        if len(windows) > self.most:
            raise torch.OutOfMemoryError("full")
        self.sizes.append(len(windows))
        return self.layer(windows)


def test_a_full_memory_takes_fewer_windows_at_a_time():
    network, image, told = SmallMemory(2), volume(40, 24, 24), []
    result = predict(network, image, WINDOW, batch=8, watch=Watch(notice=told.append))
    assert set(network.sizes) == {2}
    assert set(told) == {"the GPU's memory was full: less is computed at a time"}
    torch.testing.assert_close(result, network.layer(image[None]).softmax(1)[0].detach())


def test_a_gpu_that_is_too_small_leaves_the_work_to_the_cpu():
    network, image, told = SmallMemory(0), volume(40, 24, 24), []
    result = predict(network, image, WINDOW, batch=2, watch=Watch(notice=told.append))
    assert "the CPU computes" in told[-1]
    assert len(told) == 2
    torch.testing.assert_close(result, network.layer(image[None]).softmax(1)[0].detach())


def test_a_window_that_nothing_can_hold_is_an_error():
    with pytest.raises(torch.OutOfMemoryError):
        predict(SmallMemory(-1), volume(16, 16, 16), WINDOW)
