"""Pipeline, data and tensor parallel at once: one decoder on a mesh of ranks.

Each rank holds one stage of one replica, and of that stage its part of every matrix. A step runs
the pipeline over this replica's rows and adds up what is shared, over parts, stages and replicas.

Left out on purpose: optimizer states cut over the replicas (see `zero.py`), interleaved stages.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder, decoder_of
from utils.parallel.mesh import Mesh, make_groups
from utils.parallel.pipeline import cut_decoder, run_schedule, run_stage, sum_tied
from utils.parallel.schedules import schedule_1f1b
from utils.parallel.tensor_parallel import (
    Gathered,
    split_decoder,
    sum_replicated,
)
from utils.parallel.vocabulary import vocab_parallel_cross_entropy
from utils.train.losses import IGNORE_INDEX


class Hybrid:
    """A rank's part of a decoder on a mesh, and its step.

    Args:
        config: of the decoder.
        weights: the whole decoder's, by name; the same on every rank.
        sizes: of pipeline, data and tensor parallel; their product is the number of ranks.
        sequence_parallel: as in `split_decoder`.

    Raises:
        ValueError: where the mesh does not fit the ranks, or the decoder the mesh.
    """

    def __init__(
        self,
        config: TransformerConfig,
        weights: dict[str, Tensor],
        sizes: tuple[int, int, int],
        sequence_parallel: bool = False,
    ):
        self.mesh: Mesh = make_groups(sizes)
        self.sequence_parallel = sequence_parallel and sizes[2] > 1
        self.part = self.part_of(config, weights)

    def part_of(self, config: TransformerConfig, weights: dict[str, Tensor]) -> Decoder:
        """Return this rank's part of a decoder with these weights."""
        mesh = self.mesh
        whole = decoder_of(config, {name: nn.Parameter(w.clone()) for name, w in weights.items()})
        stage = cut_decoder(whole, mesh.pp, mesh.sizes[0])
        return split_decoder(stage, mesh.groups["tp"], self.sequence_parallel)

    def step(self, token_ids: Tensor, targets: Tensor, n_micro_batches: int) -> float:
        """Compute the gradients of one batch; return the loss, the same on every rank.

        Args:
            token_ids: (B, T), the same on every rank; each replica takes its rows.
            targets: (B, T).
            n_micro_batches: of each replica.
        """
        mesh, part = self.mesh, self.part
        n_pp, n_dp, n_tp = mesh.sizes
        rows = torch.arange(len(token_ids)).chunk(n_dp)[mesh.dp]
        T, width = token_ids.shape[1], part.config.d_model

        def stage(x: Tensor) -> Tensor:
            return run_stage(part, x, T)

        def mean_loss(logits: Tensor, targets: Tensor) -> Tensor:
            return vocab_parallel_cross_entropy(logits, targets, mesh.groups["tp"])

        loss, _ = run_schedule(
            schedule_1f1b(n_pp, n_micro_batches),
            {mesh.pp: stage},
            token_ids[rows],
            targets[rows],
            width,
            mesh.groups["pp"],
            mean_loss,
            int((targets != IGNORE_INDEX).sum()),
            n_tokens=T // n_tp if self.sequence_parallel else T,
        )
        self.add_up()
        total = torch.tensor(loss)
        dist.all_reduce(total, group=mesh.groups["pp"])
        dist.all_reduce(total, group=mesh.groups["dp"])
        return total.item()

    def add_up(self) -> None:
        """Sum gradients: of norms over the parts, of the tied table, of all over the replicas."""
        mesh = self.mesh
        if self.sequence_parallel:
            sum_replicated(self.part, mesh.groups["tp"])
        if self.part.config.tie_embeddings:
            sum_tied(self.table(), mesh.sizes[0], mesh.groups["pp"])
        for weight in self.part.parameters():
            dist.all_reduce(weight.grad, group=mesh.groups["dp"])

    def table(self) -> Tensor | None:
        """Return the embedding's or the unembedding's table, whichever this stage has."""
        last = self.part.unembedding
        last = last.part if isinstance(last, Gathered) else last
        for part in (self.part.embedding, last):
            if hasattr(part, "weight"):
                return part.weight
        return None

    def worst_gradient(self, gradients: dict[str, Tensor]) -> float:
        """Return the largest difference of this rank's gradients from its part of whole ones.

        Args:
            gradients: of the whole decoder, by the names of its weights: cut like weights.
        """
        wanted = self.part_of(self.part.config, gradients)
        pairs = zip(self.part.parameters(), wanted.parameters(), strict=True)
        return max((mine.grad - want.detach()).abs().max().item() for mine, want in pairs)
