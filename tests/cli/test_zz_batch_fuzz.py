"""200 malformed lines, drawn with a seed: each is a sentence with its line's number, and all others are answered."""

import json
import random

import pytest

from planned_diffusion.inference.batch.tasks import open_tasks

COUNT = 600
GOOD = {"id": "good", "prompt": "What?", "max_new_tokens": 12}
REQUESTS = (
    {"prompt": "What?", "max_new_tokens": 12},
    {"id": "a", "messages": [{"role": "user", "content": "What?"}], "temperature": 0.7, "seed": 1},
    {"prompt": "Why?", "plan": [[["a", 4], ["b", ["It is ", {"blank": 2, "exact": True}]]]], "steps_ratio": 0.5},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}]}], "decoding": "autoregressive"},
    {"custom_id": "b", "method": "POST", "url": "/v1/chat/completions",
     "body": {"model": "m", "messages": [{"role": "user", "content": "What?"}], "max_tokens": 12, "stop": ["."]}},
)  # fmt: skip
ODD = (
    None, True, -1, 0, 1.5, 1e400, float("nan"), "", " ", "text", "\ud800", "\x00", [], {}, [[]], [None], [[[]]],
    [{"role": "user"}], 10**30, 10**400, "9" * 500, [[["a", 10**9]]],
    [{"type": "image"}], {"a": 1},
)  # fmt: skip


HOSTILE = (  # taken as requests; each has stopped a whole run, or might
    {"prompt": "What?", "temperature": 10**30, "seed": 1},
    {"prompt": "What?", "plan": [[["a", [{"blank": 10**30}]]]]},
    {"prompt": "What?", "plan": [[["a", [{"blank": 10**9}]]]]},
    {"prompt": "What?", "top_k": 10**30, "temperature": 1, "max_new_tokens": 10**30},
)


def places_in(value, path=()):
    """The paths of all values inside a value."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        if isinstance(inner, (dict, list)):
            yield from places_in(inner, (*path, key))


def changed(row, noise: random.Random):
    """A copy of a request in which a value is odd, missing, or under another name."""
    row = json.loads(json.dumps(row))
    *path, last = noise.choice(list(places_in(row)))
    inner = row
    for key in path:
        inner = inner[key]
    kind = noise.choice(("odd", "odd", "missing", "renamed"))
    value = inner.pop(last) if kind != "odd" else None
    if kind == "odd":
        inner[last] = noise.choice(ODD)
    elif kind == "renamed" and isinstance(inner, dict):
        inner[f"{last}s"] = value
    return row


def torn(text: str, noise: random.Random) -> bytes:
    """A line that lost its end, a piece, or its encoding, or was written twice."""
    data, at = text.encode(), noise.randrange(1, len(text))
    return noise.choice(
        (
            data[:at],
            data[at:],
            data[:at] + data[at + noise.randrange(1, 4) :],
            data[:at] + bytes([noise.randrange(128, 256)]) + data[at:],
            data + data,
            text.encode("utf-16"),
            b"[" * 5000 + data,
            data[:at] + noise.choice((b'"', b"{", b"]", b",", b"\\", b"\x00")) + data[at:],
        )
    ).replace(b"\n", b"")


def drawn_lines() -> list[bytes]:
    noise = random.Random(771)
    lines = []
    while len(lines) < COUNT:
        row = noise.choice(REQUESTS)
        line = torn(json.dumps(row), noise) if noise.random() < 0.4 else json.dumps(changed(row, noise)).encode()
        lines += [line] if line.strip() and line not in lines else []
    return lines


@pytest.fixture(scope="module")
def sorted_lines(tmp_path_factory):
    """(refused, taken): the drawn lines that are no request, and those that still are one."""
    path, refused, taken = tmp_path_factory.mktemp("fuzz") / "in.jsonl", [], []
    good = json.dumps(GOOD).encode()
    for line in drawn_lines():
        path.write_bytes(good + b"\n\n" + line + b"\n")
        try:
            assert open_tasks(path).count == 2
        except ValueError as error:
            said = str(error)
            assert "line 3: " in said, (line, said)
            assert len(said.split("line 3: ", 1)[1]) > 10 and "\n" not in said, (line, said)
            refused.append(line)
        else:
            taken.append(line)
    return refused, taken


def test_most_lines_are_refused_and_some_are_still_requests(sorted_lines):
    refused, taken = map(len, sorted_lines)
    assert refused + taken == COUNT and refused > 100 and taken > 2


def test_the_command_refuses_them_before_it_writes(sorted_lines, run, checkpoint, tmp_path):
    source = tmp_path / "in.jsonl"
    for line in sorted_lines[0][::8]:
        source.write_bytes(json.dumps(GOOD).encode() + b"\n" + line + b"\n")
        ran = run("batch", source, tmp_path / "out.jsonl", "--model", checkpoint[1])
        assert (ran.status, ran.out) == (2, "") and ran.err.startswith("error: ") and ran.err.count("\n") == 1, line
        assert "line 2: " in ran.err and [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_lines_that_are_requests_are_answered_or_say_why_not(sorted_lines, run, checkpoint, tmp_path):
    """Whatever they ask for, the good lines between them are answered as they are alone."""
    taken = [*map(json.loads, sorted_lines[1]), *HOSTILE]
    rows = []
    for number, row in enumerate(taken):
        own = {"custom_id": f"r{number}"} if "body" in row else {"id": f"r{number}"}
        rows += [row | own, GOOD | {"id": f"good {number}"}]
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ran = run("batch", source, out, "--model", checkpoint[1], "--max-new-tokens", 30)
    assert out.exists(), ran.err
    answers = [json.loads(line) for line in out.read_text().splitlines()]
    failed = tmp_path / "out.jsonl.failed.jsonl"
    failures = [json.loads(line) for line in failed.read_text().splitlines()] if failed.exists() else []
    assert ran.status == bool(failures) and "Traceback" not in ran.err and ran.err.count("\n") == bool(failures)
    assert len(answers) + len(failures) == len(rows)
    good = [row for row in answers if str(row["id"]).startswith("good")]
    assert len(good) == len(taken) and len({row["text"] for row in good}) == 1
    for row in failures:
        assert len(row["error"]) > 10 and "\n" not in row["error"]
