"""What a user is told to do about labels that were not learned, and how an adaptation spends its minutes."""

import pytest
import torch

from llmboost.learn.adaptation.common import AdaptSettings
from llmboost.learn.adaptation.runs import Ended, training_minutes
from llmboost.learn.advice import LabelFacts, advise, facts_of
from llmboost.learn.patches import Volume

FINE = [LabelFacts("Liver", 0.9, 5, 900), LabelFacts("Spleen", 0.8, 5, 800), LabelFacts("Brain stem", 0.7, 5, 700)]


@pytest.mark.parametrize(
    ("failed", "lines"),
    [
        ([], []),
        ([LabelFacts("Larynx", 0.31, 2, 500)], []),
        (
            [LabelFacts("Larynx", 0.12, 2, 500)],
            ["Larynx: 0.12; it is in 2 of 5 cases: label more cases that show it"],
        ),
        (
            [LabelFacts("Chiasm", 0.05, 5, 40)],
            ["Chiasm: 0.05; it is small, 40 voxels: give it more minutes, or images of finer spacing"],
        ),
        (
            [LabelFacts("Right kidney", 0.21, 5, 500), LabelFacts("Left kidney", 0.25, 5, 500)],
            [
                "Left kidney: 0.25, Right kidney: 0.21: perhaps taken for each other; look whether sides are"
                " drawn alike in all cases"
            ],
        ),
        (
            [LabelFacts("parotid_l", 0.21, 5, 500), LabelFacts("parotid_r", 0.8, 5, 500)],
            ["parotid_l: 0.21, others do better: look whether it is drawn alike in all cases, or label more"],
        ),
        (
            [LabelFacts("Larynx", None, 2, 500), LabelFacts("Lens\n", None, 2, 500)],
            ["Larynx, Lens\\n: not measured, for no case held out shows it: label it in more cases"],
        ),
    ],
)
def test_each_label_that_failed_has_a_line(failed, lines):
    assert advise([*FINE, *failed], 5) == lines


def test_when_all_failed_there_is_one_line():
    failed = [LabelFacts(name, 0.1, 5, 100) for name in "abc"]
    assert advise(failed, 5) == ["all 3 labels are below 0.3: give it more minutes, or more cases"]
    assert advise(failed[:1], 5) == ["a is below 0.3: give it more minutes, or more cases"]
    many = advise([*FINE, *(LabelFacts(f"v{n}", n / 100, 5, 500) for n in range(9))], 5)
    assert [many[0][:8], len(many), many[-1]] == ["v0: 0.00", 6, "and 4 more labels below 0.3"]


def test_without_a_case_held_out_there_is_nothing_to_tell():
    assert advise([LabelFacts("Larynx", None, 2, 500)], 2) == []


def test_facts_are_those_of_the_volumes():
    maps = [torch.tensor([0, 1, 1, 2]), torch.tensor([-1, 1, 0, 0]), torch.tensor([1, 1, 1, 1])]
    volumes = [Volume(str(n), torch.zeros(1, 4, 1, 1), each.reshape(1, 4, 1, 1)) for n, each in enumerate(maps)]
    facts = facts_of({4: "a", 9: "b", 7: "c"}, volumes, {"4": 0.5})
    assert facts == [LabelFacts("a", 0.5, 3, 2), LabelFacts("b", None, 1, 1), LabelFacts("c", None, 0, 0)]


def test_minutes_are_of_everything_and_of_all_sittings():
    three = AdaptSettings(minutes=3)
    assert training_minutes(AdaptSettings(steps=5), None, 10, 10) is None
    assert training_minutes(AdaptSettings(), None, 20, 10) == pytest.approx(1.5)  # of two
    assert training_minutes(three, None, 30, 15) == pytest.approx(2.25)
    assert 0 < training_minutes(three, None, 500, 15) < 0.02  # too late: one look at the cases at most
    before = Ended("", 100, seconds=180, trained=135)
    six = AdaptSettings(minutes=6)
    assert training_minutes(six, before, 30, 15) == pytest.approx((135 + 135) / 60)
