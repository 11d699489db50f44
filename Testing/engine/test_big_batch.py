"""Hundreds of cases in a folder: the broken ones are told, and a killed run goes on where it was."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import llmboost as package
from llmboost.io.image import Image, read_image, write_image
from llmboost.io.segnrrd import read_segmentation

from .summaries import journal, names, rows

SHAPE = (14, 16, 15)


@pytest.fixture
def folder(tmp_path):
    """``folder(cases, broken)`` makes a folder of images and tells the ids of all and of the broken ones."""

    def make(cases, broken):
        images = tmp_path / "images"
        images.mkdir()
        ids = [f"case{number:03d}" for number in range(cases)]
        for number, id in enumerate(ids):
            array = np.random.default_rng(number).normal(100, 20, SHAPE).astype(np.int16)
            write_image(Image(array, (1, 1, 1), (number, 0, 0), np.eye(3)), images / f"{id}.nrrd")
        bad = ids[:: cases // broken][:broken]
        for number, id in enumerate(bad):
            path = images / f"{id}.nrrd"
            path.write_bytes((b"", b"garbage", path.read_bytes()[:-50])[number % 3])
        return images, ids, bad

    return make


def check(out, images, ids, bad):
    """All results are there and whole, and nothing else."""
    good = [id for id in ids if id not in bad]
    assert names(out) == [*(f"{id}.seg.nrrd" for id in good), "summary.csv", "summary.json"]
    found = rows(out)
    assert sorted(found) == ids
    failed = {id: row["error"] for id, row in found.items() if row["status"] == "failed"}
    assert sorted(failed) == bad
    assert all(error.startswith(f"{images / id}.nrrd: ") for id, error in failed.items())
    with (out / "summary.csv").open(newline="") as file:
        assert {line["id"]: line["error"] for line in csv.DictReader(file) if line["status"] == "failed"} == failed
    for id in good:
        assert read_segmentation(out / f"{id}.seg.nrrd")[0].same_grid(read_image(images / f"{id}.nrrd"))


def test_two_hundred_cases_of_which_five_are_broken(llmboost, tiny_model, folder, tmp_path):
    images, ids, bad = folder(200, 5)
    done = llmboost("segment", images, "--model", tiny_model, "--output", tmp_path / "out")
    assert done.status == 1
    assert "195 of 200 cases segmented" in done.out
    assert len([line for line in done.err.splitlines() if line.startswith("failed: ")]) == 5
    check(tmp_path / "out", images, ids, bad)


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "llmboost", *map(str, arguments)],
        env={"PYTHONPATH": str(Path(package.__file__).parents[1]), "HOME": os.devnull, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_results(out, number, process):
    deadline = time.monotonic() + 300
    while len(list(out.glob("case*.seg.nrrd"))) < number:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def stamps(out):
    """What changes if a result is written again."""
    status = {path.name.split(".")[0]: path.stat() for path in out.glob("case*.seg.nrrd")}
    return {id: (found.st_ino, found.st_mtime_ns) for id, found in status.items()}


@pytest.mark.parametrize(
    ("cases", "broken", "kills"), [(40, 5, [15]), pytest.param(200, 5, [20, 61, 117, 180], marks=pytest.mark.slow)]
)
def test_a_killed_run_goes_on(tiny_model, folder, tmp_path, cases, broken, kills):
    images, ids, bad = folder(cases, broken)
    out = tmp_path / "out"
    command = ("segment", images, "--model", tiny_model, "--output", out, "--resume")
    for results in kills:
        process = start(*command)
        wait_for_results(out, results, process)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        before = stamps(out)
        told = {row["id"] for row in [*rows(out).values(), *journal(out)] if row["status"] == "ok"}
        assert results <= len(before) < cases - broken
        assert told <= set(before)
        assert len(set(before) - told) <= 1, "the one that was being told of"
    process = start(*command)
    text, _ = process.communicate()
    assert process.returncode == 1
    assert f"{cases - broken} of {cases} cases segmented" in text
    computed = set(re.findall(r"^(case\d+): ", text, re.MULTILINE))
    assert computed == set(ids) - set(bad) - told
    after = stamps(out)
    assert {id for id in told if after[id] != before[id]} == set(), "computed twice"
    check(out, images, ids, bad)
