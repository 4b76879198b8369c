"""Knobs become fields of `generate`: only what was turned, and only where the decoder reads it."""

import pytest

from planned_diffusion.app.knobs import KNOBS, KnobFields
from planned_diffusion.generation.decoders.table import DECODERS
from planned_diffusion.inference.answer import ask


def values_of(knobs, **turned):
    return [turned.get(knob.field, knobs.start(knob)) for knob in KNOBS]


def test_untouched_knobs_say_nothing(facts):
    knobs = KnobFields(facts)
    assert knobs.decoders == list(DECODERS) and knobs.decoding == "planned"
    assert knobs.fields("planned", values_of(knobs), 320) == {"decoding": "planned", "max_new_tokens": 320}
    assert knobs.start(next(one for one in KNOBS if one.field == "confidence_threshold")) == 0.9


def test_turned_knobs_are_fields_that_generate_takes(facts):
    knobs = KnobFields(facts)
    turned = {"length_scale": 1.5, "confidence_threshold": 0, "plan_lookahead": 0, "temperature": 0.5}
    fields = knobs.fields("planned", values_of(knobs, **turned), 100.0)
    assert fields == {
        "decoding": "planned", "max_new_tokens": 100, "length_scale": 1.5, "confidence_threshold": None,
        "plan_lookahead": 0, "temperature": 0.5, "do_sample": True,
    }  # fmt: skip
    assert knobs.beside(fields) == {
        "decoding": "autoregressive", "max_new_tokens": 100, "temperature": 0.5, "do_sample": True,
    }  # fmt: skip


@pytest.mark.parametrize("decoding", DECODERS)
def test_whatever_is_turned_the_fields_can_be_used(facts, decoding):
    knobs = KnobFields(facts)
    turned = {knob.field: knob.most if knobs.start(knob) != knob.most else knob.step for knob in KNOBS}
    fields = knobs.fields(decoding, values_of(knobs, **turned), 40)
    assert facts.request("What is the capital of Kenya?", fields).settings.decoding == decoding


def test_a_model_without_tags_has_the_decoders_that_need_none(plain, open_desk, folded):
    knobs = KnobFields(plain)
    assert "planned" not in knobs.decoders and "autoregressive" in knobs.decoders
    assert knobs.decoding in knobs.decoders
    fields = knobs.fields(knobs.decoding, values_of(knobs), 24)
    with open_desk("plain", plain) as asked:
        view = asked.ask("abc", fields)
    seen = folded(view["lanes"][0])
    assert seen.end["text"] == ask(plain, "abc", fields).text and "outline" not in seen.kinds
    with pytest.raises(ValueError, match="The decoder 'planned' is none of this model's; choose one of the list."):
        knobs.fields("planned", values_of(knobs), 24)
