"""summary.jsonl: what several processes add to a folder's summary, and what is left of it when they are killed."""

import errno
import json
import subprocess
import sys

import pytest

from llmboost.batch.summary import FAILED, OK, Row, Summary
from llmboost.card import read_card
from llmboost.errors import LLMBoostError
from llmboost.files import staging

from .summaries import journal, names, rows


@pytest.fixture
def card(tiny_model):
    return read_card(tiny_model)


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def row(id, status=OK):
    return Row(id, [f"{id}.nrrd"], status)


def test_a_row_is_a_line_until_all_is_written(out, card):
    summary = Summary(out, card, Row)
    before = (out / "summary.json").stat()
    for number in range(20):
        summary.add(row(f"case{number}"))
        summary.write_now_and_then()
    after = (out / "summary.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns), "not once a case"
    assert [one["id"] for one in journal(out)] == [f"case{number}" for number in range(20)]
    summary.write()
    assert names(out) == ["summary.csv", "summary.json"]
    assert list(rows(out)) == sorted(f"case{number}" for number in range(20))


def test_what_was_killed_is_taken_up(out, card):
    killed = Summary(out, card, Row)
    killed.add(row("a"))
    killed.add(row("b", FAILED))
    text = (out / "summary.jsonl").read_bytes()
    for cut in range(text.rindex(b"\n", 0, -1) + 2, len(text) - 1, 7):
        (out / "summary.jsonl").write_bytes(text[:cut])
        summary = Summary(out, card, Row)
        assert sorted(summary.rows) == ["a"], "the last line is cut off"
        summary.add(row("c"))
        assert sorted(Summary(out, card, Row).rows) == ["a", "c"]
    summary.write()
    assert sorted(rows(out)) == ["a", "c"]


def test_a_journal_that_was_cut_off_at_once(out, card):
    Summary(out, card, Row).add(row("a"))
    text = (out / "summary.jsonl").read_bytes()
    (out / "summary.jsonl").write_bytes(text[:40])
    summary = Summary(out, card, Row)
    assert not summary.rows
    summary.add(row("a"))
    assert sorted(Summary(out, card, Row).rows) == ["a"]


@pytest.mark.parametrize("text", ['{"dose": 1}\n', "5\n", '{"digest": "another", "model": "another"}\n'])
def test_a_journal_of_something_else(out, card, text):
    (out / "summary.jsonl").write_text(text)
    with pytest.raises(LLMBoostError, match="give --overwrite"):
        Summary(out, card, Row)
    assert (out / "summary.jsonl").read_text() == text
    Summary(out, card, Row, overwrite=True)
    assert names(out) == ["summary.csv", "summary.json"]


def test_two_at_once_know_of_each_other(out, card):
    one, other = (Summary(out, card, Row) for _ in range(2))
    for number in range(3):
        one.add(row(f"a{number}"))
        other.add(row(f"b{number}"))
        if number == 1:
            other.write()
    one.refresh()
    assert sorted(one.rows) == sorted(other.rows) == ["a0", "a1", "a2", "b0", "b1", "b2"]
    one.write()
    assert sorted(rows(out)) == ["a0", "a1", "a2", "b0", "b1", "b2"]


ADDING = """
import sys
from pathlib import Path
from llmboost.batch.summary import OK, Row, Summary
from llmboost.card import read_card

model, out, name = sys.argv[1:]
summary = Summary(Path(out), read_card(Path(model)), Row)
for number in range(150):
    summary.add(Row(f"{name}{number:03d}", [], OK))
    if number % 60 == 30:
        summary.write()
"""


def test_many_processes_lose_no_row(out, tiny_model):
    children = [subprocess.Popen([sys.executable, "-c", ADDING, tiny_model, out, name]) for name in "xyz"]
    assert [child.wait() for child in children] == [0, 0, 0]
    found = Summary(out, read_card(tiny_model), Row).rows
    assert sorted(found) == [f"{name}{number:03d}" for name in "xyz" for number in range(150)]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows always has locks")
def test_a_file_system_without_locks(out, card, monkeypatch):
    """What another process may be adding just now is not removed."""
    import fcntl

    def no_locks(handle, how):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    summary = Summary(out, card, Row)
    summary.add(row("a"))
    summary.write()
    assert sorted(rows(out)) == ["a"]
    assert [one["id"] for one in journal(out)] == ["a"]
    assert sorted(Summary(out, card, Row).rows) == ["a"]


def test_what_another_run_has_just_put_there_is_in_nobodys_way(out, card):
    one, other = (Summary(out, card, Row) for _ in range(2))
    with staging(out) as stage:
        (stage / "a.png").write_bytes(b"a result")
        one.put(row("a"), stage, ["a.png"])
    other.check("a", ["a.png"])
    (out / "a.png").write_bytes(b"corrected")
    with pytest.raises(LLMBoostError, match="was changed since"):
        other.check("a", ["a.png"])


def test_the_summary_of_an_earlier_version(out, card):
    """It knew of no journal, and its rows of no run."""
    summary = Summary(out, card, Row)
    summary.add(row("a"))
    summary.write()
    told = json.loads((out / "summary.json").read_text())
    for one in told["cases"]:
        del one["run"]
    (out / "summary.json").write_text(json.dumps(told))
    assert sorted(Summary(out, card, Row).rows) == ["a"]
