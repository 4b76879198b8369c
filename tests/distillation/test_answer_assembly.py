"""Answers of parts: how a part is cut, which are dropped, and how they stand in one answer."""

import pytest

from planned_diffusion.distillation.answer_assembly import (
    PartAnswer,
    assembled,
    overlap,
    part_of,
    reason_to_drop_parts,
)
from planned_diffusion.distillation.prompt_set import prompts
from planned_diffusion.records.tagged import parse_tagged, plain_text, write_tagged


def asked(sentences=1, prompt="What is a comet?", label="comet"):
    return {"topic": "comet", "label": label, "prompt": prompt, "sentences": sentences, "subject": ""}


@pytest.mark.parametrize(
    ("answer", "sentences", "text"),
    [
        ("A comet is ice. It has a tail. It is", 1, "A comet is ice."),
        ("A comet is ice. It has a tail. It is", 2, "A comet is ice. It has a tail."),
        ("A comet is ice. It has a", 2, "A comet is ice."),
        ("A comet is ice and it has a", 1, ""),
        ("1. A comet is ice.\n2. It has a tail.", 2, "A comet is ice."),
        ("- A comet is ice.", 1, "A comet is ice."),
        ('"A comet is ice."', 1, "A comet is ice."),
        ('A "comet" is "ice."', 1, 'A "comet" is "ice."'),
        ("Sure! A comet is ice.", 1, "A comet is ice."),
        ("Here is a short answer: A comet is ice.", 1, "A comet is ice."),
        ("The U.S. Navy and Dr. Lee saw 3.5 comets. Twice.", 1, "The U.S. Navy and Dr. Lee saw 3.5 comets."),
        ("Comets are:\n\n1. ice.", 1, ""),
        ("", 1, ""),
    ],
)
def test_a_part_is_the_first_whole_sentences_of_the_first_paragraph(answer, sentences, text):
    assert part_of(asked(sentences), answer, "length").text == text


@pytest.mark.parametrize(("ended", "text"), [("stop", "A big snowball."), ("length", "")])
def test_a_short_answer_may_lack_its_full_stop_unless_it_was_cut(ended, text):
    assert part_of(asked(), "A big snowball", ended).text == text


COMET = "What is a comet?"


def part(text, question="", subject=""):
    return PartAnswer("topic", "", text, question, subject)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([part("A comet is a lump of ice.", COMET), part("Stars are hot balls of gas.", "What are stars?")], None),
        ([part("A comet is a ball of ice.", COMET), part("")], "unfinished"),
        ([part("I'm sorry, but as an AI I cannot answer that.")], "refusal"),
        ([part("A comet is here. A comet is here. A comet is here.", "What is a comet here?")], "repetitive"),
        ([part("Comets use `frame.show()` to shine.", "What do comets do?")], "code"),
        ([part("Comets are what I love to see.", "What are comets?")], "person"),
        ([part("World War I ended in 1918, after four years.", "When did World War I end?")], None),
        ([part("I'm glad to help with comets!", COMET)], "person"),
        ([part("Soup combines cream with cream and more cream.", "What is soup?")], "harping"),
        ([part("Cream is cream, whatever cream one has.", "What is cream?")], None),
        ([part("Adele sings a song about the blue sea.", "Tell me one fact about Athens.")], "aside"),
        ([part("They have long legs and a yellow beak.", "What do storks look like?")], None),
        ([part("Cairo.", "What is the capital of Egypt?")], None),
        ([part("Keyboards are made of a hard plastic.", "What are keys made of?", "keys")], "aside"),
        ([part("A comet is a ball of ice.", COMET), part("It is a ball of ice.", "What is a star?")], "overlap"),
    ],
)
def test_parts_that_are_dropped(parts, reason):
    assert reason_to_drop_parts(parts) == reason


def test_overlap_is_the_share_of_the_shorter_text():
    assert overlap("one two three four", "zero one two three nine ten") == 0.5
    assert overlap("Yes.", "yes") == 1 and overlap("Yes.", "No.") == 0


PARTS = [PartAnswer("comet", "comet", "A comet is ice."), PartAnswer("star", "star", "A star is gas.")]
BARE = [PartAnswer("comet", "", "A comet is ice."), PartAnswer("star", "", "A star is gas.")]


@pytest.mark.parametrize(
    ("prompt", "parts", "answer"),
    [
        ("Define these.\n1. comet\n2. star", PARTS, "1. **Comet**: A comet is ice.\n2. **Star**: A star is gas."),
        ("Answer.\n1. What is a comet?\n2. What is a star?", BARE, "1. A comet is ice.\n2. A star is gas."),
        ("Use a numbered list.", BARE, "1. A comet is ice.\n2. A star is gas."),
        ("Define these.\n- comet\n- star", PARTS, "- Comet: A comet is ice.\n- Star: A star is gas."),
        ("Use these headings: comet and star.", PARTS, "## Comet\nA comet is ice.\n\n## Star\nA star is gas."),
        ("Write a paragraph about each.", PARTS, "**Comet**: A comet is ice.\n\n**Star**: A star is gas."),
        ("Make a glossary.", PARTS, "Comet: A comet is ice.\nStar: A star is gas."),
        ("What are they?", PARTS, "**Comet**: A comet is ice.\n\n**Star**: A star is gas."),
        ("What are they?", BARE, "A comet is ice.\nA star is gas."),
    ],
)
def test_the_prompt_decides_the_frame_and_tagged_answers_read_back(prompt, parts, answer):
    spans = assembled(prompt, parts)
    assert "".join(text for _, text in spans) == answer
    tagged = write_tagged([spans], len, 5)
    assert plain_text(tagged) == answer and [span.topic for span in parse_tagged(tagged)[0]] == ["comet", "star"]


def test_questions_for_parts_are_clear_by_themselves_and_have_topics_of_their_own():
    for prompt in [*prompts(1500, seed=1), *prompts(200, seed=1, held_out=True)]:
        topics = [part.topic.lower() for part in prompt.sub_prompts]
        questions = [part.prompt for part in prompt.sub_prompts]
        assert len(topics) == len(set(topics)) != 1 and all(topics), prompt
        assert len(set(questions)) == len(questions), prompt
        for question in questions:
            assert not set("{}|") & set(question), question
