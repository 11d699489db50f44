"""Adapters: what is trained, that merging gives what was trained, and what a base of volumes makes of slices."""

import re
from typing import ClassVar

import pytest
import torch
from torch import nn

from llmboost.adapter import merged, transfer_weights
from llmboost.booster import Booster, BoosterConfig
from llmboost.booster.block import BlockShape, LanguageModelBlock
from llmboost.booster.q4 import BYTES, WEIGHTS
from llmboost.booster.sources import BlockWeights
from llmboost.errors import LLMBoostError
from llmboost.learn.adaptation.lora import (
    BLOCKS,
    AdapterConfig,
    adapter_state,
    default_rank,
    default_scope,
    default_wise_alpha,
    dequantize,
    inject,
    interpolate,
    layer_by_layer,
)
from llmboost.networks import build, describe, with_options
from llmboost.networks.parts import Parts, lies_in

CONVOLUTIONAL = {
    "channels": 1,
    "classes": 3,
    "features": (4, 8, 16),
    "kernels": ((1, 3, 3), (3, 3, 3), (3, 3, 3)),
    "strides": ((1, 1, 1), (1, 2, 2), (2, 2, 2)),
    "blocks": (1, 2, 2),
    "decoder_convs": (1, 2),
}
SMALL = {
    "hybrid-vit": {"stem": (4, 6, 8), "width": 16, "depth": 2, "heads": 2},
    "plain-vit": {"image_size": (16, 16, 16), "width": 16, "depth": 2, "heads": 2},
    **dict.fromkeys(("plain-conv-unet", "residual-encoder-unet"), CONVOLUTIONAL),
}
SHAPE = BlockShape(width=32, heads=4, kv_heads=2, head_dim=8, ffn=64)


