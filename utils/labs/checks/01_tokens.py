"""Checks of lab 01: byte-pair encoding and bits per byte.

Oracles: tables by hand; string replacement (a word as a string with one character per id, whose
`replace` works from left to right without overlap); NumPy; the library `tokenizers`.
"""

from __future__ import annotations

import json
import time
from collections import Counter

import numpy as np
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from utils.labs.checking import (
    Check,
    brief,
    close,
    collector,
    in_case,
    not_the_mistake,
    require,
    same,
)
from utils.labs.student import LearnerError
from utils.tokens.pretokenize import split_words

CHECKS: list[Check] = []
exercise_check = collector(CHECKS)

HINTS = {
    "count_pairs": (
        "Go through each word and look at every place and its right neighbour; what you find there "
        "occurred as often as the word did.",
        "By hand: the word (1, 2, 1, 2), which occurred 3 times. Write down the pair at each place "
        "that has a right neighbour, and what it adds. Then the word (1, 2), once: which of your "
        "counts does it change, and by how much?",
        "For each word and its number n: for each pair in pairwise(word): add n to the count of "
        "that pair, starting from 0 where the pair is new. Return the counts.",
    ),
    "merge_pair": (
        "Walk through the ids with an index. At each place there are two cases: the pair starts "
        "here, or it does not.",
        "By hand: (1, 1, 1, 2) with (1, 1) -> 9. Write for each place that the index visits what "
        "is appended and where the index goes next. What can it not look at from the last place?",
        "While i < len(ids): if ids[i] and ids[i + 1] are the pair, append new_id and go on by 2; "
        "otherwise append ids[i] and go on by 1. The last id has no right neighbour. Return a "
        "tuple.",
    ),
    "train_bpe": (
        "A merge changes the words that hold its pair and no others: keep for each pair its count "
        "and the set of words that hold it, and correct both as words change.",
        "By hand: 'abc' 3 times and 'bcd' once. Write down all counts, and for each pair the words "
        "that hold it. Merge b and c: which counts fall, which are new, which words need a look? "
        "And how do you find the highest count without going through all of them each time?",
        "Refuse a small vocabulary. Start with count_pairs, for each pair the set of words that "
        "hold it, and a heap of (-count, pair). Each round: pop until the entry's count is the "
        "current one and above 0; for each word with the pair subtract n for its old pairs, merge, "
        "add n for its new pairs, and note it in their sets; push every pair whose count changed. "
        "An empty heap ends it.",
    ),
    "encode": (
        "Words are independent: split, turn each into bytes, and repeat what training did, in the "
        "order in which training did it.",
        "By hand: 'abcab' with the merges bc, ab. Which of the two was learned first, and what is "
        "left of the word once it was joined everywhere? Which ids do the two merges make?",
        "Make a dictionary pair -> new id. Per word of split_words: while any neighbouring pair is "
        "in it, take the one with the smallest new id and merge it. Collect the ids of all words "
        "in one list.",
    ),
    "decode": (
        "Each id spells some bytes. A character may lie across two ids, so text comes last.",
        "By hand: which bytes does 257 spell with the merges (97, 98), (256, 99)? Where could you "
        "look up those of 256 by then? And what are [195, 169], one by one and together?",
        "Build a list of bytes: 256 single ones, then pieces[left] + pieces[right] for each merge. "
        "Refuse ids outside of it, join the pieces, and decode once with errors='replace'.",
    ),
    "bits_per_byte": (
        "A mean per token times the number of tokens is the loss of the whole text.",
        "By hand: 4 tokens at ln 2 nats each. How many nats has the whole text, how many bits is "
        "that, and how many for each of its 16 bytes?",
        "Refuse numbers below 1. From nats to bits divide by ln 2; from the whole text, which is "
        "the mean times n_tokens, to one byte divide by n_bytes.",
    ),
}

FEVER = {tuple(b"fever"): 5, tuple(b"never"): 2, tuple(b"feet"): 1}
WORLDLY = (
    "The dose is 15 mg, don't exceed 1250 mg.\n\n\tTake   it twice a day!  ",
    "naïve café, Straße, e\u0301 (two code points), ÅÅÅ",
    "مرحبا بالعالم — सुबह आठ बजे — 診療所は朝八時に",
    "👩🏽‍⚕️👩🏽‍⚕️ 🙂🙂🙂🙂 \u200d\u00a0",
    "aaaaaaa aaaa aaa aa a <|end|> \0\x7f \r\n",
)


def as_string(ids) -> str:
    """Return ids as a string, one character each."""
    return "".join(map(chr, ids))


def most_frequent(counts: Counter, tie: str, spelling: list[bytes]) -> str:
    """Return the pair to merge; `tie` other than "smallest" is a mistake to recognise."""
    top = max(counts.values())
    equal = [pair for pair, n in counts.items() if n == top]
    if tie == "second":
        return min(equal, key=lambda pair: pair[::-1])
    if tie == "bytes":
        return min(equal, key=lambda pair: [spelling[ord(sign)] for sign in pair])
    return {"smallest": min, "largest": max, "first": lambda pairs: pairs[0]}[tie](equal)


