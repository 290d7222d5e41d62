"""Wrong answers of lab 09, each with words that the hint must hold."""

from tests.wrong_answers import Wrong

ROUGE = """def rouge_l(prediction, reference):
    a, b = WORD.findall(prediction.lower()), WORD.findall(reference.lower())
    n, m = len(a), len(b)
    table = [[0] * (m + 1) for _ in range(n + 1)]
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            if a[i - 1] == b[j - 1]:
                table[i][j] = table[i - 1][j - 1] + 1
            else:
                table[i][j] = max(table[i - 1][j], table[i][j - 1])
    common = table[n][m]
    if common == 0:
        return Rouge(0.0, 0.0, 0.0)
    precision, recall = common / n, common / m
    return Rouge(precision, recall, 2 * precision * recall / (precision + recall))
"""
WORDS = "WORD.findall(prediction.lower()), WORD.findall(reference.lower())"
F1 = "2 * precision * recall / (precision + recall)"
GROWS = "table[i][j] = table[i - 1][j - 1] + 1"
OTHERWISE = "table[i][j] = max(table[i - 1][j], table[i][j - 1])"

ERROR = """def expected_calibration_error(confidence, correct, n_bins=10):
    check_answers(confidence, correct, n_bins)
    confidence, correct = confidence.double(), correct.double()
    place = ((confidence * n_bins).ceil().long() - 1).clamp(min=0)
    total = 0.0
    for k in range(n_bins):
        here = place == k
        if here.any():
            gap = (correct[here].mean() - confidence[here].mean()).abs().item()
            total += int(here.sum()) * gap
    return total / len(confidence)
"""
PLACE = "((confidence * n_bins).ceil().long() - 1).clamp(min=0)"
GAP = "(correct[here].mean() - confidence[here].mean()).abs().item()"
MEASURE = "    check_answers(confidence, correct, n_bins)\n"

BOOTSTRAP = """def bootstrap_interval(
    values, *, level=0.95, n_resamples=2000, statistic=None, generator=None
):
    check_values(values, level)
    values = values.double()
    N = len(values)
    picked = torch.randint(N, (n_resamples, N), generator=generator)
    resamples = values[picked]
    if statistic is None:
        found = resamples.mean(dim=-1)
    else:
        found = statistic(resamples).double()
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = found.quantile(ends).tolist()
    return low, high
"""
PICK = "torch.randint(N, (n_resamples, N), generator=generator)"
ENDS = "[(1 - level) / 2, (1 + level) / 2]"

PAIRED = """def paired_permutation_test(a, b, n_permutations=10_000, generator=None):
    check_pairs(a, b)
    differences = a.double() - b.double()
    differences = differences[differences != 0]
    n = len(differences)
    if n == 0:
        return 1.0
    least = differences.sum().abs() * (1 - 1e-12)
    if n <= 12:
        rows = [[1.0 - 2 * (k >> i & 1) for i in range(n)] for k in range(2**n)]
        sums = torch.tensor(rows, dtype=torch.float64) @ differences
        return (sums.abs() >= least).double().mean().item()
    signs = 1.0 - 2.0 * torch.randint(2, (n_permutations, n), generator=generator).double()
    count = int(((signs @ differences).abs() >= least).sum())
    return (count + 1) / (n_permutations + 1)
"""
LISTED = "(sums.abs() >= least).double().mean().item()"
DRAWN = "int(((signs @ differences).abs() >= least).sum())"
SHARE = "(count + 1) / (n_permutations + 1)"
PATTERNS = "torch.randint(2, (n_permutations, n), generator=generator)"

KAPPA = """def cohen_kappa(first, second):
    if len(first) != len(second) or len(first) == 0:
        raise ValueError("the same items")
    n = len(first)
    seen = sum(a == b for a, b in zip(first, second)) / n
    ours, theirs = Counter(first), Counter(second)
    expected = sum(ours[label] * theirs[label] for label in ours) / n**2
    if expected == 1:
        raise ValueError("one label for all")
    return (seen - expected) / (1 - expected)
"""
CHANCE = "sum(ours[label] * theirs[label] for label in ours) / n**2"
BEYOND = "(seen - expected) / (1 - expected)"
LENGTHS = """    if len(first) != len(second) or len(first) == 0:
        raise ValueError("the same items")
"""
ALIKE = """    if expected == 1:
        raise ValueError("one label for all")
"""

