"""Wrong answers of lab 12, each with words that the hint must hold."""

from tests.wrong_answers import Wrong

DPO = """def dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta=0.1):
    shapes = [t.shape for t in (chosen, rejected, ref_chosen, ref_rejected)]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1 or shapes[0][0] == 0:
        raise ValueError("shapes")
    if not beta > 0:
        raise ValueError("beta")
    margin = beta * ((chosen - ref_chosen) - (rejected - ref_rejected))
    return -F.logsigmoid(margin).mean()
"""
MARGIN = "beta * ((chosen - ref_chosen) - (rejected - ref_rejected))"
END = "-F.logsigmoid(margin).mean()"
SHAPES = "len(set(shapes)) > 1 or len(shapes[0]) != 1 or shapes[0][0] == 0"

IPO = """def ipo_loss(chosen, rejected, ref_chosen, ref_rejected, n_chosen, n_rejected, beta=0.1):
    tensors = (chosen, rejected, ref_chosen, ref_rejected, n_chosen, n_rejected)
    shapes = [t.shape for t in tensors]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1 or shapes[0][0] == 0:
        raise ValueError("shapes")
    if not beta > 0:
        raise ValueError("beta")
    if (n_chosen < 1).any() or (n_rejected < 1).any():
        raise ValueError("lengths")
    margin = (chosen - ref_chosen) / n_chosen - (rejected - ref_rejected) / n_rejected
    return (margin - 1 / (2 * beta)).square().mean()
"""
IPO_MARGIN = "(chosen - ref_chosen) / n_chosen - (rejected - ref_rejected) / n_rejected"
IPO_END = "(margin - 1 / (2 * beta)).square().mean()"

KTO = """def kto_loss(
    logprobs, ref, wanted, other, ref_other, beta=0.1, up=1.0, down=1.0
):
    if logprobs.dim() != 1 or logprobs.numel() == 0 or other.numel() == 0 or other.dim() != 1:
        raise ValueError("shapes")
    if not logprobs.shape == ref.shape == wanted.shape or other.shape != ref_other.shape:
        raise ValueError("shapes")
    if wanted.dtype != torch.bool or not beta > 0:
        raise ValueError("dtype or beta")
    point = (other - ref_other).mean().clamp(min=0).detach()
    gain = beta * (logprobs - ref - point)
    liked = up * (1 - torch.sigmoid(gain))
    disliked = down * (1 - torch.sigmoid(-gain))
    return torch.where(wanted, liked, disliked).mean()
"""
POINT = "(other - ref_other).mean().clamp(min=0).detach()"
GAIN = "beta * (logprobs - ref - point)"
KTO_END = "torch.where(wanted, liked, disliked).mean()"

GROUP = """def group_advantages(rewards, group_size, divide_by_std=True, eps=1e-4):
    if rewards.dim() != 1 or group_size < 1 or len(rewards) == 0 or len(rewards) % group_size:
        raise ValueError("groups")
    if not torch.isfinite(rewards).all():
        raise ValueError("rewards")
    groups = rewards.detach().float().view(-1, group_size)
    away = groups - groups.mean(1, keepdim=True)
    if divide_by_std and group_size > 1:
        away = away / (groups.std(1, keepdim=True) + eps)
    flat = groups.amax(1, keepdim=True) == groups.amin(1, keepdim=True)
    return away.masked_fill(flat, 0.0).flatten()
"""
STD = "(groups.std(1, keepdim=True) + eps)"
AWAY = "groups - groups.mean(1, keepdim=True)"
VIEW = "rewards.detach().float().view(-1, group_size)"

