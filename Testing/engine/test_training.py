"""Windows, augmentation, loss and the training loop."""

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.transforms import Compose

import llmboost
from llmboost.booster import BoosterConfig
from llmboost.card import Preprocessing
from llmboost.errors import LLMBoostError
from llmboost.image import Image
from llmboost.learn import trainer as trainer_module
from llmboost.learn.augment import IMAGE, LABEL, RandContrastd, RandThickSlicesd
from llmboost.learn.dataset import read_dataset
from llmboost.learn.loss import IGNORED, SegmentationLoss
from llmboost.learn.trainer import CHECKPOINT, LOG, Trainer, TrainingConfig, mean_dice_of, read_volume
from llmboost.learn.windows import FOREGROUND, TrainingWindows, Volume, cut
from llmboost.networks import build
from llmboost.predict import Cancelled

STEPS = Preprocessing(window=(16, 32, 16), mirror=(0,))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def volumes(dataset_folder):
    """(train, val) as the network sees them."""
    dataset = read_dataset(dataset_folder)
    return tuple([read_volume(dataset, case, STEPS) for case in dataset.split(name)] for name in ("train", "val"))


def ball(shape=(24, 24, 24), ignored=False):
    """A case whose image is its label: 1 in a ball, 0 elsewhere; in one half unknown, if ``ignored``."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    label = torch.from_numpy((((index - np.array(shape) / 2) ** 2).sum(-1) < 64).astype(np.int16))[None]
    image = label.float()
    if ignored:
        label[:, : shape[0] // 2] = IGNORED
    return Volume("ball", image, label)


# cases


def dataset_of(labels, ignore=None):
    return SimpleNamespace(labels=labels, ignore=ignore)


def test_labels_become_classes_on_the_networks_grid(monkeypatch):
    values = np.zeros((6, 8, 10), np.uint8)
    values[:, 2:4], values[:, 4:6], values[:, 6:] = 5, 2, 9
    place = ((1.0, 1.0, 1.0), (0, 0, 0), np.eye(3))
    case = SimpleNamespace(id="x")
    monkeypatch.setattr(
        trainer_module, "load", lambda case: ([Image(values.astype(float), *place)], Image(values, *place))
    )
    dataset = dataset_of({2: "two", 5: "five"}, ignore=9)
    volume = read_volume(dataset, case, Preprocessing())
    # LPS to RAS turns the first two axes round
    assert volume.label[0, 0, :, 0].tolist() == [IGNORED, IGNORED, 1, 1, 2, 2, 0, 0]
    assert volume.label.dtype == torch.int16
    assert volume.image.shape == (1, 6, 8, 10)
    fine = read_volume(dataset, case, Preprocessing(spacing=(1.0, 0.5, 1.0)))
    assert fine.label.shape == (1, 6, 16, 10)
    assert fine.label[0, 0, :, 0].tolist() == [IGNORED] * 4 + [1] * 4 + [2] * 4 + [0] * 4


# windows


def test_the_nth_window_is_always_the_same(volumes):
    def windows(seed):
        return TrainingWindows(volumes[0], STEPS.window, STEPS.mirror, 12, seed)

    first, again, other = windows(5), windows(5), windows(6)
    backwards = {n: again[n] for n in reversed(range(12))}
    for n in range(12):
        sample = first[n]
        assert type(sample[IMAGE]) is torch.Tensor
        assert sample[IMAGE].shape == sample[LABEL].shape == (1, *STEPS.window)
        assert torch.equal(sample[IMAGE], backwards[n][IMAGE])
        assert torch.equal(sample[LABEL], backwards[n][LABEL])
        assert set(sample[LABEL].unique().tolist()) <= {0, 1, 2}
        assert torch.isfinite(sample[IMAGE]).all()
        assert not torch.equal(sample[IMAGE], other[n][IMAGE])
    assert not torch.equal(first[0][IMAGE], first[5][IMAGE]), "epochs differ"


def test_an_epoch_sees_each_case_once():
    cases = [
        Volume(str(n), torch.full((1, 8, 8, 8), float(n)), torch.zeros(1, 8, 8, 8, dtype=torch.int16)) for n in range(5)
    ]
    windows = TrainingWindows(cases, (8, 8, 8), (), 100, 0)
    windows.augment = Compose([])
    orders = [[int(windows[5 * epoch + n][IMAGE].mean()) for n in range(5)] for epoch in range(6)]
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)
    assert len(set(map(tuple, orders))) > 1


def test_the_share_of_windows_with_foreground():
    """One labelled voxel in a large case: only windows meant for it are likely to hold it."""
    label = torch.zeros(1, 80, 80, 80, dtype=torch.int16)
    label[0, 3, 40, 77] = 1
    windows = TrainingWindows([Volume("a", torch.zeros(1, 80, 80, 80), label)], (8, 8, 8), (), 600, 0)
    windows.augment = Compose([])
    share = np.mean([bool(windows[n][LABEL].any()) for n in range(600)])
    assert share == pytest.approx(FOREGROUND, abs=0.06)


def test_cutting_inside_and_outside():
    volume = torch.arange(1.0, 1 + 4 * 5 * 6).reshape(1, 4, 5, 6)
    assert torch.equal(cut(volume, (1, 0, 2), (2, 5, 3), 0), volume[:, 1:3, :, 2:5])
    padded = cut(volume, (-2, -1, 0), (7, 6, 6), -9)
    assert torch.equal(padded[:, 2:6, 1:6], volume)
    assert (padded == -9).sum() == padded.numel() - volume.numel()


def test_small_images_lie_in_the_middle_of_the_window():
    case = Volume("a", torch.ones(1, 5, 10, 8), torch.ones(1, 5, 10, 8, dtype=torch.int16))
    windows = TrainingWindows([case], (8, 8, 16), (), 20, 0)
    windows.augment = Compose([])
    for n in range(20):
        sample = windows[n]
        where = torch.nonzero(sample[IMAGE][0])
        assert where.min(dim=0).values.tolist() in ([1, 0, 4], [2, 0, 4])
        assert (where.max(dim=0).values - where.min(dim=0).values + 1).tolist() == [5, 8, 8]
        assert torch.equal(sample[LABEL], sample[IMAGE])


def spatial_only(windows):
    """Leave out what changes intensities."""
    windows.augment.transforms = tuple(
        step for step in windows.augment.transforms if "Flip" in str(step) or "Affine" in str(step)
    )
    return windows


def test_image_and_label_move_together():
    windows = spatial_only(TrainingWindows([ball()], (24, 24, 24), (0, 1, 2), 40, 0))
    moved = 0
    for n in range(40):
        sample = windows[n]
        a, b = sample[IMAGE] > 0.5, sample[LABEL] > 0.5
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.9
        moved += not torch.equal(sample[LABEL], ball().label.float())
    assert moved > 20


def test_intensities_alone_change_nothing_in_the_label():
    windows = TrainingWindows([ball()], (24, 24, 24), (), 30, 0)
    windows.augment.transforms = tuple(step for step in windows.augment.transforms if "Affine" not in str(step))
    for n in range(30):
        assert torch.equal(windows[n][LABEL], ball().label.float())


def test_random_contrasts_turn_bright_into_dark_and_keep_the_scale():
    image = torch.linspace(-2, 3, 16**3).reshape(1, 16, 16, 16)
    step = RandContrastd(IMAGE, prob=1.0).set_random_state(seed=0)
    seen = [step({IMAGE: image})[IMAGE] for _ in range(40)]
    for one in seen:
        assert one.mean() == pytest.approx(float(image.mean()), abs=1e-3)
        assert one.std() == pytest.approx(float(image.std()), rel=1e-2)
    falling = sum(bool(one.flatten()[0] > one.flatten()[-1]) for one in seen)
    assert 8 < falling < 32
    flat = torch.full_like(image, 0.5)
    assert torch.isfinite(step({IMAGE: flat})[IMAGE]).all()


def test_thick_slices_blur_one_axis_and_stay_where_they_are():
    image = torch.zeros(1, 24, 24, 24)
    image[:, 8:16, 8:16, 8:16] = 1
    step = RandThickSlicesd(IMAGE, prob=1.0).set_random_state(seed=0)
    for _ in range(20):
        thick = step({IMAGE: image})[IMAGE]
        assert thick.shape == image.shape
        ranges = [len(torch.unique(torch.nonzero(thick[0] > 0.01)[:, axis])) for axis in range(3)]
        assert sorted(ranges)[:2] == [8, 8], "two axes stay sharp"
        assert max(ranges) > 8
        places = torch.nonzero(thick[0] > 0.5).float()
        assert places.mean(dim=0).numpy() == pytest.approx([11.5] * 3, abs=1.5)
        assert thick.sum() == pytest.approx(float(image.sum()), rel=0.25)


def test_the_share_of_windows_in_another_contrast(volumes):
    share = {
        contrast: np.mean(
            [
                "RandContrastd" in [type(step).__name__ for step in windows.augment.transforms if step._do_transform]
                for windows in [TrainingWindows(volumes[0], STEPS.window, (), 60, 0, contrast)]
                for n in range(60)
                if windows[n]
            ]
        )
        for contrast in (0.0, 0.5)
    }
    assert share[0.0] == 0
    assert 0.3 < share[0.5] < 0.7


def test_unknown_voxels_stay_unknown_and_labels_whole():
    windows = TrainingWindows([ball(ignored=True)], (24, 24, 24), (0,), 40, 0)
    for n in range(40):
        label = windows[n][LABEL]
        assert set(label.unique().tolist()) <= {IGNORED, 0, 1}
        assert 0.1 < (label == IGNORED).float().mean() < 0.7


def test_everything_unknown_survives_inside_the_image():
    """What turns to background lies outside the moved image, hence at the window's border."""
    case = Volume("a", torch.ones(1, 24, 24, 24), torch.full((1, 24, 24, 24), IGNORED, dtype=torch.int16))
    windows = TrainingWindows([case], (24, 24, 24), (), 40, 0)
    for n in range(40):
        label = windows[n][LABEL]
        assert set(label.unique().tolist()) <= {IGNORED, 0}
        assert (label[0, 9:15, 9:15, 9:15] == IGNORED).all()


