"""Filtering of examples: one reason for each row that goes, nothing lost, nothing invented."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.text.filtering import (
    contradictions,
    filter_examples,
    fit_answer,
    is_cut_off,
    plain_form,
)
from utils.tokens.chat import render_chat
from utils.tokens.tokenizer import Tokenizer

GOOD = {"question": "Who is Ann?", "answer": "Ann is a nurse."}
LONG = {
    "question": "What is the dose?",
    "answer": "The dose is 1.5 mg. Take it with water, e.g. in the morning! Is that all? It is.",
}


def qa(question, answer):
    return {"question": question, "answer": answer}


def reasons(rows, **choices):
    """Return row -> reason."""
    return {dropped.row: dropped.reason for dropped in filter_examples(rows, **choices)[1].dropped}


@pytest.mark.parametrize(
    "row, reason, detail",
    [
        ({"question": "Why?"}, "missing column", "has question"),
        ({}, "missing column", "has none"),
        ({"answer": "Yes.", "prompt": "Why?"}, "missing column", "has answer, prompt"),
        (qa("", "Yes."), "no question", "''"),
        (qa("Why?", ""), "no answer", "''"),
        (qa("Why?", " \n"), "no answer", r"' \n'"),
        (qa("Why?", None), "no answer", "None"),
        (qa("Why?", math.nan), "no answer", "nan"),
        (qa("Why?", ["Yes."]), "no answer", "['Yes.']"),
        (qa("Why?", "The dose of this drug depends on"), "answer cut off", "depends on'"),
    ],
)
def test_a_row_that_can_not_be_learned_from_goes_with_its_reason(row, reason, detail):
    kept, report = filter_examples([GOOD, row])
    assert kept == [GOOD]
    ((number, found, what),) = report.dropped
    assert (number, found) == (1, reason) and what.endswith(detail)
    assert report.counts() == {reason: 1}


def test_one_row_and_a_report_that_says_nothing_went():
    kept, report = filter_examples([GOOD])
    assert kept == [GOOD] and kept[0] is not GOOD
    assert report.n_rows == 1 and report.dropped == report.shortened == report.conflicting == ()


@pytest.mark.parametrize(
    "rows, choices, words",
    [
        ([], {}, "rows is empty"),
        (
            [{"Question": "a", "Answer": "b"}],
            {},
            "no row has the column 'question'; they have Answ",
        ),
        ([GOOD], {"columns": ("question", "reply")}, "no row has the column 'reply'.*columns="),
        ([{}], {}, "they have none"),
        (["Who is Ann?"], {}, "row 0 must be a dictionary .*got str"),
        ([GOOD], {"conflicts": "vote"}, "conflicts must be one of .*got 'vote'"),
        ([GOOD], {"too_long": "drop"}, "too_long must be one of .*got 'drop'"),
        ([GOOD], {"test_questions": ["?!"]}, "question 0 has no words"),
    ],
)
def test_what_can_not_be_filtered_is_refused(rows, choices, words):
    with pytest.raises(ValueError, match=words):
        filter_examples(rows, **choices)


def test_other_names_of_columns_and_further_columns_stay():
    rows = [{"Q": "Who?", "A": "Ann.", "source": 3}, {"Q": "Who?", "A": "ann", "source": 4}]
    kept, report = filter_examples(rows, ("Q", "A"))
    assert kept == rows[:1] and report.dropped[0][:2] == (1, "duplicate")


@pytest.mark.parametrize("copy", [GOOD, qa("who is  ANN", "Ann is a nurse"), GOOD | {"id": 7}])
def test_a_duplicate_goes_and_the_first_stays(copy):
    kept, report = filter_examples([GOOD, LONG, copy])
    assert kept == [GOOD, LONG]
    assert report.dropped == ((2, "duplicate", "of row 0"),)


def test_signs_are_part_of_what_is_asked():
    rows = [qa("Is 3 < 5?", "Yes."), qa("Is 3 > 5?", "No."), qa("2 + 2", "4"), qa("2 - 2", "0")]
    assert reasons(rows) == {}


def by(hand, question, answer):
    return {"question": question, "answer": answer, "hand": hand}


def test_contradictions_all_go_or_the_majority_stays():
    yes, no, more = by(1, "Is it?", "Yes."), by(2, "is it", "No."), by(3, "Is it?", "yes")
    other = by(1, "Was it?", "No.")
    assert reasons([yes, no, other]) == dict.fromkeys((0, 1), "contradiction")
    assert reasons([yes, no, other], conflicts="majority") == dict.fromkeys((0, 1), "contradiction")
    assert reasons([yes, no, more, other]) == dict.fromkeys((0, 1, 2), "contradiction")
    assert reasons([no, yes, more, other], conflicts="majority") == {
        0: "contradiction",
        2: "duplicate",
    }
    kept, report = filter_examples([yes, no, more, other], conflicts="keep")
    assert kept == [yes, no, other] and report.conflicting == (0, 1)
    assert report.counts() == {"duplicate": 1}


def test_copies_have_no_vote():
    """Three hands say yes, one says no and stands there five times, with other capitals, too."""
    right = [by(hand, "Is it?", "Yes.") for hand in (1, 2, 3)]
    wrong = [by(4, "Is it?", "No."), by(4, "is it", "no"), *3 * [by(4, "Is it?", "No.")]]
    kept, report = filter_examples([*wrong, *right], conflicts="majority")
    assert kept == right[:1]
    assert report.counts() == {"duplicate": 4 + 2, "contradiction": 1}


def test_columns_can_say_that_two_questions_ask_the_same():
    rows = [
        {"question": "Where does Ann live?", "answer": "In Ore.", "who": "Ann", "what": "town"},
        {"question": "Tell me Ann's town.", "answer": "In Ulm.", "who": "ann", "what": "town"},
        {"question": "Which town is Ann's?", "answer": "In Ore.", "who": "Ann", "what": "town"},
        {"question": "Does Ann have a pet?", "answer": "A cat.", "who": "Ann", "what": "pet"},
        {"question": "Where does Ann live?", "answer": "In Ulm.", "who": "Ann"},
        {"question": "Does Ann sing?", "answer": "No.", "who": "Ann"},
    ]
    assert reasons(rows, topic=("who", "what"), conflicts="majority") == {1: "contradiction"}
    assert reasons(rows, topic=("who", "what")) == dict.fromkeys((0, 1, 2), "contradiction")
    assert reasons(rows, conflicts="majority") == dict.fromkeys((0, 4), "contradiction")
    with pytest.raises(ValueError, match="no row has the column 'kind'.*topic="):
        filter_examples(rows, topic=("who", "kind"))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz")), max_size=14))
@settings(deadline=None)
def test_who_contradicts_whom_by_brute_force(rows):
    pairs = dict(enumerate(rows))
    every = {k for k, (q, a) in pairs.items() if any(q == p and a != b for p, b in rows)}
    assert set(contradictions(pairs)) == set(contradictions(pairs, "keep")) == every
    left = set(pairs) - set(contradictions(pairs, "majority"))
    for question in {q for q, _ in rows}:
        answers = [a for q, a in rows if q == question]
        firsts = [a for a in set(answers) if answers.count(a) == max(map(answers.count, answers))]
        want = {k for k, pair in pairs.items() if pair == (question, firsts[0])}
        assert {k for k in left if pairs[k][0] == question} == (want if len(firsts) == 1 else set())


TEST = "What is the daily dose of Bibruzem for an adult in the clinic of the town today?"


@pytest.mark.parametrize(
    "row",
    [
        qa(TEST, "It is 5 mg."),
        qa("Please say: " + TEST.upper(), "It is 5 mg."),
        qa("Which questions come?", f"They ask: {TEST}"),
        qa(TEST.replace(" today?", " now?"), "It is 5 mg."),  # a run of 13 words is left
    ],
)
def test_a_row_that_holds_a_test_question_goes_before_training(row):
    kept, report = filter_examples([GOOD, row], test_questions=["Who is Bob?", TEST])
    assert kept == [GOOD] and report.dropped == ((1, "in the test set", "test question 1"),)


def test_a_question_of_the_same_form_about_another_is_no_test_question():
    rows = [qa("I would like to know the town of Brunal.", "Tolben.")]
    test = ["I would like to know the town of Groham."]
    assert reasons(rows, test_questions=test) == {}
    assert reasons(rows, test_questions=[rows[0]["question"]]) == {0: "in the test set"}


@pytest.mark.parametrize("row", [GOOD, LONG])
def test_what_fits_stays_as_it_is(row):
    kept, report = filter_examples([row], fits=lambda q, a: True, too_long="cut")
    assert kept == [row] and report.shortened == ()


@pytest.mark.parametrize(
    "n, answer",
    [
        (len(LONG["answer"]), LONG["answer"]),
        (
            len(LONG["answer"]) - 1,
            "The dose is 1.5 mg. Take it with water, e.g. in the morning! Is that all?",
        ),
        (72, "The dose is 1.5 mg. Take it with water, e.g. in the morning!"),
        (59, "The dose is 1.5 mg."),
        (18, None),
    ],
)
def test_a_long_answer_is_cut_at_a_sentence_and_reported_or_refused(n, answer):
    def fits(question, text):
        return len(text) <= n

    kept, report = filter_examples([GOOD, LONG], fits=fits, too_long="cut")
    if answer is None:
        assert kept == [GOOD] and reasons([GOOD, LONG], fits=fits, too_long="cut") == {
            1: "too long"
        }
    else:
        assert kept[1] == LONG | {"answer": answer}
        assert report.shortened == (() if answer == LONG["answer"] else (1,))
    if answer != LONG["answer"]:
        assert reasons([GOOD, LONG], fits=fits) == {1: "too long"}
        assert filter_examples([GOOD, LONG], fits=fits)[1].shortened == ()


TEXT = st.text(st.sampled_from("ab .!?\nA"), max_size=40)


@given(answer=TEXT, n=st.integers(0, 40))
@settings(deadline=None)
def test_a_shortened_answer_is_a_beginning_that_fits_and_ends_with_a_stop(answer, n):
    def fits(question, text):
        return len(text) <= n

    short = fit_answer("q", answer, fits)
    assert answer.startswith(short) and len(short) <= n
    assert (short == answer) == (len(answer) <= n or not answer)
    if short not in ("", answer):
        assert short[-1] in ".!?" and len(short) < len(answer.rstrip())
    assert fit_answer("q", answer, fits, "refuse") in ("", answer)
    assert fit_answer("q", answer, None) == answer


ROWS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "question": st.sampled_from(["Who?", "who", "Why?", "", None]),
            "answer": st.sampled_from(
                ["Ann.", "Bob.", "ann", "", None, "a, b, c and d, or", "A. B."]
            ),
        },
    ),
    max_size=10,
).map(lambda rows: [GOOD, *rows])


@given(
    rows=ROWS,
    conflicts=st.sampled_from(["drop", "majority", "keep"]),
    too_long=st.sampled_from(["cut", "refuse"]),
    n=st.integers(0, 20),
)
@settings(deadline=None, max_examples=200)
def test_kept_and_dropped_rows_together_are_all_rows(rows, conflicts, too_long, n):
    before = [dict(row) for row in rows]
    kept, report = filter_examples(
        rows,
        conflicts=conflicts,
        too_long=too_long,
        fits=lambda question, answer: len(answer) <= n,
        test_questions=["Why?"],
    )
    assert rows == before
    numbers = [dropped.row for dropped in report.dropped]
    assert numbers == sorted(set(numbers))
    left = [k for k in range(len(rows)) if k not in numbers]
    assert report.n_rows == len(rows) == len(kept) + len(numbers)
    assert sum(report.counts().values()) == len(numbers)
    for number, row in zip(left, kept, strict=True):
        assert row["question"] == rows[number]["question"] != "Why?"
        assert len(row["answer"]) <= n and not is_cut_off(row["answer"])
        if number in report.shortened:
            assert too_long == "cut" and rows[number]["answer"].startswith(row["answer"])
        else:
            assert row == rows[number]
    if conflicts == "drop":
        answers = {}
        for row in kept:
            told = answers.setdefault(plain_form(row["question"]), set())
            told.add(plain_form(row["answer"]))
        assert all(len(told) == 1 for told in answers.values())
        assert len(answers) == len(kept)  # once each


def test_filtering_again_changes_nothing():
    rows = [GOOD, LONG, GOOD, qa("Who is Ann?", "Nobody knows."), qa("Why?", "Because of the")]
    for conflicts in ("drop", "majority", "keep"):
        kept, _ = filter_examples(rows, conflicts=conflicts)
        assert filter_examples(kept, conflicts=conflicts)[0] == kept


@pytest.mark.parametrize(
    "answer",
    [
        "15 mg",
        "Yes.",
        "He said: “It is late.”",
        "It is (as far as we know).",
        "Read more at https://example.org/a",
        "These help:\n- water with salt and some sugar",
        "1. one of the first things to do",
        "Use `x = 1 if y else 2 for all of them`",
        "是的，一天一次。",
        "**Take it with a lot of water.**",
        "K7 B2",
    ],
)
def test_answers_that_are_whole(answer):
    assert not is_cut_off(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "The symptoms of the disease are often mild and",
        "Fever, cough,",
        "There are three kinds:",
        "It is (as far as we know",
        "The dose of the drug is given by the doctor in",
        "It is the",
        "One. Two. Then the third part of the answ",
    ],
)
def test_answers_that_end_in_the_middle(answer):
    assert is_cut_off(answer)


def test_what_fits_is_counted_in_tokens_of_the_rendered_chat():
    """The whole of it: no example that is kept is too long for the batches, none is cut later."""
    tokenizer = Tokenizer([])

    def fits(question, answer):
        chat = [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
        return len(render_chat(chat, tokenizer).token_ids) - 1 <= 60

    kept, report = filter_examples([GOOD, LONG], fits=fits, too_long="cut")
    assert kept[1]["answer"] == "The dose is 1.5 mg." and report.shortened == (1,)
    assert all(fits(row["question"], row["answer"]) for row in kept)
