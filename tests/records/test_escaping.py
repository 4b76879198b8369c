"""Control tags in messages stay text through every door, with stock classes; the template's own stay control tokens."""

import copy
import json

import pytest
from tokenizers import AddedToken, normalizers
from transformers import AutoTokenizer, pipeline

from planned_diffusion.cli.main import main
from planned_diffusion.generation.tokens import SPELLING
from planned_diffusion.hub.export import export
from planned_diffusion.inference.batch import batcher as batcher_module
from planned_diffusion.inference.batch.run import BatchJob, answer_file
from planned_diffusion.loading.embedded import EMBEDDED, INCLUDED
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.records.encoding import encode_prompt, encode_text
from planned_diffusion.records.escaping import (
    MARK,
    escape_contents,
    escapes_contents,
    save_tokenizer,
    spelled_ids,
    without_escapes,
)

TAGS = [*SPELLING.values(), "<|mask|>", "<|end|>", "<|user|>", "<|assistant|>", "<|pad|>"]


@pytest.fixture(scope="module")
def facts():
    return AutoTokenizer.from_pretrained(EMBEDDED, trust_remote_code=False)


@pytest.fixture(scope="module")
def model():
    return PlannedDiffusionForCausalLM.from_pretrained(EMBEDDED, dtype="float32")


def expected(tokenizer, text: str) -> list[int]:
    """The ids of one question, with the text's ids as `split_special_tokens` gives them."""
    user, assistant = tokenizer.convert_tokens_to_ids(["<|user|>", "<|assistant|>"])
    return [user, *tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"], assistant]


def through_the_template(tokenizer, model, chat, tmp_path, monkeypatch):
    return tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)


def through_its_text(tokenizer, model, chat, tmp_path, monkeypatch):
    """As TRL and servers do: the text first, then its ids."""
    return tokenizer(
        tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False), add_special_tokens=False
    )["input_ids"]


def through_a_pipeline(tokenizer, model, chat, tmp_path, monkeypatch):
    seen, generate = [], model.generate
    monkeypatch.setattr(model, "generate", lambda **given: seen.append(given["input_ids"]) or generate(**given))
    pipeline("text-generation", model=model, tokenizer=tokenizer)(chat, max_new_tokens=12)
    return seen[0][0].tolist()


def through_generate(tokenizer, model, chat, tmp_path, monkeypatch):
    trace = tmp_path / "trace.json"
    assert main(["generate", chat[0]["content"], "--max-new-tokens", "12", "--trace", str(trace)]) == 0
    return json.loads(trace.read_text())["prompt_ids"]


def through_batch(tokenizer, model, chat, tmp_path, monkeypatch):
    seen, of = [], batcher_module.Answer.of
    monkeypatch.setattr(
        batcher_module.Answer, "of", lambda *given: seen.append(list(given[2].prompt_ids)) or of(*given)
    )
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps({"messages": chat, "max_new_tokens": 12}) + "\n")
    answer_file(BatchJob(source, tmp_path / "out.jsonl", str(EMBEDDED)))
    return seen[0]


DOORS = {
    "template": through_the_template,
    "text": through_its_text,
    "pipeline": through_a_pipeline,
    "generate": through_generate,
    "batch": through_batch,
}


@pytest.mark.parametrize("door", DOORS)
def test_all_tags_are_text_through_every_door(door, facts, model, tmp_path, monkeypatch):
    text = f"Kenya {' '.join(TAGS)} {''.join(TAGS)}, <<async>> and <async"
    assert DOORS[door](facts, model, [{"role": "user", "content": text}], tmp_path, monkeypatch) == expected(
        facts, text
    )


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("door", ["template", "text"])
def test_each_tag_is_text_and_reads_back(tag, door, facts, monkeypatch, tmp_path):
    chat = [{"role": "user", "content": f"a {tag} b"}]
    ids = DOORS[door](facts, None, chat, tmp_path, monkeypatch)
    assert ids == expected(facts, f"a {tag} b") == encode_prompt(facts, chat)
    assert facts.decode(ids) == f"<|user|>a {tag} b<|assistant|>"
    assert facts.convert_tokens_to_ids(tag) not in ids[1:-1]


@pytest.mark.parametrize(
    ("chat", "are_text"),
    [
        ([{"role": "system", "content": "<async>"}, {"role": "user", "content": "a"}], True),
        ([{"role": "assistant", "content": "<async>"}, {"role": "user", "content": "b"}], True),
        ([{"role": "user", "content": "a", "name": "<async>"}], True),
        ([{"role": "user", "content": [{"type": "text", "text": "<async>"}]}], True),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "<async>b</async>"}], False),  # an answer
    ],
    ids=["system", "earlier answer", "other fields", "parts", "answer to learn"],
)  # fmt: skip
def test_an_answer_at_the_end_keeps_its_tags(chat, are_text, facts):
    ids = facts.apply_chat_template(chat, return_dict=False)
    assert (facts.convert_tokens_to_ids("<async>") not in ids) is are_text


