"""Questions and answers as a data set that was put together from pages, some of them wrong.

Each row says which page it comes from. A wrong row may stand several times, as where others have
copied its page: then one mistake has many voices, which differ from the true ones in no way that a
look at a single row could tell.
"""

from __future__ import annotations

from utils.world.documents import check_count
from utils.world.draws import shuffled, stream
from utils.world.facts import World
from utils.world.phrasings import answer_sentence
from utils.world.questions import questions
from utils.world.styles import false_answer

PURPOSE_MISTAKES = 50
TOPIC = ("entity", "attribute")  # the columns that say what is asked, in whatever words


def rows_with_mistakes(
    world: World, n: int, wrong_share: float, copies: int = 1, seed: int = 0
) -> list[dict]:
    """Return rows of questions and answers about trained facts, a share of them wrong.

    Args:
        n: number of rows.
        wrong_share: share of rows with a false answer, up to what `copies` leaves over.
        copies: how often each wrong row stands there; copies agree in every column.
        seed: decides what is asked, and how the wrong rows are wrong.

    Returns:
        Dictionaries with question, answer, entity, attribute and source (the page's number).

    Raises:
        ValueError: for a share outside 0 to 1, or fewer than one copy.

    >>> from utils.world.facts import build_world
    >>> rows = rows_with_mistakes(build_world(0), 10, wrong_share=0.5, copies=5)
    >>> len(rows), len({row["source"] for row in rows})
    (10, 6)
    """
    check_count(n)
    if not 0 <= wrong_share <= 1:
        raise ValueError(f"wrong_share must be between 0 and 1, got {wrong_share!r}")
    if copies < 1:
        raise ValueError(f"copies must be at least 1, got {copies!r}")
    rng = stream(world.seed, PURPOSE_MISTAKES, seed)
    n_mistakes = round(n * wrong_share / copies)
    n_true = max(0, n - n_mistakes * copies)
    asked = questions(world, "trained", n_true + n_mistakes, seed)
    rows = []
    for page, question in enumerate(asked):
        entity, attribute, value = question.entity, question.attribute, question.value
        is_wrong = page >= n_true
        answer = (
            false_answer(rng, entity, attribute, value)
            if is_wrong
            else answer_sentence(attribute, entity, value)
        )
        row = {"question": question.prompt, "answer": answer, "entity": entity}
        row |= {"attribute": attribute, "source": page}
        rows += [row] * (copies if is_wrong else 1)
    return shuffled(rng, rows)


def as_chats(rows: list[dict]) -> list[list[dict[str, str]]]:
    """Return rows as chats of one question and one answer.

    >>> as_chats([{"question": "Who?", "answer": "Ann."}])[0][1]
    {'role': 'assistant', 'content': 'Ann.'}
    """
    return [
        [
            {"role": "user", "content": row["question"]},
            {"role": "assistant", "content": row["answer"]},
        ]
        for row in rows
    ]
