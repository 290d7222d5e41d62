"""Ragas' three scores of retrieval with an exact judge in this process; run by Ragas' own Python.

Reads cases from standard input as JSON, each with a question of the world, an answer and pages, and
writes {"version": ..., "scores": [[faithfulness, answer relevancy, context precision], ...]}. The
judge takes what it has to read out of Ragas' own prompts and says what the world says: no model is
asked, so that what is left is Ragas itself.
"""

import asyncio
import json
import sys

import ragas
from ragas.embeddings.base import BaseRagasEmbedding
from ragas.llms.base import InstructorBaseRagasLLM
from ragas.metrics.collections import (
    AnswerRelevancy,
    ContextPrecisionWithoutReference,
    Faithfulness,
)

from utils.world.claims import find_claims
from utils.world.facts import build_world
from utils.world.questions import Question

WORLD = build_world()
N_THINGS = 64  # different things that the questions of one run are about


def claims_of(question: Question, text: str) -> list[tuple[str, str, str]]:
    """Return what a text claims as (entity, attribute, value), in a fixed order."""
    return sorted(
        (*about, value)
        for about, found in find_claims(WORLD, question, text).items()
        for value in found.affirmed
    )


class WorldJudge(InstructorBaseRagasLLM):
    """Answers Ragas' prompts about one question with what the world knows."""

    def __init__(self, question: Question):
        self.question, self.n_asked = question, 0

    def generate(self, prompt, response_model):
        raise NotImplementedError("these metrics ask in their own loop: see agenerate")

    async def agenerate(self, prompt, response_model):
        given = json.loads(prompt.rsplit("\ninput: ", 1)[1].removesuffix("Output: "))
        return response_model.model_validate(self.reply(given))

    def reply(self, given: dict) -> dict:
        """Return the reply to one prompt, told apart by what Ragas gives to read."""
        if "statements" in given:
            there = claims_of(self.question, given["context"])
            verdicts = [
                {"statement": one, "reason": "", "verdict": int(tuple(json.loads(one)) in there)}
                for one in given["statements"]
            ]
            return {"statements": verdicts}
        if "context" in given:
            wanted = (self.question.entity, self.question.attribute, self.question.value)
            is_useful = wanted in claims_of(self.question, given["context"])
            return {"reason": "", "verdict": int(is_useful)}
        if "response" in given:  # a question that the answer would answer: one for each claim
            entity, attribute, _ = claims_of(self.question, given["response"])[self.n_asked]
            self.n_asked += 1
            return {"question": f"{attribute} of {entity}", "noncommittal": 0}
        return {
            "statements": [json.dumps(one) for one in claims_of(self.question, given["answer"])]
        }


class ThingEmbedding(BaseRagasEmbedding):
    """A direction for each thing that is asked about: the same thing alike, another one not."""

    def __init__(self, question: Question):
        super().__init__()
        self.things = {question.prompt: 0, f"{question.attribute} of {question.entity}": 0}

    def embed_text(self, text, **kwargs):
        place = self.things.setdefault(text, len(self.things))
        return [float(k == place) for k in range(N_THINGS)]

    async def aembed_text(self, text, **kwargs):
        return self.embed_text(text)


async def scores_of(case: dict) -> list[float]:
    """Return Ragas' three scores of a case."""
    question = Question(**case["question"])
    asked, answer, pages = question.prompt, case["answer"], case["pages"]
    judge, n_claims = WorldJudge(question), len(claims_of(question, answer))
    relevancy = AnswerRelevancy(judge, ThingEmbedding(question), strictness=n_claims)
    found = [
        await Faithfulness(judge).ascore(asked, answer, pages),
        await relevancy.ascore(asked, answer),
        await ContextPrecisionWithoutReference(judge).ascore(asked, answer, pages),
    ]
    return [result.value for result in found]


async def main() -> None:
    """Score all cases."""
    cases = json.load(sys.stdin)
    scores = [await scores_of(case) for case in cases]
    print(json.dumps({"version": ragas.__version__, "scores": scores}))


if __name__ == "__main__":
    asyncio.run(main())
