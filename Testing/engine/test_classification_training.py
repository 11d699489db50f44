"""Training classifiers: what is learned from, what is selected, and what lies in the model file."""

import dataclasses
import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch

import llmboost
from llmboost.booster import BoosterConfig
from llmboost.booster.sources import load_blocks
from llmboost.card import CLASSIFICATION, Preprocessing, read_card
from llmboost.errors import Cancelled, LLMBoostError
from llmboost.evaluation import evaluate_classifier
from llmboost.inference.classify import classify, distance, features_of, probabilities
from llmboost.io.imageset import read_image_set
from llmboost.learn.augment import IMAGE
from llmboost.learn.checkpoint import trainable_state
from llmboost.learn.classification.augment import Augmentation
from llmboost.learn.classification.task import (
    TARGET,
    ClassificationConfig,
    ClassificationTask,
    Images,
    read_images,
)
from llmboost.learn.classification.train import ClassificationRecipe, calibrate, train_classifier, youden
from llmboost.learn.train import run_folder
from llmboost.learn.trainer import CHECKPOINT, LOG, Score, Trainer
from llmboost.model import load_model
from llmboost.networks import build

from .class_samples import SIZE, TINY, pictures, three_splits, volumes, write_npz
from .training_samples import losses_of

CPU = torch.device("cpu")
STEPS = Preprocessing(patch_size=(SIZE, SIZE, 1), mirror=(0,))
USUAL = Augmentation()
STILL = Augmentation(degrees=0, scale=0, shift=0, shear=0, intensity=0, noise=0, erase=0)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """The same sums in the same order, and cores for others."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def discs(tmp_path_factory):
    """A data set of small and large discs. Shared: do not change it."""
    return write_npz(tmp_path_factory.mktemp("discs") / "discs.npz", three_splits())


def recipe(steps=60, network="", booster=None, options=TINY, **changes):
    names = {field.name for field in dataclasses.fields(ClassificationRecipe)}
    others = {name: changes.pop(name) for name in list(changes) if name in names}
    config = ClassificationConfig(**{"steps": steps, "batch": 16, "rate": 1e-2, "validations": 3, **changes})
    return ClassificationRecipe(config, network, options=options, booster=booster, **others)


def trained_on(data, path, report=lambda event: None, resume=False, cancelled=lambda: False, **changes):
    return train_classifier(
        data, path, recipe(**changes), device=CPU, resume=resume, report=report, cancelled=cancelled
    )


@pytest.fixture(scope="module")
def trained(discs, tmp_path_factory):
    """A classifier that knows small from large discs: its file, card, run folder and events."""
    path = tmp_path_factory.mktemp("trained") / "sizes.safetensors"
    events = []
    card = trained_on(discs, path, events.append)
    return SimpleNamespace(path=path, card=card, run=run_folder(path), events=events)


def images_of(count=48, seed=0, **options):
    """Discs as a network sees them."""
    pixels, labels = pictures(count, seed=seed, **options)
    array = torch.from_numpy(pixels.astype(np.float32)).sub(80).div(50)
    classes = int(labels.max()) + 1
    return Images(array[:, None, :, :, None].half(), torch.eye(classes)[labels[:, 0].astype(int)])


@pytest.fixture
def make_trainer(tmp_path):
    """``make_trainer(...)``: a trainer of small and large discs, or of other images."""
    val = images_of(count=24, seed=1)

    def make(folder="run", network=None, train=None, held_out=val, augmentation=USUAL, **changes):
        multi_label = changes.pop("multi_label", False)
        watching = {name: changes.pop(name) for name in ("report", "cancelled") if name in changes}
        train = train or images_of()
        torch.manual_seed(changes.get("seed", 0))
        network = network or build(
            "vit-tiny", {**TINY, "image_size": STEPS.patch_size, "classes": train.targets.shape[1]}, None
        )
        config = recipe(**changes).config
        task = ClassificationTask(train, held_out, STEPS, config, augmentation, multi_label=multi_label)
        return Trainer(network, task, tmp_path / folder, CPU, **watching)

    return make


# -- from data to a model file -----------------------------------------------------------------------------------------


def test_it_learns(trained, discs):
    assert trained.card.figures["val_auc"] > 0.95
    result = evaluate_classifier(load_model(trained.path), read_image_set(discs), "test")
    assert result["auc"] > 0.95
    assert result["n"] == 24
    assert result["sensitivity"] + result["specificity"] > 1.6


def test_the_card(trained, discs):
    card = read_card(trained.path)
    assert card.to_json() == trained.card.to_json()
    assert (card.name, card.title, card.task) == ("sizes", "discs", CLASSIFICATION)
    assert [(label.value, label.name) for label in card.labels] == [(0, "class 0"), (1, "class 1")]
    assert card.classes == 2
    classification = card.classification
    assert (classification.input_region, classification.positive, len(classification.thresholds)) == (
        "square",
        "class 1",
        1,
    )
    assert (classification.multi_label, classification.ordinal) == (False, False)
    assert classification.range_limit > 0
    assert card.preprocessing.patch_size == (SIZE, SIZE, 1)
    assert card.network["name"] == "vit-tiny"
    assert (card.training["train_cases"], card.training["val_cases"]) == (48, 24)
    assert card.training["config"]["rate"] == 1e-2
    assert {"val_auc", "val_accuracy", "val_brier", "val_calibration_error"} <= set(card.figures)
    assert not any(name.startswith("test") for name in card.figures), "test images are not read"


def test_the_log_and_the_curve(trained):
    _, *lines, _ = [json.loads(line) for line in (trained.run / LOG).read_text().splitlines()]
    assert [(line["event"], line["step"]) for line in lines] == [("validation", n) for n in (20, 40, 60)]
    assert lines[-1]["best"] == max(line["auc"] for line in lines)
    assert (trained.run / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert trained.events[0]["event"] == "plan"
    assert any("middle square" in reason for reason in trained.events[0]["reasons"])


def test_a_loaded_model_answers_as_the_figures_say(trained, discs):
    """The averaged, best weights are what the file holds."""
    model, data = load_model(trained.path), read_image_set(discs)
    val = read_images(data.split("val"), model.card.preprocessing, "square")
    classification = model.card.classification
    chances = probabilities(
        model.network, val.images, mirror=model.card.preprocessing.mirror, temperature=classification.temperature
    )
    cross_entropy = -(val.targets * chances.log()).sum(dim=1).mean()
    assert torch.isfinite(cross_entropy)
    brier = ((chances - val.targets) ** 2).sum(dim=1).mean().item()
    assert brier == pytest.approx(trained.card.figures["val_brier"], abs=5e-3)


def test_masks_are_learnt_around_their_middle(tmp_path):
    data = write_npz(tmp_path / "shapes.npz", three_splits(volumes, counts=(32, 16, 0)))
    card = trained_on(data, tmp_path / "shapes.safetensors", steps=40, batch=8, options={**TINY, "stem": (4, 8)})
    assert card.network["name"] == "vit3d-tiny"
    assert card.classification.input_region == "mask"
    assert card.preprocessing.normalization[0].kind == "window"
    assert card.figures["val_auc"] > 0.9


def test_grades_are_learnt(tmp_path):
    data = write_npz(tmp_path / "sizes.npz", three_splits(classes=4, counts=(64, 32, 0)))
    data.with_suffix(".json").write_text('{"ordinal": true}')
    card = trained_on(data, tmp_path / "grades.safetensors", steps=60)
    assert card.classification.ordinal
    assert (card.classification.positive, card.classification.thresholds) == ("", ())
    assert card.figures["val_auc"] > 0.75
    assert card.figures["val_kappa"] > 0.4


def test_several_labels_are_learnt(tmp_path):
    def make(count, seed):
        """A bright upper half, a bright left half, both, or none."""
        random = np.random.default_rng(seed)
        labels = np.stack([np.arange(count) % 2, np.arange(count) // 2 % 2], axis=1)
        images = 60 + 10 * random.standard_normal((count, SIZE, SIZE))
        images[:, : SIZE // 2] += 80 * labels[:, :1, None]
        images[:, :, : SIZE // 2] += 80 * labels[:, 1:, None]
        return images.astype(np.uint8), labels

    data = write_npz(tmp_path / "halves.npz", three_splits(make))
    still = dataclasses.replace(STILL, shift=0.05, degrees=5)
    card = trained_on(data, tmp_path / "halves.safetensors", augmentation=still, mirror=(), mixup=0.0)
    assert card.classification.multi_label
    assert len(card.classification.thresholds) == 2
    assert card.figures["val_auc"] > 0.9
    model = load_model(tmp_path / "halves.safetensors")
    names = [label.name for label in card.labels]
    samples = read_image_set(data).split("test")
    right = 0
    for sample in samples:
        found = classify(model, sample.read(card.preprocessing))
        right += set(found.decision) == {name for name, t in zip(names, sample.target, strict=True) if t}
    assert right / len(samples) > 0.7, "none and both are answers, too"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"network": "hybrid-vit"}, "network 'hybrid-vit' does not classify; use one of vit-s"),
        ({"options": {"steam": 3}}, "steam"),
        ({"pretrained": Path("nowhere")}, "nowhere: 0 .safetensors files"),
        ({"teachers": (Path("nowhere.safetensors"),)}, "nowhere.safetensors"),
    ],
    ids=str,
)
def test_recipes_that_do_not_fit(discs, tmp_path, changes, reason):
    with pytest.raises(LLMBoostError, match=reason) as caught:
        trained_on(discs, tmp_path / "x.safetensors", **changes)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x.safetensors").exists()


def test_a_finished_model_is_not_overwritten(trained, discs):
    with pytest.raises(LLMBoostError, match="holds an earlier training; continue it with --resume"):
        trained_on(discs, trained.path)


def test_all_images_that_cannot_be_used_are_named_at_once(tmp_path):
    bad = [SimpleNamespace(id=f"bad {n}", target=(1, 0), read=lambda steps: []) for n in range(2)]
    with pytest.raises(LLMBoostError) as caught:
        read_images(bad, STEPS, "square")
    lines = str(caught.value).splitlines()
    assert lines[0] == "2 image(s) cannot be used, mend them before training:"
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["bad 0", "bad 1"]


# -- the same again ----------------------------------------------------------------------------------------------------


def test_a_seed_fixes_everything(make_trainer):
    first = losses_of(make_trainer("a", steps=5))
    torch.rand(3)  # other use of random numbers has no influence
    np.random.rand()
    assert losses_of(make_trainer("b", steps=5)) == first
    assert losses_of(make_trainer("c", steps=5, seed=1)) != first


@pytest.mark.parametrize("balanced", [False, True])
def test_a_stopped_training_goes_on_as_if_it_had_not_been(make_trainer, balanced):
    whole = make_trainer("whole", steps=12, balanced=balanced)
    expected = whole.run()
    seen = []
    # six steps and a validation: two steps are lost
    make_trainer("cut", steps=12, balanced=balanced, report=seen.append, cancelled=lambda: len(seen) > 7).run()
    again = make_trainer("cut", steps=12, balanced=balanced)
    again.network.head.weight.data.fill_(3.0)
    again.resume()
    assert again.step == 4
    outcome = again.run()
    assert (outcome.score, outcome.steps) == (expected.score, expected.steps)
    for name, tensor in whole.learner.average.tensors.items():
        assert torch.equal(again.learner.average.tensors[name], tensor), name
    assert outcome.state.keys() == expected.state.keys()
    for name, tensor in expected.state.items():
        assert torch.equal(outcome.state[name], tensor), name
    for name, tensor in trainable_state(whole.network).items():
        assert torch.equal(trainable_state(again.network)[name], tensor), name


def test_a_cut_training_ends_as_a_whole_one(discs, tmp_path):
    paths = [tmp_path / f"{name}.safetensors" for name in ("whole", "cut")]
    whole = trained_on(discs, paths[0], steps=9)
    seen = []
    trained_on(discs, paths[1], seen.append, cancelled=lambda: len(seen) > 6, steps=9)
    card = trained_on(discs, paths[1], steps=9, resume=True)
    assert (card.figures, card.classification) == (whole.figures, whole.classification)
    states = [load_model(path).network.state_dict() for path in paths]
    for name, tensor in states[0].items():
        # batch norm's count of steps serves nothing
        assert torch.equal(states[1][name], tensor) or name.endswith("num_batches_tracked"), name


# -- what a step learns from -------------------------------------------------------------------------------------------


def batches_of(trainer, count):
    batches = trainer.task.batches(0, CPU)
    return [next(batches) for _ in range(count)]


def test_without_mixing_an_epoch_sees_each_image_once(make_trainer):
    train = images_of()
    plain = make_trainer(train=train, mixup=0.0, smoothing=0.0, augmentation=STILL)
    seen = torch.cat([batch[IMAGE] for batch in batches_of(plain, 3)])
    assert len(seen) == 48
    for image in train.images.float():
        assert (seen - image).abs().amax(dim=(1, 2, 3, 4)).min() < 1e-3
    targets = torch.cat([batch[TARGET] for batch in batches_of(plain, 3)])
    assert targets.unique().tolist() == [0, 1]
    assert targets.sum(dim=0).tolist() == [24, 24]


def test_mixing_blends_images_and_targets_alike(make_trainer):
    """Of images whose brightness is their class, the blend's brightness is its target."""
    classes = torch.arange(48) % 2
    train = Images(classes.float().view(-1, 1, 1, 1, 1).expand(-1, 1, SIZE, SIZE, 1).half(), torch.eye(2)[classes])
    mixed = make_trainer(train=train, mixup=0.4, smoothing=0.0, augmentation=STILL)
    blends = 0
    for batch in batches_of(mixed, 6):
        brightness = batch[IMAGE].mean(dim=(1, 2, 3, 4))
        torch.testing.assert_close(batch[TARGET][:, 1], brightness, atol=1e-3, rtol=0)
        torch.testing.assert_close(batch[TARGET].sum(dim=1), torch.ones(16))
        blends += int(((brightness > 0.01) & (brightness < 0.99)).sum())
    assert blends > 10


