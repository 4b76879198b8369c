"""Requests that run one row each, as a batch: the numbers of one line, chosen where heads share keys."""

import pytest
import torch
from transformers import LlamaConfig

from planned_diffusion.generation.engine import runner
from planned_diffusion.generation.engine.packing import Layout, Packed, Segment
from planned_diffusion.generation.engine.runner import Runner
from planned_diffusion.generation.engine.single_rows import heads_per_key, single_rows
from planned_diffusion.generation.visibility import CAUSAL, CLEAN, NO_DOCUMENT, NO_SPAN, Labels

CPU = torch.device("cpu")


def llama_config(heads: int = 4, of_keys: int = 2, implementation: str = "sdpa") -> LlamaConfig:
    config = LlamaConfig(num_attention_heads=heads, num_key_value_heads=of_keys)
    config._attn_implementation = implementation
    return config


def forward_of(rows: list[int], slots: list[int]) -> Packed:
    """A forward of requests that run so many rows and hold so many slots, in turn."""
    count, segments, start, first = sum(rows), [], 0, 0
    for own, held in zip(rows, slots, strict=True):
        segments.append(Segment(range(start, start + own), range(first, first + held)))
        start, first = start + own, first + held
    column = list(range(count))
    return Packed(column, Layout(column, column, column, column, column, column), segments, column)


def test_a_batch_is_chosen_where_every_request_runs_one_row_and_heads_share_keys():
    config, alike = llama_config(), forward_of([1, 1, 1], [9, 7, 8])
    batch = single_rows(alike, config, CPU)
    assert batch is not None
    assert batch.slots.tolist() == [[*range(9)], [*range(9, 16), 15, 15], [*range(16, 24), 23]]
    assert batch.held.tolist() == [9, 7, 8]
    assert single_rows(forward_of([1], [9]), config, CPU) is None
    assert single_rows(forward_of([1, 2, 1], [9, 7, 8]), config, CPU) is None
    assert single_rows(forward_of([2, 2], [9, 7]), config, CPU) is None
    assert single_rows(forward_of([1, 1, 1], [90, 7, 8]), config, CPU) is None, "padding would be most of it"
    assert single_rows(alike, llama_config(of_keys=4), CPU) is None
    assert single_rows(alike, llama_config(implementation="eager"), CPU) is None
    assert single_rows(alike, config, torch.device("meta")) is None


def test_what_does_not_tell_its_heads_shares_no_keys():
    config = llama_config()
    config.num_key_value_heads = None
    assert heads_per_key(config) == 1


def test_a_row_sees_what_it_would_see_in_one_line_and_no_padding():
    """Rows ask, columns are seen: the slots of each request in turn, and its last one again as padding."""
    batch = single_rows(forward_of([1, 1], [4, 3]), llama_config(), CPU)
    nothing = torch.zeros(1, 8, dtype=torch.long)
    document = torch.tensor([[0, 0, 0, 0, 1, 1, 1, NO_DOCUMENT]])
    span = torch.tensor([[-1, 0, 1, 1, -1, -1, -1, -1]])
    key = Labels(document, span, nothing, nothing, torch.tensor([[0, 1, 2, 3, 0, 1, 2, 0]]))
    query = key.each(lambda label: label[:, [3, 5]])
    mask = batch.mask(query, key, torch.float32)
    assert mask.shape == (2, 1, 1, 4)
    drawn = ["".join("#" if value == 0 else "." for value in row) for row in mask[:, 0, 0].tolist()]
    assert drawn == ["#.##", "##.."]


@torch.no_grad()
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "mistral"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_are_those_of_one_line(architecture, dtype, build_model, monkeypatch):
    """Three requests, one of them in a span and one in the CAUSAL stream, whose slots lie across one another."""
    model, ran = build_model(architecture, seed=3, dtype=dtype), []
    original = runner.single_rows

    def answers() -> torch.Tensor:
        one, found = Runner(model), []
        for position in range(9):
            columns, segments, ids = Layout([], [], [], [], [], []), [], []
            for document, (span, stream) in enumerate(((NO_SPAN, CLEAN), (0, CLEAN), (0, CAUSAL))):
                if document == 2 and position == 0:
                    continue  # it comes later, so that it holds fewer slots
                inside = position > 3
                place = ([stream if inside else CLEAN], [position])
                columns.slots.extend(one.slots.place(document, *place))
                columns.documents.append(document)
                columns.spans.append(span if inside else NO_SPAN)
                columns.rounds.append(0)
                columns.streams.extend(place[0])
                columns.positions.append(position)
                row = len(ids)
                segments.append(Segment(range(row, row + 1), one.slots.held_by(document)))
                ids.append((7 + 13 * position + document) % 100)
            found.append(one.logits(Packed(ids, columns, segments, list(range(len(ids))))))
        return torch.cat(found)

    monkeypatch.setattr(runner, "single_rows", lambda *args: ran.append(original(*args)) or ran[-1])
    batched = answers()
    assert all(ran) and len(ran) == 9
    monkeypatch.setattr(runner, "single_rows", lambda *args: None)
    tolerance = 1e-4 if dtype == torch.float32 else 0.1
    torch.testing.assert_close(batched, answers(), rtol=tolerance, atol=tolerance)


@torch.no_grad()
def test_answers_of_a_batch_are_those_of_its_rows(build_model, prompts, left_padded, monkeypatch):
    model, ran = build_model("llama", seed=4), []
    original = runner.single_rows
    monkeypatch.setattr(runner, "single_rows", lambda *args: ran.append(original(*args)) or ran[-1])
    rows = prompts(5, 20, seed=6)
    ids, mask = left_padded(rows)
    fields = {"decoding": "autoregressive", "max_new_tokens": 30, "do_sample": False}
    together = model.generate(ids, attention_mask=mask, **fields)
    assert sum(batch is not None for batch in ran) > 20
    for row, prompt in zip(together[:, ids.shape[1] :], rows, strict=True):
        alone = model.generate(torch.tensor([prompt]), **fields)[0, len(prompt) :]
        assert row[: len(alone)].equal(alone)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_a_mask_that_is_made_additive_once_changes_no_bit(dtype, build_model, monkeypatch):
    """A prompt at once, then one token more: dense masks, of which every layer makes its own where they are bool."""
    model, types = build_model("llama", seed=3, dtype=dtype), []
    forward = model.model.forward
    monkeypatch.setattr(
        model.model, "forward", lambda **kwargs: types.append(kwargs["attention_mask"].dtype) or forward(**kwargs)
    )

    def answers() -> torch.Tensor:
        one, found = Runner(model), []
        for positions in (range(9), range(9, 10)):
            columns = [[0] * len(positions) for _ in range(4)]
            columns[1] = [NO_SPAN] * len(positions)
            layout = Layout(one.slots.place(0, columns[3], positions), *columns, list(positions))
            segment = Segment(range(len(positions)), one.slots.held_by(0))
            rows = list(range(len(positions)))
            found.append(one.logits(Packed([7 + position for position in positions], layout, [segment], rows)))
        return torch.cat(found)

    additive = answers()
    monkeypatch.setattr(runner, "MOST_CONVERTED", 0)
    assert additive.equal(answers())
    assert types == [torch.float64 if dtype == torch.float64 else torch.float32] * 2 + [torch.bool] * 2
