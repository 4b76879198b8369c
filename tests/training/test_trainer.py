"""The trainer and the script: equivalences, resuming, interruption, refusals."""

import gzip
import json
import os
import signal
from pathlib import Path

import pytest
import torch
import yaml
from transformers import TrainerCallback

from planned_diffusion.generation.tokens import ControlTokens
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.records.vocabulary import check_agreement, control_token_ids
from planned_diffusion.training import sft
from planned_diffusion.training.dataset import encode_records, numbered_records, read_records, within
from planned_diffusion.training.length_grouping import LengthGroupedOrder
from planned_diffusion.training.objective import Objective
from planned_diffusion.training.trainer import PlannedDiffusionTrainer


def test_accumulating_equals_one_batch(tmp_path, trainer_for):
    weights = []
    for size, steps in ((8, 1), (2, 4), (4, 2)):
        trainer = trainer_for(
            tmp_path,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=steps,
            max_steps=3,
            train_sampling_strategy="sequential",
            optim="sgd",
            learning_rate=1.0,
        )
        trainer.train()
        weights.append(torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()]))
    for other in weights[1:]:
        assert torch.allclose(weights[0], other, atol=1e-6)


class StopAt(TrainerCallback):
    """Sends this process a signal after a step."""

    def __init__(self, step, number):
        self.step, self.number = step, number

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step - 1:
            os.kill(os.getpid(), self.number)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["random", "group_by_length"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_resumed_equals_uninterrupted(strategy, number, tmp_path, trainer_for):
    """Bit for bit: the checkpoint is taken in the middle of the second epoch of three (4 steps each)."""
    states, before = [], signal.getsignal(number)
    for name, callbacks in (("whole", []), ("cut", [StopAt(6, number)])):
        interrupt = sft.SaveOnInterrupt()
        again = {"max_steps": 10, "train_sampling_strategy": strategy}
        trainer = trainer_for(tmp_path / name, [interrupt, *callbacks], **again)
        trainer.train()
        if callbacks:
            assert interrupt.signal_name == number.name and trainer.state.global_step == 6
            trainer = trainer_for(tmp_path / name, **again)
            trainer.train(resume_from_checkpoint=str(tmp_path / name / "checkpoint-6"))
        assert trainer.state.global_step == 10 and signal.getsignal(number) == before
        states.append(trainer.model.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_evaluation_is_deterministic_and_independent_of_the_batch_size(tmp_path, trainer_for):
    results = []
    for size in (8, 8, 3):
        trainer = trainer_for(tmp_path, per_device_eval_batch_size=size)
        results.append(trainer.evaluate())
    keys = ("eval_loss", "eval_plan_loss", "eval_span_loss", "eval_plain_loss")
    first, again, small = ([result[key] for key in keys] for result in results)
    assert first == again and small == pytest.approx(first, rel=1e-5)


def test_a_tiny_model_learns_and_logs_the_parts(tmp_path, trainer_for):
    objective = Objective(span_padding=[0, 2], span_next_token_weight=0.5, complementary_masks=False)
    trainer = trainer_for(
        tmp_path,
        objective=objective,
        max_steps=80,
        logging_steps=20,
        per_device_train_batch_size=8,
        learning_rate=2e-2,
        lr_scheduler_type="constant",
    )
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert {"plan_loss", "span_loss", "next_token_loss", "plain_loss"} <= set(logs[0])
    assert logs[-1]["plan_loss"] < 0.5 * logs[0]["plan_loss"] and logs[-1]["span_loss"] < logs[0]["span_loss"]


def test_padding_to_another_multiple_is_obeyed_and_changes_no_loss(tmp_path, trainer_for):
    lengths, losses = [], []
    for multiple in (None, 1, 8, 64, 100):
        trainer = trainer_for(tmp_path, pad_to_multiple_of=multiple)
        batch = next(iter(trainer.get_train_dataloader()))
        lengths.append(batch["input_ids"].shape[1])
        losses.append([trainer.compute_loss(trainer.model, batch).item(), trainer.evaluate()["eval_loss"]])
        [evaluated] = {batch["input_ids"].shape[1] % (multiple or 8) for batch in trainer.get_eval_dataloader()}
        assert evaluated == lengths[-1] % (multiple or 8) == 0
    assert lengths[0] == lengths[2] and lengths[1] <= lengths[2] < lengths[3] == 64 * (-(-lengths[1] // 64))
    assert all(loss == pytest.approx(losses[0], rel=1e-5) for loss in losses)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("packing", True),
        ("label_smoothing_factor", 0.1),
        ("dataloader_persistent_workers", True),
        ("loss_type", "dft"),
        ("eos_token", "<async>"),
        ("completion_only_loss", True),
        ("eval_packing", True),
        ("packing_strategy", "wrapped"),
        ("chat_template_path", "template.jinja"),
        ("model_init_kwargs", {"dtype": "bfloat16"}),
        ("router_aux_loss_coef", 0.1),
        ("dataset_kwargs", {"skip_prepare_dataset": False}),
        ("dataset_kwargs", {"add_special_tokens": False}),
        ("dataset_text_field", "answer"),
        ("dataset_num_proc", 2),
        ("shuffle_dataset", True),
        ("length_column_name", "tokens"),
    ],
)
def test_refuses_settings_that_would_change_the_loss(setting, value, tmp_path, trainer_for):
    with pytest.raises(ValueError, match=f"{setting} is"):
        trainer_for(tmp_path, **{setting: value, "dataloader_num_workers": 1})


def test_length_grouped_order_is_a_permutation_drawn_per_epoch():
    lengths = [index % 50 for index in range(1003)]
    epoch = 0
    order = LengthGroupedOrder(lengths, 8, 1, lambda: epoch)
    first, again = list(order), list(order)
    epoch = 1
    second = list(order)
    assert first == again != second and sorted(first) == sorted(second) == list(range(1003)) and len(order) == 1003
    spread = [max(lengths[i] for i in batch) - min(lengths[i] for i in batch) for batch in batches(first[:1000], 8)]
    assert sum(spread) / len(spread) < 5


def batches(indices, size):
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def test_the_script_trains_from_scratch_and_then_fine_tunes(workspace):
    assert sft.main(["--config", "recipe.yaml", "--eval_file", "train.jsonl", "--eval_strategy", "epoch"]) == 0
    saved = PlannedDiffusionForCausalLM.from_pretrained("out")
    assert saved.config.tokens_per_length_unit == 4 and ControlTokens.from_config(saved.config)
    recipe = yaml.safe_load(Path("recipe.yaml").read_text())
    tuning = {**recipe, "from_scratch": None, "tokenizer": None, "output_dir": "tuned", "model": "out"}
    Path("tune.yaml").write_text(yaml.safe_dump(tuning))
    assert sft.main(["--config", "tune.yaml"]) == 0
    assert Path("tuned/tokenizer.json").exists() and Path("tuned/model.safetensors").exists()


def test_the_interrupted_script_says_how_to_go_on(workspace, capsys, monkeypatch):
    """SIGTERM in step 2; the same command with --resume_from_checkpoint true ends the run."""
    step = PlannedDiffusionTrainer.training_step

    def stopping(self, *args, **kwargs):
        if self.state.global_step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *args, **kwargs)

    monkeypatch.setattr(PlannedDiffusionTrainer, "training_step", stopping)
    assert sft.main(["--config", "recipe.yaml"]) == 130
    message = capsys.readouterr().err
    assert "Interrupted by SIGTERM after step 2: saved out/checkpoint-2" in message
    assert "--resume_from_checkpoint true" in message and not Path("out/model.safetensors").exists()
    assert sft.main(["--config", "recipe.yaml", "--resume_from_checkpoint", "true"]) == 0
    assert Path("out/model.safetensors").exists()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--model", "out"], "not both"),
        (["--train_file", "absent.jsonl"], "no file absent.jsonl"),
        (["--from_scratch", "absent.yaml"], "no file absent.yaml"),
        (["--from_scratch", "empty.yaml"], "needs a mapping backbone_config"),
        (["--train_file", "plain.jsonl"], "no tagged answer"),
        (["--train_file", "one.jsonl"], "two spans in a round"),
        (["--train_file", "broken.jsonl"], "broken.jsonl, line 2: not JSON"),
        (["--train_file", "shapeless.jsonl"], "line 1: no list 'messages'"),
        (["--train_file", "empty.jsonl"], "holds no records"),
        (["--train_file", "a.parquet"], "a.parquet is a Parquet file; training reads JSONL"),
        (
            ["--train_file", "packed.jsonl"],
            "packed.jsonl is a gzip file; training reads JSONL",
        ),
        (["--train_file", "unpacked.gz"], "unpacked.gz, after line 0: cannot be read further"),
        (["--train_file", "torn.jsonl.gz"], "torn.jsonl.gz, after line [0-9]+: cannot be read further"),
        (["--train_file", "latin.jsonl"], "latin.jsonl, line 2: not UTF-8 .invalid start byte at byte"),
        (["--train_file", "open.jsonl"], "open.jsonl, line 3: .* never closed"),
        (["--max_length", "20"], "7 of 8 records need more than 20 positions"),
        (["--max_length", "2", "--overlong", "drop"], r"8 of 8 .* than 2 positions, .* max_position_embeddings\)\.$"),
        (["--overlong", "cut"], "overlong is 'cut'"),
        (["--resume_from_checkpoint", "true"], "no checkpoint to resume from in out"),
        (["--resume_from_checkpoint", "absent"], "no checkpoint to resume from in absent"),
        (["--plain_share", "2"], "plain_share is 2.0"),
        (["--samples", "-1"], "samples is -1; give a number of prompts, at least 0"),
        (["--packed_length", "0"], "packed_length is 0; give a number of tokens, at least 1"),
        (["--eval_strategy", "epoch"], "eval_strategy is epoch and there is no eval_file; give one"),
        (["--load_best_model_at_end", "true"], "load_best_model_at_end is set and nothing is evaluated"),
        (["--gradient_accumulation_steps", "0"], "gradient_accumulation_steps is 0; give at least 1"),
        (["--pad_to_multiple_of", "0"], "pad_to_multiple_of is 0; give a number of tokens, at least 1"),
        (["--dataset_num_proc", "2"], "dataset_num_proc is 2, which planned-diffusion training does not support"),
        (["--max_steps", "-1", "--num_train_epochs", "0"], "There was no step to train, so no model was saved"),
        (["--dataloader_drop_last", "true", "--per_device_train_batch_size", "9"], "There was no step to train"),
        (["--learning_rat", "1"], "--learning_rat"),
        (["--tokenizer", "/absent"], "There is no folder /absent; give tokenizer a folder, or a Hub repository"),
    ],
)
def test_the_script_refuses_in_a_sentence(options, complaint, workspace, records):
    Path("empty.yaml").write_text("{}")
    Path("empty.jsonl").write_text("\n")
    Path("plain.jsonl").write_text(json.dumps(records[2]) + "\n")
    Path("a.parquet").write_bytes(b"PAR1" + bytes(range(256)))
    packed = gzip.compress(Path("train.jsonl").read_bytes())
    Path("packed.jsonl").write_bytes(packed)
    Path("torn.jsonl.gz").write_bytes(packed[:-20])
    Path("unpacked.gz").write_bytes(Path("train.jsonl").read_bytes())
    Path("latin.jsonl").write_bytes(json.dumps(records[0]).encode() + b'\n{"messages": ["\xff"]}\n')
    Path("one.jsonl").write_text(json.dumps(records[0]) + "\n")
    Path("broken.jsonl").write_text(json.dumps(records[2]) + "\n{")
    Path("shapeless.jsonl").write_text('{"text": "a"}\n')
    Path("open.jsonl").write_text("\n\n" + json.dumps(records[0]).replace("</async>", "") + "\n")
    with pytest.raises(ValueError, match=complaint):
        sft.main(["--config", "recipe.yaml", *options])