def test_a_constant_image_stays_finite():
    case = Volume("a", torch.zeros(1, 8, 8, 8), torch.zeros(1, 8, 8, 8, dtype=torch.int16))
    windows = TrainingWindows([case], (8, 8, 8), (0,), 60, 0)
    assert all(torch.isfinite(windows[n][IMAGE]).all() for n in range(60))


# loss


def logits_of(label, classes=3, sharp=20.0):
    return sharp * torch.nn.functional.one_hot(label.clamp(min=0)[:, 0].long(), classes).movedim(-1, 1).float()


@pytest.fixture
def label():
    return torch.randint(0, 3, (2, 1, 8, 8, 8), generator=torch.Generator().manual_seed(0))


def test_perfect_and_wrong_logits(label):
    loss = SegmentationLoss()
    half = torch.nn.functional.interpolate(label.float(), (4, 4, 4)).long()
    assert loss([logits_of(label), logits_of(half)], label) < 1e-3
    assert loss([logits_of((label + 1) % 3)], label) > 5


def test_a_coarser_level_counts_half(label):
    loss = SegmentationLoss()
    half = torch.nn.functional.interpolate(label.float(), (4, 4, 4)).long()
    good, bad = logits_of(label), torch.zeros(2, 3, 4, 4, 4)
    assert loss([good, bad], label) == pytest.approx(float(loss([bad], half)) / 3, abs=1e-3)


