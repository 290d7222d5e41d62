"""Where an artefact comes from: by the hashes in the records of stages, back to the raw text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Lineage(NamedTuple):
    """The way of an artefact.

    Args:
        stages: whose work is in it, each after those that it built on.
        raw: path -> SHA-256 of what no stage made.
    """

    stages: tuple[str, ...]
    raw: dict[str, str]


def trace_lineage(records: Mapping[str, Mapping], path: str) -> Lineage:
    """Return the stages and the raw files that an artefact comes from, as a `Lineage`.

    Its stages stand in their order: each after those whose outputs it read.

    Args:
        records: stage -> its record, with "inputs" and "outputs": path -> SHA-256.
        path: of the artefact, which a stage has made.

    Raises:
        KeyError: where no stage made the artefact.
        ValueError: where a stage read another version of a file than the one that stands in the
            record of its maker, or two stages read two versions of one raw file; the message names
            the file and both stages. What the artefact doesn't depend on is not looked at.

    >>> records = {
    ...     "text": {"inputs": {"raw/a.txt": "11"}, "outputs": {"text/rows": "22"}},
    ...     "base": {"inputs": {"text/rows": "22"}, "outputs": {"base/weights": "33"}},
    ... }
    >>> stages, raw = trace_lineage(records, "base/weights")
    >>> stages
    ('text', 'base')
    >>> raw
    {'raw/a.txt': '11'}
    """
    maker = {made: stage for stage, record in records.items() for made in record["outputs"]}
    if path not in maker:
        raise KeyError(f"no record has {path} among its outputs")
    stages: list[str] = []
    raw: dict[str, str] = {}
    reader: dict[str, str] = {}

    def visit(stage: str) -> None:
        if stage in stages:
            return
        for used, digest in records[stage]["inputs"].items():
            if used not in maker:
                if raw.setdefault(used, digest) != digest:
                    raise ValueError(
                        f"{stage} and {reader[used]} read two versions of {used}: run both again"
                    )
                reader.setdefault(used, stage)
                continue
            before = maker[used]
            if records[before]["outputs"][used] != digest:
                raise ValueError(
                    f"{stage} read another version of {used} than {before} wrote: run {stage} again"
                )
            visit(before)
        stages.append(stage)

    visit(maker[path])
    return Lineage(tuple(stages), raw)
