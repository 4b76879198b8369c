"""The replay page: its data are the events folded forward by forward, and whatever a text holds stays text."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from transformers import AutoTokenizer

from planned_diffusion.generation.events import DraftsChecked, Forward, PlanToken, TokensWritten
from planned_diffusion.generation.live_state import LiveState
from planned_diffusion.inference.replay.page import replay_page
from planned_diffusion.inference.replay.page_data import page_run
from planned_diffusion.inference.replay.trace_reading import recorded_run
from planned_diffusion.inference.shown_text import shown

ROUNDS = "Do Kenya and Uganda drive on the same side of the road?"
SETTINGS = {
    "planned": {},
    "rounds": {"prompt": ROUNDS},
    "autoregressive": {"decoding": "autoregressive"},
    "blocks": {"decoding": "block_diffusion", "block_size": 8},
    "drafts": {"decoding": "parallel_speculative", "prompt": ROUNDS},
    "taken back": {"decoding": "self_verified", "confidence_threshold": 0.1},
}
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> & \x1b[31m\u202e\u2028 😀 \ud83d \"'"


class Read(HTMLParser):
    """The tags of a page, and the content of its scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.inside, self._in = [], {}, ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._in = dict(attributes).get("id", tag)

    def handle_endtag(self, tag):
        self._in = ""

    def handle_data(self, data):
        self.inside[self._in] = self.inside.get(self._in, "") + data

    @property
    def data(self):
        return json.loads(self.inside["data"])


def shown_at(part, frame):
    """The text of each position of a part after a forward, None where it is blank."""
    found = []
    for flat in part["cells"]:
        versions = [flat[at : at + 3] for at in range(0, len(flat), 3)]
        texts = [text for at, text, _ in versions if at <= frame]
        found.append(texts[-1] if texts else None)
    return found


@pytest.mark.parametrize("name", SETTINGS)
def test_every_frame_is_the_state_after_that_forward(name, recorded, facts):
    document, events = recorded(**SETTINGS[name])
    data = page_run(recorded_run(document))
    assert len(data["forwards"]) == document["counts"]["forwards"]
    assert sum(one[2] for one in data["forwards"]) == document["counts"]["commits"]
    state, written_by_frame, frame = LiveState(), {}, 0
    for event in events:
        frame += isinstance(event, Forward)
        state.add(event)
        written_by_frame[frame] = len(state.tokens)
    for frame, written in written_by_frame.items():
        assert sum(text is not None for part in data["parts"] for text in shown_at(part, frame)) == written
    last = len(data["forwards"])
    texts = ["".join(text for text in shown_at(part, last) if text) for part in data["parts"]]
    assert "".join(texts) == document["text"]
    plans = [part for parts in document["plans"] for part in parts if part["topic"]]
    planned = [part for part in data["parts"] if part["typed"]]
    assert [(part["topic"], part["length"]) for part in planned] == [(part["topic"], part["length"]) for part in plans]
    assert [part["typed"][-1][1] for part in planned] == [part["topic"] for part in planned]
    scores = [score for event in events if isinstance(event, TokensWritten) for score in event.scores]
    told = [score for part in data["parts"] for flat in part["cells"] for score in flat[2::3] if score is not None]
    assert sorted(told) == pytest.approx(sorted(scores), rel=1e-3)


@pytest.mark.parametrize("name", ["drafts", "rounds"])
def test_drafts_commits_and_plans_stand_in_their_rows(name, recorded):
    document, events = recorded(**SETTINGS[name])
    data = page_run(recorded_run(document))
    rows = [data["outline"], *(part["drafts"] for part in data["parts"])]
    checked = [event for event in events if isinstance(event, DraftsChecked)]
    assert checked
    assert sum(offered for row in rows for _, offered, _ in row) == sum(sum(event.offered) for event in checked)
    assert sum(right for row in rows for _, _, right in row) == sum(sum(event.accepted) for event in checked)
    commits = [number + 1 for number, forward in enumerate(data["forwards"]) if forward[2]]
    assert commits and [part["commits"] for part in data["parts"]] == [commits, commits, []]
    for part in data["parts"]:
        assert part["typed"][0][0] <= part["promised"] <= part["placed"] < part["closed"]
    first = next(number for number, event in enumerate(events) if isinstance(event, PlanToken))
    assert data["parts"][0]["typed"][0][0] >= sum(isinstance(event, Forward) for event in events[:first])


