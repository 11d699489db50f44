"""The state of what goes on in a panel, without any widget."""

from __future__ import annotations

import pytest

from LLMBoostLib.panels.run import Run, State, Work
from LLMBoostLib.worker.client import WorkerError


@pytest.fixture
def cancelled() -> list[bool]:
    return []


@pytest.fixture
def run(cancelled) -> Run:
    return Run(lambda: cancelled.append(True))


def test_a_run_asks_runs_and_ends_and_its_observers_see_each_step(run):
    seen = []
    run.observe(lambda: seen.append((run.state, run.work)))
    run.begin(Work.IMAGE)
    run.go()
    run.end()
    assert seen == [(State.ASKING, Work.IMAGE), (State.RUNNING, Work.IMAGE), (State.IDLE, None)]


def test_a_run_that_is_stopped_while_it_asks_does_not_compute(run, cancelled):
    run.begin(Work.IMAGE)
    run.stop("cancelled, for the scene was closed")
    assert (run.state, cancelled) == (State.CANCELLING, [True])
    with pytest.raises(WorkerError, match="the scene was closed") as refused:
        run.go()
    assert refused.value.kind == "cancelled"
    run.end()
    run.begin(Work.IMAGE)
    run.go()
    assert run.state is State.RUNNING


def test_the_first_reason_counts_and_nothing_is_stopped_where_nothing_runs(run, cancelled):
    run.stop("nothing")
    assert (run.active, run.reason, cancelled) == (False, "", [])
    run.begin(Work.CASES)
    run.stop("first")
    run.stop("second")
    assert run.reason == "first"


def test_it_needs_its_nodes_until_it_is_over(run):
    node, other = object(), object()
    run.begin(Work.IMAGE)
    assert not run.needs(node)
    run.go([node])
    assert run.needs(node)
    assert not run.needs(other)
    run.end()
    assert not run.needs(node)


def test_the_last_error_stays_until_the_next_one(run):
    errors = [WorkerError("crashed", "a"), None, WorkerError("crashed", "b")]
    seen = []
    for error in errors:
        run.begin(Work.IMAGE)
        run.end(error)
        seen.append(run.lastError)
    assert seen == [errors[0], errors[0], errors[2]]


def test_one_begins_after_the_other(run):
    run.begin(Work.ENVIRONMENT)
    assert run.does(Work.ENVIRONMENT, Work.DIAGNOSTICS)
    with pytest.raises(AssertionError, match="ENVIRONMENT"):
        run.begin(Work.IMAGE)


def test_a_run_rests_at_its_beginning(cancelled):
    waiting, seen = [], []
    run = Run(lambda: None, later=lambda ms, call: waiting.append((ms, call)))
    run.restMs = 7
    run.begin(Work.IMAGE)
    ((ms, rested),) = waiting
    assert (ms, run.resting) == (7, True)
    run.observe(lambda: seen.append(run.resting))
    rested()
    assert seen == [False]