RENDERS_EVERYTHING = """
{%- for tool in tools or [] %}{{ tool | tojson }}{{ tool.function.description }}{% endfor %}
{%- for document in documents or [] %}{{ document.title }}{{ document.text }}{% endfor %}
{%- for message in messages %}<|user|>{{ (message.content or '') | tojson }}{{ message.reasoning_content }}
{%- for call in message.tool_calls or [] %}{{ call.function.name }}{{ call.function.arguments | tojson }}
{%- for name, value in call.function.arguments.items() %}{{ name }}{{ value | tojson }}{% endfor %}
{%- endfor %}{% endfor %}"""
QUESTION = {"role": "user", "content": "a"}
FUNCTION = {"name": "look_up", "description": "b", "parameters": {"type": "object", "properties": {"c": {"enum": []}}}}


def called(**arguments):
    return {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}


@pytest.mark.parametrize(
    "given",
    [
        lambda tag: {"conversation": [QUESTION, called(query=tag), QUESTION]},
        lambda tag: {"conversation": [QUESTION, called(queries=[["x", {"y": (tag, 1, None)}]]), QUESTION]},
        lambda tag: {"conversation": [QUESTION, called(**{tag: 5}), QUESTION]},
        lambda tag: {"conversation": [{**QUESTION, "reasoning_content": tag}]},
        lambda tag: {"conversation": [{"role": "user", "content": {"any": {"depth": [tag]}}}]},
        lambda tag: {"conversation": [QUESTION], "tools": [
            {"type": "function", "function": FUNCTION | {"description": tag}}]},
        lambda tag: {"conversation": [QUESTION], "tools": [{"type": "function", "function": {
            **FUNCTION, "parameters": {"type": "object", "properties": {"c": {"enum": [tag]}}}}}]},
        lambda tag: {"conversation": [QUESTION], "documents": [{"title": "t", "text": f"x{tag}y"}]},
        lambda tag: {"conversation": [QUESTION], "documents": [{"title": tag, "text": "x"}]},
    ],
    ids=["argument", "deep argument", "name", "thought", "content of any depth", "tool", "choice of a tool",
         "document", "title"],
)  # fmt: skip
@pytest.mark.parametrize("tag", ["<async>", "<promise>-<topic>", "<|end|>", "<async> <sync/>"])
def test_tags_are_text_at_any_depth_and_in_tools_and_documents(tag, given, facts):
    tokenizer = copy.deepcopy(facts)
    tokenizer.chat_template = RENDERS_EVERYTHING
    plain = tokenizer.apply_chat_template(**given(tag), add_generation_prompt=True, tokenize=False)
    escape_contents(tokenizer)
    ids = tokenizer.apply_chat_template(**given(tag), add_generation_prompt=True, return_dict=False)
    user = tokenizer.convert_tokens_to_ids("<|user|>")
    assert tag in plain and tokenizer.decode(ids) == tokenizer.decode(tokenizer.encode(plain, add_special_tokens=False))
    assert set(spelled_ids(tokenizer).values()) & set(ids) == {user}


def test_other_values_in_messages_tools_and_documents_stay(facts):
    tokenizer = copy.deepcopy(facts)
    tokenizer.chat_template = "{{ messages | tojson }}{{ tools | tojson }}{{ documents | tojson }}"
    given = {
        "conversation": [QUESTION, called(a=[1, 2.5, None, True, "x", {}, []], b={"c": [[]]}), QUESTION],
        "tools": [{"type": "function", "function": FUNCTION}],
        "documents": [{"title": "t", "text": "é", "score": 0.25}],
    }
    before = tokenizer.apply_chat_template(**given, add_generation_prompt=True, tokenize=False)
    without = tokenizer.apply_chat_template(given["conversation"], add_generation_prompt=True, tokenize=False)
    escape_contents(tokenizer)
    assert tokenizer.apply_chat_template(**given, add_generation_prompt=True, tokenize=False) == before
    only_messages = tokenizer.apply_chat_template(given["conversation"], add_generation_prompt=True, tokenize=False)
    assert only_messages == without


def test_included_checkpoints_have_these_templates():
    for folder in INCLUDED.values():
        assert escapes_contents(AutoTokenizer.from_pretrained(folder, trust_remote_code=False))


def test_chats_without_tags_are_rendered_as_before(facts):
    before = without_escapes(facts.chat_template)
    chat = [
        {"role": "user", "content": "a < b, [x] \n"},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]},
        {"role": "user", "content": f"b{MARK}"},
    ]
    for prompt in (True, False):
        kept = {"tokenize": False, "add_generation_prompt": prompt}
        assert facts.apply_chat_template(chat, **kept) == facts.apply_chat_template(chat, chat_template=before, **kept)
    masks = facts.apply_chat_template([*chat[:1], {"role": "assistant", "content": "c"}], return_dict=True,
                                      return_assistant_tokens_mask=True)  # fmt: skip
    assert sum(masks["assistant_masks"]) == 2


