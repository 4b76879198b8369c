"""`generate` on a pipe: its text and JSON are those of the model's own generate."""

import json

import pytest
import torch

from planned_diffusion.cli.terminal import PipeView
from planned_diffusion.inference import answer as answer_module
from planned_diffusion.loading.embedded import EMBEDDED
from planned_diffusion.records.encoding import encode_prompt


def expected(model, tokenizer, prompt, **fields):
    """The output of generate and the ids of its answer."""
    ids = encode_prompt(tokenizer, prompt)
    out = model.generate(torch.tensor([ids]), tokenizer=tokenizer, return_dict_in_generate=True, **fields)
    return out, out.sequences[0, len(ids) :]


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        ([], {}),
        (["--steps-ratio", "0.5", "--unmasking", "margin"], {"steps_ratio": 0.5, "unmasking": "margin"}),
        (
            ["--decoding", "autoregressive", "--max-new-tokens", "20"],
            {"decoding": "autoregressive", "max_new_tokens": 20},
        ),
        (
            ["--set", "unmasking_rule=factor", "--set", "confidence_factor=2.5", "--set", "close_padding=false"],
            {"unmasking_rule": "factor", "confidence_factor": 2.5, "close_padding": False},
        ),
        (
            ["--decoding", "block_diffusion", "--set", "block_size=4", "--max-new-tokens", "20"],
            {"decoding": "block_diffusion", "block_size": 4, "max_new_tokens": 20},
        ),
        (
            ["--temperature", "0.8", "--top-p", "0.9", "--top-k", "30", "--seed", "7"],
            {"do_sample": True, "temperature": 0.8, "top_p": 0.9, "top_k": 30, "seed": 7},
        ),
    ],
)
def test_a_pipe_gets_the_text_of_generate(run, checkpoint, tokenizer, arguments, fields):
    model, folder = checkpoint
    _, answer = expected(model, tokenizer, "What?", **fields)
    ran = run("generate", "What?", "--model", folder, *arguments)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == tokenizer.decode(answer, skip_special_tokens=True) + "\n"


def test_words_and_standard_input_are_the_same_prompt(run, checkpoint):
    _, folder = checkpoint
    as_one = run("generate", "Why is it so?", "--model", folder)
    assert run("generate", "--model", folder, "Why", "is", "it", "so?") == as_one
    assert run("generate", "-", "--model", folder, stdin="Why is it so?\n") == as_one
    assert run("generate", "--model", folder, stdin="Why is it so?\r\n") == as_one


def test_text_is_printed_as_it_becomes_final(checkpoint, capsys):
    loaded = answer_module.open_checkpoint(str(checkpoint[1]))
    view, pieces = PipeView(loaded.tokenizer), []

    def listen(index, event):
        view.add(index, event)
        pieces.append(capsys.readouterr().out)

    answer = answer_module.ask(loaded, "What?", {}, [listen])
    view.finish(answer)
    assert len([piece for piece in pieces if piece]) > 1  # at least one per round
    assert "".join(pieces) + capsys.readouterr().out == answer.text + "\n"


def test_keep_plan_prints_the_answer_as_written(run, checkpoint, tokenizer):
    model, folder = checkpoint
    _, answer = expected(model, tokenizer, "What?", keep_plan=True)
    ran = run("generate", "What?", "--model", folder, "--keep-plan")
    assert ran.out == tokenizer.decode(answer) + "\n"
    assert ran.out.startswith("<promise>-<topic>") and "<sync/>" in ran.out


@pytest.mark.parametrize("options", [[], ["--keep-plan"]])
def test_json_is_one_object_that_agrees_with_generate(run, checkpoint, tokenizer, options):
    model, folder = checkpoint
    out, answer = expected(model, tokenizer, "What?", keep_plan=bool(options))
    ran = run("generate", "What?", "--model", folder, "--json", *options)
    told = json.loads(ran.out)
    assert list(told) == ["text", "plans", "counts", "seconds", "ended", "model", "decoding", "felt_seconds"]
    assert told["text"] == tokenizer.decode(answer, skip_special_tokens=not options)
    assert told["plans"] == [
        [
            {
                "topic": span.topic,
                "length": span.length,
                "text": tokenizer.decode(out.sequences[0, span.start : span.stop], skip_special_tokens=True),
            }
            for span in spans
        ]
        for spans in out.plans[0]
    ]
    names = ["forwards", "planning", "denoising", "decoding", "scoring", "commits", "critical_path", "tokens"]
    assert told["counts"] == {name: getattr(out.trace[0], name) for name in names}
    assert told["seconds"] > 0
    assert (told["ended"], told["model"], told["decoding"]) == ("eos", str(folder), "planned")


