"""`course chat`: talk to a model in the terminal, through our own decoder and cache.

The cache stays from turn to turn: only what is new is read. Ctrl-C stops an answer and not the
program.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from utils.zoo.files import RECIPE, CorruptModel, load_model, read_record
from utils.zoo.real import ModelMissing, load_real

if TYPE_CHECKING:
    import torch

    from utils.model.decoder import Decoder
    from utils.tokens.pretrained import PretrainedTokenizer
    from utils.tokens.tokenizer import Tokenizer

BASE = "base"
MAX_CACHE = 4096  # tokens; SmolLM2's take 46 kB each
HELP = "/reset begins anew, /quit or Ctrl-D ends; Ctrl-C stops an answer."


class ContextFull(RuntimeError):
    """The conversation no longer fits into the model's context."""


@dataclass
class Conversation:
    """What was said, and the keys and values of what the model has read of it.

    Args:
        render: makes token ids of all messages, ready for the next answer.
    """

    model: Decoder
    tokenizer: Tokenizer | PretrainedTokenizer
    render: Callable[[list[dict[str, str]]], list[int]]
    system: str | None = None
    temperature: float = 0.0
    top_p: float | None = None
    generator: torch.Generator | None = None
    max_new_tokens: int = 400
    n_read: int = 0  # tokens that the last answer had to read
    messages: list[dict[str, str]] = field(default_factory=list)
    held: list[int] = field(default_factory=list)  # tokens whose keys and values are in the cache

    def __post_init__(self):
        from utils.model.cache import KVCache

        capacity = min(MAX_CACHE, self.model.config.context_length)
        self.cache = KVCache(self.model.config, batch_size=1, capacity=capacity)
        self.reset()

    def reset(self) -> None:
        """Forget what was said."""
        self.messages = [{"role": "system", "content": self.system}] if self.system else []
        self.held, self.cache.length = [], 0

    def say(self, text: str) -> Iterator[str]:
        """Yield the answer to a text piece by piece; what was yielded is what was said.

        Raises:
            ContextFull: where the conversation has no room for an answer; it is as before.
        """
        from utils.model.streaming import shared_prefix, stream

        token_ids = self.render([*self.messages, {"role": "user", "content": text}])
        if len(token_ids) >= self.cache.capacity:
            raise ContextFull(
                f"the conversation has {len(token_ids)} tokens, and the model reads "
                f"{self.cache.capacity}: /reset begins anew"
            )
        known = min(shared_prefix(self.held, token_ids), len(token_ids) - 1)
        self.cache.length, self.n_read = known, len(token_ids) - known
        self.messages.append({"role": "user", "content": text})
        written: list[int] = []
        shown, whole = "", ""
        try:
            for token_id in stream(
                self.model,
                self.cache,
                token_ids[known:],
                self.max_new_tokens,
                end_id=self.tokenizer.end_id,
                temperature=self.temperature,
                top_p=self.top_p,
                generator=self.generator,
            ):
                written.append(token_id)
                whole = self.tokenizer.decode(written, skip_special=True)
                if not whole.endswith("\ufffd"):  # else half a character: wait for the rest
                    new, shown = whole[len(shown) :], whole
                    yield new
            new, shown = whole[len(shown) :], whole
            if new:  # it ends with what is no character
                yield new
        finally:
            self.held = (token_ids + written)[: self.cache.length]
            self.messages.append({"role": "assistant", "content": shown})


class NoChat(ValueError):
    """A folder with the course's models that nobody can talk to; the message says which one can."""


def open_conversation(wanted: str, **settings) -> Conversation:
    """Return a conversation with a model.

    Args:
        wanted: `base`; a folder that a stage of a capstone project wrote; or what `course model`
            has prepared.

    Raises:
        ModelMissing: where the model is not prepared.
        NoChat: for a whole project, or a stage whose model does not answer.
        CorruptModel: where the files of a stage are damaged.
    """
    from utils.tokens.chat import render_chat
    from utils.world.documents import plain_question
    from utils.zoo.load import load_base

    folder = Path(wanted)
    if wanted == BASE:  # a project's own stage of that name is ./base
        is_base = True
        model, tokenizer = load_base()
    elif (folder / RECIPE).is_file():
        record = read_record(folder)
        if "head" in record:
            raise NoChat(
                f"{wanted} holds a reward model, which gives points and no answers: talk to the "
                f"model that it has judged, course chat --model {folder.parent / 'align'}"
            )
        is_base = "begun_from" in record
        model, tokenizer = load_model(folder)
    else:
        check_no_project(folder)
        model, tokenizer = load_real(wanted)

        def as_chat(messages):
            return tokenizer.chat(messages, add_prompt=True).token_ids

        return Conversation(model, tokenizer, as_chat, **settings)

    def as_own_chat(messages):
        """The course's own markup, in which the tuned stages have learned to answer."""
        return render_chat(messages, tokenizer, add_prompt=True).token_ids

    def as_question(messages):
        """A base model has read questions one by one, and no chats."""
        question = plain_question(messages[-1]["content"])
        return [tokenizer.end_id, *tokenizer.encode(question)]

    return Conversation(model, tokenizer, as_question if is_base else as_own_chat, **settings)


def check_no_project(folder: Path) -> None:
    """Refuse a folder that holds no model itself and, below it, models of the course.

    Raises:
        NoChat: with the folders that were probably meant.
    """
    stages = sorted(path.parent.name for path in folder.glob(f"*/{RECIPE}"))
    if stages:
        raise NoChat(
            f"{folder} holds the models of several stages ({', '.join(stages)}): name one of them, "
            f"such as course chat --model {folder / stages[-1]}"
        )


def main(
    wanted: str | None, system: str | None, temperature: float, top_p: float | None, seed: int
) -> int:
    """Talk until the end of input; return 0, or 2 where there is no model to talk to."""
    from utils.runtime import describe, generator, start
    from utils.settings import setting

    tier = start(seed)
    wanted = wanted or setting("COURSE_MODEL") or "smollm2"
    try:
        conversation = open_conversation(
            wanted,
            system=system,
            temperature=temperature,
            top_p=top_p,
            generator=generator(seed),
        )
    except ModelMissing as error:
        print(f"{error} Or talk to the small one: course chat --model {BASE}", file=sys.stderr)
        return 2
    except (NoChat, CorruptModel) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{wanted} | {describe(tier)}\n{HELP}", flush=True)
    while True:
        try:
            text = input("\nyou: ").strip()
        except EOFError:
            print()
            return 0
        except KeyboardInterrupt:
            print(f"\n{HELP}", flush=True)
            continue
        if text in ("/quit", "/exit"):
            return 0
        if text == "/reset":
            conversation.reset()
            print("(forgotten)", flush=True)
        elif text.startswith("/"):
            print(HELP, flush=True)
        elif text:
            answer(conversation, text)


def answer(conversation: Conversation, text: str) -> None:
    """Print an answer as it is written; an interrupt ends it."""
    print("model: ", end="", flush=True)
    pieces = conversation.say(text)
    try:
        for piece in pieces:
            print(piece, end="", flush=True)
        print(flush=True)
    except KeyboardInterrupt:
        print(" (stopped)", flush=True)
    except ContextFull as error:
        print(f"({error})", flush=True)
    finally:
        pieces.close()