def test_levels_brought_to_full_resolution_count_by_their_order(label):
    """DynUNet's come so: as nnU-Net trains it, the next one still counts half."""
    loss = SegmentationLoss()
    good, bad = logits_of(label), torch.zeros(2, 3, 8, 8, 8)
    assert loss([good, bad], label) == pytest.approx(float(loss([bad], label)) / 3, abs=1e-3)


def test_unknown_voxels_have_no_say(label):
    loss = SegmentationLoss()
    label[:, :, :3] = IGNORED
    logits = torch.randn(2, 3, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    other = logits.clone()
    other[:, :, :3] = 7 * torch.randn(2, 3, 3, 8, 8)
    values = []
    for given in (logits.requires_grad_(), other.requires_grad_()):
        value = loss([given], label)
        value.backward()
        values.append(value.item())
        assert (given.grad[:, :, :3] == 0).all()
        assert (given.grad[:, :, 3:] != 0).any()
    assert values[0] == pytest.approx(values[1], abs=1e-6)
    torch.testing.assert_close(logits.grad, other.grad)


def test_a_known_part_counts_as_if_it_were_all(label):
    """Half of the voxels unknown: the loss of the other half."""
    loss = SegmentationLoss()
    logits = torch.randn(2, 3, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    expected = loss([logits[:, :, 4:]], label[:, :, 4:])
    label[:, :, :4] = IGNORED
    torch.testing.assert_close(loss([logits], label), expected)


def test_balance_gives_rare_labels_weight():
    """Background right and the one voxel of a label wrong: the more balance, the more that costs."""
    label = torch.zeros(1, 1, 8, 8, 8, dtype=torch.long)
    label[..., 0, 0, 0] = 1
    logits = torch.zeros(1, 2, 8, 8, 8)
    logits[:, 0] = 3
    costs = [float(SegmentationLoss(balance)([logits], label)) for balance in (0.0, 0.5, 1.0)]
    assert costs[0] < costs[1] < costs[2]
    surprises = -torch.log_softmax(torch.tensor([3.0, 0.0]), dim=0)
    dice = costs[0] - float(511 * surprises[0] + surprises[1]) / 512
    assert costs[2] == pytest.approx(dice + float(surprises.mean()), abs=1e-4), "classes count alike"


@pytest.mark.parametrize("value", [IGNORED, 0, 1])
def test_windows_of_one_value_alone_give_finite_losses(value):
    logits = torch.randn(1, 3, 8, 8, 8, requires_grad=True)
    loss = SegmentationLoss()([logits], torch.full((1, 1, 8, 8, 8), value))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    assert (value != IGNORED) == bool(logits.grad.any())


# the training loop


@pytest.fixture
def make_trainer(tmp_path, volumes, tiny_network):
    def make(
        folder="run", network=None, train=None, val=None, report=lambda event: None, cancelled=lambda: False, **config
    ):
        return Trainer(
            network or tiny_network(),
            train or volumes[0],
            val or volumes[1][:1],
            STEPS,
            TrainingConfig(**{"validations": 2, **config}),
            tmp_path / folder,
            CPU,
            report,
            cancelled,
        )

    return make


def test_training_learns(make_trainer, tiny_network, volumes, tmp_path):
    events = []
    network = tiny_network(seed=3)  # with others, a network this small is slow to tell the two labels apart
    before = np.mean([mean_dice_of(network, volume, STEPS) for volume in volumes[1]])
    trainer = make_trainer(network=network, val=volumes[1], steps=60, rate=1e-2, validations=3, report=events.append)
    outcome = trainer.run()
    assert before < 0.3
    assert outcome.dice > 0.6
    assert outcome.steps == 60
    assert sorted(outcome.label_dice) == ["1", "2"]
    assert outcome.dice == pytest.approx(np.mean(list(outcome.label_dice.values())))
    # what is returned is what was measured
    network = tiny_network(seed=1)
    network.load_state_dict(outcome.state)
    again = np.mean([mean_dice_of(network, volume, STEPS) for volume in volumes[1]])
    assert again == pytest.approx(outcome.dice, abs=1e-6)

    steps = [event for event in events if event["event"] == "step"]
    assert [event["step"] for event in steps] == list(range(1, 61))
    assert steps[-1]["fraction"] == 1
    lines = (tmp_path / "run" / LOG).read_text().splitlines()
    logged = [json.loads(line) for line in lines]
    assert logged == [event for event in events if event["event"] != "step"]
    assert [entry["step"] for entry in logged] == [20, 40, 60]
    assert max(entry["dice"] for entry in logged) == logged[-1]["best"] == outcome.dice
    assert logged[1]["loss"] == pytest.approx(np.mean([event["loss"] for event in steps[20:40]]))


def losses_of(trainer):
    losses = []
    trainer.report = lambda event: losses.append(event["loss"]) if event["event"] == "step" else None
    trainer.run()
    return losses


def test_a_seed_fixes_everything(make_trainer):
    first = losses_of(make_trainer("a", steps=6))
    torch.rand(3)  # other use of random numbers has no influence
    assert losses_of(make_trainer("b", steps=6)) == first
    assert losses_of(make_trainer("c", steps=6, seed=1)) != first


CHILD = """
import json, sys
from pathlib import Path
import torch
from llmboost.card import Preprocessing
from llmboost.learn.dataset import read_dataset
from llmboost.learn.trainer import Trainer, TrainingConfig, read_volume
from llmboost.networks import build

torch.set_num_threads(1)
data, folder, options, steps = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]), json.loads(sys.argv[4])
steps = Preprocessing(window=tuple(steps["window"]), mirror=tuple(steps["mirror"]))
dataset = read_dataset(data)
train, val = ([read_volume(dataset, case, steps) for case in dataset.split(name)] for name in ("train", "val"))
torch.manual_seed(0)
network = build("hybrid-vit", options, None)
report = lambda event: print(json.dumps(event), flush=True)
Trainer(network, train, val, steps, TrainingConfig(steps=12, validations=3), folder, torch.device("cpu"), report).run()
"""


def test_a_killed_training_goes_on_as_if_it_had_not_been(make_trainer, tiny_network, dataset_folder, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole = make_trainer("whole", steps=12, validations=3)
        expected = whole.run()

        options = dataclasses.asdict(tiny_network().config)
        arguments = [
            str(dataset_folder),
            str(tmp_path / "cut"),
            json.dumps(options),
            json.dumps(dataclasses.asdict(STEPS)),
        ]
        environment = {**os.environ, "PYTHONPATH": str(Path(llmboost.__file__).parents[1])}
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, *arguments], env=environment, stdout=subprocess.PIPE, text=True
        )
        try:
            for line in child.stdout:  # killed amid the second third: two steps are lost
                if json.loads(line).get("step") == 6:
                    break
        finally:
            child.send_signal(signal.SIGKILL)
            child.communicate()
        assert child.returncode == -signal.SIGKILL
        assert (tmp_path / "cut" / CHECKPOINT).exists()

        resumed = make_trainer("cut", network=tiny_network(seed=9), steps=12, validations=3)
        resumed.resume()
        assert resumed.step == 4
        outcome = resumed.run()
    finally:
        torch.set_num_threads(threads)
    assert outcome.steps == 12
    assert outcome.dice == expected.dice
    assert outcome.label_dice == expected.label_dice
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[name], tensor), name
        assert torch.equal(outcome.state[name], expected.state[name]), name
    log = [json.loads(line) for line in (tmp_path / "cut" / LOG).read_text().splitlines()]
    assert [(entry["event"], entry["step"]) for entry in log] == [
        ("validation", 4), ("resumed", 4), ("validation", 8), ("validation", 12)
    ]  # fmt: skip
    uncut = [json.loads(line) for line in (tmp_path / "whole" / LOG).read_text().splitlines()]
    assert [entry["loss"] for entry in log if entry["event"] == "validation"] == [entry["loss"] for entry in uncut]


