"""Unit 06 on the real model: tuned on the answers of a medical data set.

The data set's text stays where it is: a record holds numbers, and answers to questions of our own.
"""

from __future__ import annotations

import torch

from utils.evaluate.paired import paired_permutation_test
from utils.evaluate.rouge import rouge_l
from utils.experiments.registry import Run, experiment
from utils.model.generate import generate_batch
from utils.text.qa_rows import question_answer_rows
from utils.zoo.tuning import Tuning, load_model, prepare, tune

N_ANSWERS, N_NEW = 40, 96
OWN_QUESTIONS = (
    "What are the symptoms of iron deficiency?",
    "What should I ask my doctor about high blood pressure?",
    "Who is the mayor of Atlantis?",
    "Write a short poem about rain.",
)


def answered(model, tokenizer, questions: list[str], n_new: int = N_NEW) -> list[str]:
    """Return the model's greedy answers, asked in its own template, eight at a time."""
    prompts = [
        tokenizer.chat([{"role": "user", "content": question}], add_prompt=True).token_ids
        for question in questions
    ]
    ids = {"pad_id": tokenizer.pad_id, "end_id": tokenizer.end_id}
    rows = []
    for start in range(0, len(prompts), 8):
        rows += generate_batch(model, prompts[start : start + 8], n_new, **ids)
    return [tokenizer.decode(row, skip_special=True).strip() for row in rows]


def scores(answers: list[str], references: list[str]) -> list[float]:
    """Return ROUGE-L's F of each answer against the data set's own."""
    return [rouge_l(a, b).f1 for a, b in zip(answers, references, strict=True)]


def tuned_on_medquad(run: Run, method: str) -> dict:
    """Tune the real model on MedQuAD; measure loss and answers on topics that were held out."""
    settings = Tuning(method=method, seed=run.seed, n_held_out=N_ANSWERS)
    wanted, n_answers, n_new, own = "medquad", N_ANSWERS, N_NEW, OWN_QUESTIONS
    if run.is_smoke:  # the world's rows need neither a folder nor a network
        settings = Tuning(
            data="world", method=method, n_tokens=500, context_length=96, batch_size=2, n_held_out=2
        )
        wanted, n_answers, n_new, own = "world", 2, 4, OWN_QUESTIONS[:1]
    rows, columns = question_answer_rows(wanted)
    model, tokenizer = load_model("smollm2")
    prepared = prepare(rows, columns, tokenizer, settings)
    asked = prepared.held_out_rows[:n_answers]
    questions = [row[columns.question].strip() for row in asked]
    references = [row[columns.answer].strip() for row in asked]
    before = scores(answered(model, tokenizer, questions, n_new), references)
    own_before = answered(model, tokenizer, list(own), n_new)
    model, result = tune(
        settings, model, tokenizer, prepared, run.folder, say=lambda line: None, n_steps=run.n_steps
    )
    after = scores(answered(model, tokenizer, questions, n_new), references)
    own_after = answered(model, tokenizer, list(own), n_new)
    chance = torch.Generator().manual_seed(0)
    p = paired_permutation_test(torch.tensor(after), torch.tensor(before), generator=chance)
    return result | {
        "rouge_before": before,
        "rouge_after": after,
        "p": p,
        "own": [list(one) for one in zip(own, own_before, own_after, strict=True)],
        "rows": {"in the file": len(rows), "fit": prepared.n_kept}
        | {"read": len(prepared.examples), "shortened": len(prepared.report.shortened)}
        | prepared.report.counts(),
    }


def answers_improve(results: list[dict]) -> None:
    """The bar: the loss of held-out answers falls by a tenth, and ROUGE-L rises, p < .05."""
    for result in results:
        assert result["after"] <= 0.9 * result["before"], (result["before"], result["after"])
        rise = sum(result["rouge_after"]) - sum(result["rouge_before"])
        assert rise > 0 and result["p"] < 0.05, (rise, result["p"])


@experiment(
    "06_medquad",
    "SmolLM2 tuned on MedQuAD with adapters: loss and ROUGE-L of answers on topics held out",
    n_steps=210,
    minutes=25,
    holds=answers_improve,
)
def medquad(run: Run) -> dict:
    """Tune with LoRA on about 200,000 tokens."""
    return tuned_on_medquad(run, "lora")
