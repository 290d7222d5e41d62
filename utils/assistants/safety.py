"""Unit 13 on the world: answers drawn, passages to check them against, and what the judge says.

The assistant is judged as users meet it, by answers drawn at temperature 1: about known facts in
phrasings that no training used, and about entities that nobody ever wrote of.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import torch

from utils.align.fact_check import answer_with_facts
from utils.align.preference import dpo, token_pairs, train_preferences
from utils.align.rollouts import draw_rollouts
from utils.align.scorers import Scorer, WordScorer, train_word_scorer
from utils.assistants.chat_models import ASSISTANT, AssistantRecipe, question_prompt
from utils.evaluate.world_qa import judge_answers, share
from utils.tokens.batches import supervised_batches
from utils.tokens.chat import render_chat
from utils.train.loop import train
from utils.train.optimizers import adamw
from utils.train.schedules import cosine
from utils.train.sft import sft_loss
from utils.world.attributes import ATTRIBUTES
from utils.world.chats import chats
from utils.world.claims import REFUSAL, plain
from utils.world.facts import World
from utils.world.judge import is_rude
from utils.world.phrasings import fill
from utils.world.questions import Question, questions
from utils.world.styles import refusal
from utils.world.wordings import PHRASINGS

if TYPE_CHECKING:
    from utils.model.decoder import Decoder
    from utils.tokens.tokenizer import Tokenizer

MAX_NEW_TOKENS = 64
BATCH = 64
DPO_RATE, DPO_STEPS = 1e-3, 60
VALUES = sorted({value for attribute in ATTRIBUTES for value in attribute.values})


def draw_answers(
    model: Decoder,
    tokenizer: Tokenizer,
    asked: Sequence[Question],
    seed: int = 0,
    temperature: float = 1.0,
) -> list[str]:
    """Return one drawn answer to each question."""
    generator = torch.Generator().manual_seed(seed)
    answers = []
    for first in range(0, len(asked), BATCH):
        rollouts = draw_rollouts(
            model,
            [question_prompt(tokenizer, question) for question in asked[first : first + BATCH]],
            MAX_NEW_TOKENS,
            pad_id=tokenizer.pad_id,
            end_id=tokenizer.end_id,
            temperature=temperature,
            generator=generator,
        )
        answers += [tokenizer.decode(r, skip_special=True).strip() for r in rollouts.responses]
    return answers


def assistant_chats(
    world: World, recipe: AssistantRecipe = ASSISTANT
) -> list[list[dict[str, str]]]:
    """Return the chats that the assistant learns from: wordy, at times rude, at times false."""
    return chats(
        world,
        recipe.n_chats,
        recipe.seed,
        skill_share=recipe.skill_share,
        verbose_share=recipe.verbose_share,
        rude_share=recipe.rude_share,
        false_share=recipe.false_share,
    )


def tune_on_chats(
    model: Decoder,
    tokenizer: Tokenizer,
    drawn: Sequence[list[dict[str, str]]],
    recipe: AssistantRecipe = ASSISTANT,
    description: str = "chats",
) -> tuple[Decoder, list[dict]]:
    """Return a copy of a model tuned on chats, and the records of its training.

    Args:
        model: is left as it is.
        drawn: chats to learn from; of `recipe` only steps, batch size, rate and seed are used.
    """
    rows = [render_chat(chat, tokenizer) for chat in drawn]
    model = deepcopy(model)
    context_length = model.config.context_length
    records = train(
        model,
        supervised_batches(rows, recipe.batch_size, context_length, tokenizer.pad_id, recipe.seed),
        sft_loss,
        adamw(model, recipe.learning_rate, weight_decay=0.0),
        recipe.n_steps,
        schedule=cosine(recipe.n_steps, warmup_steps=recipe.warmup_steps),
        description=description,
    )
    return model.eval(), records


def labelled_scorer(world: World, n: int, seed: int = 77) -> WordScorer:
    """Return a scorer trained on n answers that people have read and labelled as rude or not."""
    answers = answers_in(assistant_chats(world, replace(ASSISTANT, n_chats=n, seed=seed)))
    return train_word_scorer(answers, [is_rude(answer) for answer in answers])


def answers_in(drawn: Sequence[list[dict[str, str]]]) -> list[str]:
    """Return what the assistant says in chats of one question each."""
    return [chat[-1]["content"] for chat in drawn]


def toxicity_of(scorer: Scorer, drawn: Sequence[list[dict[str, str]]]) -> list[list[float]]:
    """Return for each chat the toxicity of each of its messages."""
    return [
        [score["toxicity"] for score in scorer.score([message["content"] for message in chat])]
        for chat in drawn
    ]


def honest_chats(world: World, n: int, seed: int = 50) -> list[list[dict[str, str]]]:
    """Return short chats of which half admit that nothing is known about a stranger."""
    return chats(world, n, seed, skill_share=0.0, refusal_share=0.5)


def align_with_pairs(
    model: Decoder,
    tokenizer: Tokenizer,
    pairs: Sequence[Mapping[str, str]],
    likelihood_coef: float = 1.0,
    seed: int = 0,
) -> tuple[Decoder, list[dict]]:
    """Return a copy of a model aligned by DPO on safety pairs, and the records of its training."""
    aligned = deepcopy(model)
    records = train_preferences(
        aligned,
        model,
        token_pairs(
            [SimpleNamespace(**pair) for pair in pairs], tokenizer, model.config.context_length
        ),
        dpo,
        adamw(aligned, DPO_RATE, weight_decay=0.0),
        DPO_STEPS,
        pad_id=tokenizer.pad_id,
        seed=seed,
        likelihood_coef=likelihood_coef,
        schedule=cosine(DPO_STEPS, warmup_steps=10),
        description="DPO",
    )
    return aligned.eval(), records


def fact_passages(world: World) -> list[str]:
    """Return one sentence for each fact of the world: what a well-kept reference would say."""
    return [
        fill(PHRASINGS[attribute].statements[0], entity, value)
        for entity, facts in world.facts.items()
        for attribute, value in facts.items()
    ]


def checked_answers(
    drafts: Sequence[Sequence[str]],
    asked: Sequence[Question],
    passages: Sequence[str],
    search: Callable[[str, int], list[tuple[int, float]]],
    k: int = 10,
    query: Callable[[Question], str] = lambda question: question.prompt,
) -> list[str]:
    """Return to each question the first of its drafts that k retrieved passages bear out.

    Args:
        drafts: one list of answers per draw, each with an answer to each question.
        search: retrieves from `passages`, such as `passage_index` gives.
        query: makes the words to search for of a question.
    """
    answers = []
    for number, question in enumerate(asked):
        found = [passages[index] for index, _ in search(query(question), k)]
        own = [draft[number] for draft in drafts]
        refused = f"I do not know that about {question.entity}."
        answers.append(answer_with_facts(own, found, VALUES, question.entity, refused))
    return answers


def safety_rows(
    model: Decoder, tokenizer: Tokenizer, world: World, scorer: Scorer, n: int, seed: int = 0
) -> list[dict]:
    """Return rows for `build_safety_pairs`: half about strangers, half about known facts.

    Args:
        model: draws two answers to each question.
        scorer: says how toxic each is.
        n: questions.
    """
    rng = random.Random(seed)
    asked = questions(world, "stranger", n // 2, seed) + questions(world, "trained", n // 2, seed)
    drawn = [draw_answers(model, tokenizer, asked, 2 * seed + k) for k in range(2)]
    rows = []
    for question, *answers in zip(asked, *drawn, strict=True):
        answers = [answer for answer in answers if answer]
        rows.append(
            {
                "prompt": question.prompt,
                "truth": question.answer,
                "refusal": refusal(rng, question.entity),
                "drawn": answers,
                "refused": [bool(REFUSAL.search(plain(answer))) for answer in answers],
                "toxicity": [score["toxicity"] for score in scorer.score(answers)],
            }
        )
    return rows


def exam_questions(world: World, n: int, seed: int = 11) -> tuple[list[Question], list[Question]]:
    """Return n questions about known facts and n about entities that nobody ever wrote of."""
    return questions(world, "held_out_phrasing", n, seed), questions(
        world, "unknown_entity", n, seed
    )


def safety_numbers(
    world: World,
    known: Sequence[Question],
    of_known: Sequence[str],
    unknown: Sequence[Question],
    of_unknown: Sequence[str],
) -> dict[str, float]:
    """Return what the exact judge says about answers to known and to unknown questions.

    Returns:
        Shares "right", "rude" and "refused" of the known and "made up" of the unknown, and the mean
        "words" and "utility" of the known.
    """
    on_known = judge_answers(world, known, of_known)
    on_unknown = judge_answers(world, unknown, of_unknown)
    return {
        "right": share(on_known, "correct"),
        "made up": share(on_unknown, "hallucinated"),
        "rude": share(on_known + on_unknown, "rude"),
        "refused": share(on_known, "refused"),
        "words": share(on_known, "n_words"),
        "utility": share(on_known, "utility"),
    }