def train_by_strings(words, n_merges: int, tie="smallest", weigh=True, recount=True):
    """Return merges by counting everything anew; the flags make typical mistakes."""
    spelled = {as_string(ids): n if weigh else 1 for ids, n in words.items()}
    merges: list[tuple[int, int]] = []
    spelling = [bytes([byte]) for byte in range(256)]
    counts: Counter = Counter()
    while len(merges) < n_merges:
        if recount or not merges:
            counts = Counter()
            for word, n in spelled.items():
                for left, right in zip(word, word[1:], strict=False):
                    counts[left + right] += n
        if not counts:
            break
        best = most_frequent(counts, tie, spelling)
        del counts[best]
        spelled = {w.replace(best, chr(256 + len(merges))): n for w, n in spelled.items()}
        merges.append((ord(best[0]), ord(best[1])))
        if tie == "bytes":
            spelling.append(spelling[merges[-1][0]] + spelling[merges[-1][1]])
    return merges


def encode_by_strings(words: list[str], merges) -> list[int]:
    """Return ids: each merge in turn replaces its pair in every word."""
    ids: list[int] = []
    for word in words:
        spelled = as_string(word.encode("utf-8"))
        for k, pair in enumerate(merges):
            spelled = spelled.replace(as_string(pair), chr(256 + k))
        ids += map(ord, spelled)
    return ids


def train_by_library(texts, vocab_size: int) -> list[tuple[int, int]]:
    """Return the merges that `tokenizers` learns.

    It breaks ties by ids, and numbers its alphabet by code point: byte b is written as character
    256 + b, so that ids and ties are the same as ours.
    """
    letters = [chr(256 + byte) for byte in range(256)]
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=letters, show_progress=False
    )
    lines = [
        " ".join("".join(letters[b] for b in word.encode("utf-8")) for word in split_words(text))
        for text in texts
    ]
    library.train_from_iterator(lines, trainer)
    ids = library.get_vocab()
    pairs = json.loads(library.to_str())["model"]["merges"]
    return [(ids[left], ids[right]) for left, right in pairs]


def random_words(rng, n_words: int, n_letters: int, longest: int) -> dict:
    """Return random distinct words over few letters, with their numbers."""
    words: dict[tuple[int, ...], int] = {}
    while len(words) < n_words:
        length = int(rng.integers(1, longest + 1))
        word = tuple(int(i) + 97 for i in rng.integers(0, n_letters, length))
        words[word] = int(rng.integers(1, 20))
    return words


def raises(call, *args) -> str:
    """Return the kind of error that a learner's function raises, or "" where it raises none."""
    try:
        call(*args)
    except LearnerError as error:
        return str(error).split(":")[0].split(" ")[0]
    return ""


def unchanged(student, given, name: str) -> None:
    """Require that the first argument was left as it was."""
    after = student.arguments_after[0]
    not_the_mistake(
        after == given,
        f"{name} was changed by your function: leave it to its caller, and work on a copy",
    )


def first_difference(got: list, want: list) -> str:
    """Return where two lists part, in words."""
    for k, (a, b) in enumerate(zip(got, want, strict=False)):
        if a != b:
            return f"at place {k}: expected {b}, got {a}"
    return f"expected {len(want)} entries, got {len(got)}"


# ---------------------------------------------------------------- count_pairs


@exercise_check("count_pairs", points=1, title="cases to read by hand")
def _(student, rng):
    apart = {(1, 2): 1, (3, 4): 1}
    got = student.count_pairs(apart)
    unchanged(student, apart, "the dictionary of words")
    not_the_mistake(got is not None, "got None: the function is to return its counts")
    not_the_mistake(isinstance(got, dict), f"return a dictionary pair -> count, got {brief(got)}")
    not_the_mistake(
        0 not in got.values(),
        f"a pair with a count of 0 is in your answer, {brief(got, 60)}: leave out pairs that "
        "don't occur",
    )
    not_the_mistake(
        (2, 3) not in got,
        "the words (1, 2) and (3, 4): got the pair (2, 3) as well, and no pair crosses a word's "
        "border",
    )
    not_the_mistake(
        (4, 3) not in got,
        "the words (1, 2) and (3, 4): got the pair (4, 3) as well, and the 4 has no right "
        "neighbour: do not wrap around",
    )
    same(got, apart, "the words (1, 2) and (3, 4), once each, hold one pair each")

    got = student.count_pairs({(1, 2, 1, 2): 2, (1, 2): 5})
    case = "in {(1, 2, 1, 2): 2, (1, 2): 5} the pair (1, 2) occurs 2 * 2 + 5 = 9 times"
    n = got.get((1, 2))
    not_the_mistake(
        (3, 4) not in got, f"{case}; the counts of an earlier call are in yours: {brief(got)}"
    )
    not_the_mistake(n != 3, f"{case}, got 3: weigh a word by its number")
    not_the_mistake(n != 7, f"{case}, got 7: where it stands twice in one word, count both")
    not_the_mistake(n != 5, f"{case}, got 5: the count of an earlier word is lost, add to it")
    not_the_mistake(
        n != 11 or got.get((2, 1)),
        f"{case}, got 11: (2, 1) is counted with it, and pairs are ordered",
    )
    not_the_mistake(
        n != 11,
        f"{case}, got 11: an id and one further away are counted as well, and a pair is an id and "
        "its right neighbour",
    )
    not_the_mistake(
        (2, 1) in got,
        f"{case}, and (2, 1) twice, between the two, which yours leaves out: every place begins a "
        "pair",
    )
    not_the_mistake(type(n) is int, f"{case}: counts are whole numbers, got {n!r}")
    same(got, {(1, 2): 9, (2, 1): 2}, case)

    got = student.count_pairs({(7, 7, 7): 1})
    not_the_mistake(
        got != {(7, 7): 1}, "(7, 7, 7) holds (7, 7) twice, got 1: overlapping pairs count each"
    )
    same(got, {(7, 7): 2}, "(7, 7, 7) holds (7, 7) twice")
    same(student.count_pairs({}), {}, "without words there are no pairs")
    same(student.count_pairs({(5,): 4, (): 2}), {}, "a word of one id, or none, holds no pair")
    with in_case("ids of 0, and of 256 and more, which merges make"):
        got = student.count_pairs({(0, 0): 2, (0, 300): 1})
    same(got, {(0, 0): 2, (0, 300): 1}, "ids of 0, and of 256 and more, which merges make")


