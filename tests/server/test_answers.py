"""Answers of the server: those of single runs, whole or streamed, with every field that OpenAI's clients give."""

import math

import pytest
import torch

from planned_diffusion.generation.decoders.table import DECODERS
from planned_diffusion.generation.tokens import ControlTokens
from planned_diffusion.inference.answer import Prose, ask, read

QUESTION = "What are the capital and the currency of Kenya?"
CAPITAL = "The capital city of Kenya, as any atlas will show, is Nairobi."


# The same text as alone


@pytest.mark.parametrize("decoding", DECODERS)
@pytest.mark.parametrize("prompt", ["abc", "K9 what", "zz top"])
def test_an_answer_is_that_of_a_single_run_in_every_decoder(decoding, prompt, tiny, tiny_server):
    fields = {"decoding": decoding, "max_new_tokens": 60, "temperature": 0.8, "do_sample": True, "seed": 5}
    alone = ask(tiny, prompt, fields)
    asked = {"decoding": decoding, "max_tokens": 60, "temperature": 0.8, "seed": 5}
    whole, streamed = tiny_server.chat(prompt, **asked), tiny_server.stream(prompt, **asked)
    [choice] = whole["choices"]
    assert choice["message"] == {"role": "assistant", "content": alone.text, "refusal": None}
    assert choice["finish_reason"] == {"eos": "stop", "length": "length"}[alone.ended]
    assert choice.get("plan", []) == alone.plans
    assert streamed.text() == alone.text and streamed.reasons() == [choice["finish_reason"]]
    assert streamed[-1] == "[DONE]"


def test_the_included_model_answers_with_its_plan(facts, facts_server):
    [choice] = facts_server.chat(QUESTION)["choices"]
    alone = ask(facts, QUESTION, {})
    assert choice["message"]["content"] == alone.text and alone.text.startswith(CAPITAL)
    assert choice["plan"] == alone.plans and [part["topic"] for part in choice["plan"][0]] == ["capital", "currency"]


def test_text_without_a_template_is_read_as_the_tokenizer_reads_it(facts, facts_server):
    """The included model's tokenizer puts the tags of a turn around every text."""
    prompts = ["What is the capital of Kenya?", QUESTION]
    status, answer = facts_server.post("/v1/completions", {"model": "facts", "prompt": prompts})
    texts = [CAPITAL, ask(facts, QUESTION, {}).text]
    assert status == 200 and [choice["text"] for choice in answer["choices"]] == texts
    ids = [facts.tokenizer(prompt)["input_ids"] for prompt in prompts]
    assert answer["usage"]["prompt_tokens"] == sum(map(len, ids))
    _, told = facts_server.post("/tokenize", {"model": "facts", "prompt": prompts[0]})
    assert told["tokens"] == ids[0] and told["count"] == len(ids[0])
    _, told = facts_server.post("/tokenize", {"model": "facts", "messages": [{"role": "user", "content": QUESTION}]})
    assert told["tokens"] == ask(facts, QUESTION, {}).prompt_ids


# Fields


def test_samples_are_those_of_their_seeds(tiny, tiny_server):
    asked = {"temperature": 1.0, "seed": 11, "max_tokens": 40}
    answer, streamed = tiny_server.chat("abc", n=3, **asked), tiny_server.stream("abc", n=3, **asked)
    alone = [ask(tiny, "abc", {"do_sample": True, "max_new_tokens": 40, "seed": 11 + index}).text for index in range(3)]
    assert [choice["message"]["content"] for choice in answer["choices"]] == alone and len(set(alone)) > 1
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert [streamed.text(index) for index in range(3)] == alone and len(streamed.reasons()) == 3
    assert answer["usage"]["prompt_tokens"] == len(ask(tiny, "abc", {}).prompt_ids)


def test_without_a_seed_answers_differ(tiny_server):
    asked = {"temperature": 1.5, "max_tokens": 30, "decoding": "autoregressive"}
    assert len({tiny_server.chat("abc", **asked)["choices"][0]["message"]["content"] for _ in range(5)}) > 1


@pytest.mark.parametrize("stop", ["capital", "Kenya", [", is", "atlas"], "The", "Nairobi.", "absent", ". The curr"])
@pytest.mark.parametrize("decoding", ["planned", "autoregressive", "parallel_autoregressive", "diffusion"])
def test_a_text_to_stop_at_is_removed(stop, decoding, facts, facts_server):
    whole = ask(facts, QUESTION, {"decoding": decoding}).text
    stops = [stop] if isinstance(stop, str) else stop
    places = [whole.find(one) for one in stops if one in whole]
    expected = whole[: min(places)] if places else whole
    [choice] = facts_server.chat(QUESTION, stop=stop, decoding=decoding)["choices"]
    streamed = facts_server.stream(QUESTION, stop=stop, decoding=decoding)
    assert choice["message"]["content"] == expected == streamed.text()
    assert choice["finish_reason"] == "stop" and streamed.reasons() == ["stop"]
    for parts in choice.get("plan", []):
        assert "".join(part["text"] for part in parts) == expected


def test_a_text_to_stop_at_ends_the_work(facts_server):
    before = facts_server.service.engine.engines["facts"].forwards
    facts_server.chat(QUESTION, stop="The", decoding="autoregressive")
    assert facts_server.service.engine.engines["facts"].forwards - before <= 3


