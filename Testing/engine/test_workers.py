"""`segment --workers`, and in parts: what a case that raises, crashes or hangs costs, and what a kill does."""

import re

import pytest

from llmboost.batch.part import Part
from llmboost.errors import LLMBoostError
from llmboost.io.segnrrd import read_segmentation

from .batch_samples import Process, environment, stamps, wait_for_results, write_cases
from .summaries import journal, names, rows

LIMIT = 20


@pytest.fixture
def start(tmp_path, tiny_model):
    """``start(option, ...)`` segments tmp_path/images into tmp_path/out in a process of its own."""
    running = []

    def run(*options):
        arguments = ("segment", tmp_path / "images", "--model", tiny_model, "--output", tmp_path / "out", *options)
        running.append(Process("llmboost", *arguments, env=environment(tmp_path / "traps")))
        return running[-1]

    yield run
    for process in running:
        process.kill()


@pytest.fixture
def check(llmboost, tiny_model, tmp_path):
    """``check(good, others)``: what lies in tmp_path/out is what one process makes of each good case, and no more."""

    def run(good, others):
        out, alone = tmp_path / "out", tmp_path / "alone"
        llmboost(
            "segment", *(tmp_path / "images" / f"{id}.nrrd" for id in good), "--model", tiny_model, "--output", alone
        )
        assert names(out) == sorted([*(f"{id}.seg.nrrd" for id in good), "summary.csv", "summary.json"])
        found = rows(out)
        assert sorted(found) == sorted([*good, *others])
        assert {id for id, row in found.items() if row["status"] == "ok"} == set(good)
        for id in good:
            assert (read_segmentation(out / f"{id}.seg.nrrd")[0].array == labels(alone, id)).all()
            assert found[id]["volumes_ml"] == rows(alone)[id]["volumes_ml"]
        for id in others:
            assert found[id]["error"].startswith(f"{tmp_path / 'images' / id}.nrrd: ")
        for id in (id for id in others if id.startswith("crash")):
            assert found[id]["error"].endswith(": ended its process (signal SIGABRT), 2 times")
        for id in (id for id in others if id.startswith("hang")):
            assert found[id]["error"].endswith(f": took longer than {LIMIT} s, 2 times")

    return run


def labels(folder, id):
    return read_segmentation(folder / f"{id}.seg.nrrd")[0].array


def test_cases_that_raise_crash_and_hang_cost_themselves(start, check, tmp_path):
    good, others = write_cases(tmp_path / "images", 12, bad=1, crashing=1, hanging=1)
    process = start("--workers", 2, "--time-limit", LIMIT)
    assert process.wait() == 1, process.text
    assert "12 of 15 cases segmented" in process.text
    assert sorted(re.findall(r"^(case\d+): ", process.text, re.MULTILINE)) == good
    assert process.text.count("failed: ") == 3
    check(good, others)
    before = stamps(tmp_path / "out")
    process = start("--workers", 1, "--time-limit", LIMIT, "--resume")
    assert process.wait() == 1
    assert "12 cases done before, left alone" in process.text
    assert stamps(tmp_path / "out") == before


def test_a_killed_run_goes_on(start, check, tmp_path):
    good, _ = write_cases(tmp_path / "images", 30)
    out = tmp_path / "out"
    process = start("--workers", 2)
    wait_for_results(out, 5, process)
    process.kill(alone=True)
    told = {row["id"] for row in [*rows(out).values(), *journal(out)]}
    before = stamps(out)
    process = start("--workers", 2, "--resume")
    assert process.wait() == 0, process.text
    after = stamps(out)
    assert {id for id in told if after[id] != before[id]} == set(), "computed twice"
    check(good, [])


def test_parts_do_their_own(start, check, tmp_path):
    good, others = write_cases(tmp_path / "images", 14, bad=1, crashing=1)
    parts = [start("--part", f"{number}/3") for number in (1, 2, 3)]
    assert {part.wait() for part in parts} <= {0, 1}
    for number, part in enumerate(parts, 1):
        assert re.search(f"part {number} of 3: \\d+ of 16 cases; the others are other parts' work", part.text)
    check(good, others)


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
def test_three_hundred_cases_and_kills(start, check, tmp_path):
    good, others = write_cases(tmp_path / "images", 287, bad=10, crashing=2, hanging=1)
    out = tmp_path / "out"
    for results in (40, 150):
        process = start("--workers", 2, "--time-limit", LIMIT, "--resume")
        wait_for_results(out, results, process)
        process.kill(alone=True)
    before = stamps(out)
    process = start("--workers", 2, "--time-limit", LIMIT, "--resume")
    assert process.wait() == 1, process.text
    assert "287 of 300 cases segmented" in process.text
    assert {id for id in before if stamps(out)[id] != before[id]} == set(), "computed twice"
    check(good, others)


@pytest.mark.slow
def test_three_hundred_cases_in_parts(start, check, tmp_path):
    good, others = write_cases(tmp_path / "images", 287, bad=10, crashing=2, hanging=1)
    out = tmp_path / "out"
    parts = [start("--part", f"{number}/2", "--time-limit", LIMIT) for number in (1, 2)]
    wait_for_results(out, 60, parts[1])
    parts[0].kill()
    parts[0] = start("--part", "1/2", "--time-limit", LIMIT, "--resume")
    assert [part.wait() for part in parts] == [1, 1]
    check(good, others)
