"""The table of voices that the model never heard, and the voices of espeak-ng."""

import json

import numpy as np
import pytest
import soundfile
import torch
from conftest import assert_one_error_line, call
from test_audio import speechlike

from lab import unfamiliar, voices
from lab.metrics import energy_onsets
from recordings.audio import SAMPLE_RATE, load_audio

needs_espeak = pytest.mark.skipif(not unfamiliar.has_espeak(), reason="needs espeak-ng")


def row(**changed):
    """A recording of 30 s that meets every goal."""
    usual = dict(voice="x", synthetic=False, seconds=30.0, a_minute=25.0)
    onsets = dict(on_onsets=0.7, by_chance=0.4, lucky=0.0)
    return voices.Row(**usual | onsets | changed)


def goals(rows):
    """Of each goal: (rows that do it, rows that are asked)."""
    return [(good, asked) for _, good, asked, _ in voices.judged(rows)]


def test_goals_ask_the_rows_that_they_are_about():
    assert goals([row(), row(synthetic=True)]) == [(1, 1), (1, 1), (1, 1), (1, 1)]
    assert goals([row(seconds=9.0)]) == [(0, 0), (1, 1), (0, 0), (0, 0)]
    assert goals([row(seconds=27.0)]) == [(0, 0), (1, 1), (1, 1), (0, 0)]


def test_goals_see_what_misses_them():
    assert goals([row(a_minute=19.9), row()])[1] == (1, 2)
    assert goals([row(a_minute=19.9, synthetic=True)])[0] == (0, 1)
    assert goals([row(on_onsets=0.3)])[2] == (0, 1)
    assert goals([row(lucky=0.05)])[3] == (0, 1)
    nothing = row(a_minute=0.0, on_onsets=np.nan, by_chance=np.nan, lucky=np.nan)
    assert goals([nothing]) == [(0, 0), (0, 1), (0, 1), (0, 1)]


def test_a_folder_stands_for_all_sound_in_it(tmp_path):
    names = ("b.wav", "a.flac", "in it/c.ogg", "notes.txt")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = voices.sound_files([tmp_path, tmp_path / "b.wav"])
    assert [path.name for path in found.values()] == ["a.flac", "b.wav", "c.ogg"]
    assert list(found) == [str(path) for path in found.values()]


def test_the_table_without_espeak_says_why(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(voices, "has_espeak", lambda: False)
    soundfile.write(tmp_path / "talk.wav", speechlike(3), SAMPLE_RATE)
    common = ["--checkpoint", tiny_run / "last.pt", "--seeds", 1, "--json", tmp_path / "rows.json"]
    done = call(voices, tmp_path / "talk.wav", *common)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sum("not run: install espeak-ng" in line for line in lines) == len(unfamiliar.LANGUAGES)
    assert any("talk.wav" in line for line in lines)
    assert "nothing to judge" in lines[-1]
    (written,) = json.loads((tmp_path / "rows.json").read_text())
    assert written["seconds"] == pytest.approx(3, abs=0.1) and not written["synthetic"]


@pytest.mark.parametrize("arguments", [["nowhere"], ["--seeds", "0"], ["--guidance", "nan"]])
def test_what_cannot_be_measured_gets_one_line(arguments, tmp_path):
    assert_one_error_line(call(voices, *arguments), arguments[-1])


@needs_espeak
def test_espeak_reads_ten_languages_by_two_voices(tmp_path):
    read = voices.synthetic_voices(tmp_path)
    assert len(read) == 20 and len(unfamiliar.ARTICLE) == 10
    waveforms = {name: load_audio(path) for name, path in read.items()}
    for name, waveform in waveforms.items():
        seconds = len(waveform) / SAMPLE_RATE
        assert 20 < seconds < 60, name
        assert len(energy_onsets(waveform)) > seconds, name  # it speaks all the time
    assert len({len(w) for w in waveforms.values()}) > 10  # no language falls back to another
    female, male = (waveforms[f"German, {sex}"] for sex in ("female", "male"))
    assert typical_pitch(female) > 1.4 * typical_pitch(male)


def typical_pitch(waveform):
    """Hz: the lag at which 40 ms pieces of the waveform are most like themselves, the median."""
    pieces = waveform[: len(waveform) // 640 * 640].reshape(-1, 640)
    pieces = pieces[pieces.square().mean(dim=1) > waveform.square().mean()]
    spectrum = torch.fft.rfft(pieces - pieces.mean(dim=1, keepdim=True), 2048)
    likeness = torch.fft.irfft(spectrum.abs().square())[:, 40:230]  # 400 to 70 Hz
    return SAMPLE_RATE / (40 + likeness.argmax(dim=1).double().median().item())
