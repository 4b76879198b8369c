"""The table of length units: hand arithmetic on two answers, of which one gains enough."""

from collections import Counter

from length_unit import UNITS, Planned, covering, row_of

from planned_diffusion.annotation.tagging import Sizes


def test_a_line_of_the_table():
    """Path 12 + EOS + 41 = 54 of 82; the other answer, 6 + 6 + EOS + 5 of 11, stays plain. Unit 5: rooms 40 and 45."""
    good = Planned(dict.fromkeys(UNITS, Sizes(spans=((40, 41),), plan=(12,))))
    bad = Planned(dict.fromkeys(UNITS, Sizes(spans=((5, 5),), plan=(12,))))
    row = row_of("all", 5, [good, bad], 4)
    assert (row["planned"], row["parts"], row["plan"], row["per promise"]) == (0.25, 2, 13, 6)
    assert (row["over 4 n + 2"], row["used"], row["numbers"], row["digits"]) == (3, round(81 / 85, 3), 2, 1)
    assert row["path"] == round(54 / 82, 3) and good.length == 82
    assert row_of("all", 4, [good], 1)["digits"] == 2  # numbers 10 and 11


def test_the_commonest_numbers_that_cover_nearly_all():
    assert covering(Counter({3: 95, 4: 4, 5: 1})) == 2 and covering(Counter({3: 100})) == 1