def test_limits_cut_answers(facts_server):
    for name in ("max_tokens", "max_completion_tokens"):
        answer = facts_server.chat(QUESTION, decoding="autoregressive", **{name: 5})
        assert answer["choices"][0]["finish_reason"] == "length" and answer["usage"]["completion_tokens"] == 5
    assert facts_server.chat(QUESTION, max_tokens=1)["choices"][0]["finish_reason"] == "length"
    answer = facts_server.chat(QUESTION, decoding="autoregressive", max_time=1e-9)
    assert answer["choices"][0]["finish_reason"] == "length"


def test_usage_counts_texts_and_plans(facts, facts_server):
    alone = ask(facts, QUESTION, {})
    chunks = facts_server.stream(QUESTION, stream_options={"include_usage": True})
    whole = facts_server.chat(QUESTION)["usage"]
    last = chunks[-2]
    assert last["choices"] == [] and last["usage"] == whole
    assert all(chunk["usage"] is None for chunk in chunks[:-2])
    assert whole["prompt_tokens"] == len(alone.prompt_ids)
    plan = whole["completion_tokens_details"]["plan_tokens"]
    assert plan > 0 and whole["completion_tokens"] == alone.trace.tokens + plan
    assert whole["total_tokens"] == whole["prompt_tokens"] + whole["completion_tokens"]
    plain = facts_server.chat(QUESTION, decoding="autoregressive")["usage"]
    assert plain["completion_tokens_details"] == {"plan_tokens": 0}
    assert all("usage" not in chunk for chunk in facts_server.stream(QUESTION)[:-1])


# Log-probabilities


def test_left_to_right_they_are_those_of_a_plain_forward(facts, facts_server):
    choice = facts_server.chat(QUESTION, decoding="autoregressive", logprobs=True, top_logprobs=3)["choices"][0]
    alone = ask(facts, QUESTION, {"decoding": "autoregressive"})
    text = facts.tokenizer(alone.text, add_special_tokens=False)["input_ids"]
    entries = choice["logprobs"]["content"]
    assert "".join(entry["token"] for entry in entries) == alone.text and len(entries) == len(text)
    with torch.no_grad():
        logits = facts.model(torch.tensor([[*alone.prompt_ids, *text]])).logits[0].float()
    logits[:, sorted(ControlTokens.from_config(facts.model.config).tags)] = -math.inf
    logprobs = logits.log_softmax(-1)[len(alone.prompt_ids) - 1 : -1]
    for row, token, entry in zip(logprobs, text, entries, strict=True):
        assert entry["logprob"] == pytest.approx(row[token].item(), abs=1e-3)
        assert bytes(entry["bytes"]).decode() == entry["token"]
        best = row.topk(3).values.tolist()
        assert [other["logprob"] for other in entry["top_logprobs"]] == pytest.approx(best, abs=1e-3)


@pytest.mark.parametrize("decoding", DECODERS)
@pytest.mark.parametrize("temperature", [0, 0.9])
def test_every_decoder_tells_them_and_writes_the_same(decoding, temperature, tiny, tiny_server):
    asked = {"decoding": decoding, "max_tokens": 50, "temperature": temperature, "seed": 3}
    plain = tiny_server.chat("K9 what", **asked)["choices"][0]
    told = tiny_server.chat("K9 what", logprobs=True, top_logprobs=2, **asked)["choices"][0]
    assert told["message"] == plain["message"] and plain["logprobs"] is None
    entries = told["logprobs"]["content"]
    assert "".join(entry["token"] for entry in entries) == plain["message"]["content"]
    for entry in entries:
        assert -100 < entry["logprob"] <= 0 and len(entry["top_logprobs"]) == 2
        best, second = (other["logprob"] for other in entry["top_logprobs"])
        assert best >= second and entry["logprob"] <= best + 1e-6
        if temperature == 0 and decoding != "adaptive_parallel":  # which draws from a mixture of drafter and scorer
            assert entry["logprob"] == best
    streamed = tiny_server.stream("K9 what", logprobs=True, top_logprobs=2, **asked)
    pieces = [chunk["choices"][0]["logprobs"] for chunk in streamed[:-1]]
    assert [entry for piece in pieces if piece for entry in piece["content"]] == entries


def test_those_of_completions_have_their_own_form(facts_server):
    body = {"model": "facts", "prompt": QUESTION, "logprobs": 2, "stop": ", as"}
    [choice] = facts_server.post("/v1/completions", body)[1]["choices"]
    told = choice["logprobs"]
    assert "".join(told["tokens"]).startswith(choice["text"]) and len({*map(len, told.values())}) == 1
    assert told["text_offset"] == [sum(map(len, told["tokens"][:index])) for index in range(len(told["tokens"]))]
    assert all(len(others) == 2 for others in told["top_logprobs"])


# Pieces


def test_pieces_of_prose_are_its_text(facts):
    noise = torch.Generator().manual_seed(0)
    for _ in range(50):
        ids = torch.randint(0, len(facts.tokenizer), (60,), generator=noise).tolist()
        sizes = torch.randint(0, 5, (60,), generator=noise).tolist()
        prose, pieces, start = Prose(facts.tokenizer), [], 0
        for size in sizes:
            pieces.append(prose.add(ids[start : start + size]))
            start += size
        whole = read(facts.tokenizer, ids[:start]).rstrip("\N{REPLACEMENT CHARACTER}")
        assert "".join(pieces) == prose.text == whole
