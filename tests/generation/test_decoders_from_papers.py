"""Every decoder against a slow reading of its paper: one request, explicit masks, everything recomputed at every step.

The readings share nothing with the package but the model: lists of ids, a bool matrix of who sees whom, and `pick`,
the papers' choice of blanks. Where a paper's cache is approximate, the reading keeps keys and values by hand.
"""

import pytest
import torch
from transformers import DynamicCache

EOS, MASK, PAD = 100, 101, 107
FORBIDDEN = [101, 102, 103, 104, 105, 106]  # tags; a `[PAD]` ends an answer as EOS does
PROMPT = [5, 60, 33, 97, 12, 80]
PROMPTS = [PROMPT, [7], [44, 3, 9, 91], [2, 2, 50, 66, 13, 8, 8, 21]]


# What the readings have in common


def causal(count: int) -> torch.Tensor:
    return torch.ones(count, count, dtype=torch.bool).tril()


def answer_sees_all(prompt: int, length: int) -> torch.Tensor:
    """[N, N]: the prompt is causal, the answer sees everything."""
    visible = causal(prompt + length)
    visible[prompt:] = True
    return visible


def blocks_see_back(prompt: int, length: int, size: int) -> torch.Tensor:
    """[N, N]: the prompt is causal; a block sees the prompt, the blocks before it, and itself."""
    visible = causal(prompt + length)
    for start in range(prompt, prompt + length, size):
        visible[start : start + size, start : start + size] = True
    return visible


@torch.no_grad()
def probabilities_at(model, ids: list[int], visible: torch.Tensor) -> torch.Tensor:
    """[N, V]: of the token at each position, predicted by the row of its left neighbour."""
    logits = model(torch.tensor([ids]), attention_mask=visible[None, None]).logits[0].float()
    return allowed_probabilities(logits).roll(1, dims=0)


def allowed_probabilities(logits: torch.Tensor) -> torch.Tensor:
    logits = logits.clone()
    logits[:, FORBIDDEN] = -torch.inf
    return logits.softmax(-1)


def pick(probabilities: dict[int, torch.Tensor], count: int, order: str, threshold: float | None) -> list[int]:
    """The `count` surest positions, and those that reach the threshold."""
    rank = {
        "entropy": lambda row: (row * row.clamp(min=1e-30).log()).sum(),
        "confidence": lambda row: row.max(),
        "margin": lambda row: row.topk(2).values[0] - row.topk(2).values[1],
    }[order]
    ranked = sorted(probabilities, key=lambda position: -float(rank(probabilities[position])))
    sure = {position for position, row in probabilities.items() if threshold and float(row.max()) >= threshold}
    return sorted(set(ranked[:count]) | sure)


def count_of_dream(blanks: int, step: int, steps: int) -> int:
    """How many tokens Dream's linear schedule writes in a step; here at least one."""
    times = torch.linspace(1, 1e-3, steps + 1)
    return blanks if step == steps - 1 else max(1, int(blanks * (1 - times[step + 1] / times[step])))


def write(ids: list[int], chosen: list[int], probabilities, last: int, snapshots: dict | None = None) -> None:
    """Writes what was chosen; behind a written EOS or `[PAD]` the blanks up to `last` become pads."""
    for position in chosen:
        ids[position] = int(probabilities[position].argmax())
        if snapshots is not None:
            snapshots[position] = float(probabilities[position].max())
    ends = [position for position in chosen if ids[position] in (EOS, PAD)]
    if ends:
        ids[min(ends) : last] = [PAD if token == MASK else token for token in ids[min(ends) : last]]


def finished(ids: list[int], start: int) -> bool:
    ends = [position for position in range(start, len(ids)) if ids[position] in (EOS, PAD)]
    return MASK not in (ids[: ends[0]] if ends else ids)


def answer_of(ids: list[int], start: int) -> list[int]:
    """The answer up to its first EOS or `[PAD]`, which reads as EOS."""
    answer = ids[start:]
    ends = [index for index, token in enumerate(answer) if token in (EOS, PAD)]
    return [*answer[: ends[0]], EOS] if ends else answer


def generated(model, prompt: list[int], **fields) -> list[int]:
    out = model.generate(torch.tensor([prompt]), do_sample=False, pad_token_id=99, **fields)
    return out[0, len(prompt) :].tolist()


# Dream: plain masked diffusion


