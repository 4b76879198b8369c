"""Counts are those of training, and each invariant is checked."""

import math

import pytest

from planned_diffusion.annotation.tagging import PLAN_TAGS, TokenCounter, check_record, tagged_answer
from planned_diffusion.records.encoding import encode_text
from planned_diffusion.records.tagged import TaggedSpan, parse_tagged, plain_text
from planned_diffusion.training.examples import encode_example

TEXTS = [
    "", " ", "Plain words.", "\n\n- Ünïcödé 世界 🙂", "1234567890", "<async>", "a <promise>-<topic> b </topic>",
    "[PAD]", "<|endoftext|> and <|im_end|>", "\u200d\u0301", "word " * 600,
]  # fmt: skip


def test_counts_equal_those_of_training(counter, tokenizer):
    texts = TEXTS + [tokenizer.eos_token, f"x{tokenizer.mask_token}y"]
    assert counter.count(texts) == [len(encode_text(tokenizer, text)) for text in texts]


def test_counts_ignore_truncation_that_was_left_on(facts):
    from transformers import AutoTokenizer

    fresh = AutoTokenizer.from_pretrained(facts)
    fresh("long " * 50, truncation=True, max_length=4)
    assert TokenCounter(fresh, 8).count(["long " * 50]) == [len(encode_text(fresh, "long " * 50))]


def test_slow_tokenizers_are_counted_as_well(tokenizer):
    class Slow:
        is_fast = False
        added_tokens_decoder, mask_token = tokenizer.added_tokens_decoder, tokenizer.mask_token

        def __call__(self, *arguments, **options):
            return tokenizer(*arguments, **options)

    assert TokenCounter(Slow(), 8).count(TEXTS) == TokenCounter(tokenizer, 8).count(TEXTS)


@pytest.mark.parametrize("unit", [1, 3, 8, 10])
def test_a_tagged_answer_promises_enough_and_gives_the_answer_back(unit, counter, tokenizer):
    rounds = [[("two things", "One thing is this."), ("", "\nAnother is 世界. ")], [("end 7", "\n\nSo it is.")]]
    answer = "".join(text for spans in rounds for _, text in spans)
    tagged, sizes = tagged_answer(answer, rounds, counter.tally([rounds]), unit)
    assert plain_text(tagged) == answer
    for spans, lengths in zip(parse_tagged(tagged), sizes.spans, strict=True):
        for span, length in zip(spans, lengths, strict=True):
            assert length == len(encode_text(tokenizer, span.text))
            assert span.number == max(1, math.ceil(length / unit))


def test_plan_sizes_are_those_of_the_encoded_record(counter, tokenizer, facts):
    from transformers import AutoConfig

    from planned_diffusion.generation.tokens import ControlTokens

    rounds = [[("two things", "One thing."), ("", " Another.")], [("end", " So it is.")]]
    tagged, sizes = tagged_answer("One thing. Another. So it is.", rounds, counter.tally([rounds]), 8)
    control = ControlTokens.from_config(AutoConfig.from_pretrained(facts))
    messages = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": tagged}]
    example = encode_example(messages, tokenizer, control)
    outside = int((example.is_target & (example.span < 0)).sum())
    assert outside == sum(sizes.plan) + len(sizes.plan)  # each round has one terminator: <sync/>, or EOS
    assert int((example.span >= 0).sum()) == sum(map(sum, sizes.spans)) + 2 * 3  # <async> and </async>
    assert PLAN_TAGS == 2


def test_plain_answers_pass_through(counter):
    assert tagged_answer("Just text.", (), {}, 8)[0] == "Just text."


@pytest.mark.parametrize("rounds", [(), [[("t", "a </async> b")]]])
def test_answers_that_spell_tags_are_refused(rounds):
    with pytest.raises(ValueError, match="spells the tag </async>"):
        tagged_answer("a </async> b", rounds, {}, 8)


def test_a_record_that_is_not_the_answer_is_refused(counter):
    rounds = [[("t", "One.")]]
    with pytest.raises(ValueError, match="not the original answer"):
        tagged_answer("One. ", rounds, counter.tally([rounds]), 8)


def test_a_promise_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match="promises 8 tokens and needs 9"):
        check_record("text", [[TaggedSpan("t", 1, "text")]], {"text": 9}, 8)
    check_record("text", [[TaggedSpan("t", 1, "text")]], {"text": 8}, 8)
