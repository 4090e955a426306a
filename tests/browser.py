"""A headless Chromium, driven through its own pipe: pages as a person has them, and what they complain of."""

from __future__ import annotations

import base64
import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

PHONE, DESKTOP = (390, 844), (1280, 900)
_NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str:
    """The program; without it skip, or fail where EDGEBIRD_REQUIRE promises chromium."""
    for name in _NAMES:
        if found := shutil.which(name):
            return found
    if {"chromium", "all"} & set(os.environ.get("EDGEBIRD_REQUIRE", "").split(",")):
        pytest.fail("chromium was promised by EDGEBIRD_REQUIRE: it is not there")
    pytest.skip("chromium is not installed")


class Browser:
    """One tab. complaints: errors of the console, of scripts, of the network and of the content policy."""

    def __init__(self, command: list[str]) -> None:
        to_child, from_us = os.pipe()
        from_child, to_us = os.pipe()

        def arrange() -> None:  # Chromium reads its orders from 3 and answers at 4
            os.dup2(to_child, 13), os.dup2(to_us, 14)
            os.dup2(13, 3), os.dup2(14, 4)

        self._process = subprocess.Popen(
            command, preexec_fn=arrange, pass_fds=(3, 4), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        os.close(to_child), os.close(to_us)
        self._out, self._in = os.fdopen(from_us, "wb", buffering=0), os.fdopen(from_child, "rb", buffering=0)
        self._number, self._session = 0, ""
        self._answers: dict[int, dict[str, Any]] = {}
        self._said: queue.Queue[dict[str, Any]] = queue.Queue()
        self.complaints: list[str] = []
        self.bytes_of: dict[str, int] = {}
        self._addresses: dict[str, str] = {}
        threading.Thread(target=self._read, daemon=True).start()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _read(self) -> None:
        rest = b""
        with suppress(OSError, ValueError):
            while piece := self._in.read(1 << 16):
                *messages, rest = (rest + piece).split(b"\0")
                for message in messages:
                    self._said.put(json.loads(message))
        self._said.put({"method": "end"})

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send an order and return its answer."""
        self._number += 1
        order = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            order["sessionId"] = self._session
        self._out.write(json.dumps(order).encode() + b"\0")
        number, end = self._number, time.monotonic() + 60
        while number not in self._answers:
            self._take(max(0.1, end - time.monotonic()))
        answer = self._answers.pop(number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]  # type: ignore[no-any-return]

    def _take(self, seconds: float) -> str:
        """Take one message; its method."""
        message = self._said.get(timeout=seconds)
        if "id" in message:
            self._answers[message["id"]] = message
            return ""
        method, said = message["method"], message.get("params", {})
        assert method != "end", "Chromium has ended"
        if method == "Runtime.exceptionThrown":
            self.complaints.append(str(said["exceptionDetails"].get("exception", said["exceptionDetails"])))
        elif method == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
            self.complaints.append(" ".join(str(part.get("value")) for part in said["args"]))
        elif method == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{said['entry']['text']} {said['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self._addresses[said["requestId"]] = said["request"]["url"]
        elif method == "Network.dataReceived":
            address = self._addresses.get(said["requestId"], "")
            self.bytes_of[address] = self.bytes_of.get(address, 0) + said["dataLength"]
        return str(method)

    def size(self, width: int, height: int, dark: bool = False) -> None:
        """Be as large as a phone or a desktop."""
        phone = width < 600
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone
        )  # fmt: skip
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", media="", features=scheme)

    def open(self, address: str) -> None:
        """Go to a page and wait until it is there with all it asks for."""
        self.complaints.clear(), self.bytes_of.clear()
        while not self._said.empty():
            self._take(1)
        self.complaints.clear(), self.bytes_of.clear()
        self.call("Page.navigate", url=address)
        end = time.monotonic() + 60
        while self._take(max(0.1, end - time.monotonic())) != "Page.loadEventFired":
            pass
        self.settle()

    def settle(self, seconds: float = 0.3) -> None:
        """Let scripts do what they do after loading."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            with suppress(queue.Empty):
                self._take(left)

    def run(self, script: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def inject(self, path: Path) -> None:
        """Run a file in the page, whatever its content policy forbids."""
        self.call("Runtime.evaluate", expression=path.read_text(encoding="utf-8"))

    def press(self, key: str) -> None:
        """Press a key."""
        code = {"Enter": 13, "Tab": 9, " ": 32}.get(key, ord(key[0].upper()))
        text = {"Enter": "\r", "Tab": ""}.get(key, key)
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if kind == "keyDown" and text else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more)

    def screenshot(self, kind: str = "png", whole: bool = False) -> bytes:
        """A picture of what is seen, or of the whole page."""
        quality = {"quality": 70} if kind == "webp" else {}
        taken = self.call("Page.captureScreenshot", format=kind, captureBeyondViewport=whole, **quality)
        return base64.b64decode(taken["data"])

    def close(self) -> None:
        """End it, and all of its processes."""
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._out.close(), self._in.close()


@contextmanager
def browsing() -> Iterator[Browser]:
    """A browser with a profile of its own."""
    folder = tempfile.mkdtemp(prefix="edgebird-chromium-")
    command = [
        chromium(), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
        "--no-first-run", "--disable-background-networking", "--disable-component-update", "--mute-audio",
        "--autoplay-policy=no-user-gesture-required", f"--user-data-dir={folder}", "--remote-debugging-pipe",
    ]  # fmt: skip
    browser = Browser(command)
    try:
        yield browser
    finally:
        browser.close()
        shutil.rmtree(folder, ignore_errors=True)