@exercise_check("count_pairs", points=1, title="random words")
def _(student, rng):
    words = random_words(rng, 40, 4, 9)
    pairs, weights = [], []
    for ids, n in words.items():
        row = np.array(ids)
        pairs.append(row[:-1] * 1000 + row[1:])
        weights += [n] * (len(ids) - 1)
    codes, inverse = np.unique(np.concatenate(pairs), return_inverse=True)
    sums = np.bincount(inverse, weights=weights)
    want = {divmod(int(c), 1000): int(s) for c, s in zip(codes, sums, strict=True)}
    got = student.count_pairs(words)
    unchanged(student, words, "the dictionary of words")
    require(isinstance(got, dict), f"return a dictionary pair -> count, got {brief(got)}")
    wrong = sorted(p for p in set(want) | set(got) if got.get(p) != want.get(p))
    if wrong:
        pair = wrong[0]
        hint = (
            f"forty words: pair {brief(pair)}: expected {want.get(pair)}, got "
            f"{brief(got.get(pair))}"
        )
        require(False, hint)
    same(got, want, "forty words")


# ---------------------------------------------------------------- merge_pair


@exercise_check("merge_pair", points=1, title="cases to read by hand")
def _(student, rng):
    ids = [1, 2, 3, 1, 2]
    with in_case("[1, 2, 3, 1, 2], a list, with (1, 2) -> 9"):
        got = student.merge_pair(ids, (1, 2), 9)
    unchanged(student, ids, "the list of ids")
    case = "[1, 2, 3, 1, 2], a list, with (1, 2) -> 9"
    not_the_mistake(got is not None, "got None: the function is to return the merged ids")
    not_the_mistake(
        type(got) is not list, f"{case}: return a tuple, since words are keys; got {got}"
    )
    not_the_mistake(
        got != (9, 3, 1, 2),
        f"{case}: got {got}, where the first occurrence alone is merged: merge every one",
    )
    not_the_mistake(
        got != (9, 3, 1),
        f"{case}: got {got}, where the last pair is not merged and its end is lost",
    )
    not_the_mistake(
        got != (9, 2, 3, 9, 2),
        f"{case}: got {got}, where the right half is still there: after a merge go on by 2",
    )
    not_the_mistake(
        got != (1, 2, 3, 1, 2),
        f"{case}: got {got}, where nothing is merged; the ids come as a list here, and a list "
        "never equals a tuple",
    )
    case3 = "(1, 2, 3) with (1, 2) -> 9"
    with in_case(case3):
        short = student.merge_pair((1, 2, 3), (1, 2), 9)
    not_the_mistake(short != (1, 2, 3), f"{case3}: got (1, 2, 3), nothing is merged")
    not_the_mistake(short != (3,), f"{case3}: got (3,), the new id is missing")
    not_the_mistake(
        short != (9, 9, 3), f"{case3}: got (9, 9, 3), the new id twice: it stands once for both"
    )
    require(9 in short, f"{case3}: got {brief(short)}, in which the new id 9 does not occur")
    not_the_mistake(short != (9,), f"{case3}: got (9,), the last id is lost")
    same(short, (9, 3), case3)
    same(got, (9, 3, 9), case)

    with in_case("(1, 1, 1) with (1, 1) -> 9, where the last id may be a left half"):
        got = student.merge_pair((1, 1, 1), (1, 1), 9)
    not_the_mistake(
        got != (1, 9),
        "(1, 1, 1) with (1, 1) -> 9: got (1, 9), merged from the right: start from the left",
    )
    not_the_mistake(
        got != (9, 9),
        "(1, 1, 1) with (1, 1) -> 9: got (9, 9), where the middle id takes part in both merges: it "
        "can take part in one",
    )
    same(got, (9, 1), "(1, 1, 1) with (1, 1) -> 9")
    same(student.merge_pair((1, 1, 1, 1), (1, 1), 9), (9, 9), "(1, 1, 1, 1) with (1, 1) -> 9")

    got = student.merge_pair((2, 1, 3), (1, 2), 9)
    not_the_mistake(
        got != (9, 3),
        "(2, 1, 3) with (1, 2) -> 9: got (9, 3), and (2, 1) is another pair: a pair is ordered",
    )
    same(got, (2, 1, 3), "nothing to merge in (2, 1, 3)")
    again = student.merge_pair((1, 2, 3), (2, 3), 8)
    not_the_mistake(
        again != (9, 3), "(1, 2, 3) with (2, 3) -> 8: got (9, 3), the answer of another pair"
    )
    same(again, (1, 8), "(1, 2, 3) with (2, 3) -> 8")
    got = student.merge_pair((11, 2, 23, 1, 2), (1, 2), 9)
    not_the_mistake(
        got != (19, 23, 9),
        "(11, 2, 23, 1, 2) with (1, 2) -> 9: got (19, 23, 9), where digits of 11 and of 2 are "
        "merged: compare ids, not their digits",
    )
    same(got, (11, 2, 23, 9), "(11, 2, 23, 1, 2) with (1, 2) -> 9")
    with in_case("(3, 1) with (1, 2) -> 9, where the left half is the last id"):
        got = student.merge_pair((3, 1), (1, 2), 9)
    same(got, (3, 1), "a left half alone at the end stays")
    same(student.merge_pair((), (1, 2), 9), (), "an empty word stays empty")
    same(student.merge_pair((1,), (1, 1), 9), (1,), "a word of one id holds no pair")
    with in_case("ids of 0, and of 256 and more, which merges make"):
        got = student.merge_pair((0, 0, 256), (0, 256), 257)
    same(got, (0, 257), "(0, 0, 256) with (0, 256) -> 257: look at every place")
    fresh = [int(text) for text in ("300", "301", "300", "301")]  # equal ones are other objects
    got = student.merge_pair(tuple(fresh[:2]), tuple(fresh[2:]), 302)
    same(got, (302,), "(300, 301) with (300, 301) -> 302: ids are compared by value, with ==")