def test_smoothing(make_trainer):
    (batch,) = batches_of(make_trainer(mixup=0.0, smoothing=0.1), 1)
    assert batch[TARGET].unique().tolist() == pytest.approx([0.05, 0.95])
    (batch,) = batches_of(make_trainer(mixup=0.0, smoothing=0.1, multi_label=True), 1)
    assert batch[TARGET].unique().tolist() == pytest.approx([0.05, 0.95])


def test_balanced_draws_classes_alike(make_trainer):
    rare = images_of(count=60)
    kept = torch.cat([torch.arange(0, 60, 2), torch.tensor([1, 3, 5])])  # 30 small discs and 3 large ones
    train = Images(rare.images[kept], rare.targets[kept])
    shares = {
        balanced: torch.cat(
            [b[TARGET] for b in batches_of(make_trainer(train=train, balanced=balanced, mixup=0.0, smoothing=0.0), 20)]
        )[:, 1].mean()
        for balanced in (False, True)
    }
    assert shares[False] < 0.15
    assert 0.4 < shares[True] < 0.6


def test_teachers_answers_stand_in_for_targets(trained, discs, tmp_path):
    """Labels that tell nothing, and a teacher that knows."""
    splits = three_splits()
    images, labels = splits["train"]
    splits["train"] = images, np.random.default_rng(5).permutation(labels)
    data = write_npz(tmp_path / "nonsense.npz", splits)
    card = trained_on(data, tmp_path / "student.safetensors", teachers=(trained.path,))
    assert card.training["teachers"] == 1
    student = evaluate_classifier(load_model(tmp_path / "student.safetensors"), read_image_set(discs), "test")
    assert student["auc"] > 0.9
    other = write_npz(tmp_path / "grades.npz", three_splits(classes=3))
    with pytest.raises(LLMBoostError, match=r"sizes\.safetensors: classifies something else.*no teacher"):
        trained_on(other, tmp_path / "other.safetensors", teachers=(trained.path,))


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_the_averaged_weights_are_the_ones_kept(make_trainer):
    trainer = make_trainer(steps=12, precision="float32")
    own, before = [], trainer.network.head.weight.detach().clone()
    trainer.report = lambda event: event["event"] == "step" and own.append(trainer.network.head.weight.detach().clone())
    outcome = trainer.run()
    average = before
    for n, weight in enumerate(own):
        average = average.lerp(weight, 1 - min(0.99, (n + 1) / (n + 10)))
    torch.testing.assert_close(trainer.learner.average.tensors["head.weight"], average)
    assert not torch.equal(trainer.learner.average.tensors["head.weight"], own[-1])
    assert torch.equal(trainer.network.head.weight, own[-1]), "training itself goes on with its own"
    # what is returned is what was measured
    again = build("vit-tiny", {**TINY, "image_size": STEPS.patch_size}, None)
    again.load_state_dict({**again.state_dict(), **outcome.state})
    found = probabilities(again, trainer.task.val.images, mirror=STEPS.mirror)
    entropy = -(trainer.task.val.targets * found.clamp(min=1e-7).log()).sum(dim=1).mean().item()
    order = found[:, 1][trainer.task.val.targets[:, 1] == 1][:, None] - found[:, 1][trainer.task.val.targets[:, 1] == 0]
    auc = ((order > 0).float() + 0.5 * (order == 0)).mean().item()
    assert outcome.score.value == pytest.approx(auc - 1e-3 * entropy, abs=1e-4)


