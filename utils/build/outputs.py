"""Stored outputs, made the same on every run: no times, no addresses, no paths, no widget state.

What remains is what a reader sees and what nbval compares. A traceback is cut to its last line: the
rest names files of this machine.
"""

from __future__ import annotations

import base64
import re
import struct

import nbformat

WIDGET = "application/vnd.jupyter.widget-view+json"
SANITISE = (  # tests/nbval.cfg says the same; a test holds the two together
    (r"\b0x[0-9a-fA-F]{6,16}\b", "0x..."),
    (r"(?m)^.*\d+%\|.*\| \d+\S*/\d+.*\[.*\]$", "(progress bar)"),
    (r"(?m)^.*\b\d+\S* \[\d\d:\d\d, .*\]$", "(progress bar)"),
    (
        r"(?m)^\[\d{4}-\d\d-\d\d [\d:,]+\] \[[A-Z]+\] \[\w+\.py:\d+:\w+\].*$",
        "(a library's line for its log)",
    ),
    (
        r"(?s)^(?:interactive|[HVG]\w*Box|Box|Output|Tab)\(.*\)\s*$",
        "(widget: run this cell to use it)",
    ),
)
PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_NOTES = {b"tEXt", b"zTXt", b"iTXt", b"tIME", b"eXIf"}


def normalise_cell(cell: nbformat.NotebookNode) -> None:
    """Make the stored outputs of one executed code cell the same on every run."""
    cell.metadata.pop("execution", None)
    outputs = []
    for output in merged_streams(cell.get("outputs", [])):
        output.get("metadata", {}).pop("execution", None)
        if output.output_type == "stream":
            output.text = normalise_text(after_carriage_returns(output.text))
        elif output.output_type == "error":
            output.evalue = normalise_text(output.evalue)
            output.traceback = [f"{output.ename}: {output.evalue}"]
        else:
            output.data = nbformat.from_dict(normalise_data(output.data))
            if not output.data:
                continue
        outputs.append(output)
    cell.outputs = outputs


def merged_streams(outputs: list) -> list:
    """Return outputs with pieces of one stream joined, as they arrive in pieces by chance."""
    joined: list = []
    for output in outputs:
        last = joined[-1] if joined else None
        if output.output_type == "stream" and last is not None:
            if last.output_type == "stream" and last.name == output.name:
                last.text += output.text
                continue
        joined.append(nbformat.from_dict(dict(output)))
    return joined


def after_carriage_returns(text: str) -> str:
    """Return what a terminal would show: of each line, what stands after its last return.

    >>> after_carriage_returns("10 %\\r100 %\\nend")
    '100 %\\nend'
    """
    return "\n".join(line.rpartition("\r")[2] for line in text.replace("\r\n", "\n").split("\n"))


def normalise_text(text: str) -> str:
    """Return text with addresses and progress bars taken out."""
    for pattern, replacement in SANITISE:
        text = re.sub(pattern, replacement, text)
    return text


def normalise_data(data: dict) -> dict:
    """Return the data of a rich output, cleaned by its type."""
    clean = {}
    for mime, value in data.items():
        if mime == WIDGET:
            continue  # its state lives in the kernel; the text beside it remains
        if mime == "image/png":
            value = plain_png(value)
        elif isinstance(value, str):
            value = normalise_text(value)
        clean[mime] = value
    return clean


def plain_png(encoded: str) -> str:
    """Return a PNG (base64) without its text and time chunks; the picture is untouched."""
    content = base64.b64decode(encoded)
    if not content.startswith(PNG_START):
        return encoded
    kept, place = [PNG_START], len(PNG_START)
    while place + 12 <= len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        chunk = content[place : place + 12 + length]
        if chunk[4:8] not in PNG_NOTES:
            kept.append(chunk)
        place += 12 + length
    return base64.b64encode(b"".join(kept)).decode()