def dream(model, prompt, length, steps, order="entropy", threshold=None) -> list[int]:
    start = len(prompt)
    ids = prompt + [MASK] * length
    visible = answer_sees_all(start, length)
    for step in range(steps):
        blanks = [position for position, token in enumerate(ids) if token == MASK]
        count = count_of_dream(len(blanks), step, steps)
        rows = probabilities_at(model, ids, visible)
        write(ids, pick({p: rows[p] for p in blanks}, count, order, threshold), rows, len(ids))
        if finished(ids, start):
            break
    return answer_of(ids, start)


@pytest.mark.parametrize(
    "ratio, order, threshold",
    [(1.0, "entropy", None), (0.5, "entropy", None), (0.25, "confidence", None), (0.5, "margin", None),
     (1.0, "confidence", 0.3)],
)  # fmt: skip
@pytest.mark.parametrize("prompt", PROMPTS, ids=len)
def test_diffusion_is_dream(prompt, ratio, order, threshold, model):
    expected = dream(model, prompt, 24, int(24 * ratio), order, threshold)
    fields = {"steps_ratio": ratio, "unmasking": order, "confidence_threshold": threshold}
    assert generated(model, prompt, decoding="diffusion", max_new_tokens=24, **fields) == expected


# Next-block diffusion


def next_block(model, prompt, length, size, ratio=1.0, threshold=None) -> list[int]:
    return answer_of(drafted_in_blocks(model, prompt, length, size, ratio, threshold, {}), len(prompt))


def drafted_in_blocks(model, prompt, length, size, ratio, threshold, snapshots: dict[int, float]) -> list[int]:
    """Prompt and answer, with what stands behind its end; `snapshots` takes the confidence of every token written."""
    start, ids = len(prompt), list(prompt)
    while len(ids) < start + length and not set(ids[start:]) & {EOS, PAD}:
        block = range(len(ids), min(len(ids) + size, start + length))
        ids += [MASK] * len(block)
        visible = blocks_see_back(start, len(ids) - start, size)
        steps = max(1, int(len(block) * ratio))
        for step in range(steps):
            blanks = [position for position in block if ids[position] == MASK]
            count = count_of_dream(len(blanks), step, steps)
            rows = probabilities_at(model, ids, visible)
            write(ids, pick({p: rows[p] for p in blanks}, count, "entropy", threshold), rows, len(ids), snapshots)
            if finished(ids, start):
                break
    return ids


@pytest.mark.parametrize("size, ratio, threshold", [(2, 1.0, None), (8, 0.5, None), (5, 1.0, 0.3), (24, 1.0, None)])
@pytest.mark.parametrize("prompt", PROMPTS, ids=len)
def test_block_diffusion_is_next_block(prompt, size, ratio, threshold, model):
    expected = next_block(model, prompt, 24, size, ratio, threshold)
    fields = {"block_size": size, "steps_ratio": ratio, "confidence_threshold": threshold}
    assert generated(model, prompt, decoding="block_diffusion", max_new_tokens=24, **fields) == expected


@pytest.mark.parametrize("prompt", PROMPTS, ids=len)
def test_blocks_of_one_are_left_to_right_decoding(prompt, model):
    traces, sequences = [], []
    for fields in ({"decoding": "block_diffusion", "block_size": 1}, {"decoding": "autoregressive"}):
        out = model.generate(torch.tensor([prompt]), max_new_tokens=40, return_dict_in_generate=True, **fields)
        sequences.append(out.sequences.tolist())
        traces.append(out.trace[0])
    assert sequences[0] == sequences[1]
    assert (traces[0].forwards, traces[0].tokens_run) == (traces[1].forwards, traces[1].tokens_run)


# Fast-dLLM


class KeptStates:
    """Keys and values of every position as they were when it ran last; attention is to all of the answer."""

    def __init__(self, model, prompt: int):
        self.model, self.prompt = model, prompt
        self.keys, self.values = {}, {}  # (layer, position) -> [1, heads, 1, head size]

    @torch.no_grad()
    def run(self, ids: list[int], positions: list[int]) -> dict[int, torch.Tensor]:
        """Runs some positions beside the kept states of the others; position + 1 -> probabilities, [V]."""
        others = [position for position in range(len(ids)) if position not in positions]
        visible = answer_sees_all(self.prompt, len(ids) - self.prompt)[positions][:, [*others, *positions]]
        past = DynamicCache(config=self.model.model.config)
        layers = self.model.model.config.num_hidden_layers
        for layer in range(layers) if others else ():
            keys, values = (torch.cat([kept[layer, p] for p in others], dim=2) for kept in (self.keys, self.values))
            past.update(keys, values, layer)
        out = self.model(
            torch.tensor([[ids[p] for p in positions]]), attention_mask=visible[None, None],
            position_ids=torch.tensor([positions]), past_key_values=past, use_cache=True,
        )  # fmt: skip
        for layer in range(layers):
            for index, position in enumerate(positions, start=len(others)):
                self.keys[layer, position] = past.layers[layer].keys[:, :, index : index + 1]
                self.values[layer, position] = past.layers[layer].values[:, :, index : index + 1]
        rows = allowed_probabilities(out.logits[0].float())
        return {position + 1: row for position, row in zip(positions, rows, strict=True)}


