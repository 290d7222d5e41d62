"""A widget for labelling pairs by hand: two answers side by side, one key for each choice.

It only shows and asks: what is kept, and how, is in `utils.evaluate.labelling`.
"""

from __future__ import annotations

from html import escape

from utils.evaluate.labelling import Labelling

KEYS = {"1": "left", "2": "right", "3": "tie", "u": "undo"}


def as_html(prompt: str, left: str, right: str) -> str:
    """Return a pair as two columns; texts are shown as they are, whatever they hold.

    >>> "<b>" in as_html("<b>", "a", "c").replace("<b>1", "").replace("<b>2", "")
    False
    """
    column = "<td style='width:50%;vertical-align:top;padding:8px'><b>{}</b><br>{}</td>"
    return (
        f"<p>{escape(prompt)}</p><table style='width:100%'><tr>"
        f"{column.format(1, escape(left))}{column.format(2, escape(right))}</tr></table>"
    )


def labelling_widget(session: Labelling):
    """Return a widget that shows a session's pairs and keeps each choice at once.

    The choice is a button, or a key (1, 2, 3, u) typed into the box beside them.
    """
    import ipywidgets as widgets

    text, state = widgets.HTML(), widgets.Label()
    names = {"1": "1: left", "2": "2: right", "3": "3: no difference", "u": "u: undo"}
    buttons = {key: widgets.Button(description=name) for key, name in names.items()}
    box = widgets.Text(placeholder="or a key: 1, 2, 3, u", layout=widgets.Layout(width="150px"))

    def redraw() -> None:
        shown = session.current()
        state.value = f"{len(session.labels)} of {len(session.pairs)} labelled, kept in the file"
        text.value = "<p>All labelled. Thank you.</p>" if shown is None else as_html(*shown[1:])
        for key in "123":
            buttons[key].disabled = shown is None

    def act(key: str) -> None:
        if key == "u":
            session.undo()
        elif key in KEYS and session.current() is not None:
            session.label(KEYS[key])
        redraw()

    def typed(change: dict) -> None:
        if change["new"]:
            key = change["new"][-1].lower()
            box.value = ""
            act(key)

    for key, button in buttons.items():
        button.on_click(lambda _, key=key: act(key))
    box.observe(typed, names="value")
    redraw()
    return widgets.VBox([state, text, widgets.HBox([*buttons.values(), box])])
