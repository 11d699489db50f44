"""The kind of experiment that adapts."""

import csv
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from llmboost.bench.heads import STRUCTURES, write_heads
from llmboost.bench.kinds import Context, load_kind
from llmboost.bench.phantom import SHAPE
from llmboost.bench.recipe import read_recipe
from llmboost.bench.shift import shift_dataset, shifted
from llmboost.bench.sunnybrook import write_sunnybrook
from llmboost.errors import LLMBoostError
from llmboost.io.dataset import load, read_dataset
from llmboost.io.image import Image, write_image
from llmboost.library import import_model

RECIPES = [
    "adapt_site_shift",
    "adapt_three_minutes",
    "adapt_left_ventricle",
    "adapt_new_label",
    "adapt_next_case",
    "adapt_unlabelled",
    "few_shot",
]


@pytest.fixture
def run(tmp_path, trained_model, library_folder):
    """``run(...)``: the figures of a row on the phantom."""
    base = import_model(trained_model).name

    def figures(seed=0, **settings):
        row = {
            "id": "row",
            "arm": "arm",
            "seed": seed,
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


def test_missed_labels_are_as_far_as_the_image_is_long(run):
    """An arm that finds nothing is not to look the better for it."""
    found, missed = run(how="none"), run(adapt={"steps": 1, "validations": 1, "scope": "scratch", "task": "new-labels"})
    assert all(0 <= case["hd95_mm"] < 10 for case in found["cases"])
    assert all(case["hd95_mm"] > 10 or case["dice"] > 0.5 for case in missed["cases"])
    assert max(case["hd95_mm"] for case in missed["cases"]) <= np.linalg.norm(SHAPE)


def test_minutes_of_one_cores_own_time(run):
    """Figures of minutes do not count what else the machine does: no longer than this process was at work."""
    before = time.process_time()
    result = run(adapt={"steps": 2, "validations": 1, "rank": 2, "clock": "cpu"})
    assert 0 <= result["numbers"]["adapting (min)"] <= (time.process_time() - before) / 60 + 0.01


@pytest.fixture
def partly(tmp_path, write_dataset, make_case):
    """A data set: two cases show label 2, ten label 1, and one image shows nothing; there is no val."""
    cases = {}
    for number in range(12):
        image, label = make_case(number)
        shown = 2 if number in (3, 7) else 1
        label = label.with_array(np.where(label.array == shown, shown, 0).astype(np.uint8))
        if number == 11:
            image = image.with_array(np.zeros_like(image.array))
        cases[f"case_{number:02d}"] = (image, label)
    write_dataset(tmp_path / "partly", cases, {"train": list(cases)[:9], "test": list(cases)[9:]})
    return "partly"


@pytest.mark.parametrize("seed", range(4))
def test_what_is_drawn_shows_every_label(run, partly, seed):
    adapt = {"steps": 1, "validations": 1, "rank": 2, "task": "new-labels"}
    result = run(seed, data=partly, partly_labeled=True, cases=3, adapt=adapt)
    assert [case["id"] for case in result["cases"]] == ["case_09", "case_10"]  # 11 shows nothing
    assert result == run(seed, data=partly, partly_labeled=True, cases=3, adapt=adapt) | {"numbers": result["numbers"]}


def test_too_few_cases_for_every_label(run, partly):
    with pytest.raises(LLMBoostError, match=r"no 1 case\(s\) show all labels"):
        run(data=partly, cases=1, adapt={"steps": 1})


def test_what_was_not_drawn_is_not_measured(run, partly):
    """The base finds the label that no test case shows."""
    told, untold = (run(data=partly, partly_labeled=told, how="none") for told in (True, False))
    pairs = list(zip(told["cases"], untold["cases"], strict=True))
    assert all(one["dice"] == pytest.approx(2 * other["dice"]) for one, other in pairs)
    assert all(one["hd95_mm"] < 10 < other["hd95_mm"] for one, other in pairs)


def test_development_without_a_test_list(run, partly):
    result = run(data=partly, split="val", how="none")
    assert [case["id"] for case in result["cases"]] == ["case_02", "case_05", "case_08"]


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


def test_regions_become_structures(tmp_path):
    place = ((2.0, 2.0, 2.0), (0.0, 0.0, 0.0), np.eye(3))
    for number in range(12):
        regions = np.zeros((6, 6, 6), np.uint8)
        regions[0, 0, :4] = 207, *STRUCTURES["thalamus"], STRUCTURES["hippocampus"][1]
        for folder, array in (("t1", regions.astype(np.float32)), ("muse", regions)):
            image = Image(array, *place)
            if (folder, number) == ("muse", 3):
                image = replace(image, origin=(0.0, 9.0, 0.0))
            write_image(image, tmp_path / "source" / folder / f"head_{number:02d}.nii.gz")
    write_heads(tmp_path / "source", tmp_path / "data")
    dataset = read_dataset(tmp_path / "data")
    assert (len(dataset.splits["train"]), len(dataset.splits["val"])) == (7, 4)
    assert "head_03" not in dataset.cases, "labels of elsewhere"
    assert len(dataset.labels) == 8
    _, label = load(dataset.cases["head_00"])
    names = [dataset.labels.get(value) for value in label.array[0, 0].tolist()]
    assert names == [None, "Right thalamus", "Left thalamus", "Left hippocampus", None, None]
