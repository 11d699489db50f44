"""Blocks of a language model in a Hugging Face folder: config.json and safetensors files, one or many (shards).

Only the wanted layers are read, and the library transformers is not needed. PyTorch's own files (.bin) are pickles,
which run code on loading: they are never opened.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..card import read_header
from ..errors import LLMBoostError
from .block import BlockShape, LanguageModelBlock
from .weights import BlockWeights, choose_layers

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
README = "README.md"

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "smollm3")
SUPPORTED = "supported are Llama, Mistral, Qwen2, Qwen3, SmolLM and SmolLM3"
# in a language model, in one without its head, and in models that see images as well; not the layers of their eyes
LAYER = re.compile(
    r"(?:model\.|language_model\.model\.|model\.language_model\.|model\.text_model\.)?layers\.([0-9]{1,6})\.(.+)"
)
# old checkpoints carry a constant that newer libraries compute
CONSTANT = "self_attn.rotary_emb.inv_freq"
DTYPES = {"F32": "fp32", "BF16": "bf16", "F16": "fp16"}
MAX_SIZE = 2**20

# see estimate_natural_rms
RMS_OF_UPDATES = 0.343
RANDOM_TOKENS = 64


def load(folder: Path, layers: tuple[int, ...], name: str) -> BlockWeights:
    """The weights of ``layers`` in float32; of the one two thirds of the way up where none is named.

    Args:
        folder: with config.json and model.safetensors, or model.safetensors.index.json and its shards.
        layers: counted from 0.
        name: of the language model, for cards.

    Raises:
        LLMBoostError: no such folder, a family or form of weights that is not supported, no such layer, or damage.
    """
    shape, depth = read_config(folder)
    layers = choose_layers(str(folder), layers, depth)
    files = _read_index(folder / INDEX) if os.path.isfile(folder / INDEX) else _single_file(folder)
    states, dtypes = [], set()
    for layer in layers:
        state, found = _read_layer(folder, files, layer, shape)
        states.append(state)
        dtypes |= found
    return BlockWeights(
        shape=shape,
        states=states,
        natural_rms=estimate_natural_rms(shape, states[0], layers[0]),
        q4=False,
        description=f"{name}, {'/'.join(sorted(dtypes))}, {_license(folder)}",
        source=name,
        layers=layers,
    )


def read_config(folder: Path) -> tuple[BlockShape, int]:
    """The shape of the blocks and their number, as config.json says.

    Raises:
        LLMBoostError: no such file, a damaged one, or a model that is not supported.
    """
    if not folder.is_dir():
        raise LLMBoostError(f"{folder}: not a folder; give the one that holds {CONFIG} and the safetensors files")
    path = folder / CONFIG
    if not os.path.isfile(path):  # unlike Path's, this takes what may not be looked at for absent
        raise LLMBoostError(f"{folder}: no Hugging Face folder, it has no {CONFIG}; give the folder that holds it")
    raw = _read_json(path)
    quantized = raw.get("quantization_config")
    if quantized is not None:
        method = quantized.get("quant_method") if isinstance(quantized, dict) else quantized
        raise LLMBoostError(f"{folder}: quantized weights ({_brief(method)}); use the model's fp32, bf16 or fp16 form")
    if raw.get("model_type") not in FAMILIES and isinstance(raw.get("text_config"), dict):
        raw = raw["text_config"]  # of a model that sees images as well
    family = raw.get("model_type")
    if family not in FAMILIES:
        raise LLMBoostError(f"{folder}: model type '{_brief(family)}' is not supported; {SUPPORTED}")
    if raw.get("hidden_act", "silu") != "silu":
        raise LLMBoostError(f"{folder}: activation '{_brief(raw['hidden_act'])}' is not supported; use silu")

    def number(key: str, default: int | None = None) -> int:
        value = raw.get(key)
        value = default if value is None else value
        if type(value) is not int or not 0 < value <= MAX_SIZE:
            raise LLMBoostError(f"{path}: damaged, {key} is {_brief(value)}; copy it again")
        return value

    eps = raw.get("rms_norm_eps", 1e-6)
    if not isinstance(eps, float) or not 0 < eps < 1:
        raise LLMBoostError(f"{path}: damaged, rms_norm_eps is {_brief(eps)}; copy it again")
    width, heads = number("hidden_size"), number("num_attention_heads")
    kv_heads = number("num_key_value_heads", heads)
    if heads % kv_heads:
        raise LLMBoostError(f"{path}: damaged, {heads} heads cannot share {kv_heads} keys; copy it again")
    attention_bias = bool(raw.get("attention_bias"))
    shape = BlockShape(
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=number("head_dim", width // heads),
        ffn=number("intermediate_size"),
        eps=eps,
        qkv_bias=attention_bias or family == "qwen2",
        o_bias=attention_bias and family != "qwen2",
        mlp_bias=bool(raw.get("mlp_bias")),
        qk_norm=family == "qwen3",
    )
    return shape, number("num_hidden_layers")


def shards(index: Path, layers: Iterable[int]) -> list[str]:
    """The names of the files that hold ``layers``, as an index says.

    Raises:
        LLMBoostError: the index is damaged.
    """
    files, wanted = _read_index(index), set(layers)
    return sorted({file for name, file in files.items() if (place := _place(name)) and place[0] in wanted})


def estimate_natural_rms(shape: BlockShape, state: dict[str, Tensor], layer: int) -> float:
    """About the root mean square of the hidden states that enter a layer, from the layer's own weights.

    A hidden state is the sum of what all layers below added. If those updates are as large as this layer's own and
    little alike, it grows as the square root of their number: 0.343 * sqrt(layer + 1) * the root mean square of the
    feed-forward update of random tokens (whose scale the norm before it takes away). The factor is fitted to SmolLM2's
    layers 1 to 29, of which half come within a factor of 1.17 of the measured value and all within 1.79; what enters
    layer 0, the embedding, is taken for 4 times as large as it is (scripts/measure_natural_rms.py).

    Raises:
        LLMBoostError: the layer computes nothing, or more than float32 holds.
    """
    with torch.device("meta"):
        block = LanguageModelBlock(shape)
    block.load_state_dict(state, assign=True)
    tokens = torch.randn(RANDOM_TOKENS, shape.width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        update = block.mlp(block.post_attention_layernorm(tokens)).square().mean(-1).sqrt().median().item()
    if not 0 < update < math.inf:
        raise LLMBoostError(
            f"booster: layer {layer} computes {update}; it is damaged or was never trained, use another"
        )
    return float(f"{RMS_OF_UPDATES * math.sqrt(layer + 1) * update:.3g}")


def _place(tensor: str) -> tuple[int, str] | None:
    """The layer that a checkpoint's tensor belongs to, and its name in the block."""
    match = LAYER.fullmatch(tensor)
    return (int(match[1]), match[2]) if match and match[2] != CONSTANT else None


