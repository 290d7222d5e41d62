"""Activation checkpointing: keep a block's input, forget what is inside, compute it again.

A block's forward leaves tensors behind that its backward needs. `checkpoint_block` runs it without
leaving any, and once more, with them, when the gradient arrives. `SavedBytes` counts what autograd
holds, and `block_numbers` says what a decoder's block will leave, from its shape.

Left out on purpose: gradients of gradients, mixed precision by autocast, blocks with more than one
result, generators other than torch's default one.
Shapes: B batch, T tokens, D d_model, H heads, K d_head, F d_ff.
Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", section 3.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call
from torch.nn import functional as F

from utils.model.config import TransformerConfig


def example_block(x: Tensor, w_up: Tensor, w_down: Tensor, calls: Tensor | None = None) -> Tensor:
    """Return x + dropout(relu(x w_up)) w_down: a small block to try checkpointing on.

    Half of the inner numbers are dropped, by torch's default generator.

    Args:
        x: (..., D).
        w_up: (D, F).
        w_down: (F, D).
        calls: (2,) int64, where the block counts its calls: those without gradients, those with.

    >>> calls = torch.zeros(2, dtype=torch.int64)
    >>> example_block(torch.ones(1, 2), torch.zeros(2, 3), torch.zeros(3, 2), calls), calls
    (tensor([[1., 1.]]), tensor([0, 1]))
    """
    if calls is not None:
        calls.data[int(torch.is_grad_enabled())] += 1  # data: a note, and no step of the graph
    return x + F.dropout(F.relu(x @ w_up)) @ w_down


def checkpoint_block(*tensors: Tensor, block: Callable = example_block) -> Tensor:
    """Return block(*tensors), and keep nothing of what happens inside.

    The block runs without gradients, and only `tensors` are kept. When the gradient of the result
    arrives, it runs a second time, with gradients, from the same state of torch's default
    generator, so that what is drawn inside (dropout) is drawn alike. The gradients are those of
    the plain block(*tensors). Afterwards the generator is where it was before the second run: its
    draws do not move what is drawn later.

    Args:
        tensors: what the block reads: activations, weights, and tensors of whole numbers, which
            have no gradient.
        block: returns one tensor; called once here, and once more in each backward.

    Returns:
        The block's result. A tensor that needs no gradient gets none; where no tensor needs one,
        the block runs this once.

    >>> w = torch.ones(2, 2, requires_grad=True)
    >>> y = checkpoint_block(torch.ones(1, 2), w, block=lambda x, w: torch.tanh(x @ w))
    >>> torch.autograd.grad(y.sum(), w)[0]  # 1 - tanh(2) ** 2
    tensor([[0.0707, 0.0707],
            [0.0707, 0.0707]])

    Source: Chen et al. 2016, algorithm 1.
    """

    class Checkpoint(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *tensors: Tensor) -> Tensor:
            ctx.state = torch.get_rng_state()
            ctx.save_for_backward(*tensors)
            return block(*tensors)  # inside a Function's forward gradients are off

        @staticmethod
        def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
            wanted = ctx.needs_input_grad
            inputs = [
                tensor.detach().requires_grad_(is_wanted)
                for tensor, is_wanted in zip(ctx.saved_tensors, wanted, strict=True)
            ]
            with torch.random.fork_rng(devices=[]), torch.enable_grad():
                torch.set_rng_state(ctx.state)
                result = block(*inputs)
            leaves = [tensor for tensor in inputs if tensor.requires_grad]
            found = iter(torch.autograd.grad(result, leaves, gradient, allow_unused=True))
            return tuple(next(found) if is_wanted else None for is_wanted in wanted)

    return Checkpoint.apply(*tensors)


def checkpointed(
    module: nn.Module, x: Tensor, *others: object, checkpoint: Callable = checkpoint_block
) -> Tensor:
    """Return module(x, *others) with its inner tensors computed again in the backward.

    Args:
        module: a block of a decoder, for example.
        x: (..., D).
        others: further arguments, which get no gradient.
        checkpoint: `checkpoint_block`, or another one of its kind.

    >>> layer = nn.Linear(2, 2)
    >>> x = torch.ones(1, 2)
    >>> torch.equal(checkpointed(layer, x), layer(x))
    True
    """
    names, weights = zip(*module.named_parameters(), strict=True)

    def run(x: Tensor, *weights: Tensor) -> Tensor:
        return functional_call(module, dict(zip(names, weights, strict=True)), (x, *others))

    return checkpoint(x, *weights, block=run)


def decoder_logits(model: nn.Module, token_ids: Tensor, wrapped: Callable | None = None) -> Tensor:
    """Return a decoder's logits, with the blocks that `wrapped` says checkpointed.

    Args:
        model: a `Decoder`.
        token_ids: (B, T).
        wrapped: number of a block -> whether it is checkpointed; None: all of them.
    """
    T = token_ids.shape[1]
    x = model.embedding(token_ids)  # (B, T, D)
    for k, block in enumerate(model.blocks):
        if wrapped is None or wrapped(k):
            x = checkpointed(block, x, model.cos[:T], model.sin[:T])
        else:
            x = block(x, model.cos[:T], model.sin[:T])
    return model.unembedding(model.norm(x))


def block_numbers(config: TransformerConfig) -> int:
    """Return how many numbers a decoder's block leaves behind for its backward, for each token.

    Each of the two norms: its input, the normalised input before and behind its gain, and one root
    mean square. Attention: the turned queries and keys, the storage that values share with
    queries and keys before turning, one normaliser a head, and its result. The feed-forward part:
    gate and up, the gate behind its SiLU, and the product.

    Raises:
        ValueError: for parts that are not counted here.

    >>> block_numbers(TransformerConfig(vocab_size=8, context_length=8, d_model=64, d_ff=192))
    1542
    """
    if config.qk_norm or config.qkv_bias:
        raise ValueError("blocks with norms of queries and keys, or with biases, are not counted")
    queries, keys = config.n_heads * config.d_head, config.n_kv_heads * config.d_head
    norms = 2 * (3 * config.d_model + 1)
    attention = (queries + keys) + (queries + 2 * keys) + config.n_heads + queries
    return norms + attention + 4 * config.d_ff


def kept_bytes(config: TransformerConfig, n_tokens: int, n_checkpointed: int = 0) -> int:
    """Return the bytes that a decoder with a mean cross-entropy keeps for its backward, in float32.

    A checkpointed block keeps its input. Beside the blocks: the last norm, the logarithms of the
    probabilities, and the token ids in 8 bytes, as read and as looked up.

    Args:
        config: of the decoder.
        n_tokens: B T.
        n_checkpointed: how many of its blocks are checkpointed.

    >>> config = TransformerConfig(vocab_size=256, context_length=64, d_model=64, n_layers=8)
    >>> round(kept_bytes(config, 512) / kept_bytes(config, 512, n_checkpointed=8), 1)
    13.3
    """
    n_plain = config.n_layers - n_checkpointed
    blocks = n_plain * block_numbers(config) + n_checkpointed * config.d_model
    head = 3 * config.d_model + 1 + config.vocab_size + 2 * 2
    return 4 * n_tokens * (blocks + head)


class SavedBytes(saved_tensors_hooks):
    """Counts the bytes that autograd holds for the backward while this context is open.

    Each storage counts once, however many tensors share it; a module's weights do not count.
    `now` is what is held, `most` the most that was held at one time.

    >>> x, w = torch.ones(4, 8), torch.ones(8, 8, requires_grad=True)
    >>> with SavedBytes() as saved:
    ...     y = torch.tanh(x @ w)
    >>> saved.now  # x and y, 32 numbers each
    256
    """

    def __init__(self, model: nn.Module | None = None):
        self.weights = {
            weight.untyped_storage().data_ptr()
            for weight in (model.parameters() if model is not None else ())
        }
        self.held: dict[int, int] = {}  # storage -> how many saved tensors lie in it
        self.now = self.most = 0
        super().__init__(lambda tensor: Kept(self, tensor), lambda kept: kept.tensor)

    def __enter__(self) -> SavedBytes:
        super().__enter__()
        return self

    def add(self, tensor: Tensor) -> None:
        """Note that a tensor is kept."""
        storage = tensor.untyped_storage()
        place = storage.data_ptr()
        if place in self.weights or tensor.is_leaf and tensor.requires_grad:
            return
        self.held[place] = self.held.get(place, 0) + 1
        if self.held[place] == 1:
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)

    def drop(self, tensor: Tensor) -> None:
        """Note that a tensor is kept no longer."""
        storage = tensor.untyped_storage()
        place = storage.data_ptr()
        if place not in self.held:
            return
        self.held[place] -= 1
        if not self.held[place]:
            del self.held[place]
            self.now -= storage.nbytes()


class Kept:
    """A saved tensor that tells its meter when autograd lets go of it."""

    def __init__(self, meter: SavedBytes, tensor: Tensor):
        self.meter, self.tensor = meter, tensor
        meter.add(tensor)

    def __del__(self):
        self.meter.drop(self.tensor)
