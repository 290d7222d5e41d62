"""A checkpoint that one mesh wrote goes on on another, and on one process."""

from dataclasses import replace

import pytest
import torch

from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.parallel.hybrid import Hybrid
from utils.parallel.job import JobConfig, batch_of
from utils.parallel.mesh_checkpoint import load_mesh, places_of, save_mesh
from utils.parallel.processes import run_ranks
from utils.parallel.reshard import Box, Piece, load_boxes, save_pieces, whole
from utils.train.checkpoints import CorruptCheckpoint

CONFIG = TransformerConfig(vocab_size=32, context_length=16, d_model=16, n_layers=4, n_heads=4)
STEPS = 4
DATA = JobConfig("", vocab_size=32, n_tokens=16)


def train(sizes, config, weights, steps, save_to, load_from):
    """Train in a rank of a mesh; return the losses."""
    hybrid = Hybrid(config, weights, sizes)
    optimizer = torch.optim.AdamW(hybrid.part.parameters(), lr=1e-2, foreach=False)
    places = places_of(hybrid, config, {name: tuple(w.shape) for name, w in weights.items()})
    if load_from:
        assert load_mesh(load_from, hybrid, places, optimizer) == {"step": steps[0]}
    losses = []
    for step in steps:
        losses.append(hybrid.step(*batch_of(DATA, step), n_micro_batches=4 // sizes[1]))
        optimizer.step()
        optimizer.zero_grad()
    if save_to:
        save_mesh(save_to, hybrid, places, optimizer, {"step": steps[-1] + 1})
    return losses


@pytest.mark.parametrize("is_tied", [True, False])
def test_a_mesh_of_2x2x2_goes_on_as_4x1x2_and_as_one_process(tmp_path, is_tied):
    torch.manual_seed(0)
    config = replace(CONFIG, tie_embeddings=is_tied)
    weights = {name: w.detach() for name, w in Decoder(config).named_parameters()}
    first, then = list(range(STEPS)), list(range(STEPS, STEPS + 3))
    folder = str(tmp_path / "step-4")
    run_ranks(train, 8, (2, 2, 2), config, weights, first, folder, None, show=False)
    want = run_ranks(train, 1, (1, 1, 1), config, weights, first + then, None, None, show=False)
    for sizes in ((4, 1, 2), (1, 1, 1), (1, 4, 2)):
        n = sizes[0] * sizes[1] * sizes[2]
        found = run_ranks(train, n, sizes, config, weights, then, None, folder, show=False)
        for losses in found:
            pairs = zip(losses, want[0][STEPS:], strict=True)
            assert max(abs(a - b) for a, b in pairs) < 1e-5, sizes
    fresh = run_ranks(train, 1, (1, 1, 1), config, weights, then, None, None, show=False)[0]
    assert abs(fresh[0] - want[0][STEPS]) > 1e-3  # the control: without the checkpoint it differs


def test_gaps_missing_files_and_unknown_names_are_refused(tmp_path):
    left = {"w": [Piece(torch.zeros(2, 3), (0, 0), (4, 3))]}
    folder = save_pieces(tmp_path / "c", 0, 1, left, {"step": 1})
    assert load_boxes(folder, {"w": [Box((1, 0), (1, 3))]})[0]["w"][0].shape == (1, 3)
    with pytest.raises(CorruptCheckpoint, match="lacks a piece of 'w'"):
        whole(folder)
    with pytest.raises(KeyError, match="no tensor 'v'"):
        load_boxes(folder, {"v": []})
    (folder / "rank-00000.safetensors").unlink()
    with pytest.raises(CorruptCheckpoint, match="rank-00000.safetensors is missing"):
        whole(folder)
    with pytest.raises(FileNotFoundError, match="is no checkpoint"):
        whole(tmp_path)


def test_ranks_that_are_a_step_apart_make_no_checkpoint(tmp_path):
    piece = {"w": [Piece(torch.zeros(1), (0,), (2,))]}
    save_pieces(tmp_path / "c", 1, 2, piece, {"step": 8})
    with pytest.raises(RuntimeError, match="rank 1 saved .*8.* and rank 0 .*9.*same step"):
        save_pieces(tmp_path / "c", 0, 2, piece, {"step": 9})
    assert not (tmp_path / "c").exists()
