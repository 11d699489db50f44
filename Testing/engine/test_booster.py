"""The booster around the frozen block: the order of tokens, residuals and scale, controls, and what learns."""

import json

import pytest
import torch
import torch.nn.functional as F

from llmboost.booster import BoosterConfig, rebuild
from llmboost.booster.block import LanguageModelBlock
from llmboost.booster.booster import RESIDUALS

from .booster_samples import SMALL, SMALL_RMS, WIDTH, bytes_of, randomize, small_booster, tokens, train

# -- tokens have no order ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("residual", RESIDUALS)
def test_booster_is_equivariant_and_not_causal(residual):
    booster = small_booster(layers=2, residual=residual)
    z = tokens(count=20)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(booster(z[:, order]), booster(z)[:, order], atol=1e-5, rtol=1e-5)
    changed = z.clone()
    changed[:, -1] *= -1
    difference = (booster(changed) - booster(z)).abs()
    assert difference[:, 0].max() > 1e-3  # the last token is seen by the first
    torch.testing.assert_close(booster(z)[:1], booster(z[:1]), atol=1e-5, rtol=1e-5)  # and by its own image only


# -- residuals, scale --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["natural", "none"])
@pytest.mark.parametrize("residual", RESIDUALS)
def test_residual_algebra(residual, scale):
    booster = small_booster(layers=2, residual=residual, scale=scale)
    if scale == "natural":
        randomize(booster.norm)
    z = 3 * tokens()

    entering = z
    if scale == "natural":
        mean, variance = z.mean(-1, keepdim=True), z.var(-1, keepdim=True, correction=0)
        entering = (z - mean) / (variance + 1e-5).sqrt() * booster.norm.weight + booster.norm.bias
    h = entering @ booster.adapter_in.weight.T
    rms = (h.square().mean(-1, keepdim=True) + SMALL.eps).sqrt()
    llm = booster.blocks[1](booster.blocks[0](SMALL_RMS * h / rms if scale == "natural" else h))
    llm = llm / (llm.square().mean(-1, keepdim=True) + SMALL.eps).sqrt()
    w2 = booster.adapter_out.weight.T
    expected = {"none": llm @ w2, "inner": (llm + h) @ w2, "outer": llm @ w2 + z, "hybrid": (llm + h) @ w2 + z}
    torch.testing.assert_close(booster(z), expected[residual], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("residual", RESIDUALS)
def test_outer_residuals_start_as_the_identity(residual):
    booster = small_booster(residual=residual, random_out=False)
    z = tokens()
    starts_as_identity = torch.equal(booster(z), z)
    assert starts_as_identity == (residual in ("outer", "hybrid"))
    # without an outer residual, a zero would let nothing pass
    assert (booster.adapter_out.weight != 0).any() == (residual in ("none", "inner"))


@pytest.mark.parametrize("factor", [1e-2, 1.0, 1e4])
def test_natural_scale_enters_the_block(factor):
    entered = []
    for scale in ("natural", "none"):
        booster = small_booster(scale=scale)
        booster.blocks[0].register_forward_hook(lambda _, inputs, __: entered.append(inputs[0]))
        booster(factor * tokens())
    rms = entered[0].square().mean(-1).sqrt()
    torch.testing.assert_close(rms, torch.full_like(rms, SMALL_RMS), rtol=1e-3, atol=0)
    assert torch.equal(entered[1], booster.adapter_in(factor * tokens()))


# -- controls without a language model ---------------------------------------------------------------------------------

CONTROLS = ("identity", "linear", "mlp")


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("residual", RESIDUALS)
def test_control_algebra(control, residual):
    booster = randomize(small_booster(block=control, residual=residual, scale="none"))
    z = 3 * tokens()
    h = z @ booster.adapter_in.weight.T
    if control == "identity":
        between = h / (h.square().mean(-1, keepdim=True) + SMALL.eps).sqrt()
    elif control == "linear":
        between = h
    else:
        between = F.layer_norm(F.gelu(h), (SMALL.width,), booster.mlp[1].weight, booster.mlp[1].bias)
    w2 = booster.adapter_out.weight.T
    expected = {
        "none": between @ w2,
        "inner": (between + h) @ w2,
        "outer": between @ w2 + z,
        "hybrid": (between + h) @ w2 + z,
    }
    torch.testing.assert_close(booster(z), expected[residual], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("control", CONTROLS)
def test_controls_have_the_boosters_adapters_and_no_block(control):
    boosted, booster = small_booster(), small_booster(block=control)
    sizes = {name: p.shape for name, p in boosted.named_parameters() if not name.startswith("blocks.")}
    ours = {name: p.shape for name, p in booster.named_parameters()}
    assert {name: ours[name] for name in sizes} == sizes
    assert all(name.startswith("mlp.") for name in ours.keys() - sizes.keys())
    assert bool(ours.keys() - sizes.keys()) == (control == "mlp")
    before = bytes_of(booster)
    train(booster)
    after = bytes_of(booster)
    assert all(after[name] != before[name] for name in before)


@pytest.mark.parametrize("control", CONTROLS)
def test_rebuilt_control_is_the_same(control):
    booster = randomize(small_booster(layers=2, block=control, residual="hybrid"))
    description = json.loads(json.dumps(booster.describe()))
    assert control in description["description"]
    again = rebuild(WIDTH, description)
    assert again.describe() == description
    again.load_state_dict(booster.state_dict())
    assert torch.equal(again(tokens()), booster(tokens()))


def test_cards_from_before_there_were_controls():
    booster = small_booster(layers=2)
    description = booster.describe()
    del description["block"], description["auxiliary"]
    again = rebuild(WIDTH, description)
    assert again.config == booster.config
    again.load_state_dict(booster.state_dict())
    assert torch.equal(again(tokens()), booster(tokens()))


def test_auxiliary_branch_serves_training_alone():
    booster = small_booster(auxiliary=True)
    z = tokens(batch=64)
    assert torch.equal(booster.eval()(z), z)
    booster.train()
    added = (booster(z) - z).abs().amax((1, 2))
    assert 10 < (added > 1e-3).sum() < 54  # about half of the images
    assert ((added > 1e-3) | (added == 0)).all()
    (booster(z) * tokens(batch=64, seed=9)).sum().backward()
    assert booster.adapter_in.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"auxiliary": True, "residual": "inner"}, "needs an outer residual, not 'inner'"),
        ({"block": "mlp", "state": "lora"}, "'lora', but the block 'mlp'"),
    ],
)
def test_configuration_that_contradicts_itself(wrong, reason):
    with pytest.raises(ValueError, match=reason):
        BoosterConfig(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"init": "zero"},
        {"block": "conv"},
        {"state": "thawed"},
        {"residual": "both"},
        {"place": "neck"},
        {"scale": "unit"},
    ],
)
def test_wrong_configuration(wrong):
    (value,) = wrong.values()
    with pytest.raises(ValueError, match=f"'{value}' is none of"):
        BoosterConfig(**wrong)


