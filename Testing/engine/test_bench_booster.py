"""An experiment repeated with another language model: `bench RECIPE --booster FOLDER`."""

import json

import pytest
import torch
from safetensors.torch import save_file

from llmboost.bench.recipe import read_recipe
from llmboost.bench.runner import read_rows
from llmboost.card import read_card
from llmboost.errors import LLMBoostError

RECIPE = """
title = "Two steps"
kind = "segmentation"
reference = "none"
seeds = [0]

[settings]
data = "phantom"
steps = 2
validations = 1
options = { stem = [4, 8, 8], width = 16, depth = 1, heads = 2, dropout = 0.0 }

[arms.none]
booster = "none"

[arms.frozen.booster]
layers = [20]
"""
LAYERS, LAYER = 16, 10  # the one two thirds of the way up


@pytest.fixture(scope="module")
def billion(tmp_path_factory):
    """A folder of a model of about a billion weights, of the shape of Llama 3.2's smallest; the one layer that is read
    is there, of random numbers, and of the other files the index alone."""
    folder = tmp_path_factory.mktemp("models") / "billion"
    folder.mkdir()
    width, ffn, keys = 2048, 8192, 512
    config = {"model_type": "llama", "hidden_size": width, "intermediate_size": ffn, "num_attention_heads": 32}
    config |= {"num_key_value_heads": 8, "head_dim": 64, "num_hidden_layers": LAYERS, "rms_norm_eps": 1e-5}
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 128256}))
    attention = {"q_proj": (width, width), "k_proj": (keys, width), "v_proj": (keys, width), "o_proj": (width, width)}
    mlp = {"gate_proj": (ffn, width), "up_proj": (ffn, width), "down_proj": (width, ffn)}
    sizes = {f"self_attn.{name}.weight": size for name, size in attention.items()}
    sizes |= {f"mlp.{name}.weight": size for name, size in mlp.items()}
    sizes |= {"input_layernorm.weight": (width,), "post_attention_layernorm.weight": (width,)}
    generator = torch.Generator().manual_seed(0)
    layer = {
        f"model.layers.{LAYER}.{name}": torch.randn(size, generator=generator).mul_(0.02).to(torch.bfloat16)
        for name, size in sizes.items()
    }
    save_file(layer, folder / "layer.safetensors")
    places = {
        f"model.layers.{n}.{name}": "layer.safetensors" if n == LAYER else "other.safetensors"
        for n in range(LAYERS)
        for name in sizes
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


def test_rows_with_a_model_of_a_billion_weights(llmboost, billion, tmp_path):
    (tmp_path / "two.toml").write_text(RECIPE)
    command = "bench", tmp_path / "two.toml", "--output", tmp_path / "out", "--device", "cpu"
    done = llmboost(*command, "--booster", billion)
    assert done.status == 0, done.err
    rows = {record["arm"]: record for record in read_rows(tmp_path / "out")}
    assert rows["frozen"]["settings"]["booster"] == {"layers": [], "source": str(billion)}
    assert rows["none"]["settings"]["booster"] == "none"
    (file,) = (path for path in (tmp_path / "out").rglob("model.safetensors") if "frozen" in str(path.parent))
    card = read_card(file)
    assert (card.booster["source"], card.booster["layers"]) == ("billion", [LAYER])
    # what is not the same experiment does not go on in its folder
    again = llmboost(*command)
    assert again.status == 1
    assert "frozen" in again.err


def test_a_folder_that_is_none_is_told_before_any_row(llmboost, tmp_path):
    done = llmboost("bench", "quick", "--output", tmp_path / "out", "--booster", tmp_path)
    assert done.status == 1
    assert "no Hugging Face folder" in done.err
    assert not (tmp_path / "out").exists()


def test_all_boosters_of_a_recipe_are_of_it():
    recipe = read_recipe("booster_headline").boosted_by("folder")
    boosters = {arm: settings["booster"] for arm, settings in recipe.arms.items()}
    assert boosters["none"] == "none"
    assert boosters["frozen"] == {"source": "folder", "layers": []}
    assert boosters["random"] == {"source": "folder", "layers": [], "init": "random"}
    assert read_recipe("booster_headline").arms["frozen"]["booster"] == {"layers": [20]}  # the shipped one is as it was


def test_a_recipe_without_a_booster():
    with pytest.raises(LLMBoostError, match="recipe 'optimizers': no arm has a booster"):
        read_recipe("optimizers").boosted_by("folder")
