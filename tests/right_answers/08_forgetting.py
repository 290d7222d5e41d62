"""Lab 08: right answers of another shape than the course's own."""

RIGHT = {
    "early_stopping": [
        # from the definition: who is the last to have beaten all before
        """
def early_stopping(losses, patience, min_delta=0):
    if not len(losses):
        raise ValueError("evaluate first")
    if patience < 1:
        raise ValueError("patience")
    if min_delta < 0:
        raise ValueError("min_delta")
    winners = [0]
    for k in range(len(losses)):
        champion = losses[winners[-1]]
        if k and (champion != champion or champion - losses[k] > min_delta):
            if losses[k] == losses[k]:
                winners.append(k)
    since = len(losses) - winners[-1] - 1
    return winners[-1], not since < patience
""",
        # a counter that starts again
        """
def early_stopping(losses, patience, min_delta=0.0):
    if patience < 1 or min_delta < 0 or losses == []:
        raise ValueError("settings")
    best_loss, best_at, waited = float("inf"), 0, -1
    for number, loss in enumerate(losses):
        waited += 1
        if loss == loss and loss + min_delta < best_loss:
            best_loss, best_at, waited = loss, number, 0
    return (best_at, True) if waited >= patience else (best_at, False)
""",
    ],
    "fisher_diagonal": [
        # a categorical distribution's own log_prob, targets by Gumbel noise; `grad` put back
        """
def fisher_diagonal(model, token_ids, generator=None):
    if token_ids.dim() != 2 or 0 in token_ids.shape:
        raise ValueError("token_ids")
    held = {name: w.grad for name, w in model.named_parameters()}
    total = {n: torch.zeros_like(w) for n, w in model.named_parameters() if w.requires_grad}
    for n in range(len(token_ids)):
        for w in model.parameters():
            w.grad = None
        logits = model(token_ids[n : n + 1])
        noise = torch.rand(logits.shape, generator=generator).clamp(1e-12).log().neg().log().neg()
        drawn = (logits.detach() + noise).argmax(-1)
        loss = F.cross_entropy(logits.flatten(0, 1), drawn.flatten(), reduction="sum")
        loss.backward()
        for name, w in model.named_parameters():
            if w.grad is not None and w.requires_grad:
                total[name] += w.grad**2
    for name, w in model.named_parameters():
        w.grad = held[name]
    return {name: f / token_ids.numel() for name, f in total.items()}
""".replace("F.cross_entropy", "torch.nn.functional.cross_entropy"),
        # one prediction at a time: other tokens' gradients never meet
        """
def fisher_diagonal(model, token_ids, generator=None):
    if token_ids.dim() != 2 or token_ids.numel() == 0:
        raise ValueError("token_ids")
    names, weights = zip(*((n, w) for n, w in model.named_parameters() if w.requires_grad))
    sums = [torch.zeros_like(w) for w in weights]
    for row in token_ids:
        p = model(row[None]).softmax(-1)[0]
        for t in range(len(row)):
            y = torch.multinomial(p[t].detach(), 1, generator=generator)
            parts = torch.autograd.grad(
                p[t, y].log().sum(), weights, allow_unused=True, retain_graph=True
            )
            sums = [s if g is None else s + g * g for s, g in zip(sums, parts)]
    return {n: s / token_ids.numel() for n, s in zip(names, sums)}
""",
    ],
    "ewc_penalty": [
        """
def ewc_penalty(model, start, fisher):
    springs = [
        torch.sum(fisher[name] * torch.square(w - start[name]))
        for name, w in model.named_parameters()
        if w.requires_grad
    ]
    return torch.stack(springs).sum() / 2
""",
        # all weights in one long row
        """
def ewc_penalty(model, start, fisher):
    learns = {n: w for n, w in model.named_parameters() if w.requires_grad}
    missing = [n for n in learns if n not in start or n not in fisher]
    if missing:
        raise KeyError(f"missing: {missing}")
    now = torch.cat([w.flatten() for w in learns.values()])
    was = torch.cat([start[n].flatten() for n in learns])
    stiff = torch.cat([fisher[n].flatten() for n in learns])
    return 0.5 * torch.dot(stiff, (now - was).pow(2))
""",
    ],
    "mix_replay": [
        """
def mix_replay(new, old, share):
    if share < 0 or share > 1 or share != share:
        raise ValueError("share")

    def batch_of(step):
        fresh, held = new(step), old(step)
        n_rows = fresh.token_ids.size(0)
        count = round(n_rows * share)
        if held.token_ids.size(0) < count or held.token_ids.size(1) != fresh.token_ids.size(1):
            raise ValueError("old batch")
        ids, targets = fresh.token_ids.clone(), fresh.targets.clone()
        if count:
            ids[-count:] = held.token_ids[:count]
            targets[-count:] = held.targets[:count]
        return Batch(token_ids=ids, targets=targets)

    return batch_of
""",
        """
class Mixed:
    def __init__(self, new, old, share):
        self.new, self.old, self.share = new, old, share

    def __call__(self, step):
        a, b = self.new(step), self.old(step)
        B = len(a.token_ids)
        keep = B - round(self.share * B)
        if a.token_ids.shape[1:] != b.token_ids.shape[1:] or len(b.token_ids) < B - keep:
            raise ValueError("does not fit")
        rows = [(i, a) for i in range(keep)] + [(i, b) for i in range(B - keep)]
        return Batch(
            torch.stack([batch.token_ids[i] for i, batch in rows]),
            torch.stack([batch.targets[i] for i, batch in rows]),
        )

def mix_replay(new, old, share):
    if not (share >= 0 and share <= 1):
        raise ValueError("share")
    return Mixed(new, old, share)
""",
    ],
    "forgetting": [
        """
def forgetting(history):
    stages = list(history)
    if len(stages) < 2:
        raise ValueError("two stages at least")
    tasks = {task for stage in stages[:-1] for task in stage}
    if not tasks <= set(stages[-1]):
        raise ValueError("a task is missing in the last stage")
    return {
        task: max(stage[task] for stage in stages[:-1] if task in stage) - stages[-1][task]
        for task in tasks
    }
""",
        # running best, stage by stage
        """
def forgetting(history):
    history = [*history]
    if len(history) < 2:
        raise ValueError("stages")
    best, lost = {}, {}
    for number, stage in enumerate(history):
        if number == len(history) - 1:
            for task in best:
                if task not in stage:
                    raise ValueError(f"no score for {task}")
                lost[task] = best[task] - stage[task]
        for task, score in stage.items():
            best[task] = score if task not in best else max(best[task], score)
    return lost
""",
    ],
}
