"""Wrong answers of lab 10, each with words that the hint must hold."""

from tests.wrong_answers import Wrong

LOSS = """def bradley_terry_loss(chosen, rejected, margin=None, center=0.0):
    rows = [chosen, rejected] + ([] if margin is None else [margin])
    if chosen.ndim != 1 or any(row.shape != chosen.shape for row in rows):
        raise ValueError("shapes")
    if len(chosen) == 0:
        raise ValueError("no pairs")
    if center < 0:
        raise ValueError("center")
    gap = chosen - rejected
    if margin is not None:
        gap = gap - margin
    loss = -F.logsigmoid(gap).mean()
    return loss + center * (chosen + rejected).square().mean()
"""
MEAN = "-F.logsigmoid(gap).mean()"
SECOND = "center * (chosen + rejected).square().mean()"
SHAPES = """    if chosen.ndim != 1 or any(row.shape != chosen.shape for row in rows):
        raise ValueError("shapes")
"""

SCORE = """import torch
import torch.nn.functional as F


def score_at_last(features, keep, weight, bias):
    B, T = features.shape[:2]
    if keep.dtype != torch.bool or keep.shape != (B, T):
        raise ValueError("keep")
    if not keep.any(dim=1).all():
        raise ValueError("a text without tokens")
    last = torch.where(keep, torch.arange(T), -1).amax(dim=1)
    picked = features[torch.arange(B), last]
    return picked @ weight + bias
"""
LAST = "torch.where(keep, torch.arange(T), -1).amax(dim=1)"
PICK = "features[torch.arange(B), last]"
EMPTY = """    if not keep.any(dim=1).all():
        raise ValueError("a text without tokens")
"""

ACCURACY = """import torch
import torch.nn.functional as F


def preference_accuracy(chosen, rejected, level=0.95):
    if chosen.ndim != 1 or chosen.shape != rejected.shape or len(chosen) == 0:
        raise ValueError("shapes")
    if not (chosen.isfinite() & rejected.isfinite()).all():
        raise ValueError("no numbers")
    n_right = ((chosen > rejected).double() + 0.5 * (chosen == rejected).double()).sum().item()
    n = len(chosen)
    low, high = wilson_interval(n_right, n, level)
    return n_right / n, low, high
"""
COUNT = "((chosen > rejected).double() + 0.5 * (chosen == rejected).double()).sum().item()"
WILSON = "    low, high = wilson_interval(n_right, n, level)\n"

BIAS = """import torch
import torch.nn.functional as F


def length_bias(scores, lengths, groups):
    if scores.ndim != 1 or not scores.shape == lengths.shape == groups.shape:
        raise ValueError("shapes")
    if not scores.isfinite().all():
        raise ValueError("no numbers")
    scores, lengths = scores.double(), lengths.double()
    wins = pairs = top = bottom = 0.0
    for group in groups.unique():
        s, l = scores[groups == group], lengths[groups == group]
        longer = l[:, None] > l[None, :]
        higher = (s[:, None] > s[None, :]).double()
        equal = (s[:, None] == s[None, :]).double()
        wins += (higher + 0.5 * equal)[longer].sum().item()
        pairs += longer.sum().item()
        top += ((l - l.mean()) * (s - s.mean())).sum().item()
        bottom += (l - l.mean()).square().sum().item()
    if pairs == 0:
        raise ValueError("nothing to compare")
    return wins / pairs, top / bottom
"""
WINS = "(higher + 0.5 * equal)[longer]"
TOP = "((l - l.mean()) * (s - s.mean())).sum().item()"
NOTHING = """    if pairs == 0:
        raise ValueError("nothing to compare")
"""