def fast_dllm(model, prompt, length, size, cache, threshold=None, factor=None) -> list[int]:
    """Algorithm 1 of 2505.22618, with the cache update of a block fused with the next one's first step."""
    start = len(prompt)
    ids = prompt + [MASK] * length
    states = KeptStates(model, start)
    for first in range(start, len(ids), size):
        last = min(first + size, len(ids))
        entering = True
        while MASK in ids[first:last] and not finished(ids, start):
            blanks = [position for position in range(first, last) if ids[position] == MASK]
            if entering:  # cache update: the first time the prompt as well
                run = list(range(0 if first == start else start, len(ids)))
            else:
                run = {"dual": range(first, last), "prefix": range(first, len(ids)), "none": range(start, len(ids))}
                run = list(run[cache])
            if first in blanks and first - 1 not in run:
                run.insert(0, first - 1)  # its row predicts the block's first token
            rows = states.run(ids, run)
            ranked = sorted(blanks, key=lambda position: -float(rows[position].max()))
            if factor is None:
                chosen = {ranked[0], *(p for p in blanks if threshold and float(rows[p].max()) >= threshold)}
            else:
                fits = [n for n, p in enumerate(ranked, 1) if (n + 1) * (1 - float(rows[p].max())) < factor]
                chosen = set(ranked[: max(fits, default=1)])
            write(ids, sorted(chosen), rows, last)
            entering = False
    return answer_of(ids, start)


@pytest.mark.parametrize("rule", [{"threshold": 0.3}, {"threshold": None}, {"factor": 1.5}], ids=str)
@pytest.mark.parametrize("cache", ["dual", "prefix", "none"])
@pytest.mark.parametrize("prompt", PROMPTS[:3], ids=len)
def test_fast_dllm_is_algorithm_1(prompt, cache, rule, model):
    expected = fast_dllm(model, prompt, 24, 8, cache, **rule)
    fields = {"unmasking": "confidence", "confidence_threshold": rule.get("threshold")}
    if "factor" in rule:
        fields = {"unmasking_rule": "factor", "confidence_factor": rule["factor"]}
    fields |= {"block_size": 8, "block_cache": cache}
    assert generated(model, prompt, decoding="fast_dllm", max_new_tokens=24, **fields) == expected


def test_the_caches_differ_where_they_are_approximate(model):
    answers = {}
    for cache in ("dual", "prefix", "none"):
        fields = {"decoding": "fast_dllm", "block_size": 8, "block_cache": cache, "max_new_tokens": 48}
        answers[cache] = [tuple(generated(model, prompt, **fields)) for prompt in PROMPTS]
    assert answers["dual"] != answers["none"] and answers["prefix"] != answers["none"]


@pytest.mark.parametrize("cache", ["dual", "prefix", "none"])
@pytest.mark.parametrize("prompt", PROMPTS, ids=len)
def test_one_block_for_everything_is_plain_diffusion(prompt, cache, model):
    fields = {"max_new_tokens": 24, "steps_ratio": 0.5}
    expected = generated(model, prompt, decoding="diffusion", **fields)
    assert generated(model, prompt, decoding="fast_dllm", block_size=24, block_cache=cache, **fields) == expected
    assert generated(model, prompt, decoding="block_diffusion", block_size=24, **fields) == expected


# Parallel autoregression: spans of a plan, each from left to right

TWO_SPANS = [104, 30, 21, 105, 104, 31, 18, 105, 100]  # 6 and 3 tokens
ROUNDS = [[104, 30, 20, 105, 104, 31, 18, 105, 106], [104, 32, 21, 105, 100]]  # 5 and 3, then 6


@torch.no_grad()
def left_to_right(model, context: list[int], positions: list[int], visible: torch.Tensor, room: int, at: int):
    """Greedy text behind a context that ends in `<async>`, up to `room` tokens; the rest are pads after the first."""
    written = []
    while len(written) < room and PAD not in written:
        count = len(context) + len(written)
        mask = causal(count)
        mask[: len(context), : len(context)] = visible
        place = positions + [at + index for index in range(len(written))]
        logits = model(
            torch.tensor([context + written]), attention_mask=mask[None, None], position_ids=torch.tensor([place])
        ).logits[0, -1:].float()  # fmt: skip
        row = logits.clone()
        row[:, [*FORBIDDEN, EOS]] = -torch.inf
        written.append(int(row.argmax()))
    return written + [PAD] * (room - len(written))


