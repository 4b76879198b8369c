"""Every door of transformers, opened on the embedded model: the answer is checked, not only that something came."""

import asyncio
import threading

import pytest
import torch
from transformers import (
    AsyncTextIteratorStreamer,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    DynamicCache,
    GenerationConfig,
    TextIteratorStreamer,
    TextStreamer,
    pipeline,
)

from planned_diffusion import PlannedDiffusionForCausalLM, PlannedDiffusionGenerationConfig

QUESTION = "What is the capital of Kenya?"
ANSWER = "The capital city of Kenya, as any atlas will show, is Nairobi."
OTHER = "Which currency and which capital does Uganda have?"
CHAT = [{"role": "user", "content": QUESTION}]


@pytest.fixture(scope="module")
def model(embedded):
    return PlannedDiffusionForCausalLM.from_pretrained(embedded, dtype="auto").eval()


@pytest.fixture(scope="module")
def tokenizer(embedded):
    return AutoTokenizer.from_pretrained(embedded)


@pytest.fixture(scope="module")
def inputs(tokenizer):
    return tokenizer(QUESTION, return_tensors="pt")


@pytest.fixture(scope="module")
def answer(tokenizer, inputs):
    """answer(model, **fields): the text after the prompt."""

    def run(model, **fields) -> str:
        out = model.generate(**inputs, **fields)
        return tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)

    return run


# Pipelines


@pytest.fixture(scope="module")
def pipe(embedded):
    return pipeline("text-generation", model=str(embedded), dtype="auto", device="cpu")


def test_pipeline_of_text(pipe):
    assert pipe.model.dtype == torch.bfloat16
    assert pipe(QUESTION) == [{"generated_text": QUESTION + ANSWER}]
    assert pipe(QUESTION, return_full_text=False, confidence_threshold=0.5) == [{"generated_text": ANSWER}]


def test_pipeline_of_chats(pipe):
    full = [*CHAT, {"role": "assistant", "content": ANSWER}]
    assert pipe(CHAT) == [{"generated_text": full}]
    assert pipe([CHAT, CHAT], batch_size=2) == [[{"generated_text": full}]] * 2


def test_pipeline_in_batches(pipe):
    texts = [QUESTION, OTHER, QUESTION]
    alone = [pipe(text) for text in texts]
    assert pipe(texts, batch_size=3) == alone and "Kampala" in alone[1][0]["generated_text"]


def test_pipeline_streamed(pipe, capsys):
    pipe(QUESTION, streamer=TextStreamer(pipe.tokenizer, skip_prompt=True, skip_special_tokens=True))
    assert capsys.readouterr().out == ANSWER + "\n"


def test_pipeline_samples_only_when_told(pipe):
    assert len({pipe(QUESTION)[0]["generated_text"] for _ in range(3)}) == 1
    answers = pipe(QUESTION, do_sample=True, temperature=2.0, num_return_sequences=4, seed=1)
    assert len({answer["generated_text"] for answer in answers}) > 1


# Streamers


def test_text_iterator_streamer_in_a_thread(model, tokenizer, inputs):
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, timeout=60, skip_special_tokens=True)
    fields = {"streamer": streamer, "confidence_threshold": None}  # a token or a few at a time
    thread = threading.Thread(target=model.generate, kwargs={**inputs, **fields})
    thread.start()
    pieces = list(streamer)
    thread.join()
    assert "".join(pieces) == ANSWER and len([piece for piece in pieces if piece]) > 1


def test_async_text_iterator_streamer(model, tokenizer, inputs):
    async def collect() -> list[str]:
        streamer = AsyncTextIteratorStreamer(tokenizer, skip_prompt=True, timeout=60, skip_special_tokens=True)
        thread = threading.Thread(target=model.generate, kwargs={**inputs, "streamer": streamer})
        thread.start()
        pieces = [piece async for piece in streamer]
        thread.join()
        return pieces

    assert "".join(asyncio.run(collect())) == ANSWER


def test_text_diffusion_streamer(model, tokenizer, inputs, capsys):
    """transformers' streamer of drafts: drafts are yellow, cleared, and the last thing standing is the answer."""
    transformers = pytest.importorskip("transformers")
    if not hasattr(transformers, "TextDiffusionStreamer"):
        pytest.skip("this version of transformers has no TextDiffusionStreamer")
    streamer = transformers.TextDiffusionStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    model.generate(**inputs, streamer=streamer, confidence_threshold=None)
    written = capsys.readouterr().out
    drafts = written.count("\033[33m")
    assert drafts >= 10 and written.count("\0338\033[J") == drafts
    kept = "".join(part.split("\0337")[0] for part in written.split("\0338\033[J"))
    assert kept == ANSWER + "\n"


# Loading


@pytest.mark.parametrize("place", ["auto", "cpu", {"": "cpu"}])
def test_device_map(embedded, answer, place):
    pytest.importorskip("accelerate", reason="device_map needs accelerate")
    model = AutoModelForCausalLM.from_pretrained(embedded, dtype="auto", device_map=place)
    assert answer(model) == ANSWER