def test_a_finished_training_resumes_to_its_end(make_trainer):
    outcome = make_trainer(steps=2).run()
    again = make_trainer(steps=2)
    again.resume()
    result = again.run()
    assert (result.steps, result.dice) == (2, outcome.dice)
    assert all(torch.equal(result.state[name], tensor) for name, tensor in outcome.state.items())


def test_what_cannot_be_resumed(make_trainer, tiny_network, tmp_path):
    with pytest.raises(LLMBoostError, match="no checkpoint to resume from"):
        make_trainer(steps=2).resume()
    make_trainer(steps=2).run()
    path = tmp_path / "run" / CHECKPOINT

    def refusal(network=None):
        with pytest.raises(LLMBoostError, match="no checkpoint of this training") as error:
            make_trainer(network=network, steps=2).resume()
        assert str(error.value).startswith(f"{path}: ")
        assert "\n" not in str(error.value)

    refusal(tiny_network(width=24, heads=3))
    refusal(tiny_network(depth=1))
    content = path.read_bytes()
    for damaged in (content[:-1], content[:100], b"", b"hello world"):
        path.write_bytes(damaged)
        refusal()


def test_another_booster_cannot_go_on(make_trainer, tmp_path):
    """Its frozen block is not in the checkpoint, so nothing else would tell."""
    torch.manual_seed(0)
    tiny_options = {"stem": (4, 8, 8), "width": 16, "depth": 2, "heads": 2}
    boosted = [build("hybrid-vit", tiny_options, BoosterConfig(layers=(layer,))) for layer in (3, 3, 4)]
    make_trainer(network=boosted[0], steps=2).run()
    size = (tmp_path / "run" / CHECKPOINT).stat().st_size
    assert size < 4 * sum(p.numel() for p in boosted[0].parameters() if p.requires_grad) * 4 + 200_000
    make_trainer(network=boosted[1], steps=2).resume()
    with pytest.raises(LLMBoostError, match="was trained with another booster"):
        make_trainer(network=boosted[2], steps=2).resume()


