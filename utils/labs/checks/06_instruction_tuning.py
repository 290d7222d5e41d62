"""Checks of lab 06: chats as tokens, what counts in them, rows that hold several, and good data.

Oracles: markers looked up one place at a time, torch's cross-entropy in float64, rows taken apart
again and compared as multisets, first rows worked out by hand, packing by plain search.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from utils.labs.checking import (
    Check,
    brief,
    close,
    collector,
    in_case,
    left_alone,
    not_the_mistake,
    recognise,
    refused,
    require,
    same,
    same_gradients,
    where_they_differ,
)
from utils.labs.values import Judge, Limit, Merges
from utils.tokens.tokenizer import Tokenizer

CHECKS: list[Check] = []
exercise_check = collector(CHECKS)

EXAMPLES_NOT_TRIED = {  # the checks try the like with plain values
    "filter_examples": "its example asks the report a question of its class",
}
IGNORE = -100
PAD, END, USER, ASSISTANT = 256, 257, 258, 259  # of a tokenizer of bytes
MARKS = {PAD: "<|pad|>", END: "<|end|>", USER: "<|user|>", ASSISTANT: "<|assistant|>"}
BYTES = Merges([])

HINTS = {
    "response_mask": (
        "Go through the tokens once and remember one thing: whether you are inside an answer. The "
        "marker that opens an answer and the end token that closes it change that.",
        "By hand: ids 1 50 2 60 61 0 0 with assistant 2 and end 0. Is the 2 itself an answer's "
        "token, or what the prompt ends with? And the first 0? And the second? So for each token: "
        "does what you remember change before you note its bool, or after?",
        "is_answer = False. For each token: append is_answer to the mask; then, if the token is "
        "assistant_id, is_answer becomes True, else if it is end_id, it becomes False.",
    ),
    "render_chat": (
        "Each message becomes its marker and its encoded text, one after the other in one list; an "
        "answer is closed by the end token. The mask follows from the finished list.",
        "By hand, with text in quotes: user 'a', assistant 'b', user 'c', add_prompt=True. Write "
        "down all markers and texts in their order. Which of them does your response_mask count? "
        "Where does a system text go, and what does fold_system(messages) give you?",
        "Refuse an empty list. folded = fold_system(messages). For each message: get role and "
        "content; raise a ValueError unless the role is user or assistant and the content is a "
        "str. A user adds tokenizer.user_id and tokenizer.encode(content); an assistant adds "
        "tokenizer.assistant_id, the encoded content and tokenizer.end_id. With add_prompt append "
        "assistant_id. Return ChatTokens of the ids and response_mask(ids, "
        "tokenizer.assistant_id, tokenizer.end_id).",
    ),
    "sft_loss": (
        "It is the cross-entropy of pretraining over fewer places. So turn the mask into targets "
        "that cross_entropy leaves out, and let it take the mean.",
        "By hand: two rows, one with a single response token of loss 3, one with three of loss 1. "
        "What is the mean over the four tokens? And the mean of the two rows' means? The docstring "
        "asks for the first. What has to happen where the mask is False everywhere?",
        "If there is a mask: raise a ValueError unless its dtype is torch.bool and its shape that "
        "of targets; targets = targets.masked_fill(~response_mask, -100). Raise a ValueError where "
        "no target differs from -100. Return cross_entropy(logits, targets).",
    ),
    "pack_examples": (
        "An example of n ids has n - 1 inputs, each with the token after it as target. Find out "
        "which examples share a row, and write each into its piece of the row.",
        "By hand: examples 5 6 7 and 8 9 7, both with the mask False True True, rows of five. "
        "Which inputs and which targets does the first have? Where does the second begin? What are "
        "its positions, and what stands in the fifth place of each of the four tensors?",
        "check_examples(examples, context_length); rows = fit_rows([len(ids) - 1 for ids, _ in "
        "examples], context_length). Four tensors (len(rows), context_length) of int64, full of "
        "pad_id, -100, 0 and -1. For each row, start = 0; for each of its examples, numbered from "
        "0: batch = shift_targets(tensor of its ids, bool tensor of its mask); stop = start + "
        "len(batch.token_ids); write token_ids, targets, torch.arange(stop - start) and the number "
        "into places start to stop; start = stop. Return PackedRows of the four.",
    ),
    "filter_examples": (
        "Keep a dictionary: number of a row -> why it goes. Each stage looks only at rows that are "
        "not in it, so each row has one reason, and what is not in it at the end is kept.",
        "By hand: rows 0 and 1 are equal, row 2 answers the same question in another way. Which "
        "goes as a duplicate? With conflicts='majority', how many votes does each answer have "
        "after that? And would row 1 have had a vote if the stages came in the other order?",
        "check_choices(rows, (*columns, *topic), conflicts, too_long). Stages in the docstring's "
        "order: find_fault(row, columns) for each row; find_contamination(texts, test_questions, "
        "N_TEST_WORDS) over question and answer of those left (hit.document is the place in the "
        "list you passed); duplicates of (plain question, plain answer, the other columns); "
        "contradictions of (topic_of(row, topic) or the plain question, plain answer), dropped "
        "unless conflicts is keep; duplicates of (plain question, plain answer). For the rest "
        "fit_answer(question, answer, fits, too_long): empty is too long, another text is a row "
        "shortened, kept as {**row, answer column: text}. Return the kept rows and "
        "FilterReport(len(rows), tuple of Dropped(number, reason, detail) in order, tuple of "
        "shortened, tuple of contradicting rows that stay).",
    ),
}


def letters(rng: np.random.Generator, n: int) -> str:
    """Return a text of n small letters."""
    return "".join(chr(code) for code in rng.integers(97, 123, n))


def user(text: str) -> dict:
    """Return a message of the user."""
    return {"role": "user", "content": text}


def assistant(text: str) -> dict:
    """Return a message of the assistant."""
    return {"role": "assistant", "content": text}


# response_mask


def mask_by_looking_back(ids: Sequence[int], assistant_id: int, end_id: int) -> list[bool]:
    """Return for each place whether the last of the two markers before it opened an answer."""
    found = []
    for place in range(len(ids)):
        before = [i for i in ids[:place] if i in (assistant_id, end_id)]
        found.append(bool(before) and before[-1] == assistant_id)
    return found


def compare_masks(got: object, ids: Sequence[int], assistant_id: int, end_id: int, what: str):
    """Reject a mask that is not that of the docstring, with the mistake that it equals."""
    want = mask_by_looking_back(ids, assistant_id, end_id)
    kinds = sorted({type(b).__name__ for b in got}) if isinstance(got, list | tuple) else []
    kind = "tensor" if isinstance(got, np.ndarray) else type(got).__name__
    require(
        isinstance(got, list) and len(got) == len(ids) and kinds in (["bool"], []),
        f"return a list with one bool for each of the {len(ids)} tokens, got a {kind}"
        + (f" of {len(got)} {' and '.join(kinds)}" if kinds else "")
        + f": {brief(got)} ({what})",
    )
    opens = [i == assistant_id for i in ids]
    closes = [m and i == end_id for m, i in zip(want, ids, strict=True)]
    first = [m and a for m, a in zip(want, [False, *opens][: len(ids)], strict=True)]
    after = want.index(True) if True in want else len(ids)
    slips = [
        ([m or o for m, o in zip(want, opens, strict=True)], "the marker that opens an answer is "
         "True here, and belongs to the prompt: the model is asked with it and never writes it"),
        ([m and not c for m, c in zip(want, closes, strict=True)], "the end token of an answer is "
         "False here, and counts: a model that never learns to write it never stops"),
        ([m and not f for m, f in zip(want, first, strict=True)], "the first token of an answer is "
         "False here: it counts, too"),
        ([place >= after for place in range(len(ids))], "all that follows the first answer is True "
         "here: the end token closes an answer"),
        ([not m for m in want], "True and False are exchanged"),
        ([True] * len(ids), "each token is True here: those of the user's turns, too, which a "
         "model is not to learn to write"),
    ]  # fmt: skip
    for wrong, words in slips:
        if got == wrong != want:
            not_the_mistake(
                False,
                f"{words} ({what}: ids {brief(list(ids))}, expected {brief(want)}, got "
                f"{brief(got)})",
            )
    same(got, want, f"{what}: ids {brief(list(ids))}, assistant {assistant_id}, end {end_id}")


def some_markers(rng: np.random.Generator) -> tuple[int, int, int]:
    """Return three different ids for user, assistant and end."""
    return tuple(int(i) for i in rng.choice(np.arange(3, 40), 3, replace=False))


@exercise_check("response_mask", points=1, title="one answer")
def _(student, rng):
    for user_id, assistant_id, end_id, text_id in ((1, 2, 0, 61), (*some_markers(rng), 0)):
        ids = [user_id, 50, 51, assistant_id, 60, text_id, 62, end_id]
        got = student.response_mask(ids, assistant_id, end_id)
        compare_masks(got, ids, assistant_id, end_id, "one question, one answer")
        same(student.arguments_after[0], ids, "`token_ids` was changed: leave it as it is")


@exercise_check("response_mask", points=1, title="several turns")
def _(student, rng):
    u, a, e = some_markers(rng)
    for ids in (
        [u, 50, a, 60, e, u, 51, 52, a, 61, 62, e],
        [u, 50, a, 60, e, u, 51, a, 61, e, u, 52, a, 62, 63, 64, e],
        [a, 60, 61, e, u, 50, a, 62, e],
    ):
        got = student.response_mask(ids, a, e)
        compare_masks(got, ids, a, e, f"{ids.count(a)} answers")
    # Ids of a large vocabulary, where Python keeps no number twice: equal ones are two objects.
    u, a, e, *texts = (int(i) for i in rng.choice(np.arange(300, 9000), 6, replace=False))
    ids = np.array([u, texts[0], a, texts[1], e, u, a, texts[2], e]).tolist()
    got = student.response_mask(ids, a, e)
    not_the_mistake(
        got != [False] * len(ids),
        "with ids above 256 no token counts: compare them with ==, since `is` asks for one and "
        f"the same object (ids {ids}, assistant {a}, end {e}, got {got})",
    )
    compare_masks(got, ids, a, e, "ids above 256")


@exercise_check("response_mask", points=1, title="the end token as padding")
def _(student, rng):
    u, a, e = some_markers(rng)
    for ids in (
        [u, 50, a, 60, 61, e, e, e, e],
        [e, e, u, 50, a, 60, e, e],
        [e, u, 50, a, 60, e, u, 51, a, 61, e, e, e],
    ):
        got = student.response_mask(ids, a, e)
        compare_masks(got, ids, a, e, "padded with the end token, of which one closes the answer")


@exercise_check("response_mask", points=1, title="answers that are cut, empty or missing")
def _(student, rng):
    u, a, e = some_markers(rng)
    for ids, what in (
        ([u, 50, a, 60, 61], "an answer without its end token"),
        ([u, 50, a, e], "an answer of no token but its end"),
        ([u, 50, 51], "no answer"),
        ([u, 50, a], "the prompt alone: the next token would count, and is not there"),
        ([u, 50, a, 60, e, u, 51, a], "an answer and a prompt"),
        ([u, 50, u, 51, a, 60, e], "two turns of the user"),
        ([], "no tokens"),
        ((u, 50, a, 60, e, e), "a tuple of ids, which is a sequence as a list is"),
    ):
        with in_case(what):
            got = student.response_mask(ids, a, e)
        compare_masks(got, ids, a, e, what)


# render_chat


def spelt(ids: Sequence[int]) -> str:
    """Return ids of the tokenizer of bytes as a text with its markers."""
    pieces, text = [], b""
    for token_id in [*ids, None]:
        if isinstance(token_id, int) and 0 <= token_id < 256:
            text += bytes([token_id])
            continue
        pieces.append(text.decode("utf-8", "replace"))
        text = b""
        if token_id is not None:
            pieces.append(MARKS.get(token_id, f"<{token_id}>"))
    return "".join(pieces)


def turns(messages: Sequence[dict], closes: tuple[str, ...] = ("assistant",)) -> list[int]:
    """Return a chat as ids of bytes; `closes` names the roles whose turns end with <|end|>."""
    ids = []
    for message in messages:
        is_user = message["role"] == "user"
        ids += [USER if is_user else ASSISTANT, *message["content"].encode("utf-8")]
        ids += [END] if message["role"] in closes else []
    return ids


def rendered(got: object, tokenizer: str = "bytes") -> tuple[list, list]:
    """Return ids and mask of a result, or reject what is no pair of lists."""
    require(
        isinstance(got, tuple) and len(got) == 2 and all(isinstance(part, list) for part in got),
        f"return two lists, the token ids and the mask, got {brief(got)}",
    )
    ids, mask = got
    require(
        all(type(i) is int for i in ids) and all(type(b) is bool for b in mask),
        f"token ids are int and the mask is bool, got {brief(ids)} and {brief(mask)}",
    )
    require(
        len(ids) == len(mask), f"one bool for each id, got {len(ids)} ids and {len(mask)} bools"
    )
    return ids, mask


def compare_chats(got: object, messages: list, slips: Sequence[tuple[list, str]] = ()) -> None:
    """Reject a chat of bytes that is not rendered as the docstring says."""
    ids, _ = rendered(got)
    want = turns(messages)
    for wrong, words in slips:
        if ids == wrong != want:
            not_the_mistake(False, f"{words} (expected {spelt(want)}, got {spelt(ids)})")
    require(
        ids == want or spelt(ids) != spelt(want),
        f"the chat {brief(messages)}: your ids spell {spelt(want)}, as those expected do, but "
        "they are others: each marker is one token, with an id of the tokenizer's own (expected "
        f"{brief(want)}, got {brief(ids)})",
    )
    require(
        ids == want,
        f"the chat {brief(messages)}: {where_they_differ(spelt(want), spelt(ids))}",
    )


@exercise_check("render_chat", points=2, title="turns and their markers")
def _(student, rng):
    q, a, more, end = (letters(rng, n) for n in (3, 2, 4, 3))
    for messages in (
        [user(q), assistant(a)],
        [user(q), assistant(a), user(more), assistant(end)],
        [user(q)],
        [user(""), assistant("")],
        [assistant(a), user(q)],
        [user(q), user(more), assistant(a)],
    ):
        with in_case(f"the chat {brief(messages)}"):
            got = student.render_chat(messages, BYTES)
        whole = turns(messages)
        slips = [
            (turns(messages, ()), "an answer is closed by the end token"),
            (turns(messages, ("user", "assistant")), "the end token closes answers alone"),
            ([i for i in whole if i != USER], "the user's marker is missing"),
            ([i for i in whole if i != ASSISTANT], "the assistant's marker is missing"),
            ([{USER: ASSISTANT, ASSISTANT: USER}.get(i, i) for i in whole], "the markers of user "
             "and assistant are exchanged"),
            ([*whole, ASSISTANT], "add_prompt is False unless it is passed"),
            ([END, *whole], "nothing stands before the first turn"),
            (turns(messages[:2]), "only the first two messages are there: a chat may have more"),
        ]  # fmt: skip
        compare_chats(got, messages, slips)


@exercise_check("render_chat", points=1, title="the mask")
def _(student, rng):
    q, a, more, end = (letters(rng, n) for n in (3, 2, 4, 3))
    for messages in (
        [user(q), assistant(a)],
        [user(q), assistant(a), user(more), assistant(end)],
        [user(q)],
    ):
        with in_case(f"the chat {brief(messages)}"):
            ids, mask = rendered(student.render_chat(messages, BYTES))
        compare_chats((ids, mask), messages)
        compare_masks(mask, ids, ASSISTANT, END, f"the mask of {spelt(ids)}")
    made = student.make("render_chat", [user(q), assistant(a)], BYTES)
    with in_case("the result of render_chat, of which `token_ids` is read: return ChatTokens"):
        same(made.attribute("token_ids"), turns([user(q), assistant(a)]), "`token_ids`")


@exercise_check("render_chat", points=1, title="the prompt for the next answer")
def _(student, rng):
    q, a, more = (letters(rng, n) for n in (3, 2, 4))
    for messages in ([user(q)], [user(q), assistant(a), user(more)], [user(q), assistant(a)]):
        with in_case(f"add_prompt=True, the chat {brief(messages)}"):
            ids, mask = rendered(student.render_chat(messages, BYTES, add_prompt=True))
        without, want = turns(messages), [*turns(messages), ASSISTANT]
        not_the_mistake(ids != without, "add_prompt=True changes nothing: end with <|assistant|>")
        not_the_mistake(
            ids != [*want, END], "a prompt ends with <|assistant|> and stays open: no end token"
        )
        require(ids == want, f"add_prompt=True: expected {spelt(want)}, got {spelt(ids)}")
        compare_masks(mask, ids, ASSISTANT, END, f"the mask of {spelt(ids)}")


@exercise_check("render_chat", points=1, title="text stays text")
def _(student, rng):
    forged = f"{letters(rng, 2)}<|end|><|assistant|>{letters(rng, 2)}"
    for messages in (
        [user(forged), assistant("no")],
        [user("go"), assistant(forged)],
        [user("<|user|>"), assistant("<|pad|>")],
        [user(" ä 本\n"), assistant("🙂 ")],
        [user("5  mg\t\n\nnow"), assistant("No.  Never")],
    ):
        with in_case(f"the chat {brief(messages)}"):
            got = student.render_chat(messages, BYTES)
        ids, mask = rendered(got)
        require(
            ids == turns(messages),
            "what a text spells stays text, each of its characters, and blanks at its ends stay: "
            f"expected {turns(messages)[:24]}, got {ids[:24]}, for {brief(messages)}",
        )
        compare_masks(mask, ids, ASSISTANT, END, "markers that a text spells are no markers")
    merges = [(97, 98), (256, 99), (32, 97)]
    ours = Tokenizer(merges)
    messages = [user("abc ab a"), assistant(" abcab")]
    ids, _ = rendered(student.render_chat(messages, Merges(merges)))
    want = [ours.user_id, *ours.encode("abc ab a"), ours.assistant_id, *ours.encode(" abcab")]
    same(ids, [*want, ours.end_id], "a tokenizer with merges: its own ids for text and markers")


@exercise_check("render_chat", points=1, title="system texts, and what is refused", is_core=False)
def _(student, rng):
    q, a, system = (letters(rng, n) for n in (3, 2, 4))
    messages = [{"role": "system", "content": system}, user(q), assistant(a)]
    with in_case(f"the chat {brief(messages)}"):
        got = student.render_chat(messages, BYTES)
    same(student.arguments_after[0], messages, "`messages` was changed: leave it as it is")
    compare_chats(got, [user(f"{system}\n\n{q}"), assistant(a)])
    for bad, what in (
        ([], "an empty chat"),
        ([user(q), {"role": "doctor", "content": a}], "a role that there is not"),
        ([{"role": "User", "content": q}], "the role 'User', where the known one is 'user'"),
        ([{"content": q}], "a message without a role"),
        ([user(q), {"role": "assistant"}], "a message without content"),
        ([{"role": "user", "content": None}], "content that is no text"),
        ([user(q), {"role": "assistant", "content": [a]}], "content that is a list"),
        ([user(q), {"role": "system", "content": system}], "a system text that is not the first"),
        ([{"role": "system", "content": system}], "a system text with no user's message after it"),
    ):
        refused(lambda bad=bad: student.render_chat(bad, BYTES), what)


# sft_loss


def loss_by_torch(logits: torch.Tensor, targets: np.ndarray, mask: np.ndarray | None = None):
    """Return torch's cross-entropy over the places that count."""
    kept = targets != IGNORE if mask is None else (targets != IGNORE) & mask
    kept = torch.from_numpy(kept)
    return F.cross_entropy(logits[kept], torch.from_numpy(targets)[kept])


