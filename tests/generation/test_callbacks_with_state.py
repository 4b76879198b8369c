"""Processors and criteria that remember something: every sort of state, every decoder, batches of 1, 2 and 3.

Left to right they are called as transformers calls them, so answers and calls are those of the native class. In other
decoders an answer of a batch is the one that its prompt gets alone, or the call is refused before it begins.
"""

import threading

import pytest
import torch
from transformers import AutoModelForCausalLM, LogitsProcessor, LogitsProcessorList, StoppingCriteria
from transformers.generation.logits_process import MinNewTokensLengthLogitsProcessor

from planned_diffusion.generation.decoders.table import DECODERS
from planned_diffusion.generation.engine import engine as engine_module

EOS, PAD, VOCABULARY = 100, 99, 112
TAGS = [101, 102, 103, 104, 105, 106, 107]
STATES = 97
TASTE = torch.randn(STATES, VOCABULARY, generator=torch.Generator().manual_seed(1)) * 6


# Processors


class CallCounter(LogitsProcessor):
    """Likes other tokens at every call."""

    def __init__(self, rows, width):
        self.calls = 0

    def __call__(self, input_ids, scores):
        self.calls += 1
        return scores + TASTE[self.calls % STATES]


class RowFlags(LogitsProcessor):
    """A flag for each row, on once the row has an even token: then it likes other tokens. Made for so many rows."""

    def __init__(self, rows, width):
        self.flags = torch.zeros(rows, dtype=torch.bool)

    def __call__(self, input_ids, scores):
        assert len(input_ids) == len(scores) == len(self.flags)
        self.flags |= input_ids[:, -1] % 2 == 0
        return scores + torch.where(self.flags[:, None], TASTE[3], TASTE[4])


class Matchers(LogitsProcessor):
    """A matcher for each row, made at the first call and advanced by the row's last token, as xgrammar does."""

    def __init__(self, rows, width):
        self.states = []

    def __call__(self, input_ids, scores):
        if not self.states:
            self.states = [0] * len(input_ids)
        else:
            assert len(input_ids) == len(self.states)
            tokens = input_ids[:, -1].tolist()
            self.states = [(5 * state + token + 1) % STATES for state, token in zip(self.states, tokens, strict=True)]
        scores += TASTE[self.states]  # in place, as xgrammar masks
        return scores


class OneMatcher(LogitsProcessor):
    """A single matcher, which the first row advances."""

    def __init__(self, rows, width):
        self.state = 0

    def __call__(self, input_ids, scores):
        self.state = (5 * self.state + int(input_ids[0, -1])) % STATES
        return scores + TASTE[self.state]


class PromptLength(LogitsProcessor):
    """Knows where the answer begins, in padded rows; likes other tokens by the number of new ones."""

    def __init__(self, rows, width):
        self.width = width
        self.minimum = MinNewTokensLengthLogitsProcessor(width, 6, EOS)

    def __call__(self, input_ids, scores):
        new = input_ids[:, self.width :]
        return self.minimum(input_ids, scores + TASTE[(new.sum(-1) + new.shape[1]) % STATES])


class Locked(CallCounter):
    """Cannot be copied."""

    def __init__(self, rows, width):
        super().__init__(rows, width)
        self.lock = threading.Lock()


class Script(LogitsProcessor):
    """A generator cannot be copied either."""

    def __init__(self, rows, width):
        self.script = (TASTE[place % STATES] for place in range(1000))

    def __call__(self, input_ids, scores):
        return scores + next(self.script)


def closure(rows, width):
    calls, seen = 0, []

    def process(input_ids, scores):
        nonlocal calls
        calls += 1
        seen.append(calls)
        return scores + TASTE[(calls + len(seen)) % STATES]

    return process


# Criteria


class StopAfterCalls(StoppingCriteria):
    def __init__(self, rows, width):
        self.left = 9

    def __call__(self, input_ids, scores, **kwargs):
        self.left -= 1
        return torch.full((len(input_ids),), self.left <= 0)


