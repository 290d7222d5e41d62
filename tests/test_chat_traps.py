"""What goes wrong between a chat and its ids, for our tokenizer and for pretrained ones.

Two begin tokens, a generation prompt that is missing or doubled, a model that never stops, an
answer cut in silence, and borders at which prompt and answer grow together.
"""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_pretrained_tokenizer import BEGINS, TEMPLATE, TRIMS, make
from utils.tokens.batches import IGNORE_INDEX, supervised_batches
from utils.tokens.chat import training_example
from utils.tokens.packing import pack_examples
from utils.tokens.pretrained import PretrainedTokenizer
from utils.tokens.tokenizer import Tokenizer
from utils.zoo.real import has_real, how_to_get_real, load_real

CHAT = [
    {"role": "user", "content": "hello?"},
    {"role": "assistant", "content": "hello"},
    {"role": "user", "content": "again"},
    {"role": "assistant", "content": "hello again"},
]
OWN = Tokenizer.train(["hello again, hello? What is the dose?\n\n"] * 3, 290)


def with_merged_lines(folder) -> PretrainedTokenizer:
    """Return a pretrained tokenizer that knows two line ends as one token, as most do."""
    make(folder)
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text("utf-8"))
    vocab = content["model"]["vocab"]
    vocab["ĊĊ"] = vocab.pop("hel")  # takes its id, which no other token then has
    content["model"]["merges"] = [["h", "e"], ["Ċ", "Ċ"]]
    path.write_text(json.dumps(content), "utf-8")
    return PretrainedTokenizer(folder)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return with_merged_lines(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(params=["own", "pretrained"])
def tokenizer(request):
    return OWN if request.param == "own" else request.getfixturevalue("pretrained")


TALK = st.text(st.sampled_from("helo \n?é<|"), max_size=8)
WHOLE = TALK.filter(lambda text: text == text.strip())
TURNS = st.lists(st.tuples(TALK, WHOLE), min_size=1, max_size=3)


def talk(turns):
    return [
        {"role": role, "content": content}
        for turn in turns
        for role, content in zip(("user", "assistant"), turn, strict=True)
    ]


def learned(ids, mask):
    return [i for i, learn in zip(ids, mask, strict=True) if learn]


@pytest.mark.parametrize("kind", ["own", "pretrained"])
@given(turns=TURNS)
@settings(max_examples=60, deadline=None)
def test_each_prompt_is_the_beginning_of_its_chat(kind, pretrained, turns):
    tokenizer, messages = OWN if kind == "own" else pretrained, talk(turns)
    ids, mask = training_example(messages, tokenizer)
    assert (ids, mask) == tokenizer.chat(messages)
    for k in range(1, len(messages), 2):
        prompt = tokenizer.chat(messages[:k], add_prompt=True).token_ids
        assert ids[: len(prompt)] == prompt and mask[len(prompt)] and not mask[len(prompt) - 1]
    said = tokenizer.decode(learned(ids, mask))
    end = tokenizer.decode([tokenizer.end_id])
    assert said == "".join(answer + end for _, answer in turns)


def test_an_answer_that_begins_with_a_line_end_grows_together_with_the_prompt(pretrained):
    """The border: the template ends the prompt with a line end, and two of them are one token."""
    messages = [CHAT[0], {"role": "assistant", "content": "\n\nhello"}]
    whole = pretrained.chat(messages).token_ids
    prompt = pretrained.chat(messages[:1], add_prompt=True).token_ids
    assert whole[: len(prompt)] != prompt
    with pytest.raises(
        ValueError, match=r"message 1, which begins with '\\n\\nhello', does not start"
    ):
        training_example(messages, pretrained)
    # In the course's markup a special token stands at the border, and no merge crosses it.
    ids, mask = training_example(messages, OWN)
    assert OWN.decode(learned(ids, mask)) == "\n\nhello<|end|>"


def test_a_template_that_trims_its_messages_has_a_clean_border(tmp_path):
    tokenizer = make(tmp_path, TRIMS)
    messages = [CHAT[0], {"role": "assistant", "content": "\nhello"}]
    ids, mask = training_example(messages, tokenizer)
    assert tokenizer.decode(learned(ids, mask)) == "hello<|im_end|>"


def test_one_begin_token_and_the_generation_prompt_once(tmp_path):
    tokenizer = make(tmp_path, BEGINS)
    ids, _ = training_example(CHAT, tokenizer)
    begin = tokenizer.token_id("<s>")
    assert ids.count(begin) == 1 and ids[0] == begin
    opening = [tokenizer.token_id("<|im_start|>"), *tokenizer.encode("assistant\n")]
    prompt = tokenizer.chat(CHAT[:1], add_prompt=True).token_ids
    assert prompt[-len(opening) :] == opening
    places = [k for k in range(len(prompt)) if prompt[k : k + len(opening)] == opening]
    assert len(places) == 1
    assert tokenizer.chat(CHAT[:1]).token_ids == prompt[: places[0]]


def test_a_template_without_generation_prompt_is_noticed(tmp_path):
    tokenizer = make(tmp_path, TEMPLATE.replace("{% if add_generation_prompt %}", "{% if false %}"))
    with pytest.raises(ValueError, match="message 1, .*does not start with a token of its own"):
        training_example(CHAT, tokenizer)


def test_a_template_that_asks_in_other_words_than_it_trains_is_noticed(tmp_path):
    """As many tokens, but others: only a comparison of the ids finds it."""
    opening = "{% if add_generation_prompt %}<|im_start|>assistant"
    tokenizer = make(tmp_path, TEMPLATE.replace(opening, opening.replace("ista", "istu")))
    with pytest.raises(ValueError, match="tuned on other ids than it is asked with"):
        training_example(CHAT, tokenizer)


def test_a_template_whose_answers_end_with_another_token_than_generation_is_noticed(tmp_path):
    """Such a model never stops: what it learns to write last is not what generation waits for."""
    tokenizer = make(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token": "<s>"}))
    with pytest.raises(ValueError, match=r"message 1 is not closed by the end token .*never stop"):
        training_example(CHAT, PretrainedTokenizer(tmp_path))
    assert training_example(CHAT, tokenizer).token_ids[-2] == tokenizer.end_id


def test_the_user_second_turn_is_not_learned_and_no_answer_loses_its_first_token(tokenizer):
    ids, mask = training_example(CHAT, tokenizer)
    runs, previous = [], False
    for token_id, learn in zip(ids, mask, strict=True):
        if learn and not previous:
            runs.append([])
        if learn:
            runs[-1].append(token_id)
        previous = learn
    want = [[*tokenizer.encode(m["content"]), tokenizer.end_id] for m in CHAT[1::2]]
    assert runs == want


@pytest.mark.parametrize("filled", ["pad", "end"])
def test_the_end_token_is_a_target_also_where_padding_is_the_end_token(tokenizer, filled):
    pad = tokenizer.end_id if filled == "end" else tokenizer.pad_id
    chats = [training_example(CHAT, tokenizer), training_example(CHAT[:2], tokenizer)]
    batch = supervised_batches(chats, 2, 300, pad_id=pad)(0)
    ends = (batch.targets == tokenizer.end_id).sum(-1).tolist()
    assert sorted(ends) == [1, 2]
    rows = pack_examples(chats, 300, pad_id=pad)
    assert int((rows.targets == tokenizer.end_id).sum()) == 3
    assert int((rows.targets != IGNORE_INDEX).sum()) == sum(sum(mask) for _, mask in chats)


def test_no_answer_is_cut_in_silence(tokenizer):
    """What does not fit is refused with its number, whole or packed, down to the last token."""
    chat = training_example(CHAT, tokenizer)
    n = len(chat.token_ids) - 1
    assert supervised_batches([chat], 1, n, 0)(0).token_ids.shape == (1, n)
    assert pack_examples([chat], n, 0).token_ids.shape == (1, n)
    for put_in_rows in (
        lambda: supervised_batches([chat], 1, n - 1, 0),
        lambda: pack_examples([chat], n - 1, 0),
    ):
        with pytest.raises(ValueError, match=f"example 0 has {n + 1} tokens, more than the cont"):
            put_in_rows()


def test_a_chat_that_ends_with_the_user_is_refused_or_cut(tokenizer):
    with pytest.raises(ValueError, match="ends the chat and no answer follows"):
        training_example(CHAT[:3], tokenizer)
    cut = training_example(CHAT[:3], tokenizer, user_last="cut")
    assert cut == tokenizer.chat(CHAT[:2])


@pytest.mark.skipif(not has_real(), reason=how_to_get_real())
def test_the_real_model_has_the_same_traps():
    _, tokenizer = load_real()
    ids, mask = training_example(CHAT, tokenizer)
    assert tokenizer.decode(learned(ids, mask)) == "hello<|im_end|>hello again<|im_end|>"
    with pytest.raises(ValueError, match="does not start with a token of its own"):
        training_example([CHAT[0], {"role": "assistant", "content": "\n\nhello"}], tokenizer)
    theirs = tokenizer.to_hugging_face()
    text = theirs.apply_chat_template(CHAT, tokenize=False)
    assert theirs(text)["input_ids"] == ids  # neither template nor tokenizer adds a begin token
