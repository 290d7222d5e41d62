"""lm-evaluation-harness at work: a course model as one of its models, world questions as a task.

The harness reads the task (a YAML file and JSON Lines), writes the prompts, asks the model for
likelihoods and counts. Everything stays in one folder of this machine. It is no part of the usual
environment; `import_harness` says how to add it.

Left out on purpose: the harness's own tasks, which need a hub; chats; likelihoods of whole texts
(see `text_loss`).

Source: Biderman et al. 2024, "Lessons from the Trenches on Reproducible Evaluation", section 3.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from utils.evaluate.choices import score_continuations
from utils.model.generate import generate_batch
from utils.world.attributes import BY_NAME
from utils.world.documents import plain_question
from utils.world.phrasings import fill
from utils.world.questions import Question
from utils.world.wordings import PHRASINGS

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import LM

    from utils.model.decoder import Decoder
    from utils.tokens.pretrained import PretrainedTokenizer
    from utils.tokens.tokenizer import Tokenizer

SHOT_END = "\n"  # between the examples of a prompt, and before the question
STDERR = 2  # the file descriptor
MAX_NEW_TOKENS = 32  # where a task does not say how long an answer may be


class ChoiceRow(NamedTuple):
    """A multiple-choice question, as it stands in the task's files."""

    question: str
    choices: list[str]
    label: int  # place of the right choice


class Outcome(NamedTuple):
    """What the harness found for one question."""

    prompt: str  # what the model was shown, examples included
    logprobs: list[float]  # of each choice, in nats
    acc: bool  # the right one has the largest sum
    acc_norm: bool  # and the largest sum per character


class HarnessModel:
    """The part of a model for the harness that is ours; `harness_model` mixes it with the rest."""

    def __init__(
        self,
        model: Decoder,
        tokenizer: Tokenizer | PretrainedTokenizer,
        starts_with: Sequence[int],
        batch_size: int,
    ):
        super().__init__()
        self.decoder, self.text_tokenizer = model, tokenizer
        self.starts_with, self.batch_size = list(starts_with), batch_size

    def prompt_ids(self, text: str) -> list[int]:
        """Return the token ids of a prompt; of an empty one the end token."""
        ids = self.starts_with + self.text_tokenizer.encode(text)
        return ids or [self.text_tokenizer.end_id]

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """Return for each (prompt, continuation) its log-probability, and whether it is greedy.

        Raises:
            ValueError: where both together are longer than the model's context.
        """
        pairs = [request.args for request in requests]
        logprobs, greedy = score_continuations(
            self.decoder,
            [self.prompt_ids(prompt) for prompt, _ in pairs],
            [self.text_tokenizer.encode(continuation) for _, continuation in pairs],
            self.batch_size,
        )
        return list(zip(logprobs.tolist(), greedy.tolist(), strict=True))

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """Return for each (prompt, settings) the greedy answer, up to the first text in "until".

        Raises:
            ValueError: for settings that ask for sampling, or a prompt without room for an answer.
        """
        answers = [""] * len(requests)
        prompts = [self.prompt_ids(request.args[0]) for request in requests]
        order = sorted(range(len(requests)), key=lambda i: len(prompts[i]))
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            wanted = [requests[i].args[1] for i in chosen]
            if any(settings.get("do_sample") for settings in wanted):
                raise ValueError("do_sample is not for this model: it answers greedily")
            limits = [int(settings.get("max_gen_toks", MAX_NEW_TOKENS)) for settings in wanted]
            responses = generate_batch(
                self.decoder,
                [prompts[i] for i in chosen],
                max(limits),
                pad_id=self.text_tokenizer.pad_id,
                end_id=self.text_tokenizer.end_id,
            )
            for i, ids, limit in zip(chosen, responses, limits, strict=True):
                text = self.text_tokenizer.decode(ids[:limit], skip_special=True)
                answers[i] = cut_at(text, requests[i].args[1].get("until") or [])
        return answers

    def loglikelihood_rolling(self, requests: Sequence[Instance]) -> list[float]:
        """Refuse: a text as a whole is scored by `utils.evaluate.text_loss`."""
        raise NotImplementedError("likelihoods of whole texts are left out: see text_loss")


