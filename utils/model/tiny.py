"""A whole decoder in one small module, to be written by hand; `Decoder` is what runs.

Left out on purpose: fused products, a cache, shared key-value heads, refusals of bad input.

Shapes: B batch, T tokens, D d_model, F d_ff, V vocabulary.
Source: Touvron et al. 2023, "LLaMA", section 2.2; Radford et al. 2019 (GPT-2), section 2.3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from utils.model.block import decoder_block
from utils.model.config import TransformerConfig
from utils.model.norm import rms_norm
from utils.model.rotary import rope_table


class TinyDecoder(nn.Module):
    """A language model: token ids in, a score for each possible next token out.

    The embedding table gives each token a vector, the layers add to it, a last `rms_norm` follows,
    and the same table, turned round, makes logits of it (tied embeddings).

    Args:
        vocab_size: V.
        context_length: the most tokens in a row; `rope_table` is as long.
        d_model, n_layers, n_heads, d_ff: D, layers, heads, F. A head is D / n_heads wide, and each
            has keys and values of its own.

    Weights, which a checkpoint brings under these names and no others:
        embedding.weight: (V, D), of an nn.Embedding.
        layers.N.NAME: an nn.ParameterDict for each layer N, in an nn.ModuleList. NAME runs over the
            nine weights of `decoder_block`, as it calls them: attention_gain (D,), w_q, w_k, w_v,
            w_o (D, D), feed_forward_gain (D,), w_gate, w_up (F, D), w_down (D, F).
        gain: (D,), of the last norm.

    >>> model = TinyDecoder(11, 8, d_model=16, n_layers=2, n_heads=4, d_ff=32)
    >>> model(torch.tensor([[1, 2, 3]])).shape
    torch.Size([1, 3, 11])
    """

    def __init__(
        self,
        vocab_size: int,
        context_length: int,
        d_model: int,
        n_layers: int,
        n_heads: int,
        d_ff: int,
    ):
        """Draw the weights of a fresh model: gains are one, all others normal, around zero.

        Their standard deviation is 0.02; that of `w_o` and `w_down`, which write into the stream,
        is 0.02 / sqrt(2 n_layers). The tables of `rope_table` are no weights: a buffer that is not
        persistent, or a plain attribute.
        """
        super().__init__()
        square, up, down = (d_model, d_model), (d_ff, d_model), (d_model, d_ff)
        shapes = {"w_q": square, "w_k": square, "w_v": square, "w_o": square}
        shapes |= {"w_gate": up, "w_up": up, "w_down": down}
        self.n_heads = n_heads
        self.embedding = nn.Embedding(vocab_size, d_model)
        self.layers = nn.ModuleList()
        for _ in range(n_layers):
            layer = nn.ParameterDict({name: torch.empty(shape) for name, shape in shapes.items()})
            layer["attention_gain"] = torch.ones(d_model)
            layer["feed_forward_gain"] = torch.ones(d_model)
            self.layers.append(layer)
        self.gain = nn.Parameter(torch.ones(d_model))
        cos, sin = rope_table(context_length, d_model // n_heads)  # (context_length, K/2)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                writes = name.endswith(("w_o", "w_down"))
                nn.init.normal_(weight, std=0.02 / (2 * n_layers if writes else 1) ** 0.5)

    def forward(self, token_ids: Tensor) -> Tensor:
        """Return the logits of the next token at each position: (B, T) int64 to (B, T, V)."""
        T = token_ids.shape[1]
        x = self.embedding(token_ids)  # (B, T, D)
        turns = {"cos": self.cos[:T], "sin": self.sin[:T]}
        for layer in self.layers:
            x = decoder_block(x, **layer, n_heads=self.n_heads, n_kv_heads=self.n_heads, **turns)
        return rms_norm(x, self.gain) @ self.embedding.weight.T


def tiny_weights(decoder: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a `Decoder` under the names of a `TinyDecoder`.

    Raises:
        ValueError: where the decoder has what a TinyDecoder lacks: shared keys and values, an
            untied table, norms or biases of its heads, or other rotary positions.

    >>> from utils.model.config import TransformerConfig
    >>> from utils.model.decoder import Decoder
    >>> weights = tiny_weights(Decoder(TransformerConfig(11, 8, d_model=16, n_layers=1)))
    >>> weights["layers.0.w_q"].shape
    torch.Size([16, 16])
    """
    config = decoder.config
    if config.n_kv_heads != config.n_heads or not config.tie_embeddings or config.qk_norm:
        raise ValueError("a TinyDecoder has as many key-value heads as heads, and one tied table")
    plain = TransformerConfig(1, 1, d_model=2, n_heads=1)
    for name in ("qkv_bias", "rope_scaling", "rope_theta", "norm_eps"):
        if getattr(config, name) != getattr(plain, name):
            raise ValueError(f"a TinyDecoder has no other {name} than {getattr(plain, name)}")
    weights = {"embedding.weight": decoder.embedding.weight, "gain": decoder.norm.weight}
    for number, block in enumerate(decoder.blocks):
        w_q, w_k, w_v = block.attention.qkv.weight.chunk(3)
        w_gate, w_up = block.feed_forward.gate_up.weight.chunk(2)
        layer = {
            "attention_gain": block.attention_norm.weight,
            **{"w_q": w_q, "w_k": w_k, "w_v": w_v, "w_o": block.attention.output.weight},
            "feed_forward_gain": block.feed_forward_norm.weight,
            **{"w_gate": w_gate, "w_up": w_up, "w_down": block.feed_forward.down.weight},
        }
        weights |= {f"layers.{number}.{name}": weight for name, weight in layer.items()}
    return {name: weight.detach() for name, weight in weights.items()}
