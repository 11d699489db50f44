"""Trouble in the panel of LLMBoost Train: trainers that fail or die, full disks, what others left; each is told."""

from __future__ import annotations

import os
import signal
import time

import pytest
from Testing.gui.traincase import MODULE

from llmboost.errors import LLMBoostError


def test_a_trainer_that_is_killed(ready):
    ready.start("crash")
    ready.finish()
    assert "the worker ended unexpectedly" in ready.error().lower()
    ready.assertTidy()
    ready.start()  # and a fresh one
    ready.finish()
    assert ready.ui.resultButton.visible


def test_kill_9_from_outside(ready):
    ready.startSlow()
    os.kill(ready.pid, signal.SIGKILL)
    ready.finish()
    assert "unexpectedly" in ready.error()
    ready.assertTidy()


@pytest.mark.parametrize(("how", "text"), [("full", "No space left on device"), ("nan", "the loss is not a number")])
def test_a_trainer_that_fails_says_why(ready, how, text):
    ready.start(how)
    ready.finish()
    assert text in ready.error()
    assert text in ready.status
    ready.assertTidy()


def test_a_full_disk_before_the_start(ready, monkeypatch):
    def full(*_):
        raise OSError(28, os.strerror(28))

    for name in ("os.link", "shutil.copyfile"):
        monkeypatch.setattr(name, full)
    ready.start()
    ready.finish()
    assert "No space left on device" in ready.error()
    ready.assertTidy()


def test_a_disk_without_links(ready, monkeypatch):
    def cannot(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("os.link", cannot)
    ready.start()
    ready.finish()
    assert ready.ui.resultButton.visible


def test_a_worker_elsewhere_gets_no_cases(ready):
    ready.start("remote")
    ready.finish()
    text = ready.error()
    assert "The worker runs on another computer, gpu-box" in text
    assert "nothing was sent" in text
    ready.assertTidy()


def test_what_a_killed_slicer_left_is_removed_when_it_is_old(case, host):
    from LLMBoostLib.training.runfolders import STALE_SECONDS  # needs the host's Qt

    old, new = case.cases / "runs" / "0123456a", case.cases / "runs" / "0123456b"
    for run in (old, new):
        run.mkdir(parents=True)
    past = time.time() - STALE_SECONDS - 10
    os.utime(old, (past, past))
    host.reload(MODULE)
    assert not old.exists()
    assert new.exists()


def test_in_a_folder_of_others_nothing_is_trained_and_nothing_removed(case, host):
    from LLMBoostLib.training.runfolders import STALE_SECONDS  # needs the host's Qt

    theirs = [case.cases / "runs" / "0123456a" / "weights.pt", case.cases / "pending" / "outcome.json"]
    for path in (*theirs, case.cases / "dataset.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("theirs")
    past = time.time() - STALE_SECONDS - 10
    os.utime(theirs[0].parent, (past, past))
    host.reload(MODULE)
    with pytest.raises(LLMBoostError, match="not a folder of LLMBoost Train's"):
        case.logic.train(dataset=case.cases, steps=1)
    assert all(path.read_text() == "theirs" for path in theirs)
    assert not case.ui.removeAllButton.enabled
