"""The control tokens: read from a config, checked, and grouped for what plain text and spans may not contain."""

import pytest

from planned_diffusion.generation.tokens import SPELLING, ControlTokens


def test_read_from_a_config(build_config):
    tokens = ControlTokens.from_config(build_config())
    assert (tokens.mask, tokens.promise_start, tokens.topic_end, tokens.async_start) == (101, 104, 105, 102)
    assert (tokens.async_end, tokens.sync, tokens.span_pad, tokens.eos) == (103, 106, 107, (100,))
    assert tokens.digits == tuple(range(15, 25))


def test_more_eos_come_after_the_configs_own(build_config):
    assert ControlTokens.from_config(build_config(), more_eos=(99, 100, 98)).eos == (100, 99, 98)


def test_a_config_may_list_several_eos(build_config):
    """As Llama 3 does."""
    assert ControlTokens.from_config(build_config(eos_token_id=[100, 99])).eos == (100, 99)


def test_groups(golden_tokens):
    assert golden_tokens.tags == {101, 102, 103, 104, 105, 106, 107}
    assert golden_tokens.all == golden_tokens.tags | {100}


def test_a_checkpoint_without_tags_forbids_nothing():
    tokens = ControlTokens.none((7,))
    assert (tokens.tags, tokens.all, tokens.eos, tokens.digits) == (frozenset(), {7}, (7,), ())


@pytest.mark.parametrize("field", ["mask_token_id", *SPELLING, "eos_token_id", "digit_token_ids"])
def test_missing_ids_are_named(field, build_config):
    with pytest.raises(ValueError, match=rf"config has no {field}, so it cannot plan; .*decoding='autoregressive'"):
        ControlTokens.from_config(build_config(**{field: None}))


def test_digits_outside_the_vocabulary(build_config):
    with pytest.raises(ValueError, match=r"ids \[200\] lie outside the vocabulary of 112 ids"):
        ControlTokens.from_config(build_config(digit_token_ids=[*range(15, 24), 200]))


def test_every_tag_is_one_token_of_the_tokenizer(byte_tokenizer, build_config):
    config = build_config()
    for field, spelling in SPELLING.items():
        assert byte_tokenizer.encode(spelling, add_special_tokens=False) == [getattr(config, field)]
    for digit, token in enumerate(config.digit_token_ids):
        assert byte_tokenizer.encode(str(digit), add_special_tokens=False) == [token]
