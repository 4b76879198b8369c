"""Bodies that cannot be answered: each gets a status and OpenAI's error form, and the server goes on."""

import json

import pytest

CHAT, TEXT, TOKENS = "/v1/chat/completions", "/v1/completions", "/tokenize"
MESSAGES = [{"role": "user", "content": "abc"}]
HALF = "a\ud83d"


def chat(**fields):
    return {"model": "tiny", "messages": MESSAGES, **fields}


def says(*contents, role="user"):
    return {"model": "tiny", "messages": [{"role": role, "content": content} for content in contents]}


def text(**fields):
    return {"model": "tiny", "prompt": "abc", **fields}


# (path, body, status, param): the param is the field that the error names.
BAD = {
    # Messages
    "no body": (CHAT, b"", 400, None),
    "no JSON": (CHAT, b"{", 400, None),
    "no UTF-8": (CHAT, b'{"model": "\xff"}', 400, None),
    "a list": (CHAT, [], 400, None),
    "a text": (CHAT, "abc", 400, None),
    "null": (CHAT, b"null", 400, None),
    "an empty object": (CHAT, {}, 400, "model"),
    "no messages": (CHAT, {"model": "tiny"}, 400, "messages"),
    "messages are empty": (CHAT, chat(messages=[]), 400, "messages"),
    "messages are null": (CHAT, chat(messages=None), 400, "messages"),
    "messages are a text": (CHAT, chat(messages="abc"), 400, "messages"),
    "messages are texts": (CHAT, chat(messages=["abc"]), 400, "messages[0]"),
    "a message without a role": (CHAT, chat(messages=[{"content": "a"}]), 400, "messages[0].role"),
    "a message without a content": (CHAT, chat(messages=[{"role": "user"}]), 400, "messages[0].content"),
    "an unknown role": (CHAT, says("a", role="boss"), 400, "messages[0].role"),
    "a tool's message": (CHAT, says("a", role="tool"), 400, "messages[0].role"),
    "a role that is a list": (CHAT, says("a", role=["user"]), 400, "messages[0].role"),
    "null content": (CHAT, says(None), 400, "messages[0].content"),
    "empty content": (CHAT, says(""), 400, "messages[0].content"),
    "blank content": (CHAT, says(" \n"), 400, "messages[0].content"),
    "content that is a number": (CHAT, says(5), 400, "messages[0].content"),
    "content that is an object": (CHAT, says({"text": "a"}), 400, "messages[0].content"),
    "no parts": (CHAT, says([]), 400, "messages[0].content"),
    "an image": (CHAT, says([{"type": "image_url", "image_url": {"url": "x"}}]), 400, "messages[0].content"),
    "a sound": (CHAT, says([{"type": "input_audio", "input_audio": {}}]), 400, "messages[0].content"),
    "a part of no known type": (CHAT, says([{"type": "smell", "text": "a"}]), 400, "messages[0].content"),
    "a part without a text": (CHAT, says([{"type": "text"}]), 400, "messages[0].content"),
    "half a character": (CHAT, says(HALF), 400, "messages[0].content"),
    "half a character in a part": (CHAT, says([{"type": "text", "text": HALF}]), 400, "messages[0].content"),
    "a name": (CHAT, chat(messages=[{**MESSAGES[0], "name": "Ada"}]), 400, "messages[0].name"),
    "calls of tools": (CHAT, chat(messages=[{**MESSAGES[0], "tool_calls": [{}]}]), 400, "messages[0].tool_calls"),
    "an unknown field of a message": (CHAT, chat(messages=[{**MESSAGES[0], "mood": 1}]), 400, "messages[0].mood"),
    "the last message is an answer": (CHAT, says("a", role="assistant"), 400, "messages[0].role"),
    "a prompt that is too long": (CHAT, says("abc " * 400), 400, "messages"),
    # The model
    "no model": (CHAT, {"messages": MESSAGES}, 400, "model"),
    "an unknown model": (CHAT, chat(model="huge"), 404, "model"),
    "a path for a model": (CHAT, chat(model="/etc/passwd"), 404, "model"),
    "a repository for a model": (CHAT, chat(model="owner/name"), 404, "model"),
    "a model that is null": (CHAT, chat(model=None), 400, "model"),
    "a model that is a list": (CHAT, chat(model=["tiny"]), 400, "model"),
    # Limits
    "no tokens": (CHAT, chat(max_tokens=0), 400, "max_tokens"),
    "negative tokens": (CHAT, chat(max_tokens=-5), 400, "max_tokens"),
    "half a token": (CHAT, chat(max_tokens=2.5), 400, "max_tokens"),
    "tokens as text": (CHAT, chat(max_tokens="5"), 400, "max_tokens"),
    "tokens that are true": (CHAT, chat(max_tokens=True), 400, "max_tokens"),
    "too many tokens": (CHAT, chat(max_tokens=10**9), 400, "max_tokens"),
    "far too many tokens": (CHAT, chat(max_completion_tokens=10**30), 400, "max_completion_tokens"),
    "two limits": (CHAT, chat(max_tokens=5, max_completion_tokens=6), 400, "max_tokens"),
    "no answers": (CHAT, chat(n=0), 400, "n"),
    "negative answers": (CHAT, chat(n=-1), 400, "n"),
    "too many answers": (CHAT, chat(n=10**6, temperature=1), 400, "n"),
    "equal answers": (CHAT, chat(n=2), 400, "n"),
    # Sampling
    "a negative temperature": (CHAT, chat(temperature=-0.1), 400, "temperature"),
    "a temperature as text": (CHAT, chat(temperature="hot"), 400, "temperature"),
    "a temperature that is no number": (CHAT, b'{"model": "tiny", "messages": [], "temperature": NaN}', 400, None),
    "an infinite temperature": (CHAT, b'{"model": "tiny", "messages": [], "temperature": 1e999}', 400, "temperature"),
    "a huge temperature": (CHAT, chat(temperature=10**400), 400, "temperature"),
    "no nucleus": (CHAT, chat(top_p=0), 400, "top_p"),
    "more than a nucleus": (CHAT, chat(top_p=1.1), 400, "top_p"),
    "a negative seed": (CHAT, chat(seed=-1), 400, "seed"),
    "a huge seed": (CHAT, chat(seed=2**63), 400, "seed"),
    "a seed per prompt": (CHAT, chat(seed=[1]), 400, "seed"),
    "penalties": (CHAT, chat(frequency_penalty=0.5), 400, "frequency_penalty"),
    "a penalty that is false": (CHAT, chat(presence_penalty=False), 400, "presence_penalty"),
    "biases": (CHAT, chat(logit_bias={"5": 1}), 400, "logit_bias"),
    "no text to stop at": (CHAT, chat(stop=""), 400, "stop[0]"),
    "a number to stop at": (CHAT, chat(stop=5), 400, "stop"),
    "null to stop at": (CHAT, chat(stop=["a", None]), 400, "stop[1]"),
    "too many texts to stop at": (CHAT, chat(stop=["a"] * 17), 400, "stop"),
    "a long text to stop at": (CHAT, chat(stop="a" * 257), 400, "stop[0]"),
    "half a character to stop at": (CHAT, chat(stop=HALF), 400, "stop[0]"),
    # Streams
    "a stream as text": (CHAT, chat(stream="yes"), 400, "stream"),
    "options without a stream": (CHAT, chat(stream_options={"include_usage": True}), 400, "stream_options"),
    "unknown options": (CHAT, chat(stream=True, stream_options={"speed": 1}), 400, "stream_options.speed"),
    "a streamed plan without a stream": (CHAT, chat(stream_plan="parts"), 400, "stream_plan"),
    "an unknown way to stream a plan": (CHAT, chat(stream=True, stream_plan="all"), 400, "stream_plan"),
    # What cannot be had here
    "tools": (CHAT, chat(tools=[{"type": "function"}]), 400, "tools"),
    "a tool that must be called": (CHAT, chat(tool_choice="required"), 400, "tool_choice"),
    "functions": (CHAT, chat(functions=[{}]), 400, "functions"),
    "JSON": (CHAT, chat(response_format={"type": "json_object"}), 400, "response_format.type"),
    "sound": (CHAT, chat(modalities=["text", "audio"]), 400, "modalities"),
    "a prediction": (CHAT, chat(prediction={"type": "content"}), 400, "prediction"),
    "effort": (CHAT, chat(reasoning_effort="high"), 400, "reasoning_effort"),
    "storing": (CHAT, chat(store=True), 400, "store"),
    "an unknown field": (CHAT, chat(polite=True), 400, "polite"),
    "a field with an odd name": (CHAT, chat(**{"a.b[0]\n": 1}), 400, "a.b[0]\n"),
    "log-probabilities as text": (CHAT, chat(logprobs="yes"), 400, "logprobs"),
    "alternatives alone": (CHAT, chat(top_logprobs=2), 400, "top_logprobs"),
    "too many alternatives": (CHAT, chat(logprobs=True, top_logprobs=21), 400, "top_logprobs"),
    # Fields of ours
    "an unknown decoder": (CHAT, chat(decoding="magic"), 400, "decoding"),
    "a decoder that is null": (CHAT, chat(decoding=None), 400, "decoding"),
    "a ratio out of range": (CHAT, chat(steps_ratio=0), 400, "steps_ratio"),
    "a threshold as text": (CHAT, chat(confidence_threshold="0.9"), 400, "confidence_threshold"),
    "a field of another decoder": (CHAT, chat(decoding="autoregressive", steps_ratio=0.5), 400, "steps_ratio"),
    "a field under our name": (CHAT, chat(max_new_tokens=5), 400, "max_new_tokens"),
    "the plan in the text": (CHAT, chat(keep_plan=True), 400, "keep_plan"),
    "suppressed tokens": (CHAT, chat(suppress_in_spans=[5]), 400, "suppress_in_spans"),
    "a large block": (CHAT, chat(decoding="block_diffusion", block_size=500, max_tokens=20), 400, "block_size"),
    "a config that is no JSON": (CHAT, chat(generation_config="{"), 400, "generation_config"),
    "a config with beams": (CHAT, chat(generation_config='{"num_beams": 4}'), 400, "num_beams"),
    "a config with texts to stop at": (CHAT, chat(generation_config='{"stop_strings": ["a"]}'), 400, "stop_strings"),
    "a config with a wrong limit": (CHAT, chat(generation_config='{"max_new_tokens": "a"}'), 400, "max_new_tokens"),
    # Plans
    "a plan that is a text": (CHAT, chat(plan="a"), 400, "plan"),
    "an empty plan": (CHAT, chat(plan=[]), 400, "plan"),
    "an empty round": (CHAT, chat(plan=[[{"topic": "a", "length": 3}], []]), 400, "plan"),
    "a part without a length": (CHAT, chat(plan=[[{"topic": "a"}]]), 400, "plan[0][0]"),
    "a part of no length": (CHAT, chat(plan=[[{"topic": "a", "length": 0}]]), 400, "plan[0][0].length"),
    "a part without a topic": (CHAT, chat(plan=[[{"length": 5}]]), 400, "plan[0][0].topic"),
    "a part that is too long": (CHAT, chat(plan=[[{"topic": "a", "length": 10**6}]]), 400, "plan"),
    "a part with half a character": (CHAT, chat(plan=[[{"topic": HALF, "length": 5}]]), 400, "plan[0][0].topic"),
    "a kept part without a text": (CHAT, chat(plan=[[{"topic": "a", "keep": True}]]), 400, "plan[0][0]"),
    "nothing to write": (CHAT, chat(plan=[[{"topic": "a", "text": "b", "keep": True}]]), 400, "plan"),
    "a plan for a decoder without": (
        CHAT, chat(decoding="diffusion", plan=[[{"topic": "a", "length": 5}]]), 400, "plan",
    ),
    # Texts
    "no prompt": (TEXT, {"model": "tiny"}, 400, "prompt"),
    "an empty prompt": (TEXT, text(prompt=""), 400, "prompt[0]"),
    "no prompts": (TEXT, text(prompt=[]), 400, "prompt"),
    "token ids": (TEXT, text(prompt=[1, 2]), 400, "prompt[0]"),
    "half a character in a prompt": (TEXT, text(prompt=HALF), 400, "prompt[0]"),
    "messages for a text": (TEXT, text(messages=MESSAGES), 400, "messages"),
    "an echo": (TEXT, text(echo=True), 400, "echo"),
    "the best of several": (TEXT, text(best_of=3), 400, "best_of"),
    "a suffix": (TEXT, text(suffix="z"), 400, "suffix"),
    "many prompts": (TEXT, text(prompt=["a"] * 5), 400, "n"),
    "log-probabilities that are true": (TEXT, text(logprobs=True), 400, "logprobs"),
    # Tokens
    "nothing to cut into tokens": (TOKENS, {"model": "tiny"}, 400, "prompt"),
    "too much to cut into tokens": (TOKENS, text(messages=MESSAGES), 400, "prompt"),
    "tokens with a temperature": (TOKENS, text(temperature=1), 400, "temperature"),
    # JSON
    "a field twice": (CHAT, b'{"model": "tiny", "model": "tiny", "messages": []}', 400, "model"),
    "deep lists": (CHAT, b'{"model": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, None),
    "deep messages": (CHAT, b'{"model": "tiny", "messages": ' + b"[" * 500 + b"]" * 500 + b"}", 400, "messages[0]"),
    "ten megabytes": (CHAT, says("a" * 10_000_000), 413, None),
    "a huge number": (CHAT, b'{"model": "tiny", "messages": [], "seed": ' + b"9" * 5000 + b"}", 400, None),
}  # fmt: skip


def test_the_table_is_long_enough():
    assert len(BAD) >= 60


@pytest.mark.parametrize(("path", "body", "status", "param"), BAD.values(), ids=BAD)
def test_bad_bodies_are_refused_in_openais_form(path, body, status, param, tiny_server):
    given, answer = tiny_server.post(path, body)
    assert (given, answer["error"].get("param")) == (status, param), answer
    assert answer.keys() == {"error"} and answer["error"].keys() == {"message", "type", "param", "code"}
    message = answer["error"]["message"]
    assert answer["error"]["type"] == "invalid_request_error" and 10 < len(message) < 1200
    assert message.endswith(".") and "Traceback" not in message and "planned_diffusion/" not in message
    if param is not None and status == 400:
        assert param.split("[")[0].split(".")[0].removesuffix("s") in message
    assert tiny_server.ask("/health")[0] == 200
    assert tiny_server.leaks == {}


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_another_content_type_is_refused(kind, tiny_server):
    status, answer = tiny_server.post(CHAT, json.dumps(chat()).encode(), **{"Content-Type": kind})
    assert status == 415 and "application/json" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [("/nope", None, 404), (CHAT, None, 405), ("/health", {}, 405), ("/v1/models/a", None, 404)],
)
def test_other_addresses_and_methods_are_refused_in_the_same_form(path, body, status, tiny_server):
    given, _, text = tiny_server.ask(path, body)
    assert given == status and json.loads(text)["error"]["type"] == "invalid_request_error"


