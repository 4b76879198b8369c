"""`lora_gated`: nothing but drafts is learnt, by adapters that act on their rows alone."""

import copy
import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from planned_diffusion.generation.draft_adapter import KIND, are_gated
from planned_diffusion.generation.draft_gate import gate_adapter
from planned_diffusion.generation.visibility import CAUSAL, DRAFT, NOISY
from planned_diffusion.loading.load import has_merged_form, load
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.training import row as parts
from planned_diffusion.training import sft
from planned_diffusion.training.adapters import AdapterArguments, check_adapter, lora_config
from planned_diffusion.training.best_metric import metrics_of
from planned_diffusion.training.collator import PlannedDiffusionCollator, as_batch
from planned_diffusion.training.dataset import as_dataset
from planned_diffusion.training.loss import planned_diffusion_loss
from planned_diffusion.training.objective import Objective

peft = pytest.importorskip("peft")

DRAFTS_ALONE = {"drafts_alone": True, "draft_weight": 1.0, "draft_anchors": 3, "draft_tokens": 2}
TEXTS = ("pqPa1T<x>E", "pqPa1TPb2T<xy><z>SPc1T<w>E", "pqxyzE", "pqPa1TPb2T<xy><z>E")


@pytest.fixture
def drafter(config):
    """A tiny model with a gated adapter whose layers all change something."""
    torch.manual_seed(0)
    model = PlannedDiffusionForCausalLM(copy.deepcopy(config))
    gated = peft.get_peft_model(model, lora_config(AdapterArguments(use_peft=True, lora_r=4, lora_gated=True), model))
    for name, weight in gated.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight.data, std=0.3)
    gate_adapter(gated)
    return gated


def gradients(model) -> dict[str, torch.Tensor]:
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


# Rows


@pytest.mark.parametrize("text", TEXTS)
def test_only_blanks_have_labels_and_noisy_copies_are_left_out(text, row_of):
    row, usual = (row_of(text, seed=4, **{**DRAFTS_ALONE, "drafts_alone": alone}) for alone in (True, False))
    blanks = row.stream >= DRAFT
    assert (row.labels[blanks] != -100).any() and (row.labels[~blanks] == -100).all()
    assert not row.weights[~blanks].any() and not (row.stream == NOISY).any()
    assert (row.stream == CAUSAL).any() == ("<" in text)
    kept = usual.stream != NOISY
    assert row.ids[~blanks].tolist() == usual.ids[kept & (usual.stream < DRAFT)].tolist()
    assert row.targets[parts.DRAFT] == (row.labels != -100).sum() == row.targets.sum()


@pytest.mark.parametrize("is_evaluation", [False, True])
def test_the_loss_is_a_mean_over_drafts(is_evaluation, example_of, control):
    examples = [example_of(text) for text in TEXTS]
    objective = Objective(**DRAFTS_ALONE, plain_share=1.0)
    collator = PlannedDiffusionCollator(examples, objective, control, is_evaluation)
    batch = collator(list(as_dataset(examples)))
    assert batch["num_targets"] == batch["loss_part_targets"][parts.DRAFT] == (batch["labels"] != -100).sum() > 0
    assert (batch["span"] == -1).all(), "evaluation, too, draws the rows that the run is about"


def test_what_cannot_be_learnt_is_refused():
    with pytest.raises(ValueError, match=r"Nothing but drafts is learnt \(lora_gated\), and draft_weight is 0; set d"):
        Objective(drafts_alone=True)
    with pytest.raises(ValueError, match=r"\(lora_gated\), and block_share is 0.2; leave it out"):
        Objective(**DRAFTS_ALONE, block_share=0.2)
    with pytest.raises(ValueError, match="lora_gated is set, and there are no adapters to gate; add use_peft: true"):
        check_adapter(AdapterArguments(lora_gated=True), evaluates=False, on_cpu=True)


def test_evaluations_give_the_loss_of_drafts_alone(example_of):
    assert metrics_of([example_of("pqxE")], Objective(**DRAFTS_ALONE), samples=4) == ["loss", "draft_loss"]


# Gradients


def by_hand(gated, batch) -> dict[str, torch.Tensor]:
    """Gradients without PEFT: every linear layer has two matrices, and a row takes the one that is its."""
    model, lora = copy.deepcopy(gated.get_base_model()), {}
    for name, layer in gated.get_base_model().named_modules():
        if hasattr(layer, "lora_A"):
            a, b = (getattr(layer, half)["default"].weight.detach().clone() for half in ("lora_A", "lora_B"))
            lora[name] = (layer.base_layer, a.requires_grad_(), b.requires_grad_(), layer.scaling["default"])
    for name, (layer, a, b, scaling) in lora.items():
        plain = torch.nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
        plain.load_state_dict(layer.state_dict())
        plain.requires_grad_(False)
        plain.register_forward_hook(
            lambda layer, given, out, a=a, b=b, scaling=scaling: torch.where(
                (batch["stream"] >= DRAFT)[..., None], out + given[0] @ (scaling * b @ a).T, out
            )
        )
        model.get_submodule(name.rpartition(".")[0])._modules[name.rpartition(".")[2]] = plain
    planned_diffusion_loss(model, batch).total.backward()
    found = {}
    for name, (_, a, b, _) in lora.items():
        found |= {f"base_model.model.{name}.lora_{half}.default.weight": w.grad for half, w in (("A", a), ("B", b))}
    return found


