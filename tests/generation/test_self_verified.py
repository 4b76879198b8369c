"""Self-verified spans: what is kept, corrected and blanked; and that the answer is parallel_autoregressive's."""

import pytest
import torch

from planned_diffusion.generation.decoders.self_verified import self_verified
from planned_diffusion.generation.events import Text, TokensBlanked
from planned_diffusion.generation.query import Reply

PROMPT = torch.tensor([[5, 60, 33, 97, 12, 80]])
PLAN = [[[104, 30, 20, 105, 104, 31, 18, 105, 106], [104, 32, 24, 105, 100]]]


def verify(drive, request_in_letters, drafts: list[str], said: list[str], plan="<a4>$", **settings):
    """Each pass the model drafts the next text and, read left to right, says the next; the answer starts at P<a4>[."""
    drafts, said, current = iter(drafts), iter(said), {}

    def answer(query):
        if query.purpose == "denoising" and len(query.wanted) and not current.get("drafting"):
            current["text"], current["drafting"] = next(drafts), True
        if query.purpose == "scoring":
            current["text"], current["drafting"] = next(said), False
        tokens = [ord(current["text"][query.positions[index] + 1]) for index in query.wanted]
        return Reply(tokens, [0.5] * len(tokens), [0.5] * len(tokens))

    return drive(self_verified(request_in_letters(plan=[plan], steps_ratio=0.01, **settings)), answer)


HEAD = "P<a4>["


@pytest.mark.parametrize(
    "drafts, said, answer, passes",
    [
        (["wxyz"], ["wxyz"], "wxyz$", 1),
        (["wxyz", "..yz"], ["wxYz", "...z"], "wxYz$", 2),  # y is corrected; z is drafted anew, and verified
        (["wxyz", ".XYz", "..YZ"], ["Wxyz", ".XyZ", "...Z"], "WXyZ$", 3),
        (["wx.."], ["wx.?"], "wx$", 1),  # a pad that is said to be one ends the span
        (["wxyz"], ["wx.."], "wx$", 1),  # so does a pad that was not drafted
        (["w...", ".xy."], ["wXyz", "..y."], "wXy$", 2),
    ],
)
def test_the_agreeing_prefix_and_one_token_more(drafts, said, answer, passes, drive, request_in_letters):
    drafts, said = ([HEAD + text + "]" for text in texts] for texts in (drafts, said))
    played = verify(drive, request_in_letters, drafts, said)
    assert played.answer == answer
    assert sum(query.purpose == "scoring" for query in played.queries) == passes


def test_what_is_run_and_asked(drive, request_in_letters):
    drafts, said = [HEAD + "wxyz]", HEAD + "..yz]"], [HEAD + "wXyz]", HEAD + "..yz]"]
    played = verify(drive, request_in_letters, drafts, said)
    runs = [(query.purpose, query.positions[0], query.positions[-1], set(query.streams)) for query in played.queries]
    assert runs[1:] == [("scoring", 5, 8, {2}), ("denoising", 5, 10, {0}), ("scoring", 7, 8, {2})]
    assert [(event.positions, event.token_ids) for event in played.of(TokensBlanked)] == [
        ((7, 8, 9), tuple(map(ord, "xyz")))
    ]
    assert played.steps == ["6:w 7:x 8:y 9:z", "7:X", "8:y 9:z"]


def test_text_comes_as_it_is_verified(drive, request_in_letters):
    drafts, said = [HEAD + "wxyz]", HEAD + "..yz]"], [HEAD + "wXyz]", HEAD + "..yz]"]
    played = verify(drive, request_in_letters, drafts, said)
    assert [text.token_ids for text in played.of(Text)] == [tuple(map(ord, "wX")), tuple(map(ord, "yz"))]


def test_a_stop_keeps_what_is_verified(drive, request_in_letters):
    drafts, said = [HEAD + "wxyz]", HEAD + "..yz]"], [HEAD + "wXyz]", HEAD + "..yz]"]
    played = verify(drive, request_in_letters, drafts, said, should_stop=lambda ids: ids[-1] == ord("X"))
    assert (played.answer, played.ended.reason) == ("wX", "stop")


@pytest.mark.parametrize(
    "fields", [{"steps_ratio": 0.01}, {"steps_ratio": 0.3}, {"confidence_threshold": 0.2}], ids=str
)
def test_the_answer_is_that_of_parallel_autoregression(fields, build_model, prompts):
    """Whatever the drafts are: random models draft badly, so nearly every pass corrects something."""
    for seed, prompt in enumerate(prompts(4, 12, seed=2)):
        model = build_model(seed=seed, tokens_per_length_unit=1)
        given = {"plan": PLAN, "max_new_tokens": 80, "keep_plan": True, "do_sample": False}
        prompt = torch.tensor([prompt])
        expected = model.generate(prompt, decoding="parallel_autoregressive", **given)
        assert model.generate(prompt, decoding="self_verified", **given, **fields).equal(expected)


def test_a_draft_that_agrees_costs_two_forwards_a_round(build_model):
    """A model whose next token depends on the last one alone drafts what it says, one position at a time or all."""
    model = build_model(tokens_per_length_unit=1)
    with torch.no_grad():
        for layer in model.model.layers:  # no attention, no feed-forward: the head sees the token itself
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.lm_head.weight[7] = 100 * model.model.embed_tokens.weight.mean(0)
        model.model.embed_tokens.weight.copy_(model.model.embed_tokens.weight.mean(0).expand(112, -1))
    out = model.generate(
        PROMPT, decoding="self_verified", plan=PLAN, steps_ratio=0.01, max_new_tokens=80, return_dict_in_generate=True
    )
    assert (out.trace[0].denoising, out.trace[0].scoring) == (2, 2)
    assert out.trace[0].tokens == 5 + 3 + 9


@pytest.mark.slow
def test_samples_are_those_of_the_left_to_right_mode(build_model):
    """Two tokens, temperature 1: the shares of the pairs, drafts included or not."""
    model = build_model(seed=1, tokens_per_length_unit=1)
    with torch.no_grad():
        model.lm_head.weight *= 0.1  # far from certain
    plan = [[[104, 30, 17, 105, 100]]]
    keep = [*range(100, 108), *range(3, 100), *range(108, 112)]  # three tokens are left
    counts = {}
    for decoding in ("parallel_autoregressive", "self_verified"):
        fields = {"steps_ratio": 0.01} if decoding == "self_verified" else {}
        out = model.generate(
            PROMPT, decoding=decoding, plan=[*plan], suppress_in_spans=keep, max_new_tokens=20, do_sample=True,
            num_return_sequences=1500, temperature=1.0, seed=3, **fields,
        )  # fmt: skip
        pairs = (out[:, 6] * 3 + out[:, 7]).bincount(minlength=9) / 1500
        counts[decoding] = pairs
    assert counts["self_verified"].sub(counts["parallel_autoregressive"]).abs().max() < 0.06
