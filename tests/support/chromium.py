"""A real Chromium that a test drives: over a pipe, in the words of its DevTools protocol."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import need

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--remote-debugging-pipe"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
)
_KEYS = {"Enter": ("\r", 13), "Escape": ("", 27), "Tab": ("", 9)}
# A frame is drawn when its callback runs; what an observer is told of it comes in the task after.
_DRAWN = (
    "new Promise(done => requestAnimationFrame(() => setTimeout(() => requestAnimationFrame(() => setTimeout(done)))))"
)


class Page:
    """A tab.

    Attributes:
        problems: what its scripts threw, and what the browser complained of, such as a policy that was broken.
        requested: the addresses that it asked for.
    """

    def __init__(self, reading: int, writing: int) -> None:
        self.problems: list[str] = []
        self.requested: list[str] = []
        self._writing = writing
        self._answers = self._messages(reading)
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self._loaded = False
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def _messages(self, reading: int) -> Iterator[Any]:
        left = b""
        while chunk := os.read(reading, 1 << 20):
            *whole, left = (left + chunk).split(b"\0")
            yield from map(json.loads, whole)
        raise AssertionError("Chromium has ended")

    def ask(self, method: str, **params: Any) -> Any:
        """The answer to one command."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        for each in self._answers:
            if each.get("id") == number:
                assert "error" not in each, each
                return each["result"]
            self._notice(each)
        raise AssertionError("unreachable")

    def _notice(self, event: Any) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                self.problems.append(details.get("exception", {}).get("description") or details["text"])
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.problems.append(params["entry"]["text"])
            case "Network.requestWillBeSent":
                self.requested.append(params["request"]["url"])
            case "Page.loadEventFired":
                self._loaded = True

    def open(self, file: Path, *, width: int = 1366, height: int = 768, dark: bool = False) -> None:
        """Open a file; done when it has loaded and drawn itself."""
        self.look(width=width, height=height, dark=dark)
        self._loaded = False
        self.ask("Page.navigate", url=file.as_uri())
        while not self._loaded:
            self._notice(next(self._answers))
        self.settle()

    def look(self, *, width: int, height: int, dark: bool = False) -> None:
        """Give the window another size, and its user another taste."""
        phone = width < 600
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])

    def settle(self) -> None:
        """Return when all that was asked for has been drawn."""
        self.value(_DRAWN)

    def value(self, expression: str) -> Any:
        """What a JavaScript expression comes to, or the promise that it is."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def click(self, selector: str) -> None:
        """Click in the middle of the first element that a CSS selector finds."""
        x, y = self.value(
            f"(() => {{const each = document.querySelector({json.dumps(selector)});"
            " each.scrollIntoView({block: 'center'}); const box = each.getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]})()"
        )
        self.settle()
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.settle()

    def press(self, key: str) -> None:
        """Press a key and let it go."""
        text, code = _KEYS[key]
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, text=text, windowsVirtualKeyCode=code)
        self.settle()

    def screenshot(self, file: Path, *, whole: bool = False) -> None:
        """A PNG of what the window shows, or of the whole page."""
        file.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", captureBeyondViewport=whole)["data"]))

    def pdf(self, file: Path) -> None:
        """Print it."""
        printed = self.ask("Page.printToPDF", preferCSSPageSize=True, printBackground=False)
        file.write_bytes(base64.b64decode(printed["data"]))


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A browser with one tab; ``folder`` is its own."""
    command = [need("chromium"), *_FLAGS, f"--user-data-dir={folder / 'profile'}"]
    to_child, writing = os.pipe()
    reading, from_child = os.pipe()
    # It reads its commands from descriptor 3 and answers on 4, whose own numbers the pipes must not have.
    theirs = [fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in (to_child, from_child)]
    wrapped = ["bash", "-c", f'exec "$0" "$@" 3<&{theirs[0]} 4>&{theirs[1]}', *command]
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(wrapped, pass_fds=theirs, stdout=log, stderr=log)
    for each in (to_child, from_child, *theirs):
        os.close(each)
    try:
        yield Page(reading, writing)
    finally:
        os.close(writing)  # its end
        process.wait(60)
        os.close(reading)
