"""The player page, opened from disk in a real browser, as somebody would who was sent the file.

Chromium is driven over its DevTools protocol: JSON messages, separated by NUL, through two pipes.
Nothing to install for it; without a Chromium these tests are skipped.
"""
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import sample
from motion import Motion

CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
pytestmark = [pytest.mark.browser,
              pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on the PATH")]
FPS, RATE, SECONDS = 20, 16000, 3.0
PATIENCE = 20                                   # seconds; how long anything may take before it counts as broken


# ------------------------------------------------------------------------------------------------
# A page to look at
# ------------------------------------------------------------------------------------------------
def person(label="model", facing=0.0, fingers=0, frames=int(SECONDS * FPS)):
    """A body 1.7 m tall that waves its right hand and nods -> (label, names, parents, positions [F, P, 3] in m).

    `facing` turns it about the vertical, radians. `fingers` gives each hand that many fingers, of five joints.
    """
    names, parents, places = [], [], []

    def joint(name, parent, *place):
        names.append(name)
        parents.append(names.index(parent) if isinstance(parent, str) else parent)
        places.append(place)
        return len(names) - 1

    joint("Hips", -1, 0, 0.95, 0)
    for name, parent, y in [("Spine", "Hips", 1.05), ("Spine1", "Spine", 1.2), ("Spine2", "Spine1", 1.35),
                            ("Neck", "Spine2", 1.46), ("Head", "Neck", 1.53)]:
        joint(name, parent, 0, y, 0)
    tips = [("Head", (0, 1.7, 0))]
    for side, sign in [("Left", 1), ("Right", -1)]:      # a body that faces +z has its left at +x
        joint(f"{side}Shoulder", "Spine2", sign * 0.03, 1.42, 0)
        joint(f"{side}Arm", f"{side}Shoulder", sign * 0.17, 1.41, 0)
        joint(f"{side}ForeArm", f"{side}Arm", sign * 0.28, 1.16, 0)
        joint(f"{side}Hand", f"{side}ForeArm", sign * 0.30, 0.95, 0.1)
        for n in range(fingers):
            for k in range(5):
                joint(f"{side}Hand{n}{k}", f"{side}Hand{n}{k - 1}" if k else f"{side}Hand",
                      sign * 0.30, 0.90 - 0.02 * k, 0.07 + 0.015 * n)
            tips.append((f"{side}Hand{n}4", (sign * 0.30, 0.80, 0.07 + 0.015 * n)))
        tips += [] if fingers else [(f"{side}Hand", (sign * 0.30, 0.80, 0.1))]
        for name, parent, y, z in [("UpLeg", "Hips", 0.9, 0), ("Leg", f"{side}UpLeg", 0.5, 0.01),
                                   ("Foot", f"{side}Leg", 0.08, 0), ("ToeBase", f"{side}Foot", 0.02, 0.13)]:
            joint(side + name, parent, sign * 0.09, y, z)
        tips.append((f"{side}ToeBase", (sign * 0.09, 0.02, 0.2)))
    if fingers:
        for name, x, y in [("Jaw", 0, 1.56), ("LeftEye", 0.03, 1.63), ("RightEye", -0.03, 1.63)]:
            joint(name, "Head", x, y, 0.08)
    joints = list(names)
    for parent, place in tips:
        joint("", parent, *place)

    positions = np.tile(np.array(places, dtype=float), (frames, 1, 1))       # [F, P, 3]
    seconds = np.arange(frames) / FPS
    arm = [p for p in range(len(parents)) if p == names.index("RightHand") or "RightHand" in names[parents[p]]]
    positions[:, arm, 0] -= 0.15 * np.sin(2 * np.pi * 0.7 * seconds)[:, None]
    positions[:, arm, 1] += 0.8 * np.sin(2 * np.pi * 0.35 * seconds)[:, None]
    positions[:, names.index(""), 2] += 0.05 * np.sin(5 * seconds)           # the first End Site is the top of the head
    turn = np.array([[np.cos(facing), 0, np.sin(facing)], [0, 1, 0], [-np.sin(facing), 0, np.cos(facing)]])
    return label, names, parents, positions @ turn.T, len(joints)


def speech(seconds=SECONDS):
    """A hum that swells and fades twice a second, [samples] at RATE, within -1..1."""
    t = np.arange(int(seconds * RATE)) / RATE
    return 0.4 * np.sin(2 * np.pi * 200 * t) * np.abs(np.sin(2 * np.pi * t))


def write_page(path, title, people, waveform, strokes, fps=FPS):
    """The page as sample.py writes it. A person's points become joints that only move, which needs no rotations."""
    motions = {}
    for label, names, parents, positions, _ in people:
        parents = np.array(parents)
        local = positions - np.where((parents >= 0)[:, None], positions[:, parents], 0)      # [F, P, 3]
        still = np.broadcast_to(np.eye(3), (*local.shape, 3))
        motions[label] = Motion(names, parents, local[0], [()] * len(names), [], 1 / fps, still, local)
    sample.write_page(path, title, motions, waveform, strokes)


# ------------------------------------------------------------------------------------------------
# A browser to look with
# ------------------------------------------------------------------------------------------------
class Browser:
    """A headless Chromium. It reads commands on its file descriptor 3 and answers on 4."""

    def __init__(self, profile):
        # High numbers, so that neither of our ends is itself 3 or 4 when the child moves them there.
        (its_input, self.to), (self.answers, its_output) = [
            [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in os.pipe()] for _ in range(2)]
        launch = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
        self.process = subprocess.Popen(
            [sys.executable, "-c", launch, str(its_input), str(its_output), CHROMIUM, "--headless=new", "--no-sandbox",
             "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
             "--disable-sync", "--disable-dev-shm-usage", "--autoplay-policy=no-user-gesture-required", "--mute-audio",
             f"--user-data-dir={profile}", "--window-size=1000,700", "--remote-debugging-pipe"],
            pass_fds=[its_input, its_output], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(its_input), os.close(its_output)
        self.buffer, self.events, self.number = b"", [], 0

    def receive(self, deadline):
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.answers], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"the browser did not answer within {PATIENCE} s"
            piece = os.read(self.answers, 1 << 20)
            assert piece, "the browser has gone"
            self.buffer += piece
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def ask(self, method, session=None, **params):
        self.number += 1
        message = dict(id=self.number, method=method, params=params, **({"sessionId": session} if session else {}))
        os.write(self.to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while (answer := self.receive(deadline)).get("id") != self.number:
            self.events.append(answer)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def close(self):
        try:
            self.ask("Browser.close")
            self.process.wait(timeout=5)
        except Exception:                       # it hangs or has died: then its whole process group goes
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self.to), os.close(self.answers)


# Pixels are read from a copy: reading the page's own canvas again and again makes Chromium write a warning.
PIXELS = """function pixelsOf(id) {
    const canvas = document.getElementById(id), copy = document.createElement('canvas');
    copy.width = canvas.width; copy.height = canvas.height;
    const pen = copy.getContext('2d', { willReadFrequently: true });
    pen.drawImage(canvas, 0, 0);
    return pen.getImageData(0, 0, copy.width, copy.height); }
"""


class Page:
    """One tab, from its opening on."""

    def __init__(self, browser, url):
        self.browser, start = browser, len(browser.events)
        self.target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.ask("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network"]:
            self.ask(f"{domain}.enable")
        self.start = start
        self.ask("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def ask(self, method, **params):
        return self.browser.ask(method, self.session, **params)

    def js(self, expression):
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition):
        deadline = time.monotonic() + PATIENCE
        while not self.js(condition):
            assert time.monotonic() < deadline, f"never came true: {condition}"
            time.sleep(0.03)

    def events(self, method):
        return [e["params"] for e in self.browser.events[self.start:] if e.get("method") == method and e.get("sessionId") == self.session]

    def complaints(self):
        return (self.events("Runtime.exceptionThrown") + self.events("Log.entryAdded")
                + [e for e in self.events("Runtime.consoleAPICalled") if e["type"] in ("error", "warning", "assert")])

    def seek(self, seconds):
        """Go there, and wait until it has been drawn."""
        self.js(f"player.seek({seconds})")
        self.drawn()

    def drawn(self):
        self.js("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def picture(self):
        return self.js("document.getElementById('figure').toDataURL()")

    def limbs(self):
        """Of the orange (left) and the blue (right) pixels: how many, their mean x, and the topmost y."""
        return self.js(PIXELS + """(() => {
            const { data, width } = pixelsOf('figure');
            const found = { left: { count: 0, x: 0, top: 1e9 }, right: { count: 0, x: 0, top: 1e9 } };
            for (let n = 0; n < data.length; n += 4) {
                const redder = data[n] - data[n + 2], limb = found[redder > 80 ? 'left' : redder < -80 ? 'right' : 'neither'];
                if (!limb || data[n + 3] < 255) continue;
                limb.count++; limb.x += n / 4 % width; limb.top = Math.min(limb.top, Math.floor(n / 4 / width));
            }
            found.left.x /= found.left.count; found.right.x /= found.right.count;
            return found; })()""")

    def click(self, x, y):
        for kind in ["mousePressed", "mouseReleased"]:
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key):
        for kind in ["keyDown", "keyUp"]:
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, **({"text": " "} if key == " " and kind == "keyDown" else {}))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def open_page(browser, tmp_path):
    """open_page(people, waveform, ...) -> Page. However the test used the page, it must not have complained."""
    pages = []

    def open_page(people=None, waveform=speech(), strokes=(0.5, 1.25, 2.0), title="speech", fps=FPS):
        path = tmp_path / f"page{len(pages)}.html"
        write_page(path, title, people or [person()], waveform, strokes, fps)
        pages.append(Page(browser, path.as_uri()))
        return pages[-1]

    yield open_page
    for page in pages:
        assert page.complaints() == []
        browser.ask("Target.closeTarget", targetId=page.target)


