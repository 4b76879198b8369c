"""xgrammar's own processor for Hugging Face models runs on the included model, left to right in batches as well."""

import re

import pytest
import torch
from transformers import AutoTokenizer

from planned_diffusion.loading.embedded import EMBEDDED
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM

xgrammar = pytest.importorskip("xgrammar", reason="xgrammar is not installed: pip install xgrammar")

PROMPTS = ["What is the capital of Kenya?", "What are the capital and the currency of Peru?", "Which money has Japan?"]
GRAMMARS = {  # what an answer matches -> grammar
    r"The [a-z]+ is [A-Z][a-z]+\.": 'root ::= "The " [a-z]+ " is " [A-Z] [a-z]+ "."',
    r"\d{3,5}\.": 'root ::= [0-9]{3,5} "."',
}


@pytest.fixture(scope="module")
def answer():
    """answer(grammars, rows, decoding) -> texts."""
    hf = pytest.importorskip("xgrammar.contrib.hf")
    model = PlannedDiffusionForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED, padding_side="left")
    sizes = {"vocab_size": model.config.get_text_config().vocab_size, "stop_token_ids": [model.config.eos_token_id]}
    compiler = xgrammar.GrammarCompiler(xgrammar.TokenizerInfo.from_huggingface(tokenizer, **sizes))

    def ask(grammars, rows, decoding):
        inputs = tokenizer(PROMPTS[:rows], return_tensors="pt", padding=True)
        processor = hf.LogitsProcessor([compiler.compile_grammar(grammar) for grammar in grammars])
        out = model.generate(**inputs, logits_processor=[processor], decoding=decoding, max_new_tokens=40)
        return tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)

    return ask


@pytest.mark.parametrize("pattern", GRAMMARS)
def test_answers_keep_to_the_grammar(pattern, answer):
    for rows, decoding in ((1, "autoregressive"), (3, "autoregressive"), (1, "planned")):
        assert all(re.fullmatch(pattern, text) for text in answer([GRAMMARS[pattern]], rows, decoding))


def test_a_grammar_for_each_row_left_to_right(answer):
    first, second = GRAMMARS
    texts = answer([GRAMMARS[first], GRAMMARS[second], GRAMMARS[first]], 3, "autoregressive")
    assert [bool(re.fullmatch(second, text)) for text in texts] == [False, True, False]
    assert re.fullmatch(first, texts[0]) and re.fullmatch(first, texts[2])


def test_a_planned_batch_is_refused(answer):
    for count in (1, 3):
        with pytest.raises(
            ValueError, match="cannot be copied .* pass prompts one at a time, or choose decoding='auto"
        ):
            answer([*GRAMMARS.values(), *GRAMMARS.values()][:count], 3, "planned")