def test_dtype_auto_is_that_of_the_file(embedded, answer):
    models = {dtype: AutoModelForCausalLM.from_pretrained(embedded, dtype=dtype) for dtype in ("auto", "float32")}
    assert models["auto"].dtype == torch.bfloat16 and models["float32"].dtype == torch.float32
    assert [answer(model) for model in models.values()] == [ANSWER] * 2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "settings", [{"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, {"load_in_8bit": True}], ids=["nf4", "int8"]
)
def test_quantized_on_the_cpu(embedded, answer, settings):
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="quantized weights need bitsandbytes")
    model = AutoModelForCausalLM.from_pretrained(
        embedded, dtype=torch.bfloat16, quantization_config=BitsAndBytesConfig(**settings)
    )
    kind = bitsandbytes.nn.Linear4bit if "load_in_4bit" in settings else bitsandbytes.nn.Linear8bitLt
    assert type(model.model.layers[0].mlp.up_proj) is kind and type(model.lm_head) is torch.nn.Linear
    assert answer(model) == ANSWER


@pytest.mark.slow
def test_compiled(embedded, answer, inputs):
    """A compiled forward is the forward; generation through a compiled backbone soon needs no new graph."""
    model = PlannedDiffusionForCausalLM.from_pretrained(embedded, dtype="float32")
    graphs = []

    def backend(graph, example_inputs):
        graphs.append(graph)
        return graph

    with torch.no_grad():
        expected = model(**inputs).logits
        assert torch.compile(model, backend=backend)(**inputs).logits.equal(expected)
    assert len(graphs) == 1, "the forward is one graph"
    model.model.compile(backend=backend, dynamic=True)
    assert answer(model, confidence_threshold=0.5) == ANSWER
    compiled = len(graphs)
    assert compiled > 1 and answer(model, confidence_threshold=0.5) == ANSWER and len(graphs) == compiled
    torch._dynamo.reset()


# Decoding defaults


def test_generation_config_is_saved_and_read(model, answer, tmp_path):
    fields = PlannedDiffusionGenerationConfig(
        steps_ratio=0.5, confidence_threshold=0.8, max_new_tokens=99, eos_token_id=1, pad_token_id=0, do_sample=False
    )
    fields.save_pretrained(tmp_path)
    again = PlannedDiffusionGenerationConfig.from_pretrained(tmp_path)
    assert again.to_dict() == fields.to_dict()
    assert answer(model, generation_config=again) == ANSWER
    # A caller with a plain GenerationConfig changes what it says and nothing else.
    assert answer(model, generation_config=GenerationConfig(max_new_tokens=60, do_sample=False)) == ANSWER


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("assistant_tokenizer", object()),
        ("prefix_allowed_tokens_fn", lambda batch, ids: [1]),
        ("negative_prompt_ids", torch.ones(1, 2, dtype=torch.long)),
        ("negative_prompt_attention_mask", torch.ones(1, 2)),
        ("custom_generate", "owner/name"),
        ("inputs_embeds", torch.zeros(1, 2, 256)),
        ("past_key_values", DynamicCache()),
        ("cache", DynamicCache()),
        ("assistant_early_exit", 2),
        ("prompt_lookup_num_tokens", 3),
        ("guidance_scale", 2.0),
        ("num_beams", 4),
    ],
)
def test_what_only_other_models_can_do_is_refused(model, inputs, name, value):
    with pytest.raises(ValueError, match=rf"{name}.* has no meaning for planned diffusion; leave it out"):
        model.generate(**inputs, **{name: value})
    if name not in ("num_beams", "guidance_scale"):
        assert model.generate(**inputs, **{name: None}).shape[1] > inputs["input_ids"].shape[1]


def test_an_assistant_is_for_the_decoder_that_has_a_use_for_it(model, inputs):
    with pytest.raises(ValueError, match="has no use for assistant_model; leave it out, or choose decoding='adaptive"):
        model.generate(**inputs, assistant_model=model)


# Training


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_checkpoints_of_a_trainer_and_merged_adapters_carry_the_code(build_model, adapter, embedded, tmp_path):
    """A Trainer's checkpoint loads as an export does; an adapter's folder stays an adapter's; a merged one is whole."""
    from peft import PeftModel
    from transformers import Trainer, TrainingArguments

    from planned_diffusion.hub.flat import flat_code

    data = [{"input_ids": [5, 60, 33], "labels": [5, 60, 33]}] * 2
    settings = TrainingArguments(tmp_path / "run", max_steps=1, save_steps=1, report_to="none", use_cpu=True)
    Trainer(build_model(), settings, train_dataset=data).train()
    saved = tmp_path / "run" / "checkpoint-1"
    assert {name: (saved / name).read_bytes() for name in flat_code()} == flat_code()
    assert not list(adapter.glob("*.py"))
    base = PlannedDiffusionForCausalLM.from_pretrained(embedded)
    PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained(tmp_path / "merged")
    assert (tmp_path / "merged" / "modeling_planned_diffusion.py").is_file()
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "merged").config.auto_map