def test_the_auc_that_is_told_is_the_auc(make_trainer, tmp_path):
    """Not less what the entropy takes from it for choosing; counted by hand, pair by pair."""
    events = []
    trainer = make_trainer(steps=6, validations=2, report=events.append, precision="float32")
    trainer.run()
    *_, last = [event for event in events if event["event"] == "validation"]
    again = build("vit-tiny", {**TINY, "image_size": STEPS.patch_size}, None)
    again.load_state_dict({**again.state_dict(), **trainer.learner.average.tensors})
    found = probabilities(again, trainer.task.val.images, mirror=STEPS.mirror)[:, 1]
    positive, negative = (found[trainer.task.val.targets[:, 1] == side] for side in (1, 0))
    order = positive[:, None] - negative
    auc = ((order > 0).float() + 0.5 * (order == 0)).mean().item()
    assert last["auc"] == pytest.approx(auc, abs=1e-6)
    assert last["best"] in [event["auc"] for event in events if event["event"] == "validation"]
    *logged, _ = [json.loads(line) for line in (tmp_path / "run" / LOG).read_text().splitlines()]
    assert logged[-1]["auc"] == last["auc"]
    assert last["selected_by"] == pytest.approx(auc - 1e-3 * last["entropy"], abs=1e-6)


def test_the_best_validation_is_kept(make_trainer, monkeypatch):
    trainer = make_trainer(steps=9)
    scores = iter([0.5, 0.9, 0.7])
    kept = []

    def score(network):
        kept.append({name: tensor.clone() for name, tensor in trainer.learner.average.tensors.items()})
        return Score(next(scores), {"auc": 0.8}, {})

    monkeypatch.setattr(trainer.task, "score", score)
    outcome = trainer.run()
    assert outcome.score.value == 0.9
    assert all(torch.equal(outcome.state[name], tensor) for name, tensor in kept[1].items())