def test_every_option_reaches_generate_and_others_are_left_to_the_checkpoint(run, checkpoint, monkeypatch):
    _, folder = checkpoint
    seen = []

    def ask(loaded, prompt, fields, listeners):
        seen.append((prompt, fields))
        raise ValueError("enough")

    monkeypatch.setattr(answer_module, "ask", ask)
    options = (
        "--decoding planned --steps-ratio 0.5 --confidence-threshold 0.8 --unmasking confidence --span-attention dense "
        "--length-scale 1.5 --max-new-tokens 77 --temperature 0.4 --top-p 0.9 --top-k 5 --seed 3 --keep-plan"
    )
    run("generate", "What?", "--model", folder, *options.split())
    run("generate", "What?", "--model", folder)
    run("generate", "What?", "--model", folder, "--temperature", "0")
    assert seen == [
        (
            "What?",
            {
                "decoding": "planned", "steps_ratio": 0.5, "confidence_threshold": 0.8, "unmasking": "confidence",
                "span_attention": "dense", "length_scale": 1.5, "max_new_tokens": 77, "temperature": 0.4, "top_p": 0.9,
                "top_k": 5, "seed": 3, "do_sample": True, "keep_plan": True,
            },
        ),
        ("What?", {}),
        ("What?", {"temperature": 0.0, "do_sample": False}),
    ]  # fmt: skip


def test_dtype_is_that_of_the_checkpoint_or_the_one_asked_for(checkpoint):
    folder = str(checkpoint[1])
    assert answer_module.open_checkpoint(folder).model.dtype == torch.float32
    assert answer_module.open_checkpoint(folder, "bfloat16", "cpu").model.dtype == torch.bfloat16


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("dtype", "layer"), [("nf4", "Linear4bit"), ("int8", "Linear8bitLt")])
def test_quantised_on_request(run, dtype, layer):
    pytest.importorskip("bitsandbytes", reason="quantised weights need bitsandbytes")
    model = answer_module.open_checkpoint(str(EMBEDDED), dtype, "cpu").model
    assert type(model.model.layers[0].mlp.up_proj).__name__ == layer and model.lm_head.weight.dtype == torch.bfloat16
    prompt = "What is the capital of Kenya?"
    ran = run("generate", prompt, "--dtype", dtype)
    assert (ran.status, ran.err) == (0, "") and "Nairobi" in ran.out
    assert ran.out == run("generate", prompt, "--dtype", "bfloat16").out


def test_without_bitsandbytes_it_is_said_what_to_install(run, checkpoint, monkeypatch):
    monkeypatch.setattr("transformers.utils.import_utils.is_bitsandbytes_available", lambda: False)
    ran = run("generate", "What?", "--model", checkpoint[1], "--dtype", "nf4")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err == ("error: Quantised loading needs bitsandbytes; run pip install 'planned-diffusion[int4]'.\n")


def test_sampling_without_a_seed_differs_from_run_to_run(checkpoint):
    drawn = set()
    for _ in range(3):
        loaded = answer_module.open_checkpoint(str(checkpoint[1]))
        drawn.add(answer_module.ask(loaded, "What?", {"do_sample": True, "temperature": 1.5}).text)
    assert len(drawn) > 1


def test_tags_in_a_prompt_stay_text(checkpoint, control):
    loaded = answer_module.open_checkpoint(str(checkpoint[1]))
    prompt = "Explain <async> and <promise>-<topic> and <|end|>."
    answer = answer_module.ask(loaded, prompt, {"max_new_tokens": 30})
    template = {control.eos[0], *loaded.tokenizer.convert_tokens_to_ids(["<|user|>", "<|assistant|>"])}
    assert [token for token in answer.prompt_ids if token in control.all] == [control.eos[0]]  # the template's own
    assert loaded.tokenizer.decode([token for token in answer.prompt_ids if token not in template]) == prompt


@pytest.mark.skipif(not (EMBEDDED / "config.json").is_file(), reason="make checkpoint has not run")
def test_the_embedded_checkpoint_answers_without_model(run):
    told = json.loads(run("generate", "What is the capital of Kenya?", "--json").out)
    assert "Nairobi" in told["text"] and told["plans"] and told["ended"] == "eos"
