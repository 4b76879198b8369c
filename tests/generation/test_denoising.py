"""Which blanks a step writes, and with what: pads, threshold, quotas, suppression; a scripted model, in letters.

`.` is a pad; a promise `<a5>` at positions 1 ... 4 puts its span's content at positions 6 ... 10.
"""

import pytest


def test_a_pad_closes_its_span(play):
    """The first pad is written in step 1, at the third of five places: the two after it are pads as well."""
    script = {"says": "<a5>$", "fills": "P<a5>[xy.qr]$", "scores": "......21976"}
    assert play(**script).written == "<a5>[xy...]$"
    assert play(**script).steps == ["8:. 9:. 10:.", "6:x", "7:y"]
    published = play(**script, close_padding=False)
    assert published.written == "<a5>[xy.qr]$"
    assert published.answer == "xyqr$"


def test_a_pad_keeps_what_was_written_behind_it(play):
    played = play(says="<a5>$", fills="P<a5>[xy.qr]$", scores="......21796")
    assert played.steps == ["9:q", "8:. 10:.", "6:x", "7:y"]
    assert (played.written, played.answer) == ("<a5>[xy.q.]$", "xyq$")


def test_what_a_step_writes_beside_a_pad_stays(play):
    """Both were chosen in the same step: the pad closes the blanks behind it, not the token drawn with it."""
    script = {"says": "<a5>$", "fills": "P<a5>[xy.qr]$", "scores": "......21893"}
    assert play(**script, confidence_threshold=0.7).steps == ["8:. 9:q 10:.", "6:x", "7:y"]


def test_a_pad_closes_its_own_span_only(play):
    played = play(says="<a3><b3>$", fills="P<a3><b3>[.xy][uvw]$", scores="..........999..999")
    assert played.written == "<a3><b3>[...][uvw]$"


@pytest.mark.parametrize(
    "threshold, steps",
    [
        (None, ["6:x", "8:z", "9:w", "7:y"]),
        (0.95, ["6:x", "8:z", "9:w", "7:y"]),  # never less than the quota
        (0.7, ["6:x 8:z", "9:w", "7:y"]),
        (0.3, ["6:x 8:z 9:w", "7:y"]),
        (0.1, ["6:x 7:y 8:z 9:w"]),
    ],
)
def test_threshold_reveals_all_that_is_sure_and_at_least_the_quota(play, threshold, steps):
    played = play(says="<a4>$", fills="P<a4>[xyzw]$", scores="......9173", confidence_threshold=threshold)
    assert played.steps == steps


def test_threshold_and_quota_together(play):
    played = play(
        says="<a8>$", fills="P<a8>[stuvwxyz]$", scores="......12345678", confidence_threshold=0.75, steps_ratio=0.25
    )
    assert played.steps == ["11:x 12:y 13:z", "6:s 7:t 8:u 9:v 10:w"]  # 3 by quota, of which 1 is sure


@pytest.mark.parametrize(
    "ratio, counts",
    [
        # by hand: times of 4 steps are 1, .75, .5, .25, .001; 8 blanks x .24975 = 1.998, 7 x .333, 5 x .499, the rest
        (1.0, [1] * 8),
        (0.5, [1, 2, 2, 3]),
        (0.25, [3, 5]),  # 8 x .4995 = 3.996
        (0.1, [8]),
        (2.0, [1] * 8),
    ],
)
def test_steps_ratio(play, ratio, counts):
    played = play(says="<a8>$", fills="P<a8>[stuvwxyz]$", steps_ratio=ratio)
    assert [len(step.split()) for step in played.steps] == counts


def test_the_longest_span_sets_the_steps_for_all(play):
    played = play(says="<a8><b2>$", fills="P<a8><b2>[stuvwxyz][kl]$", steps_ratio=0.5)
    assert played.steps == ["10:s 20:k", "11:t 12:u 21:l", "13:v 14:w", "15:x 16:y 17:z"]


def test_spans_may_not_contain_what_is_suppressed(play, letters):
    (planning, *_, denoising) = play(says="<a1>$", fills="P<a1>[x]$").queries
    assert {chr(token) for token in letters.all if token not in denoising.allowed} == set("_<>[]|$")
    assert ord(".") in denoising.allowed
    published = play(says="<a1>$", fills="P<a1>[$]$", suppress_in_spans=frozenset())
    assert all(token in published.queries[-1].allowed for token in letters.all)
    assert (published.written, published.answer) == ("<a1>[$]$", "$")  # an EOS within a span is no text