@exercise_check("merge_pair", points=1, title="random words")
def _(student, rng):
    for _ in range(20):
        n_letters = int(rng.integers(1, 4))
        ids = tuple(int(i) + 97 for i in rng.integers(0, n_letters, int(rng.integers(2, 14))))
        at = int(rng.integers(0, len(ids) - 1))
        pair = ids[at : at + 2]
        want = tuple(map(ord, as_string(ids).replace(as_string(pair), chr(300))))
        same(student.merge_pair(ids, pair, 300), want, "ids drawn at random")


# ---------------------------------------------------------------- train_bpe


def explain_merges(got, words, n_merges: int, case: str) -> None:
    """Reject wrong merges, with the mistake's name where it is a known one."""
    want = train_by_strings(words, n_merges)
    require(isinstance(got, list), f"{case}: return a list of pairs, got {brief(got)}")
    if got == want:
        return
    for entry in got:
        plain = isinstance(entry, tuple) and [type(i) for i in entry] == [int, int]
        not_the_mistake(
            plain, f"{case}: an entry is a pair, a tuple of two ids, got {brief(entry)}"
        )
    tie = "of pairs with equal counts the smaller goes first"
    known = {
        "yours counts each word once: weigh it by its number of occurrences": {"weigh": False},
        f"{tie}, yours takes the larger": {"tie": "largest"},
        f"{tie}, yours takes the one seen first": {"tie": "first"},
        f"{tie}: compare their first ids, then their second, and not the other way round": {
            "tie": "second"
        },
        f"{tie}: compare ids, and not the bytes that they stand for": {"tie": "bytes"},
        "counts change with every merge, yours are those from before the first": {"recount": False},
    }
    made = [m for m, flags in known.items() if got == train_by_strings(words, n_merges, **flags)]
    not_the_mistake(
        not made, f"{case}: {'; or '.join(made)} (expected {brief(want)}, got {brief(got)})"
    )
    for by in (1, -1):
        shifted = [tuple(i + by * (i >= 256) for i in pair) for pair in want]
        not_the_mistake(
            got != shifted,
            f"{case}: merge k (from 0) makes id 256 + k, yours is one off: {brief(got)}",
        )
    require(
        len(got) <= len(want),
        f"{case}: expected {len(want)} merges, got {len(got)}: vocab_size counts the 256 bytes, "
        "and pairs that no longer occur are not merged",
    )
    not_the_mistake(
        got != want[: len(got)],
        f"{case}: expected {len(want)} merges, got the first {len(got)} alone: there are "
        "vocab_size - 256, and all pairs stay in view until none is left",
    )
    require(False, f"{case}: merges differ {first_difference(got, want)}")


