"""What is added to a training's loss."""

import pytest
import torch
from torch import nn

from llmboost.card import Preprocessing
from llmboost.learn.loss import IGNORED
from llmboost.learn.patches import TrainingPatches, Volume
from llmboost.learn.regularizers import Consistency, zoomed
from llmboost.learn.trainer import Progress


def smooth(*shape):
    """An image (1, C, R, A, S) without detail that a copy of another size would lose."""
    axes = torch.meshgrid(
        *(torch.linspace(-1, 1, size) if size > 1 else torch.zeros(1) for size in shape), indexing="ij"
    )
    return sum(torch.sin(2 * axis + n) for n, axis in enumerate(axes))[None, None]


def consistency(*shape, weight=1.0, fraction=1.0):
    volume = Volume("unlabelled", smooth(*shape)[0], torch.full((1, *shape), IGNORED, dtype=torch.int16))
    windows = TrainingPatches([volume], Preprocessing(patch_size=shape), 100, seed=0)
    regularizer = Consistency(windows, weight)
    return lambda network, batch, levels: regularizer(network, batch, levels, Progress(3, fraction))


def pointwise():
    """What it makes of a voxel follows from that voxel alone, so that copies of all sizes are segmented alike."""
    torch.manual_seed(0)
    return nn.Conv3d(1, 3, 1)


class Placed(nn.Module):
    """Calls the same voxels labeled, whatever an image shows."""

    def __init__(self):
        super().__init__()
        self.level = nn.Parameter(torch.tensor(4.0))

    def forward(self, image):
        inside = torch.zeros_like(image)
        inside[:, :, 6:10, 6:10] = 1
        return torch.cat([-self.level * inside, self.level * inside], dim=1)


def loss(regularizer, network):
    torch.manual_seed(1)
    return regularizer(network, {}, [torch.zeros(1)])


@pytest.mark.parametrize("shape", [(16, 16, 16), (16, 16, 1)])
def test_scales_that_agree_cost_nothing_and_others_do(shape):
    regularizer = consistency(*shape)
    assert loss(regularizer, pointwise()).item() == pytest.approx(0, abs=1e-4)
    network = Placed()
    apart = loss(regularizer, network)
    assert 0.01 < apart.item() < 1
    apart.backward()
    assert network.level.grad.abs() > 0


def test_it_grows_over_the_budget_and_with_its_weight():
    whole = loss(consistency(16, 16, 16), Placed()).item()
    assert loss(consistency(16, 16, 16, weight=0.5, fraction=0.5), Placed()).item() == pytest.approx(whole / 4)
    assert loss(consistency(16, 16, 16, fraction=0.0), Placed()).item() == 0


def test_the_same_step_has_the_same_copy():
    regularizer = consistency(16, 16, 16)
    assert loss(regularizer, Placed()).item() == loss(regularizer, Placed()).item()


def test_a_copy_is_larger_about_its_middle():
    image = torch.zeros(1, 1, 9, 9, 1)
    image[:, :, 3:6, 3:6] = 1
    larger, smaller = zoomed(image, 1.5), zoomed(image, 1 / 1.5)
    assert larger.sum() > image.sum() * 1.8
    assert smaller.sum() < image.sum() / 1.8
    for one in (larger, smaller):
        torch.testing.assert_close(one, one.flip(2))
    torch.testing.assert_close(zoomed(image, 1.0), image)
