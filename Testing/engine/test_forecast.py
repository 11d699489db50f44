"""What is forecast before a training begins."""

import pytest

from llmboost.learn.forecast import Row, forecast

ROWS = (Row(5, 10, 0.7, 0.86), Row(5, 1, 0.3, 0.5), Row(10, 1, 0.6, 0.7), Row(10, 10, 0.8, 0.96))


def test_it_lies_between_what_was_measured():
    assert forecast(5, 1, rows=ROWS).startswith("With 5 cases and 1 minute: expect a rough draft (Dice 0.30 to 0.50)")
    assert "(Dice 0.50 to 0.68)" in forecast(5, 10**0.5, rows=ROWS)  # half way of the logarithms
    assert "(Dice 0.75 to 0.91)" in forecast(7, 10, rows=ROWS)
    assert "(Dice 0.70 to 0.86)" in forecast(5, 600, rows=ROWS)  # no further than the rows go


def test_it_tells_what_more_would_bring():
    assert forecast(5, 1, rows=ROWS).endswith("; 5 minutes: a draft to correct; 10 cases: a draft to correct")
    assert forecast(5, 6, rows=ROWS).endswith("; 10 minutes: a good draft; 10 cases: a good draft")
    assert forecast(10, 10, rows=ROWS) == (
        "With 10 cases and 10 minutes: expect close to what careful labeling gives (Dice 0.80 to 0.96)"
    )


@pytest.mark.parametrize("nothing", [{"rows": ()}, {"cases": 4}, {"labels": 20}])
def test_where_nothing_is_known_nothing_is_told(nothing):
    assert forecast(**{"cases": 5, "minutes": 1, "rows": ROWS, **nothing}) == ""