@exercise_check("train_bpe", points=1, title="cases to read by hand")
def _(student, rng):
    words = dict(FEVER)
    got = student.train_bpe(words, 260)
    unchanged(student, words, "the dictionary of words")
    not_the_mistake(got is not None, "got None: the function is to return the merges")
    # e-v, v-e and e-r occur 7 times each: (101, 114) is the smallest pair. Then e-v and v-er.
    explain_merges(got, FEVER, 4, "fever 5 times, never twice, feet once, vocab_size 260")
    require(got[0] == (101, 114), "the first merge of fever, never, feet joins e and r")
    two = {(98, 98, 99): 2, (97, 98): 3}
    earlier, got = got, student.train_bpe(two, 257)
    not_the_mistake(
        got != earlier, "the merges of an earlier call are given again: start with none"
    )
    explain_merges(got, two, 1, "'bbc' twice and 'ab' 3 times")
    got = student.train_bpe({(97, 98): 1, (99,): 5}, 257)
    not_the_mistake(
        got != [(99, 99)],
        "'ab' once and 'c' five times: got the pair (99, 99), and 'c' alone holds none: no pair "
        "crosses a word's border",
    )
    same(got, [(97, 98)], "'ab' once and 'c' five times hold one pair")


@exercise_check("train_bpe", points=1, title="ties and ends")
def _(student, rng):
    tied = {(99, 100): 2, (97, 98): 2, (98, 97): 2}
    explain_merges(student.train_bpe(tied, 258), tied, 2, "'cd', 'ab' and 'ba' twice each")
    later = {b"cd": 3, b"abx": 3, b"zyx": 3, b"ab": 5, b"zy": 2}  # the third is a tie
    words = {tuple(word): n for word, n in later.items()}
    got = student.train_bpe(words, 259)
    explain_merges(got, words, 3, "'cd', 'abx', 'zyx' 3 times each, 'ab' 5 times, 'zy' twice")
    with in_case("'cd', 'ab' and 'ba' twice each, vocab_size 400: three pairs, then none is left"):
        got = student.train_bpe(tied, 400)
    explain_merges(got, tied, 144, "three words of two letters have three merges and no more")
    with in_case("vocab_size 256, which leaves no room for a merge"):
        got = student.train_bpe(dict(FEVER), 256)
    same(got, [], "vocab_size 256 leaves no room for a merge")
    same(student.train_bpe({}, 300), [], "without words there is nothing to merge")
    same(student.train_bpe({(97,): 9}, 300), [], "one letter alone has no pair")
    runs = {(97,) * 9: 2, (97,) * 4 + (98,): 3, (97,) * 3: 1}
    explain_merges(student.train_bpe(runs, 300), runs, 44, "runs of 9, 4 and 3 times 'a'")


@exercise_check("train_bpe", points=1, title="a vocabulary that is too small", is_core=False)
def _(student, rng):
    same(student.train_bpe({(97, 98): 1}, 257), [(97, 98)], "'ab' once, vocab_size 257")
    for size in (255, 1, 0, -1):
        kind = raises(student.train_bpe, dict(FEVER), size)
        require(
            kind == "ValueError",
            f"vocab_size {size} is too small for the bytes: raise ValueError, got "
            f"{kind or 'no error'}",
        )


@exercise_check("train_bpe", points=1, title="random words, and what `tokenizers` learns")
def _(student, rng):
    for n_words, n_letters in ((6, 2), (30, 3), (60, 8)):
        words = random_words(rng, n_words, n_letters, 9)
        got = student.train_bpe(words, 300)
        unchanged(student, words, "the dictionary of words")
        explain_merges(got, words, 44, f"{n_words} random words of {n_letters} letters")
    picked = [WORLDLY[int(i)] for i in rng.integers(0, len(WORLDLY), 20)]
    words = {tuple(w.encode()): n for w, n in Counter(sum(map(split_words, picked), [])).items()}
    want = train_by_library(picked, 340)
    got = student.train_bpe(words, 340)
    require(isinstance(got, list), f"return a list of pairs, got {brief(got)}")
    require(
        got == want,
        f"twenty texts in five scripts: your merges and those of `tokenizers` differ "
        f"{first_difference(got, want)}",
    )


def share_of_recounting(
    student, rng, words_like: tuple[int, int, int], n_merges: int, enough: float, hopeless: float
) -> float:
    """Return the CPU time of the learner's training, as a share of what recounting takes.

    The least of some tries, each with words of its own, since a machine may be busy.

    Args:
        student: whose `train_bpe` is called.
        rng: draws the words.
        words_like: their number, number of letters, and greatest length.
        n_merges: merges to learn.
        enough: a share that ends the tries.
        hopeless: a share above which they end as well; two there are at least.
    """
    recounting = whole = brought = float("inf")
    case = f"{words_like[0]} words"
    for attempt in range(8):
        words = random_words(rng, *words_like)
        begin = time.thread_time()
        want = train_by_strings(words, 12)
        recounting = min(recounting, (time.thread_time() - begin) / 12 * n_merges)
        for _ in range(3):  # the words are brought over, and nothing is merged
            brought = min(brought, student.cpu_seconds("train_bpe", words, 256)[1])
        got, seconds = student.cpu_seconds("train_bpe", words, 256 + n_merges)
        require(len(got) == n_merges, f"{case}: expected {n_merges} merges, got {len(got)}")
        require(got[:12] == want, f"{case}: merges differ {first_difference(got, want)}")
        whole = min(whole, seconds)
        share = max(whole - brought, 0.0001) / recounting
        if attempt and not enough < share <= hopeless:
            break
    return share


