"""A Chromium without a window, for screenshots: a few words of its DevTools protocol.

Used for the README's pictures and to look at the site at several widths. Jupyter brings the one
package that it needs, `websocket-client`; the browser has to be there.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_browser() -> str | None:
    """Return the command of a Chromium on this machine, or None."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Tab:
    """One page of a running browser."""

    def __init__(self, socket) -> None:
        self.socket, self.n_sent = socket, 0

    def call(self, method: str, **parameters) -> dict:
        """Send one command of the protocol and return its result.

        Raises:
            RuntimeError: with the browser's own words.
        """
        self.n_sent += 1
        self.socket.send(json.dumps({"id": self.n_sent, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == self.n_sent:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def open(self, address: str, width: int, height: int, is_dark: bool = False) -> None:
        """Open a page in a window of this size (CSS pixels) and wait until it has loaded."""
        self.call("Page.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.call("Page.navigate", url=address)
        self.wait_for("document.readyState === 'complete'")

    def evaluate(self, script: str) -> object:
        """Return the value of JavaScript, promises awaited.

        Raises:
            RuntimeError: where the script throws.
        """
        result = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in result:
            raise RuntimeError(f"{script[:80]}: {result['exceptionDetails']['text']}")
        return result["result"].get("value")

    def wait_for(self, script: str, seconds: float = 60.0) -> None:
        """Wait until JavaScript is true.

        Raises:
            TimeoutError: where it is not in time.
        """
        until = time.monotonic() + seconds
        while not self.evaluate(script):
            if time.monotonic() > until:
                raise TimeoutError(f"the page never came to: {script[:120]}")
            time.sleep(0.1)

    def picture(self, clip: dict | None = None) -> bytes:
        """Return the window as PNG, or a part of the page: x, y, width, height in CSS pixels."""
        given = {"clip": clip | {"scale": 1}, "captureBeyondViewport": True} if clip else {}
        data = self.call("Page.captureScreenshot", format="png", **given)["data"]
        return base64.b64decode(data)


@contextmanager
def browser() -> Iterator[Tab]:
    """Run a browser without a window while the block lasts; yield its page.

    Raises:
        FileNotFoundError: where no Chromium is found, with what to install.
    """
    command = find_browser()
    if command is None:
        raise FileNotFoundError("no Chromium is on PATH: install chromium or google-chrome")
    from websocket import create_connection

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        arguments += ["--remote-debugging-port=0", "--remote-allow-origins=*"]
        arguments += [f"--user-data-dir={profile}", "--no-first-run", "about:blank"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen([command, *arguments], **quiet)
        try:
            port = port_of(Path(profile, "DevToolsActivePort"), process)
            listing = urllib.request.urlopen(f"http://127.0.0.1:{port}/json")
            pages = [p for p in json.load(listing) if p["type"] == "page"]
            socket = create_connection(pages[0]["webSocketDebuggerUrl"], timeout=120)
            yield Tab(socket)
            socket.close()
        finally:
            process.terminate()
            process.wait(20)


def port_of(file: Path, process: subprocess.Popen, seconds: float = 30.0) -> int:
    """Return the port that a starting browser has written to a file.

    Raises:
        RuntimeError: where it ends or says nothing in time.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        if file.is_file() and (lines := file.read_text().splitlines()):
            return int(lines[0])
        time.sleep(0.05)
    raise RuntimeError("the browser did not start; try it by hand with --headless")
