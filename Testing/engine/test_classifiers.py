"""The classifiers: what they compute, how a booster sits in them, where they can be listened to."""

import json
import math

import pytest
import torch
from torch import nn

from llmboost.booster import Booster, BoosterConfig
from llmboost.booster.block import BlockShape, LanguageModelBlock
from llmboost.booster.booster import BLOCKS, PLACES, RESIDUALS
from llmboost.booster.sources import BlockWeights
from llmboost.networks import CLASSIFIERS, build, describe
from llmboost.networks.ood_score import OodScore

WIDTH = 16
SMALL = {"width": WIDTH, "depth": 2, "heads": 2, "head_width": 8, "mlp": 24}
OPTIONS = {
    "vit-s": {"image_size": (24, 16, 1), "patch": (8, 8, 1)},
    "vit-tiny": {"image_size": (24, 16, 1), "stem": (4,)},
    "vit3d": {"image_size": (12, 8, 8), "patch": (4, 4, 4)},
    "vit3d-tiny": {"image_size": (12, 8, 8), "stem": (4,)},
    "vivit": {"image_size": (12, 8, 12), "patch": (4, 4, 4), "spatial_depth": 1},
    "vivit-tiny": {"image_size": (12, 8, 12), "stem": (4,), "spatial_depth": 1},
}
# where the taps see a grid, and which: a layer of a ViViT is one token to the booster
GRIDS = {
    "vit-s": (3, 2, 1), "vit-tiny": (6, 4, 1), "vit3d": (3, 2, 2), "vit3d-tiny": (3, 2, 2), "vivit": (1, 1, 3),
    "vivit-tiny": (1, 1, 3),
}  # fmt: skip
READING_THE_CLASS_TOKEN = ("vit-s", "vit3d", "vivit", "vivit-tiny")
SHAPE = BlockShape(width=32, heads=4, kv_heads=2, head_dim=8, ffn=48)


def booster(width=WIDTH, **options):
    torch.manual_seed(1)
    weights = BlockWeights(SHAPE, [LanguageModelBlock(SHAPE).state_dict()], natural_rms=5.0, q4=False, description="")
    return Booster.from_weights(width, BoosterConfig(layers=(0,), **options), weights)


def small(name, boosted=None, randomised=True, **options):
    """A network of few weights; randomised, every neutral start is broken."""
    torch.manual_seed(0)
    network = build(name, {**SMALL, **OPTIONS[name], **options}, boosted.describe() if boosted else None)
    if boosted:
        network.booster.load_state_dict(boosted.state_dict())
        network.booster.blocks.requires_grad_(boosted.config.state == "full")
    if randomised:
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.1 * torch.randn(parameter.shape))
    return network.eval()


def image(name, batch=3, channels=1, **options):
    patch_size = {**OPTIONS[name], **options}["image_size"]
    return torch.randn(batch, channels, *patch_size, generator=torch.Generator().manual_seed(2))


# -- sizes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "millions"), [("vit-s", 21.5), ("vit3d", 34.1)])
def test_the_papers_hosts_are_of_their_sizes(name, millions):
    with torch.device("meta"):
        network = build(name, {}, None)
    assert sum(parameter.numel() for parameter in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.3)


def test_vit_s_is_the_published_network():
    """Of ImageNet's 224 x 224 pixels, ViT-S/16 has 22.05 million weights with its 1000 classes."""
    with torch.device("meta"):
        network = build("vit-s", {"channels": 3, "classes": 1000}, None)
    assert network.transformer.position.shape == (1, 384, 14, 14, 1)
    assert sum(parameter.numel() for parameter in network.parameters()) == 22_050_664


@pytest.mark.parametrize("name", ["vit-tiny", "vit3d-tiny", "vivit-tiny"])
def test_the_small_hosts_train_on_a_cpu(name):
    with torch.device("meta"):
        network = build(name, {}, None)
    assert sum(parameter.numel() for parameter in network.parameters()) < 1.6e6