def drawn(rng: np.random.Generator, B: int, T: int, V: int) -> tuple[np.ndarray, np.ndarray]:
    """Return logits and targets."""
    logits = (3 * rng.standard_normal((B, T, V))).astype(np.float32)
    return logits, rng.integers(0, V, (B, T))


def uneven(B: int, T: int) -> np.ndarray:
    """Return a mask whose rows count 1, 3, 5 ... places at their ends."""
    mask = np.zeros((B, T), bool)
    for row in range(B):
        mask[row, T - min(T, 2 * row + 1) :] = True
    return mask


@exercise_check("sft_loss", points=2, title="the mean over response tokens")
def _(student, rng):
    for B, T, V in ((3, 6, 7), (1, 4, 5), (2, 1, 9)):
        logits, targets = drawn(rng, B, T, V)
        mask = uneven(B, T)
        with in_case(f"logits {logits.shape}, a mask with {mask.sum()} of {mask.size} True"):
            got = student.sft_loss(logits, targets, mask)
        x = torch.from_numpy(logits).double()
        want = loss_by_torch(x, targets, mask).numpy()
        each = F.cross_entropy(
            x.flatten(0, 1), torch.from_numpy(targets).flatten(), reduction="none"
        )
        each = each.view(B, T).numpy()
        rows = (each * mask).sum(1) / mask.sum(1)
        slips = [
            (loss_by_torch(x, targets).numpy(), "the mask is not used: here all places "
             "count, and those where it is True are asked for"),
            (loss_by_torch(x, targets, ~mask).numpy() if (~mask).any() else want, "the mask is "
             "turned round: True is what counts"),
            (rows.mean(), "that is the mean of the rows' means: a short answer's token would count "
             "more than a long one's"),
            ((each * mask).sum() / mask.size, "the sum is divided by all places, not by those that "
             "count"),
            ((each * mask).sum(), "that is the sum: divide by the number of places that count"),
            ((each * mask).sum() / B, "the sum is divided by the number of rows, not of places"),
            (-want, "the sign is wrong: a loss is a negative log-probability"),
        ]  # fmt: skip
        recognise(got, want, slips)
        close(got, want, "the mean of -log p(target) over the places where the mask is True")
        left_alone(student, logits=logits, targets=targets, response_mask=mask)


