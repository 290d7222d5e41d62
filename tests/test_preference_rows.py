"""Conversations in pairs: turns are read, and what can't be learned from is counted."""

import pytest

from utils.text.preference_rows import conversation_pairs, messages_of

START = "\n\nHuman: Is it late?\n\nAssistant: Why?\n\nHuman: I am  tired."


def row(chosen, rejected, start=START):
    return {name: f"{start}{text}" for name, text in (("chosen", chosen), ("rejected", rejected))}


def test_a_pair_has_the_messages_before_and_two_answers():
    (pair,), left_out = conversation_pairs([row("\n\nAssistant: Rest.", "\n\nAssistant: No.\nNo.")])
    assert [m["role"] for m in pair.messages] == ["user", "assistant", "user"]
    assert pair.messages[2]["content"] == "I am  tired."
    assert (pair.chosen, pair.rejected) == ("Rest.", "No.\nNo.")
    assert pair.about == "is it late?"
    assert not any(left_out.values())


@pytest.mark.parametrize(
    "reason, chosen, rejected",
    [
        ("no last answer", "\n\nAssistant: a", ""),
        ("other messages", "\n\nAssistant: a", "\n\nAssistant: b\n\nHuman: c\n\nAssistant: d"),
        ("no answer", "\n\nAssistant: a", "\n\nAssistant: "),
        ("same answer", "\n\nAssistant: a", "\n\nAssistant:  a "),
        ("no turns", "\n\nHuman: twice", "\n\nAssistant: a"),
    ],
)
def test_what_can_not_be_learned_from_is_left_out_and_counted(reason, chosen, rejected):
    pairs, left_out = conversation_pairs([row(chosen, rejected)])
    assert not pairs and {k for k, n in left_out.items() if n} == {reason}


@pytest.mark.parametrize("text", ["", "Hello", "\n\nAssistant: Hi", "Note\n\nHuman: Hi"])
def test_a_text_without_turns_is_refused(text):
    with pytest.raises(ValueError, match="turns of 'Human:' and 'Assistant:'"):
        messages_of(text)


def test_a_row_without_its_columns_is_named():
    with pytest.raises(KeyError, match="rejected"):
        conversation_pairs([{"chosen": START}])
