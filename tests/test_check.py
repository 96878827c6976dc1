"""What a look at a folder of recordings finds before training, and one take as a picture."""

import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from conftest import ROOT
from three_corpora import body, write_take

from body.bvh import read_bvh, write_bvh
from body.motion import resample
from body.rotations import euler_to_matrix, exp_to_matrix, turn_about_y
from data import Corpus
from lab import plot
from lab.check import CLIPPED_SHARE, check, clipped_share, find_jumps, odd_lags
from lab.lag import chance, evidence, lag_of, verdict, without_trend
from lab.plot import find_take, plot_take
from recordings.pairs import CorpusError, load_take, match_files
from recordings.puppet import speaker, write_corpus
from recordings.puppet_body import gesture
from recordings.puppet_voice import script, speak
from recordings.remarks import odd_body, other_rate
from tools import InputError
from wavlm_loader import SpeechFeatures


def command(module, *arguments):
    """Run `python -m module` as a user does -> CompletedProcess with text output."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "MPLBACKEND": "Agg"},
    )


def assert_one_error_line(done, *words):
    """Status 2, and the last line of standard error is all that is said of it."""
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and last.startswith("error: "), done.stderr
    assert "Traceback" not in done.stderr and all(word in last for word in words), last


def line_about(lines, file, word):
    """The line of a report about a file in which a word stands -> does it stop training?"""
    found = [line for line in lines if f"{file}: " in line and word in line]
    assert found, (file, word, lines)
    return found[0].split()[0] == "!"


# ---- does the motion follow the sound? -----------------------------------------------------------
def minute_of_sound(number, mood, seed):
    """(who, phrases, sound [samples], rng) of a minute of the puppet."""
    who, rng = speaker(number), np.random.default_rng(seed)
    phrases = script(who, mood, 60.0, rng)
    sound = torch.from_numpy(np.asarray(speak(who, phrases, 60.0, rng), np.float32))
    return who, phrases, sound, rng


@pytest.fixture(scope="module")
def talking():
    """A minute of the puppet: (motion, sound [samples])."""
    who, phrases, sound, rng = minute_of_sound(2, "lively", 3)
    return gesture(who, "lively", phrases, 60.0, rng)[0], sound


@pytest.mark.parametrize("shift", [0, 0.4, 1.0, -2.5, 7.0])
def test_motion_that_comes_late_by_a_known_time_is_found(talking, shift):
    motion, sound = talking
    what, late = verdict(evidence(motion, torch.roll(sound, -int(shift * 16_000))))
    assert late == pytest.approx(shift, abs=0.11)
    assert what == ("in step" if abs(shift) < 0.5 else "shifted")


def test_another_sound_a_still_body_and_a_short_take_tell_nothing(talking):
    motion, sound = talking
    other = minute_of_sound(3, "calm", 4)[2]
    assert verdict(evidence(motion, other)) == ("cannot tell", None)
    R, p = (x[:1].repeat(600, 0) for x in (motion.rotations, motion.positions))
    assert evidence(replace(motion, rotations=R, positions=p), sound) is None
    assert evidence(motion, sound[: 4 * 16_000]) is None
    assert verdict(None) == ("cannot tell", None)


def test_chance_is_the_variance_of_products_of_unrelated_signals():
    """Of 400 pairs of signals that remember themselves for 0.5 s; white noise would give 1."""
    rng = np.random.default_rng(0)
    kernel = 0.9 ** np.arange(60)
    noise = rng.standard_normal((400, 2, 1200))
    pairs = [[np.convolve(x, kernel)[:1200] for x in pair] for pair in noise]
    pairs = [[(x - x.mean()) / x.std() for x in pair] for pair in pairs]
    measured = np.var([a @ b for a, b in pairs]) / 1200
    assert measured > 5, "slow signals are alike by chance"
    assert np.mean([chance(a, b) for a, b in pairs]) == pytest.approx(measured, rel=0.2)


def test_what_changes_slowly_is_taken_out():
    t = np.arange(1200) / 20
    fast = np.sin(2 * np.pi * t / 0.8)
    left = without_trend(5 * np.sin(2 * np.pi * t / 20) + t + fast)
    assert np.corrcoef(left[40:-40], fast[40:-40])[0, 1] > 0.95
    assert left.std() == pytest.approx(1) and not without_trend(np.ones(200)).any()


def parts_of_a_talk(motion, sound, length, count, late=0.0):
    """{name: Evidence} of `count` parts of `length` s, with the motion later by `late` s."""
    parts = {}
    for n in range(count):
        a, b = round(n * length * 30), round((n + 1) * length * 30)
        part = replace(motion, rotations=motion.rotations[a:b], positions=motion.positions[a:b])
        heard = torch.roll(sound, -int(late * 16_000))[int(a / 30 * 16_000) :]
        parts[f"part{n}"] = evidence(part, heard[: int(length * 16_000)])
    return parts


def test_takes_that_are_too_short_to_tell_tell_it_together(talking):
    for late, expected in ((0.0, "but together they follow it"), (1.0, "1.0 s after the sound")):
        parts = parts_of_a_talk(*talking, 6.0, 10, late)
        several = [
            found for found in parts.values() if lag_of(found)[0][1] < 3.5 > lag_of(found)[1][1]
        ]
        said, odd = odd_lags({str(n): found for n, found in enumerate(several)})
        assert len(several) > 3 and not odd
        assert said.startswith(f"of {len(several)} nothing can be told") and expected in said
    assert odd_lags({"a": None})[0].startswith("of 1 nothing can be told")


def test_a_take_is_named_where_it_alone_does_not_follow_its_sound(talking):
    motion, sound = talking
    good = evidence(motion, sound)
    wrong = evidence(motion, minute_of_sound(3, "calm", 4)[2])
    late = evidence(motion, torch.roll(sound, -16_000))
    said, odd = odd_lags({"a": good, "b": good, "c": good, "wrong": wrong, "late": late})
    assert said.startswith("3 takes follow their sound; 1 seem shifted; of 1 nothing can be told")
    assert {name: what[:14] for name, what, _ in odd} == {
        "wrong": "no sign that t",
        "late": "the motion see",
    }
    assert "1.0 s after the sound" in dict((name, what) for name, what, _ in odd)["late"]
    assert not odd_lags({"a": good, "wrong": wrong})[1], "two takes make no rule"


PEOPLE = ROOT.parent / "shared" / "data" / "people"


@pytest.mark.skipif(not PEOPLE.is_dir(), reason="needs recordings of people")
@pytest.mark.parametrize(
    "take, natural", [("zeggs/067_Speech_2_x_1_0", -0.15), ("beat/2_scott_0_1_1", 0.45)]
)
def test_people_are_in_step_as_recorded_and_late_if_delayed(take, natural):
    motion, sound = load_take(PEOPLE / f"{take}.bvh", PEOPLE / f"{take}.wav")
    for shift in (0, 1, -1, 3, -3):
        cut = max(0, -round(shift / motion.frame_time))
        late = replace(motion, rotations=motion.rotations[cut:], positions=motion.positions[cut:])
        what, by = verdict(evidence(late, sound[max(0, shift) * 16_000 :]))
        assert by == pytest.approx(natural + shift, abs=0.11)
        assert what == ("in step" if abs(natural + shift) < 0.6 else "shifted")


# ---- jumps and clipping --------------------------------------------------------------------------
def test_jumps_are_what_no_human_does():
    motion = body("beat", 2)
    assert len(find_jumps(motion)) == 0
    motion.rotations[100:, 5] = motion.rotations[100:, 5] @ exp_to_matrix([0, 0, 1.0])
    motion.positions[150:, 0, 2] += 30
    assert find_jumps(motion).tolist() == pytest.approx([100 / 120, 150 / 120], rel=1e-3)


@pytest.mark.parametrize("fps", [60, 30, 25, 15, 12, 8, 6])
def test_a_body_that_flips_between_two_frames_jumps_at_any_rate(fps):
    """3000 degrees a second are more than any turn can be, at 16.7 frames a second and below."""
    motion = replace(resample(body("beat", 3), fps), frame_time=1 / fps)
    assert len(find_jumps(motion)) == 0
    motion.rotations[10:] = turn_about_y(np.radians(170)) @ motion.rotations[10:]
    assert find_jumps(motion).tolist() == pytest.approx([10 / fps])


@pytest.mark.parametrize(
    "gain, volume, share",
    [(0.99, 1, 0), (1.2, 1, 0.37), (1.2, 0.4, 0.37)],  # 2 acos(1 / 1.2) / pi of the time
    ids=["clean", "clipped", "turned down later"],
)
def test_clipping_is_a_flat_top(tmp_path, gain, volume, share):
    t = np.arange(48_000) / 48_000
    wave = np.clip(gain * np.sin(2 * np.pi * 90 * t), -1, 1) * volume
    soundfile.write(tmp_path / "a.wav", wave, 48_000)
    expected = pytest.approx(share, abs=0.01 if share else 0)
    assert clipped_share(tmp_path / "a.wav") == expected


def test_a_channel_without_sound_is_not_clipped_and_each_channel_is_looked_at(tmp_path):
    tone = 0.3 * np.sin(np.arange(16_000) / 10)
    for other, clipped in ((0 * tone, False), (np.clip(10 * tone, -1, 1), True)):
        soundfile.write(tmp_path / "a.wav", np.stack([tone, other], axis=1), 16_000)
        assert (clipped_share(tmp_path / "a.wav") > CLIPPED_SHARE) == clipped


# ---- the report ----------------------------------------------------------------------------------
def damaged_corpus(folder):
    """Three good takes, and one of each kind of damage."""
    for n in range(3):
        write_take(folder, f"good{n}", "beat", seed=n, size=1 - 0.02 * n)
    write_take(folder, "other", "trinity")
    for stem in ("nan", "jumps", "clipped", "silent", "long", "lonely"):
        write_take(folder, stem, "beat")
    (folder / "lonely.wav").unlink()
    rows = (folder / "nan.bvh").read_text().split("\n")
    rows[-9] = rows[-9].rpartition(" ")[0] + " nan"
    (folder / "nan.bvh").write_text("\n".join(rows))
    jumping = body("beat")
    jumping.rotations[100:] = turn_about_y(2.0) @ jumping.rotations[100:]
    write_bvh(folder / "jumps.bvh", jumping)
    wave = soundfile.read(folder / "clipped.wav")[0]
    soundfile.write(folder / "clipped.wav", np.clip(6 * wave, -1, 1), 16_000)
    soundfile.write(folder / "silent.wav", np.zeros(64_000), 16_000)
    soundfile.write(folder / "long.wav", np.tile(wave, 2), 16_000)


def test_check_finds_what_is_wrong_and_says_what_training_would_use(tmp_path):
    damaged_corpus(tmp_path / "my data")
    done = command("lab.check", tmp_path / "my data")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for file, word, stops in [
        ("other.bvh", "another skeleton", True),
        ("nan.bvh", "NaN", True),
        ("jumps.bvh", "jumps", False),
        ("clipped.bvh", "clipped", False),
        ("silent.bvh", "silent", True),
        ("long.bvh", "8.0 s", True),
        ("lonely.bvh", "no partner", True),
    ]:
        assert line_about(lines, file, word) == stops, file
    named = [line.partition(".bvh: ")[0] for line in lines if ".bvh: " in line]
    assert not any("good" in name for name in named), "good takes get no line"
    assert "9, of which 5 can be used" in done.stdout
    assert "5 takes at 120 frames a second, 1 takes at 60 frames a second" in done.stdout
    parts = [line.split() for line in lines if line.split()[:1] in (["train"], ["valid"], ["test"])]
    assert sum(int(words[1]) for words in parts) == 5
    assert "75 joints from Hips: 5 takes\n" in done.stdout
    assert "23 joints from Hips: 1 takes (other.bvh)" in done.stdout
    assert "RightHand: strokes" in done.stdout and "yes, across the x axis" in done.stdout


def test_check_asks_the_training_takes_for_the_skeleton_as_training_does(tmp_path, capsys):
    write_take(tmp_path, "mine", "trinity")
    for n in range(3):
        write_take(tmp_path / "test", f"theirs {n}", "zeggs")
    check(tmp_path)
    said = capsys.readouterr().out
    assert "4, of which 1 can be used" in said and "mine.bvh: another skeleton" not in said


def test_check_holds_the_takes_that_are_trained_on_against_each_other(tmp_path, capsys):
    """What is held out is compared with nothing by training, so it does not stop it."""
    for n in range(3):
        write_take(tmp_path / "train", f"b{n}", "trinity", seed=n)
    write_take(tmp_path / "test", "a metres", "trinity", size=0.01)
    write_take(tmp_path / "test", "a other", "zeggs")
    check(tmp_path)
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert not any(line.split()[:1] == ["!"] for line in lines), said
    assert "5, of which 4 can be used" in said
    assert "train                 3 takes" in said and "test                  1 takes" in said
    assert not line_about(lines, "a metres.bvh", "the body is 0.01 times")
    assert not line_about(lines, "a other.bvh", "another skeleton")


def test_check_sees_bodies_that_lie_stand_still_or_are_of_another_size(tmp_path, capsys):
    for stem, size in (("good", 1.0), ("metres", 0.01), ("lies", 1.0), ("still", 1.0)):
        write_take(tmp_path, stem, "trinity", size=size)
    lying, still = read_bvh(tmp_path / "lies.bvh"), read_bvh(tmp_path / "still.bvh")
    turn = euler_to_matrix(np.array([np.pi / 2]), "X")  # y becomes z
    lying.rotations[:, 0] = turn @ lying.rotations[:, 0]
    lying.positions[:, 0] = lying.positions[:, 0] @ turn.T
    write_bvh(tmp_path / "lies.bvh", lying)
    still.rotations[:] = still.rotations[0]
    write_bvh(tmp_path / "still.bvh", still)
    check(tmp_path)
    said = capsys.readouterr().out.splitlines()
    assert line_about(said, "metres.bvh", "0.01 times as large")
    assert not line_about(said, "lies.bvh", "the body lies")
    assert not line_about(said, "still.bvh", "nothing moves")
    assert not any("good.bvh: " in line for line in said)
    # and training says the same
    pairs, _ = match_files(tmp_path)
    with pytest.raises(CorpusError, match="metres.bvh: the body is 0.01 times"):
        Corpus(pairs, SpeechFeatures("mel"), scratch=tmp_path)
    point = replace(lying, offsets=0 * lying.offsets, positions=0 * lying.positions, end_sites=[])
    write_bvh(tmp_path / "good.bvh", point)
    with pytest.raises(CorpusError, match="good.bvh: all joints stand in one place"):
        Corpus(pairs[:1], SpeechFeatures("mel"), scratch=tmp_path)


@pytest.mark.parametrize(
    "axis, degrees, words",
    [
        ("X", 90, "lies (its head is towards z"),
        ("X", -90, "lies (its head is towards -z"),
        ("Z", 90, "lies (its head is towards -x"),
        ("Z", -90, "lies (its head is towards x"),
        ("X", 180, "upside down"),
        ("X", 40, None),  # leaning forward
        ("Y", 170, None),
    ],
)
def test_a_body_that_does_not_stand_is_said_to_lie_along_an_axis(axis, degrees, words):
    motion = body("zeggs", 2)
    turn = euler_to_matrix(np.radians([degrees]), axis)
    motion.rotations[:, 0] = turn @ motion.rotations[:, 0]
    motion.positions[:, 0] = motion.positions[:, 0] @ turn.T
    said = odd_body(motion)
    assert (words in said[0]) if words else not said, said


def test_training_says_what_check_says_and_says_it_once(tmp_path, capsys):
    for n in range(3):
        write_take(tmp_path, f"lies{n}", "trinity", seed=n)
        path = tmp_path / f"lies{n}.bvh"
        lying = read_bvh(path)
        turn = euler_to_matrix(np.array([np.pi / 2]), "X")
        lying.rotations[:, 0] = turn @ lying.rotations[:, 0]
        write_bvh(path, lying)
    write_take(tmp_path, "stands", "trinity")
    wave, rate = soundfile.read(tmp_path / "stands.wav")
    soundfile.write(tmp_path / "stands.wav", wave[: int(3.1 * rate)], rate)
    check(tmp_path)
    said = capsys.readouterr().out.splitlines()
    for n in range(3):
        assert not line_about(said, f"lies{n}.bvh", "the body lies (its head is towards z")
    assert not line_about(said, "stands.bvh", "the sound 3.1 s; the rest is not used")
    Corpus(match_files(tmp_path)[0], SpeechFeatures("mel"), scratch=tmp_path)
    lines = [line for line in capsys.readouterr().err.splitlines() if ".bvh: " in line]
    assert len(lines) == 2, lines
    assert "lies0.bvh: the body lies" in lines[0] and "2 more takes" in lines[0]
    assert "stands.bvh: the motion lasts" in lines[1] and "more takes" not in lines[1]


@pytest.mark.parametrize(
    "says, words",
    [
        (1 / 24, "wrong by 5 = 120/24: at 120 frames a second instead of 24"),
        (5 / 30, "wrong by 5 = 120/24: at 30 frames a second instead of 6"),  # 30 fps, times 5
        (1 / 60, "wrong by 2 = 120/60: at 120"),
    ],
)
def test_a_frame_time_of_another_rate_is_named(tmp_path, says, words):
    """480 frames, which go with 4 s of sound at 120 frames a second and 16 s at 30."""
    write_take(tmp_path, "a", "beat")
    motion = replace(read_bvh(tmp_path / "a.bvh"), frame_time=says)
    write_bvh(tmp_path / "a.bvh", motion)
    if says == 5 / 30:
        wave = soundfile.read(tmp_path / "a.wav")[0]
        soundfile.write(tmp_path / "a.wav", np.tile(wave, 4), 16_000)
    for fps in (None, 20):  # as check and as training read it
        with pytest.raises(CorpusError, match=f"{words}.* or else cut them"):
            load_take(tmp_path / "a.bvh", tmp_path / "a.wav", fps)


def test_lengths_that_no_usual_rate_makes_equal_are_not_put_down_to_it():
    assert not other_rate(10.0, 14.0, 30)
    assert not other_rate(61.0, 60.0, 30) and not other_rate(60.06, 60.0, 30)


def test_check_tells_of_short_takes_and_of_a_root_that_stays_behind(tmp_path, capsys):
    write_corpus(tmp_path, train=4, valid=0, test=1, seconds=6.0, seed=1)
    check(tmp_path)
    said = capsys.readouterr().out
    short = "4 takes, 0.4 minutes; 4 of them shorter than train.py's usual window of 8 s"
    assert short in said and "stays behind" not in said
    world = "ROOT world\n{\nOFFSET 0 0 0\nCHANNELS 3 Zrotation Xrotation Yrotation\nJOINT Hips"
    for bvh in tmp_path.rglob("*.bvh"):
        head, _, rows = bvh.read_text().partition("MOTION\n")
        first, second, *frames = rows.splitlines()
        frames = "".join(f"0 0 0 {row}\n" for row in frames)
        head = head.replace("ROOT Hips", world)
        bvh.write_text(f"{head}}}\nMOTION\n{first}\n{second}\n{frames}")
    check(tmp_path)
    assert "world stays behind where Hips goes" in capsys.readouterr().out


def test_check_and_plot_say_where_no_hand_is_found(tmp_path):
    for stem in ("a", "b"):
        write_take(tmp_path, stem, "trinity")
        path = tmp_path / f"{stem}.bvh"
        path.write_text(path.read_text().replace("Hand", "Paw"))
    done = command("lab.check", tmp_path)
    found = re.search("hands +no: no left hand among the joints", done.stdout)
    assert done.returncode == 0 and found, done.stdout + done.stderr
    done = command("lab.plot", tmp_path, "a", "--out", tmp_path / "made")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "made" / "a.png").stat().st_size > 10_000, "drawn without its strokes"


def test_check_of_nothing_usable_is_one_error_line(tmp_path):
    write_take(tmp_path, "a", "trinity")
    (tmp_path / "a.bvh").write_text("HIERARCHY\nnothing\nMOTION\n")
    assert_one_error_line(command("lab.check", tmp_path), "nothing usable is left")
    with pytest.raises(CorpusError, match="nowhere: no such folder"):
        check(tmp_path / "nowhere")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_not_utf8_gets_one_line(tmp_path):
    write_take(tmp_path, "good", "trinity")
    for ending in (b".bvh", b".wav"):
        os.rename(
            os.fsencode(tmp_path / "good") + ending, os.fsencode(tmp_path) + b"/caf\xe9" + ending
        )
    assert_one_error_line(command("lab.check", tmp_path), "not UTF-8")


def test_a_reader_that_stops_listening_is_no_error(tmp_path):
    write_take(tmp_path, "a", "trinity")
    check = subprocess.Popen(
        [sys.executable, "-m", "lab.check", str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    check.stdout.close()  # before the first line comes
    said = check.stderr.read()
    check.stderr.close()
    assert check.wait() == 0 and "error" not in said.lower(), said


# ---- one take as a picture -----------------------------------------------------------------------
@pytest.mark.parametrize("out, path", [("o", "o/my take.png"), ("q/one.png", "q/one.png")])
def test_a_take_is_drawn_to_a_folder_or_to_a_name(tmp_path, monkeypatch, out, path):
    write_take(tmp_path / "c", "my take", "zeggs")
    arguments = [tmp_path / "c", "my take", "--out", tmp_path / out]
    monkeypatch.setattr(sys, "argv", ["lab.plot", *map(str, arguments)])
    plot.main()
    assert (tmp_path / path).read_bytes()[:4] == b"\x89PNG"


def test_a_take_is_found_by_its_name_or_its_path_and_else_one_line_says_which_there_are(tmp_path):
    write_take(tmp_path, "my take", "zeggs")
    write_take(tmp_path / "ben", "my take", "zeggs")
    assert find_take(tmp_path, "ben/my take")[0] == tmp_path / "ben" / "my take.bvh"
    with pytest.raises(CorpusError, match="2 pairs named 'my take'; name one as in"):
        find_take(tmp_path, "my take")
    done = command("lab.plot", tmp_path, "your take", "--out", tmp_path / "p")
    assert_one_error_line(done, "no pair named 'your take'")
    assert done.stderr.count("\n") == 1 and not (tmp_path / "p").exists()


def test_a_take_that_ends_before_start_or_never_moves_is_not_drawn(tmp_path):
    write_take(tmp_path, "a", "zeggs")
    pair = find_take(tmp_path, "a")
    with pytest.raises(CorpusError, match="lasts 4.0 s; give a smaller --start"):
        plot_take(tmp_path / "a.png", *pair, start=9)
    still = read_bvh(pair[0])
    still.rotations[:], still.positions[:] = still.rotations[0], still.positions[0]
    write_bvh(pair[0], still)
    with pytest.raises(CorpusError, match="nothing moves in this file"):
        plot_take(tmp_path / "a.png", *pair)
    assert not (tmp_path / "a.png").exists()


def test_a_row_that_training_does_not_read_is_odd_and_no_reason_to_stop(tmp_path, capsys):
    """At 40 frames a second every second row is read by a training at 20."""
    for name in ("a", "b"):
        write_take(tmp_path, name, "trinity", 3.0)
        motion = read_bvh(tmp_path / f"{name}.bvh", 40)
        write_bvh(tmp_path / f"{name}.bvh", motion)
    head, _, rows = (tmp_path / "a.bvh").read_text().partition("Frame Time")
    rows = rows.splitlines()

    def spoil(row):
        spoilt = [line if n != row else f"1e300 {line.split(' ', 1)[1]}" for n, line in
                  enumerate(rows, -1)]  # fmt: skip
        (tmp_path / "a.bvh").write_text(head + "Frame Time" + "\n".join(spoilt) + "\n")

    def verdict():
        check(tmp_path)
        return line_about(capsys.readouterr().out.splitlines(), "a.bvh", "1e+300")

    for row, stops in ((7, False), (8, True)):
        spoil(row)
        assert verdict() == stops
        if stops:
            with pytest.raises(InputError, match="frame 8 holds 1e"):
                load_take(tmp_path / "a.bvh", tmp_path / "a.wav", 20)
        else:
            load_take(tmp_path / "a.bvh", tmp_path / "a.wav", 20)
