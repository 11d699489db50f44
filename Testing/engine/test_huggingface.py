"""Blocks read from Hugging Face folders; the folders are written, and the blocks judged, by transformers."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers

import llmboost
from llmboost.booster import BoosterConfig, huggingface
from llmboost.booster.block import BlockShape, LanguageModelBlock
from llmboost.booster.smollm2 import NATURAL_RMS
from llmboost.booster.sources import load_blocks
from llmboost.errors import LLMBoostError
from llmboost.learn.train import Recipe
from llmboost.learn.train import train as run_training
from llmboost.learn.trainer import TrainingConfig
from llmboost.networks import build

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 3,
    "vocab_size": 50,
    "pad_token_id": None,
}
FAMILIES = {
    "llama": (transformers.LlamaConfig, {"rms_norm_eps": 1e-2}),
    "llama, biased": (transformers.LlamaConfig, {"attention_bias": True, "mlp_bias": True, "head_dim": 24}),
    "mistral": (transformers.MistralConfig, {"sliding_window": 4}),
    "qwen2": (transformers.Qwen2Config, {}),
    "qwen3": (transformers.Qwen3Config, {"head_dim": 24}),
    "smollm3": (transformers.SmolLM3Config, {"no_rope_layers": [1, 0, 1]}),
}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SHARDED = {"max_shard_size": "60KB"}  # less than a layer


def language_model(family="llama", **changes):
    """A causal language model of random weights, none of them neutral."""
    kind, options = FAMILIES[family]
    model = transformers.AutoModelForCausalLM.from_config(kind(**{**SIZES, **options, **changes}))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise / parameter.shape[-1] ** 0.5 if parameter.ndim > 1 else 1 + 0.3 * noise)
    return model


def filled(weights, number=0):
    block = LanguageModelBlock(weights.shape)
    block.load_state_dict(weights.states[number], strict=True)
    return block.requires_grad_(False)


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    """A Llama in bf16 whose layers share shards. Shared: do not change it."""
    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    language_model().to(torch.bfloat16).save_pretrained(folder, **SHARDED)
    return folder


@pytest.fixture
def copied(sharded, tmp_path):
    """A copy of :func:`sharded` to be damaged."""
    return shutil.copytree(sharded, tmp_path / "tiny-llama")


def refusal(source, layers=(1,)):
    """The one line with which a source is refused."""
    with pytest.raises(LLMBoostError) as caught:
        load_blocks(str(source), layers)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change(path, **entries):
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


# -- what is read ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shards", [{}, SHARDED], ids=["single", "sharded"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_block_equals_the_layer_of_the_model_that_transformers_reads(family, dtype, shards, tmp_path):
    language_model(family).to(DTYPES[dtype]).save_pretrained(tmp_path, **shards)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1 or not shards
    block = filled(load_blocks(str(tmp_path), (1,)))

    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32, attn_implementation="sdpa")
    seen = []
    model.model.layers[1].register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    everywhere, nowhere = torch.zeros(1, 1, 10, 10), torch.zeros(1, 10, dtype=torch.long)
    with torch.no_grad():
        model(
            inputs_embeds=torch.randn(1, 10, 64, generator=torch.Generator().manual_seed(1)),
            attention_mask=everywhere,
            position_ids=nowhere,
        )
    ((entering, leaving),) = seen
    torch.testing.assert_close(block(entering), leaving, atol=1e-5, rtol=1e-5)
    assert {tensor.dtype for tensor in block.state_dict().values()} == {torch.float32}


def test_layers_come_in_the_order_asked_for(sharded):
    weights = load_blocks(str(sharded), (2, 0))
    assert weights.layers == (2, 0)
    reference = transformers.AutoModelForCausalLM.from_pretrained(sharded, dtype=torch.float32)
    for state, layer in zip(weights.states, (2, 0), strict=True):
        expected = reference.model.layers[layer].state_dict()
        assert sorted(state) == sorted(expected)
        assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())
    assert load_blocks(str(sharded), ()).layers == (2,), "of three, two thirds up"


def test_random_weights_keep_the_spectrum_of_a_folders_block(sharded):
    pretrained, random = (load_blocks(str(sharded), (1,), init=init) for init in ("pretrained", "random"))
    matrix, control = (weights.states[0]["mlp.down_proj.weight"] for weights in (pretrained, random))
    torch.testing.assert_close(torch.linalg.svdvals(matrix), torch.linalg.svdvals(control), rtol=1e-3, atol=1e-4)
    assert not torch.allclose(matrix, control, atol=0.01)
    assert random.description.startswith("random, singular values of tiny-llama, bf16")


@pytest.mark.parametrize("prefix", ["", "language_model.model.", "model.language_model.", "model.text_model."])
def test_language_model_without_head_or_within_another_model(prefix, sharded, tmp_path):
    tensors = {}
    for file in sharded.glob("*.safetensors"):
        tensors |= safetensors.torch.load_file(file)
    renamed = {name.replace("model.", prefix, 1): tensor for name, tensor in tensors.items()}
    eyes = {"vision_tower.encoder.layers.1.self_attn.q_proj.weight": torch.zeros(2, 2)}
    safetensors.torch.save_file({**renamed, **eyes}, tmp_path / "model.safetensors")
    config = json.loads((sharded / "config.json").read_text())
    if prefix:
        config = {"model_type": "llava", "text_config": config}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (state,), (expected,) = load_blocks(str(tmp_path), (1,)).states, load_blocks(str(sharded), (1,)).states
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())


def test_old_checkpoints(copied):
    """No head_dim, no number of key heads, and a constant beside each layer's weights."""
    config = json.loads((copied / "config.json").read_text())
    for key in ("num_key_value_heads", "head_dim"):
        del config[key]
    shutil.rmtree(copied)
    model = language_model(num_key_value_heads=4)
    tensors = {**model.state_dict(), "model.layers.1.self_attn.rotary_emb.inv_freq": torch.zeros(8)}
    copied.mkdir()
    safetensors.torch.save_file(tensors, copied / "model.safetensors")
    (copied / "config.json").write_text(json.dumps(config))
    weights = load_blocks(str(copied), (1,))
    assert weights.shape == BlockShape(width=64, heads=4, kv_heads=4, head_dim=16, ffn=96, eps=1e-2)
    assert torch.equal(weights.states[0]["self_attn.k_proj.weight"], model.model.layers[1].self_attn.k_proj.weight)


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        (None, "", "license: see the source"),
        ("README.md", "---\nlanguage: en\nlicense: llama3.1\n---\n# A model\nlicense: none\n", "license llama3.1"),
        ("README.md", "# A model\nlicense: none\n", "license: see the source"),
        ("LICENSE", "\n    Apache License\n  Version 2.0\n", "Apache License"),
    ],
)
def test_description_tells_name_dtype_and_license(copied, file, text, told):
    if file:
        (copied / file).write_text(text)
    weights = load_blocks(str(copied), (1,))
    assert weights.description == f"tiny-llama, bf16, {told}"
    assert weights.source == "tiny-llama", "no path of this machine in a card"


