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

import conftest  # noqa: F401  # puts the project's folder on the path for measure()
import numpy as np
import pytest

from body.bvh import bvh_text
from body.motion import Motion
from show import player
from show.mannequin import dress
from show.skin import surface

CHROMIUM = next(
    filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on the PATH"
    ),
]
FPS, RATE, SECONDS = 20, 16000, 3.0
PATIENCE = 20  # seconds; how long anything may take before it counts as broken


# ------------------------------------------------------------------------------------------------
# A page to look at
# ------------------------------------------------------------------------------------------------
def person(label="model", facing=0.0, fingers=0, frames=int(SECONDS * FPS)):
    """A body 1.7 m tall that waves its right hand and nods.

    -> (label, names, parents, positions [F, P, 3] in m, number of joints). `facing` turns it about
    the vertical, radians. `fingers` gives each hand that many fingers, of five joints.
    """
    names, parents, places = [], [], []

    def joint(name, parent, *place):
        names.append(name)
        parents.append(names.index(parent) if isinstance(parent, str) else parent)
        places.append(place)
        return len(names) - 1

    joint("Hips", -1, 0, 0.95, 0)
    for name, parent, y in [
        ("Spine", "Hips", 1.05),
        ("Spine1", "Spine", 1.2),
        ("Spine2", "Spine1", 1.35),
        ("Neck", "Spine2", 1.46),
        ("Head", "Neck", 1.53),
    ]:
        joint(name, parent, 0, y, 0)
    tips = [("Head", (0, 1.7, 0))]
    for side, sign in [("Left", 1), ("Right", -1)]:  # a body that faces +z has its left at +x
        joint(f"{side}Shoulder", "Spine2", sign * 0.03, 1.42, 0)
        joint(f"{side}Arm", f"{side}Shoulder", sign * 0.17, 1.41, 0)
        joint(f"{side}ForeArm", f"{side}Arm", sign * 0.28, 1.16, 0)
        joint(f"{side}Hand", f"{side}ForeArm", sign * 0.30, 0.95, 0.1)
        for n in range(fingers):
            for k in range(5):
                joint(
                    f"{side}Hand{n}{k}",
                    f"{side}Hand{n}{k - 1}" if k else f"{side}Hand",
                    sign * 0.30,
                    0.90 - 0.02 * k,
                    0.07 + 0.015 * n,
                )
            tips.append((f"{side}Hand{n}4", (sign * 0.30, 0.80, 0.07 + 0.015 * n)))
        tips += [] if fingers else [(f"{side}Hand", (sign * 0.30, 0.80, 0.1))]
        for name, parent, y, z in [
            ("UpLeg", "Hips", 0.9, 0),
            ("Leg", f"{side}UpLeg", 0.5, 0.01),
            ("Foot", f"{side}Leg", 0.08, 0),
            ("ToeBase", f"{side}Foot", 0.02, 0.13),
        ]:
            joint(side + name, parent, sign * 0.09, y, z)
        tips.append((f"{side}ToeBase", (sign * 0.09, 0.02, 0.2)))
    if fingers:
        for name, x, y in [("Jaw", 0, 1.56), ("LeftEye", 0.03, 1.63), ("RightEye", -0.03, 1.63)]:
            joint(name, "Head", x, y, 0.08)
    joints = list(names)
    for parent, place in tips:
        joint("", parent, *place)

    positions = np.tile(np.array(places, dtype=float), (frames, 1, 1))  # [F, P, 3]
    seconds = np.arange(frames) / FPS
    arm = [
        p
        for p in range(len(parents))
        if p == names.index("RightHand") or "RightHand" in names[parents[p]]
    ]
    positions[:, arm, 0] -= 0.15 * np.sin(2 * np.pi * 0.7 * seconds)[:, None]
    positions[:, arm, 1] += 0.8 * np.sin(2 * np.pi * 0.35 * seconds)[:, None]
    crown = names.index("")  # the first End Site is the top of the head
    positions[:, crown, 2] += 0.05 * np.sin(5 * seconds)
    turn = np.array(
        [[np.cos(facing), 0, np.sin(facing)], [0, 1, 0], [-np.sin(facing), 0, np.cos(facing)]]
    )
    return label, names, parents, positions @ turn.T, len(joints)