GRPO = """def grpo_loss(
    logprobs, old, advantages, mask, lengths=None, ref_logprobs=None, kl_coef=0.0, clip_eps=0.2
):
    if mask.dim() != 2 or mask.shape[0] == 0 or mask.dtype != torch.bool:
        raise ValueError("mask")
    B, T = mask.shape
    if logprobs.shape != (B, T) or old.shape != (B, T) or advantages.shape != (B,):
        raise ValueError("shapes")
    if ref_logprobs is not None and ref_logprobs.shape != (B, T):
        raise ValueError("reference")
    if not mask.any(1).all() or clip_eps < 0:
        raise ValueError("an empty row, or clip_eps")
    if lengths is None:
        lengths = mask.sum(1)
    lengths = torch.as_tensor(lengths).expand(B)
    if not (lengths > 0).all():
        raise ValueError("lengths")
    x = logprobs.masked_fill(~mask, 0.0)
    ratio = (x - old.masked_fill(~mask, 0.0)).exp()
    A = advantages.unsqueeze(1)
    loss = -torch.minimum(ratio * A, ratio.clamp(1 - clip_eps, 1 + clip_eps) * A)
    if ref_logprobs is not None:
        d = ref_logprobs.masked_fill(~mask, 0.0) - x
        loss = loss + kl_coef * (d.exp() - d - 1)
    return (loss.masked_fill(~mask, 0.0).sum(1) / lengths).mean()
"""
CLIP = "-torch.minimum(ratio * A, ratio.clamp(1 - clip_eps, 1 + clip_eps) * A)"
GRPO_END = "(loss.masked_fill(~mask, 0.0).sum(1) / lengths).mean()"
RATIO = "(x - old.masked_fill(~mask, 0.0)).exp()"
K3 = "(d.exp() - d - 1)"
OWN = "    if lengths is None:\n        lengths = mask.sum(1)\n"

VERIFY = r"""def verify_answer(response, answer):
    number = r"(?:(?<![0-9A-Za-z])[-+])?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?"
    if not re.fullmatch(number, answer.strip()):
        raise ValueError("answer")
    found = re.findall(number, response)
    if not found:
        return 0.0
    a, b = (Decimal(text.replace(",", "")) for text in (found[-1], answer))
    return float(a == b)
"""
NUMBER = r'r"(?:(?<![0-9A-Za-z])[-+])?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?"'


def changed(code: str, *pairs: str) -> str:
    """Return code with each first text replaced by the second."""
    for old, new in zip(pairs[::2], pairs[1::2], strict=True):
        assert old in code, old
        code = code.replace(old, new)
    return code


def wrongs(exercise: str, code: str, *rows: tuple) -> list[Wrong]:
    """Return the wrong answers of (why, words, old, new, ...)."""
    return [Wrong(exercise, why, changed(code, *texts), words) for why, words, *texts in rows]


