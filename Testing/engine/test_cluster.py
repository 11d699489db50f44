"""`segment --cluster`: a Dask scheduler and its workers, each started by its own command, and killed."""

import json
import os

import pytest

from .batch_samples import LIMIT, stamps, wait_for_results, write_cases
from .summaries import journal, rows


def address(file):
    return json.loads(file.read_text())["address"]


@pytest.mark.slow
def test_cases_that_raise_crash_and_hang_cost_themselves(start_batch, check_batch, scheduler, tmp_path):
    good, others = write_cases(tmp_path / "images", 12, bad=1, crashing=1, hanging=1)
    file, _ = scheduler(2)
    process = start_batch("--scheduler-file", file, "--time-limit", LIMIT)
    assert process.wait() == 1, process.text
    assert "12 of 15 cases segmented" in process.text
    assert "worker-saturation" not in process.text
    check_batch(good, others)
    process = start_batch("--cluster", address(file), "--time-limit", LIMIT, "--resume")
    assert process.wait() == 1, process.text
    assert "12 cases done before, left alone" in process.text


@pytest.mark.slow
def test_three_hundred_cases_and_kills(start_batch, check_batch, scheduler, tmp_path):
    """A worker is lost, then the scheduler, then the client."""
    good, others = write_cases(tmp_path / "images", 287, bad=10, crashing=2, hanging=1)
    out = tmp_path / "out"
    file, (_, *workers) = scheduler(3)
    options = ("--time-limit", LIMIT, "--resume")
    client = start_batch("--cluster", address(file), *options)
    wait_for_results(out, 30, client)
    workers[0].kill()
    workers[1].kill(alone=True)
    wait_for_results(out, 60, client)
    file, (scheduling, *_) = scheduler(3)
    client.kill(alone=True)
    client = start_batch("--scheduler-file", file, *options)
    wait_for_results(out, 120, client)
    scheduling.kill()
    assert client.wait() == 1
    assert "the scheduler is gone" in client.text
    told = {row["id"] for row in [*rows(out).values(), *journal(out)] if row["status"] == "ok"}
    before = stamps(out)
    file, _ = scheduler(3)
    client = start_batch("--cluster", address(file), *options)
    assert client.wait() == 1, client.text
    assert "287 of 300 cases segmented" in client.text
    after = stamps(out)
    assert {id for id in told if after[id] != before[id]} == set(), "computed twice"
    check_batch(good, others)


SBATCH = """#!/bin/sh
setsid sh "$1" > "$1.log" 2>&1 &
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
kill -9 -- "-$1"
"""


@pytest.mark.slow
def test_jobs_of_slurm(start_batch, check_batch, tmp_path, monkeypatch):
    """By stand-ins for Slurm's commands, which start a job at once, and end it."""
    good, _ = write_cases(tmp_path / "images", 8)
    commands = tmp_path / "commands"
    commands.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(commands), prepend=os.pathsep)
    (tmp_path / "slurm.yaml").write_text(
        "{jobs: 2, cores: 1, memory: 2GB, walltime: '00:30:00', scheduler_options: {host: 127.0.0.1},"
        f" local_directory: {tmp_path}}}"
    )
    process = start_batch("--cluster", f"slurm:{tmp_path / 'slurm.yaml'}")
    assert process.wait() == 0, process.text
    assert "8 of 8 cases segmented" in process.text
    check_batch(good, [])
