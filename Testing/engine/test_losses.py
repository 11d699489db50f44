"""The loss of segmenters: levels, unknown voxels, and the weight of rare labels."""

import pytest
import torch

from llmboost.learn.loss import IGNORED, SegmentationLoss, marginal

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


# -- partly labeled cases ----------------------------------------------------------------------------------------------


@pytest.fixture
def levels():
    """Logits of three classes at two levels."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, 3, size, size, size, generator=generator) for size in (8, 4)]


def gradients(loss, levels, *arguments):
    given = [logits.clone().requires_grad_() for logits in levels]
    value = loss(given, *arguments)
    value.backward()
    return value, [logits.grad for logits in given]


@pytest.mark.parametrize("balance", [0.0, 0.5])
def test_where_all_is_drawn_nothing_changes(label, levels, balance):
    loss = SegmentationLoss(balance)
    value, slopes = gradients(loss, levels, label)
    told, others = gradients(loss, levels, label, torch.ones(2, 3, dtype=torch.bool))
    assert torch.equal(value, told)
    assert all(torch.equal(one, other) for one, other in zip(slopes, others, strict=True))


def test_what_was_not_drawn_is_background(levels):
    """The background's probability is that of all that it may hold; each case by its own mask."""
    drawn = torch.tensor([[True, False, True], [True, True, True]])
    before = levels[0].softmax(dim=1)
    after = marginal(levels[0], drawn).softmax(dim=1)
    torch.testing.assert_close(after[0, 0], before[0, 0] + before[0, 1])
    torch.testing.assert_close(after[0, 2], before[0, 2])
    assert not after[0, 1].any()
    torch.testing.assert_close(after[1], before[1])


def test_a_label_that_was_not_drawn_is_not_unlearned(label, levels):
    """Whether the network finds it where nobody drew it costs nothing."""
    label = label.where(label != 1, 0)
    drawn = torch.tensor([[True, False, True]] * 2)
    found = [logits_of(torch.where(label == 2, 2, torch.randint(0, 2, label.shape)))]
    assert SegmentationLoss()(found, label, drawn) < 1e-3
    assert SegmentationLoss()(found, label) > 0.3
    missed = [logits_of(torch.zeros_like(label))]
    assert SegmentationLoss()(missed, label, drawn) > 0.9, "what was drawn counts as ever"
    _, slopes = gradients(SegmentationLoss(), levels, label, drawn)
    assert all(torch.isfinite(slope).all() for slope in slopes)
    assert not torch.isnan(torch.stack([slope.abs().sum() for slope in slopes])).any()


def test_a_label_that_no_case_has_drawn_does_not_dilute_the_others(label, levels):
    """As a network would lose that has no such label."""
    label = label.where(label != 2, 0)
    drawn = torch.tensor([[True, True, False]] * 2)
    without = [
        torch.cat([logits[:, [0, 2]].logsumexp(dim=1, keepdim=True), logits[:, 1:2]], dim=1) for logits in levels
    ]
    torch.testing.assert_close(SegmentationLoss()(levels, label, drawn), SegmentationLoss()(without, label))


def test_cases_of_which_nothing_was_drawn_teach_nothing(levels):
    label, drawn = torch.zeros(2, 1, 8, 8, 8, dtype=torch.long), torch.tensor([[True, False, False]] * 2)
    value, slopes = gradients(SegmentationLoss(), levels, label, drawn)
    assert value.abs() < 1e-5
    assert all(slope.abs().max() < 1e-6 for slope in slopes)


# regions


def test_single_classes_as_regions_are_the_plain_loss(label):
    logits = [torch.randn(2, 3, 8, 8, 8, generator=torch.Generator().manual_seed(1))]
    for balance in (0.0, 0.5):
        plain, regions = SegmentationLoss(balance), SegmentationLoss(balance, regions=[[1], [2]])
        torch.testing.assert_close(regions(logits, label), plain(logits, label))


def test_a_region_of_all_labels_counts_as_one(label):
    """Dice of the region: that of a network which knows no more than the region."""
    loss = SegmentationLoss(regions=[[1, 2]])
    logits = torch.randn(2, 3, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    p = 1 - logits.softmax(1)[:, 0]
    truth = (label[:, 0] > 0).float()
    dice = 1 - 2 * (p * truth).sum() / (p.sum() + truth.sum())
    entropy = torch.nn.functional.cross_entropy(logits, label[:, 0])
    torch.testing.assert_close(loss([logits], label), dice + entropy, rtol=1e-4, atol=1e-5)


def test_a_region_of_which_a_class_was_not_drawn_has_no_say(label):
    label[label == 2] = 0
    logits = torch.randn(2, 3, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    drawn = torch.tensor([[True, True, False]] * 2)
    one = SegmentationLoss(regions=[[1], [1, 2]])([logits], label, drawn)
    torch.testing.assert_close(one, SegmentationLoss(regions=[[1]])([logits], label, drawn))
