"""A pretrained tokenizer: the library's ids, chats by its template, markers nobody can forge."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Encoder
from transformers import PreTrainedTokenizerFast

from utils.tokens.pretrained import PretrainedTokenizer
from utils.tokens.tokenizer import Tokenizer
from utils.zoo.real import has_real, how_to_get_real, load_real

needs_model = pytest.mark.skipif(not has_real(), reason=how_to_get_real())
SPECIAL = ("<|im_start|>", "<|im_end|>", "<s>")
TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
    "{% for m in messages %}{% if m['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('unknown role ' + m['role']) }}{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TRIMS = TEMPLATE.replace("{{ m['content'] }}", "{{ m['content'] | trim }}")
BEGINS = "<s>" + TEMPLATE
SHOUTS = TEMPLATE.replace("{{ m['content'] }}", "{{ m['content'] | upper }}")


def make(folder, template: str | None = TEMPLATE) -> PretrainedTokenizer:
    """Write a small byte-level tokenizer with special tokens; return ours."""
    letters = {letter: k for k, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    encoder = Encoder(
        models.BPE(vocab={**letters, "he": 256, "hel": 257}, merges=[("h", "e"), ("he", "l")])
    )
    encoder.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    encoder.decoder = decoders.ByteLevel()
    encoder.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    theirs = PreTrainedTokenizerFast(
        tokenizer_object=encoder, eos_token="<|im_end|>", bos_token="<s>", pad_token="<s>"
    )
    theirs.chat_template = template
    theirs.save_pretrained(folder)
    return PretrainedTokenizer(folder)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> PretrainedTokenizer:
    return make(tmp_path_factory.mktemp("tokenizer"))


TEXTS = st.one_of(
    st.text(max_size=30),
    st.lists(st.sampled_from([*SPECIAL, "hel", " ", "\n", "user", "assistant", "é", "<|im"])).map(
        "".join
    ),
)


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_text_comes_back_and_is_never_special(small, text):
    ids = small.encode(text)
    assert small.decode(ids) == text
    assert not small.special_ids & set(ids)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=4), st.booleans())
def test_a_chat_has_the_markers_of_its_template_and_no_other(small, contents, add_prompt):
    roles = ["user", "assistant"] * 2
    messages = [
        {"role": role, "content": content} for role, content in zip(roles, contents, strict=False)
    ]
    ids, mask = small.chat(messages, add_prompt)
    assert len(ids) == len(mask)
    assert ids.count(small.end_id) == len(messages) + 1, "the template's own system message, too"
    assert ids.count(small.token_id("<|im_start|>")) == len(messages) + 1 + add_prompt
    said = [i for i, learned in zip(ids, mask, strict=True) if learned]
    answers = [m["content"] for m in messages if m["role"] == "assistant"]
    wanted = "".join(f"{answer}<|im_end|>" for answer in answers)
    assert small.decode(said).replace("\n", "") == wanted.replace("\n", "")
    if not any(token in content for token in SPECIAL for content in contents):
        theirs = small.to_hugging_face().apply_chat_template(
            messages, return_dict=False, add_generation_prompt=add_prompt
        )
        assert ids == theirs


def test_the_mask_covers_each_answer_with_its_end_and_nothing_else(small):
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "hi again"},
        {"role": "assistant", "content": ""},
    ]
    ids, mask = small.chat(messages)
    said = small.tokens(i for i, learned in zip(ids, mask, strict=True) if learned)
    assert "".join(said) == "hello<|im_end|><|im_end|>"
    prompt, _ = small.chat(messages[:1], add_prompt=True)
    assert ids[: len(prompt)] == prompt and not any(mask[: len(prompt)])


def test_a_template_that_begins_with_a_begin_token_gives_one(tmp_path):
    tokenizer = make(tmp_path, BEGINS)
    ids, _ = tokenizer.chat([{"role": "user", "content": "hi"}])
    assert ids.count(tokenizer.token_id("<s>")) == 1


def test_a_template_that_trims_is_followed_and_one_that_changes_words_refused(tmp_path):
    messages = [{"role": "user", "content": "  hi\n"}, {"role": "assistant", "content": "\n yo "}]
    tokenizer = make(tmp_path / "trims", TRIMS)
    ids, mask = tokenizer.chat(messages)
    assert ids == tokenizer.to_hugging_face().apply_chat_template(messages, return_dict=False)
    said = [i for i, learned in zip(ids, mask, strict=True) if learned]
    assert tokenizer.decode(said) == "yo<|im_end|>"
    with pytest.raises(ValueError, match="changes what the messages say"):
        make(tmp_path / "shouts", SHOUTS).chat(messages)


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "messages is empty"),
        ([{"role": "user"}], "message 0 must have a role and a text"),
        ([{"role": "user", "content": 3}], "message 0 must have a role and a text"),
        ([{"role": "robot", "content": "x"}], "template refuses.*unknown role robot"),
    ],
)
def test_bad_chats_are_refused(small, messages, words):
    with pytest.raises(ValueError, match=words):
        small.chat(messages)


def test_a_base_model_has_no_template(tmp_path):
    with pytest.raises(ValueError, match="no chat template: it is a base model"):
        make(tmp_path, None).chat([{"role": "user", "content": "x"}])


def test_what_is_missing_or_foreign_is_named(small, tmp_path):
    with pytest.raises(FileNotFoundError, match="no tokenizer.json"):
        PretrainedTokenizer(tmp_path)
    with pytest.raises(ValueError, match="token id 999 is outside"):
        small.decode([1, 999])
    with pytest.raises(ValueError, match="lone surrogate.*position 2"):
        small.encode("ab\ud800")
    with pytest.raises(KeyError, match="is no token"):
        small.token_id("<|nothing|>")
    make(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token": None}))
    with pytest.raises(ValueError, match="names no eos_token"):
        PretrainedTokenizer(tmp_path)


def test_the_courses_own_tokenizer_answers_the_same_calls(small):
    own = Tokenizer.train(["low lower lowest"] * 3, 264)
    for tokenizer in (own, small):
        ids, mask = tokenizer.chat(
            [{"role": "user", "content": "low"}, {"role": "assistant", "content": "lower"}]
        )
        said = [i for i, learned in zip(ids, mask, strict=True) if learned]
        assert tokenizer.decode(said, skip_special=True) == "lower"
        assert said[-1] == tokenizer.end_id and tokenizer.vocab_size > max(ids)
        assert tokenizer.encode_batch(["low"]) == [tokenizer.encode("low")]
        assert "".join(tokenizer.tokens(tokenizer.encode("low"))) == "low"


@needs_model
def test_the_real_template_gives_the_ids_of_transformers():
    _, tokenizer = load_real()
    theirs = tokenizer.to_hugging_face()
    for text in ("What is 12 times 3?", "def f(x):\n    return x", "  naïve कार्ड \n"):
        messages = [
            {"role": "user", "content": text},
            {"role": "assistant", "content": text[::-1]},
            {"role": "user", "content": "And?"},
        ]
        for add_prompt in (False, True):
            wanted = theirs.apply_chat_template(
                messages, return_dict=False, add_generation_prompt=add_prompt
            )
            assert tokenizer.chat(messages, add_prompt).token_ids == wanted
        assert tokenizer.encode(text) == theirs.encode(text, add_special_tokens=False)
    assert tokenizer.decode([tokenizer.end_id]) == "<|im_end|>"
    assert (
        tokenizer.end_id
        not in tokenizer.chat(
            [{"role": "system", "content": "x"}, {"role": "user", "content": "<|im_end|>"}]
        ).token_ids[-3:-2]
    )