def test_overlong_records_are_dropped_when_asked(tokenizer, control, records):
    examples = encode_records(records, tokenizer, control)
    fitting = within(examples, Objective(span_padding=[0, 3]), 60, "drop")
    assert 0 < len(fitting) < len(examples)
    assert len(read_back(fitting, tokenizer)) == len(fitting)


def read_back(examples, tokenizer):
    return [tokenizer.decode(example.ids) for example in examples]


def test_records_are_read_without_empty_lines(tmp_path, records):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(records[0]) + "\n\n" + json.dumps(records[1]) + "\n")
    assert read_records(path) == records[:2]


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_a_record(tmp_path, records):
    path = tmp_path / "a.jsonl"
    path.write_text("\ufeff" + json.dumps(records[0]) + "\r\n\r\n" + json.dumps(records[1]) + "\r\n", encoding="utf-8")
    assert numbered_records(path) == [(1, records[0]), (3, records[1])]


def test_tokenizer_and_config_must_agree(tokenizer, config, byte_tokenizer, config_for):
    check_agreement(tokenizer, config)
    with pytest.raises(ValueError, match="sync_token_id: config 5, tokenizer"):
        check_agreement(tokenizer, config_for(tokenizer, sync_token_id=5))
    larger = byte_tokenizer()
    larger.add_tokens(["<more>"])
    with pytest.raises(ValueError, match="resize the model"):
        check_agreement(larger, config)
    without = byte_tokenizer()
    without.mask_token = None
    with pytest.raises(ValueError, match="no mask_token"):
        control_token_ids(without)