BIAS = """def judge_position_bias(pairs, choose):
    if len(pairs) == 0:
        raise ValueError("no pairs")
    counts = {"consistent": 0, "first": 0, "second": 0, "mixed": 0}
    for one, other in pairs:
        forth, back = checked(choose(one, other)), checked(choose(other, one))
        if (forth, back) in (("first", "second"), ("second", "first"), ("tie", "tie")):
            counts["consistent"] += 1
        elif forth == "tie" or back == "tie":
            counts["mixed"] += 1
        else:
            counts[forth] += 1
    n = len(pairs)
    return PositionBias(*(count / n for count in counts.values()))
"""
CHOICES = "checked(choose(one, other)), checked(choose(other, one))"
CONSISTENT = '(forth, back) in (("first", "second"), ("second", "first"), ("tie", "tie"))'

SIZE = """def ab_sample_size(p_a, p_b, alpha=0.05, power=0.8):
    check_plan(p_a, p_b, alpha, power)
    m = (p_a + p_b) / 2
    one = normal_quantile(1 - alpha / 2) * math.sqrt(2 * m * (1 - m))
    two = normal_quantile(power) * math.sqrt(p_a * (1 - p_a) + p_b * (1 - p_b))
    return math.ceil(((one + two) / (p_a - p_b)) ** 2)
"""

SEQUENTIAL = """def sequential_test(differences, tau, variance=None):
    check_stream(differences, tau, variance)
    y = differences.double()
    n = torch.arange(1, len(y) + 1, dtype=torch.float64)
    mean = y.cumsum(0) / n
    if variance is None:
        v = (y.square().cumsum(0) - n * mean.square()) / (n - 1).clamp(min=1)
    else:
        v = torch.full_like(y, variance)
    s = v + n * tau**2
    log_ratio = 0.5 * (v / s).log() + n**2 * tau**2 * mean**2 / (2 * v * s)
    p = (-log_ratio).exp().clamp(max=1.0)
    p = p.masked_fill(v <= 1e-12, 1.0)
    return p.cummin(0).values
"""
RATIO = "0.5 * (v / s).log() + n**2 * tau**2 * mean**2 / (2 * v * s)"
ESTIMATE = "(y.square().cumsum(0) - n * mean.square()) / (n - 1).clamp(min=1)"
NOTHING = "    p = p.masked_fill(v <= 1e-12, 1.0)\n"
STREAM = "    check_stream(differences, tau, variance)\n"


def changed(code: str, old: str, new: str) -> str:
    """Return the code with one place changed; it must be there."""
    assert old in code, f"{old!r} is not in the code"
    return code.replace(old, new)


def variants(exercise: str, code: str, *rows: tuple[str, str, str, str]) -> list[Wrong]:
    return [Wrong(exercise, why, changed(code, old, new), words) for why, old, new, words in rows]


def constant(exercise: str, signature: str, result: str, why: str, words: str) -> Wrong:
    return Wrong(exercise, why, f"def {exercise}({signature}):\n    return {result}\n", words)


BOOT_ARGS = "values, *, level=0.95, n_resamples=2000, statistic=None, generator=None"
PAIR_ARGS = "a, b, n_permutations=10_000, generator=None"