BEST = """def best_of_n(scores, values, n):
    if scores.ndim != 2 or scores.shape != values.shape:
        raise ValueError("shapes")
    S = scores.shape[1]
    if not 1 <= n <= S:
        raise ValueError("n")
    if not scores.isfinite().all():
        raise ValueError("no numbers")
    share = torch.tensor(
        [math.comb(k, n) / math.comb(S, n) for k in range(S + 1)], dtype=torch.float64
    )
    own, others = scores.unsqueeze(2), scores.unsqueeze(1)
    below = (others < own).sum(2)
    tied = (others == own).sum(2)
    weights = (share[below + tied] - share[below]) / tied
    return (weights * values).sum(1).to(values.dtype)
"""
WEIGHTS = "(share[below + tied] - share[below]) / tied"
RETURN = "(weights * values).sum(1).to(values.dtype)"
N_RANGE = """    if not 1 <= n <= S:
        raise ValueError("n")
"""
FINITE = """    if not scores.isfinite().all():
        raise ValueError("no numbers")
"""


def wrong(exercise: str, why: str, code: str, old: str, new: str, words: str) -> Wrong:
    assert code.count(old) >= 1, (exercise, why)
    return Wrong(exercise, why, code.replace(old, new), words)


def loss(why: str, old: str, new: str, words: str) -> Wrong:
    return wrong("bradley_terry_loss", why, LOSS, old, new, words)


def score(why: str, old: str, new: str, words: str) -> Wrong:
    return wrong("score_at_last", why, SCORE, old, new, words)


def accuracy(why: str, old: str, new: str, words: str) -> Wrong:
    return wrong("preference_accuracy", why, ACCURACY, old, new, words)


def bias(why: str, old: str, new: str, words: str) -> Wrong:
    return wrong("length_bias", why, BIAS, old, new, words)


def best(why: str, old: str, new: str, words: str) -> Wrong:
    return wrong("best_of_n", why, BEST, old, new, words)


