"""The data sheet of the world, written from the code: counts, splits, hashes.

The sections follow Gebru et al. 2018, "Datasheets for Datasets". `python -m utils.world.datasheet`
prints it; every number in it is computed.
"""

from __future__ import annotations

import argparse
import hashlib

from utils.world.attributes import ATTRIBUTES, KINDS
from utils.world.chats import chats
from utils.world.documents import MIXTURE, domain_documents, pretraining_documents
from utils.world.facts import World, build_world
from utils.world.judge import COST_OF_RUDENESS, COST_PER_WORD, FREE_WORDS, WORTH_OF_REFUSAL
from utils.world.leaks import find_leaks
from utils.world.phrasings import CLAUSE_FRAMES, NOUN_FRAMES, question_templates
from utils.world.preferences import DIFFERENCES, preference_pairs
from utils.world.questions import SPLITS, facts_of_split
from utils.world.skills import HELD_OUT_SUMS, LARGEST_TERM, TRAINED_SUMS
from utils.world.stand_ins import stand_in_documents
from utils.world.styles import REFUSALS, RUDE_WORDS
from utils.world.wordings import PHRASINGS

N_FRAMES = len(set(NOUN_FRAMES + CLAUSE_FRAMES))
SAMPLE = 500  # documents of each sort that are hashed and searched for leaks


def text_hash(texts: list[str]) -> str:
    """Return the SHA-256 of texts, each ended by a zero byte.

    >>> text_hash(["a"])[:8]
    'ffe9aaea'
    """
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode("utf-8") + b"\0")
    return digest.hexdigest()


def samples(world: World) -> dict[str, list[str]]:
    """Return a sample of every sort of training text that the world makes."""
    talks = chats(world, SAMPLE, verbose_share=0.3, rude_share=0.3, refusal_share=0.2)
    pairs = preference_pairs(world, SAMPLE)
    return {
        "pretraining documents": pretraining_documents(world, SAMPLE),
        "stand-in documents": stand_in_documents(world, SAMPLE),
        "domain documents, drugs": domain_documents(world, SAMPLE, kind="drug"),
        "domain documents, contracts": domain_documents(world, SAMPLE, kind="contract"),
        "chats": [message["content"] for talk in talks for message in talk],
        "preference pairs": [
            text for pair in pairs for text in (pair.prompt, pair.chosen, pair.rejected)
        ],
    }


def table(header: list[str], rows: list[list]) -> str:
    """Return a Markdown table.

    >>> print(table(["a"], [[1]]))
    | a |
    | --- |
    | 1 |
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def data_sheet(world: World) -> str:
    """Return the data sheet of a world as Markdown.

    >>> print(data_sheet(build_world(0)).splitlines()[0])
    # Data sheet: the world of seed 0
    """
    texts = samples(world)
    n_leaks = sum(
        len(find_leaks(world, documents, ("new",) if "domain" in name else ("stranger",)))
        for name, documents in texts.items()
    )
    groups = ("known", "new", "stranger", "unknown")
    entities = [[kind, *(len(world.group(group, kind)) for group in groups)] for kind in KINDS]
    attributes = [
        [
            attribute.kind,
            attribute.name,
            len(attribute.values),
            len(PHRASINGS[attribute.name].statements),
            len(question_templates(attribute.name)),
            len(question_templates(attribute.name, held_out=True)),
        ]
        for attribute in ATTRIBUTES
    ]
    splits = [
        [
            f"`{split}`",
            len(HELD_OUT_SUMS) if split == "held_out_sum" else len(facts_of_split(world, split)),
            meaning,
        ]
        for split, meaning in SPLITS.items()
    ]
    hashes = [
        [name, len(documents), f"`{text_hash(documents)}`"] for name, documents in texts.items()
    ]
    mixture = ", ".join(f"{form} {share:.0%}" for form, share in MIXTURE.items())
    return f"""\
# Data sheet: the world of seed {world.seed}

After Gebru et al. 2018, "Datasheets for Datasets". Written from the code by
`utils.world.datasheet`.

## Motivation

The world exists so that a language model can be trained, tuned and judged where the truth is known
exactly and everything fits a laptop. It was made for teaching and is good for nothing else.

## Composition

A fictional town with a clinic. Names, conditions, doses, rules and contracts are invented; nothing
here is medical or legal advice, and no person is described. There are {len(world.facts)} entities
with {sum(map(len, world.facts.values()))} facts.

{table(["kind", *groups], entities)}

Strangers and unknown entities have no facts. Values and phrasings per attribute:

{table(["kind", "attribute", "values", "statements", "trained questions", "held out"], attributes)}

A trained question is a whole question or one of the phrases in one of {N_FRAMES} frames; held-out
questions are whole sentences.

Skills: copy codes and names, sort and reverse letters, sums of two numbers up to {LARGEST_TERM}
({len(TRAINED_SUMS)} pairs for training, {len(HELD_OUT_SUMS)} held out).

Splits, with the number of facts or pairs in each:

{table(["split", "size", "meaning"], splits)}

Preference pairs differ in one of: {", ".join(DIFFERENCES)}. Rude texts hold one of
{len(RUDE_WORDS)} mild insults; refusals have {len(REFUSALS)} wordings.

## Collection

Nothing was collected. Every text is drawn from templates by `random.Random(int).random()`, whose
sequence Python promises to keep, so that a seed gives the same bytes on every platform. SHA-256 of
samples:

{table(["text", "strings", "SHA-256"], hashes)}

## Preprocessing, cleaning, labelling

Base documents by form: {mixture}.
Readings are about stand-ins: fresh names, random facts, and the answer in the text. So is the text
that the tokenizer is trained on, so that it cuts the names of all entities alike.
Labels are computed: an answer is right or wrong by the facts. Its utility is its worth (1 for a
right answer with nothing made up, {WORTH_OF_REFUSAL} for another refusal, else 0), less
{COST_PER_WORD} for each word over {FREE_WORDS}, less {COST_OF_RUDENESS} if rude, and never below 0.
Leaks of held-out names, phrasings, facts and sums found in the samples above: {n_leaks}.

## Uses

Training and testing the small models of this course. A score on this world says little about other
text: sentences are short, values come from closed lists, and each attribute has one form of answer.

## Distribution

The code is the data set; texts are made where they are needed.

## Maintenance

A test pins the hashes. A change of the world is a new edition: shipped models name the world's seed
and the hash of their training text.
"""


def main() -> None:
    """Print the data sheet."""
    parser = argparse.ArgumentParser(description="print the data sheet of the world")
    parser.add_argument("--seed", type=int, default=0, help="seed of the world (default: 0)")
    print(data_sheet(build_world(parser.parse_args().seed)))


if __name__ == "__main__":
    main()
