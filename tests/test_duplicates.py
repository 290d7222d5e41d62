"""Near-copies: MinHash estimates Jaccard, bands find the pairs, groups keep their first text."""

import random
from itertools import combinations

import pytest

from tests.counting import lines_run
from utils.text import duplicates
from utils.text.corpora import python_reference, world_corpus
from utils.text.duplicates import (
    jaccard,
    minhash_signature,
    near_duplicates,
    shingles,
    without_near_duplicates,
)
from utils.text.raw import edit, make_pages


def test_a_signature_is_the_same_on_every_machine():
    # Written down once: stored signatures would be worthless if hashes or multipliers changed.
    items = ["a rose is a rose", "is a rose is"]
    assert minhash_signature(items, n_hashes=2) == [1653409631240548814, 1145636480610331825]
    assert minhash_signature(items, n_hashes=2, seed=1) != minhash_signature(items, n_hashes=2)


def test_agreement_estimates_jaccard_without_bias():
    rng, errors = random.Random(0), []
    for trial in range(40):
        a = {str(rng.randrange(60)) for _ in range(40)}
        b = {str(rng.randrange(60)) for _ in range(40)}
        one, two = (minhash_signature(s, n_hashes=256, seed=trial) for s in (a, b))
        share = sum(x == y for x, y in zip(one, two, strict=True)) / 256
        errors.append(share - jaccard(a, b))
    # Standard error of the mean of 40 estimates from 256 draws each: at most .5 / sqrt(40 * 256).
    assert abs(sum(errors) / 40) < 4 * 0.5 / (40 * 256) ** 0.5
    assert max(map(abs, errors)) < 5 * 0.5 / 256**0.5


def test_no_items_have_no_signature():
    with pytest.raises(ValueError, match="empty"):
        minhash_signature([])


def test_bands_find_the_pairs_that_comparing_all_finds():
    rng = random.Random(0)
    pages = make_pages(world_corpus(240, seed=1), 6) + python_reference()[:20]
    pages += [edit(page, rng) for page in pages[::2]]
    sets = [shingles(page) for page in pages]
    signatures = [minhash_signature(s) for s in sets]
    found = set(near_duplicates(signatures, threshold=0.7))
    true = {
        (i, j)
        for i, j in combinations(range(len(pages)), 2)
        if jaccard(sets[i], sets[j]) >= 0.8  # clearly above the threshold
    }
    assert len(true) > 20
    assert len(true & found) / len(true) > 0.97
    assert all(jaccard(sets[i], sets[j]) > 0.5 for i, j in found)


def test_signatures_of_different_length_are_refused():
    with pytest.raises(ValueError, match="one length"):
        near_duplicates([[1] * 16, [1] * 32])
    with pytest.raises(ValueError, match="divides"):
        near_duplicates([[1] * 15], n_bands=16)
    assert near_duplicates([]) == []


def test_copies_of_copies_leave_one():
    a = [str(i) for i in range(60)]
    b = a[:54] + [f"b{i}" for i in range(6)]
    c = b[:48] + [f"c{i}" for i in range(6)] + b[54:]
    texts = [" ".join(words) for words in (a, b, c)]
    assert jaccard(shingles(texts[0]), shingles(texts[2])) < 0.7
    assert without_near_duplicates(texts, threshold=0.6) == [0]
    assert without_near_duplicates(["one", "two"]) == [0, 1]
    assert without_near_duplicates(["", ""]) == [0]


def test_pages_with_a_few_words_changed_are_found():
    rng = random.Random(0)
    pages = [page for page in make_pages(world_corpus(800, seed=4), 8) if len(page.split()) > 100]
    changed = []
    for page in pages:
        words = page.split()
        for place in rng.sample(range(len(words)), 2):
            words[place] = "elsewhere"
        changed.append(" ".join(words))
    alike = [jaccard(shingles(a), shingles(b)) for a, b in zip(pages, changed, strict=True)]
    assert min(alike) > 0.7
    kept = without_near_duplicates([*pages, *changed])
    n_copies_left = sum(i >= len(pages) for i in kept)
    assert n_copies_left < 0.05 * len(pages)
    assert len(pages) - (len(kept) - n_copies_left) < 0.02 * len(pages)