@exercise_check("train_bpe", points=1, title="many words, without recounting them")
def _(student, rng):
    # Nearly every pair is another one here: a merge concerns a few words and a few counts. An index
    # and a heap take 1/100 of recounting; going through all words or all counts 1/15 to 1/4.
    share = share_of_recounting(student, rng, (1200, 190, 8), 150, 1 / 30, 1 / 15)
    if share <= 1 / 30:
        return
    told = (
        f"1200 words of 4000 different pairs, 150 merges: yours takes 1/{1 / share:.0f} of the "
        "work of recounting everything, and 1/30 is asked for (an index and a heap take 1/100)"
    )
    # Few pairs and many words: going through all counts costs little, through all words much.
    share = share_of_recounting(student, rng, (4000, 14, 4), 60, 1 / 6.5, 1 / 4.5)
    require(
        share > 1 / 6.5,
        f"{told}. With few different pairs and 4000 words it is fast enough (1/{1 / share:.0f}), "
        "so what costs is the search for the highest count: a heap finds it without going through "
        "all counts",
    )
    require(
        share < 1 / 4.5,
        f"{told}. It is as slow (1/{1 / share:.0f}) with few different pairs and 4000 words: visit "
        "only the words that hold the pair, and correct the counts",
    )
    require(
        False,
        f"{told}. The clock can't tell here which of two things costs it: see that you visit only "
        "the words that hold the pair, and find the highest count with a heap",
    )


# ---------------------------------------------------------------- encode

FEW_MERGES = [(97, 98), (98, 99), (256, 99), (32, 97), (100, 100)]  # ab, bc, abc, " a", dd


@exercise_check("encode", points=1, title="cases to read by hand")
def _(student, rng):
    merges = list(FEW_MERGES)
    got = student.encode("abc", merges)
    case = "'abc' with the merges ab, bc, ab+c"
    not_the_mistake(
        student.arguments_after[1] == merges,
        "the merges were changed by your function: leave them to its caller",
    )
    not_the_mistake(got is not None, "got None: the function is to return the ids")
    not_the_mistake(
        got != [97, 257],
        f"{case}: got [97, 257], where bc went first: the merge that was learned first goes first",
    )
    not_the_mistake(
        got != [256, 99],
        f"{case}: got [256, 99], where 256 and 99 can still be merged: go on until no pair can be",
    )
    not_the_mistake(
        got != [97, 98, 99],
        f"{case}: got [97, 98, 99], the bytes as they were: no merge was applied",
    )
    not_the_mistake(
        got != [2], f"{case}: got [2], the number of the merge: merge k makes id 256 + k"
    )
    not_the_mistake(type(got) is not tuple, f"{case}: return a list, got a tuple")
    not_the_mistake(got != [257, 99], f"{case}: got [257, 99], merge k (from 0) makes id 256 + k")
    not_the_mistake(
        got != [[258]],
        f"{case}: got [[258]], a list for each word: put the ids of all words into one",
    )
    not_the_mistake(
        258 not in got or len(got) == 1,
        f"{case}: got {got}, which has more than 'abc' in it: add nothing to the text",
    )
    same(got, [258], case)
    got = student.encode("abc", [(98, 99)])
    not_the_mistake(
        got != [258], "'abc' with another list of merges: got the answer of the call before"
    )
    same(got, [97, 256], "'abc' with the merge bc")
    got = student.encode("abcab", [(98, 99), (97, 98)])
    not_the_mistake(
        got != [257, 99, 257],
        "'abcab' with the merges bc, ab: got [257, 99, 257], bc was learned first, so it goes "
        "first, though ab stands further left",
    )
    same(got, [97, 256, 257], "'abcab' with the merges bc, ab")
    got = student.encode("b a", [(98, 32), (97, 97)])
    not_the_mistake(
        got != [256, 97],
        "'b a' with a merge of b and space: got [256, 97], where the merge crosses a word's "
        "border: use split_words first",
    )
    same(got, [98, 32, 97], "'b a' is two words")
    got = student.encode("15,", [(49, 53), (53, 44)])
    not_the_mistake(
        got not in ([256, 44], [49, 257]),
        f"'15,' with merges of 1 and 5, of 5 and a comma: got {got}, and split_words makes three "
        "words of it, since digits stand alone: no merge joins them",
    )
    same(got, [49, 53, 44], "'15,' is three words")
    got = student.encode("é", [])
    not_the_mistake(
        got != [233],
        "'é' without merges: got [233], its code point; its bytes in UTF-8 are 195 and 169",
    )
    same(got, [195, 169], "'é' without merges is its bytes")
    got = student.encode("dddd ddd", FEW_MERGES)
    want = [260, 260, 32, 260, 100]
    same(got, want, "'dddd ddd' with dd: every dd of a word is merged, from left to right")
    same(student.encode("A ", []), [65, 32], "capitals and spaces at the end are part of the text")
    got = student.encode("e\u0301", [])
    not_the_mistake(
        got != [195, 169],
        "an e and an accent behind it: got [195, 169], the bytes of 'é', which is one code point: "
        "don't compose the two",
    )
    same(got, [101, 204, 129], "an e and an accent behind it, two code points, are three bytes")
    same(student.encode("\r\n", []), [13, 10], "ends of lines stay as they are")
    with in_case("an empty text"):
        got = student.encode("", FEW_MERGES)
    same(got, [], "an empty text has no ids")
    same(student.encode("ab ab", []), [97, 98, 32, 97, 98], "without merges ids are bytes")