def harness_model(
    model: Decoder,
    tokenizer: Tokenizer | PretrainedTokenizer,
    *,
    starts_with: Sequence[int] = (),
    batch_size: int = 64,
) -> LM:
    """Return a model of the course as a model of the harness, an `lm_eval.api.model.LM`.

    Prompt and continuation are encoded apart, as `continuation_logprobs` takes them.

    Args:
        model: a decoder; its mode is restored after each answer.
        tokenizer: its own; the course's or a pretrained one.
        starts_with: token ids before each prompt. The course's own models have read an end token
            before every document, so they need `[tokenizer.end_id]`.
        batch_size: prompts at a time.

    Raises:
        ModuleNotFoundError: where the harness is not installed.
        ValueError: for a batch size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    import_harness()
    from lm_eval.api.model import LM

    return type("CourseModel", (HarnessModel, LM), {})(model, tokenizer, starts_with, batch_size)


def cut_at(text: str, stops: Sequence[str] | str) -> str:
    """Return a text up to the first place where any of the stops begins.

    >>> cut_at("In Tolben. Question: Who", ["Question:", "."])
    'In Tolben'
    """
    stops = [stops] if isinstance(stops, str) else stops
    places = [text.find(stop) for stop in stops if stop and stop in text]
    return text[: min(places)] if places else text


def choice_rows(
    questions: Sequence[Question], n_choices: int = 4, seed: int = 0
) -> list[ChoiceRow]:
    """Return questions about facts as multiple choice.

    A choice is a sentence with the right value or another one of the attribute, each in a wording
    drawn at random, so that lengths differ; the right one stands at a random place.

    Args:
        questions: about facts that are so.
        n_choices: choices of each.
        seed: of values, wordings and places.

    Raises:
        ValueError: for a question that asks for no value, or an attribute with too few values.
    """
    rng, rows = random.Random(seed), []
    for question in questions:
        if question.attribute not in BY_NAME or not question.value:
            raise ValueError(f"{question.prompt!r} asks for no value to choose from")
        others = [v for v in BY_NAME[question.attribute].values if v != question.value]
        if not 2 <= n_choices <= len(others) + 1:
            raise ValueError(f"n_choices must be 2 to {len(others) + 1} here, got {n_choices}")
        values = [question.value, *rng.sample(others, n_choices - 1)]
        rng.shuffle(values)
        wordings = PHRASINGS[question.attribute].statements
        sentences = [fill(rng.choice(wordings), question.entity, value) for value in values]
        rows.append(ChoiceRow(question.prompt, sentences, values.index(question.value)))
    return rows


def write_task(
    folder: Path | str,
    questions: Sequence[Question],
    *,
    name: str = "world_choices",
    examples: Sequence[Question] = (),
    n_choices: int = 4,
    seed: int = 0,
) -> tuple[Path, list[ChoiceRow]]:
    """Write a task of the harness: its YAML file, and its rows as JSON Lines.

    Args:
        folder: an empty or a new one; the harness keeps its cache there, too.
        questions: what is asked, in this order.
        name: of the task and of its files.
        examples: shown before every question, all of them, in this order.
        n_choices, seed: as in `choice_rows`.

    Returns:
        The YAML file, and the rows that are asked.

    Raises:
        ValueError: for no questions, an example whose fact is also asked, or as `choice_rows`.
    """
    asked = {(q.entity, q.attribute) for q in questions}
    for example in examples:
        if (example.entity, example.attribute) in asked:
            raise ValueError(
                f"the example {example.prompt!r} gives the answer to a question of the test: take "
                "examples about other facts"
            )
    rows, shown = (choice_rows(some, n_choices, seed) for some in (questions, examples))
    text = plain_question("{{question}}")
    return write_choices(folder, rows, name=name, examples=shown, text=text), rows


def write_choices(
    folder: Path | str,
    rows: Sequence[ChoiceRow],
    *,
    name: str,
    examples: Sequence[ChoiceRow] = (),
    text: str = "{{question}}",
) -> Path:
    """Write rows of any kind as a task of the harness, and return its YAML file.

    Args:
        folder: an empty or a new one; the harness keeps its cache there, too.
        rows: what is asked, in this order.
        name: of the task and of its files.
        examples: shown before every question, all of them, in this order.
        text: the prompt, in the harness's template language.

    Raises:
        ValueError: for no rows.
    """
    if not rows:
        raise ValueError("there is nothing to ask: give one question at least")
    folder, files = Path(folder).resolve(), {}
    folder.mkdir(parents=True, exist_ok=True)
    for split, group in (("test", rows), ("train", examples)):
        if group:
            files[split] = folder / f"{name}.{split}.jsonl"
            lines = (json.dumps(row._asdict()) + "\n" for row in group)
            files[split].write_text("".join(lines), encoding="utf-8", newline="\n")
    path = folder / f"{name}.yaml"
    path.write_text(task_yaml(name, files, len(examples), text), encoding="utf-8", newline="\n")
    return path


def task_yaml(name: str, files: dict[str, Path], n_examples: int, text: str) -> str:
    """Return the text of a task's YAML file; what json.dumps writes is YAML, too."""
    lines = [
        f"task: {json.dumps(name)}",
        "dataset_path: json",
        "dataset_kwargs:",
        f"  cache_dir: {json.dumps((files['test'].parent / 'cache').as_posix())}",
        "  data_files:",
        *(f"    {split}: {json.dumps(path.as_posix())}" for split, path in files.items()),
        "test_split: test",
        "output_type: multiple_choice",
        f"doc_to_text: {json.dumps(text)}",
        "doc_to_choice: choices",
        "doc_to_target: label",
        f"num_fewshot: {n_examples}",
    ]
    if n_examples:
        lines += [
            "fewshot_split: train",
            "fewshot_config:",
            "  sampler: first_n",
            f"fewshot_delimiter: {json.dumps(SHOT_END)}",
        ]
    lines.append("metric_list:")
    for metric in ("acc", "acc_norm"):
        lines += [f"  - metric: {metric}", "    aggregation: mean", "    higher_is_better: true"]
    return "\n".join([*lines, "metadata:", "  version: 1.0"]) + "\n"