def work(texts):
    """Return the lines run for a list of texts whose signatures are known, and what stays."""
    kept = []
    minhash = {text: minhash_signature(shingles(text), 64) for text in set(texts)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "shingles", lambda text, n_words: text)
        patch.setattr(duplicates, "minhash_signature", minhash.__getitem__)
        patch.setattr(duplicates, "N_COMPARED", 8)  # the limit is then reached by a few hundred
        n_lines = lines_run(lambda: kept.extend(without_near_duplicates(texts)))
    return n_lines, kept


def near_equal_lines(n):
    words = [f"w{i}" for i in range(60)]
    return [" ".join([*words, f"number{i}"]) for i in range(n)]


def lines_of_one_form(n):
    """Lines that share half of their words: many bands in common, and no copies of one another."""
    words = [f"w{i}" for i in range(30)]
    return [" ".join([*words, *(f"n{i}-{k}" for k in range(20))]) for i in range(n)]


@pytest.mark.parametrize(
    ("make", "n_kept"),
    [(lambda n: ["one two three four five six"] * n, 1), (near_equal_lines, 1)],
)
def test_equal_and_near_equal_texts_cost_in_line_with_their_number(make, n_kept):
    half, _ = work(make(200))
    whole, kept = work(make(400))
    assert whole < 2.5 * half
    assert len(kept) == n_kept


def test_texts_that_share_bands_and_are_no_copies_cost_in_line_with_their_number():
    half, _ = work(lines_of_one_form(200))
    whole, kept = work(lines_of_one_form(400))
    assert whole < 2.5 * half
    assert len(kept) == 400


def test_groups_are_those_of_comparing_all_pairs():
    rng = random.Random(3)
    pages = make_pages(world_corpus(200, seed=7), 5)
    texts = [*pages, *(edit(page, rng) for page in pages), *pages[::2]]
    rng.shuffle(texts)
    signatures = [minhash_signature(shingles(text)) for text in texts]
    group = list(range(len(texts)))
    for i, j in near_duplicates(signatures):
        low, high = sorted((group[i], group[j]))
        group = [low if g == high else g for g in group]
    assert without_near_duplicates(texts) == sorted(set(group))


def test_pages_without_spaces_have_shingles_of_characters():
    page = "患者应在饭后服用十五毫克每日两次不可与其他药物同服如有不适请立即告诉医生"
    assert len(shingles(page)) == len(page) - 4
    assert without_near_duplicates([page, page + "谢谢", page[::-1]]) == [0, 2]


def test_signatures_that_can_not_be_cut_are_refused():
    for signatures, n_bands in (([[1, 2]], 0), ([[1, 2]], -1), ([[1, 2]], 4), ([[], []], 1)):
        with pytest.raises(ValueError, match="one length"):
            near_duplicates(signatures, 0.5, n_bands)


def test_a_pair_exactly_at_the_threshold_counts_and_is_named_once():
    a = list(range(10))
    for n_equal in range(1, 10):
        b = a[:n_equal] + [-1] * (10 - n_equal)
        assert near_duplicates([a, b], n_equal / 10, 10) == [(0, 1)]
        assert near_duplicates([a, b], n_equal / 10 + 1e-9, 10) == []


def test_half_a_character_in_a_raw_page_has_a_signature_too():
    assert minhash_signature(shingles("a\ud800 b")) != minhash_signature(shingles("a b"))
    assert minhash_signature(["a"], n_hashes=1) == minhash_signature({"a"}, n_hashes=1)


def test_runs_of_no_words_are_refused():
    with pytest.raises(ValueError, match="n_words"):
        without_near_duplicates(["a b", "x y"], n_words=0)
