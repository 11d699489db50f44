"""The requests `adapt` and `rank_cases`, as the worker answers them."""

import json
import shutil

import pytest

from llmboost.errors import LLMBoostError
from llmboost.handlers import Engine
from llmboost.io.image import write_image
from llmboost.library import import_model
from llmboost.model import load_model
from llmboost.service import Job
from llmboost.wire import PROGRESS, Message


@pytest.fixture
def base(trained_model, library_folder) -> str:
    return import_model(trained_model).name


def ask(kind, fields, sent=None, cancelled=lambda: False, finishing=lambda: False):
    job = Job(Message(1, kind, fields, {}), (sent if sent is not None else []).append, cancelled, finishing)
    answer, arrays = Engine().handlers[kind](job)
    assert arrays == {}
    return json.loads(json.dumps(answer))  # what a frame can carry


def test_adapt_tells_what_a_panel_shows(base, dataset_folder, tmp_path):
    output, sent = tmp_path / "mine.safetensors", []
    fields = {
        "base": base,
        "dataset": str(dataset_folder),
        "output": str(output),
        "minutes": None,
        "steps": 3,
        "rank": 2,
        "device": "cpu",
        "task": "improve",
    }
    answer = ask("adapt", fields, sent)
    assert load_model(output).card.name == answer["card"]["name"] == "mine"
    assert answer["card"]["adapter"]["rank"] == 2
    for when in ("before", "after"):
        assert [case["id"] for case in answer[when]["cases"]] == ["case_5", "case_6"]
        assert 0 <= answer[when]["mean_dice"] <= 1
    assert answer["old_task"] is None
    assert (answer["steps"], answer["stopped"], answer["output"]) == (3, "budget", str(output))
    assert all(message.kind == PROGRESS for message in sent)
    events = [message.fields["event"] for message in sent if message.fields["event"]]
    assert {event["event"] for event in events} >= {"plan", "validation"}
    assert all(len(message.fields["text"].splitlines()) == 1 for message in sent)


def test_finish_and_old_cases(base, dataset_folder, tmp_path):
    fields = {"base": base, "dataset": str(dataset_folder), "output": str(tmp_path / "mine.safetensors"), "steps": 50}
    answer = ask("adapt", {**fields, "device": "cpu", "old": str(dataset_folder)}, finishing=lambda: True)
    assert answer["stopped"] == "finish"
    assert set(answer["old_task"]) == {"before", "after"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base": ""}, "lacks 'base'"),
        ({"base": "nobody"}, "no installed model of that name"),
        ({"dataset": "/nowhere"}, "no such folder"),
        ({"steps": "many"}, "'steps' must be a number"),
        ({"steps": 5, "minutes": 1}, "give one budget"),
    ],
)
def test_bad_requests_are_one_line(base, dataset_folder, tmp_path, change, message):
    fields = {"base": base, "dataset": str(dataset_folder), "output": str(tmp_path / "mine.safetensors"), "steps": 1}
    with pytest.raises(LLMBoostError, match=message) as failure:
        ask("adapt", {**fields, **change})
    assert "\n" not in str(failure.value)
    assert not list(tmp_path.glob("*.safetensors"))


def test_rank_cases(base, dataset_folder, make_case, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(dataset_folder, folder)
    (folder / "imagesTs").mkdir()
    for seed in (20, 21):
        write_image(make_case(seed)[0], folder / "imagesTs" / f"new_{seed}.nii.gz")
    order = ask("rank_cases", {"model": base, "dataset": str(folder), "device": "cpu"})["order"]
    assert {entry["id"] for entry in order} == {"new_20", "new_21"}
    assert set(order[0]) == {"id", "score", "uncertainty", "diversity"}
    assert order[0]["score"] == 1