# -- the scale of hidden states ----------------------------------------------------------------------------------------


def test_estimated_scale_fits_smollm2():
    """Within a factor of 2 of what the language model was measured to do; the embedding is another matter."""
    weights = load_blocks("smollm2", tuple(range(30))).unpacked()
    estimates = [huggingface.estimate_natural_rms(weights.shape, s, layer) for layer, s in enumerate(weights.states)]
    factors = np.exp(np.abs(np.log(np.array(estimates) / NATURAL_RMS)))
    assert np.median(factors[1:]) < 1.2
    assert factors[1:].max() < 2


def test_estimated_scale_follows_the_weights(sharded):
    """As hidden states do: a model whose updates are twice as large has hidden states twice as large."""
    weights = load_blocks(str(sharded), (1,))
    (state,) = weights.states
    louder = {**state, "mlp.down_proj.weight": 2 * state["mlp.down_proj.weight"]}
    once, twice = (huggingface.estimate_natural_rms(weights.shape, s, 1) for s in (state, louder))
    assert weights.natural_rms == once
    assert twice == pytest.approx(2 * once, rel=0.01)
    silent = {**state, "mlp.down_proj.weight": torch.zeros_like(state["mlp.down_proj.weight"])}
    with pytest.raises(LLMBoostError, match="layer 1 computes 0"):
        huggingface.estimate_natural_rms(weights.shape, silent, 1)


# -- memory ------------------------------------------------------------------------------------------------------------