# -- what learns -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("q4", [False, True])
@pytest.mark.parametrize("residual", RESIDUALS)
def test_gradients_pass_the_frozen_block_and_never_change_it(residual, q4):
    booster = small_booster(layers=2, q4=q4, residual=residual)
    before, adapters = bytes_of(booster.blocks), bytes_of(booster.adapter_in)
    z = tokens().requires_grad_()
    passed = []  # apart from what goes around the block
    booster.blocks[0].register_full_backward_hook(lambda _, grad_in, grad_out: passed.append((grad_in, grad_out)))
    booster(z).square().sum().backward()
    ((grad_in, grad_out),) = passed
    assert grad_in[0].abs().sum() > 0
    assert grad_out[0].abs().sum() > 0
    for tensor in (z, booster.norm.weight, booster.norm.bias, booster.adapter_in.weight, booster.adapter_out.weight):
        assert tensor.grad.abs().sum() > 0
    for name, parameter in booster.blocks.named_parameters():
        assert not parameter.requires_grad, name
        assert parameter.grad is None, name
    train(booster)
    assert bytes_of(booster.blocks) == before
    assert bytes_of(booster.adapter_in) != adapters


@pytest.mark.parametrize("q4", [False, True])
def test_full_block_learns(q4):
    booster = small_booster(q4=q4, state="full")
    before = bytes_of(booster.blocks)
    assert not booster.q4  # what learns cannot stay in 4 bits
    train(booster)
    after = bytes_of(booster.blocks)
    assert all(after[name] != before[name] for name in before)


@pytest.mark.parametrize("q4", [False, True])
def test_lora_learns_and_merges(q4):
    booster = small_booster(layers=2, q4=q4, state="lora", rank=3)
    frozen = small_booster(layers=2, q4=q4)
    z = tokens()
    torch.testing.assert_close(booster(z), frozen(z), atol=1e-5, rtol=1e-5)  # low-rank updates start at zero

    before = bytes_of(booster.blocks)
    trainable = {name for name, parameter in booster.blocks.named_parameters() if parameter.requires_grad}
    train(booster)
    after = bytes_of(booster.blocks)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == trainable
    assert all(".lora_A." in name or ".lora_B." in name for name in changed)
    assert len(changed) == 2 * 4 * 2  # two factors of four projections in two blocks
    assert {min(booster.get_parameter("blocks." + name).shape) for name in changed} == {3}

    booster.eval()
    unmerged = booster(z)
    booster.merge_lora()
    torch.testing.assert_close(booster(z), unmerged, atol=1e-5, rtol=1e-5)
    assert (unmerged - frozen(z)).abs().max() > 1e-2
    assert not [kind for kind in map(type, booster.modules()) if kind.__module__.startswith("peft")]
    reference = LanguageModelBlock(SMALL)
    assert list(booster.blocks[0].state_dict()) == list(reference.state_dict())
    assert not any(parameter.requires_grad for parameter in booster.blocks.parameters())
