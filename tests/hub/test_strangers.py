"""Loading in interpreters that never heard of this package: answers equal the installed package's, token for token.

The program below is a stranger's; it prints what it gets as JSON, and the expected values are computed here.
"""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.hub.card import LIMITS, About
from planned_diffusion.hub.export import export
from planned_diffusion.hub.proposal import Choices
from planned_diffusion.hub.push import push

# huggingface_hub's upload of large files, to its own http library.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),  # peft
]
PROMPTS = [
    "What is the capital of Kenya?",
    "Which currency and which capital does Uganda have?",
    "Do Kenya and Uganda use the same currency?",
]
APACHE = About(license="apache-2.0")
UNTRIED = Choices(run_card=False)
PROGRAM = """
import importlib.util, json, sys, torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer, TextStreamer
torch.set_num_threads(1)
trusted = dict(trust_remote_code=True)
found = {name: bool(importlib.util.find_spec(name)) for name in ("planned_diffusion", "peft", "trl", "accelerate")}

class Kept(TextStreamer):
    text = ""
    def on_finalized_text(self, text, stream_end=False):
        self.text += text

def answers(source, prompts, loader=AutoModelForCausalLM, **options):
    model = loader.from_pretrained(source, dtype="float32", **trusted, **options)
    tokenizer = AutoTokenizer.from_pretrained(source, **trusted, **options)
    batch = tokenizer(prompts, return_tensors="pt", padding=True)
    out = model.generate(**batch, return_dict_in_generate=True)
    alone = tokenizer(prompts[-1:], return_tensors="pt")
    streamer = Kept(tokenizer, skip_prompt=True, skip_special_tokens=True)
    model.generate(**alone, streamer=streamer)
    topics = [[[span.topic for span in spans] for spans in rounds] for rounds in out.plans]
    return model, tokenizer, {"ids": out.sequences.tolist(), "topics": topics, "streamed": streamer.text}
"""