def speech(seconds=SECONDS):
    """A hum that swells and fades twice a second, [samples] at RATE, within -1..1."""
    t = np.arange(int(seconds * RATE)) / RATE
    return 0.4 * np.sin(2 * np.pi * 200 * t) * np.abs(np.sin(2 * np.pi * t))


HUM = speech()


def motion_of(names, parents, positions, fps=FPS):
    """A Motion that goes through these points: joints that only move, which needs no rotations."""
    parents = np.array(parents)
    local = positions - np.where((parents >= 0)[:, None], positions[:, parents], 0)  # [F, P, 3]
    unturned = np.broadcast_to(np.eye(3), (*local.shape, 3))
    places = [("Xposition", "Yposition", "Zposition")] * len(names)
    return Motion(names, parents, local[0], places, [], 1 / fps, unturned, local)


def write_page(path, title, people, waveform, strokes, fps=FPS):
    """The page, as sample.py writes it. strokes: {label: seconds}, or seconds of the first body."""
    motions = {}
    for label, names, parents, positions, _ in people:
        motions[label] = motion_of(names, parents, positions, fps)
    strokes = strokes if isinstance(strokes, dict) else {people[0][0]: strokes}
    player.write_page(path, title, motions, waveform, strokes)


# ------------------------------------------------------------------------------------------------
# A browser to look with
# ------------------------------------------------------------------------------------------------
class Browser:
    """A headless Chromium. It reads commands on its file descriptor 3 and answers on 4."""

    def __init__(self, profile):
        # High numbers: neither of our ends may be 3 or 4 itself when the child moves them there
        (its_input, self.to), (self.answers, its_output) = [
            [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in os.pipe()] for _ in range(2)
        ]
        launch = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); "
            "os.execv(sys.argv[3], sys.argv[3:])"
        )
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                launch,
                str(its_input),
                str(its_output),
                CHROMIUM,
                "--headless=new",
                "--no-sandbox",
                "--use-angle=swiftshader",  # WebGL without a GPU
                "--enable-unsafe-swiftshader",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-dev-shm-usage",
                "--autoplay-policy=no-user-gesture-required",
                "--mute-audio",
                f"--user-data-dir={profile}",
                "--window-size=1000,700",
                "--remote-debugging-pipe",
            ],
            pass_fds=[its_input, its_output],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
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
        message = dict(
            id=self.number,
            method=method,
            params=params,
            **({"sessionId": session} if session else {}),
        )
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
        except Exception:  # it hangs or has died: then its whole process group goes
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self.to), os.close(self.answers)


# Pixels are read from a copy: Chromium warns when the page's own canvas is read again and again.
# A picture by WebGL is there only until the browser shows it. So it is painted again first.
PIXELS = """function pixelsOf(id) {
    if (id === 'figure') paintFigures(player.time());
    const canvas = document.getElementById(id), copy = document.createElement('canvas');
    copy.width = canvas.width; copy.height = canvas.height;
    const pen = copy.getContext('2d', { willReadFrequently: true });
    pen.drawImage(canvas, 0, 0);
    return pen.getImageData(0, 0, copy.width, copy.height); }
"""