class DoneTracker(StoppingCriteria):
    """As lm-eval's criterion: a flag for each row, one verdict for all, and it knows where padded prompts end."""

    def __init__(self, rows, width):
        self.width, self.done = width, [False] * rows

    def __call__(self, input_ids, scores, **kwargs):
        latest = input_ids[:, self.width :][:, -3:].tolist()
        for row in range(len(self.done)):
            self.done[row] = self.done[row] or any(token % 7 == 0 for token in latest[row])
        return False not in self.done


class RowsDone(StoppingCriteria):
    """A tensor of counts, and a verdict for each row."""

    def __init__(self, rows, width):
        self.counts = torch.zeros(rows, dtype=torch.long)

    def __call__(self, input_ids, scores, **kwargs):
        self.counts += input_ids[:, -1] % 3 == 0
        return self.counts >= 3


class NewTokens(StoppingCriteria):
    def __init__(self, rows, width):
        self.width = width

    def __call__(self, input_ids, scores, **kwargs):
        return input_ids.shape[1] - self.width >= 8


class LockedCriterion(RowsDone):
    def __init__(self, rows, width):
        super().__init__(rows, width)
        self.lock = threading.RLock()


PROCESSORS = [CallCounter, RowFlags, Matchers, OneMatcher, PromptLength, Locked, Script, closure]
CRITERIA = [StopAfterCalls, DoneTracker, RowsDone, NewTokens, LockedCriterion]
CANNOT_BE_COPIED = (Locked, Script, LockedCriterion)


def arguments(kind, rows: int, width: int) -> dict:
    made = kind(rows, width)
    return {"stopping_criteria": [made]} if kind in CRITERIA else {"logits_processor": LogitsProcessorList([made])}


@pytest.fixture(scope="module")
def native(model):
    native = AutoModelForCausalLM.from_config(model.config.backbone_config).eval()
    native.load_state_dict(model.state_dict())
    return native


@pytest.fixture(scope="module")
def batch(prompts, left_padded):
    """Three ragged prompts, padded on the left; the planner plans something for each."""
    rows = [row for row in prompts(40, 20, seed=4) if len(row) > 1]
    return left_padded([rows[place] for place in (3, 10, 12)], PAD)


def natively(native, ids, mask, **given):
    return native.generate(
        ids, attention_mask=mask, do_sample=False, max_new_tokens=16, eos_token_id=EOS, pad_token_id=PAD,
        suppress_tokens=TAGS, **given,
    )  # fmt: skip


def left_to_right(model, ids, mask, **given):
    fields = {"decoding": "autoregressive", "max_new_tokens": 16, "pad_token_id": PAD}
    return model.generate(ids, attention_mask=mask, **fields, **given)


@pytest.mark.parametrize("kind", PROCESSORS + CRITERIA)
def test_left_to_right_answers_are_the_native_ones(kind, model, native, batch):
    ids, mask = batch
    for rows in (1, 2, 3):
        expected = natively(native, ids[:rows], mask[:rows], **arguments(kind, rows, ids.shape[1]))
        ours = left_to_right(model, ids[:rows], mask[:rows], **arguments(kind, rows, ids.shape[1]))
        assert ours.equal(expected)
    assert not ours.equal(natively(native, ids, mask)), "the state would not be missed"