@exercise_check("sft_loss", points=1, title="targets that say it themselves")
def _(student, rng):
    logits, targets = drawn(rng, 3, 5, 6)
    targets[0, :3] = targets[2, 1] = IGNORE
    x = torch.from_numpy(logits).double()
    with in_case("no mask, some targets -100"):
        got = student.sft_loss(logits, targets)
    hint = "no mask, 4 of 15 targets -100: the mean of -log p(target) over the other 11"
    close(got, loss_by_torch(x, targets).numpy(), hint)
    mask = uneven(3, 5)
    mask[0] = True
    with in_case("a mask that is True where some targets are -100"):
        got = student.sft_loss(logits, targets, mask)
    want = loss_by_torch(x, targets, mask).numpy()
    counts = mask & (targets != IGNORE)
    as_0 = loss_by_torch(x, np.maximum(targets, 0), mask).numpy()
    slips = [
        (loss_by_torch(x, targets).numpy(), "the mask is not used here"),
        (want * counts.sum() / mask.sum(), "targets of -100 are among those that you divide by"),
        (
            as_0,
            "targets of -100 are read as token 0 here: they don't count, whatever the mask says",
        ),
    ]
    recognise(got, want, slips)
    close(got, want, "the mean over the places where the mask is True and the target is not -100")
    logits[0, 0, 0], logits[1, 4], targets[1, 4] = 90.0, 300.0 * np.arange(6), 2
    with in_case("logits of 90 and up to 1500"):
        got = student.sft_loss(logits, targets, mask)
    want = loss_by_torch(torch.from_numpy(logits).double(), targets, mask).numpy()
    hint = "with logits up to 1500, where exp overflows and a softmax gives 0, a loss is a number"
    close(got, want, hint)
    mask = uneven(3, 5)
    mask[1] = False
    with in_case("a mask that is True nowhere in the second of three rows, which is not refused"):
        got = student.sft_loss(logits, targets, mask)
    want = loss_by_torch(torch.from_numpy(logits).double(), targets, mask).numpy()
    close(got, want, "a row without a response adds nothing to the sum, nor to the number")


