"""Experiments: recipes, rows that survive, figures that repeat, and the page about them."""

import json
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from llmboost.bench import kinds
from llmboost.bench.kinds import Measure
from llmboost.bench.kinds.segmentation import booster_of
from llmboost.bench.recipe import read_recipe, shipped
from llmboost.bench.report import write_report
from llmboost.bench.rows import Here
from llmboost.bench.runner import ROWS, check_settings, read_rows, run
from llmboost.bench.statistics import estimate, holm, share
from llmboost.errors import LLMBoostError

CPU = torch.device("cpu")
COMMITTED = Path(__file__).parents[1] / "bench"
TOML = """
title = "Coins"
kind = "coins"
reference = "fair"
seeds = [0, 1, 2]

[settings]
throws = 20
coin = { weight = 1, sides = 2 }

[factors]
hand = ["left", "right"]

[arms.fair]
bias = 0.0
[arms.unfair]
bias = 0.3
coin = { weight = 3 }

[tune]
height = [1, 2]
"""


@pytest.fixture
def recipe(tmp_path):
    """``recipe(*replacements)`` gives a recipe of coins, its text changed."""

    def read(*replacements):
        text = TOML
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "coins.toml").write_text(text)
        return read_recipe(str(tmp_path / "coins.toml"))

    return read


@pytest.fixture
def coins(monkeypatch):
    """A kind of experiment that takes no time; it records the rows that ran, and ``fails`` where it is told to."""
    module = types.ModuleType("coins")
    module.MEASURES = (Measure("heads", "Heads"), Measure("edge", "Edge", better="lower"))
    module.ran, module.fails, module.dies = [], set(), set()

    def throw(row, context):
        assert list(context.folder.iterdir()) == []
        module.ran.append(row["id"])
        settings = row["settings"]
        if row["id"] in module.dies:
            raise KeyboardInterrupt
        if row["id"] in module.fails:
            raise LLMBoostError("the coin is lost; buy another")
        random = np.random.default_rng(row["seed"])
        heads = random.normal(0.5 + settings["bias"], 0.05, settings["throws"])
        return {
            "val": settings["height"] * (1 if settings["bias"] else -1),
            "cases": [{"id": f"{n:02d}", "heads": h, "edge": None if n else 0.0} for n, h in enumerate(heads)],
            "numbers": {"minutes": 0.5},
        }

    module.run = throw
    monkeypatch.setitem(sys.modules, "llmboost.bench.kinds.coins", module)
    real = kinds.pkgutil.iter_modules
    monkeypatch.setattr(kinds.pkgutil, "iter_modules", lambda path: [*real(path), types.SimpleNamespace(name="coins")])
    return module


def run_coins(recipe, folder, **options):
    return run(recipe, folder, folder, Here(CPU), **options)


# -- recipes -----------------------------------------------------------------------------------------------------------


def test_rows_of_a_recipe(recipe):
    rows = recipe().rows(7)
    assert [row.id for row in rows[:5]] == [
        "fair/hand=left/height=1/seed=7",
        "fair/hand=left/height=2/seed=7",
        "unfair/hand=left/height=1/seed=7",
        "unfair/hand=left/height=2/seed=7",
        "fair/hand=right/height=1/seed=7",
    ]
    assert len(rows) == 8
    assert rows[3].settings == {
        "throws": 20,
        "coin": {"weight": 3, "sides": 2},
        "bias": 0.3,
        "hand": "left",
        "height": 2,
    }


def test_factors_may_be_groups_of_settings(recipe):
    groups = '[factors.hand.left]\nthrows = 5\n[factors.hand.right]\nforce = "much"'
    rows = recipe(('[factors]\nhand = ["left", "right"]', groups)).rows(0)
    left, right = rows[0].settings, rows[-1].settings
    assert (left["throws"], right["throws"]) == (5, 20)
    assert right["force"] == "much"
    assert rows[0].id.startswith("fair/hand=left/")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('reference = "fair"', 'reference = "square"', "'square' is no arm"),
        ('title = "Coins"', "", "title"),
        ("seeds = [0, 1, 2]", "seeds = []", "no seeds"),
        ("[settings]", "[setings]", "unknown entry 'setings'"),
        ("seeds =", 'way = ["fair", "square"]\nseeds =', "from one arm to another"),
        ("throws = 20", "throws = ", "no valid TOML"),
    ],
)
def test_no_recipe(recipe, old, new, reason):
    with pytest.raises(LLMBoostError, match=reason):
        recipe((old, new))


