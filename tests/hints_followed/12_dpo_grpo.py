"""Lab 12: the code that each last hint describes, to the letter."""

FOLLOWED = {
    "dpo_loss": """
def dpo_loss(
    chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs, beta=0.1
):
    four = (chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs)
    if any(t.shape != four[0].shape for t in four) or four[0].dim() != 1 or len(four[0]) < 1:
        raise ValueError("expected four tensors (B,)")
    if not beta > 0:
        raise ValueError("beta must be positive")
    margin = beta * (
        (chosen_logprobs - ref_chosen_logprobs) - (rejected_logprobs - ref_rejected_logprobs)
    )
    return (-F.logsigmoid(margin)).mean()
""",
    "ipo_loss": """
def ipo_loss(
    chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs,
    chosen_lengths, rejected_lengths, beta=0.1,
):
    six = (chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs,
           chosen_lengths, rejected_lengths)
    if any(t.shape != six[0].shape for t in six) or six[0].dim() != 1 or len(six[0]) < 1:
        raise ValueError("expected six tensors (B,)")
    if not beta > 0:
        raise ValueError("beta must be positive")
    if (chosen_lengths < 1).any() or (rejected_lengths < 1).any():
        raise ValueError("lengths are 1 at least")
    chosen_score = (chosen_logprobs - ref_chosen_logprobs) / chosen_lengths
    rejected_score = (rejected_logprobs - ref_rejected_logprobs) / rejected_lengths
    return ((chosen_score - rejected_score - 1 / (2 * beta)) ** 2).mean()
""",
    "kto_loss": """
def kto_loss(
    logprobs, ref_logprobs, is_desirable, mismatched_logprobs, ref_mismatched_logprobs,
    beta=0.1, desirable_weight=1.0, undesirable_weight=1.0,
):
    if not logprobs.shape == ref_logprobs.shape == is_desirable.shape or logprobs.dim() != 1:
        raise ValueError("expected (B,) three times")
    if mismatched_logprobs.shape != ref_mismatched_logprobs.shape:
        raise ValueError("expected (M,) twice")
    if mismatched_logprobs.dim() != 1 or len(logprobs) == 0 or len(mismatched_logprobs) == 0:
        raise ValueError("no responses, or no mismatched ones")
    if is_desirable.dtype != torch.bool:
        raise ValueError("is_desirable is bool")
    if not beta > 0:
        raise ValueError("beta must be positive")
    point = (mismatched_logprobs - ref_mismatched_logprobs).mean().clamp(min=0).detach()
    gain = beta * (logprobs - ref_logprobs - point)
    wanted = desirable_weight * (1 - torch.sigmoid(gain))
    unwanted = undesirable_weight * (1 - torch.sigmoid(-gain))
    return torch.where(is_desirable, wanted, unwanted).mean()
""",
    "group_advantages": """
def group_advantages(rewards, group_size, divide_by_std=True, eps=1e-4):
    if rewards.dim() != 1 or len(rewards) < 1 or group_size < 1 or len(rewards) % group_size:
        raise ValueError("expected (B,) in whole groups")
    if not torch.isfinite(rewards).all():
        raise ValueError("rewards must be finite")
    groups = rewards.detach().float().view(-1, group_size)
    advantages = groups - groups.mean(dim=1, keepdim=True)
    if divide_by_std and group_size > 1:
        advantages = advantages / (groups.std(dim=1, keepdim=True) + eps)
    is_flat = groups.amax(dim=1, keepdim=True) == groups.amin(dim=1, keepdim=True)
    return advantages.masked_fill(is_flat, 0).flatten()
""",
    "grpo_loss": """
def grpo_loss(
    logprobs, old_logprobs, advantages, response_mask, lengths=None, ref_logprobs=None,
    kl_coef=0.0, clip_eps=0.2,
):
    if response_mask.dim() != 2 or len(response_mask) == 0:
        raise ValueError("the mask is (B, T)")
    if logprobs.shape != response_mask.shape or old_logprobs.shape != response_mask.shape:
        raise ValueError("log-probabilities are (B, T)")
    if ref_logprobs is not None and ref_logprobs.shape != response_mask.shape:
        raise ValueError("ref_logprobs are (B, T)")
    if advantages.shape != (len(response_mask),):
        raise ValueError("advantages are (B,)")
    if response_mask.dtype != torch.bool or not response_mask.any(1).all():
        raise ValueError("a bool mask with one token in each row")
    if clip_eps < 0:
        raise ValueError("clip_eps")
    if lengths is None:
        lengths = response_mask.sum(1)
    lengths = torch.as_tensor(lengths)
    if lengths.shape not in [(), (len(response_mask),)]:
        raise ValueError("lengths are one number or (B,)")
    if not (lengths > 0).all():
        raise ValueError("lengths are positive")
    logprobs = logprobs.masked_fill(~response_mask, 0.0)
    old_logprobs = old_logprobs.masked_fill(~response_mask, 0.0)
    ratio = torch.exp(logprobs - old_logprobs)
    A = advantages.unsqueeze(1)
    loss = -torch.minimum(ratio * A, ratio.clamp(1 - clip_eps, 1 + clip_eps) * A)
    if ref_logprobs is not None:
        d = ref_logprobs.masked_fill(~response_mask, 0.0) - logprobs
        loss = loss + kl_coef * (torch.exp(d) - d - 1)
    return (loss.masked_fill(~response_mask, 0.0).sum(1) / lengths).mean()
""",
    "verify_answer": r"""
def verify_answer(response, answer):
    number = (
        r'(?:(?<![0-9A-Za-z])[-+])?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)'
        r'(?:\.[0-9]+)?'
    )
    if re.fullmatch(number, answer.strip()) is None:
        raise ValueError("the answer is one number")
    found = re.findall(number, response)
    if len(found) == 0:
        return 0.0
    a = Decimal(found[-1].replace(",", ""))
    b = Decimal(answer.replace(",", ""))
    return float(a == b)
""",
}
