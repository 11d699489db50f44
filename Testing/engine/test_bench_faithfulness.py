"""Rows of the kind `faithfulness`."""

import pytest
import torch

from llmboost.bench.kinds import Context, load_kind
from llmboost.bench.recipe import read_recipe


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "noise"},
        {"method": "attention-rollout", "layer": "before", "curves": False},
        {"weights": "random"},
    ],
    ids=str,
)
def test_rows(dataset_folder, tiny_model, tmp_path, settings):
    kind = load_kind("faithfulness")
    row = {
        "id": "row",
        "arm": "arm",
        "seed": 0,
        "settings": {"data": dataset_folder.name, "model": str(tiny_model), "split": "test", **settings},
    }
    context = Context(dataset_folder.parent, tmp_path, torch.device("cpu"))
    figures = kind.run(row, context)
    (case,) = figures["cases"]
    assert {measure.name for measure in kind.MEASURES} <= case.keys()
    assert 0 <= case["energy"] <= 1
    assert case["gain"] == pytest.approx(figures["val"])
    assert (case["deletion"] is None) == (settings.get("curves") is False)
    assert kind.run(row, context) == figures, "seeded"


def test_the_shipped_recipe_compares_with_chance_and_shuffled_weights():
    arms = read_recipe("explain_hippocampus").arms
    assert arms["chance"] == {"method": "noise"}
    assert arms["shuffled weights"] == {"weights": "random"}
