"""`bench --workers` and `--cluster`: rows by several processes, some of which end theirs."""

import json
import sys

import pytest

from llmboost.bench import kinds
from llmboost.bench.runner import ROWS

from .batch_samples import environment

# a kind of experiment, known to every process
COINS = """
import os
from llmboost.bench.kinds import Measure
from llmboost.errors import LLMBoostError

MEASURES = (Measure("heads", "Heads"),)

def run(row, context):
    settings = row["settings"]
    if row["seed"] == 0 and not (context.data / "mended").exists():
        if settings.get("dies") and settings["height"] == 1:
            os.abort()
        if settings.get("wrong"):
            raise ValueError("three sides")
        if settings.get("lost"):
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


FAILED = {
    "dies/height=1/seed=0": "the row ended its process",
    "wrong/height=1/seed=0": "the row could not be run",
    "wrong/height=2/seed=0": "the row could not be run",
    "lost/height=1/seed=0": "the coin is lost; buy another",
    "lost/height=2/seed=0": "the coin is lost; buy another",
}


@pytest.fixture
def bench(llmboost, tmp_path, monkeypatch):
    """``bench(option, ...)`` runs the recipe into tmp_path/out: status, out and err."""
    traps = tmp_path / "traps"
    (tmp_path / "coins.toml").write_text(RECIPE)
    monkeypatch.setattr(kinds, "__path__", [*kinds.__path__, str(traps)])

    def run(*options):
        for name, value in environment(traps).items():
            monkeypatch.setenv(name, value)
        (traps / "coins.py").write_text(COINS)
        known = f"import llmboost.bench.kinds\nllmboost.bench.kinds.__path__.append({str(traps)!r})\n"
        (traps / "sitecustomize.py").write_text(known)
        place = ("--output", tmp_path / "out", "--data", tmp_path, "--device", "cpu", *options)
        return llmboost("bench", tmp_path / "coins.toml", *place)

    yield run
    sys.modules.pop("llmboost.bench.kinds.coins", None)


def rows(folder):
    return [json.loads(line) for line in (folder / ROWS).read_text().splitlines()]


def failed(found):
    return {row["row"]: row["error"].split("(")[0].strip() for row in found if "error" in row}


def test_rows_that_fail_cost_themselves(bench, tmp_path):
    done = bench("--workers", 2)
    assert done.status == 1
    found = rows(tmp_path / "out")
    assert len({row["row"] for row in found}) == len(found) == 12, done.out
    assert failed(found) == FAILED
    vals = {row["row"]: row["figures"]["val"] for row in found if "figures" in row}
    assert vals["fair/height=2/seed=1"] == 2
    assert "fair/height=1/seed=1" not in vals
    assert done.out.count("row 12 of 12: ") == 1
    # what has failed is tried again, and what is chosen by it
    (tmp_path / "mended").touch()
    assert bench().status == 0
    again = {row["row"] for row in rows(tmp_path / "out")[len(found) :]}
    assert again == {*FAILED, "wrong/height=2/seed=1", "lost/height=2/seed=1"}


@pytest.mark.slow
def test_on_a_cluster(bench, scheduler, tmp_path):
    file, _ = scheduler(2)
    done = bench("--scheduler-file", file)
    assert done.status == 1
    assert failed(rows(tmp_path / "out")) == FAILED, done.out