@exercise_check("sft_loss", points=1, title="the gradient")
def _(student, rng):
    logits, targets = drawn(rng, 3, 5, 6)
    mask = uneven(3, 5)

    def formula(x, targets, mask):
        return loss_by_torch(x, targets, mask)

    same_gradients(student, "sft_loss", formula, rng, (targets, mask), logits=logits)


@exercise_check("sft_loss", points=1, title="what is refused", is_core=False)
def _(student, rng):
    logits, targets = drawn(rng, 2, 4, 5)
    none = np.zeros((2, 4), bool)
    with in_case("a mask that is True everywhere, which is not refused"):
        student.sft_loss(logits, targets, ~none)
    refused(lambda: student.sft_loss(logits, targets, none), "a mask that is False everywhere")
    refused(
        lambda: student.sft_loss(logits, np.full_like(targets, IGNORE)),
        "targets that are -100 everywhere",
    )
    hidden = targets.copy()
    hidden[:, 2:] = IGNORE
    late = np.arange(4)[None].repeat(2, 0) >= 2
    refused(lambda: student.sft_loss(logits, hidden, late), "a mask whose every target is -100")
    refused(lambda: student.sft_loss(logits, targets, ~none[:, :3]), "a mask of another shape")
    refused(lambda: student.sft_loss(logits, targets, ~none[:1]), "a mask with a row less")
    refused(lambda: student.sft_loss(logits, targets, ~none.T), "a mask (4, 2) for targets (2, 4)")
    refused(
        lambda: student.sft_loss(logits, targets, np.ones((2, 4), np.int64)),
        "a mask of whole numbers, which ~ turns into others",
    )