GOOD = {
    "all that changes nothing": chat(
        n=1, stream=False, stop=None, frequency_penalty=0, presence_penalty=0.0, logit_bias={}, tools=[], user="me",
        tool_choice="auto", response_format={"type": "text"}, logprobs=False, seed=None, store=False, metadata={},
        service_tier="auto", temperature=0, top_p=1, max_tokens=5, modalities=["text"], reasoning_effort=None,
    ),
    "parts": {**says([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), "max_tokens": 5},
    "a developer": chat(messages=[{"role": "developer", "content": "Be."}, *MESSAGES], max_tokens=5),
    "an answer sent back whole": chat(
        messages=[
            *MESSAGES,
            {"role": "assistant", "content": "", "refusal": None, "annotations": [], "tool_calls": None, "audio": None},
            *MESSAGES,
        ],
        max_tokens=5,
    ),
    "the config of transformers chat": chat(
        generation_config='{"transformers_version": "5.24.0", "do_sample": false, "num_beams": 1, "max_new_tokens": 5}'
    ),
}  # fmt: skip


@pytest.mark.parametrize("body", GOOD.values(), ids=GOOD)
def test_what_changes_nothing_is_taken(body, tiny_server):
    status, answer = tiny_server.post(CHAT, body)
    assert status == 200, answer
    assert tiny_server.settled() == {}