# ------------------------------------------------------------------------------------------------
# What the page promises
# ------------------------------------------------------------------------------------------------
def test_it_opens_from_disk_and_asks_nobody_for_anything(open_page):
    page = open_page()
    page.seek(1.0)
    asked = [event["request"]["url"] for event in page.events("Network.requestWillBeSent")]
    assert asked and all(url.startswith(("file:", "data:")) for url in asked)
    assert not page.js("player.playing()") and page.js("player.frame()") == 20


def test_a_title_may_contain_anything(open_page):
    title = 'He said "</script><b>&amp;" – naïve'
    page = open_page(title=title)
    assert page.js("document.title") == title
    assert page.js("document.querySelector('h1').textContent") == title


def test_every_control_has_a_name_that_can_be_read_aloud(open_page):
    nodes = open_page().ask("Accessibility.getFullAXTree")["nodes"]
    names = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n["ignored"]]
    controls = [(role, name) for role, name in names if role in ("button", "checkbox", "slider", "image", "img")]
    assert {"button", "checkbox", "slider"} <= {role for role, _ in controls}
    assert all(name for _, name in controls), controls


def test_both_sides_of_the_figure_are_drawn_and_it_moves(open_page):
    page = open_page()
    page.seek(0.0)
    first, limbs = page.picture(), page.limbs()
    assert limbs["left"]["count"] > 500 and limbs["right"]["count"] > 500
    page.seek(0.7)
    assert page.picture() != first
    assert page.limbs()["right"]["top"] < limbs["right"]["top"] - 10, "the right hand went up"
    assert page.limbs()["left"]["top"] == limbs["left"]["top"], "and the left one hangs"
    page.seek(0.0)
    assert page.picture() == first, "the same moment gives the same picture"


