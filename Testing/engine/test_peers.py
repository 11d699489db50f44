"""The networks to compare with: they train, travel and predict like the project's own."""

import json
import sys

import pytest
import torch

from llmboost.booster import BoosterConfig
from llmboost.errors import LLMBoostError
from llmboost.learn.loss import SegmentationLoss
from llmboost.model import load_model, save_model
from llmboost.networks import PEERS, build, describe

SMALL = {"features": 24, "image_size": (16, 24, 16)}


@pytest.fixture
def peer():
    """``peer(name)`` gives one with few features."""

    def make(name, **options):
        torch.manual_seed(0)
        return build(name, {**SMALL, **options}, None)

    return make


def image(*sizes, channels=1, batch=1):
    return torch.randn(batch, channels, *sizes, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", PEERS)
def test_logits_of_the_images_size(peer, name):
    network = peer(name, channels=2, classes=4).eval()
    x = image(16, 24, 16, channels=2)
    with torch.no_grad():
        logits = network(x)
    assert logits.shape == (1, 4, 16, 24, 16)
    assert torch.isfinite(logits).all()
    assert network.stride == {"swin-unetr": (32,) * 3, "unetr": (16,) * 3}.get(name, (8,) * 3)


@pytest.mark.parametrize("name", PEERS)
def test_every_weight_learns(peer, name):
    network = peer(name).train()
    levels = network.deep(image(16, 24, 16))
    assert len(levels) == (3 if name == "dynunet" else 1)
    label = torch.randint(0, 3, (1, 1, 16, 24, 16), generator=torch.Generator().manual_seed(2))
    SegmentationLoss()(levels, label).backward()
    lazy = {key for key, parameter in network.named_parameters() if parameter.grad is None}
    # MONAI's UNETR has cross-attention and a class token that nobody asks
    assert all("cross" in key or "cls_token" in key for key in lazy), lazy


def test_anisotropic_levels_of_dynunet(peer):
    network = peer("dynunet", strides=((2, 2, 1), (2, 2, 2))).eval()
    assert network.stride == (4, 4, 2)
    with torch.no_grad():
        assert network(image(16, 20, 5)).shape == (1, 3, 16, 20, 5)


@pytest.mark.parametrize("name", PEERS)
def test_peer_travels_in_a_model_file(peer, name, tiny_card, tmp_path):
    network = peer(name).half().float().eval()
    entry, booster = json.loads(json.dumps(describe(network)))
    assert entry["name"] == name
    assert booster == {}
    save_model(network, tiny_card(network), tmp_path / "peer.safetensors")
    again = load_model(tmp_path / "peer.safetensors").network
    x = image(16, 24, 16)
    with torch.no_grad():
        torch.testing.assert_close(again(x), network(x))


def test_peers_take_no_booster():
    with pytest.raises(LLMBoostError, match=r"'dynunet'.*no booster"):
        build("dynunet", {}, BoosterConfig())


def test_what_to_do_without_einops(peer, monkeypatch):
    monkeypatch.setitem(sys.modules, "einops", None)
    with pytest.raises(LLMBoostError, match="pip install einops"):
        peer("swin-unetr")
