"""Cases in which somebody drew some labels alone, and images that show nothing."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from llmboost.errors import LLMBoostError
from llmboost.evaluation import evaluate
from llmboost.io.dataset import load, read_dataset
from llmboost.io.datasetcheck import check, settle
from llmboost.learn.adaptation.common import AdaptSettings
from llmboost.learn.adaptation.flow import adapt
from llmboost.learn.augment import IMAGE
from llmboost.learn.patches import DRAWN, TrainingPatches
from llmboost.learn.segmentation import SegmentationTask, mean_dice_of, read_volume
from llmboost.learn.train import Recipe, train
from llmboost.learn.trainer import Progress, TrainingConfig
from llmboost.metrics.segmentation import MEASURES, segmentation_scores
from llmboost.model import load_model

from .conftest import TINY
from .training_samples import STEPS

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path, write_dataset, make_case):
    """``folder({1: 2}, told)``: five cases, number 1 without label 2, "partly_labeled" as told; others ``empty``, of
    ``constant`` images, or of one slice (``flat``)."""

    def write(lacking, told=None, empty=(), constant=(), flat=False):
        cases = {}
        for number in range(5):
            image, label = make_case(number)
            array = np.where(label.array == lacking.get(number), 0, label.array)
            array = 0 * array if number in empty else array
            if number in constant:
                image = image.with_array(np.full_like(image.array, -1000))
            cases[f"case_{number}"] = (image, label.with_array(array.astype(np.uint8)))
        if flat:
            cut = (slice(None), slice(None), slice(12, 13))
            cases = {
                id: tuple(dataclasses.replace(one, array=np.ascontiguousarray(one.array[cut])) for one in pair)
                for id, pair in cases.items()
            }
        path = write_dataset(tmp_path / "data", cases, {"train": list(cases)[:4], "val": list(cases)[4:]})
        if told is not None:
            description = json.loads((path / "dataset.json").read_text())
            (path / "dataset.json").write_text(json.dumps({**description, "partly_labeled": told}))
        return path

    return write


def settled(path):
    dataset = read_dataset(path)
    checked = check(dataset, [*dataset.split("train"), *dataset.split("val")])
    return settle(dataset, checked, dataset.split("train"))


def drawn(dataset):
    """The classes that were drawn, by case."""
    volumes = [read_volume(dataset, case, STEPS) for case in dataset.cases.values()]
    return {volume.id: None if volume.drawn is None else volume.drawn.tolist() for volume in volumes}


@pytest.mark.parametrize(
    ("told", "values"), [(None, None), (True, {1, 2}), (False, set()), (["BACK"], {2}), ([], set())]
)
def test_what_a_description_may_say(folder, told, values):
    dataset = read_dataset(folder({}, told))
    assert dataset.partly_labeled == (None if values is None else dict.fromkeys(dataset.cases, values))


@pytest.mark.parametrize(
    "told", ["yes", ["liver"], ["background"], 1, {"front": True}, [1], {"case_0": "back"}, {"case_9": ["back"]}]
)
def test_what_it_may_not_say(folder, told):
    with pytest.raises(LLMBoostError, match=r"dataset.json: \"partly_labeled\" must be true .* or such a list"):
        read_dataset(folder({}, told))


def test_what_most_show_was_not_drawn_where_it_lacks(folder):
    dataset, checked = settled(folder({1: 2, 4: 2}))
    assert drawn(dataset) == {id: [True, True, False] if id in ("case_1", "case_4") else None for id in dataset.cases}
    (note,) = checked.notes
    assert "of 5 cases, some lack back (case_1, case_4): taken as not drawn there" in note
    assert '"partly_labeled": false' in note


def test_what_few_show_is_absent(folder):
    dataset, checked = settled(folder({0: 2, 1: 2, 4: 2}))
    assert not any(drawn(dataset).values())
    (note,) = checked.notes
    assert "lack back (case_0, case_1, case_4): taken as absent there" in note
    assert '"partly_labeled": true' in note


def test_what_is_told_is_done(folder):
    dataset, checked = settled(folder({1: 2}, told=False))
    assert not any(drawn(dataset).values())
    assert checked.notes == ()


def test_a_told_list_is_of_those_labels_alone(folder):
    dataset, checked = settled(folder({0: 1, 1: 2, 2: 2, 3: 2}, told=["back"]))
    assert [id for id, classes in drawn(dataset).items() if classes == [True, True, False]] == [
        "case_1", "case_2", "case_3",
    ]  # fmt: skip
    assert drawn(dataset)["case_0"] is None
    assert checked.notes == ("of 5 cases, some lack back (case_1, case_2, case_3): not drawn there, by dataset.json",)


def test_what_is_told_of_a_case_is_of_that_case_alone(folder):
    """Also where most show the label, which would be presumed as not drawn, were nothing told."""
    path = folder({1: 2, 2: 2}, told={"case_1": ["back"]})
    dataset, checked = settled(path)
    assert {id: classes for id, classes in drawn(dataset).items() if classes} == {"case_1": [True, True, False]}
    assert checked.notes == ("of 5 cases, some lack back (case_1): not drawn there, by dataset.json",)


def test_where_the_background_was_not_drawn_only_labels_count(folder):
    dataset, _ = settled(folder({}, told={"case_3": ["background"], "case_4": ["background"]}, empty=[3]))
    assert "case_3" not in dataset.cases, "nothing was drawn there"
    assert dataset.ignore == 3
    for id in ("case_0", "case_4"):
        _, label = load(dataset.cases[id])
        volume = read_volume(dataset, dataset.cases[id], STEPS)
        assert np.unique(label.array).tolist() == ([0, 1, 2] if id == "case_0" else [1, 2, 3])
        assert bool((volume.label == -1).any()) is (id == "case_4")
        assert volume.drawn is None


def test_a_training_is_another_one_once_other_labels_were_drawn(folder, tmp_path):
    path, recipe = folder({1: 2}, told={"case_1": ["back"]}), Recipe(TrainingConfig(steps=1), options=TINY)
    train(path, tmp_path / "model.safetensors", recipe, device=CPU)
    description = json.loads((path / "dataset.json").read_text())
    (path / "dataset.json").write_text(json.dumps({**description, "partly_labeled": False}))
    more = dataclasses.replace(recipe, config=TrainingConfig(steps=2))
    with pytest.raises(LLMBoostError, match=r"partly labeled: .*case_1.*without back.* then, none now"):
        train(path, tmp_path / "model.safetensors", more, device=CPU, resume=True)


def test_slices_lack_what_they_do_not_cross(folder):
    dataset, checked = settled(folder({1: 2}, flat=True))
    assert not dataset.undrawn("case_1", {0, 1})
    assert checked.notes == ()


def test_a_map_that_shows_nothing(folder):
    """Where nothing is told it is an example of nothing; where not all was drawn it teaches nothing."""
    dataset, _ = settled(folder({1: 2}, empty=[0]))
    assert drawn(dataset)["case_0"] is None


def test_a_map_of_which_nothing_was_drawn(folder):
    dataset, checked = settled(folder({1: 2}, told=True, empty=[0]))
    assert "case_0" not in dataset.cases
    assert dataset.splits["train"] == ["case_1", "case_2", "case_3"]
    assert any("left out: case_0; nothing was drawn" in note for note in checked.notes)


def test_images_that_show_nothing_are_left_out(folder):
    dataset, checked = settled(folder({}, constant=[2]))
    assert dataset.splits["train"] == ["case_0", "case_1", "case_3"]
    assert checked.notes == ("1 case(s) left out: case_2; the image has one value throughout",)


def test_images_that_all_show_nothing_are_refused(folder):
    with pytest.raises(LLMBoostError, match=r"no case is left to learn from; 4 case\(s\) left out"):
        settled(folder({}, constant=[0, 1, 2, 3]))


def test_batches_tell_what_was_drawn(folder):
    dataset, _ = settled(folder({1: 2}))
    volumes = [read_volume(dataset, case, STEPS) for case in dataset.split("train")]
    task = SegmentationTask(volumes, [], STEPS, TrainingConfig(steps=2, batch=4), dataset.labels)
    batch = next(task.batches(0, CPU))
    assert sorted(batch[DRAWN].tolist()) == [[True, True, False], *[[True, True, True]] * 3]
    everything = [dataclasses.replace(volume, drawn=None) for volume in volumes]
    assert DRAWN not in TrainingPatches(everything, STEPS, 4, 0)[0]


def test_the_loss_goes_by_what_was_drawn(folder, tiny_network):
    """Answers in a label that was not drawn do not move it."""
    dataset, _ = settled(folder(dict.fromkeys(range(2), 2), told=True))
    volumes = [read_volume(dataset, case, STEPS) for case in dataset.split("train")][:2]
    task = SegmentationTask(volumes, [], STEPS, TrainingConfig(steps=2, batch=2), dataset.labels)
    batch = next(task.batches(0, CPU))
    network = tiny_network(classes=3).eval()

    class Surer(torch.nn.Module):
        """Half of the background goes to the label that was not drawn."""

        def deep(self, image):
            levels = network.deep(image)
            return [
                torch.cat([one[:, :2], torch.logaddexp(one[:, :1], one[:, 2:])], dim=1) - shift(one) for one in levels
            ]

    def shift(logits):
        nothing = torch.zeros_like(logits)
        nothing[:, 0] = 50.0  # out of the background, into label 2, which holds it all now
        return nothing

    plain, moved = (task.loss(each, batch, Progress(0, 0.0)) for each in (network, Surer()))
    torch.testing.assert_close(plain, moved, rtol=1e-4, atol=1e-4)
    assert batch[IMAGE].shape[0] == 2


def test_a_label_that_was_not_drawn_is_not_measured(volumes, trained_model):
    network, volume = load_model(trained_model).network, volumes[1][0]
    both = mean_dice_of(network, volume, STEPS)
    assert all(dice > 0.5 for dice in both)
    label = volume.label.where(volume.label != 2, 0)
    first, second = mean_dice_of(network, dataclasses.replace(volume, label=label), STEPS)
    assert (first, second) == (both[0], 0)
    told = dataclasses.replace(volume, label=label, drawn=torch.tensor([True, True, False]))
    first, second = mean_dice_of(network, told, STEPS)
    assert first == both[0]
    assert math.isnan(second)


def test_measures_of_what_was_not_drawn():
    array = np.zeros((6, 6, 6), np.uint8)
    array[2:4, 2:4, 2:4], array[4:, 4:, 4:] = 1, 2
    reference = np.where(array == 2, 0, array)
    every = segmentation_scores(array, reference, (1, 1, 1), (1, 2))
    told = segmentation_scores(array, reference, (1, 1, 1), (1, 2), undrawn={2})
    assert every["dice"] == {"1": 1.0, "2": 0.0}
    assert told["dice"] == {"1": 1.0, "2": None}
    assert all(told[measure]["2"] is None and told[measure]["1"] == every[measure]["1"] for measure in MEASURES)


def test_evaluating(folder, trained_model):
    model = load_model(trained_model)
    result = evaluate(model, read_dataset(folder({1: 2}, told=True, constant=[0])), "train")
    assert [case["dice"]["2"] is None for case in result["cases"]] == [False, True, False, False]
    assert result["dice"]["2"]["undefined"] == 1
    (warning,) = result["warnings"]
    assert "case_0.nii.gz: has one value throughout" in warning


def test_evaluating_where_nothing_is_told(folder, trained_model, llmboost, tmp_path):
    done = llmboost(
        "evaluate", folder({1: 2}), "--model", trained_model, "--json", tmp_path / "r.json", "--split", "train"
    )
    assert done.status == 0, done.err
    assert "measured as absent where a label map lacks it: back (1 of 4 cases)" in done.err
    cases = json.loads((tmp_path / "r.json").read_text())["cases"]
    assert cases[1]["dice"]["2"] == 0


def test_training_tells_and_learns(folder, tmp_path):
    """From the folder to the model: notes are heard, and a case that shows nothing is not learned from."""
    events = []
    recipe = Recipe(TrainingConfig(steps=2, validations=1), options={**TINY, "dropout": 0.0})
    path = folder({1: 2}, constant=[0])
    card = train(path, tmp_path / "model.safetensors", recipe, device=CPU, report=events.append)
    reasons = " ".join(next(event["reasons"] for event in events if event["event"] == "plan"))
    assert "lack back (case_1): taken as not drawn there" in reasons
    assert "left out: case_0" in reasons
    assert card.training["train_cases"] == 3


def test_adapting_tells_and_learns(folder, trained_model, tmp_path):
    path = folder({1: 2}, constant=[0])
    (path / "splits.json").unlink()
    settings = AdaptSettings(steps=2, validations=1, rank=2)
    result = adapt(trained_model, path, tmp_path / "adapter.safetensors", settings, device=CPU)
    assert any("lack back (case_1)" in warning for warning in result.warnings)
    assert any("left out: case_0" in warning for warning in result.warnings)
    assert result.card.training["train_cases"] + result.card.training["val_cases"] == 4


def test_the_data_at_hand(data_root):
    """Head and neck CTs say nothing of it: most lack one organ or other, and some images are empty."""
    folder = data_root / "headneck_ct"
    if not folder.exists():
        pytest.skip("no headneck_ct")
    dataset = read_dataset(folder)
    cases = dataset.split("val")
    checked = check(dataset, cases)
    assert len(checked.constant) == 4
    dataset, checked = settle(dataset, checked, cases)
    assert len(dataset.split("val")) == 15
    assert dataset.presumed == {1, 5}, "brain stem and mandible; the larynx is in fewer"
    assert load(dataset.split("val")[0])[1] is not None