def test_it_moves_between_frames_too(open_page):
    page = open_page()
    pictures = []
    for seconds in [0.5, 0.5125, 0.525, 0.5375]:
        page.seek(seconds)
        assert page.js("player.frame()") == 10
        pictures.append(page.picture())
    assert len(set(pictures)) == 4


@pytest.mark.parametrize("degrees", [0, 100, 180, 250])
def test_we_see_the_body_from_the_front_wherever_it_faces(open_page, degrees):
    page = open_page([person(facing=np.radians(degrees))])
    page.seek(1.0)
    limbs = page.limbs()
    assert limbs["left"]["x"] > limbs["right"]["x"] + 20, "its left is on our right"


def test_seek_lands_on_the_frame(open_page):
    page = open_page()
    for seconds, frame in [(0, 0), (0.049, 0), (0.05, 1), (0.15, 3), (1.0, 20), (1.45, 29), (2.999, 59), (3.0, 59), (99, 59), (-5, 0)]:
        page.seek(seconds)
        assert page.js("player.frame()") == frame, seconds


@pytest.mark.parametrize("fps", [20, 25, 30])
def test_every_frame_can_be_reached(open_page, fps):
    page = open_page(fps=fps)
    frames = page.js(f"[...Array(60).keys()].map(n => {{ player.seek(n / {fps}); return player.frame(); }})")
    assert frames == list(range(60))


def test_a_click_on_the_waveform_goes_to_that_moment(open_page):
    page = open_page()
    box = page.js("(({ x, y, width, height }) => ({ x, y, width, height }))(document.getElementById('wave').getBoundingClientRect())")
    for fraction in [0.1, 0.5, 0.9, 0.25]:
        page.click(box["x"] + fraction * box["width"], box["y"] + box["height"] / 2)
        assert page.js("player.time()") == pytest.approx(fraction * SECONDS, abs=1 / FPS)


