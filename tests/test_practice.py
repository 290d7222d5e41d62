"""The practice exercise of unit 00: what is right passes, each mistake gets its own words."""

import pytest

from utils.labs import run
from utils.labs.board import labs
from utils.labs.student import LocalStudent

WRONG = {
    "counts every occurrence": ("sum(d.count(n) for d in ds)", "counts once"),
    "stops at the first": ("int(any(n in d for d in ds))", "first one"),
    "returns nothing": ("None", "return its count"),
    "counts all documents": ("len(ds) - 1 if len(ds) == 3 else len(ds)", "no document holds"),
    "ignores the name": ("2", "no document holds"),
}


def results(code: str) -> list[run.CheckResult]:
    student = LocalStudent({"count_mentions": eval(f"lambda ds, n: {code}")})
    return run.run_checks("practice", student)


def test_the_right_answer_passes_and_the_board_does_not_show_it():
    assert [r.status for r in results("sum(n in d for d in ds)")] == [run.PASSED] * 3
    assert "practice" not in labs()


@pytest.mark.parametrize("name", WRONG)
def test_each_mistake_is_rejected_with_its_own_words(name):
    code, words = WRONG[name]
    failed = [r for r in results(code) if r.status != run.PASSED]
    assert failed and words in failed[0].hint
