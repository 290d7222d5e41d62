"""Lab 09: the code that each last hint describes, to the letter."""

FOLLOWED = {
    "rouge_l": """
def rouge_l(prediction, reference):
    ours = WORD.findall(prediction.lower())
    theirs = WORD.findall(reference.lower())
    n, m = len(ours), len(theirs)
    L = [[0] * (m + 1) for _ in range(n + 1)]
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            if ours[i - 1] == theirs[j - 1]:
                L[i][j] = L[i - 1][j - 1] + 1
            else:
                L[i][j] = max(L[i - 1][j], L[i][j - 1])
    common = L[n][m]
    if common == 0:
        return Rouge(0.0, 0.0, 0.0)
    precision = common / n
    recall = common / m
    f1 = 2 * precision * recall / (precision + recall)
    return Rouge(precision, recall, f1)
""",
    "expected_calibration_error": """
def expected_calibration_error(confidence, correct, n_bins=10):
    check_answers(confidence, correct, n_bins)
    confidence, correct = confidence.double(), correct.double()
    bins = (torch.ceil(confidence * n_bins) - 1).clamp(min=0)
    total = 0.0
    for k in range(n_bins):
        here = bins == k
        n = int(here.sum())
        if n:
            total += n * abs(correct[here].mean().item() - confidence[here].mean().item())
    return total / len(confidence)
""",
    "bootstrap_interval": """
def bootstrap_interval(
    values, *, level=0.95, n_resamples=2000, statistic=None, generator=None
):
    check_values(values, level)
    N = len(values)
    picked = torch.randint(N, (n_resamples, N), generator=generator)
    resamples = values.double()[picked]
    found = resamples.mean(dim=-1) if statistic is None else statistic(resamples)
    return found.quantile((1 - level) / 2).item(), found.quantile((1 + level) / 2).item()
""",
    "paired_permutation_test": """
def paired_permutation_test(a, b, n_permutations=10_000, generator=None):
    import itertools
    check_pairs(a, b)
    differences = a.double() - b.double()
    differences = differences[differences != 0]
    n = len(differences)
    if n == 0:
        return 1.0
    least = abs(differences.sum()) * (1 - 1e-12)
    if n <= 12:
        signs = torch.tensor(list(itertools.product((1, -1), repeat=n))).double()
        sums = (signs * differences).sum(dim=1)
        return (abs(sums) >= least).double().mean().item()
    signs = 1 - 2 * torch.randint(2, (n_permutations, n), generator=generator)
    sums = (signs * differences).sum(dim=1)
    count = int((abs(sums) >= least).sum())
    return (count + 1) / (n_permutations + 1)
""",
    "cohen_kappa": """
def cohen_kappa(first, second):
    if len(first) != len(second) or len(first) == 0:
        raise ValueError("unequal lengths, or no items")
    n = len(first)
    seen = sum(a == b for a, b in zip(first, second)) / n
    expected = 0.0
    shares = [Counter(first), Counter(second)]
    for label in shares[0]:
        expected += shares[0][label] * shares[1][label] / n**2
    if expected == 1:
        raise ValueError("not defined")
    return (seen - expected) / (1 - expected)
""",
    "judge_position_bias": """
def judge_position_bias(pairs, choose):
    if not pairs:
        raise ValueError("no pairs")
    consistent = first = second = mixed = 0
    for one, other in pairs:
        forth = checked(choose(one, other))
        back = checked(choose(other, one))
        if (forth, back) in [("first", "second"), ("second", "first"), ("tie", "tie")]:
            consistent += 1
        elif "tie" in (forth, back):
            mixed += 1
        elif forth == "first":
            first += 1
        else:
            second += 1
    n = len(pairs)
    return PositionBias(consistent / n, first / n, second / n, mixed / n)
""",
    "ab_sample_size": """
def ab_sample_size(p_a, p_b, alpha=0.05, power=0.8):
    check_plan(p_a, p_b, alpha, power)
    m = (p_a + p_b) / 2
    top = normal_quantile(1 - alpha / 2) * math.sqrt(2 * m * (1 - m))
    top = top + normal_quantile(power) * math.sqrt(p_a * (1 - p_a) + p_b * (1 - p_b))
    return math.ceil((top / (p_a - p_b)) ** 2)
""",
    "sequential_test": """
def sequential_test(differences, tau, variance=None):
    check_stream(differences, tau, variance)
    y = differences.double()
    n = torch.arange(1, len(y) + 1)
    mean = y.cumsum(0) / n
    if variance is None:
        v = (y.square().cumsum(0) - n * mean**2) / (n - 1)
    else:
        v = torch.full_like(y, variance)
    s = v + n * tau**2
    log_L = 0.5 * torch.log(v / s) + n**2 * tau**2 * mean**2 / (2 * v * s)
    p = torch.exp(-log_L).clamp(max=1)
    if variance is None:
        p[0] = 1.0
    p[v <= 1e-12] = 1.0
    return p.cummin(0).values
""",
}
