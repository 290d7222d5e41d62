"""Lab 08: the code that each last hint describes, to the letter."""

FOLLOWED = {
    "early_stopping": """
def early_stopping(losses, patience, min_delta=0.0):
    if len(losses) == 0 or patience < 1 or min_delta < 0:
        raise ValueError("no losses, or a setting out of range")
    best, lowest = 0, float("inf")
    for k, loss in enumerate(losses):
        if loss < lowest - min_delta:
            best, lowest = k, loss
    return best, len(losses) - 1 - best >= patience
""",
    "fisher_diagonal": """
def fisher_diagonal(model, token_ids, generator=None):
    if token_ids.dim() != 2 or token_ids.shape[0] < 1 or token_ids.shape[1] < 1:
        raise ValueError("token_ids are (N, T)")
    N, T = token_ids.shape
    weights = {name: w for name, w in model.named_parameters() if w.requires_grad}
    fisher = {name: torch.zeros_like(w) for name, w in weights.items()}
    for row in token_ids:
        logits = model(row.unsqueeze(0))[0]
        log_probs = logits.log_softmax(-1)
        drawn = torch.multinomial(log_probs.detach().exp(), 1, generator=generator)
        total = log_probs.gather(1, drawn).sum()
        gradients = torch.autograd.grad(total, list(weights.values()), allow_unused=True)
        for name, gradient in zip(weights, gradients):
            if gradient is not None:
                fisher[name] += gradient**2 / (N * T)
    return fisher
""",
    "ewc_penalty": """
def ewc_penalty(model, start, fisher):
    total = torch.zeros(())
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        if name not in start or name not in fisher:
            raise KeyError(name)
        total = total + 0.5 * (fisher[name] * (weight - start[name]) ** 2).sum()
    return total
""",
    "mix_replay": """
def mix_replay(new, old, share):
    if not 0 <= share <= 1:
        raise ValueError("share is from 0 to 1")

    def batch_of(step):
        ours, theirs = new(step), old(step)
        B, T = ours.token_ids.shape
        n_old = round(share * B)
        if len(theirs.token_ids) < n_old or theirs.token_ids.shape[1] != T:
            raise ValueError("the old batch does not fit")
        token_ids = torch.cat([ours.token_ids[: B - n_old], theirs.token_ids[:n_old]])
        targets = torch.cat([ours.targets[: B - n_old], theirs.targets[:n_old]])
        return Batch(token_ids, targets)

    return batch_of
""",
    "forgetting": """
def forgetting(history):
    *earlier, last = history
    if not earlier:
        raise ValueError("one stage is not enough")
    best = {}
    for scores in earlier:
        for task, score in scores.items():
            if task not in best or score > best[task]:
                best[task] = score
    for task in best:
        if task not in last:
            raise ValueError(task)
    return {task: best[task] - last[task] for task in best}
""",
}