class Page:
    """One tab, from its opening on."""

    def __init__(self, browser, url, before=""):
        """before: a script that runs before the page's own."""
        self.browser, start = browser, len(browser.events)
        self.target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.ask("Target.attachToTarget", targetId=self.target, flatten=True)[
            "sessionId"
        ]
        for domain in ["Page", "Runtime", "Log", "Network"]:
            self.ask(f"{domain}.enable")
        self.start = start
        self.ask("Page.addScriptToEvaluateOnNewDocument", source=before)
        self.ask("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def ask(self, method, **params):
        return self.browser.ask(method, self.session, **params)

    def js(self, expression):
        answer = self.ask(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition):
        """Asserts that the condition comes true before PATIENCE runs out."""
        deadline = time.monotonic() + PATIENCE
        while not self.js(condition):
            assert time.monotonic() < deadline, f"never came true: {condition}"
            time.sleep(0.03)

    def events(self, method):
        return [
            e["params"]
            for e in self.browser.events[self.start :]
            if e.get("method") == method and e.get("sessionId") == self.session
        ]

    def complaints(self):
        return (
            self.events("Runtime.exceptionThrown")
            + [  # that reading pixels is slow is our doing, not the page's
                e
                for e in self.events("Log.entryAdded")
                if "GPU stall due to ReadPixels" not in e["entry"]["text"]
            ]
            + [
                e
                for e in self.events("Runtime.consoleAPICalled")
                if e["type"] in ("error", "warning", "assert")
                and "GPU stall due to ReadPixels" not in str(e["args"])
            ]
        )

    def seek(self, seconds):
        """Go there, and wait until it has been drawn."""
        self.js(f"player.seek({seconds})")
        self.drawn()

    def drawn(self):
        self.js("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def picture(self):
        return self.js("paintFigures(player.time()), document.getElementById('figure').toDataURL()")

    def limbs(self):
        """Of the orange (left) and the blue (right) pixels: count, mean x, and the topmost y."""
        return self.js(
            PIXELS
            + """(() => {
            const { data, width } = pixelsOf('figure');
            const none = { count: 0, x: 0, top: 1e9 };
            const found = { left: { ...none }, right: { ...none } };
            for (let n = 0; n < data.length; n += 4) {
                const redder = data[n] - data[n + 2];
                const limb = found[redder > 70 ? 'left' : redder < -60 ? 'right' : 'neither'];
                if (!limb || data[n + 3] < 255) continue;
                limb.count++;
                limb.x += n / 4 % width;
                limb.top = Math.min(limb.top, Math.floor(n / 4 / width));
            }
            found.left.x /= found.left.count; found.right.x /= found.right.count;
            return found; })()"""
        )

    def click(self, x, y):
        for kind in ["mousePressed", "mouseReleased"]:
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key):
        for kind in ["keyDown", "keyUp"]:
            self.ask(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                **({"text": " "} if key == " " and kind == "keyDown" else {}),
            )


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def open_page(browser, tmp_path):
    """open_page(people, waveform, ...) -> Page, which must not have complained in the end."""
    pages = []

    def open_page(
        people=None, waveform=HUM, strokes=(0.5, 1.25, 2.0), title="speech", fps=FPS, before=""
    ):
        path = tmp_path / f"page{len(pages)}.html"
        write_page(path, title, people or [person()], waveform, strokes, fps)
        pages.append(Page(browser, path.as_uri(), before))
        return pages[-1]

    open_page.browser = browser
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
    assert asked and all(url.startswith(("file:", "data:", "blob:")) for url in asked)
    assert not page.js("player.playing()") and page.js("player.frame()") == 20


def test_a_lone_right_hand_keeps_its_colour(open_page):
    label, names, *rest = person()
    names = [name.replace("Left", "Bone") for name in names]
    page = open_page([(label, names, *rest)])
    assert page.js("bodies[0].trails.map(t => t.point)") == [names.index("RightHand")]
    right = page.js('readPart(["right", 5, []]).colour')
    assert page.js("bodies[0].trails.map(t => t.colour)") == [right]


def test_a_title_may_contain_anything(open_page):
    title = 'He said "</script><b>&amp;" – naïve'
    page = open_page(title=title)
    assert page.js("document.title") == title
    assert page.js("document.querySelector('h1').textContent") == title


def test_every_control_has_a_name_that_can_be_read_aloud(open_page):
    nodes = open_page().ask("Accessibility.getFullAXTree")["nodes"]
    names = [
        (n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n["ignored"]
    ]
    controls = [
        (role, name)
        for role, name in names
        if role in ("button", "combobox", "slider", "image", "img")
    ]
    assert {"button", "combobox", "slider"} <= {role for role, _ in controls}
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
    for seconds, frame in [
        (0, 0),
        (0.049, 0),
        (0.05, 1),
        (0.15, 3),
        (1.0, 20),
        (1.45, 29),
        (2.999, 59),
        (3.0, 59),
        (99, 59),
        (-5, 0),
    ]:
        page.seek(seconds)
        assert page.js("player.frame()") == frame, seconds


@pytest.mark.parametrize("fps", [20, 25, 30])
def test_every_frame_can_be_reached(open_page, fps):
    page = open_page(fps=fps)
    frames = page.js(
        f"[...Array(60).keys()].map(n => {{ player.seek(n / {fps}); return player.frame(); }})"
    )
    assert frames == list(range(60))


def test_a_click_on_the_waveform_goes_to_that_moment(open_page):
    page = open_page()
    box = page.js(
        "(({ x, y, width, height }) => ({ x, y, width, height }))"
        "(document.getElementById('wave').getBoundingClientRect())"
    )
    for fraction in [0.1, 0.5, 0.9, 0.25]:
        page.click(box["x"] + fraction * box["width"], box["y"] + box["height"] / 2)
        assert page.js("player.time()") == pytest.approx(fraction * SECONDS, abs=1 / FPS)


def test_strokes_are_marked_on_the_waveform_where_they_happen(open_page):
    page = open_page(strokes=[0.75, 2.0])
    page.seek(0.0)
    found = page.js(
        PIXELS
        + """(() => {
        const { data, width } = pixelsOf('wave'), red = n => data[n] > 180 && data[n + 1] < 90;
        const columns = [...Array(width).keys()];
        return columns.filter(x => red(4 * (2 * width + x))).map(x => x / width); })()"""
    )
    off = [min(abs(x - stroke / SECONDS) for stroke in [0.75, 2.0]) for x in found]
    assert found and max(off) < 0.01
    assert all(min(abs(x - stroke / SECONDS) for x in found) < 0.01 for stroke in [0.75, 2.0])


def test_two_fingers_zoom_and_one_turns(open_page):
    page = open_page()

    def move(*fingers):  # each the x of ten moments
        def places(k):
            return [dict(x=xs[k], y=150, id=n) for n, xs in enumerate(fingers)]

        page.ask("Input.dispatchTouchEvent", type="touchStart", touchPoints=places(0))
        for k in range(1, 10):
            page.ask("Input.dispatchTouchEvent", type="touchMove", touchPoints=places(k))
        page.ask("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    page.ask("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=5)
    move([300 - 5 * k for k in range(10)], [400 + 5 * k for k in range(10)])
    assert page.js("camera.yaw") == 0 and page.js("camera.zoom") == pytest.approx(
        100 / 190, rel=0.05
    )
    move([300 + 5 * k for k in range(10)])
    assert page.js("camera.yaw") == pytest.approx(-45 * 0.008, rel=0.2) and page.js(
        "camera.zoom"
    ) == pytest.approx(100 / 190, rel=0.05)


def test_the_keys_do_what_the_help_line_says(open_page):
    page = open_page()
    page.seek(1.0)
    for key, frame in [
        ("ArrowRight", 21),
        ("ArrowRight", 22),
        ("ArrowLeft", 21),
        ("Home", 0),
        ("ArrowLeft", 0),
    ]:
        page.press(key)
        assert page.js("player.frame()") == frame, key
    page.press(" ")
    page.wait("player.playing()")
    page.press(" ")
    page.wait("!player.playing()")
    for key, box in [("l", "loop"), ("F", "follow")]:
        before = page.js(f"isOn('{box}')")
        page.press(key)
        assert page.js(f"isOn('{box}')") != before


def test_motion_and_sound_are_never_more_than_a_frame_apart(open_page):
    page = open_page()
    # Each time a picture is painted: the moment that it shows, against the moment that is heard.
    page.js("""window.gaps = [];
        const painter = paintFigures, audio = document.querySelector('audio');
        paintFigures = time => {
            if (player.playing()) gaps.push(Math.abs(time - audio.currentTime));
            painter(time); };
        document.getElementById('play').click()""")
    page.wait("player.time() > 0.5")
    page.js("player.seek(2.0)")
    page.wait("player.time() > 2.3")
    page.js("player.pause()")
    page.drawn()
    # 2 ms: the sound itself goes on from the one line to the other
    assert page.js("gaps.length") > 1 and page.js("Math.max(...gaps)") < 1 / FPS + 0.002
    at = page.js("player.time()")
    time.sleep(0.2)
    assert page.js("player.time()") == at, "paused is paused"
    assert at == pytest.approx(page.js("document.querySelector('audio').currentTime"), abs=1 / FPS)


def test_a_new_size_is_painted_at_once(open_page):
    """Setting its size clears a canvas: until the next frame the page would be empty."""
    page = open_page()
    page.wait("!dirty")
    assert page.js("(resize(), dirty)") is False


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
    page.press(",")
    assert page.js("clock.playbackRate") == 0.5
    page.js("player.play()")
    page.wait("player.time() > 1.2")
    page.press(".")
    page.js("player.seek(2.8)")
    page.wait("!player.playing()")
    assert page.js("player.frame()") == 59
    page.js("player.play()")
    page.wait("player.playing() && player.time() > 0.05 && player.time() < 2")


def test_four_bodies_of_75_joints_stand_side_by_side(open_page):
    people = [
        person(label, facing=n, fingers=5)
        for n, label in enumerate(["truth", "model", "another seed", "mean"])
    ]
    assert [p[4] for p in people] == [75] * 4
    page = open_page(people)
    page.seek(1.0)
    first, limbs = page.picture(), page.limbs()
    assert limbs["left"]["count"] > 1000 and limbs["right"]["count"] > 1000
    page.seek(1.4)
    assert page.picture() != first


# Where the joints of a body named so are on the stage, seen from its hips, [3] in metres
FROM_HIPS = """((n, name) => { const b = bodies[n], at = j => b.point(b.names.indexOf(j));
                               return [0, 1, 2].map(k => at(name)[k] - at('Hips')[k]); })"""


def test_bodies_of_other_rates_units_and_places_move_together(open_page, tmp_path):
    slow, fast = (person(frames=1 + round(SECONDS * fps)) for fps in (FPS, 6 * FPS))
    path, motions = tmp_path / "both.html", {}
    for body, fps, unit in [(slow, FPS, 100.0), (fast, 6 * FPS, 1.0)]:
        _, names, parents, positions, _ = body
        if fps != FPS:  # person() counts in frames of FPS: the same motion, six times as fine
            fine = np.linspace(0, len(slow[3]) - 1, len(positions))
            below, above = np.floor(fine).astype(int), np.ceil(fine).astype(int)
            u = (fine % 1)[:, None, None]
            positions = (1 - u) * slow[3][below] + u * slow[3][above]
        elsewhere = unit * (positions + [fps, 0, 0])
        motions[f"{fps}"] = motion_of(names, parents, elsewhere, fps)
    player.write_page(path, "both", motions)
    page = Page(open_page.browser, path.as_uri())
    for seconds in [0.0, 0.31, 1.0, 2.05, 3.0]:
        page.seek(seconds)
        for joint in ["RightHand", "LeftFoot", "Head"]:
            ours, theirs = (page.js(f"{FROM_HIPS}({n}, '{joint}')") for n in (0, 1))
            assert ours == pytest.approx(theirs, abs=0.003), (seconds, joint)
        frame = round(seconds * 6 * FPS)
        assert page.js("player.frame()") == frame, "frames are counted at the higher rate"
    assert page.complaints() == []


def test_the_page_lasts_as_long_as_the_longest_and_who_is_done_waits(open_page):
    page = open_page([person("short", frames=20), person("long")], waveform=speech(1.5))
    assert page.js("duration") == pytest.approx(SECONDS, abs=1e-3)
    page.seek(0.95)
    last = page.js(f"{FROM_HIPS}(0, 'RightHand')"), page.js(f"{FROM_HIPS}(1, 'RightHand')")
    page.js("player.seek(2.0); player.play()")  # there the speech is over, and the clock runs on
    page.wait("player.time() > 2.2")
    page.seek(2.5)
    assert page.js(f"{FROM_HIPS}(0, 'RightHand')") == last[0]
    assert page.js(f"{FROM_HIPS}(1, 'RightHand')") != last[1]


def test_each_body_has_a_row_of_strokes(open_page):
    strokes = {"truth": [0.05, 1.0], "model": [1.5, 2.4]}  # 0.05 s: where the label is
    page = open_page([person("truth"), person("model")], strokes=strokes)
    page.seek(0.0)
    for row, strokes in [(0, [0.05, 1.0]), (1, [1.5, 2.4])]:
        found = page.js(
            PIXELS
            + f"""(() => {{
            const {{ data, width }} = pixelsOf('wave'), columns = [...Array(width).keys()];
            const red = n => data[n] > 180 && data[n + 1] < 90 && data[n + 3] > 200;
            const marked = columns.filter(x => red(4 * (({row} * 12 + 3) * width + x)));
            return marked.map(x => x / width * {SECONDS}); }})()"""
        )
        assert {min(strokes, key=lambda s: abs(s - x)) for x in found} == set(strokes)
        assert max(min(abs(s - x) for s in strokes) for x in found) < 0.03


def walker():
    """A person who walks 6 m to its left, which is our right, in 3 s."""
    label, names, parents, positions, joints = person("walker")
    return (
        label,
        names,
        parents,
        positions + np.linspace(0, 6, len(positions))[:, None, None] * [1, 0, 0],
        joints,
    )


def test_we_go_along_with_whoever_walks_away(open_page):
    page, width = open_page([walker()]), 1000
    assert page.js("isOn('follow')")
    seen = []
    for seconds in [0.0, 1.5, 2.95]:
        page.seek(seconds)
        limbs = page.limbs()
        seen.append((limbs["left"]["x"] + limbs["right"]["x"]) / 2)
    assert max(seen) - min(seen) < 0.05 * width and abs(np.mean(seen) - width / 2) < 0.1 * width
    tall = limbs["left"]["count"]
    page.js("document.getElementById('follow').click()")
    page.seek(0.0)
    first = page.limbs()
    page.seek(2.95)
    last = page.limbs()
    assert last["left"]["x"] - first["left"]["x"] > 0.4 * width, (
        "with the whole way in the picture, it crosses it"
    )
    assert last["left"]["count"] < tall / 2, "and is small"


def test_one_frame_a_thousand_kilometres_away_does_not_stop_the_page(open_page):
    body = person()
    body[3][30] += [0, 0, 1e6]
    page = open_page([body])
    page.seek(1.0)
    assert page.js("player.frame()") == 20


def test_nobody_is_followed_who_stays(open_page):
    assert not open_page().js("isOn('follow')")


def test_five_fingers_can_be_counted(open_page):
    label, names, parents, positions, joints = person(fingers=5)
    positions = positions[:1].repeat(20, axis=0)
    for n in range(5):  # the left hand, palm to us: fingers like a fan, 8 cm long
        points = [names.index(f"LeftHand{n}{k}") for k in range(5)]
        points.append(
            next(p for p, parent in enumerate(parents) if parent == points[-1] and not names[p])
        )
        angle = np.radians(25 * (n - 2))
        for k, p in enumerate(points):
            positions[:, p] = [
                0.30 + (0.03 + 0.018 * k) * np.sin(angle),
                0.95 - (0.03 + 0.018 * k) * np.cos(angle),
                0.1,
            ]
    page = open_page([(label, names, parents, positions, joints)])
    page.seek(0.0)
    # Along an arc around the wrist, 9 cm away: how many times do we come onto something orange?
    runs = page.js(
        PIXELS
        + """(() => {
        const { data, width } = pixelsOf('figure'), b = bodies[0], seen = [];
        const [x, y, z] = b.point(b.names.indexOf('LeftHand'));
        for (let degrees = -62; degrees <= 62; degrees += 0.5) {
            const a = degrees * Math.PI / 180;
            const s = project([x + 0.09 * Math.sin(a), y - 0.09 * Math.cos(a), z]);
            const n = 4 * (Math.round(s.y) * width + Math.round(s.x));
            seen.push(data[n + 3] > 120 && data[n] > data[n + 2]);
        }
        return seen.filter((on, n) => on && !seen[n - 1]).length; })()"""
    )
    assert runs == 5


def test_the_skin_is_the_one_of_mannequin_py(open_page):
    label, names, parents, positions, joints = person(fingers=5)
    # A little off everywhere: nothing lies along an axis, where rounding would decide
    positions = positions + 0.01 * np.sin(np.arange(3 * len(names))).reshape(-1, 3)
    page = open_page([(label, names, parents, positions, joints)])
    seen = np.array(page.js("paintFigures(1), [...bodies[0].now]")).reshape(-1, 3)
    corners = np.array(page.js("[...corners]")).reshape(-1, 6)
    parts, first = dress(motion_of(names, parents, positions)).parts, 0
    for part in parts:
        places, normals = (one.reshape(-1, 3) for one in surface(part, seen / 1.7))
        found = corners[first : first + len(places)]
        first += len(places)
        assert found[:, :3] == pytest.approx(1.7 * places, abs=2e-4), part.colour
        found = found[:, 3:] / np.maximum(np.linalg.norm(found[:, 3:], axis=1, keepdims=True), 1e-9)
        assert found == pytest.approx(normals, abs=2e-2), part.colour


NO_WEBGL = """const usual = HTMLCanvasElement.prototype.getContext;
    HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
        return kind === 'webgl2' ? null : usual.call(this, kind, ...more); };"""


@pytest.mark.parametrize("painter, before", [("webgl", ""), ("canvas", NO_WEBGL)])
def test_what_is_before_hides_what_is_behind(open_page, painter, before):
    seen = []
    for way in (0.3, -0.3):  # the right forearm across the chest, before it and behind it
        label, names, parents, positions, joints = person()
        lower = [names.index("RightForeArm"), names.index("RightHand")]
        tip = [p for p, parent in enumerate(parents) if not names[p] and parent == lower[1]]
        for p, x, y in [(lower[0], -0.12, 1.2), (lower[1], 0.1, 1.2), (*tip, 0.14, 1.2)]:
            positions[:, p] = [x, y, way]
        page = open_page([(label, names, parents, positions, joints)], before=before)
        assert page.js("figure.dataset.painter") == painter
        page.seek(0.5)
        # Of the places along the forearm, those where it is seen: blue
        seen.append(
            page.js(
                PIXELS
                + """(() => {
                const { data, width } = pixelsOf('figure'), b = bodies[0];
                const at = name => b.point(b.names.indexOf(name));
                const from = at('RightForeArm'), to = at('RightHand');
                return [0.2, 0.4, 0.6, 0.8].filter(u => {
                    const s = project([0, 1, 2].map(k => from[k] + u * (to[k] - from[k])));
                    const n = 4 * (Math.round(s.y) * width + Math.round(s.x));
                    return data[n] < data[n + 2] - 50; }).length; })()"""
            )
        )
    assert seen == [4, 0]


def test_on_a_telephone_all_can_be_touched(open_page):
    page = open_page([person("truth"), person("model")])
    size = dict(width=390, height=844, deviceScaleFactor=2, mobile=True)
    page.ask("Emulation.setDeviceMetricsOverride", **size)
    page.drawn()
    small = page.js("""[...document.querySelectorAll('#controls button, select, #volume, #wave')]
        .map(e => [e.id, e.getBoundingClientRect()])
        .filter(([, b]) => b.width < 40 || b.height < 40 || b.right > 390 || b.bottom > 844)
        .map(([id]) => id)""")
    assert small == []
    assert page.js("figure.clientHeight") > 400


def test_names_of_files_and_joints_are_no_html(open_page):
    bad = "<img src=x onerror='window.hit=1'>"
    label, names, parents, positions, joints = person(bad)
    names = [bad if name == "Spine" else name for name in names]
    people = [(label, names, parents, positions, joints), person("<script>window.hit=1</script>")]
    page = open_page(people, title=bad)
    page.press("o")
    page.press("b")
    page.drawn()
    assert page.js("window.hit") is None and page.js("document.images.length") == 0
    assert bad in page.js("$('files').textContent")


def test_a_dark_preference_is_heeded(open_page):
    page = open_page()
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.js(paper), page.picture()
    scheme = [dict(name="prefers-color-scheme", value="dark")]
    page.ask("Emulation.setEmulatedMedia", features=scheme)
    page.drawn()
    assert page.js(paper) != light[0] and page.picture() != light[1]


UNPLAYABLE = {
    "refused": "HTMLMediaElement.prototype.play = () => "
    "Promise.reject(new DOMException('no device', 'NotSupportedError'))",
    "an error": "HTMLMediaElement.prototype.play = function () { setTimeout(() => "
    "this.dispatchEvent(new Event('error'))); return new Promise(() => {}); }",
    "stands still": "let on = false; HTMLMediaElement.prototype.pause = () => { on = false; };"
    "HTMLMediaElement.prototype.play = () => { on = true; return Promise.resolve(); };"
    "Object.defineProperty(HTMLMediaElement.prototype, 'paused', { get: () => !on })",
}


@pytest.mark.parametrize("kind", UNPLAYABLE)
def test_where_no_sound_can_be_heard_the_first_play_plays(open_page, kind):
    page = open_page(before=UNPLAYABLE[kind])
    page.js("document.getElementById('play').click()")
    page.wait("player.playing() && player.time() > 0.3")
    assert page.js("$('silent').textContent") == "no sound here"


def test_overlaid_bodies_stand_in_one_place(open_page):
    page = open_page([person("truth"), person("model", facing=1.0)])
    apart = "bodies[0].point(bodies[0].root)[0] - bodies[1].point(bodies[1].root)[0]"
    page.seek(1.0)
    assert abs(page.js(apart)) > 0.5
    page.press("o")
    page.drawn()
    assert abs(page.js(apart)) < 0.01


def test_the_bvh_can_be_downloaded(open_page):
    page = open_page()
    page.js("""window.links = []; HTMLAnchorElement.prototype.click = function () {
        links.push([this.download, this.href]); }""")
    page.press("b")
    page.wait("links.length")
    assert page.js("links[0][0]") == "speech.bvh"
    text = page.js("fetch(links[0][1]).then(answer => answer.text())")
    _, names, parents, positions, _ = person()
    assert text == bvh_text(motion_of(names, parents, positions))


def test_every_key_does_its_own(open_page):
    page = open_page([person("truth"), person("model")])
    seen = {}
    for key, what in [
        ("1", "camera.yaw"),
        ("2", "camera.yaw"),
        ("a", "camera.yaw"),
        ("+", "camera.zoom"),
        ("p", "isOn('paths')"),
        ("m", "clock.muted"),
        ("ArrowDown", "clock.volume"),
        (".", "clock.playbackRate"),
        ("End", "player.frame()"),
        ("?", "$('help').open"),
    ]:
        page.press(key)
        seen[key] = page.js(what)
    assert seen["1"] == 0 and seen["2"] == pytest.approx(np.pi / 2) and seen["a"] > seen["2"]
    assert seen["+"] == pytest.approx(0.9) and seen["p"] and seen["m"] and seen["?"]
    assert seen["ArrowDown"] == pytest.approx(0.9) and seen["."] == 1.5 and seen["End"] == 59


def test_the_page_shows_in_a_notebook_cell(open_page, tmp_path):
    label, names, parents, positions, _ = person()
    title, motions = 'a "quoted" & <b>bold</b> title', {label: motion_of(names, parents, positions)}
    cell = player.PageInNotebook(title, motions, HUM, {label: [1.0]}, height=500)
    path = tmp_path / "notebook.html"
    path.write_text(
        "<!DOCTYPE html><meta charset=utf-8><title>a notebook</title><link rel=icon href='data:,'>"
        f"<p>Out[1]:<div>{cell._repr_html_()}</div>"
    )
    page = Page(open_page.browser, path.as_uri())
    page.wait("document.querySelector('iframe').contentWindow.player")
    inside = "document.querySelector('iframe').contentWindow"
    assert page.js(f"{inside}.document.querySelector('h1').textContent") == title
    assert page.js("document.querySelector('iframe').getBoundingClientRect().height") == 500
    page.js(f"{inside}.player.seek(1.0)")
    assert page.js(f"{inside}.player.frame()") == 20
    page.js(f"{inside}.player.play()")
    page.wait(f"{inside}.player.playing() && {inside}.player.time() > 1.2")
    assert page.complaints() == []


@pytest.mark.parametrize(
    "names",
    [
        ["Root", "A", "B", ""],
        ["b_root", "b_l_upleg", "Head", ""],
        ["Hips", "LeftUpLeg", "RightUpLeg", ""],
    ],
)
def test_an_unknown_skeleton_is_drawn_as_plain_bones(open_page, names):
    positions = np.tile(
        np.array([[0, 0.9, 0], [0.2, 0.5, 0], [-0.2, 1.3, 0], [-0.2, 1.6, 0]], dtype=float),
        (40, 1, 1),
    )
    positions[:, 3, 0] += np.linspace(0, 0.2, 40)
    page = open_page([("odd", names, [-1, 0, 0, 2], positions, 3)])
    page.seek(0.0)
    first = page.picture()
    page.seek(1.5)
    assert page.picture() != first


def measure():
    """python tests/test_player.py: how long a picture of four bodies of 75 joints takes here."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path, browser = Path(folder) / "four.html", Browser(folder)
        try:
            write_page(path, "four", [person(label, fingers=5) for label in "abcd"], HUM, [1.0])
            page = Page(browser, path.as_uri())
            size = dict(width=1280, height=800, deviceScaleFactor=1, mobile=False)
            page.ask("Emulation.setDeviceMetricsOverride", **size)
            page.drawn()
            # Reading a pixel back makes the browser finish painting, else only orders are timed.
            # The best of 20: on a busy machine the others are about other programs.
            script, painted = page.js("""(() => {
                const gl = figure.getContext('webgl2'), pixel = new Uint8Array(4);
                const scripts = [], whole = [];
                for (let n = 0; n < 20; n++) {
                    const start = performance.now();
                    paintFigures(n / 30);
                    paintWave(n / 30);
                    scripts.push(performance.now() - start);
                    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
                    whole.push(performance.now() - start); }
                return [Math.min(...scripts), Math.min(...whole)]; })()""")
            print(f"{script:.1f} ms of script a picture, {painted:.1f} ms with the painting")
        finally:
            browser.close()


if __name__ == "__main__":
    measure()
