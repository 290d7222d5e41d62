"""The README's pictures, each made by one command: `python -m utils.book.pictures NAME`.

Two are figures of lectures, taken out of the stored outputs, so that they can't differ from what
the lecture shows. Two are JupyterLab as a learner sees it; these need a Chromium on this machine.
"""

from __future__ import annotations

import io
import json
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.book.browser import browser
from utils.book.lectures import read_lectures
from utils.settings import environment, project_root

FOLDER = "docs/pictures"
FIGURES = {  # name -> unit and number of a lecture's figure
    "gold-against-kl": ("12", 5),
    "pipeline-timeline": ("15", 4),
}
EXPLORER = (
    (
        "markdown",
        "## Looking inside a trained model\n\nThe base model copies a code. Where does it look "
        "while it writes? Rows are queries; a bright cell is a large share.",
    ),
    (
        "code",
        "import torch\n\nfrom utils.report.widgets import attention_explorer\n"
        "from utils.zoo.load import load_base\n\nmodel, tokenizer = load_base()\n"
        'token_ids = torch.tensor([tokenizer.encode("Question: Write k4t9 again.\\nAnswer: k4t9")])'
        "\nwith torch.inference_mode():\n"
        "    maps = model.attention_maps(token_ids)[:, 0].numpy()  # (L, H, T, T)\n"
        "explorer = attention_explorer(maps, tokenizer.tokens(token_ids[0]))\n"
        "layer, head, token = explorer.children[0].children\n"
        "layer.value, head.value, token.value = 1, 1, 14  # the head that copies\n"
        "explorer",
    ),
)
WRONG_ANSWER = (
    (
        "code",
        "import torch\n\nfrom utils.labs.api import check, hint, start_lab\n\n"
        'start_lab("02_attention")',
    ),
    ("markdown", "**Exercise 1** · `causal_mask` · 2 points · 8 minutes · difficulty 1 of 3"),
    (
        "code",
        "def causal_mask(n_tokens: int) -> torch.Tensor:\n"
        '    """Return which token may see which: itself and all before it."""\n'
        "    return torch.ones(n_tokens, n_tokens, dtype=torch.bool).tril(-1)",
    ),
    ("code", 'check("causal_mask")'),
    ("code", 'hint("causal_mask")'),
)
SCREENS = {  # name -> cells, what shows that they ran (JavaScript), and the height in pixels
    "attention-explorer": (
        EXPLORER,
        "[...document.querySelectorAll('.jp-OutputArea-output img')].some(i => i.naturalWidth > 0)",
        930,
    ),
    "wrong-answer": (
        WRONG_ANSWER,
        "document.querySelector('.jp-Notebook').innerText.includes('Hint 1 of 3')",
        590,
    ),
}
NEWS = "@jupyterlab/apputils-extension:announcements"  # asks before it shows anything
NAMES = (*FIGURES, *SCREENS)


def picture(name: str) -> bytes:
    """Return one of the README's pictures as PNG.

    Raises:
        KeyError: for a name that is not in `NAMES`.
        FileNotFoundError: where a screen is wanted and no Chromium is found.
    """
    if name in FIGURES:
        unit, number = FIGURES[name]
        (lecture,) = read_lectures(only=[unit])
        return next(f.png for f in lecture.figures if f.number == number)
    cells, shows, height = SCREENS[name]
    return screen(cells, shows, height)


def screen(cells: tuple, shows: str, height: int, width: int = 1000) -> bytes:
    """Return JupyterLab as PNG, a new notebook of these cells run from top to bottom.

    Args:
        cells: kind and source of each.
        shows: JavaScript that is true when the last output is there.
        height: of the window in pixels, as is the width.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder, "lab.ipynb").write_text(json.dumps(notebook(cells)), "utf-8")
        with jupyter(Path(folder)) as address, browser() as tab:
            tab.open(address, width, height)
            tab.wait_for("!!(window.jupyterapp && document.querySelector('.jp-Notebook-cell'))")
            run = "window.jupyterapp.commands.execute"
            tab.evaluate(f"{run}('application:toggle-left-area')")
            panel = "[...window.jupyterapp.shell.widgets('main')][0]"
            tab.wait_for(f"{panel}.sessionContext?.session?.kernel?.status === 'idle'")
            tab.evaluate(f"void window.jupyterapp.shell.activateById({panel}.id)")
            tab.evaluate(f"void {run}('notebook:run-all-cells')")
            tab.wait_for(shows, seconds=180)
            tab.evaluate("document.querySelector('.jp-WindowedPanel-outer').scrollTo(0, 0)")
            time.sleep(1.5)  # the last output is laid out
            return smaller(tab.picture())


def notebook(cells: tuple) -> dict:
    """Return a notebook of these cells as nbformat 4.5 stores it."""
    stored = []
    for k, (kind, source) in enumerate(cells):
        cell = {"cell_type": kind, "id": f"cell-{k}", "metadata": {}, "source": source}
        stored.append(cell | ({"outputs": [], "execution_count": None} if kind == "code" else {}))
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    return {"cells": stored, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


@contextmanager
def jupyter(folder: Path) -> Iterator[str]:
    """Run JupyterLab over a folder while the block lasts; yield the address of its notebook.

    Progress goes to the folder, not to the learner's own.
    """
    token = secrets.token_hex(8)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [f"--port={port}", f"--notebook-dir={folder}", f"--IdentityProvider.token={token}"]
    command += ["--LabApp.expose_app_in_browser=True", "--ServerApp.log_level=ERROR"]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    own = {"PYTHONPATH": str(project_root()), "COURSE_ARTIFACTS": str(folder / "artifacts")}
    own |= {"JUPYTER_CONFIG_DIR": str(folder / "config"), "JUPYTERLAB_SETTINGS_DIR": str(folder)}
    labconfig = folder / "config" / "labconfig"
    labconfig.mkdir(parents=True)
    (labconfig / "page_config.json").write_text(json.dumps({"disabledExtensions": {NEWS: True}}))
    with environment(**own):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, cwd=folder, **quiet)
    root = f"http://127.0.0.1:{port}"
    try:
        wait_until_there(f"{root}/api?token={token}", process)
        yield f"{root}/lab/tree/lab.ipynb?token={token}"
    finally:
        process.terminate()
        process.wait(30)


def wait_until_there(address: str, process: subprocess.Popen, seconds: float = 60.0) -> None:
    """Wait until a server that starts answers.

    Raises:
        RuntimeError: where it ends or does not answer in time.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(address):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise RuntimeError("JupyterLab did not start; try `course lab`")


def smaller(png: bytes) -> bytes:
    """Return the same picture without its alpha channel, packed as well as PNG can."""
    from PIL import Image

    small = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(small, "PNG", optimize=True)
    return small.getvalue()


def pictures_of(readme: str) -> dict[str, str]:
    """Return the pictures that a README shows: name -> its text alternative.

    >>> pictures_of("![A map.](docs/pictures/map.png)")
    {'map': 'A map.'}
    """
    found = re.findall(rf"!\[([^\]]*)\]\({FOLDER}/([a-z-]+)\.png\)", readme)
    return {name: alternative for alternative, name in found}


def main(names: list[str]) -> int:
    """Make the pictures of these names, or all; return the exit status."""
    if unknown := set(names) - set(NAMES):
        print(f"no picture {', '.join(sorted(unknown))}; there are: {', '.join(NAMES)}")
        return 2
    folder = project_root() / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or NAMES:
        (folder / f"{name}.png").write_bytes(picture(name))
        print(f"wrote {FOLDER}/{name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
