"""The segmenters: what they compute, how a booster sits in them, how they are described and built again."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from llmboost.booster import Booster, BoosterConfig
from llmboost.booster.block import BlockShape, LanguageModelBlock
from llmboost.booster.booster import PLACES, RESIDUALS
from llmboost.booster.sources import BlockWeights
from llmboost.errors import LLMBoostError
from llmboost.networks import DEFAULT_SEGMENTER, SEGMENTERS, build, describe
from llmboost.networks.hybrid_vit import Conv3d, HybridAttention, MultiScaleFusion

STRIDES = {
    "3D": ((2, 2, 2),) * 3,
    "anisotropic": ((2, 2, 1), (2, 2, 2), (2, 2, 2)),
    "one slice": ((2, 2, 1),) * 3,
}
SMALL = {
    "hybrid-vit": {"stem": (4, 6, 8), "width": 16, "depth": 2, "heads": 2},
    "plain-vit": {"image_size": (16, 16, 16), "width": 16, "depth": 2, "heads": 2},
}
SHIPPING_LIMIT = 3.8e6  # trained parameters


def small(name, booster=None, **options):
    """A network of few weights, every neutral start broken."""
    torch.manual_seed(0)
    network = build(name, {**SMALL[name], **options}, None)
    network.booster = booster
    randomise(network)
    return network.eval()


def randomise(network):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def small_booster(width=16, layers=1, **options):
    shape = BlockShape(width=32, heads=4, kv_heads=2, head_dim=8, ffn=48)
    states = [LanguageModelBlock(shape).state_dict() for _ in range(layers)]
    weights = BlockWeights(shape, states, natural_rms=5.0, q4=False, description="small")
    return Booster.from_weights(width, BoosterConfig(layers=tuple(range(layers)), **options), weights)


def image(*sizes, channels=1, batch=2):
    return torch.randn(batch, channels, *sizes, generator=torch.Generator().manual_seed(2))


# -- shapes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "stride", "size"),
    [("3D", (8, 8, 8), (16, 24, 8)), ("anisotropic", (8, 8, 4), (16, 24, 12)), ("one slice", (8, 8, 1), (32, 24, 1))],
)
@pytest.mark.parametrize(("channels", "classes"), [(1, 3), (4, 2)])
def test_hybrid_vit_shapes(kind, stride, size, channels, classes):
    network = small("hybrid-vit", small_booster(), strides=STRIDES[kind], channels=channels, classes=classes)
    assert network.stride == stride
    x = image(*size, channels=channels)
    levels = network.deep(x)
    factors = [[math.prod(steps[:level]) for steps in zip(*STRIDES[kind], strict=True)] for level in range(3)]
    expected = [(2, classes, *(n // by for n, by in zip(size, factor, strict=True))) for factor in factors]
    assert [tuple(level.shape) for level in levels] == expected
    assert expected[0][2:] == size
    torch.testing.assert_close(network(x), levels[0])


def test_folding_makes_the_finest_level_coarser_and_the_logits_no_coarser():
    network = small("hybrid-vit", small_booster(), stem=(4, 6), strides=((2, 2, 2),) * 2, unshuffle=2)
    assert network.stride == (8, 8, 8)
    x = image(16, 24, 8)
    stem = []
    network.stem[0].register_forward_hook(lambda module, inputs, output: stem.append(tuple(output.shape[2:])))
    assert [tuple(level.shape[2:]) for level in network.deep(x)] == [(16, 24, 8), (8, 12, 4)]
    assert stem == [(8, 12, 4)]


def test_folded_voxels_come_back_where_they_were():
    """With weights that copy the brightness of each folded voxel, the logits are the image."""
    network = small("hybrid-vit", stem=(8,), strides=((2, 2, 2),), unshuffle=2, classes=2)
    kept = {}
    network.decoder[0].forward = lambda x: kept["voxels"]
    network.stem[0].forward = lambda x: kept.setdefault("voxels", x)
    nn.init.zeros_(network.heads[0].bias)
    eye = torch.cat([torch.zeros(8, 8), torch.eye(8)])  # class 1 is the image
    network.heads[0].weight.data = eye[:, :, None, None, None]
    x = image(8, 16, 8)
    torch.testing.assert_close(network(x)[:, 1:], x)


@pytest.mark.parametrize(("channels", "classes"), [(1, 3), (4, 2)])
@pytest.mark.parametrize(("patch", "size"), [((8, 8, 8), (16, 24, 8)), ((8, 4, 1), (32, 24, 1))])
def test_plain_vit_shapes(channels, classes, patch, size):
    network = small(
        "plain-vit", small_booster(), patch=patch, image_size=(16, 16, 8), channels=channels, classes=classes
    )
    assert network.stride == patch
    x = image(*size, channels=channels)
    (level,) = network.deep(x)
    assert level.shape == (2, classes, *size)
    torch.testing.assert_close(network(x), level)


@pytest.mark.parametrize("name", SEGMENTERS)
@settings(max_examples=15, deadline=None)
@given(counts=st.tuples(*[st.integers(1, 3)] * 3), training=st.booleans())
def test_any_multiple_of_the_stride_will_do(name, counts, training):
    network = small(name, small_booster()).train(training)
    sizes = tuple(n * step for n, step in zip(counts, network.stride, strict=True))
    with torch.no_grad():
        logits = network(image(*sizes, batch=1))
    assert logits.shape == (1, 3, *sizes)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", SEGMENTERS)
def test_images_of_a_batch_do_not_see_each_other(name):
    network = small(name, small_booster())
    x = image(16, 16, 16)
    torch.testing.assert_close(network(x)[1:], network(x[1:]), atol=1e-4, rtol=1e-4)


# -- learning ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", STRIDES)
@pytest.mark.parametrize("state", ["frozen", "full"])
def test_gradients_reach_every_parameter_of_the_hybrid_vit(kind, state):
    network = small("hybrid-vit", small_booster(state=state), strides=STRIDES[kind]).train()
    check_gradients(network, image(*(3 * step for step in network.stride)), state)


@pytest.mark.parametrize("state", ["frozen", "full"])
def test_gradients_reach_every_parameter_of_the_plain_vit(state):
    network = small("plain-vit", small_booster(state=state)).train()
    check_gradients(network, image(16, 16, 16), state)


def check_gradients(network, x, state):
    generator = torch.Generator().manual_seed(3)
    sum((level * torch.randn(level.shape, generator=generator)).sum() for level in network.deep(x)).backward()
    trained, frozen = {}, {}
    for name, parameter in network.named_parameters():
        (trained if parameter.requires_grad else frozen)[name] = parameter.grad
    assert {name for name in frozen if not name.startswith("booster.blocks.")} == set()
    assert bool(frozen) == (state == "frozen")
    assert [name for name, gradient in frozen.items() if gradient is not None] == []
    assert [name for name, gradient in trained.items() if gradient is None or not gradient.any()] == []


@pytest.mark.parametrize("name", SEGMENTERS)
@pytest.mark.parametrize("residual", RESIDUALS)
def test_gradient_is_the_slope(name, residual):
    """Along a random direction of all that is trained: no path's gradient is cut off or counted twice."""
    network = small(name, small_booster(residual=residual)).double()
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    generator = torch.Generator().manual_seed(4)
    directions = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in trained]
    x = image(16, 16, 16, batch=1).double()
    weights = [torch.randn(level.shape, generator=generator) for level in network.deep(x)]

    def score():
        return sum((level * weight).mean() for level, weight in zip(network.deep(x), weights, strict=True))

    score().backward()
    predicted = sum((p.grad * direction).sum() for p, direction in zip(trained, directions, strict=True))
    step, scores = 1e-7, []
    with torch.no_grad():
        for move in (step, -2 * step):
            for parameter, direction in zip(trained, directions, strict=True):
                parameter.add_(move * direction)
            scores.append(score())
    torch.testing.assert_close((scores[0] - scores[1]) / (2 * step), predicted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", SEGMENTERS)
def test_default_sizes_may_be_shipped(name):
    with torch.device("meta"):
        description = small_booster().describe()
        shape = {"width": 576, "heads": 9, "kv_heads": 3, "head_dim": 64, "ffn": 1536}
        network = build(name, {}, {**description, "shape": shape, "q4": True})
    assert network.booster.adapter_in.out_features == 576
    trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    assert trained < SHIPPING_LIMIT


# -- the booster in its host -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SEGMENTERS)
@pytest.mark.parametrize("residual", RESIDUALS)
@pytest.mark.parametrize("place", PLACES)
def test_boosted_network_starts_as_its_host(name, residual, place):
    host = small(name)
    booster = small_booster(residual=residual, place=place)
    boosted = small(name)
    boosted.booster = booster.eval()
    left = boosted.load_state_dict(host.state_dict(), strict=False)
    assert left.unexpected_keys == []
    assert left.missing_keys == ["booster." + key for key in booster.state_dict()]
    x = image(16, 16, 16)
    starts_as_host = torch.allclose(boosted(x), host(x), atol=1e-6)
    assert starts_as_host == (residual in ("outer", "hybrid"))
    nn.init.normal_(booster.adapter_out.weight)
    assert not torch.allclose(boosted(x), host(x), atol=1e-3)


@pytest.mark.parametrize("name", SEGMENTERS)
@pytest.mark.parametrize(("place", "order"), [("head", "Btt"), ("middle", "tBt"), ("tail", "ttB")])
def test_place_of_the_booster(name, place, order):
    network = small(name, small_booster(place=place)).train()
    seen = []
    network.booster.register_forward_hook(lambda *_: seen.append("B"))
    for block in network.transformer:
        block.register_forward_hook(lambda *_: seen.append("t"))
    network(image(16, 16, 16))
    assert "".join(seen) == order


# -- HybridViT's parts -------------------------------------------------------------------------------------------------


def test_axis_without_strides_is_not_convolved():
    network = small("hybrid-vit", strides=STRIDES["one slice"])
    kinds = (nn.Conv3d, nn.ConvTranspose3d)
    kernels = [module.kernel_size for module in network.modules() if isinstance(module, kinds)]
    assert {kernel[2] for kernel in kernels} == {1}
    assert {kernel[0] for kernel in kernels} == {1, 2, 3}


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("size", [(8, 8, 8), (40, 40, 8)])  # what torch itself does slowly on a CPU, and what not
@pytest.mark.parametrize("options", [{"padding": "same"}, {"stride": 2}])
def test_convolutions_of_all_sizes(count, size, options):
    own, exact = Conv3d(16, 4, 3, **options), nn.Conv3d(16, 4, 3, **options).double()
    exact.load_state_dict(own.state_dict())
    image = torch.randn(count, 16, *size)
    images = image.clone().requires_grad_(), image.double().requires_grad_()
    slopes = []
    for convolution, taken in zip((own, exact), images, strict=True):
        answer = convolution(taken)
        answer.square().mean().backward()
        slopes.append((answer, taken.grad, convolution.weight.grad, convolution.bias.grad))
    for found, wanted in zip(*slopes, strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-5)
    with torch.inference_mode():
        torch.testing.assert_close(own(image), slopes[0][0].detach())


@pytest.mark.parametrize(("openness", "is_global"), [(100.0, True), (-100.0, False)])
def test_gate_of_hybrid_attention(openness, is_global):
    torch.manual_seed(0)
    attention = HybridAttention(8, 2, (3, 3, 3)).eval()
    nn.init.zeros_(attention.gate.weight)
    nn.init.constant_(attention.gate.bias, openness)
    grid = torch.randn(1, 8, 4, 4, 4)
    tokens = grid.flatten(2).transpose(1, 2)
    changed = tokens.clone()
    changed[:, 0] += 1
    difference = (attention(changed, grid) - attention(tokens, grid)).abs().amax(-1).view(4, 4, 4)
    neighbours = torch.zeros(4, 4, 4, dtype=torch.bool)
    neighbours[:2, :2, :2] = True
    assert (difference[neighbours] > 0).all()
    assert (difference[~neighbours] > 0).all() == is_global
    if not is_global:
        assert (difference[~neighbours] == 0).all()
    order = torch.randperm(64)
    is_equivariant = torch.allclose(attention(tokens[:, order], grid), attention(tokens, grid)[:, order], atol=1e-5)
    assert is_equivariant == is_global


def test_fusion_starts_neutral_and_then_adds_every_scale():
    torch.manual_seed(0)
    fusion = MultiScaleFusion((4, 6), 8, (3, 3, 3))
    x, skips = torch.randn(1, 8, 3, 3, 3), [torch.randn(1, 4, 12, 12, 12), torch.randn(1, 6, 6, 6, 6)]
    added = fusion(x, skips) - x
    torch.testing.assert_close(added, fusion.mix.bias.view(1, -1, 1, 1, 1).expand_as(added))
    nn.init.normal_(fusion.mix.weight)
    before = fusion(x, skips)
    for level in range(2):
        changed = [skip.clone() for skip in skips]
        changed[level][:, :, 0, 0, 0] += 5
        assert not torch.allclose(fusion(x, changed), before, atol=1e-2)


# -- PlainViT's parts --------------------------------------------------------------------------------------------------


def test_logits_of_a_patch_come_from_its_token():
    network = small("plain-vit", depth=0, patch=(4, 8, 2), image_size=(8, 16, 4))
    x = image(8, 16, 4, batch=1)
    changed = x.clone()
    changed[..., 5, 3, 1] += 3  # of the patch (1, 0, 0)
    difference = (network(changed) - network(x)).abs().sum(1)[0]
    assert (difference[4:, :8, :2] > 0).all()
    difference[4:, :8, :2] = 0
    assert (difference == 0).all()


def test_positions_are_added_first_and_interpolated_for_other_sizes():
    network = small("plain-vit", small_booster(place="head"))
    entered = []
    network.booster.register_forward_hook(lambda _, inputs, __: entered.append(inputs[0]))
    for size in ((16, 16, 16), (32, 16, 24)):
        x = image(*size)
        network(x)
        grid = [n // 8 for n in size]
        position = F.interpolate(network.position, grid, mode="trilinear", align_corners=False)
        expected = (network.embed(x) + position).flatten(2).transpose(1, 2)
        torch.testing.assert_close(entered.pop(), expected)


# -- described and built again -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SEGMENTERS)
@pytest.mark.parametrize("boosted", [True, False])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_network_built_from_its_description_is_the_same(name, boosted, device):
    booster = small_booster(layers=2, place="middle", residual="hybrid") if boosted else None
    network = small(name, booster, channels=2, classes=4, dropout=0.3)
    described = json.loads(json.dumps(describe(network)))
    options, booster_entry = dict(described[0]), described[1]
    assert bool(booster_entry) == boosted
    with torch.device(device):  # without memory, as a model file is opened
        again = build(options.pop("name"), options, booster_entry)
    assert type(again) is type(network)
    assert again.config == network.config
    assert json.loads(json.dumps(describe(again))) == described
    again.load_state_dict(network.state_dict(), assign=device == "meta")
    x = image(16, 16, 16, channels=2)
    torch.testing.assert_close(again.eval()(x), network(x), rtol=0, atol=0)


def test_smollm2_goes_into_the_default_network():
    network = build(DEFAULT_SEGMENTER, {"depth": 1}, BoosterConfig(layers=(10,)))
    assert network.booster.shape.width == 576
    assert network.booster.natural_rms == 5.78
    assert network.booster.adapter_in.in_features == network.config.width
    assert network.booster.blocks[0].mlp.up_proj.weight.std() > 0.01


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("unet", {}, "'unet' is unknown; use one of hybrid-vit, plain-vit"),
        ("hybrid-vit", {"patch": (8, 8, 8)}, "'hybrid-vit'.*'patch'"),
        ("plain-vit", {"stem": (1, 2)}, "'plain-vit'.*'stem'"),
    ],
)
def test_unknown_names_and_options(name, options, reason):
    with pytest.raises(LLMBoostError, match=reason) as caught:
        build(name, options, None)
    assert "\n" not in str(caught.value)


def test_unknown_source_of_a_booster():
    with pytest.raises(LLMBoostError, match="'gpt5'"):
        build(DEFAULT_SEGMENTER, {}, BoosterConfig(source="gpt5"))