def test_validation_images_of_one_class_cannot_select(make_trainer, discs, tmp_path):
    one = images_of(count=24, seed=1)
    held_out = Images(one.images[::2], one.targets[::2])
    with pytest.raises(LLMBoostError, match="the validation images are all of one class; add others") as caught:
        make_trainer(held_out=held_out).run()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number_ends_the_training(make_trainer):
    trainer = make_trainer(steps=4)
    trainer.network.head.bias.data.fill_(float("nan"))
    with pytest.raises(
        LLMBoostError, match="training failed at step 0: the loss is not a number; use a smaller --rate"
    ):
        trainer.run()


def test_cancelling(make_trainer, discs, tmp_path):
    seen = []
    outcome = make_trainer(steps=12, report=seen.append, cancelled=lambda: len(seen) > 7).run()
    assert outcome.steps == 6
    assert outcome.state
    path = tmp_path / "none.safetensors"
    with pytest.raises(Cancelled):
        trained_on(discs, path, cancelled=lambda: True)
    assert not path.exists()
    assert not (run_folder(path) / CHECKPOINT).exists()


# -- thresholds, temperature, range ------------------------------------------------------------------------------------


def test_youdens_threshold():
    chances, truth = np.array([0.1, 0.2, 0.3, 0.6, 0.7, 0.9]), np.array([0, 0, 1, 0, 1, 1])

    def gain(cut):
        return (chances >= cut)[truth == 1].mean() + (chances < cut)[truth == 0].mean()

    cut = youden(chances, truth)
    assert gain(cut) == pytest.approx(max(gain(other) for other in np.arange(0, 1, 0.01)))
    assert not np.isin(cut, chances), "between answers, not on one"
    assert youden(chances, np.zeros(6)) == 0.5
    assert youden(np.array([0.2, 0.8]), np.array([0, 1])) == pytest.approx(0.5)


