"""Trials of neighbouring systems' ideas: each is a segmenter that learns with all of its weights."""

import pytest
import torch

from llmboost.bench.kinds.neighbours import NETWORKS, AffineConsistency, Refiner
from llmboost.learn.augment import IMAGE
from llmboost.learn.loss import SegmentationLoss
from llmboost.networks.hybrid_vit import HybridViT, HybridViTConfig

SMALL = HybridViTConfig(stem=(4, 8, 8), width=40, depth=1)


@pytest.fixture
def image():
    return torch.randn(1, 1, 16, 24, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def label():
    return torch.randint(0, 3, (1, 1, 16, 24, 16), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("idea", NETWORKS)
def test_an_idea_is_a_network_that_learns_with_all_of_its_weights(idea, image, label):
    network = NETWORKS[idea](SMALL)
    SegmentationLoss()(network.deep(image), label).backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []
    assert network.eval()(image).shape == (1, 3, 16, 24, 16)


def test_a_network_that_sees_nothing_is_consistent(image):
    torch.manual_seed(0)
    network = HybridViT(SMALL).eval()
    views = AffineConsistency(0)
    levels = network.deep(image)
    assert views(network, {IMAGE: image}, levels) > 0
    for head in network.heads:
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    same = views(network, {IMAGE: image}, network.deep(image)).detach()
    assert float(same) == pytest.approx(0, abs=0.02), "but for what lies beyond the border"


def test_the_refiner_leaves_what_the_host_is_sure_of(image):
    torch.manual_seed(0)
    refiner = Refiner(HybridViT(SMALL).eval(), SMALL).eval()
    torch.nn.init.constant_(refiner.host.heads[0].bias[0], 20.0)
    with torch.no_grad():
        sure = refiner(image).softmax(dim=1)
        expected = refiner.host(image).softmax(dim=1)
    torch.testing.assert_close(sure, expected, atol=1e-4, rtol=0)
    assert all(weight.grad is None for weight in refiner.host.parameters())
