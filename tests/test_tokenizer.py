"""The tokenizer: ids of `bpe.encode`, nothing special from text, files, the Hugging Face twin."""

import json
import sys
from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.counting import lines_run
from utils.text.corpora import world_corpus
from utils.tokens import tokenizer as module
from utils.tokens.bpe import encode, merge_pair
from utils.tokens.special import SPECIAL_TOKENS
from utils.tokens.tokenizer import Tokenizer, merge_word

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@cache
def small():
    return Tokenizer.train(world_corpus(300, seed=1), 500)


@cache
def twin():
    return small().to_hugging_face()


def test_ids_are_bytes_then_merges_then_special_tokens():
    tokenizer = small()
    assert tokenizer.vocab_size == 500 and len(tokenizer.merges) == 240
    ids = [tokenizer.pad_id, tokenizer.end_id, tokenizer.user_id, tokenizer.assistant_id]
    assert ids == [496, 497, 498, 499]
    assert [tokenizer.decode([i]) for i in ids] == list(SPECIAL_TOKENS)
    assert tokenizer.encode("\0\x7f") == [0, 127]


@given(ANY_TEXT)
@settings(max_examples=150, deadline=None)
def test_ids_are_those_of_encode_and_come_back(text):
    ids = small().encode(text)
    assert ids == encode(text, small().merges)
    assert small().decode(ids) == text


@given(st.lists(st.sampled_from([*SPECIAL_TOKENS, "<|", "|>", " ", "end", "a"]), max_size=8))
def test_text_never_becomes_a_special_token(parts):
    text = "".join(parts)
    ids = small().encode(text)
    assert all(i < small().pad_id for i in ids)
    assert small().decode(ids) == small().decode(ids, skip_special=True) == text


def test_special_tokens_are_spelt_or_left_out():
    tokenizer = small()
    ids = [tokenizer.user_id, *tokenizer.encode("a"), tokenizer.end_id, tokenizer.pad_id]
    assert tokenizer.decode(ids) == "<|user|>a<|end|><|pad|>"
    assert tokenizer.decode(ids, skip_special=True) == "a"


def test_memory_of_words_is_bounded_by_bytes(monkeypatch):
    monkeypatch.setattr(module, "MAX_REMEMBERED_BYTES", 60_000)
    tokenizer = Tokenizer([(97, 98)])
    most = 0
    for text in [f"{letter * n} ab" for n in range(1, 80) for letter in "abé中"]:
        assert tokenizer.encode(text) == encode(text, tokenizer.merges)
        held = tokenizer._remembered.items()
        size = sum(sys.getsizeof(word) + sys.getsizeof(ids) for word, ids in held)
        most = max(most, size)
        assert size <= tokenizer._remembered_bytes <= 60_000
    assert most > 20_000  # it is used
    before = dict(tokenizer._remembered)
    assert tokenizer.encode("中" * 5000) == list("中".encode()) * 5000
    assert tokenizer._remembered == before  # a page in one word pushes out nothing


PAIRS = [(97, 97), (256, 256), (98, 97), (257, 256), (258, 257), (97, 98), (261, 256), (98, 98)]


@given(st.text("ab", max_size=40), st.permutations(PAIRS))
@settings(max_examples=300, deadline=None)
def test_a_word_is_merged_as_by_rounds(word, order):
    merges, made = [], set(range(256))
    for pair in order:  # those whose halves are there
        if set(pair) <= made:
            merges.append(pair)
            made.add(255 + len(merges))
    new_ids = {pair: 256 + k for k, pair in enumerate(merges)}
    ids = tuple(word.encode())
    for k, pair in enumerate(merges):
        ids = merge_pair(ids, pair, 256 + k)
    assert merge_word(word.encode(), new_ids) == ids


