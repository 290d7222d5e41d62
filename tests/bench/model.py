"""Our decoder against transformers' Llama of the same shape: training and generation.

Both sides run in one process with one thread, in turns, so that a busy machine slows them alike.
Training: the same loss function and fused AdamW with the same settings; tokens per second of whole
steps. Generation: our generate against `model.generate` of the exported checkpoint, so both write
the same tokens from the same weights; greedy, with cache, no early end.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.model.generate import generate
from utils.model.linear import linear, weight_gradient
from utils.model.pretrained import save_hugging_face
from utils.runtime import generator
from utils.train.losses import cross_entropy
from utils.train.optimizers import adamw

CONFIG = TransformerConfig(
    vocab_size=1024, context_length=128, d_model=128, n_layers=4, n_heads=4, d_ff=352
)
TRAIN_BATCHES, BAR_TRAIN = (8, 16), 1.3
PROMPT_LENGTH, NEW_TOKENS = 16, 96
BARS_GENERATE = {1: 5.0, 64: 3.0}  # batch size -> bar
BAR_FLOOR = 1.5  # of our time for a token, over that of its matrix products alone
TURN_SECONDS = 0.5
N_TURNS = 9


def in_turns(
    ours: Callable[[], object], theirs: Callable[[], object], n_turns: int = N_TURNS
) -> tuple[float, float, float]:
    """Return the median seconds per call of both, and the median of the ratios theirs / ours.

    Each turn runs one side for about TURN_SECONDS, then the other, the order changing each time.
    """
    sides = (ours, theirs)
    calls = []
    for side in sides:
        side()  # warm up
        start = time.perf_counter()
        side()
        calls.append(max(1, round(TURN_SECONDS / (time.perf_counter() - start))))
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(n_turns):
        for i in (0, 1) if turn % 2 else (1, 0):
            start = time.perf_counter()
            for _ in range(calls[i]):
                sides[i]()
            seconds[i].append((time.perf_counter() - start) / calls[i])
    ratios = [their / our for our, their in zip(*seconds, strict=True)]
    return statistics.median(seconds[0]), statistics.median(seconds[1]), statistics.median(ratios)


def exported(model: Decoder) -> nn.Module:
    """Return transformers' model of the same weights."""
    from transformers import AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as folder:
        save_hugging_face(model, folder)
        return AutoModelForCausalLM.from_pretrained(folder)


def training_step(
    model: nn.Module, logits_of: Callable[[Tensor], Tensor], batch_size: int
) -> Callable[[], None]:
    """Return a function that takes one optimizer step on a fixed batch."""
    optimizer = adamw(model, lr=1e-4)
    shape = (batch_size, CONFIG.context_length + 1)
    block = torch.randint(CONFIG.vocab_size, shape, generator=generator(0))
    token_ids, targets = block[:, :-1], block[:, 1:]

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        cross_entropy(logits_of(token_ids), targets).backward()
        optimizer.step()

    return step