def _read_layer(
    folder: Path, files: dict[str, str], layer: int, shape: BlockShape
) -> tuple[dict[str, Tensor], set[str]]:
    """A block's state dict in float32, and the dtypes that it is stored in."""
    with torch.device("meta"):
        expected = {name: list(tensor.shape) for name, tensor in LanguageModelBlock(shape).state_dict().items()}
    names = {place[1]: name for name in files if (place := _place(name)) and place[0] == layer}
    if not names:
        raise LLMBoostError(f"{folder}: layer {layer} is missing, though {CONFIG} counts it; copy the folder again")
    if missing := sorted(expected.keys() - names.keys()):
        raise LLMBoostError(f"{folder}: layer {layer} lacks {missing[0]}; copy the folder again")
    if unknown := sorted(names.keys() - expected.keys()):
        raise LLMBoostError(f"{folder}: layer {layer} holds {unknown[0]}, unknown to its family; {SUPPORTED}")
    state, dtypes = {}, set()
    for file in sorted({files[name] for name in names.values()}):
        path = folder / file
        if not os.path.isfile(path):
            raise LLMBoostError(f"{path}: missing, though layer {layer} lies in it; copy the folder again")
        header = read_header(path)
        try:
            with safe_open(path, framework="pt") as shard:
                for part, name in names.items():
                    if files[name] == file:
                        dtypes.add(_check_entry(path, name, header.get(name), expected[part]))
                        # a copy: a view would keep the whole file mapped for as long as the block lives
                        state[part] = shard.get_tensor(name).to(torch.float32, copy=True)
        except (SafetensorError, OSError) as error:
            raise LLMBoostError(f"{path}: damaged ({shorten(str(error), 120)}); copy the folder again") from error
    largest = torch.finfo(torch.float16).max  # a model file keeps weights in float16
    for part, tensor in state.items():
        low, high = tensor.aminmax()
        if not (-largest <= low and high <= largest):  # false of NaN, too
            raise LLMBoostError(
                f"{folder}: layer {layer} has weights that are no numbers or beyond float16 ({part}); use another layer"
            )
    return state, dtypes


def _check_entry(path: Path, name: str, entry: Any, shape: list[int]) -> str:
    """The name of the dtype of a tensor in a file's header."""
    if entry is None:
        raise LLMBoostError(f"{path}: lacks {name}, though the index finds it there; copy the folder again")
    if entry.get("dtype") not in DTYPES:
        raise LLMBoostError(f"{path}: weights in {entry.get('dtype')}; use the model's fp32, bf16 or fp16 form")
    if entry.get("shape") != shape:
        raise LLMBoostError(
            f"{path}: {name} has the shape {entry.get('shape')}, by {CONFIG} {shape}; copy the folder again"
        )
    return DTYPES[entry["dtype"]]


def _single_file(folder: Path) -> dict[str, str]:
    path = folder / WEIGHTS
    if os.path.isfile(path):
        return dict.fromkeys(read_header(path), WEIGHTS)
    if list(folder.glob("*.bin")):
        raise LLMBoostError(
            f"{folder}: holds PyTorch pickles, which may run code and are not read; convert them to safetensors"
            " (transformers: from_pretrained and save_pretrained)"
        )
    raise LLMBoostError(f"{folder}: neither {WEIGHTS} nor {INDEX}; copy the folder again")


def _read_index(path: Path) -> dict[str, str]:
    """Tensor name -> file name."""
    files = _read_json(path).get("weight_map")
    # a file elsewhere is none of this folder's
    if not isinstance(files, dict) or not all(isinstance(f, str) and Path(f).name == f for f in files.values()):
        raise LLMBoostError(f"{path}: damaged, its weight_map cannot be read; copy it again")
    return files


def _read_json(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_bytes())
    except OSError as error:
        raise LLMBoostError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise LLMBoostError(f"{path}: damaged, no JSON; copy it again") from error
    if not isinstance(raw, dict):
        raise LLMBoostError(f"{path}: damaged, no table; copy it again")
    return raw


def _brief(value: Any) -> str:
    """What a file says, in a message of one line."""
    return shorten(str(value), 60)


def _license(folder: Path) -> str:
    """As the model's page says in its front matter, or else the first line of its license."""
    front = re.match(r"---\n(.*?)\n---", _text(folder / README), re.DOTALL)
    named = re.search(r"^license: *(\S.*)$", front[1], re.MULTILINE) if front else None
    if named:
        return f"license {shorten(named[1], 60)}"
    lines = _text(folder / "LICENSE").split("\n")
    first = next((line for line in lines if line.strip()), "")
    return shorten(first, 60) or "license: see the source"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