WRONG = [
    # rouge_l
    constant(
        "rouge_l", "prediction, reference", "Rouge(0.0, 0.0, 0.0)", "no work: zeros", "longest"
    ),
    constant(
        "rouge_l", "prediction, reference", "Rouge(1.0, 1.0, 1.0)", "no work: ones", "longest"
    ),
    Wrong(
        "rouge_l",
        "words in any order",
        """def rouge_l(prediction, reference):
    a, b = WORD.findall(prediction.lower()), WORD.findall(reference.lower())
    common = sum(min(a.count(w), b.count(w)) for w in set(a))
    if common == 0:
        return Rouge(0.0, 0.0, 0.0)
    precision, recall = common / len(a), common / len(b)
    return Rouge(precision, recall, 2 * precision * recall / (precision + recall))
""",
        "any order",
    ),
    Wrong(
        "rouge_l",
        "different words shared",
        changed(ROUGE, "common = table[n][m]", "common = len(set(a) & set(b))"),
        "order counts",
    ),
    *variants(
        "rouge_l",
        ROUGE,
        ("gaps lose all", OTHERWISE, "pass", "longest common subsequence"),
        (
            "each word once",
            WORDS,
            "(list(dict.fromkeys(WORD.findall(text.lower()))) for text in (prediction, reference))",
            "has 2 words, of 4 and 3",
        ),
        (
            "without the s of a plural",
            WORDS,
            '([w.rstrip("s") for w in WORD.findall(text.lower())] for text in (prediction, '
            "reference))",
            "longest common subsequence",
        ),
        ("exchanged", "common / n, common / m", "common / m, common / n", "exchanged"),
        ("f1 is the mean", F1, "(precision + recall) / 2", "plain mean of precision and recall"),
        ("f1 is the product", F1, "precision * recall", "longest common subsequence"),
        ("large letters", WORDS, "WORD.findall(prediction), WORD.findall(reference)", "alike"),
        ("split at spaces", WORDS, "prediction.lower().split(), reference.lower().split()", "word"),
        ("one word is lost", "range(1, n + 1)", "range(1, n)", "longest common subsequence"),
        ("grows from above", GROWS, "table[i][j] = table[i - 1][j] + 1", "longest common"),
        ("first text's last", GROWS, "table[i][j] = table[i][j - 1] + 1", "longest common"),
        ("no guard for zero", "common == 0", "common < 0", "ZeroDivision"),
        ("None for nothing", "return Rouge(0.0, 0.0, 0.0)", "return None", "three floats"),
        ("percent", "common / n, common / m", "100 * common / n, 100 * common / m", "longest"),
        (
            "a single number",
            f"return Rouge(precision, recall, {F1})",
            f"return {F1}",
            "return Rouge",
        ),
    ),
    Wrong(
        "rouge_l",
        "the longest run",
        changed(
            changed(ROUGE, OTHERWISE, "pass"),
            "common = table[n][m]",
            "common = max(map(max, table))",
        ),
        "not just a run",
    ),
    Wrong(
        "rouge_l",
        "letters in place of words",
        changed(ROUGE, WORDS, "prediction.lower(), reference.lower()"),
        "longest common",
    ),
    # expected_calibration_error
    constant(
        "expected_calibration_error",
        "confidence, correct, n_bins=10",
        "0.0",
        "no work: 0",
        "weighted by answers",
    ),
    constant(
        "expected_calibration_error",
        "confidence, correct, n_bins=10",
        "(correct.double().mean() - confidence.double().mean()).abs().item()",
        "one bin for all",
        "cancel",
    ),
    constant(
        "expected_calibration_error",
        "confidence, correct, n_bins=10",
        "(correct.double() - confidence).square().mean().item()",
        "Brier",
        "Brier",
    ),
    constant(
        "expected_calibration_error",
        "confidence, correct, n_bins=10",
        "(correct.double() - confidence).abs().mean().item()",
        "answer by answer",
        "answer by answer",
    ),
    *variants(
        "expected_calibration_error",
        ERROR,
        (
            "bins count alike",
            "total += int(here.sum()) * gap",
            "total += len(place) / n_bins * gap",
            "counts alike",
        ),
        ("signs cancel", ".abs().item()", ".item()", "cancel"),
        ("not divided", "total / len(confidence)", "total", "not divided"),
        ("empty bins", "if here.any():", "if True:", "NaN"),
        (
            "a border above",
            PLACE,
            "(confidence * n_bins).long().clamp(max=n_bins - 1)",
            "border belongs to the bin below",
        ),
        ("zero left out", ".clamp(min=0)", "", "four bins"),
        ("ten bins always", "confidence * n_bins", "confidence * 10", "5 bins"),
        (
            "rounded",
            "(confidence * n_bins).ceil().long() - 1",
            "(confidence * n_bins).round().long()",
            "bins",
        ),
        (
            "largest gap",
            "total += int(here.sum()) * gap",
            "total = max(total, gap * len(place))",
            "weighted by answers",
        ),
        ("a tensor", "total / len(confidence)", "torch.tensor(total / len(confidence))", "float"),
        ("shapes unchecked", MEASURE, "", "raise a ValueError"),
        (
            "changes confidence",
            MEASURE,
            MEASURE + "    confidence.mul_(1)\n    correct.fill_(1)\n",
            "mean distance of confidence and accuracy",
        ),
        (
            "squared gap",
            GAP,
            "((correct[here].mean() - confidence[here].mean()) ** 2).item()",
            "weighted by answers",
        ),
    ),
    # bootstrap_interval
    constant(
        "bootstrap_interval",
        BOOT_ARGS,
        "(values.min().item(), values.max().item())",
        "no work: the range",
        "whole range",
    ),
    constant(
        "bootstrap_interval",
        BOOT_ARGS,
        "(values.double().mean().item(), values.double().mean().item())",
        "no work: the mean twice",
        "with replacement",
    ),
    *variants(
        "bootstrap_interval",
        BOOTSTRAP,
        (
            "without replacement",
            PICK,
            "torch.stack([torch.randperm(N, generator=generator) for _ in range(n_resamples)])",
            "with replacement",
        ),
        ("both tails", ENDS, "[1 - level, level]", "tails are too large"),
        ("exchanged", "return low, high", "return high, low", "exchanged"),
        ("no generator", ", generator=generator)", ")", "draw from `generator`"),
        (
            "own seed",
            "generator=generator)",
            "generator=torch.Generator().manual_seed(0))",
            "no seed of your own",
        ),
        ("statistic ignored", "if statistic is None:", "if True:", "largest value of each row"),
        (
            "statistic row by row",
            "statistic(resamples)",
            "torch.stack([statistic(row) for row in resamples])",
            "all resamples at once",
        ),
        ("level ignored", ENDS, "[0.025, 0.975]", "middle part"),
        ("N - 1 values", "(n_resamples, N)", "(n_resamples, max(1, N // 2))", "middle part"),
        (
            "the spread of values",
            "found = resamples.mean(dim=-1)",
            "found = resamples[:, 0]",
            "whole range",
        ),
        (
            "mean over resamples",
            "resamples.mean(dim=-1)",
            "resamples.mean(dim=0)",
            "the middle part of the means",
        ),
        (
            "least and largest",
            "found.quantile(ends).tolist()",
            "(found.min().item(), found.max().item())",
            "middle part",
        ),
        ("200 resamples", "(n_resamples, N)", "(20, N)", "n_resamples decides"),
        ("unchecked", "    check_values(values, level)\n", "", "raise a ValueError"),
        (
            "tensors",
            "return low, high",
            "return torch.tensor(low), torch.tensor(high)",
            "two floats",
        ),
        ("a list", "return low, high", "return [low, high]", "two floats"),
        (
            "last place never",
            "torch.randint(N,",
            "torch.randint(max(1, N - 1),",
            "at the first or last places",
        ),
    ),
    # paired_permutation_test
    constant("paired_permutation_test", PAIR_ARGS, "1.0", "no work: 1", "patterns of signs"),
    constant("paired_permutation_test", PAIR_ARGS, "0.05", "no work: .05", "patterns of signs"),
    *variants(
        "paired_permutation_test",
        PAIRED,
        (
            "one-sided",
            LISTED,
            "(sums * differences.sum().sign() >= least).double().mean().item()",
            "two-sided",
        ),
        (
            "one-sided draws",
            DRAWN,
            "int(((signs @ differences) * differences.sum().sign() >= least).sum())",
            "two-sided",
        ),
        (
            "strictly farther",
            "(sums.abs() >= least)",
            "(sums.abs() > differences.sum().abs() * (1 + 1e-9))",
            "counts, too",
        ),
        (
            "strictly farther draws",
            "(signs @ differences).abs() >= least",
            "(signs @ differences).abs() > differences.sum().abs() * (1 + 1e-9)",
            "0.180 of all patterns are as far",
        ),
        ("never zero forgotten", SHARE, "count / n_permutations", "never 0"),
        (
            "seen counted above only",
            SHARE,
            "(count + 1) / n_permutations",
            "drawn patterns and one",
        ),
        # Which patterns round away differs between processors, and with them the hint.
        ("no tolerance for rounding", " * (1 - 1e-12)", "", "as far"),
        ("a tolerance of a hundredth", "(1 - 1e-12)", "(1 - 1e-2)", "patterns of signs"),
        (
            "a tolerance of its own size",
            "differences.sum().abs() * (1 - 1e-12)",
            "differences.sum().abs() - 1e-6",
            "patterns of signs",
        ),
        ("all patterns of 13", "if n <= 12:", "if n <= 13:", "13 differences other than zero"),
        ("nearer ones", LISTED, "(sums.abs() < least).double().mean().item()", "nearer"),
        (
            "zeros kept",
            "    differences = differences[differences != 0]\n",
            "",
            "all 4096 patterns",
        ),
        ("always draws", "if n <= 12:", "if n <= 0:", "share of all"),
        ("no generator", ", generator=generator)", ")", "draw from `generator`"),
        (
            "own seed",
            "generator=generator)",
            "generator=torch.Generator().manual_seed(1))",
            "no seed of your own",
        ),
        (
            "n_permutations ignored",
            "(n_permutations, n)",
            "(5000, n)",
            "is a whole number of 201sts",
        ),
        (
            "unpaired: shuffles scores",
            "differences = a.double() - b.double()",
            "differences = a.double() - b.double().flip(0)",
            "patterns of signs",
        ),
        ("unchecked", "    check_pairs(a, b)\n", "", "raise a ValueError"),
        ("a tensor", LISTED, "(sums.abs() >= least).double().mean()", "float"),
        (
            "one sign for all",
            PATTERNS,
            "torch.randint(2, (n_permutations, 1), generator=generator)",
            "size mismatch",
        ),
    ),
    # cohen_kappa
    constant("cohen_kappa", "first, second", "1.0", "no work: 1", "expected"),
    constant("cohen_kappa", "first, second", "0.0", "no work: 0", "expected"),
    *variants(
        "cohen_kappa",
        KAPPA,
        ("agreement itself", BEYOND, "seen", "agreement itself"),
        ("chance itself", BEYOND, "expected", "chance gives, not kappa"),
        ("not divided", BEYOND, "seen - expected", "room above chance"),
        ("plus", BEYOND, "(seen - expected) / (1 + expected)", "1 - expected"),
        ("even chances", CHANCE, "1 / len(ours | theirs)", "1 / number of labels"),
        (
            "Scott's pi",
            CHANCE,
            "sum(((ours[x] + theirs[x]) / (2 * n)) ** 2 for x in ours | theirs)",
            "Scott",
        ),
        ("not squared", "/ n**2", "/ n", "(seen - expected) / (1 - expected)"),
        ("never negative", f"return {BEYOND}", f"return max(0.0, {BEYOND})", "expected"),
        ("lengths unchecked", LENGTHS, "", "raise a ValueError"),
        (
            "undefined is 1",
            ALIKE,
            "    if expected == 1:\n        return 1.0\n",
            "raise a ValueError",
        ),
        (
            "undefined is 0",
            ALIKE,
            "    if expected == 1:\n        return 0.0\n",
            "raise a ValueError",
        ),
        (
            "only labels of the second",
            "for label in ours)",
            "for label in theirs if label != 'b')",
            "seen 0.5, expected 0.3889",
        ),
        (
            "first label only",
            CHANCE,
            "ours[first[0]] * theirs[first[0]] / n**2",
            "(seen - expected) / (1 - expected)",
        ),
        (
            "strings only",
            "len(first) == 0",
            "len(first) == 0 or type(first[0]) is not str",
            "ValueError",
        ),
        (
            "one labeller's chances",
            CHANCE,
            "sum(ours[x] ** 2 for x in ours) / n**2",
            "(seen - expected) / (1 - expected)",
        ),
    ),
    # judge_position_bias
    constant(
        "judge_position_bias",
        "pairs, choose",
        "PositionBias(1.0, 0.0, 0.0, 0.0)",
        "no work: consistent",
        "asked once about each pair",
    ),
    constant(
        "judge_position_bias",
        "pairs, choose",
        "PositionBias(0.25, 0.25, 0.25, 0.25)",
        "no work: quarters",
        "asked once about each pair",
    ),
    *variants(
        "judge_position_bias",
        BIAS,
        ("same word is consistent", CONSISTENT, "forth == back", "same place"),
        (
            "asked once",
            CHOICES,
            "checked(choose(one, other)), checked(choose(one, other))",
            "asked once about each pair",
        ),
        (
            "not swapped back",
            "counts[forth] += 1",
            "counts['second' if forth == 'first' else 'first'] += 1",
            "exchanged",
        ),
        (
            "ties are mixed",
            '("second", "first"), ("tie", "tie"))',
            '("second", "first"))',
            "tie in both orders",
        ),
        ("a tie is consistent", 'counts["mixed"] += 1', 'counts["consistent"] += 1', "is mixed"),
        (
            "a tie goes to the winner",
            'counts["mixed"] += 1',
            "counts[forth if back == 'tie' else back] += 1",
            "is mixed",
        ),
        ("counts", "count / n for", "float(count) for", "divide by the number of pairs"),
        ("over questions", "count / n for", "count / (2 * n) for", "not of questions"),
        ("whole numbers", "count / n for", "count for", "four floats"),
        ("not checked", CHOICES, "choose(one, other), choose(other, one)", "raise a ValueError"),
        (
            "first not checked",
            "checked(choose(one, other))",
            "choose(one, other)",
            "raise a ValueError",
        ),
        (
            "swap not checked",
            "checked(choose(other, one))",
            "choose(other, one)",
            "raise a ValueError",
        ),
        (
            "no pairs",
            '    if len(pairs) == 0:\n        raise ValueError("no pairs")\n',
            "",
            "no pairs",
        ),
        (
            "only first",
            'elif forth == "tie" or back == "tie":',
            'elif forth == "tie":',
            "tie/second",
        ),
        (
            "asks three times",
            "    for one, other in pairs:\n",
            "    for one, other in pairs:\n        choose(one, other)\n",
            "once about each pair",
        ),
        (
            "a dictionary",
            "PositionBias(*(count / n for count in counts.values()))",
            "{name: count / n for name, count in counts.items()}",
            "four floats",
        ),
    ),
    # ab_sample_size
    constant(
        "ab_sample_size", "p_a, p_b, alpha=0.05, power=0.8", "1000", "no work: 1000", "formula"
    ),
    constant(
        "ab_sample_size",
        "p_a, p_b, alpha=0.05, power=0.8",
        "math.ceil(4 / (p_a - p_b) ** 2)",
        "a rule of thumb",
        "formula",
    ),
    *variants(
        "ab_sample_size",
        SIZE,
        ("one-sided", "1 - alpha / 2", "1 - alpha", "two-sided"),
        (
            "no power",
            "two = normal_quantile(power)",
            "two = 0 * normal_quantile(power)",
            "second term is missing",
        ),
        ("beta", "normal_quantile(power)", "normal_quantile(1 - power)", "z(power)"),
        ("no two", "sqrt(2 * m * (1 - m))", "sqrt(m * (1 - m))", "2 m (1 - m)"),
        (
            "both arms",
            "math.ceil(((one + two) / (p_a - p_b)) ** 2)",
            "math.ceil(2 * ((one + two) / (p_a - p_b)) ** 2)",
            "each arm",
        ),
        ("rounded down", "math.ceil", "int", "rounded up"),
        ("rounded", "math.ceil", "round", "rounded up"),
        (
            "a float",
            "math.ceil(((one + two) / (p_a - p_b)) ** 2)",
            "((one + two) / (p_a - p_b)) ** 2",
            "whole number",
        ),
        ("not squared", "(p_a - p_b)) ** 2)", "(p_a - p_b)))", "formula"),
        (
            "difference not squared",
            "((one + two) / (p_a - p_b)) ** 2",
            "(one + two) ** 2 / abs(p_a - p_b)",
            "formula",
        ),
        ("fixed alpha", "1 - alpha / 2", "0.975", "alpha=0.01"),
        ("fixed power", "normal_quantile(power)", "normal_quantile(0.8)", "power=0.95"),
        ("unchecked", "    check_plan(p_a, p_b, alpha, power)\n", "", "raise a ValueError"),
        ("one variance", "p_a * (1 - p_a) + p_b * (1 - p_b)", "2 * p_a * (1 - p_a)", "formula"),
        (
            "two-sided power",
            "normal_quantile(power)",
            "normal_quantile((1 + power) / 2)",
            "formula",
        ),
    ),
    # sequential_test
    constant(
        "sequential_test",
        "differences, tau, variance=None",
        "torch.ones(len(differences), dtype=torch.float64)",
        "no work: ones",
        "so far",
    ),
    constant(
        "sequential_test",
        "differences, tau, variance=None",
        "torch.zeros(len(differences), dtype=torch.float64)",
        "no work: zeros",
        "so far",
    ),
    *variants(
        "sequential_test",
        SEQUENTIAL,
        ("rises", "return p.cummin(0).values", "return p", "never rises"),
        ("above one", ".clamp(max=1.0)", "", "at most 1"),
        ("no root", "0.5 * (v / s).log()", "(v / s).log()", "a half"),
        ("no two", "(2 * v * s)", "(v * s)", "divided by 2 v"),
        ("sign of the logarithm", "(-log_ratio).exp()", "log_ratio.exp()", "so far"),
        ("divides by n", "(n - 1).clamp(min=1)", "n", "n - 1"),
        ("one observation", "(n - 1).clamp(min=1)", "(n - 1)", "NaN"),
        ("nothing varies", NOTHING, "", "NaN"),
        ("exactly zero alone", "v <= 1e-12", "v == 0", "NaN"),
        ("tau not squared", "n * tau**2\n", "n * tau\n", "so far"),
        ("n not squared", "n**2 * tau**2", "n * tau**2", "so far"),
        ("variance ignored", "if variance is None:", "if True:", "so far"),
        ("whole row's mean", "y.cumsum(0) / n", "y.mean().expand(len(y))", "so far"),
        (
            "whole row's variance",
            f"v = {ESTIMATE}",
            "v = y.var().expand(len(y))",
            "the smallest 1 / L_n so far",
        ),
        ("cummax", "cummin", "cummax", "so far"),
        ("only the last", "return p.cummin(0).values", "return p.min()", "shape"),
        ("unchecked", STREAM, "", "raise a ValueError"),
        (
            "changes differences",
            STREAM,
            STREAM + "    differences.mul_(2).div_(2).add_(0.001)\n",
            "changed in place",
        ),
    ),
    Wrong(
        "rouge_l",
        "casefold",
        ROUGE.replace(".lower()", ".casefold()"),
        "as lower() leaves it",
    ),
    Wrong(
        "bootstrap_interval",
        "no whole numbers",
        changed(
            BOOTSTRAP,
            "    values = values.double()",
            "    values.mean()\n    values = values.double()",
        ),
        "in int64",
    ),
    Wrong(
        "paired_permutation_test",
        "no whole numbers",
        changed(PAIRED, "a.double() - b.double()", "a.sub(b).add_(0.0)"),
        "scores in whole numbers",
    ),
    Wrong(
        "paired_permutation_test",
        "a thousandth less counts as far",
        changed(PAIRED, "(1 - 1e-12)", "(1 - 1e-3)"),
        "differences [20000, 1]",
    ),
    Wrong(
        "cohen_kappa",
        "the shorter row decides",
        changed(
            KAPPA, LENGTHS, "    if not first or not second:\n        raise ValueError()\n"
        ).replace(
            "    n = len(first)\n",
            "    n = min(len(first), len(second))\n    first, second = first[:n], second[:n]\n",
        ),
        "three labels and four",
    ),
    Wrong(
        "cohen_kappa",
        "labels as texts",
        changed(
            KAPPA,
            "    n = len(first)\n",
            "    n = len(first)\n    first, second = map(str, first), "
            "map(str, second)\n    first, second = [*first], [*second]\n",
        ),
        "expected",
    ),
    Wrong(
        "cohen_kappa",
        "the labels are sorted afterwards",
        changed(
            KAPPA,
            "    return ",
            "    if isinstance(first, list):\n        first.sort(key=str)\n    return ",
        ),
        "the labels were changed",
    ),
    Wrong(
        "judge_position_bias",
        "equal pairs count once",
        changed(
            BIAS,
            "    for one, other in pairs:",
            "    pairs = [*dict.fromkeys(pairs)]\n    for one, other in pairs:",
        ),
        "asked once about each pair",
    ),
    Wrong(
        "judge_position_bias",
        "equal answers are not asked about",
        changed(
            BIAS,
            "        forth, back =",
            "        if one == other:\n            counts['consistent'] += 1\n"
            "            continue\n"
            "        forth, back =",
        ),
        "asked once about each pair",
    ),
    Wrong(
        "judge_position_bias",
        "the pairs are used up",
        changed(BIAS, "    n = len(pairs)\n", "    n = len(pairs)\n    pairs.clear()\n"),
        "`pairs` was changed",
    ),
    Wrong(
        "ab_sample_size",
        "thirty at least",
        changed(SIZE, "return math.ceil(", "return max(30, math.ceil(").rstrip("\n") + ")\n",
        "the docstring's formula",
    ),
    Wrong(
        "sequential_test",
        "only a mean above zero counts",
        changed(SEQUENTIAL, "tau**2 * mean**2", "tau**2 * mean.clamp(min=0) ** 2"),
        "the smallest 1 / L_n so far",
    ),
    Wrong(
        "sequential_test",
        "no whole numbers",
        changed(
            SEQUENTIAL,
            "y = differences.double()",
            "differences.mean()\n    y = differences.double()",
        ),
        "torch.int64",
    ),
]