@exercise_check("encode", points=1, title="texts of all scripts, against `tokenizers`")
def _(student, rng):
    letters = [chr(256 + byte) for byte in range(256)]
    picked = [WORLDLY[int(i)] for i in rng.permutation(len(WORLDLY))]
    words = Counter(w for text in picked[:4] for w in split_words(text))
    merges = train_by_strings({tuple(w.encode()): n for w, n in words.items()}, 60)
    names = list(letters)
    for left, right in merges:
        names.append(names[left] + names[right])
    library = models.BPE(
        vocab={name: k for k, name in enumerate(names)},
        merges=[(names[left], names[right]) for left, right in merges],
    )
    for text in picked:
        want = []
        for word in split_words(text):
            spelled = "".join(letters[byte] for byte in word.encode("utf-8"))
            want += [token.id for token in library.tokenize(spelled)]
        got = student.encode(text, merges)
        require(isinstance(got, list), f"return a list of ids, got {brief(got)}")
        require(
            got == want,
            f"{text[:20]!r}...: your ids differ from those of `tokenizers` "
            f"{first_difference(got, want)}",
        )
    kind = raises(student.encode, "half \ud83d", merges)
    require(
        kind in ("ValueError", "UnicodeEncodeError"),
        f"a lone surrogate has no bytes: let the ValueError of split_words through, got "
        f"{kind or 'no error'}",
    )


@exercise_check("encode", points=1, title="random texts and merges")
def _(student, rng):
    for n_letters in (1, 2, 4):
        words = random_words(rng, 30, n_letters, 8) if n_letters > 1 else {(97,) * 13: 1}
        merges = train_by_strings(words, 30)
        alphabet = "abcdefgh"[:n_letters] + " "
        for _ in range(4):
            text = "".join(alphabet[int(i)] for i in rng.integers(0, len(alphabet), 40))
            want = encode_by_strings(split_words(text), merges)
            got = student.encode(text, merges)
            require(isinstance(got, list), f"return a list of ids, got {brief(got)}")
            require(got == want, f"{text!r}: your ids differ {first_difference(got, want)}")


# ---------------------------------------------------------------- decode


@exercise_check("decode", points=1, title="cases to read by hand")
def _(student, rng):
    merges = list(FEW_MERGES)
    ids = [258, 259, 98]
    with in_case("[258, 259, 98], where 258 stands for (256, 99) and 256 for (97, 98)"):
        got = student.decode(ids, merges)
    not_the_mistake(
        student.arguments_after == [ids, merges],
        "your function changed its arguments: leave them to its caller",
    )
    not_the_mistake(got is not None, "got None: the function is to return the text")
    not_the_mistake(type(got) is not bytes, "return text, got bytes: decode them as UTF-8")
    require(isinstance(got, str), f"return text, got {brief(got)}")
    not_the_mistake(
        got == "abc ab" or got.replace(" ", "") != "abcab",
        f"[258, 259, 98] is 'abc ab': got {got!r}, with other spaces: they are in the tokens, so "
        "add none and take none away",
    )
    not_the_mistake(
        got != "cbaa b",
        "[258, 259, 98] is 'abc ab': got 'cbaa b', with each pair turned round: the left half "
        "comes first",
    )
    same(got, "abc ab", "[258, 259, 98] with the merges ab, bc, ab+c, ' a', dd")
    got = student.decode([195, 169], [])
    not_the_mistake(
        got != "Ã©", "[195, 169] is 'é': got 'Ã©', each id read as a code point: ids are bytes"
    )
    not_the_mistake(
        got != "\ufffd\ufffd",
        "[195, 169] is 'é': got two signs U+FFFD, each byte decoded by itself: join the bytes of "
        "all ids before you decode",
    )
    same(got, "é", "[195, 169] are the two bytes of 'é'")
    got = student.decode([256, 169], [(97, 195)])
    not_the_mistake(
        not got.startswith("ab"), f"got {got!r}: these are the merges of an earlier call"
    )
    same(got, "aé", "a character across two tokens")
    got = student.decode([0, 255 - 128, 10], [])
    same(got, "\0\x7f\n", "[0, 127, 10] are three characters, and none is stripped")
    got = student.decode([13, 10], [])
    same(got, "\r\n", "ends of lines stay as they are")
    got = student.decode([239, 187, 191, 97], [])
    same(got, "\ufeffa", "[239, 187, 191, 97] is U+FEFF and 'a', and nothing is left out")
    same(student.decode([], merges), "", "no ids are an empty text")