def test_gradients_are_those_of_a_model_whose_draft_rows_have_other_matrices(drafter, row_of):
    batch = as_batch([row_of(text, seed, **DRAFTS_ALONE) for seed, text in enumerate(TEXTS)])
    expected = by_hand(drafter, batch)
    planned_diffusion_loss(drafter, batch).total.backward()
    found = gradients(drafter)
    assert found.keys() == expected.keys() and all("lora_" in name for name in found)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-5)
    assert min(gradient.abs().max() for gradient in found.values()) > 0


def test_no_gradient_flows_where_no_draft_counts(drafter, row_of):
    """Every label but those of blanks: the rows that verify do not depend on what is trained."""
    batch = as_batch([row_of(text, seed, **{**DRAFTS_ALONE, "drafts_alone": False}) for seed, text in enumerate(TEXTS)])
    batch["loss_weights"][batch["stream"] >= DRAFT] = 0.0
    loss = planned_diffusion_loss(drafter, batch)
    assert loss.total > 0 and loss.by_loss_part[parts.DRAFT] > 0
    loss.total.backward()
    assert all((gradient == 0).all() for gradient in gradients(drafter).values())


@pytest.mark.parametrize("packed_length", [10, 1000])
def test_packed_equals_unpacked(packed_length, drafter, row_of):
    rows = [row_of(text, seed, **DRAFTS_ALONE) for seed, text in enumerate(TEXTS * 2)]
    results = []
    for batch in (as_batch(rows), as_batch(rows, packed_length)):
        drafter.zero_grad()
        loss = planned_diffusion_loss(drafter, batch)
        loss.total.backward()
        results.append((loss.total.detach(), torch.cat([one.flatten() for one in gradients(drafter).values()])))
    for alone, packed in zip(*results, strict=True):
        torch.testing.assert_close(packed, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")  # its new name is newer
def test_gradient_checkpointing_runs_layers_again_with_the_same_rows(reentrant, drafter, row_of):
    batch = as_batch([row_of(text, seed, **DRAFTS_ALONE) for seed, text in enumerate(TEXTS)])
    planned_diffusion_loss(drafter, batch).total.backward()
    expected = gradients(drafter)
    drafter.zero_grad()
    drafter.train()
    drafter.enable_input_require_grads()
    drafter.gradient_checkpointing_enable({"use_reentrant": reentrant})
    planned_diffusion_loss(drafter, batch).total.backward()
    found = gradients(drafter)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-6)


# The script


