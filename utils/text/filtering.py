"""Which rows of questions and answers to learn from: each row that goes has one reason.

Nothing is dropped in silence: the report names every row that was dropped or shortened, so that
kept and dropped rows together are all rows. What a row says is compared in a plain form (capitals,
blanks and the last stop make no difference; words and signs do), so a paraphrase counts as another
question, unless columns say that both ask the same. Which answer is true no rule here can know:
where answers contradict each other it can only drop them all, or trust the majority.
Left out on purpose: quality scores by a trained model.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import regex

from utils.text.contamination import find_contamination

COLUMNS = ("question", "answer")
N_TEST_WORDS = 13  # length of a run that counts as contamination
N_SHORT = 4  # an answer of so few words needs no full stop

SENTENCE_END = regex.compile(
    r"""[.!?…][\])"'”’*_]*(?=\s+[\p{Lu}\p{Lo}\p{N}"'“‘(*•-]|\s*$)|[。！？।؟]"""
)
CLOSED = regex.compile(r"""[.!?…。！？।؟][\])"'”’*_`]*$|[`\]})]$|https?://\S+$""")
LIST_ITEM = regex.compile(r"^\s*(?:[-*•]|\d+[.)])\s+\S")


class Dropped(NamedTuple):
    """A row that is not learned from: its number, the reason, and what it is about."""

    row: int
    reason: str
    detail: str


class FilterReport(NamedTuple):
    """What became of `n_rows` rows: those dropped, and the numbers of those shortened, in order.

    `conflicting` are the rows that stay although another row answers their question in another way.
    """

    n_rows: int
    dropped: tuple[Dropped, ...]
    shortened: tuple[int, ...] = ()
    conflicting: tuple[int, ...] = ()

    def counts(self) -> dict[str, int]:
        """Return how many rows were dropped for each reason, the most frequent first.

        >>> FilterReport(3, (Dropped(1, "no answer", ""), Dropped(2, "no answer", ""))).counts()
        {'no answer': 2}
        """
        return dict(Counter(dropped.reason for dropped in self.dropped).most_common())


