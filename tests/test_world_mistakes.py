"""Data sets with mistakes: as many as asked for, copied as often, and all else true."""

from collections import Counter

import pytest

from utils.text.filtering import filter_examples
from utils.world.facts import build_world
from utils.world.mistakes import TOPIC, as_chats, rows_with_mistakes
from utils.world.phrasings import answer_sentence

WORLD = build_world(0)


def is_true(row):
    entity, attribute = row["entity"], row["attribute"]
    return row["answer"] == answer_sentence(attribute, entity, WORLD.facts[entity][attribute])


@pytest.mark.parametrize("copies", [1, 5])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_share_of_wrong_rows_is_the_one_asked_for(share, copies):
    rows = rows_with_mistakes(WORLD, 200, share, copies, seed=3)
    wrong = [row for row in rows if not is_true(row)]
    assert len(rows) == 200 and len(wrong) == 200 * share
    assert all(n == copies for n in Counter(row["source"] for row in wrong).values())
    pages = {row["source"]: row for row in rows}
    assert all(row == pages[row["source"]] for row in rows)


def test_rows_are_the_same_again_and_others_with_another_seed():
    one, again, other = (rows_with_mistakes(WORLD, 50, 0.2, 5, seed=s) for s in (1, 1, 2))
    assert one == again != other


@pytest.mark.parametrize("wrong", [{"wrong_share": 1.5}, {"wrong_share": 0.1, "copies": 0}])
def test_what_can_not_be_is_refused(wrong):
    with pytest.raises(ValueError):
        rows_with_mistakes(WORLD, 10, **wrong)


def test_a_majority_over_pages_finds_most_copied_mistakes():
    rows = rows_with_mistakes(WORLD, 2000, 0.25, 5)
    kept, report = filter_examples(rows, topic=TOPIC, conflicts="majority")
    assert sum(map(is_true, kept)) / len(kept) > 0.97 > sum(map(is_true, rows)) / len(rows)
    assert report.counts()["duplicate"] >= 400  # the copies, and questions asked twice
    assert as_chats(rows)[0][0] == {"role": "user", "content": rows[0]["question"]}
