"""The run report as a browser shows it: from a file, with no network, no error, no overflow."""

import base64
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import threading
from queue import Empty, Queue

import numpy as np
import pytest
from PIL import Image

from reprocess.worker import _DayBlock

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DESKTOP, PHONE = (1200, 900), (390, 844)
ANSWER_S = 120

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no chromium on this machine: apt install chromium"
    ),
]


class Chromium:
    """A headless Chromium, driven over a pipe by the DevTools protocol.

    Messages are JSON ended by a zero byte: what is written to the browser's file descriptor 3 is
    answered on its 4. No port is opened, so nothing else on the machine can be in the way.
    """

    def __init__(self, profile):
        # At 10 and above, so that making 3 and 4 of them overwrites neither.
        to_read, self._to_browser = _pipe()
        self._from_browser, to_write = _pipe()
        self._process = subprocess.Popen(
            [
                "bash", "-c", f'exec "$@" 3<&{to_read} 4>&{to_write}', "bash", CHROMIUM,
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                "--no-first-run", "--disable-background-networking", "--disable-component-update",
                "--hide-scrollbars", f"--user-data-dir={profile}", "--remote-debugging-pipe",
                "about:blank",
            ],
            pass_fds=(to_read, to_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        self._number = 0
        self._messages = Queue()
        self._events = []
        threading.Thread(target=self._listen, daemon=True).start()
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    _session = None

    def _listen(self):
        waiting = b""
        with contextlib.suppress(OSError):
            while data := os.read(self._from_browser, 1 << 20):
                *whole, waiting = (waiting + data).split(b"\0")
                for message in whole:
                    self._messages.put(json.loads(message))

    def _next(self):
        try:
            return self._messages.get(timeout=ANSWER_S)
        except Empty:
            raise AssertionError(f"Chromium said nothing for {ANSWER_S} s") from None

    def ask(self, method, **parameters):
        """Send a command and wait for its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to_browser, data) :]
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self._events.append(answer)

    def events(self, method):
        return [e["params"] for e in self._events if e.get("method") == method]

    def open(self, path, size):
        """Load a page from the disk at a window's size, and wait until it is whole."""
        self._events.clear()
        width, height = size
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height,
            deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        self.ask("Page.navigate", url=path.as_uri())
        while not self.events("Page.loadEventFired"):
            self._events.append(self._next())

    def evaluate(self, expression):
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def complaints(self):
        """Everything that the console would show."""
        said = [e["entry"]["text"] for e in self.events("Log.entryAdded")]
        said += [str(e["args"]) for e in self.events("Runtime.consoleAPICalled")]
        return said + [str(e) for e in self.events("Runtime.exceptionThrown")]

    def requests(self):
        """Addresses that were asked for, without those whose bytes are in the page."""
        urls = [e["request"]["url"] for e in self.events("Network.requestWillBeSent")]
        return [url for url in urls if not url.startswith("data:")]

    def screenshot(self, path):
        shot = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self):
        with contextlib.suppress(OSError):
            os.close(self._to_browser)  # the browser ends when its pipe does
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._from_browser)


def _pipe():
    ends = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return high


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    browser = Chromium(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


SAFE = "[document.querySelectorAll('script').length, typeof window.hacked]"
WIDTHS = "[document.documentElement.scrollWidth, window.innerWidth]"
PICTURES = "[...document.images].map(i => i.complete && i.naturalWidth > 0 && i.alt.length > 0)"
SMALL = """
[...document.querySelectorAll('main p, main td, main dd, main th')].filter(
    e => parseFloat(getComputedStyle(e).fontSize) < 11).length
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory, make_tiny):
    """The page of a run with a failed day, bad frames, and markup wherever a user can put it."""
    hack = "<img src=x onerror=window.hacked=1>"
    tiny = make_tiny(tmp_path_factory.mktemp("browser") / "tiny")
    tiny.document["site"]["name"] = f"<script>window.hacked=1</script>{hack}"
    tiny.put_days("2021-12-31", "2022-01-01")
    tiny.put("2021-12-31", "12:00", b"", suffix=hack)
    tiny.put("2021-12-31", "12:10", tiny.path("2021-12-31", "00:00").read_bytes()[:-50])
    (tiny.archive / f"{hack}.txt").write_bytes(b"")
    write_detections = _DayBlock._write_detections

    def write_or_fail(block, label, evidence):
        if block.day.year == 2022:
            raise ValueError(f"{hack} no such sky")
        write_detections(block, label, evidence)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_DayBlock, "_write_detections", write_or_fail)
        outcome = tiny.run(page=True)
    assert outcome.code == 1, outcome.err
    return tiny.store / "runs" / outcome.report["run"] / "report.html"


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_browser_shows_it_without_a_complaint(chromium, page, size, tmp_path):
    chromium.open(page, size)

    assert chromium.complaints() == []
    assert chromium.requests() == [page.as_uri()]
    assert chromium.evaluate(SAFE) == [0, "undefined"]
    width, window = chromium.evaluate(WIDTHS)
    assert width <= window == size[0]  # tables scroll in their own boxes
    pictures = chromium.evaluate(PICTURES)
    assert pictures
    assert all(pictures)
    assert chromium.evaluate(SMALL) == 0
    chromium.screenshot(tmp_path / "page.png")
    assert_drawn(tmp_path / "page.png", size)


def assert_drawn(path, size):
    """The picture of the page has the window's width, its text's dark and the maps' colours."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape[1] == size[0]
    assert pixels.shape[0] > size[1]
    assert 0.002 < (pixels.max(-1) < 100).mean() < 0.2
    assert (np.ptp(pixels, axis=-1) > 80).mean() > 0.001


def test_it_can_be_printed(chromium, page):
    chromium.open(page, DESKTOP)
    printed = base64.b64decode(chromium.ask("Page.printToPDF", preferCSSPageSize=True)["data"])
    assert printed.startswith(b"%PDF-")
    assert 3 <= printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") <= 20
