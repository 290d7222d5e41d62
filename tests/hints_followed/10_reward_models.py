"""Lab 10: the code that each last hint describes, to the letter."""

FOLLOWED = {
    "bradley_terry_loss": """
def bradley_terry_loss(chosen, rejected, margin=None, center=0.0):
    if chosen.ndim != 1 or rejected.shape != chosen.shape:
        raise ValueError("one dimension, one shape")
    if margin is not None and margin.shape != chosen.shape:
        raise ValueError("the margin has another shape")
    if len(chosen) == 0:
        raise ValueError("no pairs")
    if not center >= 0:
        raise ValueError("center")
    gap = chosen - rejected
    if margin is not None:
        gap = gap - margin
    loss = -F.logsigmoid(gap).mean()
    return loss + center * (chosen + rejected).square().mean()
""",
    "score_at_last": """
import torch


def score_at_last(features, keep, weight, bias):
    if keep.dtype != torch.bool or keep.shape != features.shape[:2]:
        raise ValueError("keep")
    if not keep.any(dim=1).all():
        raise ValueError("a text without kept token")
    B, T = keep.shape
    numbers = torch.arange(T)
    last = torch.where(keep, numbers, -1).amax(dim=1)
    picked = features[torch.arange(B), last]
    return picked @ weight + bias
""",
    "preference_accuracy": """
def preference_accuracy(chosen, rejected, level=0.95):
    if chosen.ndim != 1 or len(chosen) == 0 or chosen.shape != rejected.shape:
        raise ValueError("pairs")
    if not (chosen.isfinite().all() and rejected.isfinite().all()):
        raise ValueError("a score is not finite")
    n_right = ((chosen > rejected).double() + 0.5 * (chosen == rejected).double()).sum().item()
    n = len(chosen)
    low, high = wilson_interval(n_right, n, level)
    return n_right / n, low, high
""",
    "length_bias": """
def length_bias(scores, lengths, groups):
    if scores.ndim != 1 or scores.shape != lengths.shape or scores.shape != groups.shape:
        raise ValueError("one dimension, one shape")
    if not scores.isfinite().all():
        raise ValueError("a score is not finite")
    scores, lengths = scores.double(), lengths.double()
    wins, pairs, top, bottom = 0, 0, 0, 0
    for group in groups.unique():
        s = scores[groups == group]
        l = lengths[groups == group]
        longer = l[:, None] > l[None, :]
        higher = (s[:, None] > s[None, :]).double() + 0.5 * (s[:, None] == s[None, :]).double()
        wins += higher[longer].sum()
        pairs += longer.sum()
        top += ((l - l.mean()) * (s - s.mean())).sum()
        bottom += (l - l.mean()).square().sum()
    if pairs == 0:
        raise ValueError("no pairs")
    return float(wins / pairs), float(top / bottom)
""",
    "best_of_n": """
def best_of_n(scores, values, n):
    if scores.ndim != 2 or scores.shape != values.shape:
        raise ValueError("two dimensions, one shape")
    S = scores.shape[1]
    if not 1 <= n <= S:
        raise ValueError("n")
    if not scores.isfinite().all():
        raise ValueError("scores")
    share = torch.tensor(
        [math.comb(k, n) / math.comb(S, n) for k in range(S + 1)], dtype=torch.float64
    )
    own, others = scores.unsqueeze(2), scores.unsqueeze(1)
    below = (others < own).sum(2)
    tied = (others == own).sum(2)
    weights = (share[below + tied] - share[below]) / tied
    return (weights * values).sum(1).to(values.dtype)
""",
}
