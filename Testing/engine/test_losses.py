"""The loss of segmenters: levels, unknown voxels, and the weight of rare labels."""

import pytest
import torch

from llmboost.learn.loss import IGNORED, SegmentationLoss

from .training_samples import logits_of


@pytest.fixture
def label():
    return torch.randint(0, 3, (2, 1, 8, 8, 8), generator=torch.Generator().manual_seed(0))


def test_perfect_and_wrong_logits(label):
    loss = SegmentationLoss()
    half = torch.nn.functional.interpolate(label.float(), (4, 4, 4)).long()
    assert loss([logits_of(label), logits_of(half)], label) < 1e-3
    assert loss([logits_of((label + 1) % 3)], label) > 5


def test_a_coarser_level_counts_half(label):
    loss = SegmentationLoss()
    half = torch.nn.functional.interpolate(label.float(), (4, 4, 4)).long()
    good, bad = logits_of(label), torch.zeros(2, 3, 4, 4, 4)
    assert loss([good, bad], label) == pytest.approx(float(loss([bad], half)) / 3, abs=1e-3)


def test_levels_brought_to_full_resolution_count_by_their_order(label):
    """DynUNet's come so: as nnU-Net trains it, the next one still counts half."""
    loss = SegmentationLoss()
    good, bad = logits_of(label), torch.zeros(2, 3, 8, 8, 8)
    assert loss([good, bad], label) == pytest.approx(float(loss([bad], label)) / 3, abs=1e-3)


def test_unknown_voxels_have_no_say(label):
    loss = SegmentationLoss()
    label[:, :, :3] = IGNORED
    logits = torch.randn(2, 3, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    other = logits.clone()
    other[:, :, :3] = 7 * torch.randn(2, 3, 3, 8, 8)
    values = []
    for given in (logits.requires_grad_(), other.requires_grad_()):
        value = loss([given], label)
        value.backward()
        values.append(value.item())
        assert (given.grad[:, :, :3] == 0).all()
        assert (given.grad[:, :, 3:] != 0).any()
    assert values[0] == pytest.approx(values[1], abs=1e-6)
    torch.testing.assert_close(logits.grad, other.grad)


def test_a_known_part_counts_as_if_it_were_all(label):
    """Half of the voxels unknown: the loss of the other half."""
    loss = SegmentationLoss()
    logits = torch.randn(2, 3, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    expected = loss([logits[:, :, 4:]], label[:, :, 4:])
    label[:, :, :4] = IGNORED
    torch.testing.assert_close(loss([logits], label), expected)


def test_balance_gives_rare_labels_weight():
    """Background right and the one voxel of a label wrong: the more balance, the more that costs."""
    label = torch.zeros(1, 1, 8, 8, 8, dtype=torch.long)
    label[..., 0, 0, 0] = 1
    logits = torch.zeros(1, 2, 8, 8, 8)
    logits[:, 0] = 3
    costs = [float(SegmentationLoss(balance)([logits], label)) for balance in (0.0, 0.5, 1.0)]
    assert costs[0] < costs[1] < costs[2]
    surprises = -torch.log_softmax(torch.tensor([3.0, 0.0]), dim=0)
    dice = costs[0] - float(511 * surprises[0] + surprises[1]) / 512
    assert costs[2] == pytest.approx(dice + float(surprises.mean()), abs=1e-4), "classes count alike"


@pytest.mark.parametrize("value", [IGNORED, 0, 1])
def test_windows_of_one_value_alone_give_finite_losses(value):
    logits = torch.randn(1, 3, 8, 8, 8, requires_grad=True)
    loss = SegmentationLoss()([logits], torch.full((1, 1, 8, 8, 8), value))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    assert (value != IGNORED) == bool(logits.grad.any())
