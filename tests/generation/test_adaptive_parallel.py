"""Adaptive parallel decoding: what it accepts, the noise that draft and target share, and assistants."""

import pytest
import torch

from planned_diffusion.generation.decoders.adaptive_parallel import adaptive_parallel
from planned_diffusion.generation.engine.sampling import AllowedTable, Draft, RowGroup, draw, in_vocabulary
from planned_diffusion.generation.engine.scores import SCORES
from planned_diffusion.generation.query import Reply, Sampling
from planned_diffusion.generation.tokens import EVERYTHING

PROMPT = torch.tensor([[5, 60, 33, 97, 12, 80]])


def trace(model, **fields):
    fields = {"max_new_tokens": 40, "suppress_in_spans": list(range(100, 108)), **fields}
    out = model.generate(
        PROMPT, decoding="adaptive_parallel", return_dict_in_generate=True, output_trace=True, **fields
    )
    return out.trace[0]


# Acceptance


@pytest.mark.parametrize("temperature", [None, 1.0])
def test_r_of_1_accepts_every_draft(temperature, model):
    ran = trace(model, mixture_weight=1.0, max_lookahead=8, do_sample=temperature is not None, temperature=temperature)
    assert [len(step.positions) for step in ran.steps] == [8] * 5
    assert (ran.denoising, ran.scoring, ran.forwards) == (5, 5, 10)


@pytest.mark.slow
def test_accepted_length_falls_with_r(model):
    lengths = []
    for weight in (1.0, 0.9, 0.6, 0.3, 0.0):
        steps = [
            step
            for seed in range(6)
            for step in trace(model, mixture_weight=weight, do_sample=True, temperature=1.0, seed=seed).steps
        ]
        lengths.append(sum(len(step.positions) for step in steps) / len(steps))
    assert lengths == sorted(lengths, reverse=True) and lengths[0] > 2 * lengths[-1], lengths
    assert lengths[-1] >= 1


def test_a_lookahead_of_1_needs_no_scorer(model):
    ran = trace(model, max_lookahead=1)
    assert ran.scoring == 0 and ran.denoising == 40


def accept(drafted: str, target: str, drive, request_in_letters, letters, room: int = 6):
    """One round: the draft, and what the scorer would have drawn from the second token on."""
    request = request_in_letters(max_new_tokens=room, suppress_in_spans=letters.tags - {letters.span_pad})

    def answer(query):
        text = drafted if query.purpose == "denoising" else target
        tokens = [ord(text[query.positions[index]]) for index in query.wanted]
        return Reply(tokens, [0.5] * len(tokens), [0.5] * len(tokens))

    return drive(adaptive_parallel(request), answer)


@pytest.mark.parametrize(
    "drafted, target, steps",
    [
        ("abcdef", "?bcdef", ["1:a 2:b 3:c 4:d 5:e 6:f"]),
        ("abcdef", "?bXdef", ["1:a 2:b", "3:c 4:d 5:e 6:f"]),  # the first of a round is always accepted
        ("abcdef", "?XXXXX", ["1:a", "2:b", "3:c", "4:d", "5:e", "6:f"]),
        ("ab$def", "?b$def", ["1:a 2:b 3:$"]),  # nothing behind an EOS
    ],
)
def test_the_longest_prefix_on_which_both_agree(drafted, target, steps, drive, request_in_letters, letters):
    assert accept(drafted, target, drive, request_in_letters, letters).steps == steps


def test_what_runs(drive, request_in_letters, letters):
    """Draft: what is new, the window before it and the blanks. Scorer: what it has not read, up to the last but one."""
    queries = accept("abcdef", "?bXdef", drive, request_in_letters, letters).queries
    assert [(query.purpose, query.positions[0], query.positions[-1]) for query in queries] == [
        ("denoising", 0, 6), ("scoring", 1, 5), ("denoising", 1, 6), ("scoring", 3, 5),
    ]  # fmt: skip
    assert [set(query.streams) for query in queries] == [{0}, {2}, {0}, {2}]
    assert queries[1].token_ids == list(map(ord, "abcde"))


# Shared noise