def test_unknown_recipe_and_kind(recipe, tmp_path):
    with pytest.raises(LLMBoostError, match="quick"):
        read_recipe("slow")
    with pytest.raises(LLMBoostError, match=r"'coins'.*segmentation"):
        run_coins(recipe(), tmp_path)


@pytest.mark.parametrize("name", shipped())
def test_shipped_recipes_are_sound(name):
    recipe = read_recipe(name)
    assert recipe.description
    kind = kinds.load_kind(recipe.kind)
    rows = [row for seed in recipe.seeds for row in recipe.rows(seed)]
    assert len({row.id for row in rows}) == len(rows)
    for row in rows:
        settings = kinds.settings_of({"id": row.id, "settings": row.settings}, kind.Settings)
        if hasattr(settings, "booster"):
            booster_of(settings.booster, row.seed)


# -- rows --------------------------------------------------------------------------------------------------------------


def test_finished_rows_are_not_run_again(recipe, coins, tmp_path):
    run_coins(recipe(), tmp_path)
    # the first seed tries each candidate, the other seeds take what it chose: the smaller height for the fair coin
    assert len(coins.ran) == 8 + 2 * 4
    assert {id for id in coins.ran if id.endswith("seed=2")} == {
        f"{arm}/hand={hand}/height={height}/seed=2"
        for arm, height in (("fair", 1), ("unfair", 2))
        for hand in ("left", "right")
    }
    coins.ran.clear()
    assert len(run_coins(recipe(), tmp_path)) == 16
    assert coins.ran == []


def test_killed_run_loses_one_row(recipe, coins, tmp_path):
    coins.dies = {"fair/hand=right/height=1/seed=0"}
    with pytest.raises(KeyboardInterrupt):
        run_coins(recipe(), tmp_path)
    assert len(read_rows(tmp_path)) == 4
    with (tmp_path / ROWS).open("a") as file:
        file.write('{"row": "half a li')  # as if killed while writing
    coins.dies, before = set(), list(coins.ran)
    run_coins(recipe(), tmp_path)
    assert sorted(coins.ran) == sorted([*before, *coins.ran[len(before) :]])
    assert [id for id in set(coins.ran) if coins.ran.count(id) > 1] == ["fair/hand=right/height=1/seed=0"]
    assert len(read_rows(tmp_path)) == 16


def test_failed_row_is_told_and_tried_again(recipe, coins, tmp_path):
    coins.fails = {"unfair/hand=left/height=2/seed=0"}
    records = run_coins(recipe(), tmp_path)
    (failed,) = [record for record in records if "error" in record]
    assert failed["row"] in coins.fails
    page = write_report(recipe(), tmp_path).read_text()
    assert "the coin is lost" in page
    # without its figures, the other candidate is chosen
    assert "unfair/hand=left/height=1/seed=1" in coins.ran
    coins.fails, coins.ran = set(), []
    run_coins(recipe(), tmp_path)
    assert coins.ran[0] == failed["row"]


def test_one_row_alone(recipe, coins, tmp_path):
    run_coins(recipe(), tmp_path, only="fair/hand=left/height=1/seed=1")
    events = []
    run_coins(recipe(), tmp_path, only="fair/hand=left/height=1/seed=1", report=events.append)
    assert coins.ran == ["fair/hand=left/height=1/seed=1"] * 2
    assert events[-1]["before"]["figures"] == events[-1]["record"]["figures"]
    with pytest.raises(LLMBoostError, match=r"'fair/seed=9'.*such as 'fair/hand=left/height=1/seed=0'"):
        run_coins(recipe(), tmp_path, only="fair/seed=9")


def test_rows_of_other_settings_are_not_mixed(recipe, coins, tmp_path):
    run_coins(recipe(), tmp_path)
    with pytest.raises(LLMBoostError, match="other settings"):
        run_coins(recipe(("throws = 20", "throws = 30")), tmp_path)


def test_records_hold_what_a_reader_needs(recipe, coins, tmp_path):
    run_coins(recipe(), tmp_path, threads=1)
    record = json.loads((tmp_path / ROWS).read_text().splitlines()[0])
    assert record["settings"] == recipe().rows(0)[0].settings
    assert (record["seed"], record["threads"], record["device"]) == (0, 1, "cpu")
    assert {"torch", "llmboost", "date", "seconds", "figures", "machine"} <= record.keys()