WRONG = [
    *wrongs(
        "dpo_loss",
        DPO,
        ("does no work: log 2", "chosen -1, rejected -3", END, "chosen.sum() * 0 + 0.6931472"),
        ("does no work: the mean margin", "chosen -1, rejected -3", END, "margin.mean()"),
        ("the margin's sign", "sign of the margin", END, "-F.logsigmoid(-margin).mean()"),
        ("a gain, not a loss", "loss has the wrong sign", END, "F.logsigmoid(margin).mean()"),
        ("no beta", "beta is left out", MARGIN, MARGIN.removeprefix("beta * ")),
        ("divided by beta", "divided by beta", "beta * ((", "1 / beta * (("),
        (
            "beta in front",
            "multiply the margin, inside",
            MARGIN,
            MARGIN.removeprefix("beta * "),
            END,
            "-beta * F.logsigmoid(margin).mean()",
        ),
        (
            "beta for the chosen alone",
            "chosen log-ratio alone",
            MARGIN,
            "beta * (chosen - ref_chosen) - (rejected - ref_rejected)",
        ),
        ("one beta for all", "beta is always 0.1", "beta * ((", "0.1 * (("),
        (
            "the rewards added",
            "add up the two rewards",
            MARGIN,
            "beta * ((chosen - ref_chosen) + (rejected - ref_rejected))",
        ),
        ("no reference", "reference is left out", MARGIN, "beta * (chosen - rejected)"),
        (
            "reference swapped",
            "are swapped, or",
            MARGIN,
            "beta * ((chosen - ref_rejected) - (rejected - ref_chosen))",
        ),
        (
            "reference added",
            "are swapped, or",
            MARGIN,
            "beta * ((chosen + ref_chosen) - (rejected + ref_rejected))",
        ),
        ("chosen alone", "rejected responses are left out", MARGIN, "beta * (chosen - ref_chosen)"),
        ("a sum", "the sum over pairs", END, "-F.logsigmoid(margin).sum()"),
        (
            "beta for the policy alone",
            "chosen -1, rejected -3",
            MARGIN,
            "beta * (chosen - rejected) - (ref_chosen - ref_rejected)",
        ),
        (
            "lengths alone are compared",
            "(3, 1)",
            "len(set(shapes))",
            "len({s[:1] for s in shapes})",
        ),
        (
            "smoothed labels",
            "a margin of -800 gives 800",
            END,
            "-(0.9 * F.logsigmoid(margin) + 0.1 * F.logsigmoid(-margin)).mean()",
        ),
        ("mean inside", "mean is taken inside", END, "-F.logsigmoid(margin.mean())"),
        ("no logarithm", "logarithm is left out", END, "(1 - torch.sigmoid(margin)).mean()"),
        (
            "a gradient of NaN",
            "at a margin of",
            END,
            "torch.where(margin > 0, (1 + (-margin).exp()).log(), "
            "(1 + margin.exp()).log() - margin).mean()",
        ),
        ("runs over", "must not run over", END, "-torch.log(torch.sigmoid(margin)).mean()"),
        (
            "runs over the other way",
            "must not run over",
            END,
            "torch.log(1 + torch.exp(-margin)).mean()",
        ),
        ("per pair", "expected shape ()", END, "-F.logsigmoid(margin)"),
        ("no gradient to rejected", "no gradient reaches", "(rejected -", "(rejected.detach() -"),
        ("a number", "return", END, "(-F.logsigmoid(margin).mean()).item()"),
        ("takes tokens", "single tokens", SHAPES, "len(set(shapes)) > 1 or shapes[0][-1:] == (0,)"),
        (
            "takes one against three",
            "3 pairs in three",
            SHAPES,
            "len(shapes[0]) != 1 or not len(chosen)",
        ),
        ("takes no pairs", "no pairs", " or shapes[0][0] == 0", ""),
        ("takes beta 0", "a beta of 0", "not beta > 0", "not beta >= 0"),
        ("takes beta NaN", "a beta of nan", "not beta > 0", "beta <= 0"),
    ),
    *wrongs(
        "ipo_loss",
        IPO,
        ("one beta for all", "beta is always 0.1", "(2 * beta)", "(2 * 0.1)"),
        ("half the square", "half of the square", IPO_END, f"{IPO_END} / 2"),
        ("does no work: 0.390625", "beta is 0.1", IPO_END, "chosen.sum() * 0 + 0.390625"),
        ("does no work: the margin", "log-ratios 3 over 3", IPO_END, "margin.mean()"),
        (
            "sums",
            "divide by the lengths",
            IPO_MARGIN,
            "(chosen - ref_chosen) - (rejected - ref_rejected)",
        ),
        (
            "lengths swapped",
            "two lengths are swapped",
            IPO_MARGIN,
            "(chosen - ref_chosen) / n_rejected - (rejected - ref_rejected) / n_chosen",
        ),
        ("both by the first", "have their own lengths", "/ n_rejected\n", "/ n_chosen\n"),
        ("target 1 / beta", "not 1 / beta", "1 / (2 * beta)", "1 / beta"),
        ("target beta", "not beta", "1 / (2 * beta)", "beta"),
        ("target beta / 2", "not beta / 2", "1 / (2 * beta)", "beta / 2"),
        ("1 / 2 * beta", "not beta / 2", "1 / (2 * beta)", "1 / 2 * beta"),
        ("target added", "one sign is wrong", "margin - 1", "margin + 1"),
        ("no target", "there is no target", "margin - 1 / (2 * beta)", "margin"),
        ("absolute", "not only made positive", ".square()", ".abs()"),
        ("a sum", "the sum over pairs", ".mean()", ".sum()"),
        ("mean inside", "mean is taken inside", IPO_END, "(margin.mean() - 1 / (2 * beta)) ** 2"),
        ("beta twice", "beta comes in once", "(margin - 1", "(beta * margin - 1"),
        (
            "no reference",
            "reference is left out",
            IPO_MARGIN,
            "chosen / n_chosen - rejected / n_rejected",
        ),
        (
            "stops beyond the target",
            "it pulls back",
            IPO_END,
            "(margin - 1 / (2 * beta)).clamp(max=0).square().mean()",
        ),
        ("takes length 0", "0 tokens", "if (n_chosen < 1).any()", "if (n_chosen < 0).any()"),
        ("refuses length 1", "responses of one token", "(n_chosen < 1)", "(n_chosen < 2)"),
        ("takes beta 0", "a beta of 0", "not beta > 0", "not beta >= 0"),
        (
            "takes other lengths",
            "3 pairs in five",
            "[t.shape for t in tensors]",
            "[t.shape for t in tensors[:4]]",
        ),
    ),
    *wrongs(
        "kto_loss",
        KTO,
        ("does no work: 0.5", "log-ratios 2", KTO_END, "logprobs.sum() * 0 + 0.5"),
        ("does no work: the mean gain", "log-ratios 2", KTO_END, "gain.mean()"),
        ("point may be negative", "negative reference point", ".clamp(min=0)", ""),
        ("no point", "reference point is left out", " - point)", ")"),
        ("a gradient through the point", "flows through the reference", ".detach()", ""),
        (
            "each term cut",
            "not each of its terms",
            POINT,
            "(other - ref_other).clamp(min=0).mean().detach()",
        ),
        ("a positive point", "not positive", ".clamp(min=0)", ".abs()"),
        (
            "beta before the point",
            "leaves the reference point out",
            GAIN,
            "beta * (logprobs - ref) - point",
        ),
        (
            "a weighted mean",
            "divided by that of the weights",
            KTO_END,
            "torch.where(wanted, liked, disliked).sum() / torch.where(wanted, up, down).sum()",
        ),
        ("point added", "taken off, not added", "ref - point", "ref + point"),
        ("point of these", "not of these", POINT, "(logprobs - ref).mean().clamp(min=0).detach()"),
        (
            "a sum for a point",
            "a mean, not a sum",
            "(other - ref_other).mean()",
            "(other - ref_other).sum()",
        ),
        (
            "kinds swapped",
            "wanted and unwanted are swapped",
            "(wanted, liked, disliked)",
            "(wanted, disliked, liked)",
        ),
        (
            "weights swapped",
            "weights are swapped",
            "up * (1",
            "DOWN * (1",
            "= down * (1",
            "= up * (1",
            "DOWN",
            "down",
        ),
        ("no weights", "weights are left out", "up * (1", "(1", "= down * (1", "= (1"),
        (
            "mean of means",
            "means of both kinds",
            KTO_END,
            "sum(v.mean() if len(v) else 0 for v in (liked[wanted], disliked[~wanted])) / 2",
        ),
        ("a sum", "the sum over responses", ").mean()\n", ").sum()\n"),
        (
            "a logarithm",
            "with no logarithm",
            "(1 - torch.sigmoid(gain))",
            "-F.logsigmoid(gain)",
            "(1 - torch.sigmoid(-gain))",
            "-F.logsigmoid(-gain)",
        ),
        ("both above", "below the reference point", "torch.sigmoid(-gain)", "torch.sigmoid(gain)"),
        ("no beta", "beta is left out", GAIN, "logprobs - ref - point"),
        ("cut gradient", "cuts the gradient", KTO_END, KTO_END + ".detach()"),
        (
            "a gradient for wanted ones alone",
            "the reverse for others",
            "ref, wanted, other, ref_other, beta",
            "ref_logprobs, is_desirable, mismatched_logprobs, ref_mismatched_logprobs, beta",
            "    if logprobs.dim()",
            "    ref, wanted = ref_logprobs, is_desirable\n"
            "    other, ref_other = mismatched_logprobs, ref_mismatched_logprobs\n"
            "    if logprobs.dim()",
            KTO_END,
            "torch.where(wanted, liked, disliked.detach()).mean()",
        ),
        (
            "a point never above 0",
            "is 0 where its mean is positive",
            "clamp(min=0)",
            "clamp(max=0)",
        ),
        (
            "takes numbers as marks",
            "whole numbers in is_desirable",
            "wanted.dtype != torch.bool or ",
            "",
            "torch.where(wanted,",
            "torch.where(wanted.bool(),",
        ),
        ("takes no mismatched", "no mismatched", " or other.numel() == 0", ""),
        ("takes other shapes", "1 mark", " == wanted.shape", ""),
    ),
    *wrongs(
        "group_advantages",
        GROUP,
        ("cut at 2", "a 3 among fifteen 0", ".flatten()", ".flatten().clamp(-2, 2)"),
        ("does no work: zeros", "groups of 4", "return away", "return 0 * away"),
        ("does no work: the rewards", "mean is not taken off", AWAY, "groups", STD, "1"),
        (
            "population std",
            "divides by group_size - 1",
            ".std(1, keepdim=True)",
            ".std(1, keepdim=True, unbiased=False)",
        ),
        ("variance", "divided by the variance", ".std(1", ".var(1"),
        ("mean of the batch", "mean is that of the whole batch", AWAY, "groups - groups.mean()"),
        ("std of the batch", "deviation is that of the whole batch", STD, "(groups.std() + eps)"),
        (
            "interleaved",
            "rows come group after group",
            VIEW,
            "rewards.detach().float().view(group_size, -1).T",
            ".flatten()",
            ".T.flatten()",
        ),
        (
            "nearly equal is equal",
            "nearly equal",
            "flat = groups.amax(1, keepdim=True) == groups.amin(1, keepdim=True)",
            "flat = groups.amax(1, keepdim=True) - groups.amin(1, keepdim=True) < 1e-5",
        ),
        (
            "eps as a bound",
            "eps is not added",
            STD,
            "groups.std(1, keepdim=True).clamp(min=eps)",
        ),
        ("eps inside", "not inside", STD, "(groups.var(1, keepdim=True) + eps).sqrt()"),
        ("no eps", "eps", STD, "groups.std(1, keepdim=True)"),
        (
            "NaN alone",
            "exactly 0, not NaN",
            " and group_size > 1",
            "",
            "away.masked_fill(flat, 0.0)",
            "away",
        ),
        ("not quite 0", "exactly 0, not NaN", "away.masked_fill(flat, 0.0)", "away"),
        (
            "leave one out",
            "mean is that of the whole group",
            AWAY,
            "(groups - groups.mean(1, keepdim=True)) * group_size / max(group_size - 1, 1)",
        ),
        ("choice reversed", "is turned round", "if divide_by_std", "if not divide_by_std"),
        ("sign", "sign is turned round", AWAY, "groups.mean(1, keepdim=True) - groups"),
        ("always divides", "is turned round", "if divide_by_std and", "if"),
        ("a table", "expected shape", ".flatten()", ""),
        ("a gradient", "gradient flows to the rewards", ".detach()", ""),
        (
            "takes NaN",
            "a reward of nan",
            "torch.isfinite(rewards)",
            "(rewards.abs() != float('inf'))",
        ),
        ("takes infinity", "a reward of", "torch.isfinite(rewards)", "(~torch.isnan(rewards))"),
        (
            "zeros for whole numbers",
            "whole numbers",
            ".float()",
            "",
            AWAY,
            "groups - groups.double().mean(1, keepdim=True).to(groups.dtype)",
            "groups.std(1",
            "groups.double().std(1",
        ),
        ("takes a table", "rewards (6, 1)", "rewards.dim() != 1 or ", ""),
    ),
    *wrongs(
        "grpo_loss",
        GRPO,
        ("the first length for all", "the first one's length", "mask.sum(1)\n", "mask.sum(1)[0]\n"),
        ("no kl_coef", "not multiplied by kl_coef", f"kl_coef * {K3}", K3),
        (
            "one range for all",
            "clip_eps is always 0.2",
            "ratio.clamp(1 - clip_eps, 1 + clip_eps)",
            "ratio.clamp(0.8, 1.2)",
        ),
        (
            "advantages along the row",
            "4 rows of 4",
            "A = advantages.unsqueeze(1)",
            "A = advantages if len(advantages) == mask.shape[1] else advantages.unsqueeze(1)",
        ),
        (
            "one number as a decimal alone",
            "`lengths` is not used",
            OWN,
            "    if lengths is None or isinstance(lengths, int):\n        lengths = mask.sum(1)\n",
        ),
        (
            "a column of advantages taken",
            "advantages (B, 1)",
            "advantages.shape != (B,)",
            "advantages.numel() != B",
            "advantages.unsqueeze(1)",
            "advantages.reshape(B, 1)",
        ),
        ("does no work: 0", "ratios 1, 2", GRPO_END, "logprobs.sum() * 0"),
        (
            "does no work: minus the mean advantage",
            "ratios 1, 2",
            GRPO_END,
            "x.sum() * 0 - advantages.mean()",
        ),
        ("sign", "sign is turned round", "-torch.minimum", "torch.minimum"),
        ("maximum", "larger of the two", "-torch.minimum", "-torch.maximum"),
        ("no clip", "ratio is not clipped", CLIP, "-ratio * A"),
        (
            "clip alone",
            "only the clipped ratio",
            CLIP,
            "-ratio.clamp(1 - clip_eps, 1 + clip_eps) * A",
        ),
        (
            "min of ratios",
            "ratios 1, 2",
            CLIP,
            "-torch.minimum(ratio, ratio.clamp(1 - clip_eps, 1 + clip_eps)) * A",
        ),
        ("ratio upside down", "upside down", RATIO, "(old.masked_fill(~mask, 0.0) - x).exp()"),
        ("no advantage", "advantage is left out", CLIP, CLIP.replace(" * A", "")),
        (
            "lengths not used",
            "`lengths` is not used",
            GRPO_END,
            "(loss.masked_fill(~mask, 0.0).sum(1) / mask.sum(1)).mean()",
        ),
        (
            "divided by T",
            "divided by T",
            OWN,
            "    if lengths is None:\n        lengths = float(T)\n",
        ),
        (
            "token mean",
            "their mean length",
            OWN,
            "    if lengths is None:\n        lengths = mask.sum(1).float().mean()\n",
        ),
        ("no division", "not divided by a length", " / lengths", ""),
        ("sum over rows", "sum over rows", ".mean()\n", ".sum()\n"),
        ("padding counts", "outside of the mask count", GRPO_END, "(loss.sum(1) / lengths).mean()"),
        (
            "mask multiplied",
            "outside of the mask",
            "logprobs.masked_fill(~mask, 0.0)",
            "logprobs * mask",
            "old.masked_fill(~mask, 0.0)",
            "old * mask",
        ),
        (
            "masked late",
            "outside of the mask",
            "logprobs.masked_fill(~mask, 0.0)",
            "logprobs",
            "old.masked_fill(~mask, 0.0)",
            "old",
        ),
        ("ratio detached", "cuts the gradient", ").exp()\n    A", ").exp().detach()\n    A"),
        ("old is new", "ratios 1, 2", "old.masked_fill(~mask, 0.0)", "x.detach()"),
        ("d reversed", "d has the wrong sign", K3, "((-d).exp() + d - 1)"),
        ("k1", "may be negative", K3, "(-d)"),
        ("k2", "half of the square", K3, "(d**2 / 2)"),
        ("a reward for distance", "taken off: it is a cost", "loss + kl_coef", "loss - kl_coef"),
        ("no reference", "reference plays no part", "loss + kl_coef * (d.exp() - d - 1)", "loss"),
        ("takes an empty row", "without a response token", "not mask.any(1).all() or ", ""),
        (
            "takes whole numbers as mask",
            "mask of whole numbers",
            " or mask.dtype != torch.bool",
            "",
            "    B, T = mask.shape\n",
            "    B, T = mask.shape\n    mask = mask.bool()\n",
        ),
        ("takes one advantage", "one advantage", " or advantages.shape != (B,)", ""),
        ("takes length 0", "a length of 0", "(lengths > 0)", "(lengths >= 0)"),
    ),
    *wrongs(
        "verify_answer",
        VERIFY,
        ("an underscore as a letter", "an underscore", "(?<![0-9A-Za-z])", r"(?<!\w)"),
        ("does no work: always right", "another number", "float(a == b)", "1.0"),
        ("does no work: always wrong", "the bare number", "float(a == b)", "0.0"),
        (
            "anywhere",
            "not the last one",
            "    if not found:\n",
            "    if answer in found:\n        return 1.0\n    if not found:\n",
        ),
        ("text within", "not the last one", "float(a == b)", "float(answer.strip() in response)"),
        ("first number", "last", "found[-1]", "found[0]"),
        ("parted by blanks", "a letter behind", "(?:\\.[0-9]+)?", "(?:\\.[0-9]+)?(?!\\w)"),
        ("exponents", "a letter parts", "(?:\\.[0-9]+)?", "(?:\\.[0-9]+)?(?:[eE][0-9]+)?"),
        (
            "behind the sign of equality",
            "before the sign of equality",
            "found = re.findall(number, response)",
            "found = re.findall(number, response.rsplit('=', 1)[-1])",
        ),
        (
            "the last line alone",
            "in the last line",
            "found = re.findall(number, response)",
            "found = re.findall(number, (response.splitlines() or [''])[-1])",
        ),
        ("28 digits", "all forty digits", "float(a == b)", "float(a.normalize() == b.normalize())"),
        (
            "text compared",
            "12.0 is 12",
            "float(a == b)",
            "float(found[-1].replace(',', '') == answer.strip().replace(',', ''))",
        ),
        ("floats", "compared exactly", "Decimal(", "float("),
        ("a bool", "return a float", "float(a == b)", "a == b"),
        ("no sign", "a sign belongs", "(?:(?<![0-9A-Za-z])[-+])?", ""),
        ("every minus is a sign", "no sign", "(?<![0-9A-Za-z])[-+]", "[-+]"),
        ("no plus", "plus sign", "[-+]", "[-]"),
        ("letters forgotten", "behind a letter", "(?<![0-9A-Za-z])", "(?<![0-9])"),
        ("no commas", "commas", "[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|", ""),
        (
            "commas anywhere",
            "parts two numbers",
            NUMBER,
            r'r"(?:(?<![0-9A-Za-z])[-+])?[0-9][0-9,]*(?:\.[0-9]+)?"',
            'text.replace(",", "")',
            'text.strip().replace(",", "")',
        ),
        ("whole numbers", "12.0 is 12", r"(?:\.[0-9]+)?", ""),
        ("all digits of the world", "other than 0 to 9", "|[0-9]+)", r"|\d+)"),
        (
            "any answer",
            "the answer",
            '        raise ValueError("answer")\n',
            "        return 0.0\n",
        ),
        (
            "digits of the world in the answer",
            "\u0661",
            "re.fullmatch(number, answer.strip())",
            r"re.fullmatch(number.replace('[0-9]', r'\d'), answer.strip())",
        ),
        (
            "an answer that holds a number",
            "the answer",
            "re.fullmatch(number, answer.strip())",
            "re.search(number, answer)",
            'text.replace(",", "")',
            'text.replace(",", "").split()[0].strip("xa.-")',
        ),
        ("raises for none", "IndexError", "    if not found:\n        return 0.0\n", ""),
    ),
]