@pytest.mark.slow
@pytest.mark.parametrize("kind", PROCESSORS + CRITERIA)
@pytest.mark.parametrize("decoding", [name for name, decoder in DECODERS.items() if not decoder.left_to_right])
def test_other_answers_are_those_of_the_prompts_alone(decoding, kind, model, planner, batch):
    ids, mask = batch
    one = planner if DECODERS[decoding].plans else model
    fields = {"decoding": decoding, "max_new_tokens": 24, "pad_token_id": PAD, "return_dict_in_generate": True}

    def run(first: int, last: int, **given):
        return one.generate(ids[first:last], attention_mask=mask[first:last], **fields, **given)

    if kind in PROCESSORS and not DECODERS[decoding].asks_processors:
        with pytest.raises(ValueError, match=f"decoding='{decoding}' writes no token left to right, so it has no use"):
            run(0, 1, **arguments(kind, 1, ids.shape[1]))
        return
    alone = [run(row, row + 1, **arguments(kind, 1, ids.shape[1])) for row in range(3)]
    plain = run(0, 3).sequences
    assert any(not same(plain[row], alone[row].sequences[0]) for row in range(3)), "the state would not be missed"
    for rows in (2, 3):
        if kind in CANNOT_BE_COPIED:
            with pytest.raises(ValueError, match="one cannot be copied .* pass prompts one at a time, or choose decod"):
                run(0, rows, **arguments(kind, rows, ids.shape[1]))
            continue
        together = run(0, rows, **arguments(kind, rows, ids.shape[1]))
        for row in range(rows):
            assert same(together.sequences[row], alone[row].sequences[0])
            assert together.ended[row] == alone[row].ended[0]


def same(first, second) -> bool:
    """Whether two rows hold the same tokens, apart from the padding behind them."""
    first, second = first.tolist(), second.tolist()
    longest = max(len(first), len(second))
    return [*first, *[PAD] * (longest - len(first))] == [*second, *[PAD] * (longest - len(second))]


def test_calls_are_those_of_the_native_class(model, native, batch):
    """The same rows, padded the same way, as often; a processor need not look at the scores of ended rows."""
    ids, mask = batch

    def watched(generate):
        calls = []

        def watch(input_ids, scores):
            calls.append(input_ids.tolist())
            return scores

        def watch_criterion(input_ids, scores, **kwargs):
            calls.append(input_ids.tolist())
            return (input_ids[:, -1] == input_ids[:, -2]) | (input_ids[:, -1] % 23 == 0)

        generate(logits_processor=LogitsProcessorList([watch]), stopping_criteria=[watch_criterion])
        return calls

    expected = watched(lambda **given: natively(native, ids, mask, **given))
    ours = watched(lambda **given: left_to_right(model, ids, mask, **given))
    assert ours == expected and len(ours) > 6


@pytest.mark.parametrize("tokens, live", [(4096, 64), (24, 64), (8, 1), (4096, 2)])
def test_rows_wait_for_each_other(tokens, live, model, native, prompts, left_padded, monkeypatch):
    """Long prompts are read in parts, and those that begin alike once; the rows still go in lockstep."""
    monkeypatch.setattr(engine_module, "TOKENS_PER_FORWARD", tokens)
    monkeypatch.setattr(engine_module.Engine.__init__, "__defaults__", (live, None, None, None))
    beginning = prompts(1, 200, seed=8)[0] * 5
    rows = [*prompts(2, 30, seed=6), *[beginning[:70] + tail for tail in prompts(3, 9, seed=7)]]
    ids, mask = left_padded(rows, PAD)
    expected = natively(native, ids, mask, **arguments(Matchers, 5, ids.shape[1]))
    given = arguments(Matchers, 5, ids.shape[1])
    assert left_to_right(model, ids, mask, **given).equal(expected)


def test_samples_of_a_prompt_are_rows(planner, batch):
    """transformers repeats the prompts; so one object sees prompts x samples rows."""
    ids, mask = (part[:2] for part in batch)
    sizes = []

    def watch(input_ids, scores):
        sizes.append(tuple(input_ids.shape))
        return scores

    for decoding in ("autoregressive", "planned"):
        fields = {"decoding": decoding, "do_sample": True, "num_return_sequences": 3, "max_new_tokens": 9, "seed": 1}
        out = planner.generate(ids, attention_mask=mask, logits_processor=RowFlags(6, 0), **fields)
        assert len(out) == 6
    planner.generate(ids, attention_mask=mask, logits_processor=watch, **fields | {"decoding": "autoregressive"})
    assert {rows for rows, _ in sizes} == {6} and sizes[0] == (6, ids.shape[1])


