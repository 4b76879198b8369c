"""The prompt of the `llm` annotator, and the plan that a reply describes.

The model never repeats the answer: it sees the answer cut into numbered pieces and names, per span, a topic and the
first and last piece. So the text cannot change, replies are short, and lengths are counted here rather than guessed.
"""

import re

from ..records.checks import check_utf8
from ..records.found_json import values_named
from ..records.tagged import Rounds, is_tagged
from .schemas import Message
from .structure import MOST_SPANS

MOST_REPLY_ROUNDS = 16  # as generation allows by default
MOST_WORDS, LONGEST_TOPIC = 3, 100  # words and characters

SYSTEM = """\
You plan how an answer can be written in parallel. The answer is cut into numbered pieces. Group neighbouring pieces
into spans, and spans into rounds:

- All spans of one round are written at the same time, by writers who see the request and the topics but not each
  other's text. Put two spans into one round only if each makes sense without the other: items of a list of
  alternatives, sections on different subjects, pros and cons.
- A preamble such as "Here are three tips:" shares the round of the parts that it announces.
- A later round sees everything written in earlier rounds. A conclusion that refers to the parts is a later round.
- Steps that build on each other get one round each. Reasoning, calculations, code and stories are never split: reply
  with no rounds at all.
- Every piece belongs to exactly one span, in order, without gaps. A span should have a sentence or two at least; put
  small neighbours together.
- A topic is one short word of the span's text, or two or three where one does not tell it from the others; the topics
  of a round differ.
- A round has at most {most_spans} spans, and there are at most {most_rounds} rounds.

Reply with one JSON object and nothing else:
{"rounds": [[{"topic": "...", "first": 1, "last": 2}, ...], ...]}

Example 1. Request: Give two tips for sleeping well.
[1] Here are two tips:
[2] 1. Keep a regular schedule.
[3] Your body likes routine.
[4] 2. Avoid screens late in the evening.
[5] In short, routine and darkness help.
Reply: {"rounds": [[{"topic": "introduction", "first": 1, "last": 1},
{"topic": "schedule", "first": 2, "last": 3}, {"topic": "screens", "first": 4, "last": 4}],
[{"topic": "closing", "first": 5, "last": 5}]]}

Example 2. Request: Compare cats and dogs.
[1] Cats are independent.
[2] They need little room.
[3] Dogs are sociable.
[4] They want walks.
Reply: {"rounds": [[{"topic": "cats", "first": 1, "last": 2}, {"topic": "dogs", "first": 3, "last": 4}]]}

Example 3. Request: Tom has 3 apples and buys twice as many. How many has he?
[1] He buys 2 * 3 = 6 apples.
[2] So he has 3 + 6 = 9.
Reply: {"rounds": []}"""

_SENTENCE_END = re.compile(r"(?<=[^\s\d][.!?])(?=[ \t]+[\"'(\[]?[A-Z0-9])|(?=\n+[^\n])")
_MOST_ASKED = 2000  # characters of the request


def pieces_of(answer: str) -> list[str]:
    """Cut an answer at its sentences and lines; the pieces, joined, are the answer; white space opens the later one."""
    pieces = []
    for piece in _SENTENCE_END.split(answer):
        if pieces and not (piece.strip() and pieces[-1].strip()):
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return pieces


def messages_for(prompt: str, pieces: list[str], most_spans: int = MOST_SPANS) -> list[Message]:
    """Return the chat that asks for a plan with at most so many spans per round."""
    system = SYSTEM.replace("{most_spans}", str(most_spans)).replace("{most_rounds}", str(MOST_REPLY_ROUNDS))
    numbered = "\n".join(f"[{number}] {piece.strip()}" for number, piece in enumerate(pieces, start=1))
    content = f"Request: {prompt[:_MOST_ASKED]}\n{numbered}\nReply:"
    return [{"role": "system", "content": system}, {"role": "user", "content": content}]


def rounds_of(reply: str, pieces: list[str], most_spans: int = MOST_SPANS) -> Rounds:
    """Return the plan that a reply describes, as rounds of (topic, text); () for an answer that should stay plain.

    Raises:
        ValueError: the reply describes no valid plan; the message can be sent back.
    """
    if not reply.strip():
        raise ValueError("The reply has no text.")
    found = values_named("rounds", reply)
    if not found:
        raise ValueError('The reply is not the JSON object {"rounds": ...} asked for.')
    rounds = next((rounds for rounds in reversed(found) if _is_rounds(rounds)), None)
    if rounds is None:
        raise ValueError('The reply is not {"rounds": [[span, ...], ...]} with at least one span per round.')
    if len(rounds) > MOST_REPLY_ROUNDS or max(map(len, rounds), default=0) > most_spans:
        raise ValueError(
            f"The reply has {len(rounds)} rounds with up to {max(map(len, rounds))} spans; plan at most "
            f"{MOST_REPLY_ROUNDS} rounds of at most {most_spans} spans."
        )
    planned, place = [], 0
    for spans in rounds:
        named = []
        for span in spans:
            topic, first, last = _span(span)
            _check_follows(topic, first, last, place, len(pieces))
            named.append((topic, "".join(pieces[place:last])))
            place = last
        _check_topics_differ([topic for topic, _ in named])
        planned.append(tuple(named))
    if planned and place != len(pieces):
        raise ValueError(f"The spans end with piece {place} of {len(pieces)}; every piece must be in a span.")
    return tuple(planned)


def _check_follows(topic: str, first: int, last: int, place: int, count: int) -> None:
    """Raise ValueError where a span's pieces do not follow those before it, or do not exist."""
    if first != place + 1 or not first <= last <= count:
        raise ValueError(
            f"The span {topic!r} goes from {first} to {last}; after piece {place} it must begin with "
            f"{place + 1}, and there are {count} pieces."
        )


def _is_rounds(rounds: object) -> bool:
    """Tell whether a value is a list of rounds that are not empty; the spans are checked later."""
    return isinstance(rounds, list) and all(isinstance(spans, list) and spans for spans in rounds)


def _check_topics_differ(topics: list[str]) -> None:
    """Raise ValueError where two topics of a round differ in capital letters at most."""
    folded = [topic.casefold() for topic in topics]
    twice = next((topic for topic in topics if folded.count(topic.casefold()) > 1), None)
    if twice is not None:
        raise ValueError(f"The topic {twice!r} stands twice in a round; give every span of a round its own.")


def _span(span: object) -> tuple[str, int, int]:
    """Return the topic, the first and the last piece of a span.

    Raises:
        ValueError: the span is no such object, or its topic cannot be used.
    """
    topic, first, last = (span.get(name) if isinstance(span, dict) else None for name in ("topic", "first", "last"))
    if not isinstance(topic, str) or type(first) is not int or type(last) is not int:
        raise ValueError(f'The span {span!r} is not {{"topic": text, "first": number, "last": number}}.')
    check_utf8(topic, f"The topic {topic!r}")
    words = topic.split()
    if not 1 <= len(words) <= MOST_WORDS:
        raise ValueError(f"The topic {topic!r} has {len(words)} words; give one to {MOST_WORDS}.")
    if len(topic) > LONGEST_TOPIC or not any(map(str.isalpha, topic)):
        raise ValueError(
            f"The topic {topic[:LONGEST_TOPIC]!r} is longer than {LONGEST_TOPIC} characters or without letters; "
            "give short words of the text."
        )
    if is_tagged(topic):
        raise ValueError(f"The topic {topic!r} spells a tag of plans; use words of the text.")
    return " ".join(words), first, last