def test_a_page_needs_no_network_and_runs_nothing_but_its_own_script(recorded):
    page = replay_page(recorded()[0], recorded(decoding="autoregressive")[0])
    read = Read(page)
    policy = next(a["content"] for tag, a in read.tags if a.get("http-equiv") == "Content-Security-Policy")
    allowed = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert allowed["default-src"] == allowed["base-uri"] == allowed["form-action"] == "'none'"
    for rule, tag in (("script-src", "script"), ("style-src", "style")):
        digest = base64.b64encode(hashlib.sha256(read.inside[tag].encode()).digest()).decode()
        assert allowed[rule] == f"'sha256-{digest}'"
    assert not {name for _, a in read.tags for name in a} & {"src", "href", "style", "onclick", "onload"}
    addresses = set(re.findall(r"https?://[^\"'\s]+", page))
    assert addresses == {"http://www.w3.org/2000/svg"}  # the name of a format, which no browser fetches
    assert "innerHTML" not in page and "eval(" not in page
    assert [run["name"] for run in read.data["runs"]] == ["planned", "autoregressive"]


def test_hostile_texts_are_data(recorded, written_by_hand, facts):
    document, _ = recorded()
    plain = Read(replay_page(document, document))
    text = json.dumps(document).replace('"capital"', json.dumps(HOSTILE)).replace(" city", json.dumps(HOSTILE)[1:-1])
    document = json.loads(text)
    for name in ("prompt", "text", "model", "decoding", "ended"):
        document[name] = HOSTILE
    page = replay_page(document, document, title=HOSTILE)
    page.encode()  # no half character is left
    read = Read(page)
    assert [tag for tag, _ in read.tags] == [tag for tag, _ in plain.tags]
    assert read.inside["title"] == read.data["title"] == read.data["runs"][0]["prompt"] == shown(HOSTILE)
    cells = [flat[1] for part in read.data["runs"][0]["parts"] for flat in part["cells"]]
    assert shown(HOSTILE) in cells and read.data["runs"][0]["parts"][0]["topic"] == shown(HOSTILE)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", page)


def test_what_would_be_obeyed_is_shown():
    assert shown("a\x1b[2J\x00\x7f\x9b") == "a␛[2J␀␡<U+009B>"
    assert shown("\u202eabc\u2066") == "<U+202E>abc<U+2066>" and shown("\ud83d") == "\N{REPLACEMENT CHARACTER}"
    kept = "tab\tline\n שלום 👩\u200d🚀 é <b>"
    assert shown(kept) == kept


def test_500_tokens_beside_500_stay_below_300_kilobytes(written_by_hand, facts):
    text = " ".join(f"word{number} 😀 </b>" for number in range(100))
    trace = written_by_hand(text, facts.tokenizer)
    tokens = [event for event in trace["events"] if event["event"] == "TokensWritten"]
    assert len(tokens) > 500
    assert len(replay_page(trace, trace).encode()) < 300_000


def test_another_version_and_a_trace_without_an_end(recorded):
    document, _ = recorded()
    with pytest.raises(ValueError, match="version 9"):
        replay_page({**document, "version": 9})
    cut = {**document, "events": document["events"][:30]}
    assert Read(replay_page(cut)).data["runs"][0]["whole"] is False
    empty = Read(replay_page({**document, "events": []})).data["runs"][0]
    assert empty["forwards"] == empty["parts"] == [] and not empty["whole"]


def test_a_tokenizer_is_not_needed(recorded, monkeypatch):
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda *arguments: pytest.fail("loaded"))
    assert "Nairobi" in replay_page(recorded()[0]) or "iro" in replay_page(recorded()[0])