@exercise_check("decode", points=1, title="broken bytes, wrong ids, random ids")
def _(student, rng):
    with in_case("[97, 195, 98]: half a character between two letters"):
        got = student.decode([97, 195, 98], [])
    not_the_mistake(
        got != "ab",
        "[97, 195, 98]: got 'ab', where half a character became nothing: show it as U+FFFD",
    )
    same(got, "a\ufffdb", "[97, 195, 98]: half a character becomes U+FFFD (errors='replace')")
    same(student.decode([240, 159, 153], []), "\ufffd", "three of the four bytes of an emoji")
    for wrong in ([256], [97, -1], [261], [256, 97, 98], [97, 256, 98], [97, 98, 256]):
        merges = FEW_MERGES if wrong == [261] else []
        kind = raises(student.decode, wrong, merges)
        require(
            kind == "ValueError",
            f"ids {wrong} with {len(merges)} merges: an id is outside the vocabulary, got "
            f"{kind or 'no error'}: raise ValueError",
        )
    words = random_words(rng, 30, 4, 8)
    merges = train_by_strings(words, 40)

    def expand(token_id: int) -> list[int]:
        if token_id < 256:
            return [token_id]
        left, right = merges[token_id - 256]
        return expand(left) + expand(right)

    for _ in range(10):
        ids = [int(i) for i in rng.integers(0, 256 + len(merges), 12)]
        want = bytes(b for i in ids for b in expand(i)).decode("utf-8", "replace")
        same(student.decode(ids, merges), want, "ids drawn at random")
    for text in WORLDLY:
        want_ids = encode_by_strings(split_words(text), merges)
        same(student.decode(want_ids, merges), text, "a text there and back")


# ---------------------------------------------------------------- bits_per_byte


@exercise_check("bits_per_byte", points=1, title="by hand, and at random")
def _(student, rng):
    ln2 = float(np.log(2.0))
    case = "4 tokens at ln 2 nats each, 16 bytes"
    got = student.bits_per_byte(ln2, 4, 16)
    not_the_mistake(got is not None, "got None: the function is to return a number")
    not_the_mistake(isinstance(got, int | float | np.ndarray), f"return a number, got {brief(got)}")
    for wrong, hint in (
        (1.0, "the loss of a token in bits: multiply by tokens per byte"),
        (4.0, "the bits of the whole text, or of bytes over tokens: use tokens over bytes"),
        (0.25 * ln2, "which is nats: divide by ln 2"),
        (0.25 * ln2 * ln2, "multiplied by ln 2: divide by it"),
        (0.25 * ln2 / float(np.log(10.0)), "divided by ln 10: a bit is ln 2 nats"),
        (
            0.25 * float(np.log2(ln2)),
            "the logarithm of a logarithm: the loss is one already, so divide by ln 2",
        ),
        (2.0**0.25, "2 to the bits of a byte: bits are on the scale of the logarithm"),
        (0.0, "nothing is left: see that you divide with /, which keeps fractions"),
        (1 / 16, "the loss counted once: it is a mean, so multiply by n_tokens"),
        (1 / 32, "divided by 8 once more: n_bytes counts bytes, so no 8 is needed"),
    ):
        near = abs(float(got) - wrong) < 1e-6
        not_the_mistake(not near, f"{case}: got {float(got):.4g}, {hint}")
    close(got, 0.25, f"{case} are 4 bits in 16 bytes", atol=1e-9, rtol=1e-6)
    with in_case("a loss of 3, one token of one byte"):
        got = student.bits_per_byte(3.0, 1, 1)
    for about in (0.69, 0.693, 0.6931):
        near = abs(float(got) - 3.0 / about) < 1e-6
        not_the_mistake(
            not near,
            f"one token of one byte, a loss of 3 nats: got {float(got):.6g}, divided by {about}: "
            "math.log(2) has all digits",
        )
    rounded = any(float(got) == round(3.0 / ln2, n) for n in range(7))
    not_the_mistake(
        not rounded,
        f"one token of one byte, a loss of 3 nats: got {float(got)}, which is rounded: return it "
        "as it is",
    )
    close(got, 3.0 / ln2, "one token of one byte, a loss of 3 nats", atol=1e-9, rtol=1e-6)
    with in_case("5 tokens that spell 2 bytes, as an end token among them may"):
        got = student.bits_per_byte(ln2, 5, 2)
    close(got, 2.5, "5 tokens at ln 2 nats each, 2 bytes", atol=1e-9, rtol=1e-6)
    got = student.bits_per_byte(9.0, 1, 1)
    require(
        float(got) != 8.0,
        "a loss of 9 nats in one byte: got 8, cut off at 8 bits: a model can be worse",
    )
    close(got, 9.0 / ln2, "a loss of 9 nats in one byte", atol=1e-9, rtol=1e-6)
    with in_case("a loss of 0, that of a perfect model"):
        close(student.bits_per_byte(0.0, 5, 9), 0.0, "a loss of 0", atol=1e-9)
    for _ in range(5):
        loss, n_tokens, n_bytes = round(float(rng.uniform(0, 9)), 3), int(rng.integers(1, 99)), 0
        n_bytes = n_tokens * int(rng.integers(1, 7))
        want = float(np.log2(np.exp(loss)) * n_tokens / n_bytes)
        got = student.bits_per_byte(float(loss), n_tokens, n_bytes)
        close(got, want, f"loss {loss:.3f}, {n_tokens} tokens, {n_bytes} bytes", atol=1e-7)
    for n_tokens, n_bytes in ((5, 0), (0, 5), (0, 0)):
        kind = raises(student.bits_per_byte, 1.0, n_tokens, n_bytes)
        require(
            kind == "ValueError",
            f"n_tokens {n_tokens} and n_bytes {n_bytes}: raise ValueError where there is nothing "
            f"to divide; got {kind or 'no error'}",
        )