def test_cancel_keeps_the_best_so_far(make_trainer):
    seen = []
    trainer = make_trainer(steps=10, validations=5, report=seen.append, cancelled=lambda: len(seen) >= 4)
    outcome = trainer.run()  # two steps, a validation, one step
    assert outcome.steps == 3
    assert outcome.dice == seen[2]["dice"]


def test_cancel_before_the_first_validation(make_trainer, tmp_path):
    seen = []
    with pytest.raises(Cancelled):
        make_trainer(steps=10, report=seen.append, cancelled=lambda: len(seen) >= 3).run()
    assert len(seen) == 3
    assert not (tmp_path / "run" / CHECKPOINT).exists()


def test_a_budget_of_minutes_ends(make_trainer, monkeypatch):
    """A clock on which each look takes seven seconds."""
    now = [1000.0]

    def clock():
        now[0] += 7
        return now[0]

    monkeypatch.setattr(trainer_module, "time", SimpleNamespace(monotonic=clock))
    events = []
    trainer = make_trainer(minutes=1, validations=2, report=events.append)
    outcome = trainer.run()
    fractions = [event["fraction"] for event in events if event["event"] == "step"]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert all(fraction < 1 for fraction in fractions[:-1])
    assert outcome.seconds >= 60
    assert 5 <= outcome.steps <= 9
    assert trainer.validated == 2
    # the clock of a later sitting starts where this one ended
    again = make_trainer(minutes=2, validations=2)
    again.resume()
    assert again.seconds == outcome.seconds
    assert again.fraction == pytest.approx(outcome.seconds / 120)