def committed():
    """The folders with rows of recipes; other figures are of scripts, which test_evidence.py looks at."""
    return [COMMITTED / name for name in shipped() if (COMMITTED / name).exists()]


def test_committed_rows_are_of_the_shipped_recipes():
    """Whoever changes a recipe's settings must run its rows again."""
    for folder in committed():
        recipe = read_recipe(folder.name)
        records = {record["row"]: record for record in read_rows(folder)}
        check_settings(recipe, records, folder)
        known = {row.id for seed in recipe.seeds for row in recipe.rows(seed)}
        assert records.keys() <= known


def test_minutes_of_a_row_are_those_that_rows_took():
    for folder in committed():
        took = [record["seconds"] / 60 for record in read_rows(folder)]
        rounded = 0.05
        assert min(took) - rounded <= read_recipe(folder.name).minutes <= max(took) + rounded, folder.name


def test_recipes_are_listed_with_the_minutes_of_a_row(llmboost):
    done = llmboost("bench", "--list")
    assert done.status == 0
    assert all(read_recipe(name).minutes and name in done.out for name in shipped())
    assert re.search(r"booster_headline\W.*\W24\W+4\.6\W", done.out)


# -- statistics --------------------------------------------------------------------------------------------------------

HEADS = Measure("heads", "Heads")


def seeds_of(values, subjects=None):
    """Cases of each seed, from an array (seeds, cases)."""
    return [
        [{"id": n, "subject": subjects[n] if subjects else n, "heads": value} for n, value in enumerate(row)]
        for row in values
    ]


def test_interval_of_a_mean_is_the_textbooks():
    values = np.random.default_rng(1).normal(0.5, 0.1, (1, 400))
    found = estimate(seeds_of(values), HEADS)
    error = values.std(ddof=1) / 20
    assert found.value == pytest.approx(values.mean())
    assert found.interval == pytest.approx((found.value - 1.96 * error, found.value + 1.96 * error), abs=0.1 * error)
    assert found.p is None


def test_what_differs_between_seeds_widens_the_interval():
    random = np.random.default_rng(2)
    same = np.repeat(random.normal(0.5, 0.1, (1, 50)), 5, axis=0)
    moved = same + np.linspace(-0.2, 0.2, 5)[:, None]
    narrow, wide = (np.ptp(estimate(seeds_of(values), HEADS).interval) for values in (same, moved))
    assert wide > 3 * narrow


