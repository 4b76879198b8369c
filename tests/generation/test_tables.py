"""The tables of decoders and fields: what stands in them is true, and what cannot be true is refused at import."""

import inspect

import pytest

from planned_diffusion.configuration_planned_diffusion import SPAN_ATTENTIONS
from planned_diffusion.generation.config import PlannedDiffusionGenerationConfig
from planned_diffusion.generation.decoders.decoder import Decoder, all_but_pad
from planned_diffusion.generation.decoders.fast_dllm import RUN_IN_BLOCK
from planned_diffusion.generation.decoders.planned import planned
from planned_diffusion.generation.decoders.table import DECODERS
from planned_diffusion.generation.decoders.unmasking import RULE_FIELDS, RULES, UNMASKING_FIELDS
from planned_diffusion.generation.engine.scores import SCORES
from planned_diffusion.generation.fields import FIELDS, READ_BY_ALL, SHARED_FIELDS, Settings


@pytest.mark.parametrize(
    "name, known",
    [
        ("span_attention", SPAN_ATTENTIONS),
        ("unmasking", (*SCORES, "random")),
        ("unmasking_rule", RULES),
        ("block_cache", RUN_IN_BLOCK),
    ],
)
def test_choices_of_a_field_are_the_names_that_the_code_knows(name, known):
    assert set(FIELDS[name].check.choices) == set(known)


def test_every_field_is_read_by_a_decoder_and_every_decoder_reads_fields():
    read = {name for decoder in DECODERS.values() for name in decoder.reads}
    assert read | set(READ_BY_ALL) == set(FIELDS)
    assert {name for names in RULE_FIELDS.values() for name in names} < set(UNMASKING_FIELDS)
    assert set(RULE_FIELDS) == set(RULES)


def test_every_default_passes_its_check():
    for name, field in (FIELDS | SHARED_FIELDS).items():
        field.check(name, field.default)
    assert FIELDS["decoding"].default in DECODERS


@pytest.mark.parametrize("name, field", (FIELDS | SHARED_FIELDS).items())
def test_a_meaning_is_a_sentence(name, field):
    assert field.meaning[0].isupper() and field.meaning.endswith(".") and len(field.meaning) < 200


def test_fields_stand_in_the_docstring_of_the_config():
    lines = inspect.getdoc(PlannedDiffusionGenerationConfig).splitlines()
    assert {line.split()[0] for line in lines if "(default " in line} == set(FIELDS)


def test_a_decoder_that_reads_an_unknown_field_is_refused_where_it_is_made():
    with pytest.raises(
        ValueError, match="A decoder reads steps_ration, which is no field of generate; add it to FIELDS"
    ):
        Decoder(planned, "as planned", "nobody", reads=("steps_ratio", "steps_ration"))


def test_what_spans_may_not_contain(letters):
    settings = Settings(10)
    without_pad = {letters.span_pad}
    for name, decoder in DECODERS.items():
        expected = (letters.all if decoder.plans else letters.tags) - without_pad
        assert decoder.suppressed(letters, settings) == expected, name
    assert DECODERS["block_diffusion"].suppressed(letters, settings.but(block_size=1)) == letters.tags
    assert DECODERS["planned"].suppressed is all_but_pad


def test_settings_have_every_field_and_refuse_others():
    settings = Settings(5, steps_ratio=0.5, suppress_in_spans=[3, 3])
    assert {name: getattr(settings, name) for name in FIELDS if name not in ("steps_ratio", "suppress_in_spans")} == {
        name: field.default for name, field in FIELDS.items() if name not in ("steps_ratio", "suppress_in_spans")
    }
    assert (settings.max_new_tokens, settings.steps_ratio, settings.suppress_in_spans) == (5, 0.5, frozenset({3}))
    assert settings.but(steps_ratio=1.0) == Settings(5, suppress_in_spans=[3]) != settings
    with pytest.raises(TypeError, match="steps is no field of generate; add it to FIELDS"):
        Settings(5, steps=3)
    with pytest.raises(AttributeError, match=r"Settings are read-only; make new ones with but\(seed=...\)"):
        settings.seed = 1
    with pytest.raises(AttributeError, match="steps is no field of generate"):
        settings.steps  # noqa: B018
