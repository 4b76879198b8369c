"""`generate --trace`: the file alone tells what happened."""

import json
import os

import pytest

from planned_diffusion.inference import recording


@pytest.fixture
def traced(run, checkpoint, tmp_path):
    path = tmp_path / "trace.json"
    ran = run("generate", "What?", "--model", checkpoint[1], "--json", "--trace", path, "--steps-ratio", "0.5")
    return json.loads(ran.out), json.loads(path.read_text())


def test_it_holds_the_answer_and_how_it_was_made(traced, checkpoint):
    answer, trace = traced
    assert (trace["format"], trace["version"]) == ("planned-diffusion-trace", 1)
    assert {name: trace[name] for name in answer} == answer
    assert trace["prompt"] == "What?" and trace["options"] == {"steps_ratio": 0.5}
    assert trace["model"] == str(checkpoint[1]) and trace["decoding"] == "planned"
    assert set(trace["versions"]) == {"planned_diffusion", "python", "torch", "transformers", "tokenizers"}


def test_folding_its_events_gives_the_text(traced, tokenizer, control):
    answer, trace = traced
    written, spans, texts = {}, [], []
    for event in trace["events"]:
        if event["event"] == "PlanDone":
            spans += event["spans"]
        elif event["event"] == "TokensWritten":
            written |= dict(zip(event["positions"], event["token_ids"], strict=True))
        elif event["event"] == "Text":
            texts.append(event["text"])
    ids = [written[position] for span in spans for position in range(span["start"], span["stop"])]
    assert tokenizer.decode([token for token in ids if token != control.span_pad]) == answer["text"]
    assert answer["text"].startswith("".join(texts)) and len(texts) > 1
    assert [span["topic"] for span in spans] == [span["topic"] for spans in answer["plans"] for span in spans]


def test_its_events_are_the_stream_in_order_with_what_ids_spell(traced):
    answer, trace = traced
    events = trace["events"]
    names = [event["event"] for event in events]
    assert names[:2] == ["Forward", "PlanToken"] and names[-1] == "Ended" and names.count("RoundClosed") == 2
    assert names.count("Forward") == answer["counts"]["forwards"]
    moments = [event["at_seconds"] for event in events]
    assert moments == sorted(moments) and moments[0] >= 0
    assert events[1]["text"] == "<promise>-<topic>"
    step = next(event for event in events if event["event"] == "TokensWritten")
    assert len(step["positions"]) == len(step["token_ids"]) == len(step["texts"]) == len(step["scores"])
    assert events[-1]["answer"] == answer["text"] and events[-1]["written"].startswith("<promise>-<topic>")


def test_left_to_right_texts_join_even_where_tokens_are_parts_of_characters(run, checkpoint, tmp_path):
    path = tmp_path / "trace.json"
    run("generate", "What?", "--model", checkpoint[1], "--decoding", "autoregressive", "--trace", path)
    trace = json.loads(path.read_text())
    joined = "".join(event["text"] for event in trace["events"] if event["event"] == "Text")
    assert trace["text"].startswith(joined)
    assert set(trace["text"][len(joined) :]) <= {"\N{REPLACEMENT CHARACTER}"}


def test_the_old_file_stays_when_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "trace.json"
    path.write_text("old")

    def fail(*paths):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        recording.write_trace(path, {"new": 1})
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["trace.json"]


@pytest.mark.parametrize("place", [".", "missing/trace.json", "/dev/null"])
def test_a_place_that_cannot_be_written_is_refused_before_loading(run, checkpoint, tmp_path, monkeypatch, place):
    monkeypatch.setattr("planned_diffusion.inference.answer.open_checkpoint", lambda *arguments: pytest.fail("loaded"))
    ran = run("generate", "What?", "--model", checkpoint[1], "--trace", tmp_path / place)
    assert ran.status == 2 and ran.out == "" and ran.err.count("\n") == 1 and "--trace" in ran.err
