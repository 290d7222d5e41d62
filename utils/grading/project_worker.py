"""What is done with a submitted project inside the sandbox: its model answers, its pack is checked.

Questions arrive without their answers, so nothing that a submission could get hold of here would
help it. One JSON object comes in and one goes out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from utils.assistants.chat_models import question_prompt
from utils.evaluate.world_qa import answer_questions
from utils.evidence.check import check_pack
from utils.world.questions import Question
from utils.zoo.files import load_model

MAX_NEW_TOKENS = 64


def main(folder: str) -> None:
    """Do what is asked with a project, and write what came of it.

    {"prompts": [...]} gives {"answers": [...]} by the final model, greedily; {"check": true} gives
    {"faults": [...]} of the pack.
    """
    asked = json.loads(sys.stdin.buffer.read())
    if "prompts" in asked:
        found: dict = {"answers": answers_to(asked["prompts"], Path(folder) / "safety")}
    else:
        found = {"faults": check_pack(Path(folder))}
    sys.stdout.write(json.dumps(found))


def answers_to(prompts: list[str], folder: Path) -> list[str]:
    """Return the answers of the model in a folder."""
    model, tokenizer = load_model(folder)
    asked = [Question("fact", prompt, "", "", "", "", "") for prompt in prompts]
    return answer_questions(
        model, tokenizer, asked, render=question_prompt, max_new_tokens=MAX_NEW_TOKENS
    )