@pytest.mark.parametrize("kind", ["equal", "doubling", "mixed"])
def test_a_long_word_costs_in_line_with_its_length(kind):
    words = {"equal": "a" * 8000, "doubling": "ab" * 4000, "mixed": "abcabdab" * 1000}
    word = words[kind]
    tokenizer = Tokenizer.train([word[:4000]], 600)
    half = lines_run(lambda: tokenizer.encode(word[:4000]))
    whole = lines_run(lambda: Tokenizer(tokenizer.merges).encode(word))
    assert whole < 2.5 * half + 2 * len(tokenizer.merges)


def test_a_batch_is_its_texts():
    texts = ["The dose is 15 mg.", "", "é"]
    assert small().encode_batch(texts) == [small().encode(text) for text in texts]


def test_a_saved_tokenizer_is_the_same(tmp_path):
    path = tmp_path / "tokenizer.json"
    small().save(path)
    small().save(path)  # over an older one
    loaded = Tokenizer.load(path)
    assert loaded.merges == small().merges and loaded.vocab_size == small().vocab_size
    assert [p.name for p in tmp_path.iterdir()] == ["tokenizer.json"]
    assert b"\r" not in path.read_bytes()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        json.dumps({"special": SPECIAL_TOKENS, "merges": [[1]]}),
        json.dumps({"special": SPECIAL_TOKENS, "merges": [[97, 300]]}),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="tokenizer.json is no tokenizer of the course"):
        Tokenizer.load(path)


def test_other_special_tokens_are_refused(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"special": ["<s>"], "merges": []}), encoding="utf-8")
    with pytest.raises(ValueError, match="has special tokens"):
        Tokenizer.load(path)


@pytest.mark.parametrize("texts", [[], ["", ""]])
def test_nothing_to_learn_from_is_refused(texts):
    with pytest.raises(ValueError, match="nothing to learn from"):
        Tokenizer.train(texts, 300)


def test_a_vocabulary_without_room_is_refused():
    with pytest.raises(ValueError, match="at least 260.*got 259"):
        Tokenizer.train(["a b"], 259)


@pytest.mark.parametrize("token_id", [-1, 500])
def test_ids_of_another_tokenizer_are_refused(token_id):
    with pytest.raises(ValueError, match=f"token id {token_id} is outside.*500"):
        small().decode([97, token_id])


@given(ANY_TEXT)
@example("  a\u3000\x1c\x85 b\u180e")  # spaces of several kinds
@example("\ua7dc\ua7cb \U00010d4a \U00016d71")  # letters and digits of new Unicode versions
@example("\U00016ea0\U00011de0 \u0558")
@settings(max_examples=300, deadline=None)
def test_the_hugging_face_twin_gives_the_same_ids(text):
    ids = small().encode(text)
    assert twin().encode(text, split_special_tokens=True) == ids
    if not any(token in text for token in SPECIAL_TOKENS):
        assert twin().encode(text) == ids
    assert twin().decode(ids) == text


def test_the_twin_cuts_every_character_alike():
    """Each code point between two letters that merge with what stands beside them."""
    tokenizer = Tokenizer([(97, byte) for byte in range(128, 256)] + [(32, 97), (97, 97)])
    other = tokenizer.to_hugging_face()
    points = [*range(0xD800), *range(0xE000, 0x30000), *range(0xE0000, 0xE0200)]
    for start in range(0, len(points), 20_000):
        text = "".join(f"a{chr(p)}" for p in points[start : start + 20_000])
        assert other.encode(text) == tokenizer.encode(text)


def test_the_twin_has_the_same_special_tokens(tmp_path):
    twin().save_pretrained(tmp_path)
    from transformers import AutoTokenizer

    other = AutoTokenizer.from_pretrained(tmp_path)
    assert len(other) == small().vocab_size
    assert other.pad_token_id == small().pad_id and other.eos_token_id == small().end_id
    assert other.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == [496, 497, 498, 499]
    assert other.encode("15 mg a day") == small().encode("15 mg a day")