PEAK = """
import re, sys
from pathlib import Path
from llmboost.booster import Booster, BoosterConfig

def kilobytes(what):
    return int(re.search(what + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

small, large = (BoosterConfig(folder, layers=(int(layer),)) for folder, layer in zip(sys.argv[1::2], sys.argv[2::2]))
Booster.pretrained(16, small)  # with all that is imported on the way
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before = kilobytes("VmRSS")
booster = Booster.pretrained(16, large)
print(1024 * (kilobytes("VmHWM") - before), sum(p.numel() * p.element_size() for p in booster.blocks.parameters()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_only_the_wanted_layer_is_read(dtype, sharded, tmp_path):
    """Peak memory of a child process that boosts with one layer of a checkpoint of twelve."""
    config = transformers.LlamaConfig(
        **{**SIZES, "hidden_size": 768, "intermediate_size": 2304, "num_hidden_layers": 12}
    )
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=DTYPES[dtype])
    # shards of several layers, as they are published
    model.save_pretrained(tmp_path, max_shard_size="80MB" if dtype == "fp32" else "40MB")
    sizes = [file.stat().st_size for file in tmp_path.glob("*.safetensors")]
    assert len(sizes) >= 3
    arguments = [str(sharded), "1", str(tmp_path), "7"]
    child = subprocess.run(
        [sys.executable, "-c", PEAK, *arguments],
        cwd=Path(llmboost.__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert child.returncode == 0, child.stderr
    extra, layer = map(int, child.stdout.split())
    assert layer > 25e6
    assert layer < extra < 2.5 * layer
    assert extra < sum(sizes) / 3


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_no_such_folder(tmp_path, sharded):
    missing = tmp_path / "missing"
    assert f"booster '{missing}': unknown source" in refusal(missing)
    (tmp_path / "link").symlink_to(missing)
    assert "unknown source" in refusal(tmp_path / "link")
    assert "not a folder" in refusal(sharded / "config.json")
    assert "unknown source" in refusal("x" * 5000)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "it has no config.json" in refusal(empty)


@pytest.mark.parametrize("layer", [3, -1, 10**6])
def test_no_such_layer(sharded, layer):
    assert refusal(sharded, (layer,)).endswith(f"no layer {layer}; it has layers 0 to 2")


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        (transformers.GPT2Config, "gpt2"),
        (transformers.OPTConfig, "opt"),
        (transformers.Phi3Config, "phi3"),
        (transformers.GemmaConfig, "gemma"),
        (transformers.Gemma3Config, "gemma3_text"),
        (transformers.MixtralConfig, "mixtral"),
        (transformers.Qwen3MoeConfig, "qwen3_moe"),
    ],
)
def test_another_family(tmp_path, kind, family):
    kind().save_pretrained(tmp_path)
    message = refusal(tmp_path)
    assert f"model type '{family}' is not supported" in message
    assert "Llama, Mistral, Qwen2, Qwen3, SmolLM" in message


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantized weights (gptq)"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantized weights (fp8)"),
        ({"hidden_act": "gelu"}, "activation 'gelu' is not supported"),
        ({"model_type": None}, "model type 'None'"),
        ({"model_type": "a\nb" + 99 * " c"}, "model type 'a b c c"),
        ({"text_config": {"model_type": "bert"}, "model_type": "clip"}, "model type 'bert'"),
        ({"hidden_size": None}, "hidden_size is None"),
        ({"hidden_size": "64"}, "hidden_size is 64"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
        ({"intermediate_size": 10**15}, "intermediate_size is 1000000000000000"),
        ({"num_key_value_heads": 3}, "4 heads cannot share 3"),
        ({"rms_norm_eps": -1.0}, "rms_norm_eps is -1.0"),
        ({"rms_norm_eps": None}, "rms_norm_eps is None"),
        ({"hidden_size": 128}, "by config.json"),
        ({"num_hidden_layers": 5}, "layer 4 is missing, though config.json counts it"),
        ({"model_type": "qwen3"}, "layer 1 lacks self_attn.k_norm.weight"),
        ({"model_type": "qwen2"}, "layer 1 lacks self_attn.k_proj.bias"),
        ({"attention_bias": True}, "layer 1 lacks self_attn.k_proj.bias"),
    ],
)
def test_configs_that_do_not_fit(copied, entries, told):
    change(copied / "config.json", **entries)
    assert told in refusal(copied, (4,) if "num_hidden_layers" in entries else (1,))


@pytest.mark.parametrize("file", ["config.json", "model.safetensors.index.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe\x00", b"[" * 100_000])
def test_damaged_json(copied, file, content):
    (copied / file).write_bytes(content)
    assert f"{copied / file}: damaged" in refusal(copied)


@pytest.mark.parametrize("files", [None, [], {"model.layers.1.mlp.up_proj.weight": 3}, {"a": "../secret.safetensors"}])
def test_damaged_index(copied, files):
    change(copied / huggingface.INDEX, weight_map=files)
    assert "its weight_map cannot be read" in refusal(copied)


def shard_of(folder, name="model.layers.1.mlp.up_proj.weight"):
    return folder / json.loads((folder / huggingface.INDEX).read_text())["weight_map"][name]


def test_missing_shard(copied):
    shard_of(copied).unlink()
    assert refusal(copied).startswith(f"{shard_of(copied)}: missing, though layer 1 lies in it")


def test_broken_link_to_a_shard(copied):
    shard_of(copied).unlink()
    shard_of(copied).symlink_to(copied / "blob")
    assert refusal(copied).startswith(f"{shard_of(copied)}: missing")


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_truncated_shard(copied, kept):
    path = shard_of(copied)
    path.write_bytes(path.read_bytes()[:kept])
    assert refusal(copied).startswith(f"{path}: ")


def test_other_shards_may_be_missing(copied):
    index = copied / huggingface.INDEX
    needed = huggingface.shards(index, [1])
    assert 0 < len(needed) < len(list(copied.glob("*.safetensors")))
    expected = load_blocks(str(copied), (1,)).states[0]
    for file in copied.glob("*.safetensors"):
        if file.name not in needed:
            file.unlink()
    state = load_blocks(str(copied), (1,)).states[0]
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())
    assert ": missing, though layer" in refusal(copied, (0,))


def rewrite(path, edit):
    tensors = safetensors.torch.load_file(path)
    edit(tensors)
    safetensors.torch.save_file(tensors, path)


NAME = "model.layers.1.mlp.up_proj.weight"


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda t: t.update({NAME: t[NAME][1:].clone()}), "has the shape [95, 64], by config.json [96, 64]"),
        (lambda t: t.pop(NAME), "though the index finds it there"),
        (lambda t: t[NAME].__setitem__((3, 4), torch.nan), "no numbers or beyond float16 (mlp.up_proj.weight)"),
        (lambda t: t[NAME].__setitem__((3, 4), -torch.inf), "no numbers or beyond float16 (mlp.up_proj.weight)"),
        (lambda t: t[NAME].__setitem__((3, 4), 1e5), "no numbers or beyond float16 (mlp.up_proj.weight)"),
        (lambda t: t.update({NAME: t[NAME].to(torch.int8)}), "weights in I8"),
        (lambda t: t.update({NAME: t[NAME].to(torch.float8_e4m3fn)}), "weights in F8_E4M3"),
    ],
    ids=["shape", "absent", "NaN", "infinity", "beyond fp16", "int8", "fp8"],
)
def test_tensors_that_do_not_fit(copied, edit, told):
    rewrite(shard_of(copied), edit)
    assert told in refusal(copied)


def test_tensor_that_the_family_does_not_have(copied):
    files = json.loads((copied / huggingface.INDEX).read_text())["weight_map"]
    change(copied / huggingface.INDEX, weight_map={**files, "model.layers.1.self_attn.sinks": "x.safetensors"})
    assert "layer 1 holds self_attn.sinks, unknown to its family" in refusal(copied)


def test_pickles_are_not_read(copied):
    for file in copied.glob("*.safetensors*"):
        file.unlink()
    assert "neither model.safetensors nor model.safetensors.index.json" in refusal(copied)
    (copied / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    assert "convert them to safetensors" in refusal(copied)


# -- from a folder to a model file -------------------------------------------------------------------------------------

USE = """
import sys