def parallel_spans(model, prompt: list[int], rounds: list[tuple[list[int], list[int]]]) -> list[int]:
    """Rounds of (plan without terminator, lengths), as written. Finished spans are read in both directions."""
    ids, groups = list(prompt), [-1] * len(prompt)  # group: -1 outside spans, else the span's number
    for number, (plan, lengths) in enumerate(rounds):
        if number:
            ids, groups = [*ids, 106], [*groups, -1]
        ids, groups = ids + plan, groups + [-1] * len(plan)
        context = len(ids)
        visible = causal(context)
        for i in range(context):
            for j in range(context):
                visible[i, j] |= groups[i] == groups[j] != -1
        for i in range(context):  # a span of an earlier round does not see its neighbours of that round
            for j in range(i):
                same_round = 106 not in ids[j : i + 1]
                if same_round and groups[i] != -1 and groups[j] not in (-1, groups[i]):
                    visible[i, j] = False
        at = context
        spans = []
        for length in lengths:
            row = torch.ones(1, context + 1, dtype=torch.bool)  # <async> sees all that is final, and itself
            seen = torch.cat([torch.cat([visible, torch.zeros(context, 1, dtype=torch.bool)], 1), row])
            text = left_to_right(model, [*ids, 102], [*range(context), at], seen, length, at + 1)
            spans.append([102, *text, 103])
            at += length + 2
        for span in spans:
            groups += [max(groups) + 1] * len(span)
            ids += span
    return [*ids[len(prompt) :], EOS]


@pytest.mark.parametrize("prompt", PROMPTS, ids=len)
@pytest.mark.parametrize("plan", [[TWO_SPANS], ROUNDS], ids=["one round", "two rounds"])
def test_parallel_autoregressive_is_text_behind_each_async(plan, prompt, build_model):
    model = build_model(tokens_per_length_unit=1)
    lengths = [[6, 3]] if len(plan) == 1 else [[5, 3], [6]]
    expected = parallel_spans(model, prompt, [(part[:-1], room) for part, room in zip(plan, lengths, strict=True)])
    fields = {"plan": [plan], "keep_plan": True, "max_new_tokens": 80}
    assert generated(model, prompt, decoding="parallel_autoregressive", **fields) == expected


@pytest.mark.parametrize("prompt", PROMPTS, ids=len)
def test_a_lone_span_is_ordinary_greedy_text(prompt, build_model):
    """No mask at all: the native model, greedy, behind prompt, plan and `<async>`."""
    model, context = build_model(tokens_per_length_unit=1), [*prompt, 104, 30, 24, 105, 102]
    text = []
    while len(text) < 9 and PAD not in text:
        with torch.no_grad():
            logits = model(torch.tensor([context + text])).logits[0, -1]
        logits[[*FORBIDDEN, EOS]] = -torch.inf
        text.append(int(logits.argmax()))
    out = generated(
        model, prompt, decoding="parallel_autoregressive", plan=[[[104, 30, 24, 105, 100]]], max_new_tokens=80
    )
    assert out == [*(token for token in text if token != PAD), EOS]


def test_its_critical_path_is_that_of_planned_diffusion_at_ratio_1(build_model):
    model, traces = build_model(tokens_per_length_unit=1), {}
    for decoding in ("planned", "parallel_autoregressive"):
        out = model.generate(
            torch.tensor([PROMPT]), plan=[ROUNDS], decoding=decoding, max_new_tokens=80, return_dict_in_generate=True,
            suppress_in_spans=[*FORBIDDEN, EOS, PAD],
        )  # fmt: skip
        traces[decoding] = out.trace[0]
    ours, rival = traces["planned"], traces["parallel_autoregressive"]
    assert (rival.critical_path, rival.commits) == (ours.critical_path, ours.commits) == (11, 1)
    assert rival.tokens_run < ours.tokens_run


# Draft and refine


