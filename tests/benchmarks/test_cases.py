"""Every case runs on a tiny model and keeps valid JSON; the scripted requests cost what they say."""

import json
import sys

import pytest
import torch
from bench import commit, denoising, engine_step, ideal_step, planning, step_row, sweep
from cases.batch import overtaken_at, planned_tokens_per_second
from cases.precision import measure_precision
from ideal import Ideal
from plans import MIX, PAPER, SIX_BY_FORTY, Scripted, autoregressive_request, recorded, scripted_request
from quantise import PRECISIONS, model_of
from run import CASES, OF_THE_EMBEDDED_MODEL, run_case

from planned_diffusion.generation.engine.engine import Engine
from planned_diffusion.generation.events import Ended
from planned_diffusion.generation.query import Sampling

SMALL = Scripted(rounds=((2, 1), (1,)), unit=2, topic_tokens=1)


def events_of(model, decoder):
    engine = Engine(model)
    engine.add(decoder, Sampling())
    return [event for _, event in engine.run()]


@pytest.fixture
def small_requests(monkeypatch):
    for place in ("cases.requests.PAPER", "cases.fill.SIX_BY_FORTY"):
        monkeypatch.setattr(place, SMALL)
    monkeypatch.setattr("cases.requests.MIX", (SMALL, SMALL))
    monkeypatch.setattr("cases.requests.AUTOREGRESSIVE_TOKENS", 5)
    monkeypatch.setattr("cases.requests.SHORT", 5)
    monkeypatch.setattr("cases.steps.CONTEXTS", (8, 16))
    monkeypatch.setattr("cases.batch.BATCHES", (1, 2))


@pytest.mark.parametrize("name", [name for name in CASES if name not in (*OF_THE_EMBEDDED_MODEL, "precision")])
def test_every_case_keeps_rows_as_json(name, bench, small_requests, tmp_path):
    path = tmp_path / "results.json"
    run_case(bench, name, path)
    content = json.loads(path.read_text(), parse_constant=lambda value: pytest.fail(f"{value} in the file"))
    case = content["cases"][name]
    assert case["title"] and case["stamp"]["shape"] == "tiny" and case["machine"]["flops_per_s"] == 1e10
    assert case["rows"]
    for row in case["rows"]:
        assert "note" not in row and row["ms"] > 0 and row["repeats"] >= 1


def test_a_case_is_kept_beside_those_of_earlier_runs(bench, small_requests, tmp_path):
    path = tmp_path / "results.json"
    for name in ("kinds", "tokens"):
        run_case(bench, name, path)
    assert list(json.loads(path.read_text())["cases"]) == ["kinds", "tokens"]


class Results(list):
    put = list.extend


def test_precisions_and_their_weights(bench):
    pytest.importorskip("bitsandbytes")
    rows, run_here = Results(), [precision for precision in PRECISIONS if "torchao" not in precision]
    for precision in run_here:
        measure_precision(bench, precision, threads=1, results=rows)
    assert [(row["precision"], row["tokens"]) for row in rows] == [
        (precision, tokens) for precision in run_here for tokens in (1, 64, 256)
    ]
    weights = {row["precision"]: row["weights GB"] for row in rows}
    assert weights["nf4"] == pytest.approx(weights["nf4 dequantised"], rel=0.02)
    assert weights["nf4"] < weights["int8"] < weights["bf16"]


@pytest.mark.parametrize(
    "precision", ["nf4", "nf4 dequantised", "int8", "int8 torchao", "int8 torchao, activations too"]
)
def test_quantised_layers_compute_nearly_the_same(precision):
    pytest.importorskip("torchao" if "torchao" in precision else "bitsandbytes")
    ids = torch.randint(100, 1000, (1, 40), generator=torch.Generator().manual_seed(0))
    exact, quantised = (model_of("embedded", "cpu", name)(ids).logits.float() for name in ("bf16", precision))
    assert torch.nn.functional.cosine_similarity(exact, quantised, dim=-1).min() > 0.9


