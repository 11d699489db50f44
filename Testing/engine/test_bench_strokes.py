"""The kind of experiment in which a simulated user paints strokes."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch

from llmboost.bench.kinds import Context, load_kind
from llmboost.bench.recipe import read_recipe
from llmboost.bench.strokers import STROKERS
from llmboost.errors import LLMBoostError
from llmboost.library import import_model


@pytest.fixture
def run(tmp_path):
    """``run(how, ...)``: the figures of a row on the phantom."""

    def figures(how, seed=0, **settings):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        row = {"id": "row", "arm": how, "seed": seed, "settings": {"data": "phantom", "how": how, **settings}}
        return load_kind("strokes").run(row, Context(tmp_path, folder, torch.device("cpu")))

    return figures


def test_rounds_make_it_better_and_repeat_themselves(run):
    result, again, other = run("walker"), run("walker"), run("walker", seed=1)
    assert result["cases"] == again["cases"]
    assert result["cases"] != other["cases"]
    first, last = (np.mean([case[f"dice_{n}"] for case in result["cases"]]) for n in (1, 4))
    assert 0.5 < first < last == result["val"]
    assert len(result["cases"]) == 2
    assert result["numbers"]["voxels in the box"] <= 24 * 28 * 24


def test_slicers_own_filter_is_a_peer(run):
    walker, grow = run("walker", every=2), run("grow-from-seeds", every=2)
    assert [case["id"] for case in walker["cases"]] == [case["id"] for case in grow["cases"]]
    assert 0.2 < grow["val"] < 1
    assert walker["numbers"]["voxels in the box"] > 1000


@pytest.mark.parametrize("how", sorted(STROKERS))
def test_a_peer_runs_or_names_the_package_that_it_needs(run, how):
    modules = {"scikit-walker": "skimage", "forest": "sklearn"}
    if find_spec(modules.get(how, "torch")):
        assert run(how, split="val", every=2)["cases"]
    else:
        with pytest.raises(LLMBoostError, match=f"needs the package {STROKERS[how][1]} .*pip install"):
            run(how)


def test_a_model_answers_as_it_is_or_learns(run, trained_model):
    known, taught = (run(how, every=2, shift=True, model=str(trained_model)) for how in ("model", "product"))
    assert [case["id"] for case in known["cases"]] == [case["id"] for case in taught["cases"]]
    assert known["cases"] != taught["cases"]
    for n in range(1, 5):
        before, after = (np.mean([case[f"dice_{n}"] for case in result["cases"]]) for result in (known, taught))
        assert after > before - 0.02


def test_another_is_refused(run):
    with pytest.raises(LLMBoostError, match="how 'brush' is none of product, model, "):
        run("brush")


def test_the_recipe_compares_arms_that_there_are():
    recipe = read_recipe("strokes_walker")
    for row in recipe.rows(0):
        assert load_kind(recipe.kind).Settings(**row.settings).how == row.arm


@pytest.mark.usefixtures("library_folder")
def test_a_series_learns_from_what_was_drawn(tmp_path, trained_model):
    model = import_model(trained_model).name
    settings = {"data": "phantom", "model": model, "split": "train", "shift": True, "good": 0.3}
    adapt = {"steps": 2, "validations": 1, "rank": 2, "task": "improve"}
    found = {}
    for learns in (False, True):
        folder = tmp_path / str(learns)
        folder.mkdir()
        row = {"id": "row", "seed": 0, "settings": {**settings, "learns": learns, "adapt": adapt}}
        (found[learns],) = load_kind("strokes_series").run(row, Context(tmp_path, folder, torch.device("cpu")))["cases"]
        assert not list(folder.iterdir())
    alone, series = found[False], found[True]
    assert alone["subject"] == series["subject"]
    assert alone["dice_1"] == series["dice_1"]
    assert alone["rounds_1"] == series["rounds_1"]
    assert alone["dice_4"] != series["dice_4"]
    assert all(0 <= one[f"rounds_{n}"] <= 7 for one in found.values() for n in range(1, 5))
    assert read_recipe("strokes_series").kind == "strokes_series"


def test_a_series_needs_four_subjects(tmp_path, trained_model):
    row = {"id": "row", "seed": 0, "settings": {"data": "phantom", "model": str(trained_model), "split": "val"}}
    with pytest.raises(LLMBoostError, match="a series is of 4 subjects, split 'val' has fewer"):
        load_kind("strokes_series").run(row, Context(tmp_path, tmp_path, torch.device("cpu")))
