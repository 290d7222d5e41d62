"""Quiz of unit 00: what a fluent answer shows, and what a right answer can be."""

from __future__ import annotations

from utils.labs.quiz import Question


def verdict_on_a_false_sentence():
    """Return the question and the judge's verdict on a well-formed answer with a wrong value."""
    from utils.world.attributes import BY_NAME
    from utils.world.facts import build_world
    from utils.world.judge import judge
    from utils.world.questions import questions

    world = build_world(0)
    question = questions(world, "trained", 1, seed=3)[0]
    wrong = next(v for v in BY_NAME[question.attribute].values if v != question.value)
    return judge(world, question, question.answer.replace(question.value, wrong))


def prove_fluent_answer() -> str:
    """Return the option that the judge's verdict on a fluent, false answer leaves open."""
    verdict = verdict_on_a_false_sentence()
    return "c" if verdict.hallucinated and not verdict.correct else "a"


def prove_unknown_person() -> str:
    """Return the answer that the judge calls correct for somebody who does not exist."""
    from utils.world.facts import build_world
    from utils.world.judge import judge
    from utils.world.questions import questions

    world = build_world(0)
    question = questions(world, "unknown_entity", 1, about=("person",))[0]
    answers = {
        "a": f"{question.entity} lives in Tolben.",
        "b": "I do not know.",
        "c": f"{question.entity} probably lives in Tolben.",
    }
    return next(k for k, answer in answers.items() if judge(world, question, answer).correct)


QUIZ = [
    Question(
        "fluent-answer",
        "A model answers in a flawless sentence about the right person. What do you know about the "
        "fact in it?",
        {
            "a": (
                "It is probably true",
                "The form was learned first. It says nothing about truth.",
            ),
            "b": (
                "It stood in the training text",
                "The model may have put a value there that it saw in other sentences.",
            ),
            "c": (
                "Nothing yet",
                "The form of an answer and its truth are learned apart. Look the fact up, or have "
                "it judged.",
            ),
        },
        "c",
        prove_fluent_answer,
    ),
    Question(
        "unknown-person",
        "Where does a person live who is in no table and in no text? Which answer does the judge "
        "call correct?",
        {
            "a": (
                "'... lives in Tolben.'",
                "A claim about somebody without facts is made up, whatever town it names.",
            ),
            "b": ("'I do not know.'", "Nothing is known, and the answer says so."),
            "c": (
                "'... probably lives in Tolben.'",
                "A softer word does not change that the town is made up.",
            ),
        },
        "b",
        prove_unknown_person,
    ),
]