class Fixed(torch.nn.Module):
    """Answers with logits that are the first voxels, as if it had learned too much or too little."""

    def __init__(self, sharpness):
        super().__init__()
        self.sharpness = torch.nn.Parameter(torch.tensor(sharpness))
        self.ood_score = torch.nn.Identity()
        self.ood_score.forward = lambda features: features[:, 0].abs()

    def features(self, images):
        return images[:, 0, :2, 0, 0]

    def forward(self, images):
        return self.sharpness * self.features(images)


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 3.0])
def test_temperature_threshold_and_range_come_from_validation_images(sharpness):
    """Of logits that are true chances but for a factor, that factor is the temperature."""
    random = np.random.default_rng(0)
    margin = random.normal(0, 2, 4000)
    truth = (random.random(4000) < 1 / (1 + np.exp(-margin))).astype(int)
    images = torch.zeros(4000, 1, 2, 1, 1)
    images[:, 0, 1, 0, 0] = torch.from_numpy(margin)
    val = Images(images, torch.eye(2)[truth])
    data = SimpleNamespace(classes=("no", "yes"), positive="yes", multi_label=False, ordinal=False)
    meaning = calibrate(Fixed(sharpness), val, data, Preprocessing(patch_size=(2, 1, 1)), "square")
    assert meaning.temperature == pytest.approx(sharpness, rel=0.1)
    assert meaning.positive == "yes"
    assert meaning.thresholds[0] == pytest.approx(0.5, abs=0.15)
    images[:, 0, 0, 0, 0] = torch.linspace(0, 1, 4000)
    known = calibrate(Fixed(1.0), val, data, Preprocessing(patch_size=(2, 1, 1)), "square")
    assert known.range_limit == pytest.approx(0.99, abs=0.01)
    both = calibrate(
        Fixed(sharpness), val, SimpleNamespace(**{**vars(data), "multi_label": True, "positive": ""}), STEPS, "square"
    )
    assert len(both.thresholds) == 2


