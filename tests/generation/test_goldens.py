"""What the published implementation computed: same tokens, same steps, same logits, same masks.

The recordings lie beside a checkout (`../shared/golden`), not in it; without them these tests are skipped.
"""

import json
from pathlib import Path

import pytest
import torch
from transformers import Qwen2Config

from planned_diffusion.configuration_planned_diffusion import PlannedDiffusionConfig
from planned_diffusion.generation.engine.filters import filter_logits
from planned_diffusion.generation.events import PlanDone, TokensWritten
from planned_diffusion.generation.visibility import CLEAN, Labels, dense_mask
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM

GOLDEN = (Path(__file__).resolve().parents[2] / "../shared/golden").resolve()
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="no recordings of the published code at ../shared/golden")


def read_json(name: str):
    return json.loads((GOLDEN / name).read_text()) if GOLDEN.is_dir() else []


def read_tensors(name: str) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(GOLDEN / name)


CASES = {case["name"]: case for case in read_json("generation_cases.json")}
BACKBONE_FIELDS = (
    "vocab_size", "max_position_embeddings", "hidden_size", "intermediate_size", "num_hidden_layers", "hidden_act",
    "num_attention_heads", "num_key_value_heads", "rms_norm_eps", "rope_theta", "tie_word_embeddings",
)  # fmt: skip


@pytest.fixture(scope="module")
def golden_model():
    tiny = read_json("tiny_config.json")
    control = {f"{name}_token_id": token for name, token in tiny["control_token_ids"].items()}
    config = PlannedDiffusionConfig(
        Qwen2Config(**{name: tiny[name] for name in BACKBONE_FIELDS}),
        digit_token_ids=[tiny["digit_token_ids"][str(digit)] for digit in range(10)],
        **control,
    )
    model = PlannedDiffusionForCausalLM(config).eval()
    model.load_state_dict(read_tensors("tiny_model.safetensors"))
    return model


@pytest.fixture(scope="module")
def recorded_logits():
    return read_tensors("generation_logits.safetensors")


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def implementation(request, golden_model):
    golden_model.set_attn_implementation(request.param)
    yield request.param
    golden_model.set_attn_implementation("sdpa")


@pytest.mark.parametrize("name", CASES)
def test_token_for_token_and_step_for_step(name, implementation, golden_model):
    case, events = CASES[name], []
    out = golden_model.generate(
        torch.tensor([case["prompt_ids"]]),
        plan=[case["plan_tokens"]],
        span_attention=case["attention"],
        suppress_in_spans=[],
        close_padding=False,
        keep_plan=True,
        max_new_tokens=400,
        output_trace=True,
        return_dict_in_generate=True,
        listener=lambda index, event: events.append(event),
        **{field: case[field] for field in ("unmasking", "steps_ratio", "top_k", "top_p")},
    )
    assert out.sequences[0].tolist() == [*case["output_ids"], 100]
    recorded = [
        (number, step["positions"], step["tokens"])
        for number, part in enumerate(case["rounds"])
        for step in part["steps"]
    ]
    assert [(step.round, list(step.positions), list(step.token_ids)) for step in out.trace[0].steps] == recorded
    assert canvases(events, out.sequences[0].tolist()) == [part["canvas_ids"] for part in case["rounds"]]


def canvases(events, final: list[int]) -> list[list[int]]:
    """The sequence when each round starts denoising, from the events and the finished answer."""
    drawn = []
    for event in events:
        if isinstance(event, PlanDone):
            stop = event.spans[-1].stop + 1
            blanks = {position for span in event.spans for position in span.positions}
            drawn.append([101 if position in blanks else final[position] for position in range(stop)])
        if isinstance(event, TokensWritten):
            assert all(final[p] == token for p, token in zip(event.positions, event.token_ids, strict=True))
    return drawn


# Logits: a plain forward over everything, with the mask of the labels