def test_a_signal_and_large_things_are_shared_by_the_copies(model, batch, byte_tokenizer):
    ids, mask = batch
    signal = threading.Event()

    class Cancel(StoppingCriteria):
        def __init__(self):
            self.signal, self.tokenizer, self.models = signal, byte_tokenizer, {"reward": [model]}
            self.calls = 0

        def __call__(self, input_ids, scores, **kwargs):
            assert self.models["reward"][0] is model and self.tokenizer is byte_tokenizer
            self.calls += 1
            if self.calls == 4:
                signal.set()
            return self.signal.is_set()

    criterion = Cancel()
    fields = {"decoding": "block_diffusion", "block_size": 4, "max_new_tokens": 20, "return_dict_in_generate": True}
    out = model.generate(ids, attention_mask=mask, stopping_criteria=[criterion], **fields)
    assert out.ended == ["stop"] * 3 and criterion.calls == 0
    assert len(out.sequences[0]) <= ids.shape[1] + 8


class Grammars(LogitsProcessor):
    """A grammar for each row, which refuses a token that it excluded, as the matchers of outlines and others do."""

    def __init__(self, *grammars):
        self.grammars, self.places = grammars, None  # per row the tokens allowed at each place, the last one for ever

    def __call__(self, input_ids, scores):
        if self.places is None:
            assert len(input_ids) == len(self.grammars), "one grammar for each row"
            self.places = [0] * len(input_ids)
        else:
            for row, token in enumerate(input_ids[:, -1].tolist()):
                if token not in self.allowed(row):
                    raise KeyError(f"token {token} in row {row}")
                self.places[row] += 1
        excluded = torch.full_like(scores, -torch.inf)
        for row in range(len(scores)):
            excluded[row, self.allowed(row)] = 0
        return scores + excluded

    def allowed(self, row):
        return self.grammars[row][min(self.places[row], len(self.grammars[row]) - 1)]


SMALL, LARGE, SAME = [[1, 2, 3]], [[4, 5, 6]], [[1, 2], [1, 2], [2, 3], [3]]
GRAMMARS = {
    "alike": ([SMALL] * 3, True),
    "alike, of several places": ([SAME] * 3, True),
    "different": ([SMALL, LARGE, SMALL], False),
    "the last": ([SMALL, SMALL, LARGE], False),
    "later": ([SAME, SAME, [*SAME[:2], [4], [5]]], False),
    "one within another": ([SMALL, SMALL, [[1, 2, 3, 4]]], False),
}


@pytest.mark.parametrize("name", GRAMMARS)
def test_a_grammar_for_each_row_is_right_or_refused_before_a_forward(name, model, native, batch, monkeypatch):
    ids, mask = batch
    grammars, is_right = GRAMMARS[name]
    expected = natively(native, ids, mask, logits_processor=LogitsProcessorList([Grammars(*grammars)]))
    assert left_to_right(model, ids, mask, logits_processor=Grammars(*grammars)).equal(expected)
    fields = {"max_new_tokens": 9, "pad_token_id": PAD}
    alone = [model.generate(ids[row : row + 1], attention_mask=mask[row : row + 1], **fields,
                            logits_processor=Grammars(grammars[row]))[0] for row in range(3)]  # fmt: skip
    if is_right:
        together = model.generate(ids, attention_mask=mask, logits_processor=Grammars(*grammars), **fields)
        assert all(same(together[row], alone[row]) for row in range(3))
        return
    monkeypatch.setattr(engine_module.Engine, "tick", None)
    with pytest.raises(
        ValueError, match=r"logits processor Grammars fails where all rows .* \(KeyError: .*; pass prompts"
    ):
        model.generate(ids, attention_mask=mask, logits_processor=Grammars(*grammars), **fields)


