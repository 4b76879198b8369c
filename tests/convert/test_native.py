"""Native checkpoints: the same function of the same tokens, and rows for new ones."""

import copy
import math

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig

from planned_diffusion.generation.tokens import SPELLING, ControlTokens
from planned_diffusion.hub.convert.convert import ChosenFields, convert
from planned_diffusion.hub.convert.source_tokenizer import DESCRIPTIONS
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.records.vocabulary import check_agreement
from planned_diffusion.training.collator import PlannedDiffusionCollator
from planned_diffusion.training.dataset import encode_records
from planned_diffusion.training.objective import Objective
from planned_diffusion.training.trainer import PlannedDiffusionTrainer

ARCHITECTURES = ["llama", "qwen2", "qwen3", "smollm3"]
TAGGED = "<promise>-<topic>cause 3</topic><async>It is caused by the sun.</async>"
IDS = torch.tensor([[5, 60, 33, 97, 12, 80, 2, 255, 200]])
CHECKPOINTING = "activation_checkpointing"  # what transformers 5.17 calls gradient_checkpointing
CHECKPOINTING = CHECKPOINTING if hasattr(SFTConfig, CHECKPOINTING) else "gradient_checkpointing"
NEW = ("mask_token_id", *SPELLING)


@pytest.fixture(scope="module", params=[(name, tie) for name in ARCHITECTURES for tie in (False, True)], ids=str)
def converted(request, native_folder, tmp_path_factory):
    """(native model, folder of ours, report): sharded, in float32, 259 rows for 259 tokens."""
    architecture, tie = request.param
    source, out = tmp_path_factory.mktemp("native"), tmp_path_factory.mktemp("converted") / "out"
    native = native_folder(source, architecture, tie, shard="10KB")
    return native, out, convert(source, out)


@torch.no_grad()
def test_logits_of_known_tokens_are_bit_equal(converted):
    native, out, _ = converted
    ours, report = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert type(ours) is PlannedDiffusionForCausalLM
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    assert (ours.lm_head.weight is ours.model.embed_tokens.weight) == native.config.tie_word_embeddings
    assert ours(IDS).logits[..., :259].equal(native(IDS).logits)
    assert list(ours.state_dict()) == list(native.state_dict())


@torch.no_grad()
def test_new_rows_are_the_mean_of_the_words_that_describe_them(converted):
    native, out, report = converted
    ours, tokenizer = PlannedDiffusionForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    assert report.rows == (259, 320) and report.rows_set == 320 - 259
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        before, after = native.state_dict()[name], ours.state_dict()[name]
        assert after.shape == (320, 16) and after[:259].equal(before)
        for field in NEW:
            words = tokenizer(DESCRIPTIONS[field], add_special_tokens=False)["input_ids"]
            assert max(words) < 256
            torch.testing.assert_close(after[getattr(ours.config, field)], before[words].mean(dim=0))
    assert len({getattr(ours.config, field) for field in NEW}) == len(after[259:266].unique(dim=0)) == 7


@torch.no_grad()
def test_ids_that_no_token_has_are_never_the_most_probable(converted):
    _, out, _ = converted
    ours = PlannedDiffusionForCausalLM.from_pretrained(out)
    for seed in range(20):
        hidden = torch.randn(50, 16, generator=torch.Generator().manual_seed(seed))
        assert ours.lm_head(hidden).argmax(dim=-1).max() < 266


def test_configuration_and_tokenizer_agree(converted):
    native, out, report = converted
    config, tokenizer = AutoConfig.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    check_agreement(tokenizer, config)
    assert config.backbone_config.model_type == native.config.model_type == report.model_type
    assert config.vocab_size == config.backbone_config.vocab_size == 320 and len(tokenizer) == 266
    assert (config.tokens_per_length_unit, config.span_attention, config.span_separator) == (10, "sparse", "")
    tags = [getattr(config, field) for field in NEW]
    assert tokenizer.decode([*tags, 66], skip_special_tokens=True) == tokenizer.decode([66])
    assert tokenizer.padding_side == "left"
    assert "is_local" not in (out / "tokenizer_config.json").read_text()
    # what ends a turn of the chat template ends an answer, and so does what ended one before
    defaults = PlannedDiffusionForCausalLM.from_pretrained(out).generation_config
    assert config.eos_token_id == tokenizer.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>") == 258
    assert defaults.eos_token_id == [258, 256] and defaults.do_sample is False


