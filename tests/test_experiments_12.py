"""Parts of the experiment with an asked form that need no model: sums, the rule and the bar."""

import pytest

from utils.experiments import unit12_format as unit


def test_each_sum_is_asked_once_and_its_answer_is_right():
    asked = unit.sums()
    assert len({q.text for q in asked}) == len(asked) >= unit.N_TRAINING + unit.N_TEST
    signs = {"plus": int.__add__, "minus": int.__sub__, "times": int.__mul__}
    for question in asked:
        first, sign, second = question.text.removeprefix("What is ").partition("?")[0].split()
        assert signs[sign](int(first), int(second)) == int(question.answer)
    assert asked == unit.sums() and asked != unit.sums(1)


@pytest.mark.parametrize(
    "reply, has_form",
    [
        ("The answer is 12.", True),
        (" The answer is 12", True),
        ("The answer is -3.", True),
        ("The answer is twelve.", False),
        ("The answer is 12.5", False),
        ("The answer is 12. It is even.", False),
        ("The answer is 12.\nIt is even.", False),
        ("5 plus 7 is 12.", False),
        ("the answer is 12.", False),
        ("", False),
    ],
)
def test_the_form_is_one_line_and_nothing_else(reply, has_form):
    assert unit.has_form(reply) is has_form


def test_form_and_truth_are_scored_apart_and_a_cut_reply_has_no_form():
    replies = ["The answer is 3.", "The answer is 4.", "It is 3.", "The answer is 3"]
    found = unit.scores_of(replies, [True, True, True, False], ["3"] * 4)
    assert found["form"].tolist() == [1, 1, 0, 0]
    assert found["right"].tolist() == [1, 0, 1, 1]


@pytest.mark.parametrize("after, p", [(0.59, 0.001), (0.9, 0.05)])
def test_the_bar_can_break(after, p):
    def result(share, p):
        shares = {"before": {"share": 0.3}, "after": {"share": share}, "p": p}
        return {"test": {"form": shares}}

    unit.thirty_points_more([result(0.61, 0.049)])
    with pytest.raises(AssertionError):
        unit.thirty_points_more([result(after, p)])