def labels_of(case: dict, count: int) -> Labels:
    """Labels of the first `count` tokens of a finished case: its promised numbers say where the spans lie."""
    spans, rounds = [-1] * len(case["prompt_ids"]), [0] * len(case["prompt_ids"])
    index = 0
    for number, (plan, promised) in enumerate(zip(case["plan_tokens"], case["span_length_numbers"], strict=True)):
        spans += [-1] * (len(plan) - 1)
        for length in promised:
            spans += [index] * (2 + length * case["length_scale"])
            index += case["attention"] == "sparse"
        index += case["attention"] == "dense"
        rounds += [number] * (len(spans) - len(rounds))
        spans.append(-1)  # the terminator: a <sync/> belongs to the next round
        rounds.append(number + 1)
    spans, rounds = torch.tensor([spans, rounds])[:, :count]
    zero = torch.zeros_like(spans)
    return Labels(zero, spans, rounds, torch.full_like(spans, CLEAN), torch.arange(count))


def full_logits(model, ids: list[int], labels: Labels) -> torch.Tensor:
    mask = dense_mask(labels, labels)[None, None]
    with torch.no_grad():
        return model(torch.tensor([ids]), attention_mask=mask, position_ids=labels.position[None]).logits[0]


@pytest.mark.parametrize("name", CASES)
def test_recorded_logits(name, golden_model, recorded_logits):
    case, final = CASES[name], CASES[name]["output_ids"]
    start = len(case["prompt_ids"])  # of the plan of the round
    planning = list(recorded_logits[f"{name}.ar_logits"])
    for number, (part, plan) in enumerate(zip(case["rounds"], case["plan_tokens"], strict=True)):
        # Each plan token is predicted by its left neighbour, the terminator by the last </topic>.
        logits = full_logits(golden_model, final[: start + len(plan) - 1], labels_of(case, start + len(plan) - 1))
        for row in logits[start - 1 :]:
            close_after_filters(row, planning.pop(0), case)
        for which in ("first", "last"):
            ids = list(part["canvas_ids"])
            for step in part["steps"][: 0 if which == "first" else -1]:
                for position, token in zip(step["positions"], step["tokens"], strict=True):
                    ids[position] = token
            positions = recorded_logits[f"{name}.g{number}.pos_{which}"]
            logits = full_logits(golden_model, ids, labels_of(case, len(ids)))[positions - 1]
            torch.testing.assert_close(logits, recorded_logits[f"{name}.g{number}.logits_{which}"], atol=1e-4, rtol=0)
        start = len(part["canvas_ids"]) + 1
    assert not planning


def close_after_filters(logits: torch.Tensor, recorded: torch.Tensor, case: dict) -> None:
    lowest = torch.finfo(torch.float32).min
    kept = filter_logits(logits[None], case["top_k"], case["top_p"])[0] > lowest
    assert kept.equal(recorded > lowest)
    torch.testing.assert_close(logits[kept], recorded[kept], atol=1e-4, rtol=0)


# Masks of the published training code


def labels_of_tags(ids: list[int], special: dict[str, int], dense: bool) -> Labels:
    spans, rounds, inside, index, number = [], [], False, 0, 0
    for token in ids:
        inside = inside or token == special["async_start"]
        number += token == special["sync"]
        spans.append((number if dense else index) if inside else -1)
        rounds.append(number)
        if token == special["async_end"]:
            inside, index = False, index + 1
    spans, rounds = torch.tensor([spans, rounds])
    zero = torch.zeros_like(spans)
    return Labels(zero, spans, rounds, zero, torch.arange(len(ids)))


@pytest.mark.parametrize("attention", ["sparse", "dense"])
def test_training_masks_bit_for_bit(attention):
    recorded, sequences = read_tensors("attention_masks.safetensors"), read_json("attention_sequences.json")
    for sequence in sequences["sequences"]:
        labels = labels_of_tags(sequence["ids"], sequences["special"], attention == "dense")
        assert dense_mask(labels, labels).equal(recorded[f"{sequence['name']}.{attention}"].bool()), sequence["name"]
