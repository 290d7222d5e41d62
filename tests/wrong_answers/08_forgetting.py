"""Wrong answers of lab 08, each with words that the hint must hold."""

from tests.wrong_answers import Wrong, changed

STOP = """def early_stopping(losses, patience, min_delta=0.0):
    if not losses:
        raise ValueError("losses")
    if patience < 1 or min_delta < 0:
        raise ValueError("settings")
    best, lowest = 0, float("inf")
    for k, loss in enumerate(losses):
        if loss < lowest - min_delta:
            best, lowest = k, loss
    return best, len(losses) - 1 - best >= patience
"""
BETTER = "if loss < lowest - min_delta:"
DECIDE = "len(losses) - 1 - best >= patience"

FISHER = """def fisher_diagonal(model, token_ids, generator=None):
    if token_ids.dim() != 2 or token_ids.numel() == 0:
        raise ValueError("token_ids")
    weights = {n: w for n, w in model.named_parameters() if w.requires_grad}
    fisher = {n: torch.zeros_like(w) for n, w in weights.items()}
    for row in token_ids:
        log_probs = model(row[None])[0].log_softmax(-1)
        drawn = torch.multinomial(log_probs.detach().exp(), 1, generator=generator)
        score = log_probs.gather(1, drawn).sum()
        grads = torch.autograd.grad(score, list(weights.values()), allow_unused=True)
        for n, g in zip(weights, grads):
            if g is not None:
                fisher[n] += g.square() / token_ids.numel()
    return fisher
"""
DRAW = "torch.multinomial(log_probs.detach().exp(), 1, generator=generator)"
GRADS = "torch.autograd.grad(score, list(weights.values()), allow_unused=True)"
ADD = "fisher[n] += g.square() / token_ids.numel()"

EWC = """def ewc_penalty(model, start, fisher):
    total = torch.zeros(())
    for n, w in model.named_parameters():
        if not w.requires_grad:
            continue
        if n not in start or n not in fisher:
            raise KeyError(n)
        total = total + 0.5 * (fisher[n] * (w - start[n]) ** 2).sum()
    return total
"""
ENERGY = "0.5 * (fisher[n] * (w - start[n]) ** 2).sum()"
FROZEN = """        if not w.requires_grad:
            continue
"""
MISSING = """        if n not in start or n not in fisher:
            raise KeyError(n)
"""

MIX = """def mix_replay(new, old, share):
    if not 0 <= share <= 1:
        raise ValueError("share")
    def batch_of(step):
        ours, theirs = new(step), old(step)
        B, T = ours.token_ids.shape
        n = round(share * B)
        if theirs.token_ids.shape[1] != T or len(theirs.token_ids) < n:
            raise ValueError("does not fit")
        return Batch(
            torch.cat([ours.token_ids[: B - n], theirs.token_ids[:n]]),
            torch.cat([ours.targets[: B - n], theirs.targets[:n]]),
        )
    return batch_of
"""
IDS = "torch.cat([ours.token_ids[: B - n], theirs.token_ids[:n]])"
TARGETS = "torch.cat([ours.targets[: B - n], theirs.targets[:n]])"
FIT = """        if theirs.token_ids.shape[1] != T or len(theirs.token_ids) < n:
            raise ValueError("does not fit")
"""

LOST = """def forgetting(history):
    *earlier, last = history
    if not earlier:
        raise ValueError("one stage")
    best = {}
    for scores in earlier:
        for task, score in scores.items():
            best[task] = max(score, best.get(task, score))
    if any(task not in last for task in best):
        raise ValueError("a task is missing")
    return {task: score - last[task] for task, score in best.items()}
"""
BEST = "best[task] = max(score, best.get(task, score))"
GIVE = "return {task: score - last[task] for task, score in best.items()}"


