"""A trace that was read back is the stream of events that was recorded, spelled without a tokenizer."""

import dataclasses
import json

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from planned_diffusion.generation.events import PlanDone, SpanClosed
from planned_diffusion.generation.skeleton import Blank, Kept
from planned_diffusion.inference.answer import ask
from planned_diffusion.inference.recording import Recording
from planned_diffusion.inference.replay.trace_reading import read_trace, recorded_run

ROUNDS = "Do Kenya and Uganda drive on the same side of the road?"
SETTINGS = {
    "planned": {},
    "rounds": {"prompt": ROUNDS},
    "refined": {"refine_share": 0.5},
    "autoregressive": {"decoding": "autoregressive"},
    "blocks": {"decoding": "block_diffusion", "block_size": 8},
    "drafts": {"decoding": "parallel_speculative", "prompt": ROUNDS},
    "speculative": {"decoding": "speculative"},
    "taken back": {"decoding": "self_verified", "confidence_threshold": 0.1},
    "cut": {"max_new_tokens": 30},
}
HOSTILE = "Zoë says שלום 😀🇰🇪 \x1b[2J\u202eevil</script>é漢字"


def without_skeletons(event):
    if not isinstance(event, PlanDone):
        return event
    spans = tuple(dataclasses.replace(span, skeleton=None) for span in event.promises.spans)
    return dataclasses.replace(event, promises=dataclasses.replace(event.promises, spans=spans))


@pytest.mark.parametrize("name", SETTINGS)
def test_its_events_are_those_that_came(name, recorded, facts):
    document, events = recorded(**SETTINGS[name])
    run = recorded_run(document)
    assert [event for _, event in run.events] == [*events]
    for event in events:
        if isinstance(event, SpanClosed):
            assert run.spellings.decode(event.token_ids) == facts.tokenizer.decode(event.token_ids)
    ended = events[-1]
    prose = facts.tokenizer.decode(ended.answer_ids, skip_special_tokens=True)
    assert run.spellings.decode(ended.answer_ids, skip_special_tokens=True) == prose == document["text"]
    answer = run.answer()
    assert answer.text == prose and answer.trace.tokens == document["counts"]["tokens"]
    assert answer.trace.forwards == document["counts"]["forwards"] and answer.trace.seconds == document["seconds"]
    assert answer.trace.felt.as_json() == document["felt_seconds"]


def test_parts_that_are_kept_and_gaps_can_be_recorded(facts):
    """Their skeletons hold sets and ranges, which JSON has not."""
    plan = [[("capital", Kept("The capital of Kenya is Nairobi.", 16)), ("currency", ["It is the ", Blank(4), "."])]]
    recording, events = Recording(facts.tokenizer), []
    answer = ask(facts, "?", {}, [recording.add, lambda _, event: events.append(event)], plan)
    document = json.loads(json.dumps(recording.document(answer, {})))
    assert [event for _, event in recorded_run(document).events] == [*map(without_skeletons, events)]


def byte_tokenizer():
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator([], trainers.BpeTrainer(vocab_size=256, initial_alphabet=alphabet, show_progress=False))
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def metaspace_tokenizer():
    """As Llama's: a token that stands alone loses its space."""
    words = ["▁The", "▁capital", "▁is", "▁Nairobi", ".", "▁"]
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="."))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(prepend_scheme="first"), pre_tokenizers.Punctuation()]
    )
    backend.decoder = decoders.Metaspace(prepend_scheme="first")
    return PreTrainedTokenizerFast(tokenizer_object=backend)


@pytest.mark.parametrize("text", [HOSTILE, "😀", "a😀b😁", "漢漢 字"])
def test_bytes_that_make_one_character_only_together(text, written_by_hand):
    tokenizer = byte_tokenizer()
    run = recorded_run(written_by_hand(text, tokenizer))
    ids = tokenizer.encode(text)
    assert run.spellings.decode(ids) == text and "".join(run.spellings.pieces(ids)) == text
    assert run.answer().text == text


def test_spaces_that_a_token_alone_does_not_have(written_by_hand):
    tokenizer = metaspace_tokenizer()
    text = "The capital is Nairobi."
    assert tokenizer.decode(tokenizer.encode(text)[1:2]) == "capital"
    run = recorded_run(written_by_hand(text, tokenizer))
    assert run.spellings.decode(tokenizer.encode(text)) == text


def test_a_file_that_was_cut_off_is_read_as_far_as_it_goes(recorded, tmp_path):
    document, events = recorded()
    text = json.dumps(document, ensure_ascii=False)
    path, lengths = tmp_path / "trace.json", []
    begun = text.index('"events": [') + len('"events": [')
    between_fields = text.index('"counts"')  # what is cut off here would be a whole document with an end put to it
    for stop in sorted({between_fields, begun - 1, begun, *range(0, len(text), 97)}):
        path.write_text(text[:stop])
        if stop < begun:
            with pytest.raises(ValueError, match="this is no trace; give a file that generate --trace has written"):
                read_trace(path)
            continue
        run = read_trace(path)
        read = [event for _, event in run.events]
        assert read == [*events[: len(read)]] and run.is_whole == (len(read) == len(events))
        assert document["text"].startswith(run.answer().text.rstrip("\N{REPLACEMENT CHARACTER}"))
        lengths.append(len(read))
    assert lengths == sorted(lengths) and lengths[0] <= 1 and lengths[-1] >= len(events) - 2
    assert "cut off" in run.answer().ended or run.is_whole


def test_what_is_new_in_a_later_trace_of_the_same_version_is_passed_over(recorded):
    document, events = recorded()
    document["mood"] = "good"
    document["events"].insert(3, {"event": "Sneezed", "at_seconds": 0.1, "loudly": True})
    for event in document["events"]:
        event["colour"] = "green"
    assert [event for _, event in recorded_run(document).events] == [*events]


def test_an_older_trace_has_no_felt_seconds(recorded):
    document, _ = recorded()
    del document["felt_seconds"]
    felt = recorded_run(document).felt()
    assert 0 < felt.first_outline_word < felt.first_final_word <= felt.last_word


def first(trace: dict, kind: str) -> dict:
    """Return the first event of a kind."""
    return next(event for event in trace["events"] if event["event"] == kind)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda trace: trace.update(version=2), "this trace has version 2, and version 1 is read here"),
        (lambda trace: trace.pop("version"), "this trace has version None"),
        (lambda trace: trace.update(format="other"), "this is no trace"),
        (lambda trace: trace.update(events={}), "no list of events"),
        (lambda trace: trace["events"].insert(2, 7), "event 2 of this trace cannot be read"),
        (lambda trace: trace["events"][0].pop("purpose"), "event 0 of this trace cannot be read"),
        (lambda trace: first(trace, "PlanToken").update(position="x"), "event 2 of this trace cannot be read"),
        (lambda trace: trace["events"][-1].update(plans=[[7]]), "cannot be read"),
        (lambda trace: first(trace, "PlanToken").update(text=7, token_id=[1]), "cannot be read"),
    ],
)
def test_what_is_no_trace_is_refused_in_one_sentence(change, message, recorded):
    document, _ = recorded()
    change(document)
    with pytest.raises(ValueError, match=message) as refused:
        recorded_run(document)
    assert "\n" not in str(refused.value)


def test_what_is_no_file_or_no_text_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        read_trace(tmp_path / "missing.json")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="cannot be read"):
        read_trace(tmp_path / "binary")