def boosted(name="hybrid-vit", q4=False, **options):
    """A network whose every weight is random, with a booster."""
    torch.manual_seed(0)
    states = LanguageModelBlock(SHAPE).state_dict()
    if q4:
        for key in [key for key, tensor in states.items() if tensor.ndim == 2]:
            rows, columns = states.pop(key).shape
            packed = torch.randint(0, 255, (rows, columns // WEIGHTS, BYTES), dtype=torch.uint8)
            packed[..., :4] = torch.tensor([0.01, -0.08], dtype=torch.float16).view(torch.uint8)
            states[key.replace("weight", "packed")] = packed.flatten(1)
    weights = BlockWeights(SHAPE, [states], natural_rms=5.0, q4=q4, description="small")
    network = build(name, {**SMALL[name], **options}, None)
    network.booster = Booster.from_weights(16, BoosterConfig(layers=(0,)), weights)
    perturb(network)
    return network.eval()


def perturb(network, size=0.1):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "norm" not in name:
                parameter.add_(size * torch.randn(parameter.shape, generator=generator))


def learnt(network):
    """The network as after a training: everything that may change, changed."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


def empty_like(network):
    entry, booster = describe(network)
    with torch.device("meta"):
        return build(entry.pop("name"), entry, booster)


def image(*sizes):
    return torch.randn(1, 1, *sizes, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", SMALL)
def test_a_network_with_an_adapter_computes_what_it_did_before(name):
    network, x = boosted(name), image(16, 16, 16)
    with layer_by_layer(), torch.no_grad():
        before = network(x)
        inject(network, AdapterConfig(4))
        torch.testing.assert_close(network.eval()(x), before, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scope", ["adapter", "norms", "head", "full"])
@pytest.mark.parametrize("name", SMALL)
def test_merged_and_unmerged_agree_to_rounding(name, scope):
    base, network, x = boosted(name), boosted(name), image(16, 16, 16)
    inject(network, AdapterConfig(4, scope))
    learnt(network)
    result = empty_like(base)
    result.load_state_dict(merged(base, result, adapter_state(network)), assign=True)
    with layer_by_layer(), torch.no_grad():
        there, here = network(x), result.eval()(x)
        assert not torch.allclose(there, base(x), atol=1e-2)
    torch.testing.assert_close(here, there, rtol=1e-4, atol=1e-4)


def test_the_blocks_4_bit_layers_take_low_rank_updates_when_asked():
    base, network, x = boosted(q4=True), boosted(q4=True), image(16, 16, 16)
    with torch.no_grad():
        before = network(x)
        dequantize(network)
        torch.testing.assert_close(network(x), before)
    inject(network, AdapterConfig(2, block=True))
    assert any(name.startswith(BLOCKS) for name in adapter_state(network))
    learnt(network)
    result = empty_like(network)
    result.load_state_dict(merged(base, result, adapter_state(network)), assign=True)
    with torch.no_grad():
        torch.testing.assert_close(result.eval()(x), network(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SMALL)
def test_base_is_frozen_and_little_is_adapter_state(name):
    network = boosted(name)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    inject(network, AdapterConfig(2))
    names = set(adapter_state(network))
    assert not any(key.startswith(BLOCKS) for key in names)
    assert {"booster.adapter_in.weight", "booster.adapter_out.weight"} <= names
    network.train()
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1.0)
    network(image(16, 16, 16)).square().mean().backward()
    optimizer.step()
    state = network.state_dict()
    after = {
        re.sub(r"[.]base_layer|[.]parametrizations([.]weight)[.]original", r"\1", key): state[key] for key in state
    }
    changed = {key for key, tensor in before.items() if not torch.equal(tensor, after[key])}
    assert changed <= names
    assert changed


def test_what_attention_never_sees_is_adapter_state():
    network = boosted()
    inject(network, AdapterConfig(2))
    names = set(adapter_state(network))
    assert "stem.0.0.weight" in names
    assert "transformer.0.norm1.weight" in names
    assert {"transformer.0.attention.qkv.weight.lora_A", "transformer.0.mlp.2.weight.lora_B"} <= names


def test_the_decoder_is_trained_when_asked():
    network = boosted()
    inject(network, AdapterConfig(2))
    assert not any(name.startswith(("decoder.", "up.", "fusion.")) for name in _kernels(network))
    network = boosted()
    inject(network, AdapterConfig(2, decoder=True))
    assert {"decoder.0.0.weight", "decoder.2.3.weight", "up.1.weight", "fusion.mix.weight"} <= _kernels(network)


def _kernels(network):
    """What is trained as it is, but for norms and biases."""
    return {name for name, tensor in adapter_state(network).items() if tensor.ndim > 1 and ".lora_" not in name}


def test_a_share_of_the_changes_lies_between_base_and_adapter():
    base, network = boosted(), boosted()
    inject(network, AdapterConfig(2))
    tensors = adapter_state(learnt(network))
    base_state = base.state_dict()
    none, half = (merged(base, empty_like(base), interpolate(base, tensors, share)) for share in (0.0, 0.5))
    whole = merged(base, empty_like(base), tensors)
    for name, tensor in whole.items():
        torch.testing.assert_close(none[name], base_state[name])
        if tensor.is_floating_point():
            torch.testing.assert_close(half[name], (base_state[name] + tensor) / 2, rtol=1e-4, atol=1e-5)


def test_tensors_too_few_or_too_many_are_refused():
    base = boosted()
    with pytest.raises(ValueError, match="no 'surplus'"):
        merged(base, empty_like(base), {"surplus": torch.zeros(1)})
    other = boosted(classes=5)
    with pytest.raises(ValueError, match="neither in the base nor in the adapter"):
        merged(base, empty_like(other), {})


def test_a_network_of_slices_sees_in_a_slice_what_its_base_sees_in_copies_of_it():
    base = boosted().eval()
    network = build("hybrid-vit", {**SMALL["hybrid-vit"], "strides": ((2, 2, 1),) * 3}, None)
    network.booster = base.booster
    network.load_state_dict(transfer_weights(base, network))
    x = image(16, 16, 1)
    seen = []
    for one, depth in ((base, 48), (network.eval(), 1)):
        handle = one.stem[1].register_forward_hook(lambda module, inputs, output: seen.append(output))
        with torch.no_grad():
            one(x.expand(1, 1, 16, 16, depth))
        handle.remove()
    # the middle of the stack: its ends see the zeros that pad it, through the norms of whole images too
    deep, flat = seen[0][..., 12:13], seen[1]
    assert torch.corrcoef(torch.stack([deep.flatten(), flat.flatten()]))[0, 1] > 0.98


def test_ranks_grow_with_the_cases():
    ranks = [default_rank(cases) for cases in (1, 5, 6, 20, 200)]
    assert ranks == sorted(ranks)
    with pytest.raises(LLMBoostError, match="rank 0"):
        AdapterConfig(0)


def test_more_is_kept_where_more_cases_tell_what_it_is_worth():
    shares = [default_wise_alpha(held_out) for held_out in (0, 1, 2, 16)]
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_modules_that_only_hold_others_are_no_targets():
    network = boosted()
    inject(network, AdapterConfig(2, "head"))
    assert set(adapter_state(network)) == {f"heads.{n}.{kind}" for n in range(3) for kind in ("weight", "bias")}
    assert not any("lora" in name for name, _ in network.named_parameters())
    assert isinstance(network.heads, nn.ModuleList)


class Odd(nn.Module):
    """Convolutions of every kind, with batch norms."""

    parts: ClassVar = Parts(first=("enter",), decoder=("up",), head=("out",), convolutional=True)

    def __init__(self):
        super().__init__()
        self.enter = nn.Conv3d(1, 4, 3, padding=1)
        self.dilated = nn.Sequential(nn.Conv3d(4, 8, 3, padding=2, dilation=2), nn.BatchNorm3d(8), nn.ReLU())
        self.grouped = nn.Conv3d(8, 8, 3, 2, padding=1, groups=4)
        self.mix = nn.Conv3d(8, 6, 1)
        self.up = nn.ConvTranspose3d(6, 4, 2, 2)
        self.up_grouped = nn.ConvTranspose3d(4, 4, 3, padding=1, groups=2)
        self.out = nn.Conv3d(4, 2, 1)

    def forward(self, x):
        x = self.mix(self.grouped(self.dilated(self.enter(x))))
        return self.out(self.up_grouped(self.up(x)))


def odd():
    torch.manual_seed(0)
    network = Odd()
    network.train()
    for _ in range(3):
        network(2 * torch.randn(2, 1, 8, 8, 8) + 1)  # means and variances of its batch norm
    return network.eval()


@pytest.mark.parametrize("decoder", [False, True])
def test_convolutions_of_every_kind(decoder):
    base, network, x = odd(), odd(), image(8, 8, 8)
    inject(network, AdapterConfig(2, decoder=decoder))
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(x), base(x), rtol=0, atol=0)
    tensors = adapter_state(network)
    low_rank = {name.removesuffix(".weight.lora_A") for name in tensors if name.endswith("lora_A")}
    assert low_rank == {"dilated.0", "grouped", "up_grouped", *(() if decoder else ("up",))}
    assert {"enter.weight", "out.weight", "dilated.1.weight"} <= tensors.keys()
    assert ("up.weight" in tensors) == decoder
    assert "mix.weight" not in tensors
    learnt(network)
    result = odd()
    result.load_state_dict(merged(base, result, adapter_state(network)))
    with torch.no_grad():
        assert not torch.allclose(network(x), base(x), atol=1e-2)
        torch.testing.assert_close(result(x), network(x), rtol=1e-5, atol=1e-5)


def test_batch_norms_keep_their_means_in_training():
    network, x = odd(), image(8, 8, 8)
    with torch.no_grad():
        before = network(x)
        inject(network, AdapterConfig(2))
        network.train()
        torch.testing.assert_close(network(x), before)
        assert network.training


def test_of_small_networks_of_convolutions_all_is_trained():
    assert default_scope(boosted("plain-conv-unet")) == "full"
    assert default_scope(boosted("hybrid-vit")) == "adapter"
    large = build("plain-conv-unet", {**CONVOLUTIONAL, "features": (8, 64, 256)}, None)
    assert default_scope(large) == "adapter"


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_new_booster_adds_nothing_before_it_has_learned(alpha):
    """And none of it is left where none of the changes is kept."""
    base = build("plain-conv-unet", CONVOLUTIONAL, None).eval()
    network, x = boosted("plain-conv-unet"), image(16, 16, 16)
    network.load_state_dict(transfer_weights(base, network))
    nn.init.zeros_(network.booster.adapter_out.weight)
    with torch.no_grad():
        assert torch.equal(network(x), base(x))
    inject(network, AdapterConfig(2))
    learnt(network)
    tensors = adapter_state(network) | {n: t for n, t in network.state_dict().items() if n.startswith(BLOCKS)}
    result = empty_like(network)
    result.load_state_dict(merged(base, result, interpolate(base, tensors, alpha)), assign=True)
    with torch.no_grad():
        torch.testing.assert_close(result.eval()(x), network(x) if alpha else base(x), rtol=1e-4, atol=1e-4)


MONAI = {
    "UNet": {"spatial_dims": 3, "channels": [4, 8, 16], "strides": [2, 2], "num_res_units": 1, "norm": "batch"},
    "AttentionUnet": {"spatial_dims": 3, "channels": [4, 8, 16], "strides": [2, 2]},
    "BasicUNet": {"features": [4, 4, 8, 8, 8, 4]},
    "DynUNet": {"spatial_dims": 3, "kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2]},
    "SegResNet": {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]},
    "SegResNetDS": {"init_filters": 8, "blocks_down": [1, 1, 1], "dsdepth": 2},
    "FlexibleUNet": {"spatial_dims": 2, "backbone": "efficientnet-b0"},
    "SwinUNETR": {"feature_size": 12},
    "UNETR": {"img_size": 32, "feature_size": 4, "hidden_size": 48, "mlp_dim": 48, "num_heads": 4},
    "VNet": {},
}


SIZES = {
    "FlexibleUNet": (64, 64, 1),
    "SwinUNETR": (64, 32, 32),
    **dict.fromkeys(("BasicUNet", "UNETR", "VNet"), (32,) * 3),
}


def of_monai(kind):
    """One of MONAI's networks with random weights, and an image for it."""
    arguments = {"in_channels": 1, "out_channels": 2, **MONAI[kind]}
    across = 2 if kind == "FlexibleUNet" else None
    network = build("monai", {"kind": kind, "arguments": arguments, "across": across}, None)
    return network.eval(), image(*SIZES.get(kind, (16, 16, 16)))


@pytest.mark.parametrize("kind", MONAI)
def test_monais_networks_adapt(kind):
    torch.manual_seed(0)
    (base, x), (network, _) = of_monai(kind), of_monai(kind)
    network.load_state_dict(base.state_dict())
    for names in (network.parts.first, network.parts.decoder, network.parts.head):
        assert any(lies_in(name, names) for name, _ in network.named_parameters())
    inject(network, AdapterConfig(2))
    with layer_by_layer(), torch.no_grad():
        torch.testing.assert_close(network(x), base(x), rtol=0, atol=1e-5)
        learnt(network)
        result = empty_like(base)
        result.load_state_dict(merged(base, result, adapter_state(network)), assign=True)
        assert not torch.allclose(network(x), base(x), atol=1e-2)
        torch.testing.assert_close(result.eval()(x), network(x), rtol=1e-3, atol=1e-3)
    assert len([name for name in adapter_state(network) if name.endswith("lora_A")]) > 1


@pytest.mark.parametrize("kind", MONAI)
def test_a_booster_sits_where_a_network_of_monais_is_coarsest(kind):
    """It adds nothing before it has learned, then it does, and it comes back from the card."""
    torch.manual_seed(0)
    base, x = of_monai(kind)
    weights = BlockWeights(SHAPE, [LanguageModelBlock(SHAPE).state_dict()], natural_rms=5.0, q4=False, description="s")
    booster = Booster.from_weights(base.config.width, BoosterConfig(layers=(0,)), weights)
    entry, _ = describe(base)
    network = build(entry.pop("name"), entry, None).eval()
    network.booster = booster.eval()
    network.load_state_dict(transfer_weights(base, network))
    with torch.no_grad(), network.before_booster.listen() as heard:
        assert torch.equal(network(x), base(x))
        assert heard[0].shape[1] == base.config.width
        nn.init.normal_(booster.adapter_out.weight)
        assert not torch.allclose(network(x), base(x), atol=1e-4)
        again = empty_like(network)
        again.load_state_dict(network.state_dict(), assign=True)
        torch.testing.assert_close(again.eval()(x), network(x))


def test_networks_of_monai_get_other_classes():
    entry = {"name": "monai", "kind": "UNet", "arguments": {"out_channels": 3}, "across": None, "outputs": [0, 2]}
    assert with_options(entry, classes=2) == entry
    assert with_options(entry, classes=4)["arguments"] == {"out_channels": 4}