WRONG = [
    Wrong("bradley_terry_loss", "does no work: zero",
          "def bradley_terry_loss(chosen, rejected, margin=None, center=0.0):\n"
          "    return chosen.sum() * 0\n", "the mean over pairs of -log sigmoid"),
    Wrong("bradley_terry_loss", "does no work: log 2, as at the start",
          "def bradley_terry_loss(chosen, rejected, margin=None, center=0.0):\n"
          "    return torch.tensor(2.0).log()\n", "the mean over pairs of -log sigmoid"),
    loss("exchanged", "gap = chosen - rejected", "gap = rejected - chosen",
         "chosen and rejected are exchanged"),
    loss("no minus", MEAN, "F.logsigmoid(gap).mean()", "the sign is wrong"),
    loss("sum", MEAN, "-F.logsigmoid(gap).sum()", "that is the sum"),
    loss("no log", MEAN, "-torch.sigmoid(gap).mean()", "the logarithm is missing"),
    loss("one minus p", MEAN, "(1 - torch.sigmoid(gap)).mean()", "one minus the probability"),
    loss("mean of gaps first", MEAN, "-F.logsigmoid(gap.mean())",
         "the mean is taken over the gaps"),
    loss("hinge", MEAN, "F.relu(1 - gap).mean()", "hinge loss"),
    loss("in bits", MEAN, "-F.logsigmoid(gap).mean() / 0.6931471805599453", "the loss in bits"),
    loss("center of two squares", "(chosen + rejected).square()",
         "(chosen.square() + rejected.square())", "you add up the two squares"),
    loss("center taken off", "loss + center", "loss - center", "the second term off: add it"),
    loss("unstable", MEAN, "-torch.sigmoid(gap).log().mean()", "scores of hundreds"),
    loss("a gradient of NaN", MEAN, "torch.where(gap > 0, (1 + (-gap).exp()).log(),"
         " (1 + gap.exp()).log() - gap).mean()", "the gradient of `chosen` at gaps"),
    loss("clamped", MEAN, "-torch.sigmoid(gap).clamp(min=1e-12).log().mean()",
         "scores of hundreds"),
    loss("margin ignored", "        gap = gap - margin", "        pass",
         "the margin changes nothing"),
    loss("margin added", "gap - margin", "gap + margin", "you add the margin"),
    loss("center squares the difference", "(chosen + rejected).square()",
         "(chosen - rejected).square()", "the squares are those of the differences"),
    loss("center of the mean", "(chosen + rejected).square().mean()",
         "(chosen + rejected).mean().square()", "the mean is squared"),
    loss("center ignored", f"loss + {SECOND}", "loss", "center changes nothing"),
    loss("center not multiplied", SECOND, "(center > 0) * (chosen + rejected).square().mean()",
         "not multiplied by center"),
    loss("gradient stopped at rejected", "gap = chosen - rejected",
         "gap = chosen - rejected.detach()", "the gradient of `rejected`"),
    loss("shapes broadcast", SHAPES, "", "four chosen scores and three"),
    loss("margin's shape not looked at", "([] if margin is None else [margin])", "[]",
         "a margin of length 1"),
    loss("one pair without its margin", "    gap = chosen - rejected\n",
         "    if len(chosen) == 1:\n        return -F.logsigmoid(chosen - rejected).mean()\n"
         "    gap = chosen - rejected\n", "one pair, with a margin"),
    loss("lengths alone are compared", "any(row.shape != chosen.shape for row in rows)",
         "any(len(row) != len(chosen) for row in rows)", "shape (4, 1)"),
    loss("a column as margin", "any(row.shape != chosen.shape for row in rows)",
         "rejected.shape != chosen.shape or any(len(row) != len(chosen) for row in rows)",
         "a margin of shape (4, 1)"),
    loss("no pairs give NaN", '    if len(chosen) == 0:\n        raise ValueError("no pairs")\n',
         "", "no pairs"),
    loss("negative center taken", '    if center < 0:\n        raise ValueError("center")\n', "",
         "center=-0.1"),
    loss("writes into its argument", "gap = chosen - rejected",
         "gap = chosen - rejected; chosen -= 1", "changed in place"),
    Wrong("score_at_last", "does no work: zeros",
          "def score_at_last(features, keep, weight, bias):\n"
          "    return features.sum((1, 2)) * 0\n", "at the last True of each row"),
    Wrong("score_at_last", "does no work: the bias",
          "def score_at_last(features, keep, weight, bias):\n"
          "    return bias.expand(len(keep))\n", "at the last True of each row"),
    score("the bias taken off", "weight + bias", "weight - bias", "you take the bias off"),
    score("all where the first one ends", LAST, "keep[0].nonzero().max().expand(B)",
          "where the first one ends"),
    score("all where the longest one ends", LAST, "keep.nonzero()[:, 1].max().expand(B)",
          "where the longest one ends"),
    score("scores of all places first", f"    picked = {PICK}\n    return picked @ weight + bias",
          "    every = features @ weight + bias\n    return every[torch.arange(B), last]",
          "a gradient holds NaN"),
    score("the last place", LAST, "torch.full((B,), T - 1)", "read at the last place"),
    score("number of tokens less one", LAST, "keep.sum(dim=1) - 1", "only where padding stands"),
    score("number of tokens", LAST, "keep.sum(dim=1).clamp(max=T - 1)", "one too far to the right"),
    score("argmax", LAST, "keep.int().argmax(dim=1)", "the first kept token, not the last"),
    score("first token", LAST, "torch.zeros(B, dtype=torch.long)", "at the first token"),
    score("one too early", LAST, f"({LAST} - 1)", "one too far to the left"),
    score("mean over kept", PICK,
          "(features * keep.unsqueeze(2)).sum(1) / keep.sum(1, keepdim=True)",
          "the mean over the kept tokens"),
    score("sum over kept", PICK, "(features * keep.unsqueeze(2)).sum(1)",
          "the sum over the kept tokens"),
    score("no bias", " + bias", "", "the bias is missing"),
    score("a column", "return picked @ weight + bias",
          "return (picked @ weight + bias).unsqueeze(1)", "one score for each text"),
    score("multiplied by a mask", PICK,
          "(features * F.one_hot(last, T).unsqueeze(2)).sum(1)", "features of NaN"),
    score("always float32", "return picked @ weight + bias",
          "return picked.float() @ weight.float() + bias.float()", "float64"),
    score("in front of the first padding", LAST, "keep.int().argmin(dim=1) - 1",
          "a mask of the response"),
    score("detached features", PICK, f"{PICK}.detach()", "no gradient reaches"),
    score("detached weight", "@ weight", "@ weight.detach()", "no gradient reaches"),
    score("left padding by flipping the count",
          LAST, "torch.where(keep[:, 0], keep.sum(1) - 1, T - 1)", "a mask of the response"),
    score("empty text taken", EMPTY, "", "keep is False for all tokens of text"),
    score("only all empty refused", "keep.any(dim=1).all()", "keep.any()",
          "keep is False for all tokens of text"),
    score("whole numbers taken", "keep.dtype != torch.bool or keep.shape != (B, T)",
          "keep.shape != (B, T)", "keep of "),
    score("shape not looked at", " or keep.shape != (B, T)", "", "keep with "),
    Wrong("preference_accuracy", "does no work: a coin",
          "def preference_accuracy(chosen, rejected, level=0.95):\n    return 0.5, 0.0, 1.0\n",
          "right and"),
    Wrong("preference_accuracy", "does no work: perfect",
          "def preference_accuracy(chosen, rejected, level=0.95):\n    return 1.0, 1.0, 1.0\n",
          "2 right and 1 tied"),
    accuracy("ties wrong", COUNT, "(chosen > rejected).double().sum().item()",
             "a tie counts as wrong"),
    accuracy("ties right", COUNT, "(chosen >= rejected).double().sum().item()",
             "a tie counts as right"),
    accuracy("ties left out", f"    n_right = {COUNT}\n    n = len(chosen)\n",
             "    keep = chosen != rejected\n    n = max(1, int(keep.sum()))\n"
             "    n_right = (chosen > rejected).double().sum().item()\n", "you leave ties out"),
    accuracy("exchanged", COUNT, COUNT.replace("chosen > rejected", "chosen < rejected"),
             "the share of wrong pairs"),
    accuracy("nearly equal is a tie", "(chosen == rejected)",
             "((chosen - rejected).abs() < 1e-5)", "is higher: a tie"),
    accuracy("level ignored", "wilson_interval(n_right, n, level)", "wilson_interval(n_right, n)",
             "does not follow `level`"),
    accuracy("normal interval", WILSON,
             "    p = n_right / n\n    half = 1.96 * (p * (1 - p) / n) ** 0.5\n"
             "    low, high = p - half, p + half\n", "Wilson's interval"),
    accuracy("the count is cut to a whole number", "wilson_interval(n_right, n, level)",
             "wilson_interval(int(n_right), n, level)", "Wilson's interval"),
    accuracy("only the share", "return n_right / n, low, high", "return n_right / n",
             "3 Python floats"),
    accuracy("tensors", "return n_right / n, low, high",
             "return torch.tensor(n_right / n), low, high", "3 Python floats"),
    accuracy("exchanged ends", "return n_right / n, low, high", "return n_right / n, high, low",
             "low and high are exchanged"),
    accuracy("NaN is wrong", "    if not (chosen.isfinite() & rejected.isfinite()).all():\n"
             '        raise ValueError("no numbers")\n', "", "a chosen score of"),
    accuracy("NaN in chosen alone", "(chosen.isfinite() & rejected.isfinite())",
             "chosen.isfinite()", "a rejected score of"),
    accuracy("broadcast", "chosen.shape != rejected.shape or ", "", "four rejected ones"),
    accuracy("columns taken", "chosen.ndim != 1 or ", "", "shape (5, 1)"),
    Wrong("length_bias", "does no work: a coin",
          "def length_bias(scores, lengths, groups):\n    return 0.5, 0.0\n", "the share"),
    Wrong("length_bias", "does no work: the longer always wins",
          "def length_bias(scores, lengths, groups):\n    return 1.0, 0.1\n", "a tie counts"),
    bias("ties for the shorter", WINS, "higher[longer]", "as if the shorter had won"),
    bias("ties for the longer", WINS, "(higher + equal)[longer]", "as if the longer had won"),
    bias("ties left out", "pairs += longer.sum().item()",
         "pairs += (longer & (s[:, None] != s[None, :])).sum().item()", "a"),
    bias("groups ignored in the share", "    for group in groups.unique():\n",
         "    groups = torch.zeros_like(groups)\n    for group in groups.unique():\n",
         "answers of different groups are compared"),
    bias("equal lengths counted", "longer = l[:, None] > l[None, :]",
         "longer = torch.ones(len(s), len(s)).triu(1).bool() & (l[:, None] >= l[None, :])"
         " | (l[:, None] > l[None, :])", "pairs of equal length are counted"),
    bias("the shorter", "l[:, None] > l[None, :]", "l[:, None] < l[None, :]",
         "how often the shorter one wins"),
    bias("slope with one intercept", "return wins / pairs, top / bottom",
         "x, y = lengths - lengths.mean(), scores - scores.mean()\n"
         "    return wins / pairs, ((x * y).sum() / (x * x).sum()).item()",
         "one intercept for all"),
    bias("means not taken off", "return wins / pairs, top / bottom",
         "return wins / pairs, ((lengths * scores).sum() / (lengths**2).sum()).item()",
         "the means are not taken off"),
    bias("scores below", "bottom += (l - l.mean()).square()", "bottom += (s - s.mean()).square()",
         "the slope"),
    bias("mean of shares",
         "        wins += (higher + 0.5 * equal)[longer].sum().item()\n"
         "        pairs += longer.sum().item()\n",
         "        if longer.any():\n"
         "            wins += (higher + 0.5 * equal)[longer].mean().item()\n"
         "            pairs += 1\n", "the groups' shares are averaged"),
    bias("mean of slopes",
         f"        top += {TOP}\n        bottom += (l - l.mean()).square().sum().item()\n",
         "        if len(l.unique()) > 1:\n            bottom += 1\n"
         "            top += (((l - l.mean()) * (s - s.mean())).sum()"
         " / (l - l.mean()).square().sum()).item()\n",
         "the groups' slopes are averaged"),
    bias("correlation", "return wins / pairs, top / bottom",
         "own = torch.stack([s - scores[groups == g].mean() for s, g in zip(scores, groups)])\n"
         "    return wins / pairs, top / max(1e-9, (bottom * own.square().sum().item()) ** 0.5)",
         "that is a correlation"),
    bias("not divided", "top / bottom", "top", "the sum of products is not divided"),
    bias("scores cut to whole numbers", "    scores, lengths = scores.double(),",
         "    scores, lengths = scores.long().double(),", "the s"),
    bias("nothing to compare taken", NOTHING, "    pairs, bottom = max(pairs, 1), max(bottom, 1)\n",
         "each alone in its group"),
    bias("tensors", "return wins / pairs, top / bottom",
         "return torch.tensor(wins / pairs), top / bottom", "2 Python floats"),
    bias("NaN taken", "    if not scores.isfinite().all():\n"
         '        raise ValueError("no numbers")\n', "", "a score of"),
    bias("minus infinity taken", "if not scores.isfinite().all():",
         "if (scores.isnan() | (scores == float('inf'))).any():", "a score of -inf"),
    bias("refuses a group of one length", "        longer = l[:, None] > l[None, :]\n",
         "        longer = l[:, None] > l[None, :]\n        if len(l) > 1 and not longer.any():\n"
         "            raise ValueError(\"nothing to compare\")\n", "ValueError"),
    bias("shapes not looked at", "    if scores.ndim != 1 or not scores.shape == lengths.shape == "
         'groups.shape:\n        raise ValueError("shapes")\n', "", "raise a ValueError"),
    Wrong("best_of_n", "does no work: zeros",
          "def best_of_n(scores, values, n):\n    return values[:, 0] * 0\n",
          "the mean, over all draws"),
    Wrong("best_of_n", "does no work: the mean",
          "def best_of_n(scores, values, n):\n    return values.mean(1)\n",
          "the mean of all values"),
    best("worst of n", "(others < own)", "(others > own)", "the worst of n"),
    best("chosen by value", "own, others = scores.unsqueeze(2), scores.unsqueeze(1)",
         "own, others = values.unsqueeze(2), values.unsqueeze(1)", "chosen by their values"),
    best("scores returned", "(weights * values)", "(weights * scores)", "the expected score"),
    best("best of all", "math.comb(k, n) / math.comb(S, n)", "float(k == S)",
         "the best of all S answers"),
    best("with replacement", "math.comb(k, n) / math.comb(S, n)", "(k / S) ** n",
         "with replacement"),
    best("first n", f"return {RETURN}",
         "return values.gather(1, scores[:, :n].argmax(1, keepdim=True)).flatten()",
         "the best of the first n"),
    best("mean of the n best", f"return {RETURN}",
         "return values.gather(1, scores.argsort(1)[:, -n:]).mean(1)", "the mean of the n best"),
    best("one number", f"return {RETURN}", f"return ({RETURN}).mean()", "not their mean"),
    best("tie takes all", WEIGHTS, "(share[below + tied] - share[below])", "tied at the top"),
    best("ties by place", f"    weights = {WEIGHTS}\n",
         "    rank = scores.argsort(1, stable=True).argsort(1)\n"
         "    weights = share[rank + 1] - share[rank]\n", "tied"),
    best("a tie to the first", f"    weights = {WEIGHTS}\n",
         "    order = torch.arange(S)\n"
         "    below = below + ((others == own) & (order > order[:, None])).sum(2)\n"
         "    weights = share[below + 1] - share[below]\n", "you take the first"),
    best("a tie to the last", f"    weights = {WEIGHTS}\n",
         "    order = torch.arange(S)\n"
         "    below = below + ((others == own) & (order < order[:, None])).sum(2)\n"
         "    weights = share[below + 1] - share[below]\n", "you take the last"),
    best("nearly equal is a tie",
         "    below = (others < own).sum(2)\n    tied = (others == own).sum(2)\n",
         "    below = (others < own - 1e-6).sum(2)\n"
         "    tied = ((others - own).abs() <= 1e-6).sum(2)\n", "is higher: a tie"),
    best("float32 shares", "dtype=torch.float64", "dtype=torch.float16",
         "the mean, over all draws"),
    best("double for all", ".to(values.dtype)", ".double()", "float32, whatever"),
    best("dtype of the scores", ".to(values.dtype)", ".to(scores.dtype)", "float"),
    best("n not looked at", N_RANGE, "", "raise a ValueError"),
    best("n of 0 taken", "1 <= n <= S", "n <= S", "n="),
    best("NaN taken", FINITE, "", "a score of nan"),
    best("NaN alone refused", "scores.isfinite().all()", "(~scores.isnan()).all()",
         "a score of inf"),
    best("shapes not looked at",
         '    if scores.ndim != 2 or scores.shape != values.shape:\n'
         '        raise ValueError("shapes")\n', "", "raise a ValueError"),
    best("writes into its argument", "    below =", "    scores -= 1\n    below =",
         "changed in place"),
]  # fmt: skip

