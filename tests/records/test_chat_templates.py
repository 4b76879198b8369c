"""One chat template, or several with names, in the forms that transformers and its older versions write."""

import copy

import pytest

from planned_diffusion.records.chat_templates import default_template, named_templates, tidy_templates
from planned_diffusion.records.encoding import encode_prompt

CHAT = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
OTHER = "{{ 'tools' }}"
FORMS = {
    "a text": CHAT,
    "a dict with one name": {"default": CHAT},
    "a dict with another name": {"chat": CHAT},
    "a dict with a default": {"tool_use": OTHER, "default": CHAT},
    "the older list": [{"name": "default", "template": CHAT}, {"name": "tool_use", "template": OTHER}],
    "the older list of one": [{"name": "chat", "template": CHAT}],
}
MESSAGES = [
    [{"role": "user", "content": "Hello"}],
    [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "?"}],
    [{"role": "user", "content": "What does <async> do?"}],
]


@pytest.fixture
def with_template(byte_tokenizer):
    """with_template(form): a copy of the tokenizer with these templates."""

    def build(form):
        tokenizer = copy.deepcopy(byte_tokenizer)
        tokenizer.chat_template = form
        return tokenizer

    return build


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("messages", MESSAGES, ids=["one", "three", "a tag"])
def test_prompts_are_those_of_the_default(form, messages, with_template):
    assert default_template(with_template(form)) == CHAT
    assert encode_prompt(with_template(form), messages) == encode_prompt(with_template(CHAT), messages)
    tidied = with_template(form)
    tidy_templates(tidied)
    assert tidied.apply_chat_template(messages[:1], tokenize=False) == "user: " + messages[0]["content"] + "\n"
    assert named_templates(tidied) == named_templates(with_template(form))


@pytest.mark.parametrize("form", [None, "", {}, []])
def test_no_template(form, with_template):
    tokenizer = with_template(form)
    assert default_template(tokenizer) is None
    tidy_templates(tokenizer)
    assert tokenizer.chat_template is None
    assert encode_prompt(tokenizer, "Hi") == encode_prompt(with_template(None), "Hi")


@pytest.mark.parametrize(
    "form",
    [5, True, ["x"], [5], [{"name": "default"}], [{"template": CHAT}], {"default": None}, {"default": CHAT, "rag": 5}],
    ids=str,
)
@pytest.mark.parametrize("read", [named_templates, default_template, tidy_templates, lambda t: encode_prompt(t, "Hi")])
def test_templates_that_are_no_texts_are_refused(form, read, with_template):
    with pytest.raises(
        ValueError, match=r"The tokenizer has .* for a chat template; write a text in Jinja, or several"
    ):
        read(with_template(form))


def test_a_broken_template_is_not_blamed_on_the_roles(with_template):
    with pytest.raises(
        ValueError, match=r"chat template is broken \(.*, line 2\); write it anew, or take the tokenizer"
    ):
        encode_prompt(with_template(CHAT.splitlines()[0] + "\n{% if"), "Hi")


@pytest.mark.parametrize("form", [{"rag": OTHER, "chat": CHAT}, [{"name": "rag", "template": OTHER},
                                                               {"name": "chat", "template": CHAT}]])  # fmt: skip
def test_names_without_a_default_are_refused_where_one_is_needed(form, with_template):
    with pytest.raises(ValueError, match="are chat, rag, and none of them is the default; name one 'default'"):
        encode_prompt(with_template(form), "Hi")
    tokenizer = with_template(form)
    tidy_templates(tokenizer)
    assert tokenizer.chat_template == {"rag": OTHER, "chat": CHAT}