WRONG = [
    # early_stopping
    Wrong(
        "early_stopping",
        "min_delta as a share of the best",
        changed(STOP, BETTER, "if loss < lowest * (1 - min_delta):"),
        "is (2, False), yours is (3, False)",
    ),
    Wrong(
        "early_stopping",
        "an infinite loss is refused",
        changed(STOP, "if not losses:", 'if not losses or float("inf") in losses:'),
        "ValueError",
    ),
    Wrong(
        "fisher_diagonal",
        "does not work without a generator",
        changed(FISHER, "    fisher = {", "    generator.initial_seed()\n    fisher = {"),
        "no generator is passed",
    ),
    Wrong(
        "fisher_diagonal",
        "the generator is set back for each sequence",
        changed(
            FISHER,
            "        log_probs = model",
            "        if generator is not None:\n"
            "            generator.manual_seed(generator.initial_seed())\n"
            "        log_probs = model",
        ),
        "shares (0.75, 0.25)",
    ),
    Wrong(
        "mix_replay",
        "the share is looked at in a step alone",
        changed(
            changed(MIX, 'raise ValueError("share")', "pass"),
            "        n = round(share * B)\n",
            "        n = round(share * B)\n"
            "        if not 0 <= share <= 1:\n"
            '            raise ValueError("share")\n',
        ),
        "before any step is asked for",
    ),
    Wrong(
        "early_stopping",
        "does no work: always the first, never stops",
        "def early_stopping(losses, patience, min_delta=0.0):\n    return 0, False\n",
        "is (1, False), yours is (0, False)",
    ),
    Wrong(
        "early_stopping",
        "does no work: the last, and stop",
        "def early_stopping(losses, patience, min_delta=0.0):\n    return len(losses) - 1, True\n",
        "yours is (2, True)",
    ),
    Wrong(
        "early_stopping",
        "the largest loss",
        changed(
            STOP.replace('float("inf")', '-float("inf")'), BETTER, "if loss > lowest + min_delta:"
        ),
        "place of the largest loss",
    ),
    Wrong(
        "early_stopping",
        "counts from 1",
        changed(
            STOP, "return best, len(losses) - 1 - best", "return best + 1, len(losses) - 1 - best"
        ),
        "begin at 0",
    ),
    Wrong(
        "early_stopping",
        "the later of equal losses",
        changed(STOP, BETTER, "if loss <= lowest - min_delta:"),
        "the second is no better",
    ),
    Wrong(
        "early_stopping",
        "one evaluation too patient",
        changed(STOP, DECIDE, "len(losses) - 1 - best > patience"),
        "stop now where the last",
    ),
    Wrong(
        "early_stopping",
        "one evaluation too impatient",
        changed(STOP, DECIDE, "len(losses) - best >= patience"),
        "stop now where the last",
    ),
    Wrong(
        "early_stopping",
        "compares with the one before",
        """def early_stopping(losses, patience, min_delta=0.0):
    if not losses or patience < 1 or min_delta < 0:
        raise ValueError("settings")
    best, waited = 0, 0
    for k in range(1, len(losses)):
        if losses[k] < losses[k - 1] - min_delta:
            waited = 0
            if losses[k] < losses[best]:
                best = k
        else:
            waited += 1
    return best, waited >= patience
""",
        "yours is (1, False)",
    ),
    Wrong(
        "early_stopping",
        "what is best follows the one before",
        """def early_stopping(losses, patience, min_delta=0.0):
    if not losses or patience < 1 or min_delta < 0:
        raise ValueError("settings")
    best, before = 0, float("inf")
    for k, loss in enumerate(losses):
        if loss < before - min_delta:
            best = k
        before = loss
    return best, len(losses) - 1 - best >= patience
""",
        "yours is",
    ),
    Wrong(
        "early_stopping",
        "stops for good where patience first ran out",
        changed(
            STOP,
            "            best, lowest = k, loss\n",
            "            best, lowest = k, loss\n"
            "        if k - best >= patience:\n            return best, True\n",
        ),
        "the decision is about now",
    ),
    Wrong(
        "early_stopping",
        "the counter is never set back",
        """def early_stopping(losses, patience, min_delta=0.0):
    if not losses or patience < 1 or min_delta < 0:
        raise ValueError("settings")
    best, lowest, worse = 0, float("inf"), 0
    for k, loss in enumerate(losses):
        if loss < lowest - min_delta:
            best, lowest = k, loss
        else:
            worse += 1
    return best, worse >= patience
""",
        "those before it are forgiven",
    ),
    Wrong(
        "early_stopping",
        "min_delta is not used",
        changed(STOP, BETTER, "if loss < lowest:"),
        "min_delta or less does not count",
    ),
    Wrong(
        "early_stopping",
        "exactly min_delta counts",
        changed(STOP, BETTER, "if loss < lowest and loss <= lowest - min_delta:"),
        "min_delta or less does not count",
    ),
    Wrong(
        "early_stopping",
        "the lowest falls in small steps that do not count",
        changed(
            STOP,
            "            best, lowest = k, loss\n",
            "            best = k\n        lowest = min(lowest, loss)\n",
        ),
        "compare with the best that counted",
    ),
    Wrong(
        "early_stopping",
        "NaN at the start is never beaten",
        changed(STOP, 'best, lowest = 0, float("inf")', "best, lowest = 0, losses[0]"),
        "the next number is better than NaN",
    ),
    Wrong(
        "early_stopping",
        "NaN counts as better",
        changed(STOP, BETTER, "if not loss >= lowest - min_delta:"),
        "NaN is never better",
    ),
    Wrong(
        "early_stopping",
        "an empty list is answered",
        changed(STOP, '        raise ValueError("losses")\n', "        return 0, False\n"),
        "an empty list of losses: raise a",
    ),
    Wrong(
        "early_stopping",
        "a patience of 0 is taken",
        changed(STOP, "patience < 1", "patience < 0"),
        "a patience of 0: raise a",
    ),
    # fisher_diagonal
    Wrong(
        "fisher_diagonal",
        "does no work: ones",
        """def fisher_diagonal(model, token_ids, generator=None):
    return {n: torch.ones_like(w) for n, w in model.named_parameters() if w.requires_grad}
""",
        "even odds",
    ),
    Wrong(
        "fisher_diagonal",
        "does no work: zeros",
        """def fisher_diagonal(model, token_ids, generator=None):
    return {n: torch.zeros_like(w) for n, w in model.named_parameters() if w.requires_grad}
""",
        "expected 0.25, got 0",
    ),
    Wrong(
        "fisher_diagonal",
        "one gradient for all sequences",
        """def fisher_diagonal(model, token_ids, generator=None):
    if token_ids.dim() != 2 or token_ids.numel() == 0:
        raise ValueError("token_ids")
    weights = {n: w for n, w in model.named_parameters() if w.requires_grad}
    log_probs = model(token_ids).log_softmax(-1).flatten(0, 1)
    drawn = torch.multinomial(log_probs.detach().exp(), 1, generator=generator)
    score = log_probs.gather(1, drawn).sum()
    grads = torch.autograd.grad(score, list(weights.values()), allow_unused=True)
    return {
        n: torch.zeros_like(w) if g is None else g.square() / token_ids.numel()
        for (n, w), g in zip(weights.items(), grads)
    }
""",
        "added up before the square",
    ),
    Wrong(
        "fisher_diagonal",
        "no square",
        changed(FISHER, "g.square()", "g.abs()"),
        "without the square",
    ),
    Wrong(
        "fisher_diagonal",
        "the signed gradient",
        changed(FISHER, "g.square()", "g"),
        "even odds",
    ),
    Wrong(
        "fisher_diagonal",
        "sums over sequences",
        changed(FISHER, "/ token_ids.numel()", "/ token_ids.shape[1]"),
        "average over them",
    ),
    Wrong(
        "fisher_diagonal",
        "not divided by T",
        changed(FISHER, "/ token_ids.numel()", "/ len(token_ids)"),
        "divide by T as well",
    ),
    Wrong(
        "fisher_diagonal",
        "mean over T before the square",
        changed(FISHER, ".sum()\n", ".mean()\n").replace("/ token_ids.numel()", "/ len(token_ids)"),
        "mean over T is taken before the square",
    ),
    Wrong(
        "fisher_diagonal",
        "only the last position",
        changed(FISHER, "log_probs.gather(1, drawn).sum()", "log_probs.gather(1, drawn)[-1].sum()"),
        "only the last position",
    ),
    Wrong(
        "fisher_diagonal",
        "targets from the text: the empirical Fisher",
        """def fisher_diagonal(model, token_ids, generator=None):
    if token_ids.dim() != 2 or token_ids.numel() == 0:
        raise ValueError("token_ids")
    weights = {n: w for n, w in model.named_parameters() if w.requires_grad}
    fisher = {n: torch.zeros_like(w) for n, w in weights.items()}
    for row in token_ids:
        log_probs = model(row[None])[0].log_softmax(-1)
        drawn = torch.multinomial(log_probs.detach().exp(), 1, generator=generator)
        drawn[:-1] = row[1:, None]
        score = log_probs.gather(1, drawn).sum()
        grads = torch.autograd.grad(score, list(weights.values()), allow_unused=True)
        for n, g in zip(weights, grads):
            if g is not None:
                fisher[n] += g.square() / token_ids.numel()
    return fisher
""",
        "is the target the text's next token",
    ),
    Wrong(
        "fisher_diagonal",
        "the likeliest token instead of a draw",
        changed(FISHER, DRAW, "log_probs.argmax(-1, keepdim=True)"),
        "draw one for each place, by chance",
    ),
    Wrong(
        "fisher_diagonal",
        "draws evenly",
        changed(
            FISHER, DRAW, DRAW.replace("log_probs.detach().exp()", "torch.ones_like(log_probs)")
        ),
        "no Fisher information",
    ),
    Wrong(
        "fisher_diagonal",
        "logits instead of log-probabilities",
        changed(
            FISHER,
            "score = log_probs.gather(1, drawn).sum()",
            "score = model(row[None])[0].gather(1, drawn).sum()",
        ),
        "even odds",
    ),
    Wrong(
        "fisher_diagonal",
        "the generator is not passed",
        changed(FISHER, ", generator=generator)", ")"),
        "pass the generator",
    ),
    Wrong(
        "fisher_diagonal",
        "backward adds to grad",
        changed(
            changed(
                FISHER,
                f"grads = {GRADS}",
                "before = {n: 0 if w.grad is None else w.grad.clone()"
                " for n, w in weights.items()}\n        score.backward()\n        grads = [None if "
                "w.grad is None else w.grad - before[n] for n, w in weights.items()]",
            ),
            ADD,
            ADD,
        ),
        "without touching `grad`",
    ),
    Wrong(
        "fisher_diagonal",
        "frozen weights are asked for",
        changed(FISHER, " if w.requires_grad}", "}"),
        "does not learn",
    ),
    Wrong(
        "fisher_diagonal",
        "unused weights are an error",
        changed(FISHER, ", allow_unused=True", ""),
        "one weight that is not used",
    ),
    Wrong(
        "fisher_diagonal",
        "one row without a batch is taken",
        changed(
            FISHER,
            "    if token_ids",
            "    token_ids = torch.atleast_2d(token_ids)\n    if token_ids",
        ),
        "token_ids of shape (3,): raise a",
    ),
    Wrong(
        "fisher_diagonal",
        "nothing gives zeros",
        changed(FISHER, " or token_ids.numel() == 0", ""),
        "token_ids of shape (0, 3): raise a",
    ),
    # ewc_penalty
    Wrong(
        "ewc_penalty",
        "does no work: zero",
        "def ewc_penalty(model, start, fisher):\n    return torch.zeros(())\n",
        "expected 22.5, got 0",
    ),
    Wrong(
        "ewc_penalty",
        "does no work: a weight is given back",
        "def ewc_penalty(model, start, fisher):\n    return next(model.parameters())\n",
        "scalar of shape ()",
    ),
    Wrong("ewc_penalty", "no 1/2", changed(EWC, "0.5 * ", ""), "the 1/2 is missing"),
    Wrong("ewc_penalty", "the sign", changed(EWC, "0.5 * ", "-0.5 * "), "the sign is wrong"),
    Wrong(
        "ewc_penalty",
        "the Fisher is squared",
        changed(EWC, "fisher[n] * (w - start[n]) ** 2", "(fisher[n] * (w - start[n])) ** 2"),
        "the Fisher is squared",
    ),
    Wrong(
        "ewc_penalty",
        "distance without square",
        changed(EWC, "(w - start[n]) ** 2", "(w - start[n]).abs()"),
        "the distance is not squared",
    ),
    Wrong(
        "ewc_penalty",
        "L2 to the start",
        changed(EWC, "fisher[n] * (w - start[n])", "(w - start[n])"),
        "the Fisher is not used",
    ),
    Wrong(
        "ewc_penalty",
        "weight decay",
        changed(EWC, "(w - start[n])", "w"),
        "distance to zero",
    ),
    Wrong(
        "ewc_penalty",
        "divided by the Fisher",
        changed(EWC, "fisher[n] * (w - start[n]) ** 2", "(w - start[n]) ** 2 / fisher[n]"),
        "divided by the Fisher",
    ),
    Wrong(
        "ewc_penalty",
        "a mean of each tensor",
        changed(EWC, ".sum()", ".mean()"),
        "a mean over each tensor",
    ),
    Wrong(
        "ewc_penalty",
        "the mean over all weights",
        changed(EWC, "return total", "return total / sum(w.numel() for w in model.parameters())"),
        "the mean over weights",
    ),
    Wrong(
        "ewc_penalty",
        "only the last tensor",
        changed(EWC, "total = total + ", "total = "),
        "yours counts only",
    ),
    Wrong(
        "ewc_penalty",
        "the gradient is cut",
        changed(EWC, "(w - start[n])", "(w.detach() - start[n])"),
        "cuts the gradient",
    ),
    Wrong(
        "ewc_penalty",
        "half of the gradient is cut",
        changed(EWC, "(w - start[n]) ** 2", "(w - start[n]) * (w.detach() - start[n])"),
        "fisher * (weight - start)",
    ),
    Wrong(
        "ewc_penalty",
        "a number instead of a tensor",
        changed(EWC, "return total", "return total.item()"),
        "return a tensor",
    ),
    Wrong(
        "ewc_penalty",
        "frozen weights count",
        changed(EWC, FROZEN, ""),
        "that do not learn as well",
    ),
    Wrong(
        "ewc_penalty",
        "a missing Fisher counts as zero",
        changed(
            changed(EWC, MISSING, "        if n not in start:\n            raise KeyError(n)\n"),
            "fisher[n]",
            "fisher.get(n, 0.0)",
        ),
        "missing in `fisher`",
    ),
    Wrong(
        "ewc_penalty",
        "a missing start is passed over",
        changed(
            EWC, MISSING, "        if n not in start or n not in fisher:\n            continue\n"
        ),
        "missing in `start`",
    ),
    Wrong(
        "ewc_penalty",
        "every name of start must be there",
        """def ewc_penalty(model, start, fisher):
    return sum(
        0.5 * (fisher[n] * (w - start[n]) ** 2).sum() for n, w in model.named_parameters()
    )
""",
        "does not learn",
    ),
    # mix_replay
    Wrong(
        "mix_replay",
        "does no work: the new batches",
        "def mix_replay(new, old, share):\n    return new\n",
        "no old row comes in",
    ),
    Wrong(
        "mix_replay",
        "does no work: the old batches",
        "def mix_replay(new, old, share):\n    return old\n",
        "expected rows",
    ),
    Wrong(
        "mix_replay",
        "a batch instead of a function",
        changed(MIX, "    return batch_of\n", "    return batch_of(0)\n"),
        "return a function",
    ),
    Wrong(
        "mix_replay",
        "the share is that of new rows",
        changed(MIX, "round(share * B)", "B - round(share * B)"),
        "that of the new rows",
    ),
    Wrong(
        "mix_replay",
        "old rows first",
        changed(MIX, IDS, "torch.cat([theirs.token_ids[:n], ours.token_ids[: B - n]])").replace(
            TARGETS, "torch.cat([theirs.targets[:n], ours.targets[: B - n]])"
        ),
        "the old rows stand at the end",
    ),
    Wrong(
        "mix_replay",
        "the first new rows go",
        changed(MIX, "ours.token_ids[: B - n]", "ours.token_ids[n:]").replace(
            "ours.targets[: B - n]", "ours.targets[n:]"
        ),
        "so the first new ones stay",
    ),
    Wrong(
        "mix_replay",
        "the last old rows",
        changed(MIX, "theirs.token_ids[:n]", "theirs.token_ids[B - n :]").replace(
            "theirs.targets[:n]", "theirs.targets[B - n :]"
        ),
        "not its last",
    ),
    Wrong(
        "mix_replay",
        "old rows are added",
        changed(MIX, "ours.token_ids[: B - n]", "ours.token_ids").replace(
            "ours.targets[: B - n]", "ours.targets"
        ),
        "a batch keeps its size",
    ),
    Wrong(
        "mix_replay",
        "the targets stay",
        changed(MIX, TARGETS, "ours.targets"),
        "the targets are still those of the new rows",
    ),
    Wrong(
        "mix_replay",
        "always the first step's old batch",
        changed(MIX, "new(step), old(step)", "new(step), old(0)"),
        "those of another step",
    ),
    Wrong(
        "mix_replay",
        "always the first step's new batch",
        changed(MIX, "new(step), old(step)", "new(0), old(step)"),
        "expected rows",
    ),
    Wrong(
        "mix_replay",
        "in place",
        """def mix_replay(new, old, share):
    if not 0 <= share <= 1:
        raise ValueError("share")
    def batch_of(step):
        ours, theirs = new(step), old(step)
        B, T = ours.token_ids.shape
        n = round(share * B)
        if theirs.token_ids.shape[1] != T or len(theirs.token_ids) < n:
            raise ValueError("does not fit")
        ours.token_ids[B - n :] = theirs.token_ids[:n]
        ours.targets[B - n :] = theirs.targets[:n]
        return ours
    return batch_of
""",
        "changed in place",
    ),
    Wrong(
        "mix_replay",
        "cuts instead of rounding",
        changed(MIX, "round(share * B)", "int(share * B)"),
        "expected rows",
    ),
    Wrong(
        "mix_replay",
        "rounds up",
        changed(MIX, "round(share * B)", "-int(-share * B // 1)"),
        "expected rows",
    ),
    Wrong(
        "mix_replay",
        "a half goes up",
        changed(MIX, "round(share * B)", "int(share * B + 0.5)"),
        "round(2.5) is 2",
    ),
    Wrong(
        "mix_replay",
        "a minus nought takes all",
        changed(MIX, "ours.token_ids[: B - n]", "ours.token_ids[:-n]").replace(
            "ours.targets[: B - n]", "ours.targets[:-n]"
        ),
        "share 0 of 8 rows",
    ),
    Wrong(
        "mix_replay",
        "a plain tuple",
        changed(MIX, "return Batch(\n", "return (\n"),
        "returns a Batch",
    ),
    Wrong(
        "mix_replay",
        "chance decides each row",
        """def mix_replay(new, old, share):
    if not 0 <= share <= 1:
        raise ValueError("share")
    def batch_of(step):
        ours, theirs = new(step), old(step)
        if theirs.token_ids.shape != ours.token_ids.shape:
            raise ValueError("does not fit")
        is_old = torch.rand(len(ours.token_ids), 1) < share
        return Batch(
            torch.where(is_old, theirs.token_ids, ours.token_ids),
            torch.where(is_old, theirs.targets, ours.targets),
        )
    return batch_of
""",
        "expected rows",
    ),
    Wrong(
        "mix_replay",
        "any share is taken",
        changed(MIX, "if not 0 <= share <= 1:", "if share < 0:"),
        "a share of 1.1: raise a",
    ),
    Wrong(
        "mix_replay",
        "too few old rows are taken",
        changed(MIX, " or len(theirs.token_ids) < n", ""),
        "1 row where 2 are wanted",
    ),
    Wrong(
        "mix_replay",
        "as many old rows as new ones are asked for",
        changed(MIX, "len(theirs.token_ids) < n", "len(theirs.token_ids) != B"),
        "an old batch of 2 rows",
    ),
    # forgetting
    Wrong(
        "forgetting",
        "does no work: the last scores",
        "def forgetting(history):\n    return dict(history[-1])\n",
        "the score itself",
    ),
    Wrong(
        "forgetting",
        "does no work: nothing is lost",
        "def forgetting(history):\n    return {task: 0.0 for task in history[0]}\n",
        "expected {'general': 0.5}",
    ),
    Wrong(
        "forgetting",
        "the sign",
        changed(LOST, "score - last[task]", "last[task] - score"),
        "the other way round",
    ),
    Wrong(
        "forgetting",
        "never below zero",
        changed(LOST, "score - last[task]", "max(0.0, score - last[task])"),
        "rose gives a negative number",
    ),
    Wrong(
        "forgetting",
        "a share",
        changed(LOST, "score - last[task]", "1 - last[task] / score"),
        "not a share",
    ),
    Wrong(
        "forgetting",
        "the first",
        changed(LOST, BEST, "best.setdefault(task, score)"),
        "first score",
    ),
    Wrong(
        "forgetting", "the one before", changed(LOST, BEST, "best[task] = score"), "stage before"
    ),
    Wrong(
        "forgetting",
        "the worst",
        changed(LOST, BEST, "best[task] = min(score, best.get(task, score))"),
        "the worst of the earlier",
    ),
    Wrong(
        "forgetting",
        "the mean",
        """def forgetting(history):
    *earlier, last = history
    if not earlier:
        raise ValueError("one stage")
    tasks = {task for scores in earlier for task in scores}
    if not tasks <= set(last):
        raise ValueError("missing")
    means = {}
    for task in tasks:
        found = [scores[task] for scores in earlier if task in scores]
        means[task] = sum(found) / len(found)
    return {task: means[task] - last[task] for task in tasks}
""",
        "the mean of the earlier",
    ),
    Wrong(
        "forgetting",
        "the last stage counts as well",
        changed(LOST, "for scores in earlier:", "for scores in history:"),
        "rose gives a negative number",
    ),
    Wrong(
        "forgetting",
        "scores start from 0",
        changed(LOST, "best.get(task, score)", "best.get(task, 0.0)"),
        "below 0",
    ),
    Wrong(
        "forgetting",
        "only tasks of the first stage",
        changed(
            LOST, GIVE, GIVE.replace("in best.items()", "in best.items() if task in history[0]")
        ),
        "only tasks of the first stage",
    ),
    Wrong(
        "forgetting",
        "new tasks lose nothing, but are there",
        changed(LOST, GIVE, "return {t: best.get(t, last[t]) - last[t] for t in last}"),
        "nothing to lose",
    ),
    Wrong(
        "forgetting",
        "a missing task is passed over",
        changed(
            LOST, GIVE, GIVE.replace("in best.items()", "in best.items() if task in last")
        ).replace('        raise ValueError("a task is missing")\n', "        pass\n"),
        "a last stage without the task b",
    ),
    Wrong(
        "forgetting",
        "one stage loses nothing",
        changed(LOST, '        raise ValueError("one stage")\n', "        return {}\n"),
        "one stage: raise a",
    ),
    Wrong(
        "forgetting",
        "the history is used up",
        changed(LOST, "*earlier, last = history", "last = history.pop()\n    earlier = history"),
        "changed in place",
    ),
    Wrong(
        "early_stopping",
        "begins with a hundred",
        changed(STOP, 'float("inf")', "100.0"),
        "losses may be of any size",
    ),
    Wrong(
        "early_stopping",
        "no number where all is NaN",
        changed(STOP, "best, lowest = 0,", "best, lowest = -1,"),
        "is (0, False)",
    ),
    Wrong(
        "early_stopping",
        "lists alone",
        changed(STOP, "enumerate(losses)", "enumerate(losses + [])"),
        "early_stopping((3.0, 2.5, 2.6)",
    ),
    Wrong(
        "early_stopping",
        "the losses are sorted",
        changed(STOP, "    return best,", "    n = [*losses]\n    losses.sort()\n    return best,"),
        "`losses` was changed",
    ),
    Wrong(
        "fisher_diagonal",
        "one target for all places of a sequence",
        changed(FISHER, DRAW, DRAW.replace("log_probs", "log_probs[:1]") + ".expand(len(row), 1)"),
        "draw one for each place",
    ),
    Wrong(
        "fisher_diagonal",
        "the model is left in evaluation mode",
        changed(FISHER, "    for row in", "    model.eval()\n    for row in"),
        "leave it as it was",
    ),
    Wrong(
        "forgetting",
        "the length of an iterator",
        changed(
            LOST, "    *earlier, last = history", "    len(history)\n    *earlier, last = history"
        ),
        "gone through once",
    ),
    Wrong(
        "forgetting",
        "an iterator gone through twice",
        changed(
            LOST,
            "*earlier, last = history",
            "n = len([*history])\n    *earlier, last = [*history] or [{}]",
        ),
        "gone through once",
    ),
    Wrong(
        "fisher_diagonal",
        "float64 for all weights",
        changed(FISHER, "torch.zeros_like(w)", "torch.zeros_like(w).double()"),
        "weights in float32",
    ),
    Wrong(
        "fisher_diagonal",
        "what was in grad counts",
        changed(
            FISHER,
            "g.square()",
            "(g + (0 if weights[n].grad is None else weights[n].grad)).square()",
        ),
        "is the same as without",
    ),
]

LAST = "of the last two axes, (T, V) or (N, T), -1 names the second as 1 does"
NO_KEY = "a dictionary raises the KeyError itself"
EQUIVALENT = {
    ("fisher_diagonal", "1 -> -1 in `log_probs.gather(1, drawn)`"): LAST,
    ("fisher_diagonal", "1 -> -1 in `model(row.unsqueeze(0))[0].log_softmax(dim=-1)`"): LAST,
    ("fisher_diagonal", "drop sign of `model(row.unsqueeze(0))[0].log_softmax(dim=-1)`"): LAST,
    ("ewc_penalty", "Or -> And in `name not in start or name not in fisher`"): NO_KEY,
    ("ewc_penalty", "delete `if name not in start or name not in fisher:`"): NO_KEY,
    ("mix_replay", "1 -> -1 in `theirs.token_ids.shape[1]`"): LAST,
    ("forgetting", "swap arguments of `max(score, best.get(task, score))`"): (
        "the larger of two numbers does not depend on their order"
    ),
}
