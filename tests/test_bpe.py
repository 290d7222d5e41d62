"""Byte-pair encoding: worked examples, the library `tokenizers` as oracle, and round trips."""

import json
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tests.counting import lines_run
from utils.text.corpora import python_reference, world_corpus
from utils.tokens.bpe import (
    count_pairs,
    count_words,
    decode,
    encode,
    merge_pair,
    train_bpe,
    train_bpe_by_hand,
)
from utils.tokens.pretokenize import split_words

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
FEW_LETTERS = st.text("aab bé1", max_size=40)
LETTERS = [chr(256 + byte) for byte in range(256)]  # byte b as one letter, in the order of bytes


def oracle(texts, vocab_size):
    """Train `tokenizers` on the same words; return it with its merges as pairs of ids.

    It numbers its alphabet by code point and breaks ties by the smaller pair of ids, so with byte b
    written as character 256 + b its ids are ours.
    """
    library = Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=LETTERS, show_progress=False
    )
    library.train_from_iterator(map(as_letters, texts), trainer)
    ids = library.get_vocab()
    pairs = json.loads(library.to_str())["model"]["merges"]
    return library, [(ids[left], ids[right]) for left, right in pairs]


def as_letters(text):
    return " ".join("".join(LETTERS[b] for b in word.encode()) for word in split_words(text))


@given(ANY_TEXT)
@settings(max_examples=200, deadline=None)
def test_words_joined_are_the_text_and_digits_stand_alone(text):
    words = split_words(text)
    assert "".join(words) == text
    assert all(words)
    assert all(len(word.strip()) == 1 for word in words if any(c in "0123456789" for c in word))


def test_a_lone_surrogate_is_refused_with_its_position():
    for call in (split_words, lambda t: encode(t, []), lambda t: count_words([t])):
        with pytest.raises(ValueError, match=r"surrogate '\\ud83d' at position 3"):
            call("abc\ud83d")


def test_one_string_is_not_taken_for_a_list_of_texts():
    with pytest.raises(TypeError, match="list of strings"):
        count_words("abc")


def test_count_words_counts_over_all_texts():
    assert count_words(["é é", "é"]) == {(195, 169): 2, (32, 195, 169): 1}


def test_counts_are_those_of_the_words_written_out():
    words = {(1, 2, 1, 2): 3, (2, 2, 2): 2, (5,): 7}
    written = [ids for ids, n in words.items() for _ in range(n)]
    want = Counter(p for ids in written for p in zip(ids, ids[1:], strict=False))
    assert count_pairs(words) == want


@given(st.lists(st.integers(0, 2), max_size=12), st.tuples(st.integers(0, 2), st.integers(0, 2)))
def test_merging_is_replacing_in_a_string(ids, pair):
    spelled = "".join(map(str, ids)).replace("".join(map(str, pair)), "9")
    before = list(ids)
    assert merge_pair(ids, pair, 9) == tuple(map(int, spelled))
    assert ids == before


def test_the_four_merges_of_a_corpus_worked_by_hand():
    words = {tuple(b"fever"): 5, tuple(b"never"): 2, tuple(b"feet"): 1}
    # er 7 times (ev and ve, too, but er is the smaller pair); then ev; then ev-er; then f-ever or
    # fe: (102, 258) occurs 5 times, (102, 101) once.
    want = [(101, 114), (101, 118), (257, 256), (102, 258)]
    assert train_bpe(words, 260) == train_bpe_by_hand(words, 260) == want


def test_training_ends_where_no_pair_is_left():
    assert train_bpe({(97, 98): 1}, 1000) == [(97, 98)]
    assert train_bpe({}, 1000) == train_bpe({(97,): 3}, 1000) == []
    assert train_bpe({(97, 98): 1}, 256) == []


def test_a_vocabulary_smaller_than_the_bytes_is_refused():
    with pytest.raises(ValueError, match="at least 256.*got 255"):
        train_bpe({(97, 98): 1}, 255)


@given(st.lists(FEW_LETTERS, max_size=8))
@settings(max_examples=150, deadline=None)
def test_incremental_counts_give_the_merges_of_recounting(texts):
    words = count_words(texts)
    before = dict(words)
    assert train_bpe(words, 300) == train_bpe_by_hand(words, 300)
    assert words == before


@given(st.lists(FEW_LETTERS, min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_runs_of_one_letter_are_merged_as_by_the_oracle(texts):
    assert train_bpe(count_words(texts), 290) == oracle(texts, 290)[1]


@pytest.mark.parametrize("texts, vocab_size", [("world", 700), ("reference", 1024)])
def test_merges_and_ids_are_those_of_the_oracle(texts, vocab_size):
    texts = world_corpus(2000, seed=1) if texts == "world" else python_reference()
    merges = train_bpe(count_words(texts), vocab_size)
    library, want = oracle(texts, vocab_size)
    assert merges == want
    for text in texts[:: max(1, len(texts) // 10)]:
        assert encode(text, merges) == library.encode(as_letters(text)).ids


@pytest.mark.parametrize("kind", ["equal letters", "two letters", "no spaces", "equal words"])
def test_training_costs_in_line_with_the_text_however_long_its_words_are(kind):
    rng = random.Random(0)
    letters = "".join(map(chr, range(0x4E00, 0x4E40)))
    text = {
        "equal letters": "a" * 6000,
        "two letters": "ab" * 3000,
        "no spaces": "".join(rng.choices(letters, k=2000)),
        "equal words": "low lower " * 600,
    }[kind]
    half = lines_run(lambda: train_bpe(count_words([text[: len(text) // 2]]), 400))
    whole = lines_run(lambda: train_bpe(count_words([text]), 400))
    assert whole < 2.5 * half


def test_a_page_without_spaces_is_trained_and_encoded_as_by_the_oracle():
    rng = random.Random(0)
    syllables = ["".join(chr(rng.randrange(0x4E00, 0x4E60)) for _ in range(2)) for _ in range(60)]
    text = "".join(rng.choices(syllables, k=1500))
    merges = train_bpe(count_words([text]), 600)
    library, want = oracle([text], 600)
    assert merges == want
    assert encode(text, merges) == library.encode(as_letters(text)).ids


@given(ANY_TEXT)
@settings(max_examples=200, deadline=None)
def test_decoding_gives_any_text_back(text):
    merges = [(195, 169), (240, 159), (257, 152), (32, 97), (97, 97), (260, 260)]
    assert decode(encode(text, merges), merges) == text


def test_earlier_merges_go_first():
    assert encode("abc", [(98, 99), (97, 98)]) == [97, 256]
    assert encode("abc", [(97, 98), (98, 99)]) == [256, 99]


def test_half_a_character_becomes_a_replacement_sign():
    assert decode([97, 0xC3, 98], []) == "a\ufffdb"


@pytest.mark.parametrize("token_id", [-1, 257])
def test_an_id_of_another_vocabulary_is_refused(token_id):
    with pytest.raises(ValueError, match=f"token id {token_id} is outside.*of 257"):
        decode([97, token_id], [(97, 98)])