@pytest.mark.parametrize("template", ["\n  {% if true %}x{% endif %}\n", "{{ messages | length }}", "  x\n\n"])
def test_space_at_the_start_of_a_template_stays(template, byte_tokenizer):
    chat = [{"role": "user", "content": "a"}]
    byte_tokenizer.chat_template = template
    wanted = byte_tokenizer.apply_chat_template(chat, tokenize=False)
    escape_contents(byte_tokenizer)
    assert byte_tokenizer.apply_chat_template(chat, tokenize=False) == wanted
    assert without_escapes(byte_tokenizer.chat_template) == template


def test_named_templates_escape_as_well(facts, tmp_path):
    named = AutoTokenizer.from_pretrained(EMBEDDED, trust_remote_code=False)
    named.chat_template = {"default": without_escapes(facts.chat_template), "other": "{{ messages[0]['content'] }}"}
    escape_contents(named)
    chat = [{"role": "user", "content": "<async>"}]
    ids = [named.apply_chat_template(chat, chat_template=name, return_dict=False) for name in ("default", "other")]
    assert all(named.convert_tokens_to_ids("<async>") not in row for row in ids)


def test_twice_is_once_and_new_tokens_are_known_afterwards(facts):
    changed = AutoTokenizer.from_pretrained(EMBEDDED, trust_remote_code=False)
    escape_contents(changed)
    assert changed.chat_template == facts.chat_template and escapes_contents(changed)
    assert changed.backend_tokenizer.to_str() == facts.backend_tokenizer.to_str()
    changed.add_tokens([AddedToken("<new>", special=True, normalized=False)], special_tokens=True)
    assert not escapes_contents(changed)
    escape_contents(changed)
    assert escapes_contents(changed) and changed.chat_template.count("endmacro") == 1
    assert encode_prompt(changed, "a <new> <async>") == expected(changed, "a <new> <async>")


def test_a_normalizer_that_was_there_still_works(byte_tokenizer):
    byte_tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    byte_tokenizer.chat_template = "{{ messages[0]['content'] }}"
    escape_contents(byte_tokenizer)
    normalizer = byte_tokenizer.backend_tokenizer.normalizer
    assert normalizer.normalize_str(f"e\u0301{MARK}") == "\u00e9"


@pytest.mark.parametrize("token", [AddedToken("<odd>", special=True, normalized=True), AddedToken("§", special=True)])
def test_tokens_that_no_mark_can_break_are_not_claimed(token, facts):
    """The command line knows of them and goes its own way; other programs get the control id."""
    odd = AutoTokenizer.from_pretrained(EMBEDDED, trust_remote_code=False)
    odd.add_tokens([token], special_tokens=True)
    escape_contents(odd)
    assert not escapes_contents(odd)
    if len(token.content) > 1:
        assert spelled_ids(odd)[token.content] not in encode_prompt(odd, f"a {token.content} b <async>")
    else:
        with pytest.raises(ValueError, match="special token of one character"):
            encode_prompt(odd, f"a {token.content}")


def test_a_tokenizer_without_template_stays_as_it_is(byte_tokenizer):
    before = byte_tokenizer.backend_tokenizer.to_str()
    byte_tokenizer.chat_template = None
    escape_contents(byte_tokenizer)
    assert byte_tokenizer.backend_tokenizer.to_str() == before and not escapes_contents(byte_tokenizer)


def test_an_export_of_an_older_checkpoint_keeps_tags_as_text(facts, tmp_path):
    model = PlannedDiffusionForCausalLM.from_pretrained(EMBEDDED)
    older = AutoTokenizer.from_pretrained(EMBEDDED, trust_remote_code=False)
    older.chat_template, older.backend_tokenizer.normalizer = without_escapes(older.chat_template), None
    model.save_pretrained(tmp_path / "older")
    older.save_pretrained(tmp_path / "older")
    chat = [{"role": "user", "content": "a <async> b"}]
    tag, read = older.convert_tokens_to_ids("<async>"), lambda tokenizer: tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_dict=False
    )  # fmt: skip
    before = AutoTokenizer.from_pretrained(tmp_path / "older", trust_remote_code=False)
    assert tag in read(before) and encode_prompt(before, chat) == read(facts)
    export(str(tmp_path / "older"), tmp_path / "out")
    exported = AutoTokenizer.from_pretrained(tmp_path / "out", trust_remote_code=False)
    assert read(exported) == read(facts) and type(exported).__module__.startswith("transformers.")


def test_a_class_that_builds_its_own_normalizer_is_saved_as_the_general_one(tmp_path):
    from transformers import Qwen2Tokenizer

    vocabulary = {letter: index for index, letter in enumerate("<>async/|_mk ")}
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=[], eos_token="<|mask|>", mask_token="<|mask|>")
    tokenizer.add_tokens(list(SPELLING.values()), special_tokens=True)
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    escape_contents(tokenizer)
    save_tokenizer(tokenizer, tmp_path)
    read = AutoTokenizer.from_pretrained(tmp_path)
    assert escapes_contents(read)
    ids = read.apply_chat_template([{"role": "user", "content": "<async>"}], return_dict=False)
    assert ids == encode_text(read, "<async>") == tokenizer.convert_tokens_to_ids(list("<async>"))
    assert (read.eos_token, read.mask_token) == ("<|mask|>", "<|mask|>")