def test_strokes_are_marked_on_the_waveform_where_they_happen(open_page):
    page = open_page(strokes=[0.75, 2.0])
    page.seek(0.0)
    found = page.js(PIXELS + """(() => {
        const { data, width } = pixelsOf('wave'), red = n => data[n] > 180 && data[n + 1] < 90;
        return [...Array(width).keys()].filter(x => red(4 * (2 * width + x))).map(x => x / width); })()""")
    assert found and max(min(abs(x - stroke / SECONDS) for stroke in [0.75, 2.0]) for x in found) < 0.01
    assert all(min(abs(x - stroke / SECONDS) for x in found) < 0.01 for stroke in [0.75, 2.0])


def test_the_keys_do_what_the_help_line_says(open_page):
    page = open_page()
    page.seek(1.0)
    for key, frame in [("ArrowRight", 21), ("ArrowRight", 22), ("ArrowLeft", 21), ("Home", 0), ("ArrowLeft", 0)]:
        page.press(key)
        assert page.js("player.frame()") == frame, key
    page.press(" ")
    page.wait("player.playing()")
    page.press(" ")
    page.wait("!player.playing()")


def test_motion_keeps_to_the_clock_of_the_sound(open_page):
    page = open_page()
    page.js("""window.gaps = [];
        (function watch() {
            if (player.playing()) gaps.push(Math.abs(player.time() - document.querySelector('audio').currentTime));
            requestAnimationFrame(watch);
        })();
        document.getElementById('play').click()""")
    page.wait("player.time() > 1.0")
    page.js("player.pause()")
    page.drawn()
    # One frame is the promise; the sound itself goes on while the picture is being drawn, hence two.
    assert page.js("gaps.length") > 3 and page.js("Math.max(...gaps)") < 2 / FPS
    at = page.js("player.time()")
    time.sleep(0.2)
    assert page.js("player.time()") == at, "paused is paused"
    assert at == pytest.approx(page.js("document.querySelector('audio').currentTime"), abs=1 / FPS)


def test_it_stops_at_the_end_and_starts_again_from_there(open_page):
    page = open_page()
    page.js("player.seek(2.8); player.play()")
    page.wait("!player.playing() && player.time() > 2.9")
    page.wait("player.frame() === 59")
    page.js("player.play()")
    page.wait("player.playing() && player.time() < 2")


@pytest.mark.parametrize("waveform", [speech(), None], ids=["sound", "silent"])
def test_a_loop_goes_round(open_page, waveform):
    page = open_page(waveform=waveform)
    page.js("document.getElementById('loop').click(); player.seek(2.7); player.play()")
    page.wait("player.playing() && player.time() > 0.1 && player.time() < 2")


def test_without_sound_a_silent_clock_drives_the_motion(open_page):
    page = open_page(waveform=None, strokes=[])
    page.seek(1.0)
    assert page.js("player.frame()") == 20 and page.limbs()["left"]["count"] > 500
    page.js("document.querySelector('[data-rate=\"0.5\"]').click(); player.play()")
    page.wait("player.time() > 1.2")
    page.js("document.querySelector('[data-rate=\"1\"]').click(); player.seek(2.8)")
    page.wait("!player.playing()")
    assert page.js("player.frame()") == 59
    page.js("player.play()")
    page.wait("player.playing() && player.time() > 0.05 && player.time() < 2")


def test_four_bodies_of_75_joints_stand_side_by_side(open_page):
    people = [person(label, facing=n, fingers=5) for n, label in enumerate(["truth", "model", "another seed", "mean"])]
    assert [p[4] for p in people] == [75] * 4
    page = open_page(people)
    page.seek(1.0)
    first, limbs = page.picture(), page.limbs()
    assert limbs["left"]["count"] > 1000 and limbs["right"]["count"] > 1000
    page.seek(1.4)
    assert page.picture() != first


@pytest.mark.parametrize("names", [["Root", "A", "B", ""], ["b_root", "b_l_upleg", "Head", ""], ["Hips", "LeftUpLeg", "RightUpLeg", ""]])
def test_an_unknown_skeleton_is_drawn_as_plain_bones(open_page, names):
    positions = np.tile(np.array([[0, 0.9, 0], [0.2, 0.5, 0], [-0.2, 1.3, 0], [-0.2, 1.6, 0]], dtype=float), (40, 1, 1))
    positions[:, 3, 0] += np.linspace(0, 0.2, 40)
    page = open_page([("odd", names, [-1, 0, 0, 2], positions, 3)])
    page.seek(0.0)
    first = page.picture()
    page.seek(1.5)
    assert page.picture() != first
