"""Chats: a user's question and an assistant's answer, in chosen shares of styles.

The default is what a good assistant says: short, polite and true. The shares make worse data on
purpose, for the units that filter it or learn to do better.
"""

from __future__ import annotations

from utils.world.attributes import KINDS
from utils.world.documents import all_cores, check_count
from utils.world.draws import pick, stream
from utils.world.facts import World
from utils.world.phrasings import answer_sentence, ask
from utils.world.questions import facts_of_split
from utils.world.skills import SKILLS, task
from utils.world.styles import false_answer, refusal, rude, verbose

PURPOSE_CHATS = 30


def chats(
    world: World,
    n: int,
    seed: int = 0,
    *,
    split: str = "trained",
    about: tuple[str, ...] = KINDS,
    skill_share: float = 0.2,
    verbose_share: float = 0.0,
    rude_share: float = 0.0,
    false_share: float = 0.0,
    refusal_share: float = 0.0,
) -> list[list[dict[str, str]]]:
    """Return chats of one question and one answer each.

    Args:
        n: number of chats.
        split: where the facts come from: "trained", "new_drug" or "new_contract".
        about: kinds of entities asked about.
        skill_share: share of exercises (copy, sort, reverse, sum); they are always answered well.
        verbose_share, rude_share, false_share: shares of the answers about facts in these styles,
            drawn independently of each other.
        refusal_share: share of questions about strangers, which are answered by a refusal.

    Returns:
        Lists of messages {"role": "user" or "assistant", "content": text}.

    Raises:
        ValueError: for a share outside 0 to 1, a negative n or another split.

    >>> from utils.world.facts import build_world
    >>> [message["role"] for message in chats(build_world(0), 1)[0]]
    ['user', 'assistant']
    """
    check_count(n)
    if split not in ("trained", "new_drug", "new_contract"):
        raise ValueError(
            f"chats are made from the splits trained, new_drug and new_contract, not {split!r}"
        )
    shares = {
        "skill_share": skill_share,
        "verbose_share": verbose_share,
        "rude_share": rude_share,
        "false_share": false_share,
        "refusal_share": refusal_share,
    }
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"{name} must be between 0 and 1, got {share!r}")
    rng = stream(world.seed, PURPOSE_CHATS, seed)
    facts = facts_of_split(world, split, about)
    strangers = facts_of_split(world, "stranger", about) if refusal_share else []
    taken = all_cores(world)
    found = []
    for _ in range(n):
        # One draw for each share, used or not, so that a share changes only what it names.
        drawn = {name: rng.random() < share for name, share in shares.items()}
        if drawn["skill_share"]:
            exercise = task(rng, pick(rng, SKILLS), taken)
            prompt, answer = exercise.prompt, exercise.answer
        elif drawn["refusal_share"]:
            entity, attribute = pick(rng, strangers)
            prompt, answer = ask(rng, attribute, entity), refusal(rng, entity)
        else:
            entity, attribute = pick(rng, facts)
            value = world.facts[entity][attribute]
            prompt, answer = ask(rng, attribute, entity), answer_sentence(attribute, entity, value)
            if drawn["false_share"]:
                answer = false_answer(rng, entity, attribute, value)
            if drawn["verbose_share"]:
                answer = verbose(rng, answer)
            if drawn["rude_share"]:
                answer = rude(rng, answer)
        found.append(
            [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        )
    return found
