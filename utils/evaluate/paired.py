"""Two systems on the same examples: is the difference more than chance?

Shapes: N examples, R sign patterns.
"""

from __future__ import annotations

import torch
from torch import Tensor

MAX_EXACT = 12  # differences that are not zero; 2 ** 12 patterns
CHUNK = 2**22  # numbers drawn at once


def paired_permutation_test(
    a: Tensor,
    b: Tensor,
    n_permutations: int = 10_000,
    generator: torch.Generator | None = None,
) -> float:
    """Return the p-value of the mean difference of paired scores, two-sided.

    If both systems were alike, each pair could as well stand the other way round. So the sign of
    each difference is drawn anew, and the p-value is the share of patterns whose mean is at least
    as far from zero as the one that was seen. A pattern that is as far counts, also where rounding
    puts its sum a trifle below. Up to 12 differences other than zero, all
    patterns are counted; beyond, `n_permutations` are drawn, and the one that was seen counts as
    one more, so that a p-value is never zero.

    Args:
        a, b: (N,) scores of two systems, example by example; floats or whole numbers.
        n_permutations: R.
        generator: source of the draws.

    Returns:
        From 1 / (R + 1) to 1; 1 where all differences are zero.

    Raises:
        ValueError: for scores of different numbers of examples, none, or NaN or infinity.

    >>> paired_permutation_test(torch.tensor([1.0, 1, 1, 1, 1]), torch.zeros(5))  # 2 of 32
    0.0625

    Source: Fisher 1935, "The Design of Experiments", section 21; Phipson and Smyth 2010 on
    counting the one that was seen.
    """
    check_pairs(a, b)
    differences = a.double() - b.double()
    differences = differences[differences != 0]  # a zero is the same either way
    n = len(differences)
    if n == 0:
        return 1.0
    # A pattern's sum is off by rounding; one that ties with what was seen counts.
    least = differences.sum().abs() * (1 - 1e-12)
    if n <= MAX_EXACT:
        bits = torch.arange(2**n).unsqueeze(1) >> torch.arange(n) & 1  # (2 ** n, n)
        sums = (1.0 - 2.0 * bits).double() @ differences  # (2 ** n,)
        return sums.abs().ge(least).double().mean().item()
    rows, n_as_far = max(1, CHUNK // n), 0
    for start in range(0, n_permutations, rows):
        shape = (min(rows, n_permutations - start), n)
        signs = 1.0 - 2.0 * torch.randint(2, shape, generator=generator)  # (R, n)
        n_as_far += int((signs.double() @ differences).abs().ge(least).sum())
    return (n_as_far + 1) / (n_permutations + 1)


def check_pairs(a: Tensor, b: Tensor) -> None:
    """Refuse scores that do not come in pairs.

    Raises:
        ValueError: for scores of different numbers of examples, none, or NaN or infinity.
    """
    if a.ndim != 1 or a.shape != b.shape or len(a) == 0:
        raise ValueError(
            f"a and b must be rows of one length, a score for each example; got {tuple(a.shape)} "
            f"and {tuple(b.shape)}"
        )
    if not bool((a.double() - b.double()).isfinite().all()):
        raise ValueError("scores hold NaN or infinity: leave those examples out, in both rows")
