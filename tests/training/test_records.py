"""Records to integers: prompts, answers, and text that spells control tokens."""

import pytest

from planned_diffusion.generation.tokens import SPELLING, ControlTokens
from planned_diffusion.records import tagged
from planned_diffusion.records.encoding import encode_prompt, encode_text
from planned_diffusion.records.tagged import parse_tagged
from planned_diffusion.training import examples
from planned_diffusion.training.examples import encode_example
from planned_diffusion.training.promises import misfit

ANSWER = (
    "<promise>-<topic>end 12</topic><promise>-<topic>3</topic><async>sun</async><async> 4</async><sync/>"
    "<promise>-<topic>sky 1</topic><async>u</async>"
)


def chat(answer, question="user", *before):
    return [*before, {"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def spelled(tokenizer, ids):
    return " ".join(tokenizer.decode([index]).replace(" ", "_") for index in ids)


def test_a_tagged_answer_as_integers(tokenizer, control):
    example = encode_example(chat(ANSWER), tokenizer, control)
    start = example.prompt_length
    assert example.ids[:start].tolist() == encode_prompt(tokenizer, "user")
    tokens = spelled(tokenizer, example.ids[start:]).split(" ")
    symbols = {value: short for value, short in zip(SPELLING.values(), ("P", "T", "A", "Z", "S", "#"), strict=True)}
    symbols[tokenizer.eos_token] = "E"
    assert "".join(symbols.get(token, token) for token in tokens) == "Pend_12TP3TAsunZA_4ZSPsky_1TAuZE"
    marks = ["." if span < 0 else str(span) for span in example.span[start:]]
    assert "".join(marks) == marks_of_spans(tokens)
    assert example.round[start:].tolist() == [0] * tokens.index("<sync/>") + [1] * (
        len(tokens) - tokens.index("<sync/>")
    )
    given = [token in ("<async>", "</async>") for token in tokens]
    assert example.is_target.tolist() == [False] * start + [not is_given for is_given in given]
    assert tokenizer.decode(example.plain_answer) == "sun 4u" + tokenizer.eos_token


def test_an_answer_is_parsed_once(tokenizer, control, monkeypatch):
    """The example keeps its promises, so that nothing after it reads the tags again."""
    parsed = []

    def counting(text):
        parsed.append(text)
        return parse_tagged(text)

    for module in (examples, tagged):
        monkeypatch.setattr(module, "parse_tagged", counting)
    example = encode_example(chat(ANSWER), tokenizer, control)
    assert example.is_tagged and misfit([example], 4) is None
    assert parsed == [ANSWER]
    promises = [(promise.topic, promise.number, promise.round_index) for promise in example.promises]
    assert promises == [("end", 12, 0), ("", 3, 0), ("sky", 1, 1)]
    used = [int((example.span == span).sum()) - 2 for span in range(3)]  # without <async> and </async>
    assert [promise.tokens for promise in example.promises] == used


def marks_of_spans(tokens):
    """The span of every token, by counting tags."""
    marks, span, is_inside = [], -1, False
    for token in tokens:
        if token == "<async>":
            span, is_inside = span + 1, True
        marks.append(str(span) if is_inside else ".")
        is_inside = is_inside and token != "</async>"
    return "".join(marks)


def test_numbers_never_merge_with_each_other_or_the_topic(tokenizer, control):
    example = encode_example(chat("<promise>-<topic>12 345</topic><async>sun</async>"), tokenizer, control)
    plan = example.ids[example.prompt_length :].tolist()
    plan = plan[: plan.index(control.topic_end)]
    assert plan[-3:] == [control.digits[digit] for digit in (3, 4, 5)]


def test_plain_and_earlier_answers(tokenizer, control):
    before = ({"role": "user", "content": "a"}, {"role": "assistant", "content": ANSWER})
    example = encode_example(chat("The sun.", "b", *before), tokenizer, control)
    assert not example.is_tagged and (example.span == -1).all() and (example.round == 0).all()
    assert tokenizer.decode(example.ids) == (
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nsun 4u<|im_end|>\n<|im_start|>user\nb<|im_end|>\n"
        "<|im_start|>assistant\nThe sun.<|im_end|>"
    )
    assert example.is_target.sum() == len(example.plain_answer)


@pytest.mark.parametrize("are_special", [True, False])
def test_user_text_that_spells_control_tokens_stays_text(are_special, byte_tokenizer, config_for):
    tokenizer = byte_tokenizer(are_special)
    control = ControlTokens.from_config(config_for(tokenizer))
    text = " say <async> and </topic>, [PAD] <|mask|> <|im_end|>\n"
    assert not control.all & set(encode_text(tokenizer, text))
    assert tokenizer.decode(encode_text(tokenizer, text)) == text
    ids = encode_prompt(tokenizer, text)
    assert tokenizer.decode(ids) == f"<|im_start|>user\n{text.strip()}<|im_end|>\n<|im_start|>assistant\n"
    assert [index for index in ids if index in control.all] == [control.eos[0]]
    example = encode_example(chat("<promise>-<topic>a 9</topic><async>no [PAD]</async>", text), tokenizer, control)
    assert control.span_pad not in example.ids


def test_an_ordinary_prompt_is_the_chat_templates(tokenizer):
    messages = [{"role": "user", "content": "What is an aurora?"}]
    expected = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert encode_prompt(tokenizer, messages) == encode_prompt(tokenizer, "What is an aurora?") == expected


def test_without_a_chat_template_the_prompt_is_the_text(byte_tokenizer):
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = None
    assert tokenizer.decode(encode_prompt(tokenizer, "An <async>")) == "An <async>"
    with pytest.raises(ValueError, match="no chat template"):
        encode_prompt(tokenizer, [{"role": "user", "content": "a"}] * 2)


def test_a_template_that_rewrites_a_message_with_special_tokens_is_refused(byte_tokenizer):
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] | upper }}{% endfor %}"
    with pytest.raises(ValueError, match="rewrites messages"):
        encode_prompt(tokenizer, "a <async> b")


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ([], "ends with 'no message'"),
        ([{"role": "user", "content": "a"}], "ends with 'user'"),
        (chat(""), "answer is empty"),
        (chat("<sync/>"), "0 promises"),
        ([{"role": "user", "content": ["a"]}, {"role": "assistant", "content": "b"}], "content is list"),
        (["a", "b"], "A message is str; write an object with 'role' and 'content'"),
        ([{"content": "a"}, *chat("b")], "has the role None; choose one of system, user"),
        (chat("b", "a", {"role": "robot", "content": "a"}), "has the role 'robot'"),
        (chat("b", "a\ud83d"), r"A message holds half a character; remove the lone surrogate '.ud83d'"),
    ],
)
def test_refuses_records_without_an_answer_to_learn(messages, complaint, tokenizer, control):
    with pytest.raises(ValueError, match=complaint):
        encode_example(messages, tokenizer, control)


@pytest.mark.parametrize("question", ["a", "a <async>"])
def test_a_chat_template_that_refuses_the_messages_says_why(question, control, byte_tokenizer):
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(ValueError, match="chat template refuses these messages .roles must alternate.; give"):
        encode_example(chat("sun", question), tokenizer, control)


def test_an_empty_prompt_and_a_special_token_of_one_character_are_refused(control, byte_tokenizer):
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(ValueError, match="prompt is empty"):
        encode_example(chat("sun", ""), tokenizer, control)


@pytest.mark.parametrize(
    ("text", "most"), [("pqxyE", 0), ("pqPa1T<x>E", 1), ("pqPa1TPb2T<xy><z>SPc1T<w>E", 2), ("pqPa1T<x>SPb1T<y>E", 1)]
)
def test_most_spans_of_a_round(text, most, example_of):
    assert example_of(text).most_spans == most