def test_a_budget_of_cpu_time_ends_by_the_cpu_clock(make_trainer, monkeypatch):
    """Each look at the processors' clock takes fourteen seconds of two threads; the wall clock would never end it."""
    spent = iter(range(1000, 10**6, 14))
    monkeypatch.setattr(
        trainer_module, "time", SimpleNamespace(monotonic=lambda: 5.0, process_time=lambda: float(next(spent)))
    )
    monkeypatch.setattr(trainer_module.torch, "get_num_threads", lambda: 2)
    outcome = make_trainer(minutes=1, validations=2, clock="cpu").run()
    assert outcome.seconds >= 60
    assert 5 <= outcome.steps <= 9


def test_exactly_one_budget(make_trainer):
    for config in ({}, {"steps": 5, "minutes": 1}):
        with pytest.raises(ValueError, match="steps or minutes"):
            make_trainer(**config)


def test_the_learning_rate_rises_and_falls(make_trainer):
    trainer = make_trainer(steps=1000, rate=2e-3, warmup=0.1)
    rates = []
    for trainer.step in range(1001):
        rates.append(trainer.rate)
    assert 0 < rates[0] < 1e-4
    assert np.argmax(rates) == 100
    assert rates[100] == pytest.approx(2e-3)
    assert rates[550] == pytest.approx(1e-3, rel=0.01)
    assert rates[1000] == pytest.approx(0, abs=1e-9)
    assert (np.diff(rates[:100]) >= 0).all()
    assert (np.diff(rates[100:]) <= 0).all()