def test_the_rehearsal_leaves_the_callers_object_and_the_noise_alone(planner, batch):
    ids, mask = batch

    class Noisy(LogitsProcessor):
        calls = 0

        def __call__(self, input_ids, scores):
            self.calls += 1
            return scores + torch.rand(1)

    noisy, state = Noisy(), torch.get_rng_state()
    planner.prepare(planner.resolve_fields(None, None, {}), ids, mask, logits_processor=noisy)
    assert noisy.calls == 0 and torch.get_rng_state().equal(state)


def test_a_copy_that_cannot_stand_for_one_row_says_what_to_do(planner, batch):
    """Rows with rules of their own: in a copy they all hold one row's answer."""
    ids, mask = batch

    def of_the_second_row(input_ids, scores):
        assert len(set(map(tuple, input_ids.tolist()))) == len(input_ids)
        return scores

    for decoding, rows in (("autoregressive", 3), ("planned", 1)):
        fields = {"decoding": decoding, "max_new_tokens": 9, "logits_processor": of_the_second_row}
        planner.generate(ids[:rows], attention_mask=mask[:rows], **fields)
    with pytest.raises(ValueError, match="of_the_second_row fails where all rows of a batch hold one answer"):
        planner.generate(ids, attention_mask=mask, max_new_tokens=9, logits_processor=of_the_second_row)

    def later(input_ids, scores):
        assert input_ids.shape[1] < ids.shape[1] + 10
        return scores

    with pytest.raises(AssertionError) as caught:
        planner.generate(ids, attention_mask=mask, max_new_tokens=16, logits_processor=later)
    assert "pass prompts one at a time" in caught.value.__notes__[0]


@pytest.mark.parametrize("decoding", ["autoregressive", "planned"])
@pytest.mark.parametrize(
    "given, message",
    [
        ({"stopping_criteria": 5}, "stopping_criteria holds 5, which cannot be called"),
        ({"stopping_criteria": ["end"]}, "stopping_criteria holds 'end', which cannot be called"),
        ({"logits_processor": [None]}, "logits_processor holds None, which cannot be called"),
        (
            {"logits_processor": lambda ids, scores: None},
            "logits processor <lambda> returned None; let it return scores",
        ),
        (
            {"logits_processor": lambda ids, scores: scores[:, :5]},
            r"returned a tensor of shape \[2, 5\]; let it return scores of shape \[2, 112\]",
        ),
        ({"stopping_criteria": lambda ids, scores: "no"}, "criterion <lambda> returned 'no'; let it return True or"),
        ({"stopping_criteria": lambda ids, scores: None}, "criterion <lambda> returned None; let it return True or"),
        (
            {"stopping_criteria": lambda ids, scores: torch.zeros(5)},
            r"returned a tensor of shape \[5\]; let it return True or False, or a tensor of 2",
        ),
    ],
)
def test_what_cannot_be_called_or_understood_is_refused(given, message, decoding, planner, batch):
    ids, mask = (part[:2] for part in batch)
    with pytest.raises(ValueError, match=message):
        planner.generate(ids, attention_mask=mask, decoding=decoding, max_new_tokens=12, **given)


@pytest.mark.parametrize("decoding", ["autoregressive", "planned"])
def test_scores_of_any_float_type_and_infinite_ones(decoding, model, batch):
    """transformers' own processors force a token by an infinite score, and some return half precision."""
    ids, mask = batch
    fields = {"decoding": decoding, "max_new_tokens": 5, "pad_token_id": PAD}

    def force(input_ids, scores):
        scores = torch.full_like(scores, -torch.inf, dtype=torch.float16)
        scores[:, 42] = torch.inf
        return scores

    out = model.generate(ids, attention_mask=mask, logits_processor=force, **fields)
    assert out[:, ids.shape[1] :].tolist() == [[42] * 5] * 3