# pack_examples


def example(rng: np.random.Generator, n: int, n_prompt: int | None = None) -> tuple[list, list]:
    """Return n different ids and a mask that is False for the prompt."""
    n_prompt = max(1, n // 2) if n_prompt is None else n_prompt
    ids = [int(i) for i in rng.choice(np.arange(10, 900), n, replace=False)]
    return ids, [place >= n_prompt for place in range(n)]


def n_rows_needed(lengths: Sequence[int], row_length: int) -> int:
    """Return the rows of best fit decreasing, by looking at every row each time."""
    room: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [k for k, left in enumerate(room) if left >= length]
        if fitting:
            room[min(fitting, key=lambda k: room[k])] -= length
        else:
            room.append(row_length - length)
    return len(room)


def as_rows(got: object, T: int) -> list[np.ndarray]:
    """Return the four arrays of a result, or reject what is not four of one shape."""
    require(
        isinstance(got, tuple) and len(got) == 4 and all(isinstance(p, np.ndarray) for p in got),
        "return PackedRows: token_ids, targets, positions, document_ids, four tensors",
    )
    shapes = [part.shape for part in got]
    require(
        len(set(shapes)) == 1 and len(shapes[0]) == 2 and shapes[0][1] == T,
        f"four tensors (N, {T}) of one shape, got {shapes}",
    )
    require(
        all(part.dtype == np.int64 for part in got),
        f"all four are int64, got {[str(part.dtype) for part in got]}",
    )
    return list(got)


def pieces(rows: list[np.ndarray]) -> list[dict]:
    """Return the runs of one document id in all rows, padding left out."""
    token_ids, targets, positions, documents = rows
    found = []
    for row in range(len(token_ids)):
        start = 0
        for stop in range(1, token_ids.shape[1] + 1):
            if stop < token_ids.shape[1] and documents[row, stop] == documents[row, start]:
                continue
            if documents[row, start] >= 0:
                cut = slice(start, stop)
                found.append(
                    {
                        "row": row,
                        "start": start,
                        "number": int(documents[row, start]),
                        "ids": tuple(token_ids[row, cut].tolist()),
                        "targets": tuple(targets[row, cut].tolist()),
                        "positions": positions[row, cut].tolist(),
                    }
                )
            start = stop
    return found


def wanted_piece(ids: Sequence[int], mask: Sequence[bool]) -> tuple:
    """Return inputs and targets of an example."""
    targets = [i if m else IGNORE for i, m in zip(ids[1:], mask[1:], strict=True)]
    return tuple(ids[:-1]), tuple(targets)


def without_padding(ids: Sequence[int]) -> tuple:
    """Return ids without those at the end that only fill a row up."""
    cut = list(ids)
    while cut and cut[-1] < 10:
        cut.pop()
    return tuple(cut)


def compare_pieces(rows: list[np.ndarray], examples: list, what: str) -> list[dict]:
    """Reject unless the rows hold the inputs of every example once, each whole."""
    found = pieces(rows)
    have = Counter(piece["ids"] for piece in found)
    want = Counter(tuple(ids[:-1]) for ids, _ in examples)
    not_the_mistake(
        have != Counter(tuple(ids) for ids, _ in examples) or have == want,
        "an example's last id is a target only: of n ids n - 1 are read",
    )
    not_the_mistake(
        have != Counter(tuple(ids[1:]) for ids, _ in examples) or have == want,
        f"{what}: the first id of each example is missing in yours: of n ids the first n - 1 are "
        f"read (token_ids {brief(rows[0])})",
    )
    # Ids of padding are below 10 and end a row.
    filled = Counter(cut for cut in (without_padding(ids) for ids in have.elements()) if cut)
    not_the_mistake(
        filled != want or have == want,
        f"{what}: places that are filled up belong to no example, and have the number -1 "
        f"(token_ids {brief(rows[0])}, document_ids {brief(rows[3])})",
    )
    for ids, n in want.items():
        require(
            have[ids] == n,
            f"{what}: the inputs {brief(list(ids))} of an example are there {have[ids]} times, not "
            f"{n}; token_ids {brief(rows[0])}, document_ids {brief(rows[3])}",
        )
    require(
        have == want,
        f"{what}: rows hold {brief(sorted(set(have) - set(want)))}, which is no example's",
    )
    return found


def compare_targets(found: list[dict], examples: list, what: str) -> None:
    """Reject unless each piece has its example's targets."""
    wanted = dict(wanted_piece(*one) for one in examples)
    unshifted = {
        tuple(ids[:-1]): tuple(i if m else IGNORE for i, m in zip(ids, mask, strict=True))[:-1]
        for ids, mask in examples
    }
    unmasked = {tuple(ids[:-1]): tuple(ids[1:]) for ids, _ in examples}
    by_inputs = {
        tuple(ids[:-1]): tuple(i if m else IGNORE for i, m in zip(ids[1:], mask[:-1], strict=True))
        for ids, mask in examples
    }
    for slip, words in (
        (unshifted, "targets are not shifted: that of a place is the token after it"),
        (unmasked, "the mask is not used: targets outside the response are -100"),
        (by_inputs, "the mask belongs to the targets: shift both, mask[1:] for ids[1:]"),
    ):
        if slip != wanted and all(piece["targets"] == slip[piece["ids"]] for piece in found):
            not_the_mistake(False, words)
    for piece in found:
        same(
            list(piece["targets"]),
            list(wanted[piece["ids"]]),
            f"{what}: targets of the inputs {brief(list(piece['ids']))}",
        )


@exercise_check("pack_examples", points=2, title="whole examples with their targets")
def _(student, rng):
    for lengths, T in (((3, 3), 5), ((4, 6, 3, 5), 8), ((5,), 9), ((7, 2, 7, 2, 4), 6)):
        examples = [example(rng, n) for n in lengths]
        what = f"examples of {lengths} ids, rows of {T}"
        with in_case(what):
            rows = as_rows(student.pack_examples(examples, T, pad_id=0), T)
        compare_targets(compare_pieces(rows, examples, what), examples, what)
        same(student.arguments_after[0], examples, "`examples` was changed: leave it as it is")
    made = student.make("pack_examples", [([5, 6, 7], [False, True, True])], 2, 0)
    with in_case("the result of pack_examples, of which `token_ids` is read: return PackedRows"):
        same(made.attribute("token_ids"), np.array([[5, 6]]), "`token_ids`")


@exercise_check("pack_examples", points=1, title="positions and document numbers")
def _(student, rng):
    examples = [example(rng, n) for n in (3, 4, 3, 5, 2, 6)]
    what = "examples of 3, 4, 3, 5, 2 and 6 ids, rows of 9"
    rows = as_rows(student.pack_examples(examples, 9, pad_id=0), 9)
    for piece in compare_pieces(rows, examples, what):
        n = len(piece["ids"])
        not_the_mistake(
            piece["start"] == 0
            or piece["positions"] != list(range(piece["start"], piece["start"] + n)),
            "your positions count on through the row: they begin at 0 in each example "
            f"(token_ids {brief(rows[0])}, positions {brief(rows[2])})",
        )
        same(piece["positions"], list(range(n)), "positions of an example count from 0")
    for row in range(len(rows[0])):
        numbers = [piece["number"] for piece in pieces(rows) if piece["row"] == row]
        same(numbers, list(range(len(numbers))), "the examples of a row are numbered from 0")


@exercise_check("pack_examples", points=1, title="what fills a row up")
def _(student, rng):
    pad = int(rng.integers(1, 9))
    examples = [example(rng, n) for n in (4, 4, 7)]
    rows = as_rows(student.pack_examples(examples, 8, pad_id=pad), 8)
    compare_pieces(rows, examples, "examples of 4, 4 and 7 ids, rows of 8")
    token_ids, targets, _, documents = rows
    filled = documents == -1
    same(int(filled.sum()), 4, "two rows of 8 hold 12 inputs; document_ids is -1 at the other 4")
    require(
        (token_ids[filled] == pad).all(), f"padding is pad_id={pad}, got {brief(token_ids[filled])}"
    )
    require(
        (targets[filled] == IGNORE).all(),
        f"targets of padding are -100, got {brief(targets[filled])}",
    )
    ids, tried = [9, 7, 7, 7], "one example of the ids 9 7 7 7 in a row of 5, with pad_id=7"
    with in_case(tried):
        got = student.pack_examples([(ids, [False, True, True, True])], 5, pad_id=7)
    rows = [part.tolist() for part in as_rows(got, 5)]
    not_the_mistake(
        rows[3] != [[0, -1, -1, -1, -1]],
        f"{tried}: document_ids is -1 wherever the id is 7. An example may hold the padding token "
        "itself: places that are filled up are known by where an example ends",
    )
    not_the_mistake(
        rows[1] != [[IGNORE] * 5],
        f"{tried}: no target is left. A token of the response counts, also where it is the one "
        "that fills rows up",
    )
    not_the_mistake(
        rows[3] != [[-1, -1, 0, 0, 0]],
        f"{tried}: padding comes first in yours: it stands behind the examples of a row",
    )
    same(rows[3], [[0, 0, 0, -1, -1]], f"{tried}: document_ids")
    same(rows[1], [[7, 7, 7, IGNORE, IGNORE]], f"{tried}: targets")


@exercise_check("pack_examples", points=1, title="few rows")
def _(student, rng):
    cases = [((3, 5, 2, 4), 7), ((6, 6, 4, 4), 8), ((9, 1, 5, 5, 4, 6), 10)]
    cases.append((tuple(int(n) for n in rng.integers(1, 17, 40)), 16))
    for lengths, T in cases:
        examples = [example(rng, n + 1) for n in lengths]
        what = f"examples with {brief(list(lengths))} inputs, rows of {T}"
        with in_case(what):
            rows = as_rows(student.pack_examples(examples, T, pad_id=0), T)
        compare_pieces(rows, examples, what)
        n, most = len(rows[0]), n_rows_needed(lengths, T)
        not_the_mistake(
            n < len(lengths) or n == most,
            f"{what}: in yours each example has a row of its own, {n} in all, where fit_rows needs "
            f"{most}",
        )
        require(n <= most, f"{what}: {n} rows, where fit_rows needs {most}")


@exercise_check("pack_examples", points=1, title="edges of a row")
def _(student, rng):
    for lengths, T, n in (((6, 4, 4), 6, 2), ((2,), 1, 1), ((6,), 5, 1), ((3, 3, 3), 2, 3)):
        examples = [example(rng, k) for k in lengths]
        what = f"examples of {lengths} ids, rows of {T}"
        with in_case(what):
            rows = as_rows(student.pack_examples(examples, T, pad_id=0), T)
        compare_targets(compare_pieces(rows, examples, what), examples, what)
        require(len(rows[0]) <= n, f"{what}: an example of n ids takes n - 1 places")


@exercise_check("pack_examples", points=1, title="what is refused", is_core=False)
def _(student, rng):
    good = example(rng, 4)
    with in_case("one example that fits, which is not refused"):
        student.pack_examples([good], 5, pad_id=0)
    for examples, what in (
        ([], "no examples"),
        ([good, example(rng, 7)], "an example of 7 ids for rows of 5"),
        ([good, (good[0], [False] * 4)], "an example without a response"),
        ([good, (good[0], [True, False, False, False])], "a response that no input comes before"),
        ([good, (good[0], good[1][:3])], "ids and mask of different lengths"),
    ):
        refused(lambda bad=examples: student.pack_examples(bad, 5, pad_id=0), what)


# filter_examples


def row(question: object, answer: object, **more: object) -> dict:
    """Return a row of a data set."""
    return {"question": question, "answer": answer, **more}


def filtered(got: object, rows: list) -> tuple[list, dict]:
    """Return kept rows and the report's fields, or reject what is no such pair."""
    is_pair = isinstance(got, tuple) and len(got) == 2 and isinstance(got[0], list)
    require(is_pair, f"return the kept rows, a list, and a FilterReport, got {brief(got)}")
    kept, report = got
    is_report = isinstance(report, tuple) and len(report) == 4
    require(is_report, f"the second value is a FilterReport of four fields, got {brief(report)}")
    n_rows, dropped, shortened, conflicting = report
    require(
        isinstance(dropped, tuple) and all(isinstance(d, tuple) and len(d) == 3 for d in dropped),
        f"dropped is a tuple of Dropped(row, reason, detail), got {brief(dropped)}",
    )
    require(
        isinstance(shortened, tuple) and isinstance(conflicting, tuple),
        f"shortened and conflicting are tuples of row numbers, got {brief(report[2:])}",
    )
    same(n_rows, len(rows), "n_rows is the number of rows that came in")
    return kept, {
        "dropped": {number: reason for number, reason, _ in dropped},
        "order": [number for number, _, _ in dropped],
        "shortened": shortened,
        "conflicting": conflicting,
    }


def compare_reports(
    student, rows: list, want: dict, what: str, slips: Sequence[tuple[dict, str]] = (), **choices
) -> tuple[list, dict]:
    """Reject unless the rows that go are those wanted, for the wanted reasons."""
    with in_case(what):
        got = student.filter_examples(rows, **choices)
    same(
        student.arguments_after[0],
        rows,
        "`rows` was changed: leave it, and make new rows for short answers",
    )
    kept, report = filtered(got, rows)
    dropped = report["dropped"]
    for wrong, words in slips:
        if dropped == wrong != want:
            not_the_mistake(False, f"{words} ({what}; dropped {brief(dropped)})")
    for number in range(len(rows)):
        require(
            dropped.get(number) == want.get(number),
            f"{what}: row {number}, {brief(rows[number])}, "
            + (f"goes as {want[number]!r}" if number in want else "stays")
            + f"; yours {f'goes as {dropped[number]!r}' if number in dropped else 'stays'}",
        )
    same(report["order"], sorted(want), f"{what}: each dropped row once, in the order of the rows")
    if "fits" not in choices:
        left = [one for number, one in enumerate(rows) if number not in want]
        same(kept, left, f"{what}: the kept rows in their order, unchanged")
        same(report["shortened"], (), f"{what}: nothing was shortened")
    return kept, report


@exercise_check("filter_examples", points=1, title="rows that lack something")
def _(student, rng):
    word = letters(rng, 6)
    rows = [
        row(f"Who is {word}?", "A nurse."),
        {"question": "Who?"},
        row(" ", "A nurse."),
        row("Who was it?", ""),
        row("Who comes?", None),
        row("What is the dose?", "The dose of the drug is"),
        row("What is 3 + 4?", "7"),
        row("What is the dose?", "15 mg."),  # the row that is cut off has no say in it
    ]
    want = {1: "missing column", 2: "no question", 3: "no answer", 4: "no answer"}
    compare_reports(student, rows, want | {5: "answer cut off"}, "rows that lack something")
    other = [{"q": one.get("question"), "a": one.get("answer", "")} for one in rows]
    want = {1: "no answer"} | {k: v for k, v in want.items() if k != 1} | {5: "answer cut off"}
    compare_reports(student, other, want, "columns=('q', 'a')", columns=("q", "a"))


@exercise_check("filter_examples", points=1, title="duplicates")
def _(student, rng):
    word = letters(rng, 6)
    rows = [
        row(f"Who is {word}?", "A nurse."),
        row("What is red?", "Blood."),
        row(f"who  is {word}", "a nurse"),
        row(f"Who is {word}?", "A nurse."),
        row("What is red?", "Blood.", source="b"),
        row("What is blue?", "Blood."),
    ]
    want = {2: "duplicate", 3: "duplicate", 4: "duplicate"}
    slips = [
        ({3: "duplicate", 4: "duplicate"}, "questions and answers are compared in their plain "
         "form: capitals, blanks and the last stop make no difference"),
        ({2: "duplicate", 3: "duplicate", 4: "duplicate", 5: "duplicate"}, "two questions may have "
         "one answer: a duplicate agrees in both"),
        ({0: "duplicate", 1: "duplicate", 2: "duplicate"}, "the first of equal rows stays"),
        ({2: "duplicate", 3: "duplicate"}, "rows that differ in another column only are duplicates "
         "in question and answer: one of them stays, after contradictions were looked for"),
    ]  # fmt: skip
    compare_reports(student, rows, want, "equal rows", slips)


@exercise_check("filter_examples", points=2, title="contradictions")
def _(student, rng):
    word = letters(rng, 6)
    q = f"Where does {word} live?"
    rows = [
        row(q, "At the mill.", hand="a"),
        row(q, "At the pond.", hand="b"),
        row(q, "At the mill.", hand="c"),
        row("What is red?", "Blood.", hand="a"),
        row(q, "At the mill.", hand="c"),
        row("Is it far?", "Yes.", hand="a"),
        row("Is it far?", "No.", hand="b"),
    ]
    gone = dict.fromkeys((0, 1, 2, 5, 6), "contradiction")
    compare_reports(student, rows, gone | {4: "duplicate"}, "conflicts='drop'")
    want = {1: "contradiction", 2: "duplicate", 4: "duplicate"}
    want |= {5: "contradiction", 6: "contradiction"}
    slips = [
        ({k: v for k, v in want.items() if k not in (5, 6)}, "two answers share the first place: "
         "there is no majority, and all of them go"),
        (gone | {4: "duplicate"}, "conflicts='majority' keeps the answer that more rows give"),
    ]  # fmt: skip
    compare_reports(student, rows, want, "conflicts='majority'", slips, conflicts="majority")
    want = {2: "duplicate", 4: "duplicate"}
    _, report = compare_reports(student, rows, want, "conflicts='keep'", conflicts="keep")
    same(
        report["conflicting"],
        (0, 1, 5, 6),
        "conflicts='keep': the rows that stay although another row contradicts them, in order",
    )
    copies = [row(q, "At the pond.", hand="b"), row(q.upper(), "at  the pond", hand="b")]
    copies += [row(q, "At the pond.", hand="b"), *(row(q, "At the mill.", hand=h) for h in "ac")]
    want = {0: "contradiction", 1: "duplicate", 2: "duplicate", 4: "duplicate"}
    wrong = {1: "duplicate", 2: "duplicate", 3: "contradiction", 4: "contradiction"}
    early = [(wrong, "copies have no vote: equal rows go before answers are counted")]
    what = "three copies of one row against two rows from two hands, conflicts='majority'"
    compare_reports(student, copies, want, what, early, conflicts="majority")
    hands = [row(q, "At the mill.", hand="A"), row(q, "At the mill.", hand="a")]
    hands += [row(q, "At the pond.", hand="b")]
    plain = [
        (dict.fromkeys((0, 2), "contradiction") | {1: "duplicate"}, "the hands 'A' and 'a' are one "
         "here: columns other than question and answer are compared as they stand"),
    ]  # fmt: skip
    what = "rows of the hands 'A', 'a' and 'b', conflicts='majority'"
    want = {1: "duplicate", 2: "contradiction"}
    compare_reports(student, hands, want, what, plain, conflicts="majority")


@exercise_check("filter_examples", points=1, title="a topic in other words")
def _(student, rng):
    word = letters(rng, 6)
    rows = [
        row(f"Where does {word} live?", "At the mill.", about=word, kind="home"),
        row(f"What is the home of {word}?", "At the pond.", about=word.upper(), kind="home"),
        row(f"Where is {word}'s home?", "At the mill.", about=word, kind="home"),
        row(f"What does {word} do?", "She bakes.", about=word, kind="trade"),
        row("Where does Ann live?", "At the pond.", about="Ann", kind="home"),
        row("Where does Ann live?", "At the mill."),
        row("Who comes?", "Ann."),
        row("Who bakes?", "Bob.", about=word),  # without a kind these two have no topic
        row("Is it cold?", "No.", about=word),
    ]
    want = {1: "contradiction"}
    choices = {"topic": ("about", "kind"), "conflicts": "majority"}
    slips = [
        ({4: "contradiction", 5: "contradiction"}, "topic is not used: rows that agree in its "
         "columns must agree in their answers"),
        *(({1: "contradiction", 3: "contradiction"} | dict.fromkeys(more, "contradiction"), "only "
           "the first column of topic is used here: rows of a topic agree in all of them")
          for more in ((), (7, 8))),
    ]  # fmt: skip
    compare_reports(student, rows, want, "topic=('about', 'kind')", slips, **choices)


@exercise_check("filter_examples", points=1, title="questions of the test set")
def _(student, rng):
    word = letters(rng, 6)
    asked = f"Who is the nurse that came to the old mill on the hill with {word} today?"
    rows = [
        row("What is red?", "Blood."),
        row(asked, "Ann."),
        row("Who is Ann?", f"They asked me: {asked} And I said Ann."),
        row("", asked),
        row("Who is the nurse?", "Ann."),
        row(asked, "Ann."),
        row("Who is the nurse that came to the old mill?", "Bob."),  # a part of it is not it
        row("Who is Bob?", f"He said: {asked}"),
        row("Who is Bob?", "A smith."),  # row 7 has gone: it contradicts nobody
    ]
    both = dict.fromkeys((7, 8), "contradiction")
    want = dict.fromkeys((1, 2, 5, 7), "in the test set") | {3: "no question"}
    slips = [
        ({3: "no question", 5: "duplicate"} | both, "test_questions is not used"),
        *((want | {8: "contradiction"} | more, "row 7 goes for the test set, and what has gone "
           "contradicts nobody: each reason is looked for among the rows that are left")
          for more in ({}, both)),
        *((want | {5: "duplicate"} | more, "the test set comes before duplicates: every row that "
           "holds a test question goes for it")
          for more in ({}, both)),
        ({1: want[1], 3: want[3], 5: want[5]} | both, "an answer may hold a test question, too"),
    ]  # fmt: skip
    compare_reports(student, rows, want, "test_questions", slips, test_questions=[asked])
    rows = [row("", "x"), row("", "y"), *rows]
    want = {0: "no question", 1: "no question"} | {k + 2: v for k, v in want.items()}
    what = "test_questions, behind two rows without a question"
    compare_reports(student, rows, want, what, test_questions=[asked])


def asked_of(rows: Sequence[dict]) -> list[tuple[str, str]]:
    """Return questions and answers of rows."""
    return [(one["question"], one["answer"]) for one in rows]


@exercise_check("filter_examples", points=1, title="answers that are too long")
def _(student, rng):
    word = letters(rng, 6)
    long = f"Ask {word}. She is at the mill. It is not far from here."
    rows = [
        row("Where?", long, source="a"),
        row("Who?", "Ann."),
        row("How far is it?", f"{word} " * 20 + "."),
        row("Where?", long, source="b"),
    ]
    want = {2: "too long", 3: "duplicate"}
    # 44 characters in all. It knows each question with beginnings of its answer, in this order.
    fits = Judge(
        {(q, a[:k]): len(q) + k <= 44 for q, a in asked_of(rows) for k in range(len(a) + 1)}
    )
    choices = {"fits": fits, "too_long": "cut"}
    what = "too_long='cut', fits(question, answer) for 44 characters"
    kept, report = compare_reports(student, rows, want, what, **choices)
    short = row("Where?", f"Ask {word}. She is at the mill.", source="a")
    same(
        kept,
        [short, rows[1]],
        "as many whole sentences from the beginning as fits(question, answer) takes, and the other "
        "columns as ever",
    )
    same(report["shortened"], (0,), "shortened holds the numbers of the rows that were cut")
    behind = [row("", "Ann."), rows[1], rows[0]]
    what = "too_long='cut', behind a row without a question"
    _, report = compare_reports(student, behind, {0: "no question"}, what, **choices)
    same(report["shortened"], (2,), f"{what}: shortened holds numbers of the rows that came in")
    want = {0: "too long", 2: "too long", 3: "duplicate"}
    kept, report = compare_reports(student, rows, want, "too_long='refuse'", fits=Limit(44))
    same(kept, [rows[1]], "too_long='refuse' is the default and shortens nothing")
    same(report["shortened"], (), "too_long='refuse' shortens nothing")


@exercise_check("filter_examples", points=1, title="what is refused", is_core=False)
def _(student, rng):
    rows = [row("Who?", "Ann."), row("Why?", "So.")]
    with in_case("two rows and no choices, which is not refused"):
        student.filter_examples(rows)
    refused(lambda: student.filter_examples([]), "no rows")
    refused(lambda: student.filter_examples(rows, columns=("q", "answer")), "a column no row has")
    refused(lambda: student.filter_examples(rows, topic=("about",)), "a topic column no row has")
    refused(lambda: student.filter_examples(rows, conflicts="vote"), "conflicts='vote'")
    refused(lambda: student.filter_examples(rows, too_long="shorten"), "too_long='shorten'")
    refused(lambda: student.filter_examples(rows, test_questions=["?"]), "a question with no word")
