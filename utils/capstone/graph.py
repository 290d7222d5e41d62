"""What a change makes stale: the stages of a pipeline that must run again, and in which order.

Source: Feldman 1979, "Make: a program for maintaining computer programs".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence


def stages_to_run(
    needs: Mapping[str, Sequence[str]], makes: Mapping[str, Sequence[str]], changed: Collection[str]
) -> list[str]:
    """Return the stages that must run again after a change, each after those it depends on.

    A stage must run again where something that it needs has changed, or is made by a stage that
    must run again. The order is that of a whole run, less what is up to date: in a whole run, of
    the stages whose makers have all run, the one first in `needs` comes next.

    Args:
        needs: stage -> the files and parameters that it reads.
        makes: stage -> the files that it writes; the same stages as in `needs`.
        changed: files and parameters. One that no stage needs changes nothing.

    Raises:
        ValueError: where two stages make the same file, or stages wait for each other in a circle;
            the message names the file, or the stages that can't begin.

    >>> needs = {"text": ["raw"], "base": ["corpus", "steps"], "card": ["corpus"]}
    >>> makes = {"text": ["corpus"], "base": ["weights"], "card": ["card.md"]}
    >>> stages_to_run(needs, makes, ["steps"])
    ['base']
    >>> stages_to_run(needs, makes, ["raw"])
    ['text', 'base', 'card']
    """
    maker: dict[str, str] = {}
    for stage, paths in makes.items():
        for path in paths:
            if maker.setdefault(path, stage) != stage:
                raise ValueError(
                    f"{path} is made by {maker[path]} and by {stage}: give it one maker"
                )
    stale, order, waiting = set(changed), [], list(needs)
    while waiting:
        ready = [s for s in waiting if not any(maker.get(path) in waiting for path in needs[s])]
        if not ready:
            raise ValueError(
                f"there is a circle among {', '.join(waiting)}: each waits for another of them"
            )
        stage = ready[0]
        waiting.remove(stage)
        if stale.intersection(needs[stage]):
            order.append(stage)
            stale.update(makes[stage])
    return order
