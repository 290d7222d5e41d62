"""Lab 10: right answers of another shape than the course's own."""

RIGHT = {
    "bradley_terry_loss": [
        # by hand, with a margin that is a constant
        """
def bradley_terry_loss(chosen, rejected, margin=None, center=0.0):
    if chosen.dim() != 1 or rejected.shape != chosen.shape or chosen.numel() < 1:
        raise ValueError("bad scores")
    if margin is None:
        margin = torch.zeros(len(chosen))
    if margin.shape != chosen.shape:
        raise ValueError("bad margin")
    if center < 0:
        raise ValueError("bad center")
    gap = chosen - rejected - margin.detach()
    loss = torch.log1p(torch.exp(-gap.abs())) + torch.relu(-gap)
    return loss.mean() + center * ((chosen + rejected) ** 2).mean()
""",
        # pair by pair
        """
def bradley_terry_loss(chosen, rejected, margin=None, center=0.0):
    if chosen.dim() != 1 or chosen.shape != rejected.shape:
        raise ValueError("one score each")
    P = len(chosen)
    if P == 0 or center < 0 or (margin is not None and margin.shape != (P,)):
        raise ValueError("pairs, margin, center")
    total = 0.0
    for p in range(P):
        gap = chosen[p] - rejected[p]
        if margin is not None:
            gap = gap - float(margin[p])
        total = total + F.softplus(-gap) + center * (chosen[p] + rejected[p]) ** 2
    return total / P
""",
        # softplus of the gap turned round
        """
def bradley_terry_loss(chosen, rejected, margin=None, center=0.0):
    margin = torch.zeros_like(chosen) if margin is None else margin
    if not chosen.shape == rejected.shape == margin.shape or chosen.dim() != 1:
        raise ValueError("rows of one length")
    if chosen.numel() == 0 or center < 0:
        raise ValueError("no pairs, or a negative center")
    loss = F.softplus(rejected - chosen + margin).mean()
    return loss + center * ((chosen + rejected) ** 2).mean()
""",
        # a softmax over the two scores
        """
def bradley_terry_loss(chosen, rejected, margin=None, center=0.0):
    if chosen.shape != rejected.shape or chosen.ndim != 1 or len(chosen) < 1:
        raise ValueError("shapes")
    if margin is not None and margin.shape != chosen.shape:
        raise ValueError("margin")
    if center < 0:
        raise ValueError("center")
    better = chosen if margin is None else chosen - margin
    both = torch.stack([better, rejected], dim=1)
    loss = F.cross_entropy(both, torch.zeros(len(chosen), dtype=torch.long))
    return loss + center * torch.mean(torch.square(chosen + rejected))
""",
    ],
    "score_at_last": [
        # counted up; and text by text, features first
        """
def score_at_last(features, keep, weight, bias):
    if keep.dtype != torch.bool or keep.shape != features.shape[:2]:
        raise ValueError("keep must be bool")
    if not keep.any(1).all():
        raise ValueError("no token")
    last = keep.long().cumsum(1).argmax(1)
    picked = torch.stack([features[b, last[b]] for b in range(len(keep))])
    return torch.einsum("bd,d->b", picked, weight) + bias
""",
        # turned round, the last is the first
        """
import math

import torch
import torch.nn.functional as F


def score_at_last(features, keep, weight, bias):
    if keep.dtype is not torch.bool or keep.shape != features.shape[:2]:
        raise ValueError("keep must be a bool mask")
    if (keep.sum(1) == 0).any():
        raise ValueError("an empty text")
    from_the_end = keep.flip(1).int().argmax(1)
    place = keep.shape[1] - 1 - from_the_end
    index = place[:, None, None].expand(-1, 1, features.shape[2])
    return (features.gather(1, index).squeeze(1) * weight).sum(-1) + bias
""",
        # text by text
        """
import math

import torch
import torch.nn.functional as F


def score_at_last(features, keep, weight, bias):
    if keep.dtype != torch.bool or tuple(keep.shape) != tuple(features.shape[:2]):
        raise ValueError("keep")
    scores = []
    for row, mask in zip(features, keep):
        places = mask.nonzero().flatten()
        if len(places) == 0:
            raise ValueError("no token")
        scores.append(torch.dot(row[places[-1]], weight) + bias)
    return torch.stack(scores)
""",
    ],
    "preference_accuracy": [
        # the sign of the gap, from -1 to 1
        """
import math

import torch
import torch.nn.functional as F


def preference_accuracy(chosen, rejected, level=0.95):
    if chosen.dim() != 1 or chosen.shape != rejected.shape or chosen.numel() == 0:
        raise ValueError("pairs")
    if not torch.isfinite(torch.cat([chosen, rejected])).all():
        raise ValueError("finite")
    n = chosen.numel()
    half_points = 1 + torch.sign(chosen.double() - rejected.double())
    count = float(half_points.sum()) / 2
    return (count / n, *wilson_interval(count, n, level))
""",
        # plain Python
        """
import math

import torch
import torch.nn.functional as F


def preference_accuracy(chosen, rejected, level=0.95):
    if chosen.ndim != 1 or rejected.ndim != 1 or len(chosen) != len(rejected) or not len(chosen):
        raise ValueError("pairs")
    right = 0.0
    for a, b in zip(chosen.tolist(), rejected.tolist()):
        if not (math.isfinite(a) and math.isfinite(b)):
            raise ValueError("finite")
        right += 1.0 if a > b else 0.5 if a == b else 0.0
    low, high = wilson_interval(right, len(chosen), level)
    return right / len(chosen), low, high
""",
    ],
    "length_bias": [
        # all pairs at once, groups as a mask; the slope from pairs, too
        """
import math

import torch
import torch.nn.functional as F


def length_bias(scores, lengths, groups):
    if scores.dim() != 1 or scores.shape != lengths.shape or scores.shape != groups.shape:
        raise ValueError("rows")
    if not torch.isfinite(scores).all():
        raise ValueError("finite")
    s, x = scores.double(), lengths.double()
    same = groups[:, None] == groups[None, :]
    dx, ds = x[:, None] - x[None, :], s[:, None] - s[None, :]
    longer = same & (dx > 0)
    if not longer.any():
        raise ValueError("nothing to compare")
    share = (ds[longer].sign() + 1).mean() / 2
    sizes = same.sum(1, keepdim=True)
    slope = (same * dx * ds / sizes).sum() / (same * dx * dx / sizes).sum()
    return share.item(), slope.item()
""",
        # least squares with a column for each group
        """
import math

import torch
import torch.nn.functional as F


def length_bias(scores, lengths, groups):
    from itertools import combinations
    if not (scores.ndim == 1 and scores.shape == lengths.shape == groups.shape):
        raise ValueError("rows")
    if not bool(scores.isfinite().all()):
        raise ValueError("finite")
    rows = list(zip(scores.tolist(), lengths.tolist(), groups.tolist()))
    results = []
    for (s, x, g), (t, y, h) in combinations(rows, 2):
        if g == h and x != y:
            results.append(0.5 if s == t else float((s > t) == (x > y)))
    if not results:
        raise ValueError("nothing to compare")
    kinds, place = groups.unique(return_inverse=True)
    design = torch.cat([lengths.double()[:, None], F.one_hot(place, len(kinds)).double()], 1)
    slope = torch.linalg.lstsq(design, scores.double()[:, None]).solution[0, 0]
    return sum(results) / len(results), float(slope)
""",
    ],
    "best_of_n": [
        # answer by answer, in whole numbers
        """
def best_of_n(scores, values, n):
    if scores.dim() != 2 or scores.shape != values.shape:
        raise ValueError("shapes")
    Q, S = scores.shape
    if n < 1 or n > S or not torch.isfinite(scores).all():
        raise ValueError("n or scores")
    found = []
    for s, v in zip(scores.tolist(), values.tolist()):
        total = 0.0
        for score, value in zip(s, v):
            below = sum(other < score for other in s)
            tied = sum(other == score for other in s)
            ways = math.comb(below + tied, n) - math.comb(below, n)
            total += ways / math.comb(S, n) / tied * value
        found.append(total)
    return torch.tensor(found, dtype=values.dtype)
""",
        # sorted, with the mean value of each run of ties
        """
def best_of_n(scores, values, n):
    if scores.ndim != 2 or scores.shape != values.shape:
        raise ValueError("shapes")
    S = scores.shape[1]
    if n not in range(1, S + 1):
        raise ValueError("n")
    if not bool(scores.isfinite().all()):
        raise ValueError("finite")
    total = math.comb(S, n)
    weights = torch.tensor([math.comb(k, n - 1) / total for k in range(S)], dtype=torch.float64)
    results = []
    for s, v in zip(scores, values.double()):
        kinds, place, counts = s.unique(return_inverse=True, return_counts=True)
        mean = torch.zeros(len(kinds), dtype=torch.float64).index_add(0, place, v) / counts
        results.append((weights * mean.repeat_interleave(counts)).sum())
    return torch.stack(results).to(values.dtype)
""",
    ],
}