def installed_answers(folder) -> dict:
    """What PROGRAM's `answers` must give, computed with the package."""
    model = PlannedDiffusionForCausalLM.from_pretrained(folder, dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(PROMPTS, return_tensors="pt", padding=True)
    out = model.generate(**batch, return_dict_in_generate=True)
    last = out.sequences[-1, batch["input_ids"].shape[1] :]
    return {
        "ids": out.sequences.tolist(),
        "topics": [[[span.topic for span in spans] for spans in rounds] for rounds in out.plans],
        "streamed": tokenizer.decode(last, skip_special_tokens=True),
    }


@pytest.fixture(scope="module")
def expected(embedded):
    answers = installed_answers(embedded)
    assert answers["topics"][0] == [["capital"]] and "currency" in answers["topics"][1][0]
    return answers


@pytest.mark.slow
def test_folders_with_only_torch_and_transformers(embedded, bare, stranger, expected, build_model, tmp_path):
    """From a folder, through every Auto class; load -> save -> load, the same bytes each time.

    `save_pretrained` of the installed class, nothing exported, also leaves a folder that loads.
    """
    first, second, third, trained = (str(tmp_path / name) for name in ("first", "second", "third", "trained"))
    export(str(embedded), first)
    assert "`AutoTokenizer.from_pretrained(repo,\n  trust_remote_code=False)` loads it" in LIMITS
    random_model = build_model("llama")
    random_model.save_pretrained(trained)
    printed = stranger(
        PROGRAM
        + f"""
model, tokenizer, got = answers({first!r}, {PROMPTS!r})
stored = AutoModelForCausalLM.from_pretrained({first!r}, dtype="auto", **trusted)
stored.save_pretrained({second!r}), tokenizer.save_pretrained({second!r})
model, tokenizer, again = answers({second!r}, {PROMPTS!r}, AutoModel)
model = AutoModel.from_pretrained({second!r}, dtype="auto", **trusted)
model.save_pretrained({third!r}), tokenizer.save_pretrained({third!r})
kind = type(AutoConfig.from_pretrained({third!r}, **trusted)).__module__
assert AutoTokenizer.from_pretrained({third!r}, trust_remote_code=False).eos_token_id == tokenizer.eos_token_id
fields = model.generation_config
with torch.no_grad():
    logits = AutoModelForCausalLM.from_pretrained({trained!r}, **trusted)(torch.tensor([[5, 60, 33]])).logits.tolist()
print(json.dumps([found, got == again, got, kind, fields.confidence_threshold, fields.do_sample, logits]))
""",
        bare,
        HF_HUB_OFFLINE="1",
    )
    found, same, got, kind, threshold, samples, logits = json.loads(printed)
    assert not any(found.values())
    assert got == expected and same
    assert kind.startswith("transformers_modules.third.")
    assert (threshold, samples) == (0.9, False)
    with torch.no_grad():
        assert torch.tensor(logits).equal(random_model(torch.tensor([[5, 60, 33]])).logits)
    contents = [{file.name: file.read_bytes() for file in Path(folder).iterdir()} for folder in (first, second, third)]
    assert contents[0].pop("README.md") and contents[0].pop("results.json")  # an export carries the card along
    for content in contents:
        del content["tokenizer_config.json"]  # transformers writes into it how the tokenizer was found
    assert contents[0] == contents[1] == contents[2] and len(contents[0]) > 20


@pytest.mark.slow
def test_from_the_hub(hub, embedded, bare, stranger, expected, tmp_path, tmp_path_factory):
    """By id, of a pinned revision, in shards, and again from the cache when the Hub is gone."""
    say = tmp_path.joinpath("said").write_text
    push(str(embedded), "user/facts", choices=Choices(tag="v1", run_card=False), confirmed=True, say=say)
    export(str(embedded), tmp_path / "shards", max_shard_size="2MB")
    push(str(tmp_path / "shards"), "user/shards", APACHE, UNTRIED, confirmed=True, say=say)
    assert sum(name.endswith(".safetensors") for name in hub.files("user/shards")) > 2
    # The newest revision of facts cannot be loaded: whoever gets an answer got the pinned one.
    hub.repos["user/facts"].add({"README.md": b"moved"})
    home = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": "hf_loopback"}
    program = (
        PROGRAM
        + f"""
print(json.dumps([
    answers("user/facts", {PROMPTS!r}, revision="v1")[2], answers("user/shards", {PROMPTS!r})[2]
]))
"""
    )
    pinned, sharded = json.loads(stranger(program, bare, **home))
    assert pinned == expected and sharded == expected
    asked = len(hub.requests)
    offline = json.loads(stranger(program, bare, **home, HF_HUB_OFFLINE="1"))
    assert offline == [expected, expected] and len(hub.requests) == asked


@pytest.mark.slow
def test_an_adapter_on_its_base_and_a_private_repository(hub, embedded, adapter, stranger, tmp_path):
    """With peft beside: the adapter's id loads base, code and adapter; without a token nothing private is shown."""
    from peft import PeftModel

    say = tmp_path.joinpath("said").write_text
    push(str(embedded), "user/base", choices=UNTRIED, confirmed=True, say=say)
    about = About("apache-2.0", base_model="user/base")
    push(str(adapter), "user/adapter", about, UNTRIED, confirmed=True, say=say)
    base = PlannedDiffusionForCausalLM.from_pretrained(embedded, dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(embedded)
    inputs = tokenizer(PROMPTS[1], return_tensors="pt")
    plain = base.generate(**inputs, decoding="autoregressive", max_new_tokens=12).tolist()
    adapted = PeftModel.from_pretrained(base, adapter)
    expected = adapted.generate(**inputs, decoding="autoregressive", max_new_tokens=12).tolist()
    assert expected != plain
    printed = stranger(
        f"""
import json
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained("user/base", trust_remote_code=True)
inputs = tokenizer({PROMPTS[1]!r}, return_tensors="pt")
got = []
for loader in (AutoModelForCausalLM, AutoPeftModelForCausalLM):
    model = loader.from_pretrained("user/adapter", trust_remote_code=True, dtype="float32")
    got.append(model.generate(**inputs, decoding="autoregressive", max_new_tokens=12).tolist())
try:
    AutoModelForCausalLM.from_pretrained("user/base", trust_remote_code=True, token=False, force_download=True)
    refused = "no"
except OSError as error:
    refused = str(error)
print(json.dumps([*got, refused]))
""",
        HF_ENDPOINT=hub.endpoint,
        HF_TOKEN="hf_loopback",
    )
    by_transformers, by_peft, refused = json.loads(printed)
    assert by_transformers == by_peft == expected
    told = "user/base is not a local folder and is not a valid model identifier" in refused and "token" in refused
    assert told or "Force download failed" in refused  # the words of older versions