TWO_DIMENSIONS = "the tensor has two dimensions, so that the second is the last one"
THREE_DIMENSIONS = "the tensor has three dimensions, so that the third is the last one"
EQUIVALENT = {
    **{
        ("score_at_last", label): TWO_DIMENSIONS
        for label in (
            "1 -> -1 in `keep.any(dim=1)`",
            "1 -> -1 in `keep.shape[1]`",
            "1 -> -1 in `places.where(keep, -1).amax(dim=1)`",
        )
    },
    ("score_at_last", "1 -> 2 in `places.where(keep, -1)`"): "any negative number marks padding",
    **{
        ("length_bias", f"1 -> -1 in `{place}`"): TWO_DIMENSIONS
        for place in (
            "(same * lengths).sum(dim=1)",
            "groups.unsqueeze(1)",
            "lengths.unsqueeze(1)",
            "same.sum(dim=1)",
            "scores.unsqueeze(1)",
        )
    },
    (
        "length_bias",
        "delete `scores, lengths = (scores.double(), lengths.double())`",
    ): "float32 is near enough, and the docstring asks for no dtype",
    ("best_of_n", "1 -> -1 in `(weights * values.double()).sum(dim=1)`"): TWO_DIMENSIONS,
    ("best_of_n", "1 -> -1 in `scores.shape[1]`"): TWO_DIMENSIONS,
    ("best_of_n", "1 -> 2 in `S + 1`"): "the table has an entry more, which nobody looks up",
    ("best_of_n", "2 -> -2 in `(others == own).sum(dim=2)`"): "a sum over the other answers either "
    "way: who is tied with whom is symmetric",
}
