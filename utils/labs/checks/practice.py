"""The ungraded practice exercise of unit 00; its name keeps it off the progress board."""

from __future__ import annotations

from utils.labs.checking import Check, collector, require, same

CHECKS: list[Check] = []
exercise_check = collector(CHECKS)

HINTS = {
    "count_mentions": (
        "Ask each document one question with yes or no for an answer, and count the yes.",
        "`name in document` is True or False, and sum() counts True as 1.",
    ),
}


@exercise_check("count_mentions", points=1, title="each document counts once")
def _(student, rng):
    documents = ["Ann met Ann.", "Bob slept.", "Ann left."]
    got = student.count_mentions(documents, "Ann")
    case = "in ['Ann met Ann.', 'Bob slept.', 'Ann left.'] two documents hold 'Ann'"
    require(got != 3, f"{case}, got 3: a document that holds the name twice counts once")
    require(got != 1, f"{case}, got 1: do not stop at the first one that you find")
    require(got is not None, f"{case}, got None: does the function return its count?")
    same(got, 2, case)


@exercise_check("count_mentions", points=1, title="a name that nobody mentions")
def _(student, rng):
    same(student.count_mentions(["Bob slept."], "Ann"), 0, "no document holds 'Ann'")
    same(student.count_mentions([], "Ann"), 0, "without documents there is nothing to count")


@exercise_check("count_mentions", points=1, title="many documents")
def _(student, rng):
    names = ["Ann", "Bob", "Cid"]
    picked = rng.integers(0, 3, (40, 4))
    documents = [" met ".join(names[i] for i in row) + "." for row in picked]
    want = int((picked == 1).any(axis=1).sum())
    same(student.count_mentions(documents, "Bob"), want, "forty documents, name 'Bob'")
