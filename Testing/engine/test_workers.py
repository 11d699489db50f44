"""`segment --workers`, and in parts: what a case that raises, crashes or hangs costs, and what a kill does."""

import re

import pytest

from llmboost.batch.part import Part
from llmboost.errors import LLMBoostError

from .batch_samples import LIMIT, stamps, wait_for_results, write_cases
from .summaries import journal, rows


def test_cases_that_raise_crash_and_hang_cost_themselves(start_batch, check_batch, tmp_path):
    good, others = write_cases(tmp_path / "images", 12, bad=1, crashing=1, hanging=1)
    process = start_batch("--workers", 2, "--time-limit", LIMIT)
    assert process.wait() == 1, process.text
    assert "12 of 15 cases segmented" in process.text
    assert sorted(re.findall(r"^(case\d+): ", process.text, re.MULTILINE)) == good
    assert process.text.count("failed: ") == 3
    check_batch(good, others)
    before = stamps(tmp_path / "out")
    process = start_batch("--workers", 1, "--time-limit", LIMIT, "--resume")
    assert process.wait() == 1
    assert "12 cases done before, left alone" in process.text
    assert stamps(tmp_path / "out") == before


def test_a_killed_run_goes_on(start_batch, check_batch, tmp_path):
    good, _ = write_cases(tmp_path / "images", 30)
    out = tmp_path / "out"
    process = start_batch("--workers", 2)
    wait_for_results(out, 5, process)
    process.kill(alone=True)
    told = {row["id"] for row in [*rows(out).values(), *journal(out)]}
    before = stamps(out)
    process = start_batch("--workers", 2, "--resume")
    assert process.wait() == 0, process.text
    after = stamps(out)
    assert {id for id in told if after[id] != before[id]} == set(), "computed twice"
    check_batch(good, [])


def test_parts_do_their_own(start_batch, check_batch, tmp_path):
    good, others = write_cases(tmp_path / "images", 14, bad=1, crashing=1)
    parts = [start_batch("--part", f"{number}/3") for number in (1, 2, 3)]
    assert {part.wait() for part in parts} <= {0, 1}
    for number, part in enumerate(parts, 1):
        assert re.search(f"part {number} of 3: \\d+ of 16 cases; the others are other parts' work", part.text)
    check_batch(good, others)


def test_a_part_keeps_its_cases():
    few, many = ({f"case{number}": number for number in range(count)} for count in (100, 200))
    parts = [Part.of(f"{number}/7") for number in range(1, 8)]
    chosen = [part.choose(many) for part in parts]
    assert sorted(id for part in chosen for id in part) == sorted(many)
    assert all(10 < len(part) < 50 for part in chosen)
    for part, of_many in zip(parts, chosen, strict=True):
        assert part.choose(few).items() <= of_many.items()


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "a/3", "-1/3", "1/3/3"])
def test_no_part(text):
    with pytest.raises(LLMBoostError, match="counted from 1"):
        Part.of(text)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--workers", 2, "--cluster", "tcp://127.0.0.1:1"), "--workers and --cluster contradict each other"),
        (("--cluster", "a", "--scheduler-file", "b"), "--cluster and --scheduler-file contradict each other"),
        (("--time-limit", 5), "give --workers"),
        (("--part", "0/8"), "counted from 1"),
        (("--scheduler-file", "nowhere.json"), "nowhere.json: no such file"),
        (("--cluster", "slurm:nowhere.yaml"), "nowhere.yaml: no such file"),
    ],
    ids=str,
)
def test_what_is_refused(refusal, tiny_model, tmp_path, options, told):
    write_cases(tmp_path / "images", 1)
    arguments = ("--model", tiny_model, "--output", tmp_path / "out", *options)
    assert told in refusal("segment", tmp_path / "images", *arguments)


@pytest.mark.slow
def test_three_hundred_cases_and_kills(start_batch, check_batch, tmp_path):
    good, others = write_cases(tmp_path / "images", 287, bad=10, crashing=2, hanging=1)
    out = tmp_path / "out"
    for results in (40, 150):
        process = start_batch("--workers", 2, "--time-limit", LIMIT, "--resume")
        wait_for_results(out, results, process)
        process.kill(alone=True)
    before = stamps(out)
    process = start_batch("--workers", 2, "--time-limit", LIMIT, "--resume")
    assert process.wait() == 1, process.text
    assert "287 of 300 cases segmented" in process.text
    assert {id for id in before if stamps(out)[id] != before[id]} == set(), "computed twice"
    check_batch(good, others)


@pytest.mark.slow
def test_three_hundred_cases_in_parts(start_batch, check_batch, tmp_path):
    good, others = write_cases(tmp_path / "images", 287, bad=10, crashing=2, hanging=1)
    out = tmp_path / "out"
    parts = [start_batch("--part", f"{number}/2", "--time-limit", LIMIT) for number in (1, 2)]
    wait_for_results(out, 60, parts[1])
    parts[0].kill()
    parts[0] = start_batch("--part", "1/2", "--time-limit", LIMIT, "--resume")
    assert [part.wait() for part in parts] == [1, 1]
    check_batch(good, others)