def test_tags_that_split_into_several_tokens_are_refused():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = {letter: index for index, letter in enumerate(pre_tokenizers.ByteLevel.alphabet())}
    backend = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    with pytest.raises(ValueError, match="splits '<promise>-<topic>' into 17 tokens"):
        control_token_ids(PreTrainedTokenizerFast(tokenizer_object=backend))


def test_packed_training_takes_the_same_steps(workspace):
    """The script with `packing: true`: the same examples, draws and steps, in rows that they share."""
    same = [
        "--config",
        "recipe.yaml",
        "--optim",
        "sgd",
        "--learning_rate",
        "1.0",
        "--max_grad_norm",
        "0",
        "--per_device_train_batch_size",
        "4",
    ]
    assert sft.main([*same, "--output_dir", "alone"]) == 0
    assert sft.main([*same, "--output_dir", "packed", "--packing", "true", "--packed_length", "160"]) == 0
    alone, packed = (PlannedDiffusionForCausalLM.from_pretrained(name).state_dict() for name in ("alone", "packed"))
    assert all(torch.allclose(alone[key], packed[key], atol=1e-5) for key in alone)


def test_evaluation_answers_prompts_and_the_best_checkpoint_is_kept(workspace, monkeypatch):
    monkeypatch.setattr(sft, "leave_the_process_group", lambda trainer: trained.append(trainer))
    trained = []
    evaluating = [
        "--eval_file",
        "train.jsonl",
        "--eval_strategy",
        "steps",
        "--eval_steps",
        "20",
        "--samples",
        "3",
        "--save_strategy",
        "best",
        "--metric_for_best_model",
        "eval_loss",
        "--load_best_model_at_end",
        "true",
    ]
    learning = [
        "--max_steps",
        "60",
        "--learning_rate",
        "2e-2",
        "--per_device_train_batch_size",
        "8",
        "--plain_share",
        "0.1",
        "--lr_scheduler_type",
        "constant",
    ]
    assert sft.main(["--config", "recipe.yaml", *evaluating, *learning]) == 0
    samples = [json.loads(line) for line in Path("out/samples.jsonl").read_text().splitlines()]
    assert [sample["step"] for sample in samples] == [20] * 3 + [40] * 3 + [60] * 3
    assert all(sample.keys() == {"step", "prompt", "text", "plan", "well_formed"} for sample in samples)
    assert "What is an aurora?" in samples[0]["prompt"]
    history = trained[0].state.log_history
    logged = [entry["eval_well_formed"] for entry in history if "eval_well_formed" in entry]
    by_step = [sum(s["well_formed"] for s in samples if s["step"] == step) / 3 for step in (20, 40, 60)]
    assert logged == by_step
    losses = {entry["step"]: entry["eval_loss"] for entry in history if "eval_loss" in entry}
    assert trained[0].state.best_metric == min(losses.values())
    best = PlannedDiffusionForCausalLM.from_pretrained(trained[0].state.best_model_checkpoint).state_dict()
    saved = PlannedDiffusionForCausalLM.from_pretrained("out").state_dict()
    assert all(torch.equal(best[key], saved[key]) for key in saved)
