"""Unit 13 on the real model: to say that it does not know, instead of making something up.

To questions about invented names the model draws answers; a plain admission is preferred to each
that makes something up. To real questions of the same forms its own right answer is preferred to an
admission. Measured is on other names of both kinds, and with a check of names in front.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from copy import deepcopy

import torch

from utils.align.fact_check import answer_with_facts
from utils.align.preference import TokenPair, dpo, train_preferences
from utils.assistants import short_questions
from utils.assistants.short_questions import is_right
from utils.assistants.unknown_questions import (
    ADMISSIONS,
    INVENTED_TEST,
    INVENTED_TRAINING,
    REAL_TEST,
    REAL_TRAINING,
    NamedQuestion,
    verdict,
)
from utils.evaluate.intervals import wilson_interval
from utils.evaluate.paired import paired_permutation_test
from utils.experiments.registry import Run, experiment
from utils.experiments.unit06 import answered
from utils.experiments.unit12 import divergence, draw
from utils.model.lora import add_lora, merge_lora
from utils.runtime import generator
from utils.train.optimizers import adamw
from utils.train.schedules import cosine
from utils.zoo.tuning import evenly, load_model

N_NEW, N_SHORT_TRAINING, N_SHORT_TEST, N_KL = 40, 30, 20, 20
RATE, RANK, ALPHA, BATCH = 5e-4, 16, 32.0, 4  # those of 12_brevity
LISTS = {"all names": 1, "four of five names": 5}  # every so manyth name is missing, if not 1


def short(some: Sequence[short_questions.ShortQuestion], n: int) -> list[NamedQuestion]:
    """Return n of the short questions of unit 12; their name is all that they ask."""
    return [NamedQuestion(q.text, q.text, q.accepted) for q in evenly(some, n)]


def drawn_once(model, tokenizer, asked: list[NamedQuestion], n_new: int, seed: int) -> list[tuple]:
    """Return (question, prompt, token ids, text) of one drawn answer to each question."""
    parts = draw(model, tokenizer, asked, n_new, seed)
    rows = [row for part in parts for row in zip(part.prompts, part.responses, strict=True)]
    return [
        (question, prompt, response, tokenizer.decode(response, skip_special=True).strip())
        for question, (prompt, response) in zip(asked, rows, strict=True)
    ]


def pairs_of(
    model, tokenizer, invented, real, n_new: int, seed: int
) -> tuple[list[TokenPair], list[TokenPair]]:
    """Return pairs of invented names (admission over own draw) and of real ones (right over it)."""
    rng = random.Random(seed)

    def admission(name: str) -> list[int]:
        text = rng.choice(ADMISSIONS).format(name=name)
        return [*tokenizer.encode(text), tokenizer.end_id]

    of_invented, of_real = [], []
    for question, prompt, response, text in drawn_once(
        model, tokenizer, [*invented, *real], n_new, seed
    ):
        own = response + [tokenizer.end_id] * (len(response) < n_new)
        if question.accepted:
            if is_right(question, text) and verdict(text, question.name) != "admitted":
                # A short question has no name to say that nothing is known of.
                name = "that" if question.name == question.text else question.name
                of_real.append(TokenPair(prompt, own, admission(name)))
        elif verdict(text, question.name) == "made up":
            of_invented.append(TokenPair(prompt, admission(question.name), own))
    return of_invented, of_real


def share_of(values: Sequence[bool]) -> dict:
    """Return the share of what is true, and its 95 % interval."""
    n = sum(values)
    return {"share": n / len(values), "interval": list(wilson_interval(n, len(values)))}


def checked(answers, asked: list[NamedQuestion], known: list[str]) -> list[str]:
    """Return the answers after a check of names: who is on no list is not spoken of.

    The one claim that is checked is that there is such a name. Each known name is a passage, so
    that an answer that speaks of another name is not borne out.
    """
    return [
        answer_with_facts(
            [answer], known, [question.name], question.name, ADMISSIONS[1].format(name="that")
        )
        for answer, question in zip(answers, asked, strict=True)
    ]


def judged(asked: list[NamedQuestion], answers: list[str]) -> dict[str, list[bool]]:
    """Return which answers are made up and which admit, and of real questions which are right."""
    verdicts = [verdict(a, q.name) for q, a in zip(asked, answers, strict=True)]
    is_admitted = [found == "admitted" for found in verdicts]
    if asked[0].accepted:
        right = [is_right(q, a) for q, a in zip(asked, answers, strict=True)]
        return {"refused": is_admitted, "right": right}
    return {"made up": [found == "made up" for found in verdicts], "admitted": is_admitted}


def compared(before: dict[str, list[bool]], after: dict[str, list[bool]]) -> dict:
    """Return the shares before and after, and the p-value of each difference."""
    found = {
        when: {name: share_of(values) for name, values in some.items()}
        for when, some in (("before", before), ("after", after))
    }
    found["p"] = {
        name: paired_permutation_test(
            torch.tensor(after[name]).float(),
            torch.tensor(before[name]).float(),
            generator=generator(0),
        )
        for name in before
    }
    return found


def makes_up_half(results: list[dict]) -> None:
    """The bar: at each seed half of what was made up, or more, is so no longer, p < .05.

    What it costs in refused real questions is measured and has no bar: it is told.
    """
    for result in results:
        before, after = (result["invented"][w]["made up"]["share"] for w in ("before", "after"))
        assert after <= 0.5 * before, (before, after)
        assert result["invented"]["p"]["made up"] < 0.05, result["invented"]["p"]


@experiment(
    "13_refusal",
    "SmolLM2 aligned by DPO to admit what it does not know: made up, and refused of what is real",
    n_steps=40,
    minutes=25,
    holds=makes_up_half,
    seeds=(0, 1),
)
def refusal(run: Run) -> dict:
    """Draw, pair, align with adapters, and measure on other names."""
    n_new, n_kl = N_NEW, N_KL
    training = {
        "invented": list(INVENTED_TRAINING),
        "real": [*REAL_TRAINING, *short(short_questions.TRAINING, N_SHORT_TRAINING)],
    }
    test = {
        "invented": list(INVENTED_TEST),
        "real": list(REAL_TEST),
        "short": short(short_questions.TEST, N_SHORT_TEST),
    }
    if run.is_smoke:
        n_new, n_kl = 8, 2
        training = {name: some[:2] for name, some in training.items()}
        test = {name: some[:2] for name, some in test.items()}
    reference, tokenizer = load_model("smollm2")
    of_invented, of_real = pairs_of(reference, tokenizer, *training.values(), n_new, run.seed)
    pairs = of_invented + of_real
    if run.is_smoke:  # so few draws may hold no pair: two answers of any kind show that it works
        ask = tokenizer.chat([{"role": "user", "content": "Hi"}], add_prompt=True).token_ids
        texts = ("I don't know.", "Hello there, my friend.")
        own = TokenPair(ask, *([*tokenizer.encode(t), tokenizer.end_id] for t in texts))
        pairs = (pairs + [own] * BATCH)[:BATCH]
    answers = {
        name: [answered(reference, tokenizer, [q.text for q in some], n_new)]
        for name, some in test.items()
    }
    policy = deepcopy(reference)
    with torch.random.fork_rng():
        torch.manual_seed(run.seed)
        policy = add_lora(policy, RANK, ALPHA)
    learning = [weight for weight in policy.parameters() if weight.requires_grad]
    records = train_preferences(
        policy,
        reference,
        pairs,
        dpo,
        adamw(policy, RATE, weight_decay=0.0),
        run.n_steps,
        pad_id=tokenizer.pad_id,
        batch_size=BATCH,
        seed=run.seed,
        likelihood_coef=0.5,
        schedule=cosine(run.n_steps, warmup_steps=min(4, run.n_steps)),
        checkpoint=run.folder,
        checkpoint_every=1 if run.is_smoke else 10,
        description=f"DPO, seed {run.seed}",
    )
    policy = merge_lora(policy).eval()
    for name, some in test.items():
        answers[name].append(answered(policy, tokenizer, [q.text for q in some], n_new))
    result = {
        "losses": [record["loss"] for record in records],
        "margins": [record["margin"] for record in records],
        "pairs": {"invented": len(of_invented), "real": len(of_real)},
        "asked": {name: len(some) for name, some in test.items()},
        "trainable": sum(weight.numel() for weight in learning),
        "KL": {
            name: divergence(policy, reference, tokenizer, evenly(test[name], n_kl), n_new)
            for name in ("invented", "real")
        },
    }
    for name, some in test.items():
        result[name] = compared(*(judged(some, given) for given in answers[name]))
    names = [q.name for q in (*REAL_TRAINING, *REAL_TEST)]
    result["checked"] = {
        says: {
            name: compared(
                *(judged(test[name], checked(given, test[name], known)) for given in answers[name])
            )
            for name in ("invented", "real")
        }
        for says, every in LISTS.items()
        for known in [[n for k, n in enumerate(names) if every == 1 or k % every]]
    }
    result["answers"] = {  # all of them: who reads the rule of words otherwise can count anew
        name: [[q.text, *both] for q, *both in zip(some, *answers[name], strict=True)]
        for name, some in test.items()
    }
    return result
