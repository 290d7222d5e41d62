"""Asks a model questions about the world and has the exact judge count.

Answers are greedy, written in batches with the key-value cache. Base models are asked in the plain
form; pass `render` for another form, such as a chat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from utils.model.generate import generate_batch
from utils.world.documents import plain_question
from utils.world.facts import World
from utils.world.judge import Verdict, judge
from utils.world.questions import Question, questions
from utils.world.skills import SKILLS

if TYPE_CHECKING:
    from utils.model.decoder import Decoder
    from utils.tokens.tokenizer import Tokenizer

MAX_ANSWER_TOKENS = 32
FACT_SPLITS = ("trained", "held_out_phrasing", "told_only")


def plain_prompt(tokenizer: Tokenizer, question: Question) -> list[int]:
    """Return the token ids of a question in the plain form: the end token, then the text.

    In the training stream every document comes after an end token, so a prompt starts with one.
    """
    return [tokenizer.end_id, *tokenizer.encode(plain_question(question.prompt))]


def answer_questions(
    model: Decoder,
    tokenizer: Tokenizer,
    questions: Sequence[Question],
    *,
    render: Callable[[Tokenizer, Question], list[int]] = plain_prompt,
    max_new_tokens: int = MAX_ANSWER_TOKENS,
    batch_size: int = 64,
) -> list[str]:
    """Return the model's greedy answer to each question, without the question.

    Args:
        model: the decoder; it is put back into the mode it was in.
        questions: any questions, for example from `utils.world.questions.questions`.
        render: makes the prompt's token ids of a question.
        max_new_tokens: an answer is cut here; answers of the world have about 12 tokens.
        batch_size: prompts answered at a time.

    Raises:
        ValueError: for a batch size below 1, or a prompt that leaves no room in the context.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    prompts = [render(tokenizer, question) for question in questions]
    # Prompts of like length share a batch: the less padding, the less work.
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    answers = [""] * len(prompts)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        responses = generate_batch(
            model,
            [prompts[i] for i in chosen],
            max_new_tokens,
            pad_id=tokenizer.pad_id,
            end_id=tokenizer.end_id,
        )
        for i, response in zip(chosen, responses, strict=True):
            answers[i] = tokenizer.decode(response, skip_special=True).strip()
    return answers


def judge_answers(
    world: World, questions: Sequence[Question], answers: Sequence[str]
) -> list[Verdict]:
    """Return the verdict on each answer.

    Raises:
        ValueError: where there are not as many answers as questions.
    """
    if len(questions) != len(answers):
        raise ValueError(f"got {len(answers)} answers to {len(questions)} questions")
    return [judge(world, q, answer) for q, answer in zip(questions, answers, strict=True)]


def share(verdicts: Sequence[Verdict], name: str) -> float:
    """Return the mean of one field of the verdicts, such as "correct" or "n_words".

    Raises:
        ValueError: for no verdicts.

    >>> share([Verdict(True, False, 6, False, False, 1.0)], "correct")
    1.0
    """
    if not verdicts:
        raise ValueError("no verdicts: ask one question at least")
    return sum(float(getattr(verdict, name)) for verdict in verdicts) / len(verdicts)


def world_accuracy(
    model: Decoder, tokenizer: Tokenizer, world: World, n: int = 200, seed: int = 1
) -> dict[str, float]:
    """Return the share of right answers per split and skill, and of made-up answers.

    Args:
        n: questions per split and skill.
        seed: which questions are drawn.

    Returns:
        Accuracy under "trained", "held_out_phrasing", "told_only", "copy", "sort", "reverse",
        "sum", "held_out_sum"; under "made_up_unknown" the share of answers about unknown entities
        that claim a fact all the same.
    """
    asked = {split: questions(world, split, n, seed) for split in FACT_SPLITS}
    asked |= {kind: questions(world, "trained", n, seed, kinds=(kind,)) for kind in SKILLS}
    asked["held_out_sum"] = questions(world, "held_out_sum", n, seed)
    unknown = questions(world, "unknown_entity", n, seed)
    together = [question for group in asked.values() for question in group] + unknown
    answers = answer_questions(model, tokenizer, together)
    verdicts = judge_answers(world, together, answers)
    measured = {
        name: share(verdicts[i * n : (i + 1) * n], "correct") for i, name in enumerate(asked)
    }
    measured["made_up_unknown"] = share(verdicts[-n:], "hallucinated")
    return measured
