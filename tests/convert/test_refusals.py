"""What cannot be converted is refused in a sentence, before anything is written; tokenizers as they come."""

import json

import pytest
import yaml
from transformers import AutoTokenizer

from planned_diffusion.generation.tokens import SPELLING
from planned_diffusion.hub.convert import convert as module
from planned_diffusion.hub.convert.convert import ChosenFields, convert
from planned_diffusion.hub.convert.source_tokenizer import CHATML, PLAIN_TEXT, with_control_tokens
from planned_diffusion.records.escaping import without_escapes

CHAT = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "This."}]


@pytest.fixture
def source(native_folder, tmp_path):
    native_folder(tmp_path / "source")
    return tmp_path / "source"


def configure(source, **fields) -> None:
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, **fields}))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (
            {"model_type": "gpt2"},
            "model_type 'gpt2' is unknown here; known are llama, qwen2, qwen3, smollm3 and",
        ),
        ({"model_type": "planned_diffusion"}, "a planned-diffusion checkpoint already"),
        ({"quantization_config": {"quant_method": "gptq"}}, r"is quantised \(gptq\); convert the original one"),
        ({"model_type": "qwen2_vl", "vision_config": {}}, r"multimodal model \(qwen2_vl\); only models of text"),
        ({"model_type": None}, "names no model_type"),
        ({"num_hidden_layers": 5}, "config.json is none of a qwen2 model: .*layer_types.*; fetch it anew"),
        ({"model_type": "Dream", "rope_theta": None, "rope_parameters": None}, "Dream configuration lacks rope_theta"),
        ({"model_type": "dream", "num_key_value_heads": None}, "Dream configuration lacks num_key_value_heads"),
        ({"model_type": "Dream", "hidden_size": "wide", "rope_theta": 1e6}, "config.json is none of a Dream model"),
        ({"model_type": "Dream", "rope_theta": 1e6, "use_mrope": True}, "Dream configuration has use_mrope on"),
    ],
)
def test_configurations(fields, says, source, tmp_path):
    configure(source, **fields)
    with pytest.raises(ValueError, match=says):
        convert(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_folders_without_a_configuration(source, tmp_path):
    (source / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json is not JSON"):
        convert(source, tmp_path / "out")
    (source / "config.json").unlink()
    with pytest.raises(ValueError, match="holds no config.json"):
        convert(source, tmp_path / "out")
    (source / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match="holds an adapter and no model; merge it into its base"):
        convert(source, tmp_path / "out")


def test_sources_that_are_not_there(tmp_path):
    for source in (str(tmp_path / "none"), "none", "~/none", "a/b/c"):
        with pytest.raises(ValueError, match=f"There is no folder {source}; give a folder, or a Hub repository"):
            convert(source, tmp_path / "out")


def test_repositories(source, tmp_path, monkeypatch):
    """The small files come first, so that a refusal does not cost a download."""
    asked = []

    def snapshot_download(repo, revision, allow_patterns):
        asked.append((repo, revision, "*.safetensors" in allow_patterns))
        return str(source)

    monkeypatch.setattr(module, "snapshot_download", snapshot_download)
    report = convert("owner/name", tmp_path / "out", revision="v1")
    assert asked == [("owner/name", "v1", False), ("owner/name", "v1", True)] and report.source == "owner/name"
    configure(source, model_type="gpt2")
    with pytest.raises(ValueError, match="'gpt2' is unknown"):
        convert("owner/name", tmp_path / "other")
    assert len(asked) == 3

    def fail(*arguments, **options):
        raise OSError("401 Client Error.\nMore words.")

    monkeypatch.setattr(module, "snapshot_download", fail)
    with pytest.raises(ValueError, match="owner/name cannot be fetched: 401 Client Error; check name, token and netw"):
        convert("owner/name", tmp_path / "other")


def test_destinations(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file is a file; name a folder"):
        convert(source, tmp_path / "file")
    with pytest.raises(ValueError, match="source is not empty; name a new one"):
        convert(source, source)
    for options, says in (
        ({"span_attention": "full"}, "span_attention is 'full'"),
        ({"tokens_per_length_unit": 0}, "tokens_per_length_unit is 0"),
    ):
        with pytest.raises(ValueError, match=says):
            convert(source, tmp_path / "out", ChosenFields(**options))


def test_a_window_is_mentioned(source, tmp_path):
    configure(source, use_sliding_window=True, sliding_window=64, max_window_layers=1, layer_types=None)
    report = convert(source, tmp_path / "out")
    assert any("Some layers see 64 tokens" in note for note in report.notes)


# Tokenizers


def test_a_tokenizer_of_another_model(native_folder, tmp_path):
    native_folder(tmp_path / "source", rows=50)
    with pytest.raises(ValueError, match=r"with id \d+, and the embedding has 50 rows; fetch the tokenizer"):
        convert(tmp_path / "source", tmp_path / "out")


def test_a_folder_without_a_tokenizer(source, tmp_path):
    for path in source.glob("token*"):
        path.unlink()
    with pytest.raises(ValueError, match="No tokenizer can be read from .*; put tokenizer.json"):
        convert(source, tmp_path / "out")


def test_digits_must_be_tokens(bytes_of_others):
    with pytest.raises(ValueError, match=r"writes the digit 1 as \[\]; a plan's lengths are written digit by digit"):
        with_control_tokens(bytes_of_others(digits=False))


def test_an_answer_must_end(bytes_of_others):
    with pytest.raises(
        ValueError, match="has no eos_token and its chat template ends answers with none; set eos_token"
    ):
        with_control_tokens(bytes_of_others(chat_template=None, eos=None))


def test_the_mask_must_be_the_configurations(bytes_of_others):
    with pytest.raises(ValueError, match="mask_token_id is 5, but the tokenizer's mask '<|mask|>' is 257"):
        with_control_tokens(bytes_of_others(chat_template=None, mask_token="<|mask|>"), mask_token_id=5)
    tokenizer = bytes_of_others()
    tokenizer.add_tokens(["<blank>"])
    mask = tokenizer.convert_tokens_to_ids("<blank>")
    vocabulary = with_control_tokens(tokenizer, mask_token_id=mask)
    assert (
        vocabulary.ids["mask_token_id"] == mask and mask not in vocabulary.added and tokenizer.mask_token == "<blank>"
    )


def test_tags_that_are_there_are_found(bytes_of_others):
    tokenizer = bytes_of_others()
    tokenizer.add_tokens(["[PAD]", "<sync/>"])  # not special yet
    vocabulary = with_control_tokens(tokenizer)
    assert vocabulary.ids["span_pad_token_id"] == 259 and vocabulary.ids["sync_token_id"] == 260
    assert len(vocabulary.added) == 5 and not vocabulary.has_all_tags and vocabulary.rows == len(tokenizer) == 266
    assert with_control_tokens(tokenizer).added == {}  # twice is once
    for spelling in SPELLING.values():
        (token,) = tokenizer(spelling)["input_ids"]
        assert tokenizer.decode([token], skip_special_tokens=True) == ""


@pytest.mark.parametrize("has_chatml", [True, False])
def test_a_missing_chat_template_is_added_with_marks(has_chatml, bytes_of_others):
    tokenizer = bytes_of_others(chat_template=None, bos_token="<s>")
    tokenizer.add_tokens(["<|im_start|>", "<|im_end|>"] if has_chatml else [], special_tokens=True)
    vocabulary = with_control_tokens(tokenizer)
    assert vocabulary.chat_template == "added"
    assert without_escapes(tokenizer.chat_template) == (CHATML if has_chatml else PLAIN_TEXT)
    expected = {
        True: "<|im_start|>user\nWhat?<|im_end|>\n<|im_start|>assistant\nThis.<|im_end|>\n",
        False: "<s>User:\nWhat?\nAssistant:\nThis.<|endoftext|>\n",
    }[has_chatml]
    assert tokenizer.apply_chat_template(CHAT, tokenize=False) == expected
    assert tokenizer.eos_token == ("<|im_end|>" if has_chatml else "<|endoftext|>")
    encoded = tokenizer.apply_chat_template(CHAT, return_dict=True, return_assistant_tokens_mask=True)
    answer = [token for token, own in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if own]
    assert tokenizer.decode(answer) == f"This.{tokenizer.eos_token}"
    prompt = tokenizer.apply_chat_template(CHAT[:1], tokenize=False, add_generation_prompt=True)
    assert expected.startswith(prompt)


def test_a_template_that_refuses_the_chat_leaves_the_tokenizers_end(bytes_of_others):
    tokenizer = bytes_of_others(chat_template="{{ raise_exception('no') }}")
    with_control_tokens(tokenizer)
    assert tokenizer.eos_token == "<|endoftext|>" == tokenizer.pad_token


def test_the_template_comes_back(source, tmp_path):
    before = AutoTokenizer.from_pretrained(source).chat_template
    report = convert(source, tmp_path / "out")
    after = AutoTokenizer.from_pretrained(tmp_path / "out").chat_template
    assert without_escapes(after) == before != after and report.chat_template == "kept"
    assert any("no {% generation %} marks" in note for note in report.notes)


def test_the_card_names_the_source_and_keeps_its_license(source, tmp_path, monkeypatch):
    (source / "README.md").write_text("---\nlicense: other\nlicense_name: own\ntags: [chat]\n---\n# Source\n")
    convert(source, tmp_path / "out")
    said = (tmp_path / "out" / "README.md").read_text()
    assert yaml.safe_load(said.split("---")[1]) == {"license": "other", "license_name": "own"}
    assert "Converted for planned diffusion from source." in said and "train before you expect plans" in said
    monkeypatch.setattr(module, "snapshot_download", lambda *arguments, **options: str(source))
    convert("owner/name", tmp_path / "named")
    said = (tmp_path / "named" / "README.md").read_text()
    assert yaml.safe_load(said.split("---")[1])["base_model"] == "owner/name" and "from owner/name." in said
    (source / "README.md").unlink()
    convert(source, tmp_path / "bare")
    assert (tmp_path / "bare" / "README.md").read_text().startswith("Converted for planned diffusion from source.")
