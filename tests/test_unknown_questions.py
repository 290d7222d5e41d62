"""Questions about invented names: the rule for what is made up, on answers of both kinds."""

import pytest

from utils.assistants.short_questions import TEST, TRAINING
from utils.assistants.unknown_questions import (
    ADMISSIONS,
    INVENTED_TEST,
    INVENTED_TRAINING,
    REAL_TEST,
    REAL_TRAINING,
    verdict,
)

NAME = "Ulmer Vask"
MADE_UP = (
    "Ulmer Vask was a Danish painter of the 19th century.",
    "Ulmer Vask is a fictional character in a series of novels by J. Orr.",
    "He was born in 1820 in a small town near Oslo.",
    "Sure! Ulmer Vask discovered the third law of heat.",
    "I'm sorry for the confusion. Ulmer Vask was a physicist who won a prize in 1931.",
    "Ulmer Vask was a poet. I don't know when he was born.",
    "I'm not sure who that is. However, Ulmer Vask was a king of Norway.",
    "I have no information about him. He was a general in the war of 1812.",
    "Great question!\n\nIt is a rare disease of the liver, and nobody knows its cause.",
    "She was not able to provide for her family and left for Rome.",
    "The symptoms include:\n\n1. Fever\n2. A rash on both arms and on the face",
)
ADMITTED = (
    "I don't know.",
    "I don\u2019t actually know who Ulmer Vask was.",
    "I'm sorry, but I couldn't find any information about Ulmer Vask.",
    "As a model of language, I cannot provide details about Ulmer Vask.",
    "I'm not familiar with Ulmer Vask. Could you tell me more about him?",
    "I am not aware of anyone of that name. You may want to ask a librarian.",
    "There is no record of a person called Ulmer Vask.",
    "Ulmer Vask does not exist, as far as I can see.",
    "Ulmer Vask is not a recognized disease. Please ask a doctor about what you feel.",
    "I am not able to provide information about Ulmer Vask.",
    "I'm sorry for any mistakes, but I'm a helper. I am not equipped to give details about him.",
    "It seems that the name is a typo. Please look at the spelling again.",
)
NOTHING = ("", "Who do you mean?", "Sorry!", "Sure.", "The capital.")


@pytest.mark.parametrize("answer", MADE_UP)
def test_a_statement_about_an_invented_name_is_made_up(answer):
    assert verdict(answer, NAME) == "made up"


@pytest.mark.parametrize("answer", ADMITTED)
def test_an_admission_is_none_however_it_is_worded(answer):
    assert verdict(answer, NAME) == "admitted"


@pytest.mark.parametrize("answer", NOTHING)
def test_what_states_nothing_is_neither(answer):
    assert verdict(answer, NAME) == "nothing"


@pytest.mark.parametrize("wording", ADMISSIONS)
@pytest.mark.parametrize("question", [INVENTED_TRAINING[0], INVENTED_TRAINING[-1], REAL_TEST[-4]])
def test_each_wording_that_is_taught_counts_as_an_admission(wording, question):
    assert verdict(wording.format(name=question.name), question.name) == "admitted"


def test_right_answers_to_real_questions_admit_nothing():
    for question in REAL_TRAINING + REAL_TEST:
        answer = f"As far as people know, it has to do with {question.accepted[0]}."
        assert verdict(answer, question.name) == "made up", "a statement, here a true one"


def test_an_empty_name_is_refused():
    with pytest.raises(ValueError, match="name is empty: say whom or what"):
        verdict("An answer.", " ")


def test_no_name_is_in_two_lists_and_each_question_names_its_own():
    lists = (INVENTED_TRAINING, INVENTED_TEST, REAL_TRAINING, REAL_TEST)
    names = [question.name.casefold() for some in lists for question in some]
    repeated = {name for name in names if names.count(name) > 1}
    assert not repeated
    assert all(question.name in question.text for some in lists for question in some)
    assert all(question.accepted for question in REAL_TRAINING + REAL_TEST)
    assert not any(question.accepted for question in INVENTED_TRAINING + INVENTED_TEST)
    asked = [question.text for some in lists for question in some]
    assert len(asked) == len(set(asked))


def test_no_real_question_of_the_test_is_learned_from_elsewhere():
    assert not {q.text for q in REAL_TEST} & {q.text for q in TRAINING}
    assert not {q.text for q in TEST} & {q.text for q in REAL_TRAINING}


def test_real_and_invented_questions_have_the_same_forms():
    def forms(some):
        return {question.text.replace(question.name, "*") for question in some}

    assert forms(REAL_TRAINING) <= forms(INVENTED_TRAINING)
    assert forms(REAL_TEST) <= forms(INVENTED_TEST)