def test_cases_of_a_subject_are_drawn_together():
    values = np.repeat(np.random.default_rng(3).normal(0.5, 0.1, 20), 4)[None]
    alone = np.ptp(estimate(seeds_of(values), HEADS).interval)
    together = np.ptp(estimate(seeds_of(values, [n // 4 for n in range(80)]), HEADS).interval)
    assert together == pytest.approx(2 * alone, rel=0.15)


def test_differences_are_paired():
    random = np.random.default_rng(4)
    reference = random.normal(0.5, 0.3, (3, 30))
    better = reference + random.normal(0.02, 0.005, (3, 30))
    found = estimate(seeds_of(better), HEADS, seeds_of(reference))
    assert found.interval[0] > 0.01
    assert found.p < 0.01
    nothing = estimate(seeds_of(reference + random.normal(0, 0.1, (3, 30))), HEADS, seeds_of(reference))
    assert nothing.p > 0.05


def test_false_alarms_are_as_rare_as_promised():
    """Two arms without a difference, many times: few p values fall below 0.1."""
    random = np.random.default_rng(5)
    p = [
        estimate(seeds_of(random.normal(0, 1, (3, 20))), HEADS, seeds_of(random.normal(0, 1, (3, 20)))).p
        for _ in range(100)
    ]
    assert sum(value < 0.1 for value in p) <= 18


def test_share_of_the_way():
    random = np.random.default_rng(6)
    start, noise = random.normal(0.6, 0.1, (3, 40)), random.normal(0, 0.02, (3, 40))
    found = share(seeds_of(start + 0.06 + noise), seeds_of(start), seeds_of(start + 0.1), HEADS)
    error = noise.std() / np.sqrt(noise.size) / 0.1
    assert found.value == pytest.approx(0.6, abs=4 * error)
    assert found.interval[0] < found.value < found.interval[1]
    assert 2 * error < np.ptp(found.interval) < 10 * error
    # the ends, and a way of no length
    assert share(seeds_of(start), seeds_of(start), seeds_of(start + 0.1), HEADS).interval == (0.0, 0.0)
    assert share(seeds_of(start + 1), seeds_of(start), seeds_of(start), HEADS).value == np.inf
    with pytest.raises(ValueError, match="same seeds"):
        share(seeds_of(start), seeds_of(start[:2]), seeds_of(start), HEADS)


def test_undefined_values_and_few_cases():
    found = estimate(seeds_of([[0.5, None, 0.7]]), HEADS)
    assert found.value == pytest.approx(0.6)
    assert estimate(seeds_of([[0.5]]), HEADS).interval is None
    with pytest.raises(ValueError, match="same cases"):
        estimate(seeds_of([[0.5, 0.6]]), HEADS, seeds_of([[0.5, 0.6, 0.7]]))


def test_holm():
    assert holm([0.01, None, 0.04, 0.03]) == [0.03, None, 0.06, 0.06]
    assert holm([0.9, 0.8]) == [1.0, 1.0]


# -- the report --------------------------------------------------------------------------------------------------------


def test_report(recipe, coins, tmp_path):
    run_coins(recipe(), tmp_path)
    page = write_report(recipe(), tmp_path).read_text()
    table = (tmp_path / "table.md").read_text()
    assert table in page
    assert "### hand=left" in table
    assert "| unfair − fair | +0.3000 (+0.3000 to +0.3000) |" in table
    assert "--only fair/hand=left/height=1/seed=0" in page
    for plot in ("figures.png", "differences.png"):
        assert (tmp_path / plot).read_bytes().startswith(b"\x89PNG")
        assert f"({plot})" in page


def test_a_way_has_a_column(recipe, coins, tmp_path):
    bent = "[arms.bent]\nbias = 0.15\n\n[tune]"
    towards = recipe(("seeds =", 'way = ["fair", "unfair"]\nseeds ='), ("[tune]", bent))
    run_coins(towards, tmp_path)
    write_report(towards, tmp_path)
    header, _, fair, _, halfway = (tmp_path / "table.md").read_text().splitlines()[2:7]
    place = header.split(" | ").index("share of the way from fair to unfair")
    assert halfway.split(" | ")[place] == "0.5000 (0.5000 to 0.5000)"
    assert fair.split(" | ")[place] == ""


def test_what_nothing_was_measured_for_is_no_column(recipe, coins, tmp_path):
    throw = coins.run

    def without_edges(row, context):
        figures = throw(row, context)
        return {**figures, "cases": [{**case, "edge": None} for case in figures["cases"]]}

    coins.run = without_edges
    run_coins(recipe(), tmp_path)
    write_report(recipe(), tmp_path)
    table = (tmp_path / "table.md").read_text()
    assert "Heads" in table
    assert "Edge" not in table


def test_nothing_to_report(recipe, coins, tmp_path):
    with pytest.raises(LLMBoostError, match="no finished row"):
        write_report(recipe(), tmp_path)


# -- segmentation ------------------------------------------------------------------------------------------------------


def test_quick_recipe_and_its_numbers_again(llmboost, tmp_path):
    """The recipe from the command line; a row run again gives the same numbers to the last digit."""
    done = llmboost("bench", "quick", "--output", tmp_path, "--device", "cpu")
    assert done.status == 0, done.err
    assert "| frozen − none |" in done.out
    before = {record["row"]: record for record in read_rows(tmp_path)}
    assert set(before) == {f"{arm}/seed={seed}" for arm in ("none", "frozen") for seed in (0, 1)}
    assert not any((tmp_path / "runs").rglob("*.nii.gz"))
    row = "frozen/seed=1"
    done = llmboost("bench", "quick", "--output", tmp_path, "--device", "cpu", "--only", row)
    assert done.status == 0, done.err
    after = {record["row"]: record for record in read_rows(tmp_path)}
    for part in ("val", "cases"):
        assert after[row]["figures"][part] == before[row]["figures"][part]
    assert before["none/seed=0"]["figures"]["cases"] != before["none/seed=1"]["figures"]["cases"]


@pytest.mark.parametrize("setting", ["some", {"colour": "red"}, {"init": "warm"}])
def test_no_booster(setting):
    with pytest.raises(LLMBoostError, match="booster"):
        booster_of(setting, 0)
