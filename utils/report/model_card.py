"""The card of a tuned model: what it is, what it has read, what was measured, what it is not for.

The head is the metadata that hubs and `huggingface_hub` read; a reader for people follows.
Source: Mitchell et al. 2019, "Model Cards for Model Reporting".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def model_card(
    title: str,
    *,
    base: Mapping[str, str],
    data: Mapping[str, str],
    counts: Mapping[str, int],
    settings: Mapping[str, object],
    measured: Sequence[tuple[str, str]],
    examples: Sequence[tuple[str, str, str]] = (),
    weights_sha256: str = "",
    command: str = "",
    tags: Sequence[str] = ("sft",),
) -> str:
    """Return a model card in Markdown with its metadata as YAML.

    Args:
        title: the model's name.
        base: "name" and "licence" of the model that was tuned.
        data: "name", "licence" and "made_by" of what it was tuned on.
        counts: rows that came in, were learned from, and were dropped, by reason.
        settings: what decided the run.
        measured: pairs of what was measured and the number.
        examples: (question, answer before, answer after), also bad ones.
        tags: for hubs.

    >>> print(model_card("m", base={"name": "b", "licence": "MIT"}, data={"name": "d",
    ...     "licence": "CC BY 4.0", "made_by": "Ann"}, counts={}, settings={},
    ...     measured=[("loss", "1.0")]).splitlines()[-1])
    trust in what no one has checked.
    """
    from huggingface_hub import ModelCardData

    head = ModelCardData(
        license=spdx(base.get("licence", "")), library_name="transformers", tags=list(tags)
    )
    lines = ["---", head.to_yaml().strip(), "---", "", f"# {title}", ""]
    lines += [
        f"Tuned from {base.get('name', 'an unnamed model')} (licence: "
        f"{base.get('licence', 'unknown')}) on {data['name']} by {data['made_by']} (licence: "
        f"{data['licence']}).",
        "",
        "## Data",
        "",
        *[f"- {what}: {n:,}" for what, n in counts.items()],
        "",
        "## Training",
        "",
        *[f"- {name}: {value}" for name, value in settings.items()],
        *([f"- command: `{command}`"] if command else []),
        *([f"- sha256 of the weights: `{weights_sha256}`"] if weights_sha256 else []),
        "",
        "## Measured",
        "",
        "| what | value |",
        "| --- | --- |",
        *[f"| {what} | {value} |" for what, value in measured],
        "",
    ]
    for question, before, after in examples:
        lines += [quoted("Question", question), quoted("Before", before), quoted("After", after)]
        lines.append("")
    lines += [
        "## What it is not for",
        "",
        "It answers in the form of its data, whether it knows or not. Nothing of what it says was "
        "checked:",
        "no advice on health or law, no decision about a person, no publication that asks for",
        "trust in what no one has checked.",
    ]
    return "\n".join(lines) + "\n"


def quoted(label: str, text: str) -> str:
    """Return a text as a quotation in Markdown, on one line.

    >>> quoted("Question", "Who\\nis Ann?")
    '> **Question**: Who is Ann?'
    """
    return f"> **{label}**: {' '.join(text.split())}"


def spdx(licence: str) -> str:
    """Return a licence as hubs spell it; "other" for one that is no plain name.

    >>> spdx("Apache-2.0"), spdx("as its own files say")
    ('apache-2.0', 'other')
    """
    known = {"apache-2.0", "mit", "cc-by-4.0", "bsd-3-clause"}
    name = licence.strip().lower().replace(" ", "-")
    return name if name in known else "other"
