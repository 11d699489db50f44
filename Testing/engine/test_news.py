"""What a training tells in a terminal, and in a file that its output goes to."""

import itertools

import pytest

from llmboost.card.figures import drawn, worst_first
from llmboost.commands.news import News, interval

NAMES = {1: "Larynx", 2: "Parotid left", 5: "Cord\x1b[31m"}


def step(number, loss, fraction):
    return {"event": "step", "step": number, "loss": loss, "fraction": fraction}


def validation(dice, labels, **more):
    return {"event": "validation", "step": 40, "dice": dice, "best": 0.8, "labels": labels, **more}


def test_news_come_every_few_seconds_and_are_no_flood():
    assert interval(0) == interval(300) == 5
    assert interval(3600) == 36
    assert interval(1e6) == 60
    news, times = News(), []
    for half in range(2 * 36000):  # ten hours
        if news.due(half / 2):
            times.append(half / 2)
            news.line(half / 2)
    assert [time for time in times if time <= 60] == list(range(5, 61, 5))
    assert len(times) < 1000
    assert max(b - a for a, b in itertools.pairwise(times)) <= 60


def test_a_line_tells_how_far_it_is():
    news = News(total=180)
    assert news.line(1) == "1 %, 2:59 left, preparing"
    news.hear({"event": "stage", "text": "reading the cases"}, 2)
    assert news.line(9) == "5 %, 2:51 left, reading the cases"
    for number, loss in ((1, 0.9), (2, 0.5)):
        news.hear(step(number, loss, 0.1 * number), 10 + number)
    assert news.line(18) == "10 %, 2:42 left, step 2, loss 0.700"
    news.hear(validation(0.7, {}), 20)
    assert news.line(36) == "20 %, 2:24 left, step 2, loss 0.700, best Dice 0.800"  # a long validation
    assert "0:00 left" in news.line(200)


def test_of_steps_the_pace_tells_what_is_left():
    news = News()
    news.hear(step(10, 0.5, 0.5), 100)  # goes on where it was stopped
    assert news.line(100) == "50 %, step 10, loss 0.500"
    news.hear(step(12, 0.5, 0.6), 110)
    assert news.line(110) == "60 %, 0:40 left, step 12, loss 0.500"
    news.hear(step(13, 0.5, 0.61), 8000)
    assert ":" in news.line(8000)


def test_a_fold_is_named_and_has_a_best_of_its_own():
    news = News()
    news.hear({**step(10, 0.5, 0.2), "fold": "1 of 3"}, 10)
    news.hear({**validation(0.7, {}), "fold": "1 of 3"}, 11)
    assert "fold 1 of 3, step 10, loss 0.500, best Dice 0.800" in news.line(12)
    news.hear({**step(1, 0.9, 0.4), "fold": "2 of 3"}, 20)
    assert news.line(21).endswith("fold 2 of 3, step 1, loss 0.900")


def test_a_validation_names_the_labels_the_worst_first():
    news = News()
    (line, held) = news.hear({"event": "plan", "reasons": ["why"], "labels": NAMES, "held_out": ["a", "b\n"]}, 0)
    assert (line, held) == ("  why", "  held out: a, b\\n")
    (line,) = news.hear(validation(0.6, {"1": 0.9, "2": None, "5": 0.123}), 5)
    assert line == (
        "step 40: val Dice 0.6000 (best 0.8000): Cord\\x1b[31m 0.12, Larynx 0.90, Parotid left not measured"
    )
    (line,) = news.hear({"event": "validation", "step": 1, "auc": 0.6, "best": 0.8, "labels": {}}, 5)
    assert line == "step 1: val AUC 0.6000 (best 0.8000)"


def test_where_the_last_weights_are_kept_nothing_is_called_the_best():
    news = News()
    assert news.hear(validation(0.7, {}, best=None), 5) == ["step 40: val Dice 0.7000"]
    assert news.hear(validation(0.6, {}, best=None), 6) == ["step 40: val Dice 0.6000"]
    assert news.line(7).endswith(", Dice 0.600")


def test_many_labels_are_told_in_part():
    many = {f"v{n}": 1 - n / 20 for n in range(12)}
    assert worst_first(many, 7) == [*(f"v{n} {1 - n / 20:.2f}" for n in range(11, 4, -1)), "5 more"]
    assert drawn(many) == ["v11", "v10", "v9"]
    assert drawn({"a": 0.5, "b": None}) == ["a", "b"]


@pytest.mark.parametrize("count", [1, 20])
def test_held_out_cases_are_named_up_to_a_line(count):
    plan = {"event": "plan", "reasons": [], "labels": {}, "held_out": [f"c{n}" for n in range(count)]}
    (line,) = News().hear(plan, 0)
    assert line.startswith("  held out: c0")
    assert line.endswith("c15, 4 more") == (count == 20)
