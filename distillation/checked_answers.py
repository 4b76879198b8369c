"""An answer to a prompt, whole or assembled from parts, with the rule that it breaks."""

from collections.abc import Mapping
from random import Random

from .answer_assembly import assembled, part_of, reason_to_drop_parts
from .answer_filters import CUT, REPETITIVE, AnsweredPrompt, reason_to_drop
from .answer_requests import request_ids, temperature_of
from .answer_trimming import trimmed
from .distillation_job import Row

ROW_FIELDS = ("id", "kind", "parts", "source")  # of a prompt, which its record keeps

Answers = Mapping[str, Row]  # the lines that batch has written, by the ids of their requests


def is_answered(prompt: Row, answers: Answers) -> bool:
    """Tell whether all requests for an answer were answered."""
    return all(name in answers for name in request_ids(prompt))


def checked_answer(prompt: Row, answers: Answers, seed: int) -> tuple[Row, str | None]:
    """Return the record of an answer and the name of the rule that it breaks, or None.

    Its `spans` are topic and text of each part; none of a whole answer, whose parts are found later.
    """
    given = [answers[name] for name in request_ids(prompt)]
    row = {"prompt": prompt["prompt"], "response": "", **{name: prompt[name] for name in ROW_FIELDS}}
    row["temperature"] = temperature_of(prompt, seed)
    if prompt.get("sub_prompts"):
        return _of_parts(row, prompt, given, Random(f"frame {seed} {prompt['id']}"))
    return _whole(row, prompt, *given)


def _whole(row: Row, prompt: Row, answer: Row) -> tuple[Row, str | None]:
    """Return the record of an answer that was given whole, ended before its first repetition where that saves it."""
    text, ended = answer["text"].strip(), answer["ended"]
    reason = reason_to_drop(AnsweredPrompt(prompt["prompt"], text, prompt["parts"], ended))
    made, shorter = "whole", trimmed(text, ended) if reason in (CUT, REPETITIVE) else None
    if shorter and ("\n" in shorter or not prompt["parts"]):  # a single line is not the parts that were asked for
        made, text = "trimmed", shorter
        reason = reason_to_drop(AnsweredPrompt(prompt["prompt"], text, prompt["parts"], ended="stop"))
    return row | {"response": text, "made": made, "spans": []}, reason


def _of_parts(row: Row, prompt: Row, given: list[Row], rng: Random) -> tuple[Row, str | None]:
    """Return the record of an answer that was given part by part."""
    pairs = zip(prompt["sub_prompts"], given, strict=True)
    parts = [part_of(asked, answer["text"], answer["ended"]) for asked, answer in pairs]
    spans = assembled(prompt["prompt"], parts, rng)
    row |= {"response": "".join(text for _, text in spans), "made": "parts", "spans": spans}
    return row, reason_to_drop_parts(parts)
