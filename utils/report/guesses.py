"""A learner's guess beside the number that was measured."""

from __future__ import annotations


def compare(guess: float | None, measured: float, form: str = "{:.2f}", of: str = "") -> None:
    """Print a guess and what was measured; without a guess, say that one comes first.

    Args:
        guess: the learner's number; None as shipped.
        measured: what the notebook found.
        form: how both are written, for example "{:.0%}" or "{:,.0f} tokens".
        of: what was guessed, where a cell answers several guesses.

    >>> compare(0.9, 0.5, "{:.0%}")
    you guessed 90%, measured 50%
    >>> compare(None, 0.5, "{:.0%}", of="first layer")
    first layer: guess first, in the cell above (measured 50%)
    """
    before = f"{of}: " if of else ""
    found = form.format(measured)
    if guess is None:
        print(f"{before}guess first, in the cell above (measured {found})")
        return
    try:
        own = form.format(guess)
    except (ValueError, TypeError):
        own = repr(guess)
    print(f"{before}you guessed {own}, measured {found}")
