"""Numbers of /metrics against what was asked, and an adapter beside its base."""

import pytest
import torch
from prometheus_client.parser import text_string_to_metric_families

from planned_diffusion.inference.answer import ask, open_checkpoint
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM

QUESTION = "What are the capital and the currency of Kenya?"


def metrics(server) -> dict[str, float]:
    """Return every sample: name{labels} -> value."""
    families = text_string_to_metric_families(server.ask("/metrics")[2])
    samples = [sample for family in families for sample in family.samples]
    return {f"{one.name}{sorted(one.labels.items())}": one.value for one in samples}


def test_answers_tokens_and_responses_are_counted(facts, start):
    alone = ask(facts, QUESTION, {})
    with start({"facts": facts}) as server:
        answer = server.chat(QUESTION)
        server.stream(QUESTION)
        server.post("/v1/chat/completions", {"model": "facts"})
        server.ask("/nowhere/at/all")
        assert server.settled() == {}
        found = metrics(server)
        plan = answer["usage"]["completion_tokens_details"]["plan_tokens"]
        prefix, model = "planned_diffusion", "('model', 'facts')"
        assert found[f"{prefix}_answers_ended_total[('end', 'stop'), {model}]"] == 2
        for kind, count in (("prompt", len(alone.prompt_ids)), ("text", alone.trace.tokens), ("plan", plan)):
            assert found[f"{prefix}_tokens_total[('kind', '{kind}'), {model}]"] == 2 * count
        assert found[f"{prefix}_forwards[{model}]"] == 2 * alone.trace.forwards
        assert found[f"{prefix}_answers[{model}]"] == found[f"{prefix}_cache_slots[{model}]"] == 0
        assert found[f"{prefix}_answer_seconds_count[{model}]"] == found[f"{prefix}_queue_seconds_count[{model}]"] == 2
        assert found[f"{prefix}_answer_seconds_sum[{model}]"] >= found[f"{prefix}_queue_seconds_sum[{model}]"] > 0
        path = "('path', '/v1/chat/completions')"
        assert found[f"{prefix}_responses_total[{path}, ('status', '200')]"] == 2
        assert found[f"{prefix}_responses_total[{path}, ('status', '400')]"] == 1
        assert found[f"{prefix}_responses_total[('path', 'other'), ('status', '404')]"] == 1
        assert not any("nowhere" in name for name in found)


def test_an_adapter_is_served_beside_its_base(facts, start, tmp_path):
    peft = pytest.importorskip("peft", reason="LoRA adapters need peft")
    model = PlannedDiffusionForCausalLM.from_pretrained(facts.source, dtype=torch.float32)
    torch.manual_seed(0)
    settings = peft.LoraConfig(
        r=2, lora_alpha=64, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
    )
    peft.get_peft_model(model, settings).save_pretrained(tmp_path)
    facts.tokenizer.save_pretrained(tmp_path)
    tuned = open_checkpoint(str(tmp_path), "float32", "cpu")
    with start({"base": facts, "tuned": tuned}) as server:
        texts = []
        for name, checkpoint in (("base", facts), ("tuned", tuned)):
            body = {"model": name, "messages": [{"role": "user", "content": QUESTION}]}
            texts.append(server.post("/v1/chat/completions", body)[1]["choices"][0]["message"]["content"])
            assert texts[-1] == ask(checkpoint, QUESTION, {}).text
        assert texts[0] != texts[1]
