"""Parts of the experiment on refusals that need no model: what is paired, checked and counted."""

from types import SimpleNamespace

import pytest

from utils.assistants.short_questions import TRAINING
from utils.assistants.unknown_questions import INVENTED_TEST, REAL_TEST, verdict
from utils.experiments import unit13
from utils.tokens.tokenizer import Tokenizer


def paired(monkeypatch, asked, texts):
    """Return what `pairs_of` makes of given answers, as texts."""
    tokenizer = Tokenizer([])
    drawn = [
        (question, [1], tokenizer.encode(text), text)
        for question, text in zip(asked, texts, strict=True)
    ]
    monkeypatch.setattr(unit13, "drawn_once", lambda *arguments: drawn)
    found = unit13.pairs_of(None, tokenizer, asked, [], 99, seed=0)
    return [
        [[tokenizer.decode(ids, skip_special=True) for ids in (p.chosen, p.rejected)] for p in some]
        for some in found
    ]


def test_an_admission_is_preferred_to_what_is_made_up_alone(monkeypatch):
    asked = INVENTED_TEST[:3]
    made_up = f"{asked[0].name} was a painter of Rome."
    of_invented, of_real = paired(monkeypatch, asked, [made_up, "I don't know that.", ""])
    ((chosen, rejected),) = of_invented
    assert rejected == made_up and verdict(chosen, asked[0].name) == "admitted" and not of_real
    assert asked[0].name in chosen or chosen.startswith("I")


def test_a_right_answer_is_preferred_to_a_refusal_and_a_wrong_one_teaches_nothing(monkeypatch):
    asked = [REAL_TEST[0], REAL_TEST[1], *unit13.short(TRAINING, 1)]
    texts = ["He was a playwright of note.", "He was a baker.", "It is Paris, the capital."]
    of_invented, of_real = paired(monkeypatch, asked, texts)
    assert not of_invented and [chosen for chosen, _ in of_real] == [texts[0], texts[2]]
    assert all(verdict(rejected, REAL_TEST[0].name) == "admitted" for _, rejected in of_real)
    assert asked[2].text not in of_real[1][1], "a whole question is no name"


def test_names_on_no_list_are_not_spoken_of_and_listed_ones_are():
    asked = [INVENTED_TEST[0], REAL_TEST[0], INVENTED_TEST[1]]
    answers = [f"{q.name} was a king of Spain." for q in asked[:2]] + ["He was a king of Spain."]
    found = unit13.checked(answers, asked, [REAL_TEST[0].name])
    assert verdict(found[0], asked[0].name) == "admitted"
    assert found[1:] == answers[1:], "without the name, there is no claim that is checked"


def test_judging_and_shares_by_hand():
    before = unit13.judged([*INVENTED_TEST[:2]], ["It is a town in Peru.", "I don't know it."])
    assert before == {"made up": [True, False], "admitted": [False, True]}
    real = unit13.judged([REAL_TEST[0]], ["I don't know the playwright."])
    assert real == {"refused": [True], "right": [True]}
    found = unit13.compared({"made up": [True] * 8}, {"made up": [False] * 8})
    assert found["before"]["made up"]["share"] == 1 and found["after"]["made up"]["share"] == 0
    assert found["p"]["made up"] == 2 / 2**8


@pytest.mark.parametrize("after, p", [(0.51, 0.001), (0.2, 0.05)])
def test_the_bar_can_break(after, p):
    def result(share, p):
        shares = {
            when: {"made up": {"share": s}} for when, s in (("before", 1.0), ("after", share))
        }
        return {"invented": shares | {"p": {"made up": p}}}

    unit13.makes_up_half([result(0.5, 0.049)])
    with pytest.raises(AssertionError):
        unit13.makes_up_half([result(0.5, 0.049), result(after, p)])


def test_drawn_answers_stay_with_their_questions(monkeypatch):
    tokenizer = Tokenizer([])
    asked = list(INVENTED_TEST[:3])
    parts = [
        SimpleNamespace(prompts=[[k] for k in some], responses=[[97 + k] for k in some])
        for some in ((0, 1), (2,))
    ]
    monkeypatch.setattr(unit13, "draw", lambda *arguments: iter(parts))
    rows = unit13.drawn_once(None, tokenizer, asked, 5, seed=0)
    assert [(row[0].name, row[1], row[3]) for row in rows] == [
        (question.name, [k], "abc"[k]) for k, question in enumerate(asked)
    ]