def seconds_of(work: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def products_of_a_pass(model: Decoder, n_rows: int, trains: bool = False) -> Callable[[], None]:
    """Return a function that does the matrix products of a pass's weights and nothing else.

    Args:
        n_rows: vectors that pass at once: rows of a batch, or all its tokens.
        trains: the two products of the backward for each weight, too.
    """
    weights = [weight.detach() for weight in model.parameters() if weight.dim() == 2]
    inputs = {n: torch.randn(n_rows, n) for n in {size for w in weights for size in w.shape}}

    @torch.inference_mode()
    def products() -> None:
        for weight in weights:
            x, gradient = inputs[weight.shape[1]], inputs[weight.shape[0]]
            linear(x, weight)
            if trains:
                gradient @ weight
                weight_gradient(gradient, x)

    return products


def training_row(batch_size: int) -> dict:
    """Train both models and compare tokens per second."""
    torch.manual_seed(0)
    model = Decoder(CONFIG)
    peer = exported(model).train()
    ours = training_step(model, model, batch_size)
    theirs = training_step(peer, lambda token_ids: peer(token_ids).logits, batch_size)
    our_seconds, their_seconds, ratio = in_turns(ours, theirs)
    n_tokens = batch_size * CONFIG.context_length
    _, _, share = in_turns(ours, products_of_a_pass(model, n_tokens, trains=True))
    return {
        "row": f"training, batch {batch_size} x {CONFIG.context_length}",
        "peer": "transformers Llama",
        "measured": ratio,
        "unit": "x",
        "bar": BAR_TRAIN,
        "details": f"{n_tokens / our_seconds:.0f} against {n_tokens / their_seconds:.0f} tokens/s "
        f"(medians of {N_TURNS} turns; the ratio is the median of the turns' ratios); the products "
        f"of the weights alone take {share:.0%} of our step, so that a step that did nothing else "
        f"would have {ratio / share:.2f} times the peer's speed",
    }


def writing_in_turns(
    model: Decoder, peer: nn.Module, prompt: Tensor, n_new_tokens: int, n_turns: int = N_TURNS
) -> tuple[float, float, float, float]:
    """Write greedy tokens without an early end with both models, in turns.

    Returns:
        The share of equal tokens, then what `in_turns` returns.

    Raises:
        AssertionError: where the two do not write the same (a tie aside): no timing would count.
    """

    def ours() -> Tensor:
        return generate(model, prompt, n_new_tokens)

    def theirs() -> Tensor:
        return peer.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=n_new_tokens,
            min_new_tokens=n_new_tokens,
            do_sample=False,
            use_cache=True,
            pad_token_id=0,
        )

    same = (ours() == theirs()).float().mean().item()
    assert same > 0.95, f"only {same:.1%} of the tokens agree: the two models differ"
    return same, *in_turns(ours, theirs, n_turns)


def generation_rows(batch_size: int) -> Iterator[dict]:
    """Write the same greedy tokens with both models; then compare ours with its products alone.

    Raises:
        AssertionError: where the two do not write the same (a tie aside): no timing would count.
    """
    torch.manual_seed(0)
    model = Decoder(CONFIG).eval()
    peer = exported(model).eval()
    shape = (batch_size, PROMPT_LENGTH)
    prompt = torch.randint(CONFIG.vocab_size, shape, generator=generator(1))

    same, our_seconds, their_seconds, ratio = writing_in_turns(model, peer, prompt, NEW_TOKENS)
    n_tokens = batch_size * NEW_TOKENS
    yield {
        "row": f"generation, batch {batch_size}",
        "peer": "transformers generate",
        "measured": ratio,
        "unit": "x",
        "bar": BARS_GENERATE[batch_size],
        "details": f"{n_tokens / our_seconds:.0f} against {n_tokens / their_seconds:.0f} tokens/s "
        f"({NEW_TOKENS} new tokens; {same:.1%} of the tokens equal; medians of {N_TURNS} turns)",
    }
    products = products_of_a_pass(model, batch_size)

    def floor() -> None:
        for _ in range(NEW_TOKENS):
            products()

    our_seconds, floor_seconds, share = in_turns(lambda: generate(model, prompt, NEW_TOKENS), floor)
    yield {
        "row": f"generation, batch {batch_size}: time over the floor's",
        "peer": "its matrix products alone",
        "measured": 1 / share,
        "unit": "x",
        "bar": BAR_FLOOR,
        "at_least": False,
        "details": f"{1e6 * our_seconds / NEW_TOKENS:.0f} against "
        f"{1e6 * floor_seconds / NEW_TOKENS:.0f} microseconds a step",
    }


def rows() -> Iterator[dict]:
    """Yield the rows of training and generation."""
    for batch_size in TRAIN_BATCHES:
        yield training_row(batch_size)
    for batch_size in BARS_GENERATE:
        yield from generation_rows(batch_size)