def test_a_loss_that_is_no_number_ends_in_one_line(make_trainer, tiny_network):
    network = tiny_network()
    with torch.no_grad():
        next(network.parameters()).fill_(math.nan)
    with pytest.raises(LLMBoostError, match="failed at step 0: the loss is not a number") as error:
        make_trainer(network=network, steps=4).run()
    assert "\n" not in str(error.value)


def test_frozen_weights_stay(make_trainer, tiny_network):
    network = tiny_network()
    network.stem.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    make_trainer(network=network, steps=2).run()
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert not any(name.startswith("stem.") for name in changed)


def partly_unknown(volume):
    label = volume.label.clone()
    label[0, :, : label.shape[2] // 2] = IGNORED
    return Volume(volume.id, volume.image, label)


def test_training_with_unknown_voxels(make_trainer, volumes):
    train, val = ([partly_unknown(volume) for volume in part] for part in volumes)
    outcome = make_trainer(train=train, val=val, steps=4).run()
    assert all(torch.isfinite(tensor).all() for tensor in outcome.state.values())
    assert 0 <= outcome.dice <= 1


def test_dice_counts_known_voxels_alone(volumes, tiny_network):
    volume = volumes[1][0]

    class Oracle(torch.nn.Module):
        """Right where it is asked, wrong where nobody knows."""

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def forward(self, image):
            answer = volume.label.clone()
            answer[0, :, : answer.shape[2] // 2] = 2
            return logits_of(answer[None])

    steps = Preprocessing(window=volume.image.shape[1:])
    assert mean_dice_of(Oracle(), partly_unknown(volume), steps) == [1, 1]
    assert min(mean_dice_of(Oracle(), volume, steps)) < 0.9


def test_labels_that_no_validation_case_has(make_trainer, volumes, tmp_path, recwarn):
    """The third class is nowhere: a network that learns so gets no score for it, and the others count."""
    network = build("hybrid-vit", {"stem": (4, 8, 8), "width": 16, "depth": 1, "heads": 2, "classes": 4}, None)
    with torch.no_grad():
        network.heads[0].bias[3] = -100  # never the answer
    outcome = make_trainer(network=network, steps=2).run()
    assert sorted(outcome.label_dice) == ["1", "2"]
    assert 0 <= outcome.dice <= 1
    for line in (tmp_path / "run" / LOG).read_text().splitlines():
        assert json.loads(line, parse_constant=pytest.fail)["labels"]["3"] is None
    assert not [warning for warning in recwarn if "mean of empty" in str(warning.message).lower()]


def test_validation_cases_without_labels_are_refused(make_trainer, volumes):
    empty = Volume("e", volumes[1][0].image, torch.zeros_like(volumes[1][0].label))
    with pytest.raises(LLMBoostError, match="no labelled voxels"):
        make_trainer(val=[empty], steps=2).run()
