"""Counted operations are those of the products, by whatever path they are done."""

import pytest
import torch
from torch.nn import functional as F

from utils.model.accounting import count_flops, sizes_of
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.model.linear import linear
from utils.report.work import operations


@pytest.mark.parametrize("n_rows", [1, 64])
@pytest.mark.parametrize("with_gradients", [False, True])
def test_both_paths_of_a_product_count_alike(n_rows, with_gradients):
    x, weight = torch.ones(n_rows, 8), torch.ones(4, 8, requires_grad=with_gradients)
    counted = {operations(lambda f=f: f(x, weight)) for f in (linear, F.linear)}
    assert counted == {2 * n_rows * 8 * 4}


def test_a_forward_pass_has_the_operations_of_the_formula():
    config = TransformerConfig(64, 32, d_model=32, n_layers=2, n_heads=4)
    model, ids = Decoder(config).eval(), torch.zeros(2, 32, dtype=torch.long)
    shape = {k: v for k, v in sizes_of(config).items() if k not in ("tie_embeddings", "qk_norm")}
    with torch.inference_mode():
        counted = operations(lambda: model(ids))
    assert counted == pytest.approx(count_flops(**shape, batch_size=2, n_tokens=32), rel=0.01)