def filter_examples(
    rows: Sequence[Mapping[str, Any]],
    columns: tuple[str, str] = COLUMNS,
    *,
    topic: Sequence[str] = (),
    conflicts: str = "drop",
    test_questions: Sequence[str] = (),
    fits: Callable[[str, str], bool] | None = None,
    too_long: str = "refuse",
) -> tuple[list[dict[str, Any]], FilterReport]:
    """Return the rows to learn from, in their order, and a report of all others.

    A row goes for the first of these reasons: "missing column", "no question", "no answer", "answer
    cut off", "in the test set", "duplicate" of an earlier row in all columns, "contradiction",
    "duplicate" in question and answer, "too long". A row that has gone has no say in the reasons
    after it. So copies have no vote on which answer stays, and rows from several hands, which
    differ in a column that says whose they are, have. Questions and answers are compared in their
    `plain_form`, other columns as they stand.

    Args:
        rows: dictionaries, for example of a data set; they are not changed.
        columns: the names of question and answer in them.
        topic: columns that together say what is asked in whatever words, such as a subject and the
            kind of question; rows that agree in them must agree in their answers. Without them, or
            where a row lacks one, rows with the same question must.
        conflicts: where rows answer one question in different ways, "drop" all of them, keep the
            "majority" (the answer that more rows give than any other, if there is one), or "keep"
            all and report them, as where several sources answer in their own words.
        test_questions: what the model will be tested on; a row that holds one, in its question or
            its answer, goes.
        fits: says whether a question with its answer fits into the context; None for no limit.
        too_long: what does not fit is dropped ("refuse"), or its answer is shortened by whole
            sentences from its end ("cut"), and dropped where its first sentence is too long.

    Raises:
        ValueError: for no rows, a column that no row has, another word for a choice, or a test
            question without words.

    >>> rows = [{"question": "Who is Ann?", "answer": "A nurse."}, {"question": "Who?"}]
    >>> kept, report = filter_examples(rows)
    >>> kept == rows[:1], report.counts()
    (True, {'missing column': 1})

    Source: Zhou et al. 2023, "LIMA: Less Is More for Alignment", section 2 (few rows, but good).
    """
    check_choices(rows, (*columns, *topic), conflicts, too_long)
    question, answer = columns
    faults = ((number, find_fault(row, columns)) for number, row in enumerate(rows))
    dropped = {number: fault for number, fault in faults if fault}
    whole = [number for number in range(len(rows)) if number not in dropped]
    texts = [f"{rows[number][question]}\n{rows[number][answer]}" for number in whole]
    for hit in find_contamination(texts, test_questions, N_TEST_WORDS):
        dropped[whole[hit.document]] = ("in the test set", f"test question {hit.question}")
    pairs = {
        number: (plain_form(rows[number][question]), plain_form(rows[number][answer]))
        for number in whole
        if number not in dropped
    }
    others = {k: [item for item in rows[k].items() if item[0] not in columns] for k in pairs}
    dropped |= duplicates({k: (*pairs[k], repr(others[k])) for k in pairs})
    pairs = {k: pair for k, pair in pairs.items() if k not in dropped}
    asked = {k: topic_of(rows[k], topic) or pairs[k][0] for k in pairs}
    losers = contradictions({k: (asked[k], pairs[k][1]) for k in pairs}, conflicts)
    if conflicts != "keep":
        dropped |= losers
    dropped |= duplicates({k: pair for k, pair in pairs.items() if k not in dropped})
    kept, shortened = [], []
    for number in sorted(set(range(len(rows))) - set(dropped)):
        row, text = rows[number], rows[number][answer]
        fitted = fit_answer(row[question], text, fits, too_long)
        if not fitted:
            dropped[number] = ("too long", f"{len(text)} characters")
            continue
        kept.append({**row, answer: fitted})
        if fitted != text:
            shortened.append(number)
    report = [Dropped(number, *dropped[number]) for number in sorted(dropped)]
    conflicting = tuple(number for number in losers if number not in dropped)
    return kept, FilterReport(len(rows), tuple(report), tuple(shortened), conflicting)


def find_fault(row: Mapping[str, Any], columns: tuple[str, str]) -> tuple[str, str] | None:
    """Return reason and detail where a row can't be learned from by itself, else None.

    >>> find_fault({"question": "Why?", "answer": " "}, ("question", "answer"))
    ('no answer', "' '")
    """
    for name, column in zip(COLUMNS, columns, strict=True):
        if column not in row:
            return "missing column", f"has {', '.join(map(str, row)) or 'none'}"
        text = row[column]
        if not isinstance(text, str) or not text.strip():
            return f"no {name}", repr(text)
    answer = row[columns[1]]
    return ("answer cut off", repr(answer[-30:])) if is_cut_off(answer) else None


def is_cut_off(answer: str) -> bool:
    """Return whether an answer seems to end in the middle of a sentence: a rule of thumb.

    An answer of more than a few words ends with a stop, a closed bracket or quotation, a link, or
    as an item of a list.

    >>> is_cut_off("The dose of the drug is"), is_cut_off("15 mg"), is_cut_off("One, and")
    (True, False, True)
    """
    answer = answer.rstrip()
    if CLOSED.search(answer):
        return False
    words, last_line = answer.split(), answer.splitlines()[-1]
    if answer[-1] in ",;:-–—(" or words[-1].lower() in {"and", "or", "the", "a", "of", "to", "is"}:
        return True
    return len(words) > N_SHORT and not LIST_ITEM.search(last_line)


def plain_form(text: str) -> str:
    """Return a text without capitals, needless blanks and the stop at its end, to compare it.

    >>> plain_form("Who  is Ann?") == plain_form("who is ann")
    True
    >>> plain_form("Is 3 < 5?") == plain_form("Is 3 > 5?")
    False
    """
    text = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return text.rstrip(".!?。！？ ") or text


