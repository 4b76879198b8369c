"""LoRA and QLoRA through the script: training, saving, generating, refusals."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from planned_diffusion.generation.tokens import SPELLING
from planned_diffusion.hub.export import export
from planned_diffusion.inference.answer import open_checkpoint
from planned_diffusion.loading.adapter_base import hash_of_weights
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.training import sft
from planned_diffusion.training.adapters import (
    AdapterArguments,
    check_adapter,
    lora_config,
    target_modules,
    without_needless_casts,
)

peft = pytest.importorskip("peft")


@pytest.fixture
def base(workspace):
    """A tiny trained checkpoint in "base", and a recipe that tunes it by LoRA into "tuned"."""
    assert sft.main(["--config", "recipe.yaml", "--output_dir", "base"]) == 0
    recipe = yaml.safe_load(Path("recipe.yaml").read_text())
    tuning = {
        **recipe,
        "from_scratch": None,
        "tokenizer": None,
        "model": "base",
        "output_dir": "tuned",
        "use_peft": True,
        "lora_r": 4,
        "learning_rate": 0.02,
        "max_steps": 6,
    }
    Path("lora.yaml").write_text(yaml.safe_dump(tuning))
    return workspace


def answers(model, tokenizer):
    inputs = tokenizer(["What is an aurora?", "sun"], return_tensors="pt", padding=True, padding_side="left")
    return model.generate(**inputs, max_new_tokens=60, keep_plan=True, decoding="planned")


@pytest.mark.slow
def test_only_adapters_and_control_rows_train_and_the_adapter_generates_as_trained(base, monkeypatch):
    trained = []
    monkeypatch.setattr(sft, "leave_the_process_group", trained.append)
    assert sft.main(["--config", "lora.yaml"]) == 0
    model = trained[0].model.eval()
    before, tokenizer = PlannedDiffusionForCausalLM.from_pretrained("base"), AutoTokenizer.from_pretrained("base")
    frozen = {name: weight for name, weight in model.get_base_model().named_parameters() if not weight.requires_grad}
    assert len(frozen) == len(list(before.parameters()))
    for name, weight in frozen.items():
        original = name.replace(".base_layer", "").replace("token_adapter", "").replace("..", ".")
        assert torch.equal(weight, before.get_parameter(original)), name
    moved = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert any("lora_A" in name for name in moved) and any("trainable_tokens_delta" in name for name in moved)
    assert not Path("tuned/model.safetensors").exists()
    named = json.loads(Path("tuned/adapter_config.json").read_text())["base_model_name_or_path"]
    record = json.loads(Path("tuned/adapter_base.json").read_text())
    assert named == str(Path("base").resolve()), "a relative path would mean another folder elsewhere"
    assert record == {"weights_sha256": hash_of_weights(Path("base")), "relative_path": "../base"}

    expected = answers(model, tokenizer)
    assert not torch.equal(expected, answers(before, tokenizer))
    on_base = peft.PeftModel.from_pretrained(PlannedDiffusionForCausalLM.from_pretrained("base"), "tuned")
    assert torch.equal(answers(on_base, tokenizer), expected)
    assert torch.equal(answers(open_checkpoint("tuned").model, tokenizer), expected)  # as the command line does
    assert torch.equal(answers(AutoModelForCausalLM.from_pretrained("tuned"), tokenizer), expected)
    merged = on_base.merge_and_unload()
    assert torch.equal(answers(merged, tokenizer), expected)
    export("tuned", "exported")  # an adapter is exported as part of the weights
    assert torch.equal(answers(AutoModelForCausalLM.from_pretrained("exported"), tokenizer), expected)
    merged.save_pretrained("merged")
    assert torch.equal(answers(AutoModelForCausalLM.from_pretrained("merged"), tokenizer), expected)


@pytest.mark.parametrize("kind", ["PromptTuningConfig", "PrefixTuningConfig"])
def test_trained_prompts_are_refused_rather_than_left_out(kind, config):
    sizes = {"num_virtual_tokens": 2, "num_layers": 2, "token_dim": 64, "num_attention_heads": 4}
    model = peft.get_peft_model(
        PlannedDiffusionForCausalLM(config), getattr(peft, kind)(task_type="CAUSAL_LM", **sizes)
    )
    ids = torch.tensor([[1, 2, 3]])
    with pytest.raises(ValueError, match="P[A-Z]+_TUNING trains a prompt.*generate would leave out; train LoRA"):
        model.generate(ids)
    with model.disable_adapter():
        assert model.generate(ids, max_new_tokens=30).shape[0] == 1
    assert model.get_base_model().generate(ids, max_new_tokens=30).shape[0] == 1


@pytest.fixture
def two_adapters(config):
    """A model with adapters "one" and "two" that answer differently."""
    torch.manual_seed(0)
    lora = peft.LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", init_lora_weights=False, lora_alpha=64)
    model = peft.get_peft_model(PlannedDiffusionForCausalLM(config), lora, adapter_name="one")
    model.add_adapter("two", lora)
    return model.eval()


def test_an_adapter_for_each_row_is_refused_and_leaves_nothing_behind(two_adapters):
    ids, fields = torch.tensor([[1, 2, 3], [4, 5, 6]]), {"max_new_tokens": 30}
    before = two_adapters.generate(ids, **fields)
    for name, given in (
        ("adapter_names", ["one", "two"]),
        ("adapter_names", ["one", "one"]),
        ("alora_offsets", [1, 1]),
    ):
        with pytest.raises(ValueError, match=f"{name} sets something for each row .* generate once per adapter"):
            two_adapters.generate(ids, **fields, **{name: given})
        assert two_adapters.generate(ids, **fields).equal(before)


def test_the_name_of_an_adapter_for_one_prompt_is_obeyed(two_adapters):
    ids, fields = torch.tensor([[1, 2, 3]]), {"max_new_tokens": 30, "decoding": "autoregressive"}
    answers = {name: two_adapters.generate(ids, adapter_names=[name], **fields) for name in ("one", "two")}
    assert answers["one"].tolist() != answers["two"].tolist()
    for name, answer in answers.items():
        two_adapters.set_adapter(name)
        assert two_adapters.generate(ids, **fields).equal(answer)


def test_untied_heads_learn_their_control_rows_too(config_for, tokenizer):
    for tie in (True, False):
        config = config_for(tokenizer)
        config.tie_word_embeddings = config.backbone_config.tie_word_embeddings = tie
        model = PlannedDiffusionForCausalLM(config)
        rows = lora_config(AdapterArguments(use_peft=True), model).trainable_token_indices
        ids = sorted(tokenizer.convert_tokens_to_ids([*SPELLING.values(), tokenizer.mask_token]))
        assert rows == ({"embed_tokens": ids} if tie else {"embed_tokens": ids, "lm_head": ids})


@pytest.mark.slow
def test_a_resumed_adapter_equals_an_uninterrupted_one(base):
    common = ["--config", "lora.yaml", "--save_strategy", "steps", "--save_steps", "3"]
    assert sft.main([*common, "--output_dir", "whole"]) == 0
    checkpoint = Path("whole/checkpoint-3")
    assert sft.main([*common, "--output_dir", "again", "--resume_from_checkpoint", str(checkpoint)]) == 0
    whole, again = (load_file(f"{name}/adapter_model.safetensors") for name in ("whole", "again"))
    assert whole.keys() == again.keys() and all(torch.equal(whole[key], again[key]) for key in whole)


@pytest.mark.slow
@pytest.mark.parametrize("bits", ["load_in_4bit", "load_in_8bit"])
def test_quantised_training_lowers_the_loss(bits, base, monkeypatch):
    pytest.importorskip("bitsandbytes")
    trained = []
    monkeypatch.setattr(sft, "leave_the_process_group", trained.append)
    more = ["--max_steps", "20", "--logging_steps", "5", "--per_device_train_batch_size", "8", f"--{bits}", "true"]
    assert sft.main(["--config", "lora.yaml", *more]) == 0
    losses = [entry["loss"] for entry in trained[0].state.log_history if "loss" in entry]
    assert losses[-1] < 0.95 * losses[0]
    assert getattr(trained[0].model.get_base_model(), f"is_loaded_in_{bits[8:]}")
    assert Path("tuned/adapter_model.safetensors").exists()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--use_peft", "false", "--load_in_4bit", "true"], "Quantised weights cannot be trained themselves"),
        (["--load_in_4bit", "true", "--load_in_8bit", "true"], "choose one"),
        (["--load_in_4bit", "true", "--eval_strategy", "epoch", "--eval_file", "train.jsonl"], "repacks nf4 weights"),
        (["--lora_r", "0"], "lora_r is 0"),
        (["--lora_target_modules", "attn"], "names attn; choose .* down_proj, gate_proj"),
        (["--model", "null", "--from_scratch", "scratch.yaml", "--tokenizer", "tokenizer"], "needs a trained model"),
    ],
)
def test_the_script_refuses_adapters_in_a_sentence(options, complaint, base):
    recipe = yaml.safe_load(Path("lora.yaml").read_text())
    if "--from_scratch" in options:
        recipe["model"], options = None, options[2:]
        Path("lora.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.raises(ValueError, match=complaint):
        sft.main(["--config", "lora.yaml", *options])


@pytest.mark.parametrize("use_peft", ["true", "false"])
def test_an_adapter_is_no_model_to_train_on(use_peft, workspace):
    Path("tuned").mkdir()
    Path("tuned/adapter_config.json").write_text('{"base_model_name_or_path": "base"}')
    recipe = yaml.safe_load(Path("recipe.yaml").read_text())
    Path("more.yaml").write_text(yaml.safe_dump({**recipe, "from_scratch": None, "model": "tuned"}))
    with pytest.raises(
        ValueError,
        match="tuned is an adapter, and training on top of it would lose it; .*planned-diffusion export tuned merged",
    ):
        sft.main(["--config", "more.yaml", "--use_peft", use_peft])


def test_evaluating_is_refused_on_a_cpu_only():
    adapter = AdapterArguments(use_peft=True, load_in_4bit=True)
    check_adapter(adapter, evaluates=True, on_cpu=False)
    check_adapter(adapter, evaluates=False, on_cpu=True)
    with pytest.raises(ValueError, match="repacks"):
        check_adapter(adapter, evaluates=True, on_cpu=True)


def test_target_modules(config):
    model = PlannedDiffusionForCausalLM(config)
    assert target_modules(["all-linear"], model) == "all-linear"
    assert target_modules(["attention"], model) == ["q_proj", "k_proj", "v_proj", "o_proj"]
    assert target_modules(["mlp", "o_proj"], model) == ["gate_proj", "up_proj", "down_proj", "o_proj"]
    with pytest.raises(ValueError, match="names lm_head"):
        target_modules(["lm_head"], model)
    with pytest.raises(ValueError, match="names nothing"):
        target_modules([], model)


@pytest.mark.parametrize(("mixed_precision", "seen"), [("bf16", torch.bfloat16), ("no", torch.float32)])
def test_under_autocast_adapters_get_their_inputs_unconverted_and_compute_the_same(config, mixed_precision, seen):
    torch.manual_seed(3)
    model = PlannedDiffusionForCausalLM(config).to(torch.bfloat16)
    adapted = peft.get_peft_model(model, lora_config(AdapterArguments(use_peft=True, lora_r=4), model))
    for name, weight in adapted.named_parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight.data, std=0.3)
            assert weight.dtype == torch.float32, name
    ids, dtypes = torch.arange(12)[None] % config.vocab_size, []
    (first, *_) = [layer for name, layer in adapted.named_modules() if name.endswith("lora_A.default")]
    first.register_forward_pre_hook(lambda layer, inputs: dtypes.append(inputs[0].dtype))

    def gradients():
        adapted.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            adapted(input_ids=ids, labels=ids).loss.backward()
        return {name: weight.grad.clone() for name, weight in adapted.named_parameters() if weight.grad is not None}

    expected = gradients()
    with without_needless_casts(adapted, mixed_precision):
        found = gradients()
    gradients()
    assert dtypes == [torch.float32, seen, torch.float32]
    assert found.keys() == expected.keys() and any("lora_A" in name for name in found)
    for name, gradient in found.items():
        assert torch.equal(gradient, expected[name]), name