def diffusion_in_diffusion(model, prompt, length, size, share, ratio) -> list[int]:
    """2601.13599: a draft in blocks; the lowest snapshots blanked again; one block for everything."""
    start, snapshots = len(prompt), {}
    ids = drafted_in_blocks(model, prompt, length, size, ratio, None, snapshots)
    end = next((p for p in range(start, len(ids)) if ids[p] in (EOS, PAD)), len(ids) - 1)
    written = [position for position in snapshots if position <= end]
    blanked = sorted(written, key=lambda position: snapshots[position])[: max(1, int(len(written) * share))]
    for position in blanked:
        ids[position] = MASK
    steps = max(1, int(len(blanked) * ratio))
    for step in range(steps):
        blanks = [position for position, token in enumerate(ids) if token == MASK]
        if not blanks:
            break
        rows = probabilities_at(model, ids, answer_sees_all(start, len(ids) - start))
        chosen = pick({p: rows[p] for p in blanks}, count_of_dream(len(blanks), step, steps), "entropy", None)
        for position in chosen:
            ids[position] = int(rows[position].argmax())
    return answer_of(ids, start)


@pytest.mark.parametrize("share, ratio", [(0.25, 1.0), (0.5, 0.5), (1.0, 1.0)])
@pytest.mark.parametrize("prompt", PROMPTS, ids=len)
def test_refining_is_diffusion_in_diffusion(prompt, share, ratio, model):
    fields = {"block_size": 6, "max_new_tokens": 24, "refine_share": share, "steps_ratio": ratio}
    expected = diffusion_in_diffusion(model, prompt, 24, 6, share, ratio)
    assert generated(model, prompt, decoding="block_diffusion", **fields) == expected


def test_refining_changes_drafts(model):
    drafts = [next_block(model, prompt, 24, 6) for prompt in PROMPTS]
    assert [diffusion_in_diffusion(model, prompt, 24, 6, 0.5, 1.0) for prompt in PROMPTS] != drafts


# Adaptive parallel decoding


@torch.no_grad()
def algorithm_1(model, scorer, prompt, length, weight, window, lookahead, temperature=0.0, seed=0) -> list[int]:
    """2506.00413 with its noise shared; the scorer reads prompt and draft anew in every round."""
    start = len(prompt)
    ids = prompt + [MASK] * length
    states, noise = KeptStates(model, start), torch.Generator().manual_seed(seed)
    accepted = renewed = start
    while accepted < len(ids) and not set(ids[start:accepted]) & {EOS, PAD}:
        last = min(accepted + lookahead, len(ids))
        first = range(start if not states.keys else 0)
        run = sorted({*first, *range(max(start, renewed - window), last), accepted - 1})
        rows = states.run(ids[:last], run)
        marginals = torch.stack([rows[position] for position in range(accepted, last)]).log()
        if temperature:
            marginals = marginals / temperature
            gumbel = -torch.empty_like(marginals).exponential_(generator=noise).log()
        else:
            gumbel = torch.zeros_like(marginals)
        draft = (marginals + gumbel).argmax(-1).tolist()
        conditional = scorer(torch.tensor([ids[:accepted] + draft])).logits[0, accepted - 1 : -1].float()
        mixed = weight * marginals + (1 - weight) * conditional / (temperature or 1)
        target = (mixed + gumbel).argmax(-1).tolist()
        renewed = accepted
        for index, (drafted, wanted) in enumerate(zip(draft, target, strict=True)):
            if index and drafted != wanted:
                break
            ids[accepted] = drafted
            accepted += 1
            if drafted in (EOS, PAD):
                break
    return answer_of(ids[:accepted], start)


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("weight, window, lookahead", [(0.7, 99, 24), (0.5, 3, 8), (0.9, 1, 5), (0.3, 16, 1)])
@pytest.mark.parametrize("has_assistant", [False, True])
@pytest.mark.parametrize("prompt", PROMPTS[:3], ids=len)
def test_adaptive_parallel_is_algorithm_1(
    prompt, has_assistant, weight, window, lookahead, temperature, model, build_model
):
    assistant = build_model("llama", seed=5) if has_assistant else None
    settings = {"weight": weight, "window": window, "lookahead": lookahead, "temperature": temperature}
    expected = algorithm_1(model, assistant or model, prompt, 24, **settings, seed=11)
    fields = {"mixture_weight": weight, "kv_window": window, "max_lookahead": lookahead}
    out = model.generate(
        torch.tensor([prompt]), decoding="adaptive_parallel", max_new_tokens=24, assistant_model=assistant,
        do_sample=temperature > 0, temperature=temperature or None, seed=11, pad_token_id=99, **fields,
    )  # fmt: skip
    assert out[0, len(prompt) :].tolist() == expected


def test_the_prompts_cover_answers_that_end_and_that_do_not(model):
    answers = [dream(model, prompt, 24, 24) for prompt in PROMPTS]
    answers += [next_block(model, prompt, 24, 5) for prompt in PROMPTS]
    assert {answer[-1] == EOS for answer in answers} == {True, False}
