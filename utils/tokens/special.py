"""Special tokens: markers that no text can spell, since encoding text never produces their ids."""

PAD, END, USER, ASSISTANT = SPECIAL_TOKENS = ("<|pad|>", "<|end|>", "<|user|>", "<|assistant|>")