def test_without_bitsandbytes_it_is_said_what_to_install(bench, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes.nn", None)
    rows = Results()
    measure_precision(bench, "nf4", threads=1, results=rows)
    note = "not run: nf4 needs bitsandbytes; run pip install bitsandbytes."
    assert rows == [{"precision": "nf4", "note": note}]


@pytest.mark.slow
def test_a_precision_runs_in_a_process_of_its_own(bench, monkeypatch):
    monkeypatch.setattr("cases.precision.PRECISIONS", ("bf16",))
    assert [row["tokens"] for row in CASES["precision"](bench)] == [1, 64, 256]


def test_the_papers_averages_are_those_of_its_script():
    """31 plan tokens, 124 steps of about 130 tokens: a span of n tokens is open for n steps with its two tags."""
    assert (PAPER.plan_tokens, PAPER.steps, PAPER.spans) == (31, 124, 6)
    lengths = [2 * number for promises in PAPER.rounds for number in promises]
    assert sum((length + 2) * length for length in lengths) / PAPER.steps == pytest.approx(129.5, abs=0.1)
    assert (SIX_BY_FORTY.plan_tokens, SIX_BY_FORTY.steps, SIX_BY_FORTY.text_tokens) == (31, 40, 240)


def test_the_mix_keeps_its_bounds():
    for scripted in MIX:
        assert 1 <= len(scripted.rounds) <= 3
        assert all(1 <= len(promises) <= 10 for promises in scripted.rounds)
        assert all(10 <= 10 * number <= 80 for promises in scripted.rounds for number in promises)


@pytest.mark.parametrize("scripted", [SMALL, MIX[0]])
def test_a_scripted_request_costs_what_it_says(bench, scripted):
    log = []
    events = events_of(bench.model, recorded(scripted_request(bench.model, scripted, bench.prompt(5)), log))
    purposes = [query.purpose for query in log]
    assert (purposes.count("planning"), purposes.count("denoising")) == (scripted.plan_tokens, scripted.steps)
    assert len(events[-1].written_ids) == scripted.tokens
    assert sum(query.commits for query in log) == len(scripted.rounds) - 1


def test_a_left_to_right_request_writes_so_many_tokens(bench):
    ended = events_of(bench.model, autoregressive_request(bench.model, 7, bench.prompt(5)))[-1]
    assert isinstance(ended, Ended) and ended.reason == "length" and len(ended.answer_ids) == 7


def test_the_idealised_loop_computes_what_the_engine_runs(bench):
    """The same queries, one by one: the rows that it scores draw what the engine drew."""
    log, drawn = [], []

    def listening(decoder):
        reply = None
        while True:
            try:
                item = decoder.send(reply)
            except StopIteration:
                return
            reply = yield item
            if reply is not None:
                drawn.append(reply)

    script = scripted_request(bench.model, MIX[0], bench.prompt(9))
    events_of(bench.model, recorded(listening(script), log))
    ideal = Ideal(bench.model, 1, 9 + MIX[0].tokens)
    assert len(drawn) == len(log)
    for query, reply in zip(log, drawn, strict=True):
        logits = ideal.prepare(query)()[0]
        assert logits.shape[0] == len(query.wanted)
        if query.purpose == "denoising":
            for row, token in zip(logits, reply.token_ids, strict=True):
                row[sorted(query.allowed.ids)] = -torch.inf
                assert row[token] == pytest.approx(row.max().item(), abs=1e-4)


@pytest.mark.parametrize("kind", ["planning", "denoising", "commit"])
def test_a_step_runs_for_every_request_of_a_batch(bench, kind):
    query = {"planning": lambda: planning(bench, 9), "denoising": lambda: denoising(bench, 9, 50),
             "commit": lambda: commit(bench, 9, 50)}[kind]()  # fmt: skip
    assert ideal_step(bench, query, 9, batch=3)().shape == (3, len(query.wanted), 512)
    engine_step(bench, query, 9, batch=3)()
    row = step_row(bench, query, 9, batch=3)
    assert row["tokens"] == 3 * len(query.token_ids) and row["x limit"] == pytest.approx(row["ms"] / row["limit ms"])


def test_a_sweep_ends_before_a_point_that_takes_too_long(bench):
    ran = []

    def point(size: int) -> dict:
        ran.append(size)
        return {"tokens": size, "ms": 1000.0 * size}  # five of them within 30 s: up to 6 s

    rows = sweep(bench, "tokens", (1, 2, 4, 8, 16), point)
    assert ran == [1, 2, 4] and rows[-1] == {"tokens": 8, "note": "not run: more than 30 s"}


def test_a_sweep_ends_where_memory_does(bench):
    def point(size: int) -> dict:
        if size > 1:
            raise torch.OutOfMemoryError("no more")
        return {"tokens": size, "ms": 1.0}

    assert sweep(bench, "tokens", (1, 2, 4), point)[-1] == {"tokens": 2, "note": "not run: out of memory"}


def test_tokens_per_second_of_a_planned_answer_by_hand():
    # 31 steps of 10 ms and 124 of 20 ms are 2.79 s for 367 tokens, eight at a time
    assert planned_tokens_per_second(8, 10.0, 20.0) == pytest.approx(8 * 367 / 2.79)


def test_where_left_to_right_overtakes():
    rows = [{"batch": batch, "autoregressive tokens/s": batch, "planned tokens/s": 5} for batch in (1, 4, 8)]
    assert overtaken_at(rows) == 8
    assert overtaken_at(rows[:2]) is None
