"""The arithmetic of predictions, by hand."""

import predictions
import pytest
from predictions import BYTES, MULTIPLIED, Card, Statistics, pays_up_to, recorded, rows_of, seconds_of

# Reads all weights in a second, and multiplies them with 10 tokens in a second.
CARD = Card("slow", BYTES * MULTIPLIED, 20 * MULTIPLIED)
PLAIN = Statistics("autoregressive", 40, 40, 8.0)
PLANNED = Statistics("planned", 10, 50, 4.0)  # a quarter of the forwards, each five times as wide


@pytest.mark.parametrize(
    ("batch", "plain", "planned"),
    [
        (1, 40, 10),  # both wait for memory
        (2, 20, 5),  # 10 tokens: as long as memory
        (4, 10, 5),  # 20 tokens take two seconds: computing, from here on a batch helps no more
        (10, 4, 5),
        (40, 4, 5),
    ],
)
def test_the_longer_of_two_times(batch, plain, planned):
    assert seconds_of(PLAIN, batch, CARD) == pytest.approx(plain)
    assert seconds_of(PLANNED, batch, CARD) == pytest.approx(planned)


def test_the_batch_up_to_which_it_pays():
    assert pays_up_to(PLANNED, PLAIN, CARD) == 7  # 40 / 8 = 5: as long
    assert pays_up_to(Statistics("never", 41, 41, 1.0), PLAIN, CARD) == 0


def test_the_recorded_statistics_are_those_of_the_files():
    for path in predictions.RECORDED.values():
        found = recorded(path)
        rows = rows_of("x", found, predictions.H100)
        assert [row["system"] for row in rows] == list(predictions.SYSTEMS)
        assert rows[0]["predicted ratio, batch 8"] == rows[0]["measured ratio, CPU alone"] == 1
        assert all(row["predicted ratio, batch 1"] == pytest.approx(row["forwards"] / rows[0]["forwards"], abs=0.03)
                   for row in rows)  # fmt: skip
