"""A conversation: what later questions see, what an edited outline keeps, and what an interruption leaves."""

import pytest

from planned_diffusion.generation.events import Text
from planned_diffusion.inference.answer import ask
from planned_diffusion.inference.outline_text import OutlinePart, edited_plan, outline_text
from planned_diffusion.inference.replay.trace_reading import recorded_run
from planned_diffusion.records.encoding import encode_prompt

FOUR = "What are the capital, the currency, the main language and the continent of Kenya?"
ROUNDS = "Do Kenya and Uganda drive on the same side of the road?"


def test_a_question_sees_what_was_said_before(talk, facts):
    conversation = talk()
    conversation.system = "Be brief."
    first = conversation.ask("What is the capital of Kenya?")
    second = conversation.ask("And that of Peru?")
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is the capital of Kenya?"},
        {"role": "assistant", "content": first.text},
        {"role": "user", "content": "And that of Peru?"},
    ]
    assert second.answer.prompt_ids == encode_prompt(facts.tokenizer, messages)
    assert second.text == ask(facts, messages, {}).text
    assert conversation.said() == [*messages, {"role": "assistant", "content": second.text}]


def test_without_a_memory_every_question_stands_alone(talk, facts):
    conversation = talk(remembers=False)
    for question in ("What is the capital of Kenya?", "What is the capital of Peru?"):
        assert conversation.ask(question).text == ask(facts, question, {}).text
    assert len(conversation.said()) == 4


def test_an_edited_part_is_written_and_the_others_keep_their_tokens(talk):
    conversation = talk(remembers=False)
    before = conversation.ask(FOUR)
    [parts] = before.outline
    assert len(parts) >= 3 and all(part.text_ids for part in parts)
    lines = outline_text(before.outline).splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith(parts[1].topic))
    for line in (f"{parts[1].topic} | {parts[1].length + 8}", f"* {lines[at]}"):
        after = conversation.fill("\n".join([*lines[:at], line, *lines[at + 1 :]]))
        [again] = after.outline
        assert [part.text_ids for part in again[:1] + again[2:]] == [part.text_ids for part in parts[:1] + parts[2:]]
        assert again[1].text_ids and conversation.turns == [after]
        alone = conversation.checkpoint
        plan = [[(again[1].topic, again[1].length)]]
        assert after.answer.trace.planning == 0
        assert after.answer.trace.forwards <= ask(alone, FOUR, {}, plan=plan).trace.forwards + 1


def test_parts_may_be_moved_renamed_added_and_deleted(talk):
    conversation = talk(remembers=False)
    before = conversation.ask(FOUR).outline[0]
    first, second = before[0], before[1]
    after = conversation.fill(f"{second.topic} | {second.length}\n---\n{first.topic} | {first.length}\nlanguage | 23")
    assert [[part.topic for part in parts] for parts in after.outline] == [
        [second.topic],
        [first.topic, "language"],
    ]
    assert after.outline[0][0].text_ids == second.text_ids and after.outline[1][0].text_ids == first.text_ids


def test_the_outline_of_several_rounds_comes_back(talk):
    conversation = talk(remembers=False)
    turn = conversation.ask(ROUNDS)
    assert [len(parts) for parts in turn.outline] == [2, 1]
    lines = [line for line in outline_text(turn.outline).splitlines() if not line.startswith("#")]
    assert lines[2] == "---" and len(lines) == 4
    plan = edited_plan("\n".join(lines).replace("comparison | 16", "comparison | 24"), turn.outline)
    assert [len(parts) for parts in plan] == [2, 1] and plan[1] == [("comparison", 24)]


BEFORE = [[OutlinePart("capital", 24, (1, 2)), OutlinePart("money", 16)]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the outline is empty"),
        ("# only\n---\n\n", "the outline is empty"),
        ("capital", "line 1 of the outline is 'capital'; give a topic and its tokens"),
        ("a | 3\ncapital | none", "line 2 of the outline is 'capital | none'"),
        ("capital | 0", "line 1 of the outline"),
        ("| 7", "line 1 of the outline"),
        ("capital | 24", "no part of the outline is new"),
        ("\x00\x1b[2J | | 5x", "line 1 of the outline"),
    ],
)
def test_nonsense_is_one_sentence(text, message):
    with pytest.raises(ValueError, match=message) as refused:
        edited_plan(text, BEFORE)
    assert "\n" not in str(refused.value)


def test_what_was_not_finished_is_written_whether_its_line_changed_or_not():
    [[(topic, kept), money]] = edited_plan("capital | 24\nmoney | 16 tokens", BEFORE)
    assert topic == "capital" and tuple(kept.text) == (1, 2) and kept.tokens == 24 and money == ("money", 16)


@pytest.mark.parametrize("outline", ["nothing", "huge | 99999", "capital | 24\n" * 400])
def test_a_refused_outline_loses_nothing(outline, talk):
    conversation = talk(remembers=False)
    turn = conversation.ask("What are the capital and the currency of Kenya?")
    try:
        conversation.fill(outline)
    except ValueError as error:
        assert "\n" not in str(error)
        assert conversation.turns == [turn]


def interrupting(events_before):
    count = 0

    def listen(index, event):
        nonlocal count
        count += isinstance(event, Text)
        if count == events_before:
            raise KeyboardInterrupt

    return listen


def test_an_interrupted_answer_stays_as_far_as_it_came(talk):
    conversation = talk(decoding="autoregressive")
    whole = talk(decoding="autoregressive").ask("What is the capital of Kenya?").text
    turn = conversation.ask("What is the capital of Kenya?", [interrupting(5)])
    assert turn.answer is None and turn.text and whole.startswith(turn.text) and turn.text != whole
    assert conversation.ask("What is the capital of Peru?").answer is not None
    assert [message["content"] for message in conversation.said()][1] == turn.text


def test_an_interrupted_change_leaves_the_answer(talk):
    conversation = talk(remembers=False)
    turn = conversation.ask("What are the capital and the currency of Kenya?")
    for change in (lambda listen: conversation.fill("language | 16", listen), conversation.race):
        assert change([interrupting(1)]).answer is None
        assert conversation.turns == [turn]


def test_left_to_right_stands_beside_the_answer(talk, facts):
    conversation = talk(remembers=False, confidence_threshold=0.5, max_new_tokens=100)
    turn = conversation.ask("What is the capital of Kenya?")
    other = conversation.race()
    assert other.text == ask(facts, turn.question, {"decoding": "autoregressive", "max_new_tokens": 100}).text
    assert conversation.turns[0].answer is turn.answer
    assert recorded_run(conversation.last.beside).answer().text == other.text


def test_fields_that_cannot_be_are_refused_and_the_others_stay(talk):
    conversation = talk(temperature=0.5)
    assert conversation.fields == {"temperature": 0.5, "do_sample": True}
    for fields in ({"nonsense": 1}, {"steps_ratio": -1}, {"keep_plan": True}, {"decoding": "planned", "block_size": 8}):
        with pytest.raises(ValueError):
            conversation.set_fields(fields)
    assert conversation.fields == {"temperature": 0.5, "do_sample": True}


def test_nothing_was_asked_yet(talk):
    for ask_first in (talk().race, lambda: talk().fill("a | 3"), talk().said):
        with pytest.raises(ValueError, match="nothing was asked yet"):
            ask_first()
    plain = talk(decoding="autoregressive")
    plain.ask("What is the capital of Kenya?")
    with pytest.raises(ValueError, match="has no outline"):
        plain.fill("a | 3")