# -- what they compute -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("residual", [None, *RESIDUALS])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_forward_and_backward(name, residual):
    network = small(name, booster(residual=residual) if residual else None, classes=5, channels=2).train()
    x = image(name, channels=2).requires_grad_()
    logits = network(x)
    assert logits.shape == (3, 5)
    assert network.features(x).shape == (3, WIDTH)
    (logits * torch.randn(3, 5)).sum().backward()
    assert x.grad.abs().sum() > 0
    missing = [n for n, p in network.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert not missing, missing
    frozen = {n for n, p in network.named_parameters() if not p.requires_grad}
    assert frozen == ({n for n, _ in network.named_parameters() if ".blocks." in n and "booster" in n})
    assert all(p.grad is None for n, p in network.named_parameters() if n in frozen)


@pytest.mark.parametrize("pool", ["cls", "mean"])
@pytest.mark.parametrize("name", ["vit-s", "vit-tiny", "vit3d"])
def test_both_ways_to_read_tokens(name, pool):
    network = small(name, booster(), pool=pool)
    tokens = network.norm(network.transformer(network.stem(image(name))))
    expected = tokens[:, 0] if pool == "cls" else tokens[:, 1:].mean(dim=1)
    torch.testing.assert_close(network.features(image(name)), expected)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_images_of_a_batch_do_not_see_each_other(name):
    network = small(name, booster())
    x = image(name)
    torch.testing.assert_close(network(x)[1:2], network(x[1:2]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["vit-s", "vit-tiny", "vit3d", "vit3d-tiny", "vivit"])
def test_other_sizes_than_the_windows_interpolate_positions(name):
    network = small(name)
    patch_size = [2 * n if n > 1 else 1 for n in OPTIONS[name]["image_size"]]
    logits = network(torch.randn(2, 1, *patch_size))
    assert logits.shape == (2, 2)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_where_something_is_matters(name):
    """Positions tell apart images whose patches are merely exchanged."""
    network = small(name)
    x = image(name)
    half = x.shape[2] // 3
    assert not torch.allclose(network(x), network(x.roll(half, dims=2)), atol=1e-3)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_stochastic_depth_and_dropout_are_for_training_alone(name):
    network = small(name, dropout=0.5)
    x = image(name)
    torch.testing.assert_close(network(x), network(x), rtol=0, atol=0)
    assert not torch.allclose(network.train()(x), network(x))


# -- the booster -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("residual", ["outer", "hybrid"])
def test_a_boosted_network_starts_as_its_host(name, residual):
    boosted, host = small(name, booster(residual=residual), randomised=False), small(name, randomised=False)
    host.load_state_dict({k: v for k, v in boosted.state_dict().items() if "booster" not in k})
    torch.testing.assert_close(boosted(image(name)), host(image(name)))


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("place", PLACES)
def test_the_booster_changes_answers_in_every_place(name, place):
    network = small(name, booster(place=place))
    x = image(name)
    before = network(x)
    network.booster.blocks[0].mlp.up_proj.weight.data.mul_(2)
    assert not torch.allclose(network(x), before, atol=1e-4)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_training_step_leaves_the_block_alone(name):
    network = small(name, booster()).train()
    frozen = {n: p.clone() for n, p in network.named_parameters() if not p.requires_grad}
    adapter = network.booster.adapter_in.weight.clone()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    nn.functional.cross_entropy(network(image(name)), torch.tensor([0, 1, 0])).backward()
    optimizer.step()
    assert len(frozen) > 5
    for n, p in network.named_parameters():
        if n in frozen:
            assert torch.equal(p, frozen[n])
    assert not torch.equal(network.booster.adapter_in.weight, adapter)


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("block", BLOCKS)
def test_networks_are_built_again_from_their_cards(name, block):
    network = small(name, booster(block=block), classes=3)
    entry, described = json.loads(json.dumps(describe(network)))
    with torch.device("meta"):  # as a model file is opened
        again = build(entry.pop("name"), entry, described)
    again.load_state_dict(network.state_dict(), assign=True)
    assert again.config == network.config
    torch.testing.assert_close(again.eval()(image(name)), network(image(name)), rtol=0, atol=0)


# -- taps --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["", *PLACES])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_taps_see_the_grid_and_gradients(name, place):
    """Also of a network as it is loaded: frozen, and given images that need no gradient."""
    network = small(name, booster(place=place) if place else None, classes=3).requires_grad_(False)
    # where a class token alone is read, a booster at the tail is the last to mix others into it
    unread = place == "tail" and name in READING_THE_CLASS_TOKEN
    x = image(name)
    expected = network(x)
    with network.before_booster.listen() as before, network.after_booster.listen() as after:
        logits = network(x)
        torch.testing.assert_close(logits, expected)
        assert len(before) == len(after) == 1
        for (grid,), matters in ((before, True), (after, not unread)):
            assert grid.shape == (3, WIDTH, *GRIDS[name])
            (gradient,) = torch.autograd.grad(logits[:, 1].sum(), grid, retain_graph=True)
            assert torch.isfinite(gradient).all()
            # every place in the grid has a say, in each image
            assert ((gradient.abs().sum(dim=1) > 0) == matters).all()
    if place:
        assert not torch.allclose(before[0], after[0])
    else:
        torch.testing.assert_close(before[0], after[0])
    assert not network.before_booster._forward_hooks, "nothing is left behind"


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_tokens_lie_as_the_image_lies(name):
    """Where a voxel changes, so does the token of its place."""
    network = small(name)
    x = torch.zeros(1, 1, *OPTIONS[name]["image_size"])
    bright = tuple(n // 3 * 2 if n > 1 else 0 for n in x.shape[2:])
    dark = network.stem(x)
    x[0, 0][bright] = 50.0
    change = (network.stem(x) - dark).abs().sum(dim=1)[0]
    place = [int(i) for i in torch.unravel_index(change.argmax(), change.shape)]
    expected = [at * n // size for at, n, size in zip(bright, change.shape, x.shape[2:], strict=True)]
    assert all(abs(a - b) <= 1 for a, b in zip(place, expected, strict=True)), (place, expected)


# -- familiarity -------------------------------------------------------------------------------------------------------


def test_distances_are_mahalanobis():
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(8, 8, generator=generator)
    features = torch.randn(4000, 8, generator=generator) @ mixing + 3
    known = OodScore(8)
    assert (known(features) == 0).all(), "before it is fitted"
    known.fit(features)
    distances = known(features)
    assert distances.mean() == pytest.approx(0.95, abs=0.1)
    x = features - features.mean(dim=0)
    covariance = torch.cov(features.T)
    shrunk = 0.9 * covariance + 0.1 * covariance.trace() / 8 * torch.eye(8)
    expected = ((x @ torch.linalg.inv(shrunk)) * x).sum(dim=1).div(8).sqrt()
    torch.testing.assert_close(distances, expected, rtol=1e-3, atol=1e-3)
    far = features[:5] + 100 * torch.linalg.eigh(covariance)[1][:, -1]
    assert (known(far) > distances.quantile(0.99)).all()


@pytest.mark.parametrize("count", [3, 40])
def test_few_or_equal_features_give_finite_distances(count):
    features = torch.randn(count, 16, generator=torch.Generator().manual_seed(0))
    features[:, 5] = 0.0  # a dead one
    known = OodScore(16)
    known.fit(features)
    assert torch.isfinite(known(features)).all()
    assert torch.isfinite(known.whitening.half()).all(), "a model file keeps it in half precision"
    assert not math.isnan(float(known(features + 10).mean()))
