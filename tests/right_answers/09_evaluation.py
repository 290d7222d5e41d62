"""Lab 09: right answers of another shape than the course's own."""

RIGHT = {
    "rouge_l": [
        # the longest rising chain of places, by recursion that remembers
        """
def rouge_l(prediction, reference):
    from functools import lru_cache
    a, b = (WORD.findall(text.lower()) for text in (prediction, reference))

    @lru_cache(None)
    def longest(i, j):
        if i < 0 or j < 0:
            return 0
        if a[i] == b[j]:
            return longest(i - 1, j - 1) + 1
        return max(longest(i - 1, j), longest(i, j - 1))

    common = longest(len(a) - 1, len(b) - 1)
    if not common:
        return Rouge(0.0, 0.0, 0.0)
    return Rouge(common / len(a), common / len(b), 2 * common / (len(a) + len(b)))
""",
        # bits of a whole number, one for each word of the reference; a plain tuple
        """
def rouge_l(prediction, reference):
    import re
    split = lambda text: [w for w in re.split("[^a-z0-9]+", text.lower()) if w]
    a, b = split(prediction), split(reference)
    bits = (1 << len(b)) - 1
    state = bits
    for word in a:
        here = sum(1 << j for j, other in enumerate(b) if other == word)
        state = ((state + (state & here)) | (state & ~here)) & bits
    common = bin(bits & ~state).count("1")
    p = common / len(a) if a else 0.0
    r = common / len(b) if b else 0.0
    return p, r, (2 * p * r / (p + r) if common else 0.0)
""",
    ],
    "expected_calibration_error": [
        """
def expected_calibration_error(confidence, correct, n_bins=10):
    check_answers(confidence, correct, n_bins)
    total = 0.0
    for k in range(n_bins):
        here = [
            (c, r)
            for c, r in zip(confidence.tolist(), correct.tolist())
            if (c > k / n_bins or k == 0) and c <= (k + 1) / n_bins
        ]
        total += abs(sum(c for c, _ in here) - sum(float(r) for _, r in here))
    return total / len(confidence)
""",
        """
def expected_calibration_error(confidence, correct, n_bins=10):
    check_answers(confidence, correct, n_bins)
    borders = torch.arange(1, n_bins, dtype=torch.float64) / n_bins
    place = torch.bucketize(confidence.double(), borders)
    gap = torch.bincount(place, confidence.double() - correct.double(), minlength=n_bins)
    return float(gap.abs().sum() / len(confidence))
""",
    ],
    "bootstrap_interval": [
        # in float32 throughout
        """
def bootstrap_interval(
    values, *, level=0.95, n_resamples=2000, statistic=None, generator=None
):
    check_values(values, level)
    values = values.float()
    picked = torch.randint(len(values), (n_resamples, len(values)), generator=generator)
    found = values[picked].mean(1) if statistic is None else statistic(values[picked])
    low, high = found.quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2])).tolist()
    return low, high
""",
        """
def bootstrap_interval(
    values, *, level=0.95, n_resamples=2000, statistic=None, generator=None
):
    check_values(values, level)
    weights = torch.ones(len(values))
    rows = torch.stack([
        values.double()[torch.multinomial(weights, len(values), True, generator=generator)]
        for _ in range(n_resamples)
    ])
    found = (statistic or (lambda x: x.mean(1)))(rows).sort().values
    tail = (1 - level) / 2
    return found.quantile(tail).item(), found.quantile(1 - tail).item()
""",
        """
def bootstrap_interval(
    values, *, level=0.95, n_resamples=2000, statistic=None, generator=None
):
    check_values(values, level)
    N = len(values)
    picked = (torch.rand(n_resamples, N, generator=generator) * N).long().clamp(max=N - 1)
    resamples = values.double()[picked]
    found = resamples.sum(1) / N if statistic is None else statistic(resamples)
    ordered = sorted(found.tolist())
    low = ordered[int((1 - level) / 2 * n_resamples)]
    high = ordered[min(n_resamples - 1, int((1 + level) / 2 * n_resamples))]
    return low, high
""",
    ],
    "paired_permutation_test": [
        """
def paired_permutation_test(a, b, n_permutations=10_000, generator=None):
    check_pairs(a, b)
    from itertools import product
    gaps = [x - y for x, y in zip(a.double().tolist(), b.double().tolist()) if x != y]
    least = abs(math.fsum(gaps)) - 1e-9
    if len(gaps) <= 12:
        far = [
            abs(math.fsum(s * g for s, g in zip(signs, gaps))) >= least
            for signs in product((1, -1), repeat=len(gaps))
        ]
        return sum(far) / len(far)
    row = torch.tensor(gaps, dtype=torch.float64)
    n_far = 0
    for _ in range(n_permutations):
        signs = torch.randint(2, row.shape, generator=generator) * 2 - 1
        n_far += bool((signs * row).sum().abs() >= least)
    return (1 + n_far) / (1 + n_permutations)
""".replace("math.fsum", "sum"),
        """
def paired_permutation_test(a, b, n_permutations=10_000, generator=None):
    check_pairs(a, b)
    gaps = a.double() - b.double()
    gaps = gaps[gaps.abs() > 0]
    seen = gaps.sum().abs()
    if len(gaps) <= 12:
        sums = torch.zeros(1, dtype=torch.float64)
        for gap in gaps:
            sums = torch.cat([sums + gap, sums - gap])
        return (sums.abs() > seen - 1e-10).double().mean().item()
    turned = torch.rand(n_permutations, len(gaps), generator=generator) < 0.5
    sums = gaps.sum() - 2 * (turned * gaps).sum(dim=1)
    n_far = int((sums.abs() > seen - 1e-10).sum())
    return (1 + n_far) / (n_permutations + 1)
""",
    ],
    "cohen_kappa": [
        """
def cohen_kappa(first, second):
    n = len(first)
    if n != len(second) or n == 0:
        raise ValueError("give both a label for each item")
    labels = list({*first, *second})
    table = [[0] * len(labels) for _ in labels]
    for a, b in zip(first, second):
        table[labels.index(a)][labels.index(b)] += 1
    places = range(len(labels))
    rows = [sum(table[i]) / n for i in places]
    columns = [sum(table[i][j] for i in places) / n for j in places]
    expected = sum(x * y for x, y in zip(rows, columns))
    if len(labels) == 1:
        raise ValueError("a single label")
    seen = sum(table[i][i] for i in places) / n
    return (seen - expected) / (1 - expected)
""",
        """
def cohen_kappa(first, second):
    if len(first) != len(second):
        raise ValueError("lengths")
    if len(first) < 1:
        raise ValueError("nothing")
    pairs = [(a, b) for a in first for b in second]
    by_chance = sum(a == b for a, b in pairs) / len(pairs)
    if by_chance == 1:
        raise ValueError("no choice")
    missed = sum(a != b for a, b in zip(first, second)) / len(first)
    return 1 - missed / (1 - by_chance)
""",
    ],
    "judge_position_bias": [
        """
def judge_position_bias(pairs, choose):
    if not pairs:
        raise ValueError("no pairs")
    kinds = []
    for one, other in pairs:
        score = {"first": 1, "tie": 0, "second": -1}
        forth = score[checked(choose(one, other))]
        back = score[checked(choose(other, one))]
        if forth == -back:
            kinds.append("consistent")
        elif forth == back:
            kinds.append("first" if forth == 1 else "second")
        else:
            kinds.append("mixed")
    return tuple(kinds.count(k) / len(kinds) for k in ("consistent", "first", "second", "mixed"))
""",
        """
def judge_position_bias(pairs, choose):
    if len(pairs) < 1:
        raise ValueError("no pairs")
    forth = [checked(choose(a, b)) for a, b in pairs]
    back = [checked(choose(b, a)) for a, b in pairs]
    both = list(zip(forth, back))
    first = both.count(("first", "first"))
    second = both.count(("second", "second"))
    mixed = sum((x == "tie") != (y == "tie") for x, y in both)
    n = len(both)
    return PositionBias((n - first - second - mixed) / n, first / n, second / n, mixed / n)
""",
    ],
    "ab_sample_size": [
        """
def ab_sample_size(p_a, p_b, alpha=0.05, power=0.8):
    from statistics import NormalDist
    if not (0 <= p_a <= 1 and 0 <= p_b <= 1 and p_a != p_b):
        raise ValueError("shares")
    if not (0 < alpha < 1 and 0 < power < 1):
        raise ValueError("alpha or power")
    z, m = NormalDist().inv_cdf, (p_a + p_b) / 2
    needed = z(1 - alpha / 2) * (2 * m * (1 - m)) ** 0.5
    needed += z(power) * (p_a * (1 - p_a) + p_b * (1 - p_b)) ** 0.5
    return -int(-(needed**2) / (p_b - p_a) ** 2 // 1)
""",
        """
def ab_sample_size(p_a, p_b, alpha=0.05, power=0.8):
    check_plan(p_a, p_b, alpha, power)
    total = p_a + p_b
    under_null = total * (2 - total) / 2
    under_other = p_a - p_a**2 + p_b - p_b**2
    a, b = -normal_quantile(alpha / 2), normal_quantile(power)
    n = a * a * under_null + 2 * a * b * math.sqrt(under_null * under_other) + b * b * under_other
    return math.ceil(n / (p_a - p_b) ** 2)
""",
    ],
    "sequential_test": [
        """
def sequential_test(differences, tau, variance=None):
    check_stream(differences, tau, variance)
    smallest, total, p = 1.0, 0.0, []
    seen = differences.double().tolist()
    for n, x in enumerate(seen, 1):
        total += x
        mean = total / n
        v = variance
        if v is None:
            v = sum((y - mean) ** 2 for y in seen[:n]) / (n - 1) if n > 1 else 0.0
        if v > 1e-12:
            s = v + n * tau**2
            exponent = (n * tau * mean) ** 2 / (2 * v * s)
            smallest = min(smallest, math.sqrt(s / v) * math.exp(-exponent))
        p.append(smallest)
    return torch.tensor(p, dtype=torch.float64)
""",
        """
def sequential_test(differences, tau, variance=None):
    check_stream(differences, tau, variance)
    y = differences.double()
    N = len(y)
    n = torch.arange(N, dtype=torch.float64) + 1
    shown = torch.ones(N, N, dtype=torch.float64).tril()
    mean = (shown @ y) / n
    if variance is None:
        v = (shown * (y - mean[:, None]) ** 2).sum(1) / (n - 1)
    else:
        v = torch.full((N,), float(variance), dtype=torch.float64)
    log_p = 0.5 * torch.log(1 + n * tau**2 / v) - (n * mean * tau) ** 2 / (2 * v * (v + n * tau**2))
    log_p[~(v > 1e-12)] = 0.0
    return log_p.clamp(max=0).cummin(0).values.exp()
""",
    ],
}