@pytest.mark.parametrize("decoding", ["planned", "autoregressive"])
def test_generates(decoding, converted):
    _, out, _ = converted
    model, tokenizer = PlannedDiffusionForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    chat = [{"role": "user", "content": "What is an aurora?"}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    plan = [[[("cause", 5), ("colour", 8)]]] if decoding == "planned" else None
    answer = model.generate(**inputs, decoding=decoding, plan=plan, max_new_tokens=80, return_dict_in_generate=True)
    assert answer.trace[0].tokens > 0
    if plan:
        assert [span.topic for span in answer.plans[0][0]] == ["cause", "colour"]
        assert answer.trace[0].denoising == 8


@pytest.mark.parametrize("converted", [(name, False) for name in ARCHITECTURES], indirect=True, ids=str)
def test_learns_a_tagged_answer(converted, tmp_path):
    _, out, _ = converted
    model, tokenizer = PlannedDiffusionForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    control = ControlTokens.from_config(model.config)
    record = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": TAGGED}]
    examples = encode_records([{"messages": record}] * 2, tokenizer, control)
    before = copy.deepcopy(model.state_dict())
    args = SFTConfig(
        output_dir=str(tmp_path), max_steps=1, learning_rate=1e-2, bf16=False, use_cpu=True, report_to="none",
        save_strategy="no", disable_tqdm=True, logging_steps=1, per_device_train_batch_size=2,
        **{CHECKPOINTING: False},
    )  # fmt: skip
    collator = PlannedDiffusionCollator(examples, Objective(complementary_masks=False), control)
    trainer = PlannedDiffusionTrainer(model, args, collator, processing_class=tokenizer)
    trainer.train()
    assert math.isfinite(trainer.state.log_history[0]["loss"])
    changed = model.state_dict()["lm_head.weight"] != before["lm_head.weight"]
    assert changed[model.config.sync_token_id].any() or changed[model.config.async_start_token_id].any()
    trainer.save_model(tmp_path / "tuned")
    tuned = PlannedDiffusionForCausalLM.from_pretrained(tmp_path / "tuned")
    assert tuned(IDS).logits.equal(model(IDS).logits)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_dtypes_stay(dtype, native_folder, tmp_path):
    native_folder(tmp_path / "source", dtype=dtype)
    report = convert(tmp_path / "source", tmp_path / "out")
    ours, native = (AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in ("out", "source"))
    assert ours.dtype == native.dtype == dtype
    assert ours.model(IDS).last_hidden_state.equal(native.model(IDS).last_hidden_state)
    assert ours.lm_head.weight[:259].equal(native.lm_head.weight)
    words = AutoTokenizer.from_pretrained(tmp_path / "out")(DESCRIPTIONS["sync_token_id"])["input_ids"]
    mean = native.lm_head.weight[words].float().mean(dim=0).to(dtype)
    assert ours.lm_head.weight[ours.config.sync_token_id].equal(mean)
    assert report.dtypes == [{torch.bfloat16: "BF16", torch.float16: "F16", torch.float64: "F64"}[dtype]]


def test_spare_rows_are_used_before_anything_grows(native_folder, tmp_path):
    native = native_folder(tmp_path / "source", rows=272)
    report = convert(tmp_path / "source", tmp_path / "out")
    ours = PlannedDiffusionForCausalLM.from_pretrained(tmp_path / "out")
    assert report.rows == (272, 272) and report.rows_set == 7 and ours.config.vocab_size == 272
    untouched = [*range(259), *range(266, 272)]
    assert ours.lm_head.weight[untouched].equal(native.lm_head.weight[untouched])
    assert not ours.lm_head.weight[259:266].equal(native.lm_head.weight[259:266])


def test_the_tokenizer_of_qwen2(native_folder, qwen2_files, tmp_path):
    """151,665 tokens in 151,936 rows: nothing grows, and text is tokenized as before."""
    qwen2_files(tmp_path / "source")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "source")
    native_folder(tmp_path / "source", rows=151936, tokenizer=tokenizer, dtype=torch.bfloat16)
    report = convert(tmp_path / "source", tmp_path / "out")
    assert report.rows == (151936, 151936) and report.rows_set == 7
    assert sorted(report.tokens[name] for name in report.added) == list(range(151665, 151672))
    assert report.tokens["0 ... 9"] == list(range(15, 25)) and report.tokens["<|im_end|>"] == 151645
    ours = AutoTokenizer.from_pretrained(tmp_path / "out")
    for text in ("An aurora, 12 km up.\n\n  Où?", "<|im_start|>user\nHi<|im_end|>", "naïve 北京 🙂"):
        assert ours(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert ours("a<async>1</async> [PAD]")["input_ids"] == [64, 151666, 16, 151667, 220, 151671]
    chat = [{"role": "user", "content": "a <async> <|im_end|>"}]
    ids = ours.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    assert 151666 not in ids and ids.count(151645) == 1 and ours.decode(ids).count("<async> <|im_end|>") == 1


def test_options(native_folder, tmp_path):
    native_folder(tmp_path / "source")
    report = convert(tmp_path / "source", tmp_path / "out", ChosenFields(4, "dense", "\n\n"))
    config = AutoConfig.from_pretrained(tmp_path / "out")
    assert (config.tokens_per_length_unit, config.span_attention, config.span_separator) == (4, "dense", "\n\n")
    assert (report.tokens_per_length_unit, report.span_attention, report.span_separator) == (4, "dense", "\n\n")