@pytest.fixture
def base(workspace):
    """A tiny trained checkpoint in "base", records without tags, and a recipe for its drafter."""
    more = ["--max_steps", "60", "--learning_rate", "0.01"]  # or there is nothing that a drafter could draw on
    assert sft.main(["--config", "recipe.yaml", "--output_dir", "base", *more]) == 0
    answers = ["An aurora is light in the sky.", "It is caused by the sun.", "light", "the sun is in the sky"]
    records = [
        {"messages": [{"role": "user", "content": "What is an aurora?"}, {"role": "assistant", "content": answer}]}
        for answer in answers
    ]
    Path("plain.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    recipe = yaml.safe_load(Path("recipe.yaml").read_text())
    drafter = {"train_file": "plain.jsonl", "from_scratch": None, "tokenizer": None, "model": "base"}
    drafter |= {"output_dir": "drafter", "use_peft": True, "lora_gated": True, "lora_r": 4, "draft_weight": 1.0}
    drafter |= {"learning_rate": 0.02, "max_steps": 30, "logging_steps": 5, "span_padding": [0, 10]}
    Path("drafter.yaml").write_text(yaml.safe_dump({**recipe, **drafter}))
    return workspace


def answers(model, tokenizer, **fields):
    inputs = tokenizer(["What is an aurora?", "sun"], return_tensors="pt", padding=True, padding_side="left")
    return model.generate(**inputs, max_new_tokens=60, do_sample=False, **fields)


@pytest.mark.slow
def test_a_drafter_is_trained_on_plain_answers_and_changes_no_token(base, monkeypatch):
    trained = []
    monkeypatch.setattr(sft, "leave_the_process_group", trained.append)
    assert sft.main(["--config", "drafter.yaml"]) == 0
    [trainer] = trained
    losses = [entry["draft_loss"] for entry in trainer.state.log_history if "draft_loss" in entry]
    assert losses[-1] < 0.8 * losses[0]
    assert not [name for entry in trainer.state.log_history for name in entry if name in ("plan_loss", "plain_loss")]
    model, before = trainer.model, PlannedDiffusionForCausalLM.from_pretrained("base")
    assert are_gated(model.peft_config["default"])
    for name, weight in model.get_base_model().named_parameters():
        if "lora" not in name:
            assert torch.equal(weight, before.get_parameter(name.replace(".base_layer", ""))), name
    stored = json.loads(Path("drafter/adapter_config.json").read_text())
    assert stored["peft_type"] == KIND and not stored["trainable_token_indices"]
    assert json.loads(Path("drafter/adapter_base.json").read_text())["relative_path"] == "../base"
    loaded, tokenizer = load("drafter")
    expected = answers(before, tokenizer, decoding="autoregressive")
    for drafting in (model.eval(), loaded):
        out = answers(drafting, tokenizer, decoding="speculative", return_dict_in_generate=True)
        assert torch.equal(out.sequences, expected)
    assert torch.equal(answers(loaded, tokenizer, keep_plan=True), answers(before, tokenizer, keep_plan=True))


@pytest.mark.slow
def test_a_drafter_beside_an_adapter_changes_no_token_of_it(base, capsys):
    planner = ["--train_file", "train.jsonl", "--lora_gated", "false", "--draft_weight", "0", "--output_dir", "planner"]
    assert sft.main(["--config", "drafter.yaml", *planner]) == 0
    assert sft.main(["--config", "drafter.yaml", "--model", "planner"]) == 0
    assert json.loads(Path("drafter/adapter_base.json").read_text())["relative_path"] == "../planner"
    (drafting, tokenizer), (before, _), (untouched, _) = load("drafter"), load("planner", merge=True), load("base")
    expected = answers(before, tokenizer, decoding="autoregressive")
    assert not torch.equal(expected, answers(untouched, tokenizer, decoding="autoregressive"))
    assert torch.equal(answers(drafting, tokenizer, decoding="speculative"), expected)
    for more in (["--load_in_8bit", "true"], ["--tokenizer", "base"], ["--model_init_kwargs", '{"dtype": "float32"}']):
        with pytest.raises(
            ValueError, match="planner is an adapter, which is loaded with its own tokenizer, unquantis"
        ):
            sft.main(["--config", "drafter.yaml", "--model", "planner", *more])


@pytest.mark.slow
def test_a_resumed_drafter_equals_an_uninterrupted_one(base):
    common = ["--config", "drafter.yaml", "--save_strategy", "steps", "--save_steps", "3", "--max_steps", "6"]
    assert sft.main([*common, "--output_dir", "whole"]) == 0
    checkpoint = Path("whole/checkpoint-3")
    assert json.loads((checkpoint / "adapter_config.json").read_text())["peft_type"] == KIND
    assert sft.main([*common, "--output_dir", "again", "--resume_from_checkpoint", str(checkpoint)]) == 0
    whole, again = (load_file(f"{name}/adapter_model.safetensors") for name in ("whole", "again"))
    assert whole.keys() == again.keys() and all(torch.equal(whole[key], again[key]) for key in whole)
    assert any(tensor.any() for name, tensor in whole.items() if "lora_B" in name)


@pytest.mark.slow
def test_evaluation_chooses_the_best_drafter(base):
    more = ["--eval_file", "plain.jsonl", "--eval_strategy", "steps", "--eval_steps", "10", "--save_strategy", "steps"]
    more += ["--save_steps", "10", "--load_best_model_at_end", "true", "--metric_for_best_model", "draft_loss"]
    assert sft.main(["--config", "drafter.yaml", *more]) == 0
    assert not Path("drafter/samples.jsonl").exists(), "its answers are those of the base"
    state = json.loads(Path("drafter/checkpoint-30/trainer_state.json").read_text())
    evaluated = [entry["eval_draft_loss"] for entry in state["log_history"] if "eval_draft_loss" in entry]
    assert len(evaluated) == 3 and evaluated[-1] < evaluated[0]


@pytest.mark.slow
def test_without_the_gate_plain_answers_alone_are_still_refused(base, capsys):
    with pytest.raises(ValueError, match="plain.jsonl has no tagged answer, so nothing would teach planning"):
        sft.main(["--config", "drafter.yaml", "--lora_gated", "false"])


@pytest.mark.slow
def test_a_drafter_of_quantised_weights_trains_and_changes_no_token(base):
    pytest.importorskip("bitsandbytes")
    assert sft.main(["--config", "drafter.yaml", "--max_steps", "4", "--load_in_8bit", "true"]) == 0
    trained = load_file("drafter/adapter_model.safetensors")
    assert all(tensor.any() for tensor in trained.values())
    (drafting, tokenizer), (before, _) = load("drafter", dtype="int8"), load("base", dtype="int8")
    assert not has_merged_form("drafter")
    expected = answers(before, tokenizer, decoding="autoregressive")
    assert torch.equal(answers(drafting, tokenizer, decoding="speculative"), expected)
