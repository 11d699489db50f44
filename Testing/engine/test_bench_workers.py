"""`bench --workers` and `--cluster`: rows by several processes, some of which end theirs."""

import json

import pytest

from llmboost.bench.runner import ROWS

from .batch_samples import Process, environment

# a kind of experiment, known to every process
COINS = """
import os, time
from llmboost.bench.kinds import Measure
from llmboost.errors import LLMBoostError

MEASURES = (Measure("heads", "Heads"),)

def run(row, context):
    settings = row["settings"]
    if settings.get("dies") and row["seed"] == 0:
        os.abort()
    if settings.get("wrong") and row["seed"] == 0:
        raise ValueError("three sides")
    if settings.get("lost") and row["seed"] == 0:
        raise LLMBoostError("the coin is lost; buy another")
    assert list(context.folder.iterdir()) == []
    # the other seeds take what the first one has chosen
    return {"val": settings["height"], "cases": [{"id": "a", "heads": settings["height"]}], "numbers": {}}
"""
RECIPE = """
title = "Coins"
kind = "coins"
reference = "fair"
seeds = [0, 1]

[arms]
fair = {}
dies = { dies = true }
wrong = { wrong = true }
lost = { lost = true }

[tune]
height = [1, 2]
"""


@pytest.fixture
def bench(tmp_path):
    """``bench(option, ...)`` runs the recipe into tmp_path/out to its end; gives the process."""
    (tmp_path / "coins.toml").write_text(RECIPE)

    def run(*options):
        traps = tmp_path / "traps"
        env = environment(traps)
        (traps / "coins.py").write_text(COINS)
        known = f"import llmboost.bench.kinds\nllmboost.bench.kinds.__path__.append({str(traps)!r})\n"
        (traps / "sitecustomize.py").write_text(known)
        place = ("--output", tmp_path / "out", "--data", tmp_path, "--device", "cpu", *options)
        process = Process("llmboost", "bench", tmp_path / "coins.toml", *place, env=env)
        process.wait()
        return process

    return run


def rows(folder):
    return [json.loads(line) for line in (folder / ROWS).read_text().splitlines()]


def test_rows_that_fail_cost_themselves(bench, tmp_path):
    process = bench("--workers", 2)
    assert process.process.returncode == 1
    found = rows(tmp_path / "out")
    assert len({row["row"] for row in found}) == len(found), process.text
    errors = {row["row"]: row["error"] for row in found if "error" in row}
    assert {id: text.split("(")[0].strip() for id, text in errors.items()} == {
        f"{arm}/height={height}/seed=0": text
        for arm, text in (
            ("dies", "the row ended its process"),
            ("wrong", "the row could not be run"),
            ("lost", "the coin is lost; buy another"),
        )
        for height in (1, 2)
    }
    done = {row["row"]: row["figures"]["val"] for row in found if "figures" in row}
    assert done["fair/height=2/seed=1"] == 2
    assert "fair/height=1/seed=1" not in done
    assert process.text.count("row 12 of 12: ") == 1
    # what has failed is tried again, and nothing else
    bench("--workers", 1)
    assert {row["row"] for row in rows(tmp_path / "out")[len(found) :]} == set(errors)


@pytest.mark.slow
def test_on_a_cluster(bench, scheduler, tmp_path):
    file, _ = scheduler(2)
    process = bench("--scheduler-file", file)
    found = rows(tmp_path / "out")
    assert sorted(row["row"] for row in found if "figures" in row)[:2] == [
        "dies/height=1/seed=1",
        "fair/height=1/seed=0",
    ]
    assert sum("error" in row for row in found) == 6, process.text
