"""The requests `adapt` and `rank_cases`, as the worker answers them."""

import json
import shutil

import pytest

from llmboost.errors import LLMBoostError
from llmboost.handlers import Engine
from llmboost.io.image import write_image
from llmboost.library import import_model
from llmboost.messages.cases import AdaptRequest, CrossCheckRequest, RankRequest
from llmboost.messages.codec import from_message, from_parts, to_parts
from llmboost.messages.words import AdaptTask, Device
from llmboost.messages.worker import PlanEvent, Progress, ValidationEvent
from llmboost.model import load_model
from llmboost.service import Job
from llmboost.wire import PROGRESS


@pytest.fixture
def base(trained_model, library_folder) -> str:
    return import_model(trained_model).name


def ask(request, sent=None, cancelled=lambda: False, finishing=lambda: False):
    job = Job(request, 1, (sent if sent is not None else []).append, cancelled, finishing)
    answer = Engine().handlers[type(request)](job)
    fields, arrays = to_parts(answer)
    return from_parts(type(request).answer(), json.loads(json.dumps(fields)), arrays)  # what a frame can carry


def test_adapt_tells_what_a_panel_shows(base, dataset_folder, tmp_path):
    output, sent = tmp_path / "mine.safetensors", []
    request = AdaptRequest(
        base=base,
        dataset=str(dataset_folder),
        output=str(output),
        steps=3,
        rank=2,
        device=Device.CPU,
        task=AdaptTask.IMPROVE,
    )
    answer = ask(request, sent)
    assert load_model(output).card.name == answer.card.name == "mine"
    assert answer.card.adapter.rank == 2
    for found in (answer.before, answer.after):
        assert [case.id for case in found.cases] == ["case_5", "case_6"]
        assert 0 <= found.mean_dice <= 1
    assert answer.old_task is None
    assert (answer.steps, answer.stopped, answer.output) == (3, "budget", str(output))
    assert all(message.kind == PROGRESS for message in sent)
    events = [type(from_message(Progress, message).event) for message in sent]
    assert set(events) >= {PlanEvent, ValidationEvent}
    assert all(len(message.fields["text"].splitlines()) == 1 for message in sent)


def test_cross_check_tells_how_far_it_is_and_what_it_found(base, make_case, write_dataset, tmp_path):
    labels = {"0": "background", "1": "white", "2": "yolk"}
    folder = write_dataset(tmp_path / "eggs", {f"egg_{seed}": make_case(seed) for seed in range(3)}, labels=labels)
    where = {"base": base, "dataset": str(folder), "output": str(tmp_path / "egg.safetensors"), "device": Device.CPU}
    ask(AdaptRequest(**where, steps=2))
    sent = []
    answer = ask(CrossCheckRequest(**where, folds=3), sent)
    assert answer.card.to_json() == load_model(tmp_path / "egg.safetensors").card.to_json()
    assert {case.id: set(case.dice) for case in answer.found.cases} == {f"egg_{n}": {"1", "2"} for n in range(3)}
    assert answer.found.mean_dice == pytest.approx(answer.card.figures["out_of_fold_dice"])
    assert answer.folds == 3
    assert any(message.fields["text"].startswith("network 2 of 3: step 1, loss ") for message in sent)
    fractions = [message.fields["fraction"] for message in sent if message.fields["fraction"] is not None]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_finish_and_old_cases(base, dataset_folder, tmp_path):
    folder, output = str(dataset_folder), str(tmp_path / "mine.safetensors")
    request = AdaptRequest(base=base, dataset=folder, output=output, steps=50, device=Device.CPU, old=folder)
    answer = ask(request, finishing=lambda: True)
    assert answer.stopped == "finish"
    assert None not in (answer.old_task.before, answer.old_task.after)


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
        ask(from_parts(AdaptRequest, {**fields, **change}))
    assert "\n" not in str(failure.value)
    assert not list(tmp_path.glob("*.safetensors"))


def test_rank_cases(base, dataset_folder, make_case, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(dataset_folder, folder)
    (folder / "imagesTs").mkdir()
    for seed in (20, 21):
        write_image(make_case(seed)[0], folder / "imagesTs" / f"new_{seed}.nii.gz")
    order = ask(RankRequest(model=base, dataset=str(folder), device=Device.CPU)).order
    assert {entry.id for entry in order} == {"new_20", "new_21"}
    assert order[0].score == 1
