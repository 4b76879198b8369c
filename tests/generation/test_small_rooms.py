"""Near the token limit: the included model plans sensibly, and `ended` says "length" where anything is missing."""

from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.generation.events import Ended

FACTS = Path(__file__).resolve().parents[2] / "checkpoints" / "facts"
PROMPTS = [
    question.format(country)
    for country in ("Kenya", "Japan", "Peru")
    for question in (
        "What is the capital of {}?",
        "Which currency and which capital does {} have?",
        "What are the capital, the currency and the main language of {}?",
    )
]
ROOMS = [1, 5, 12, 14, *range(20, 91, 5), 72, 100, 120, 150]
TOPICS = {"capital", "currency", "language"}
# Fields, and whether a span's text is the same beside fewer promises: it is not in modes that the model hardly learned.
VARIANTS = {
    "planned": ({}, True),
    "no lookahead": ({"plan_lookahead": 0}, True),
    "one token per step": ({"confidence_threshold": None}, True),
    "refined": ({"refine_share": 0.2}, True),
    "dense": ({"span_attention": "dense"}, False),
    "left to right": ({"decoding": "parallel_autoregressive"}, False),
    "verified": ({"decoding": "self_verified"}, False),
}


@pytest.fixture(scope="module")
def ask():
    """ask(room, **fields): of every prompt (text, ended, topics, tokens written)."""
    model = PlannedDiffusionForCausalLM.from_pretrained(FACTS, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(FACTS)
    batch = tokenizer(PROMPTS, return_tensors="pt", padding=True)
    start = batch["input_ids"].shape[1]

    def run(room: int, **fields) -> list[tuple[str, str, list[str], int]]:
        ended = {}
        out = model.generate(
            **batch,
            max_new_tokens=room,
            return_dict_in_generate=True,
            tokenizer=tokenizer,
            listener=lambda index, event: isinstance(event, Ended) and ended.update({index: event}),
            **fields,
        )
        texts = tokenizer.batch_decode(out.sequences[:, start:], skip_special_tokens=True)
        topics = [[span.topic for spans in plan for span in spans] for plan in out.plans]
        counts = [len(ended[index].written_ids) for index in range(len(PROMPTS))]
        return list(zip(texts, out.ended, topics, counts, strict=True))

    return run


@pytest.fixture(scope="module")
def plain_texts(ask):
    """Whole answers left to right."""
    return [text for text, *_ in ask(320, decoding="autoregressive")]


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_no_garbage_and_the_right_ending_at_every_limit(variant, ask, plain_texts):
    fields, texts_stay = VARIANTS[variant]
    whole, table = ask(320, **fields), {}
    assert {ended for _, ended, _, _ in whole} == {"eos"}
    for room in ROOMS if variant == "planned" else ROOMS[::4]:
        answers = ask(room, **fields)
        table[room] = [(len(topics), ended) for _, ended, topics, _ in answers]
        for answer, roomy, plain in zip(answers, whole, plain_texts, strict=True):
            (text, ended, topics, written), (full, _, all_topics, needed) = answer, roomy
            assert written <= room and set(topics) <= TOPICS
            assert topics == all_topics[: len(topics)], "the parts that fit, in the order of the plan"
            if room >= needed:
                assert answer == roomy, "with room enough nothing changes"
            elif topics:
                assert ended == "length" and len(topics) < len(all_topics)
                assert full.startswith(text) or not texts_stay
            else:
                assert plain.startswith(text) and (ended == "eos") == (text == plain)
                assert ended == "eos" or written == room
    assert {parts for row in table.values() for parts, _ in row} == {0, 1, 2, 3}, table
    assert {ended for row in table.values() for _, ended in row} == {"eos", "length"}, table


@pytest.mark.parametrize("room", [1, 5, 12])
def test_the_smallest_limits_hold_the_beginning_of_plain_text(room, ask):
    for text, ended, topics, written in ask(room):
        assert (ended, topics, written) == ("length", [], room) and text


@pytest.mark.slow
def test_sampled_plans_are_shortened_alike(ask):
    """The same draws: with less room, the first parts of the same plan, and none of another."""
    fields = {"do_sample": True, "temperature": 0.7, "seed": 3, "plan_lookahead": 0}
    whole = ask(320, **fields)
    for room in (75, 60, 45):
        for (_, ended, topics, _), (_, _, all_topics, needed) in zip(ask(room, **fields), whole, strict=True):
            assert topics == all_topics[: len(topics)]
            assert room >= needed or ended == "length" or not topics