def drawn_twice(p: torch.Tensor, q: torch.Tensor, mix: float, rows: int, seed: int = 0):
    """Tokens of `rows` draws from p, and of the mixture with q under the same noise."""
    table, draft = AllowedTable("cpu"), Draft()
    noise = torch.Generator().manual_seed(seed)
    tokens = []
    for probabilities, fields in ((p, {}), (q, {"mix": mix})):
        group = RowGroup(
            range(rows), Sampling(temperature=1.0), EVERYTHING, SCORES["entropy"], noise, draft=draft, **fields
        )
        tokens.append(draw(probabilities.log().expand(rows, -1).clone(), [group], table)[0])
    return tokens


def test_a_scorer_that_returns_the_drafts_own_logits_accepts_every_draft():
    p = torch.rand(300, generator=torch.Generator().manual_seed(1)).pow(4)
    for mix in (0.0, 0.3, 0.7, 1.0):
        drafted, target = drawn_twice(p, p, mix, 5000)
        assert drafted.equal(target)


def test_with_r_of_0_the_target_is_drawn_from_the_scorer():
    p, q = torch.tensor([0.5, 0.3, 0.1, 0.1]), torch.tensor([0.1, 0.2, 0.3, 0.4])
    drafted, target = drawn_twice(p, q, 0.0, 40_000)
    for tokens, distribution in ((drafted, p), (target, q)):
        shares = torch.bincount(tokens.long(), minlength=4) / len(tokens)
        torch.testing.assert_close(shares, distribution, atol=0.01, rtol=0)


@pytest.mark.parametrize("mix", [0.0, 0.5, 0.7, 0.9])
def test_the_coupling_disagrees_at_most_twice_the_total_variation_distance(mix):
    noise = torch.Generator().manual_seed(3)
    for _ in range(5):
        p, q = torch.rand(2, 5, generator=noise).pow(2).unbind()
        p, q = p / p.sum(), q / q.sum()
        target = p**mix * q ** (1 - mix)
        distance = 0.5 * (p - target / target.sum()).abs().sum()
        drafted, wanted = drawn_twice(p, q, mix, 20_000)
        disagreement = (drafted != wanted).float().mean()
        assert disagreement <= 2 * distance + 0.02
        assert disagreement >= distance - 0.02  # no coupling does better


# Assistants


def test_an_assistant_counts_its_forwards_and_leaves_its_slots(model, build_model):
    ran = trace(model, assistant_model=build_model("llama", seed=5))
    assert 0 < ran.scoring <= ran.denoising and ran.forwards == ran.scoring + ran.denoising


def test_an_assistant_with_more_or_fewer_rows():
    logits = torch.randn(2, 5)
    assert in_vocabulary(logits, 5) is not None and in_vocabulary(logits, 3).equal(logits[:, :3])
    wider = in_vocabulary(logits, 7)
    assert wider[:, :5].equal(logits) and (wider[:, 5:] < -1e38).all()


def test_an_assistant_with_another_vocabulary(model, build_model, byte_tokenizer, tmp_path):
    other = build_model("llama", backbone={"vocab_size": 120})
    with pytest.raises(ValueError, match="has a vocabulary of 120 ids, the model one of 112; give a model with the"):
        trace(model, assistant_model=other)
    byte_tokenizer.save_pretrained(tmp_path)
    other.save_pretrained(tmp_path)
    padded = type(other).from_pretrained(tmp_path)
    assert trace(model, assistant_model=padded, tokenizer=byte_tokenizer).scoring  # only its embeddings are larger
    vocabulary = tmp_path / "tokenizer.json"
    vocabulary.write_text(vocabulary.read_text().replace('"A": 32', '"A": 33', 1).replace('"B": 33', '"B": 32', 1))
    with pytest.raises(ValueError, match="has another vocabulary: 2 tokens such as"):
        trace(model, assistant_model=padded, tokenizer=byte_tokenizer)


def test_a_model_of_transformers_as_an_assistant(model, build_model):
    from transformers import AutoModelForCausalLM

    ours = build_model("llama", seed=5)
    native = AutoModelForCausalLM.from_config(ours.config.backbone_config).eval()
    native.load_state_dict(ours.state_dict())
    assert trace(model, assistant_model=native).steps == trace(model, assistant_model=ours).steps