class Hide:
    def find_spec(self, name, *rest):
        if name.split(".")[0] in ("transformers", "peft", "gguf", "huggingface_hub"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Hide())
from pathlib import Path
from llmboost.io.image import read_image
from llmboost.model import load_model
from llmboost.inference.segment import segment

model = load_model(Path(sys.argv[1]))
print(segment(model, [read_image(Path(sys.argv[2]))]).labelmap.array.shape)
"""


def test_training_from_a_folder_makes_a_model_that_stands_alone(copied, dataset_folder, tmp_path):
    options = {"stem": (4, 8, 8), "width": 16, "depth": 1, "heads": 2}
    recipe = Recipe(TrainingConfig(steps=2, validations=1), options=options, booster=BoosterConfig(str(copied)))
    path = tmp_path / "boosted.safetensors"
    card = run_training(dataset_folder, path, recipe, device=torch.device("cpu"))
    assert (card.booster["source"], card.booster["layers"]) == ("tiny-llama", [2])
    assert card.booster["description"] == "tiny-llama, bf16, license: see the source"
    assert str(tmp_path) not in card.to_json()
    (expected,) = load_blocks(str(copied), (2,)).states
    assert card.booster["natural_rms"] == load_blocks(str(copied), (2,)).natural_rms
    kept = safetensors.torch.load_file(path)
    for name, tensor in expected.items():
        assert torch.equal(kept[f"booster.blocks.0.{name}"], tensor.half()), name
    shutil.rmtree(copied)
    image = dataset_folder / "imagesTr" / "case_7.nii.gz"
    child = subprocess.run(
        [sys.executable, "-c", USE, str(path), str(image)],
        cwd=Path(llmboost.__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert child.stdout.strip() == "(24, 28, 24)", child.stderr


def test_low_rank_updates_of_a_folders_block(sharded):
    booster = build(
        "hybrid-vit",
        {"width": 16, "heads": 2, "depth": 1, "stem": [4, 4, 4]},
        BoosterConfig(str(sharded), state="lora"),
    ).booster
    trained = {name for name, parameter in booster.blocks.named_parameters() if parameter.requires_grad}
    assert trained
    assert all(".lora_" in name for name in trained)