def topic_of(row: Mapping[str, Any], topic: Sequence[str]) -> tuple[str, ...]:
    """Return what a row's topic columns say, () where it lacks one or there are none.

    >>> topic_of({"focus": "Gout", "kind": "symptoms"}, ("focus", "kind"))
    ('gout', 'symptoms')
    """
    return tuple(plain_form(str(row[name])) for name in topic if set(topic) <= set(row))


def contradictions(
    pairs: Mapping[int, tuple[Hashable, str]], conflicts: str = "drop"
) -> dict[int, tuple[str, str]]:
    """Return the rows whose question has another answer elsewhere, with reason and detail.

    Args:
        pairs: number of a row -> what is asked, and the answer in plain form.
        conflicts: "majority" returns all but the rows of the most frequent answer, and all where
            two answers share the first place; "drop" and "keep" return all that contradict.

    >>> pairs = {0: ("q", "yes"), 1: ("q", "no"), 2: ("q", "yes"), 3: ("r", "no")}
    >>> list(contradictions(pairs)), list(contradictions(pairs, "majority"))
    ([0, 1, 2], [1])
    """
    answers: dict[Hashable, Counter] = defaultdict(Counter)
    for question, answer in pairs.values():
        answers[question][answer] += 1
    found = {}
    for number, (question, answer) in pairs.items():
        votes = answers[question]
        (best, most), *others = votes.most_common(2)
        if not others:
            continue
        is_kept = conflicts == "majority" and answer == best and others[0][1] < most
        if not is_kept:
            found[number] = ("contradiction", f"{len(votes)} answers to {question!r}")
    return found


def duplicates(pairs: Mapping[int, tuple[str, ...]]) -> dict[int, tuple[str, str]]:
    """Return the rows that say what an earlier one says, with reason and detail.

    >>> duplicates({0: ("q", "yes"), 4: ("q", "yes")})
    {4: ('duplicate', 'of row 0')}
    """
    first: dict[tuple[str, ...], int] = {}
    found = {}
    for number, pair in pairs.items():
        earlier = first.setdefault(pair, number)
        if earlier != number:
            found[number] = ("duplicate", f"of row {earlier}")
    return found


def fit_answer(
    question: str, answer: str, fits: Callable[[str, str], bool] | None, too_long: str = "cut"
) -> str:
    """Return an answer if it fits, else its longest beginning that fits and ends with a sentence.

    Args:
        fits: says whether a question with its answer fits; None for no limit.
        too_long: "cut", or "refuse" to shorten nothing.

    Returns:
        The answer, what is left of it, or "" where nothing may be left.

    >>> fit_answer("q", "One. Two! Three?", lambda question, answer: len(answer) < 12)
    'One. Two!'
    """
    if fits is None or fits(question, answer):
        return answer
    if too_long == "refuse":
        return ""
    ends = [match.end() for match in SENTENCE_END.finditer(answer)]
    for end in reversed(ends):
        if end < len(answer.rstrip()) and fits(question, answer[:end]):
            return answer[:end]
    return ""


def check_choices(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], conflicts: str, too_long: str
) -> None:
    """Refuse what `filter_examples` can't work with, with what to do about it."""
    if len(rows) == 0:
        raise ValueError("rows is empty: is it the right file? Give one row at least")
    for name, value, choices in (
        ("conflicts", conflicts, ("drop", "majority", "keep")),
        ("too_long", too_long, ("refuse", "cut")),
    ):
        if value not in choices:
            raise ValueError(f"{name} must be one of {choices}, got {value!r}")
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise ValueError(
                f"row {number} must be a dictionary with the columns {', '.join(columns)}, got "
                f"{type(row).__name__}: read the file with a reader that names its columns"
            )
    for column in columns:
        if not any(column in row for row in rows):
            names = sorted({str(name) for row in rows for name in row})
            raise ValueError(
                f"no row has the column {column!r}; they have {', '.join(names) or 'none'}: pass "
                "columns=(question, answer), and topic=(...), with the names of this file"
            )