SAME_SHAPES = "all shapes are equal where this is looked at"
LAST = "of two axes, the last is also number 1"
GONE = "what is filled in outside of the mask is filled with 0 again before the sum"
EQUIVALENT: dict[tuple[str, str], str] = {
    ("dpo_loss", "0 -> 1 in `shapes[0]`"): SAME_SHAPES,
    ("dpo_loss", "0 -> 1 in `shapes[0]` #2"): SAME_SHAPES,
    ("ipo_loss", "0 -> 1 in `shapes[0]`"): SAME_SHAPES,
    ("ipo_loss", "0 -> 1 in `shapes[0]` #2"): SAME_SHAPES,
    ("group_advantages", "1 -> -1 in `group_size > 1`"): (
        "the standard deviation of one is NaN, and a group of one is filled with 0 all the same"
    ),
    ("group_advantages", "Gt -> GtE in `group_size > 1`"): (
        "the standard deviation of one is NaN, and a group of one is filled with 0 all the same"
    ),
    **{
        ("group_advantages", f"1 -> -1 in `groups.{name}(dim=1, keepdim=True)`"): LAST
        for name in ("amax", "amin", "mean", "std")
    },
    ("group_advantages", "drop sign of `(~torch.isfinite(rewards)).nonzero`"): (
        "which reward the error's words name"
    ),
    ("grpo_loss", "0 -> 1 in `response_mask.shape if response_mask.dim() == 2 else (0, 0)`"): (
        "a mask that is not (B, T) is refused by the shapes that follow"
    ),
    ("grpo_loss", "0 -> 1 in `response_mask.shape if response_mask.dim() == 2 else (0, 0)` #2"): (
        "a mask that is not (B, T) is refused by the shapes that follow"
    ),
    ("grpo_loss", "0.0 -> 1.0 in `logprobs.masked_fill(~response_mask, 0.0)`"): GONE,
    ("grpo_loss", "0.0 -> 1.0 in `old_logprobs.detach().masked_fill(~response_mask, 0.0)`"): GONE,
    ("grpo_loss", "0.0 -> 1.0 in `ref_logprobs.detach().masked_fill(~response_mask, 0.0)`"): GONE,
    ("grpo_loss", "delete `lengths = lengths.expand(B)`"): (
        "it says what each row is divided by; one number divides all rows without it"
    ),
    ("grpo_loss", "1 -> -1 in `advantages.unsqueeze(1)`"): LAST,
    ("grpo_loss", "1 -> -1 in `loss.masked_fill(~response_mask, 0.0).sum(dim=1)`"): LAST,
    ("grpo_loss", "1 -> -1 in `response_mask.any(dim=1)`"): LAST,
    ("grpo_loss", "1 -> -1 in `response_mask.sum(dim=1)`"): LAST,
    (
        "grpo_loss",
        "swap arguments of `torch.minimum(ratio * advantage, clipped * advantage)`",
    ): "the smaller of two numbers, in either order",
}