CHUNKS = "how many are drawn at once changes no result"
SAME_AXIS = "the last axis is also the second of two, or -1"
EITHER_WAY = "the result is the same either way round"
EQUIVALENT = {
    ("rouge_l", "swap arguments of `max(row[j], row[j - 1])`"): EITHER_WAY,
    **{
        ("bootstrap_interval", label): CHUNKS
        for label in (
            "1 -> -1 in `max(1, CHUNK // len(values))`",
            "1 -> 2 in `max(1, CHUNK // len(values))`",
            "FloorDiv -> Mult in `CHUNK // len(values)`",
            "Sub -> Add in `n_resamples - start`",
            "max -> min",
            "swap arguments of `max(1, CHUNK // len(values))`",
            "swap arguments of `min(rows, n_resamples - start)`",
        )
    },
    **{
        ("bootstrap_interval", label): "one resample more or less shows in no interval"
        for label in (
            "0 -> 1 in `range(0, n_resamples, rows)`",
            "2000 -> 2001 in `values: Tensor, *, level: fl ... torch.Generator | None=None`",
        )
    },
    ("bootstrap_interval", "1 -> -1 in `resamples.mean(dim=-1)`"): SAME_AXIS,
    ("bootstrap_interval", "drop sign of `resamples.mean(dim=-1)`"): SAME_AXIS,
    **{
        ("paired_permutation_test", label): CHUNKS
        for label in (
            "1 -> -1 in `max(1, CHUNK // n)`",
            "1 -> 2 in `max(1, CHUNK // n)`",
            "FloorDiv -> Mult in `CHUNK // n`",
            "Sub -> Add in `n_permutations - start`",
            "max -> min",
            "swap arguments of `max(1, CHUNK // n)`",
            "swap arguments of `min(rows, n_permutations - start)`",
        )
    },
    **{
        ("paired_permutation_test", label): "of no or one difference each pattern is as far: p is 1"
        for label in ("0 -> 1 in `n == 0`", "delete `if n == 0:`")
    },
    ("paired_permutation_test", "1 -> -1 in `torch.arange(2 ** n).unsqueeze(1)`"): SAME_AXIS,
    ("paired_permutation_test", "swap arguments of `check_pairs(a, b)`"): EITHER_WAY,
    ("cohen_kappa", "swap arguments of `zip(first, second, strict=True)`"): EITHER_WAY,
    ("judge_position_bias", "0 -> 1 in `choices[0]`"): "both choices are one word there",
    ("ab_sample_size", "swap arguments of `check_plan(p_a, p_b, alpha, power)`"): EITHER_WAY,
    ("sequential_test", "LtE -> Lt in `v <= 1e-12`"): "no variance is that number exactly",
}