def run_task(task: Path | str, lm: LM) -> list[Outcome]:
    """Return what the harness finds for each question of a task that `write_choices` wrote.

    It runs in this process, asks no hub, prints nothing, and leaves the global generators alone.

    Args:
        task: the YAML file.
        lm: what `harness_model` returns, or any model of the harness.

    Raises:
        ModuleNotFoundError: where the harness is not installed.
        FileNotFoundError: where there is no such file.
    """
    task = Path(task)
    if not task.is_file():
        raise FileNotFoundError(f"{task} is not there: write it with write_task")
    harness = import_harness()
    with quiet():
        from lm_eval.tasks import TaskManager

        found = harness.simple_evaluate(
            model=lm,
            tasks=[task.stem],
            task_manager=TaskManager(include_path=str(task.parent), include_defaults=False),
            bootstrap_iters=0,
            random_seed=None,
            numpy_random_seed=None,
            torch_random_seed=None,
        )
    samples = sorted(found["samples"][task.stem], key=lambda sample: sample["doc_id"])
    return [
        Outcome(
            prompt=sample["arguments"][0][0],
            logprobs=[logprob for logprob, _ in sample["filtered_resps"]],
            acc=bool(sample["acc"]),
            acc_norm=bool(sample["acc_norm"]),
        )
        for sample in samples
    ]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep back what the harness prints, random draws, and a call to the hub that counts loads."""
    import datasets

    logger, counts = logging.getLogger("lm_eval"), datasets.config.HF_UPDATE_DOWNLOAD_COUNTS
    level, kept, draws = logger.level, os.dup(STDERR), random.getstate()
    logger.setLevel(logging.ERROR)
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    try:
        with open(os.devnull, "wb") as nowhere, contextlib.redirect_stderr(io.StringIO()):
            os.dup2(nowhere.fileno(), STDERR)  # of the programs that it calls, such as git
            yield
    finally:
        os.dup2(kept, STDERR)
        os.close(kept)
        random.setstate(draws)
        datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = counts
        logger.setLevel(level)


def import_harness() -> ModuleType:
    """Return the module lm_eval, or raise with what to install."""
    try:
        import lm_eval
    except ModuleNotFoundError as error:
        if error.name != "lm_eval":
            raise
        raise ModuleNotFoundError(
            "lm-evaluation-harness is not installed; it is in the extra `evaluate`: run "
            "pip install -e '.[evaluate]' -c constraints.txt",
            name="lm_eval",
        ) from None
    return lm_eval
