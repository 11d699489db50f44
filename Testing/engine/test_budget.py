"""How often is validated, how much time that takes, and what is done of a budget of minutes."""

import pytest

from llmboost.learn.budget import Budget


def budget(steps=None, minutes=None, marks=20, batch=2, samples=10, first=False):
    return Budget(steps, minutes, marks=marks, batch=batch, samples=samples, first=first)


@pytest.mark.parametrize("samples", [1, 10, 300, 10_000])
@pytest.mark.parametrize("steps", [1, 20, 333])
def test_by_steps_a_fifth_is_for_validating(steps, samples):
    there = budget(steps, samples=samples)
    counts = [there.passed(step)[1] for step in range(steps + 1)]
    validations = len(set(counts) - {0})
    # in forward passes of a sample, of which a step takes three for each of its own
    validating, learning = validations * samples, 3 * 2 * steps
    assert validations == 1 or validating <= 0.2 * (validating + learning)
    assert counts[-1] > counts[-2], "there always is one at the end"
    assert validations <= 20
    assert there.passed(steps)[0] == 20, "checkpoints are as often as ever"


def test_by_steps_twenty_steps_do_not_validate_28_cases_twenty_times():
    assert budget(20, samples=28).validations == 1
    assert budget(20_000, samples=28).validations == 20
    assert budget(200, samples=28).validations == 10
    assert budget(200, samples=28, first=True).validations == 9
    # without anything to validate on, there are checkpoints
    assert budget(20, samples=0).passed(10) == (10, 10)


def test_by_steps_validations_are_spread_evenly():
    there = budget(100, samples=50)
    counts = [there.passed(step)[1] for step in range(101)]
    assert [step for step in range(1, 101) if counts[step] > counts[step - 1]] == [34, 67, 100]


def simulate(minutes, step, validation, samples, load=lambda now: 1.0):
    """A training on a machine where a step and a validation take so many seconds, times its load."""
    there = budget(minutes=minutes, samples=samples)
    now, count, passed = 0.0, 0, (0, 0)
    while there.fraction(count) < 1:
        now += step * load(now)
        count += 1
        there.stepped(now)
        if there.passed(count) != passed:
            passed = there.passed(count)
            if there.fraction(count) >= 1 or there.has_time():
                now += validation * load(now)
                there.validated(now)
    return there, now


def slower_at_times(now):
    return 1.0 + (int(now) // 20) % 2


# a validation of 300 samples should take 50 steps, and takes as long, half, or twice as long
@pytest.mark.parametrize(("step", "validation"), [(0.1, 5), (0.1, 2.5), (0.1, 10), (0.5, 25), (0.02, 1)])
@pytest.mark.parametrize(
    "load", [lambda now: 1.0, lambda now: 3.0, slower_at_times], ids=["free", "loaded", "at times"]
)
def test_minutes_are_kept_and_a_fifth_of_them_validates(step, validation, load):
    there, end = simulate(3.0, step, validation, 300, load)
    assert end == pytest.approx(180, rel=0.1) or validation * load(0) > 36
    assert there.last[0] == end, "the last validation is the last thing"
    # where the machine got slower meanwhile, the last one takes longer than was to be expected
    assert there.validating <= 0.25 * end or there.validating == there.last[1]


def test_a_validation_that_does_not_fit_waits_for_the_end():
    there, end = simulate(1.0, 0.2, 10.0, 300)
    assert there.validating == 10.0
    assert end == pytest.approx(60, rel=0.1)
    # of no time at all, half is for learning
    there, end = simulate(0.1, 0.2, 30.0, 300)
    assert end == pytest.approx(0.05 * 60 + 30, abs=1)


def test_what_is_spent_only_grows():
    there = budget(minutes=1.0, samples=300)
    fractions = []
    for number, seconds in enumerate([10.0, 10.1, 10.2, 10.3, 10.4, 10.5]):
        there.stepped(seconds)
        fractions.append(there.fraction(number))
    assert fractions == sorted(fractions)
