"""Recorded answers of the included model, and traces that are written by hand."""

import json
from functools import cache

import pytest

from planned_diffusion.generation.events import Ended, Text, TokensWritten
from planned_diffusion.inference.answer import ask, open_checkpoint
from planned_diffusion.inference.recording import Recording
from planned_diffusion.loading.embedded import EMBEDDED

THREE = "What are the capital, the currency and the main language of Kenya?"
ROUNDS = "Do Kenya and Uganda drive on the same side of the road?"


@pytest.fixture(scope="session")
def facts():
    return open_checkpoint(str(EMBEDDED))


@pytest.fixture(scope="session")
def recorded(facts):
    """recorded(prompt, **fields) -> (content of the trace file, events as they came)."""

    @cache
    def record(prompt=THREE, **fields):
        recording, events = Recording(facts.tokenizer), []
        answer = ask(facts, prompt, fields, [recording.add, lambda _, event: events.append(event)])
        return json.dumps(recording.document(answer, fields)), tuple(events)

    def fresh(prompt=THREE, **fields):
        text, events = record(prompt, **fields)
        return json.loads(text), events

    return fresh


@pytest.fixture
def written_by_hand(facts):
    """written_by_hand(text, tokenizer) -> a trace of that text, token by token from left to right."""

    def trace(text, tokenizer):
        recording = Recording(tokenizer)
        ids = tokenizer.encode(text, add_special_tokens=False)
        for position, token in enumerate(ids):
            recording.add(0, TokensWritten(0, (position,), (token,), (0.5,)))
            recording.add(0, Text((token,)))
        recording.add(0, Ended("length", tuple(ids), tuple(ids)))
        head = {"format": "planned-diffusion-trace", "version": 1, "text": text, "decoding": "autoregressive"}
        return json.loads(json.dumps({**head, "prompt": text, "ended": "length", "events": recording.events}))

    return trace
