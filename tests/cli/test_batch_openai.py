"""`batch` reads OpenAI's batch files: the same requests as lines of ours, and results as OpenAI's files have them."""

import json
import re

import pytest

from planned_diffusion.inference.batch.tasks import open_tasks

CHAT = [{"role": "user", "content": "What?"}]
# Values that change nothing for the server.
UNCHANGED = [
    *({name: value} for name, values in {
        "n": [1], "stream": [False], "stop": [None], "frequency_penalty": [0, 0.0], "presence_penalty": [0],
        "logit_bias": [{}], "logprobs": [False], "top_logprobs": [None, 0], "response_format": [{"type": "text"}],
        "tools": [[], None], "tool_choice": ["none", "auto"], "parallel_tool_calls": [True, False], "functions": [[]],
        "function_call": ["none", "auto"], "audio": [None], "modalities": [["text"], None], "prediction": [None],
        "reasoning_effort": [None, "none"], "verbosity": [None], "web_search_options": [None], "metadata": [{}],
        "store": [False, None], "service_tier": ["auto", "default"], "prompt_cache_key": ["a"], "user": ["me"],
        "prompt_cache_retention": ["24h"], "safety_identifier": ["b"], "stream_options": [None], "seed": [None],
        "temperature": [None], "top_p": [None], "max_tokens": [None],
    }.items() for value in values),
]  # fmt: skip


def openai_line(body, **fields):
    return {
        "custom_id": "a",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"messages": CHAT, **body},
        **fields,
    }


@pytest.fixture
def read(tmp_path):
    """read(rows) -> the tasks of a file."""

    def read(*rows):
        path = tmp_path / "in.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return list(open_tasks(path))

    return read


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {}),
        ({"model": "gpt", "user": "me", "metadata": {"a": 1}, "store": True}, {}),
        ({"max_tokens": 7}, {"max_new_tokens": 7}),
        ({"max_completion_tokens": 7, "max_tokens": None}, {"max_new_tokens": 7}),
        ({"temperature": 0.5, "top_p": 0.9, "seed": 3}, {"temperature": 0.5, "top_p": 0.9, "seed": 3}),
        ({"temperature": 0}, {"temperature": 0}),
        ({"stop": ["."]}, {"stop_strings": ["."]}),
        ({"n": 1, "stream": False, "presence_penalty": 0.0, "logprobs": None, "tools": []}, {}),
        ({"response_format": {"type": "text"}, "tool_choice": "auto"}, {}),
        ({"steps_ratio": 0.5, "decoding": "planned"}, {"steps_ratio": 0.5, "decoding": "planned"}),
        ({"plan": [[["a", 4]]]}, {"plan": [[["a", 4]]]}),
    ],
)
def test_a_line_is_the_same_request_as_a_line_of_ours(body, fields, read):
    [theirs], [ours] = read(openai_line(body)), read({"id": "a", "messages": CHAT, **fields})
    assert (theirs.id, theirs.prompt, theirs.fields, theirs.plan) == (ours.id, ours.prompt, ours.fields, ours.plan)


@pytest.mark.parametrize("body", UNCHANGED)
def test_what_changes_nothing_for_the_server_changes_nothing_here(body, read):
    """The same file is answered by both."""
    pytest.importorskip("fastapi", reason="the extra serve is not installed")
    from planned_diffusion.inference.server.bodies import ChatBody
    from planned_diffusion.inference.server.body_reading import checked

    assert checked(ChatBody, {"model": "any", "messages": CHAT, **body})
    [theirs], [ours] = read(openai_line(body)), read({"id": "a", "messages": CHAT})
    assert (theirs.prompt, theirs.fields, theirs.plan) == (ours.prompt, ours.fields, ours.plan)


def test_a_developer_is_the_system_and_an_answer_may_be_sent_back_whole(read):
    back = {"role": "assistant", "content": "b", "refusal": None, "annotations": [], "tool_calls": []}
    chat = [{"role": "developer", "content": "a"}, *CHAT, back, *CHAT]
    [task] = read(openai_line({"messages": chat}))
    assert [message["role"] for message in task.prompt] == ["system", "user", "assistant", "user"]


def test_completions_have_a_prompt(read):
    [task] = read({"custom_id": "a", "url": "/v1/completions", "body": {"prompt": "What?"}})
    assert (task.id, task.prompt) == ("a", "What?")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (openai_line({}, method="GET"), "its method is 'GET'; give POST"),
        (openai_line({}, url="/v1/embeddings"), "its url is '/v1/embeddings'; give one of /v1/chat/completions, /v1/c"),
        (openai_line({}, url="/v1/completions"), "its body has no prompt, which /v1/completions needs"),
        (openai_line({}, url=["a"]), "its url is ['a']"),
        (openai_line({}, prompt="a"), "prompt is no field of an OpenAI batch line"),
        ({"custom_id": "a"}, "its body is None; give an object with messages"),
        ({"body": {"messages": CHAT}}, "it has a body and no custom_id"),
        (openai_line({"n": 2}), "n is 2, which batch cannot do"),
        (openai_line({"stream": True}), "stream is True, which batch cannot do"),
        (openai_line({"frequency_penalty": 0.5}), "frequency_penalty is 0.5"),
        (openai_line({"logprobs": True}), "logprobs is True"),
        (openai_line({"tools": [{"type": "function"}]}), "tools is [{"),
        (openai_line({"max_tokens": 5, "max_completion_tokens": 6}), "max_new_tokens twice, once as max_completion"),
        (openai_line({"max_tokens": 0}), "max_new_tokens is 0"),
        (openai_line({"reasoning_effort": "low"}), "reasoning_effort is 'low', which batch cannot do"),
        (openai_line({"modalities": ["text", "audio"]}), "modalities is ['text', 'audio']"),
        (openai_line({"messages": [{"role": ["user"], "content": "a"}]}), "a message has the role ['user']"),
        (openai_line({"polite": True}), "polite is no field of a request"),
        (openai_line({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}), "type 'image_url'"),
        (openai_line({}, custom_id=None), "its id is None"),
    ],
)
def test_what_cannot_be_had_is_refused_with_its_line(row, says, read):
    with pytest.raises(ValueError, match=f"in.jsonl, line 2: .*{re.escape(says)}"):
        read({"prompt": "a"}, row)


def test_answers_come_in_order_with_custom_id_and_response(run, checkpoint, tmp_path):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    lines = [openai_line({"max_tokens": count}, custom_id=f"r{count}") for count in (60, 20, 40)]
    source.write_text("".join(json.dumps(row) + "\n" for row in (*lines, {"id": "ours", "prompt": "What?"})))
    ran = run("batch", source, out, "--model", checkpoint[1], "--batch-size", 2)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert ran.status == 0 and [row["id"] for row in rows] == ["r60", "r20", "r40", "ours"]
    assert [row.get("custom_id") for row in rows] == ["r60", "r20", "r40", None]
    for row in rows[:3]:
        body = row["response"]["body"]
        assert row["response"]["status_code"] == 200 and row["error"] is None and body["object"] == "chat.completion"
        [choice] = body["choices"]
        assert choice["message"] == {"role": "assistant", "content": row["text"]}
        assert choice["finish_reason"] == {"eos": "stop", "length": "length"}[row["ended"]]
        assert body["usage"]["completion_tokens"] == row["counts"]["tokens"]
        assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + row["counts"]["tokens"]
    assert "response" not in rows[3]