def test_most_validation_images_are_within_the_range(trained, discs):
    model = load_model(trained.path)
    val = read_images(read_image_set(discs).split("val"), model.card.preprocessing, "square")
    share = (
        (distance(model.network, features_of(model.network, val.images)) > model.card.classification.range_limit)
        .float()
        .mean()
    )
    assert share < 0.1


# -- the booster -------------------------------------------------------------------------------------------------------


def test_a_boosted_model_learns_around_a_frozen_block_and_is_small(discs, tmp_path):
    path = tmp_path / "boosted.safetensors"
    options = {"dropout": 0.0}
    booster = BoosterConfig(layers=(20,))
    card = trained_on(discs, path, steps=2, batch=4, validations=1, booster=booster, options=options)
    assert card.booster["q4"]
    assert path.stat().st_size < 4e6
    network = load_model(path).network
    block = load_blocks("smollm2", (20,)).states[0]
    kept = network.booster.blocks[0].state_dict()
    for name, tensor in block.items():
        expected = tensor if tensor.dtype == torch.uint8 else tensor.half().float()
        assert torch.equal(kept[name].float(), expected.float()), name
    assert network.booster.adapter_out.weight.abs().max() > 0, "what starts at zero has learned"
    with safetensors.safe_open(run_folder(path) / CHECKPOINT, framework="pt") as checkpoint:
        assert not any("booster.blocks" in name for name in checkpoint.keys()), "it is its source's"  # noqa: SIM118


@pytest.mark.parametrize("name", ["adrenal", "breast", "retina"])
def test_the_recipes_of_the_shipped_models_give_small_files(name):
    script = Path(llmboost.__file__).parents[2] / "scripts" / "train_classifiers.py"
    entry = runpy.run_path(str(script))["SETS"][name]
    flat = "network" not in entry
    sizes = {"channels": 3, "classes": 5} if flat else {"image_size": (entry["size"],) * 3}
    network = build(
        entry.get("network", "vit-tiny"), {**entry.get("options", {}), **sizes}, BoosterConfig(layers=(20,))
    )
    # as model files keep them
    stored = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in network.state_dict().items()
    }
    assert len(safetensors.torch.save(stored)) < 4 * 2**20 - 20_000, "room for the card"
