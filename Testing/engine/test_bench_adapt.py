"""The kind of experiment that adapts."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from llmboost.bench.kinds import Context, load_kind
from llmboost.bench.recipe import read_recipe
from llmboost.bench.shift import shift_dataset, shifted
from llmboost.bench.sunnybrook import write_sunnybrook
from llmboost.errors import LLMBoostError
from llmboost.io.dataset import load, read_dataset
from llmboost.library import import_model

RECIPES = [
    "adapt_site_shift",
    "adapt_three_minutes",
    "adapt_left_ventricle",
    "adapt_new_label",
    "adapt_next_case",
    "adapt_unlabelled",
]


@pytest.fixture
def run(tmp_path, trained_model, library_folder):
    """``run(...)``: the figures of a row on the phantom."""
    base = import_model(trained_model).name

    def figures(**settings):
        row = {
            "id": "row",
            "arm": "arm",
            "seed": 0,
            "settings": {"data": "phantom", "base": base, "cases": 2, **settings},
        }
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        result = load_kind("adapt").run(row, Context(tmp_path, folder, torch.device("cpu")))
        left = {path.name for path in folder.iterdir()}
        assert left <= {"adapter.safetensors"}
        return result

    return figures


def test_arms_measure_the_same_cases(run):
    adapt = {"steps": 2, "validations": 1, "rank": 2}
    results = [
        run(how="none", shift=True),
        run(how="matching", shift=True),
        run(shift=True, adapt=adapt),
        run(shift=True, pool=4, adapt={**adapt, "scope": "norms"}),
    ]
    ids = [[case["id"] for case in result["cases"]] for result in results]
    assert all(one == ids[0] for one in ids)
    assert len(ids[0]) == 4
    assert all(0 <= case[name] <= 1 for result in results for case in result["cases"] for name in ("dice", "old_dice"))
    assert results[0]["cases"][0]["old_dice"] == results[1]["cases"][0]["old_dice"]
    assert results[2]["numbers"]["steps"] == 2


def test_cases_without_a_label_map(run):
    adapt = {"steps": 2, "validations": 1, "rank": 2}
    without, told = run(adapt=adapt), run(adapt=adapt, unlabelled=2)
    assert told == without | {"numbers": told["numbers"]}  # they are there, and nobody asked for them
    asked = run(adapt={**adapt, "rate": 0.1, "consistency": 10.0}, unlabelled=2)
    plain = run(adapt={**adapt, "rate": 0.1}, unlabelled=2)
    assert asked["cases"] != plain["cases"]


def test_a_label_alone_and_scratch(run):
    result = run(labels=[1], adapt={"steps": 2, "validations": 1, "task": "new-labels", "scope": "scratch"})
    assert all(case["old_dice"] is None for case in result["cases"])


def test_a_way_that_is_unknown(run):
    with pytest.raises(LLMBoostError, match="how 'guess' is none of"):
        run(how="guess")
    with pytest.raises(LLMBoostError, match="adapt: "):
        run(adapt={"speed": 1})


@pytest.mark.parametrize("name", RECIPES)
def test_shipped_recipes_can_be_run(name):
    recipe = read_recipe(name)
    kind = load_kind(recipe.kind)
    for seed in recipe.seeds:
        for row in recipe.rows(seed):
            settings = kind.Settings(**row.settings)
            kind.adapt_settings(settings, seed)


def test_the_other_scanner_is_the_same_every_time(dataset_folder, tmp_path):
    shift_dataset(dataset_folder, tmp_path / "shifted")
    there, here = read_dataset(dataset_folder), read_dataset(tmp_path / "shifted")
    assert here.splits == there.splits
    for id in list(there.cases)[:2]:
        (before,), label = load(there.cases[id])
        (after,), copied = load(here.cases[id])
        assert after.same_grid(before)
        np.testing.assert_array_equal(copied.array, label.array)
        np.testing.assert_allclose(after.array, shifted(before, id).array, atol=1e-2)
        assert abs(np.corrcoef(after.array.ravel(), before.array.ravel())[0, 1]) < 0.99


def test_pictures_become_slices(tmp_path):
    rows = [("a.png", "train", "p1"), ("b.png", "test", "p2")]
    picture = np.zeros((8, 12), np.uint8)
    picture[2, 5] = 200
    for name, split, _ in rows:
        for kind in ("images", "masks"):
            (tmp_path / "source" / split / kind).mkdir(parents=True, exist_ok=True)
            Pillow.fromarray(picture).save(tmp_path / "source" / split / kind / name)
    with (tmp_path / "source" / "cases.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "split", "patient"), *rows])
    write_sunnybrook(tmp_path / "source", tmp_path / "data")
    dataset = read_dataset(tmp_path / "data")
    assert dataset.splits == {"train": ["a"], "val": [], "test": ["b"]}
    assert dataset.subjects == {"a": "p1", "b": "p2"}
    (image,), label = load(dataset.cases["a"])
    assert image.shape == (12, 8, 1)
    assert (image.array[5, 2, 0], label.array[5, 2, 0], label.array.sum()) == (200, 1, 1)
