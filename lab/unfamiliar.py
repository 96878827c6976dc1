"""Unfamiliar sound: what lab.experiments does to the speech of the test takes, and other voices.

Functions from a waveform [samples] to a waveform; and `read_aloud`, by which espeak-ng reads a
text in ten languages.
"""

import shutil
import subprocess

import numpy as np
import torch
import torchaudio.functional

from recordings.audio import SAMPLE_RATE


def noisy(waveform, decibels):
    """White noise that many dB below the speech."""
    noise = torch.randn(len(waveform), generator=torch.Generator().manual_seed(0))
    return waveform + noise * waveform.square().mean().sqrt() * 10 ** (-decibels / 20)


def telephone(waveform):
    """Only 300 to 3400 Hz, cut off sharply."""
    spectrum = torch.fft.rfft(waveform)
    hertz = torch.fft.rfftfreq(len(waveform), 1 / SAMPLE_RATE)
    return torch.fft.irfft(spectrum * ((hertz > 300) & (hertz < 3400)), len(waveform))


def pitched(waveform, semitones):
    """Higher or lower by that many semitones, as long as before."""
    return torchaudio.functional.pitch_shift(waveform, SAMPLE_RATE, semitones)


def faster(waveform, factor):
    """That many times as fast, at the same pitch: a phase vocoder, 512 samples a window."""
    window, hop = torch.hann_window(512), 128
    spectrum = torch.stft(waveform, 512, hop, window=window, return_complex=True)  # [257, columns]
    advance = torch.linspace(0, torch.pi * hop, 257)[:, None]
    stretched = torchaudio.functional.phase_vocoder(spectrum, factor, advance)
    length = round(len(waveform) / factor)
    return torch.istft(stretched, 512, hop, window=window, length=length)


def music(waveform):
    """As long as the waveform: chords of three decaying tones, two a second; nothing speaks."""
    random, t = np.random.default_rng(0), torch.arange(SAMPLE_RATE // 2) / SAMPLE_RATE

    def chord():
        semitones = random.choice([0, 2, 4, 5, 7, 9, 11, 12], 3, replace=False)
        tones = sum(torch.sin(2 * torch.pi * 220 * 2 ** (n / 12) * t) for n in semitones)
        return tones * torch.exp(-4 * t)

    chords = [chord() for _ in range(2 * len(waveform) // SAMPLE_RATE + 1)]
    return 0.2 * torch.cat(chords)[: len(waveform)]


UNFAMILIAR = {
    "as recorded": lambda w: w,
    "noise at 20 dB": lambda w: noisy(w, 20),
    "noise at 10 dB": lambda w: noisy(w, 10),
    "noise at 0 dB": lambda w: noisy(w, 0),
    "telephone band": telephone,
    "4 semitones higher": lambda w: pitched(w, 4),
    "4 semitones lower": lambda w: pitched(w, -4),
    "1.25 times as fast": lambda w: faster(w, 1.25),
    "0.8 times as fast": lambda w: faster(w, 0.8),
    "music": music,
    "silence": torch.zeros_like,
}
SPEED = {"1.25 times as fast": 1.25, "0.8 times as fast": 0.8}

# ------------------------------------------------------------------------------------------------
# Voices of espeak-ng
# ------------------------------------------------------------------------------------------------
LANGUAGES = {  # name: espeak-ng's voice
    "English": "en",
    "German": "de",
    "Spanish": "es",
    "French": "fr",
    "Russian": "ru",
    "Turkish": "tr",
    "Mandarin": "cmn",
    "Arabic": "ar",
    "Hindi": "hi",
    "Swahili": "sw",
}
SEXES = {"female": "f2", "male": "m3"}  # espeak-ng's variants of a voice
# Article 1 of the Universal Declaration of Human Rights
ARTICLE = {
    "en": "All human beings are born free and equal in dignity and rights. They are endowed with "
    "reason and conscience and should act towards one another in a spirit of brotherhood.",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft "
    "und Gewissen begabt und sollen einander im Geist der Brüderlichkeit begegnen.",
    "es": "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como "
    "están de razón y conciencia, deben comportarse fraternalmente los unos con los otros.",
    "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués "
    "de raison et de conscience et doivent agir les uns envers les autres dans un esprit de "
    "fraternité.",
    "ru": "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены "
    "разумом и совестью и должны поступать в отношении друг друга в духе братства.",
    "tr": "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Akıl ve vicdana "
    "sahiptirler ve birbirlerine karşı kardeşlik zihniyeti ile hareket etmelidirler.",
    "cmn": "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。",
    "ar": "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق. "
    "وقد وهبوا عقلا وضميرا وعليهم أن يعامل بعضهم بعضا بروح الإخاء.",
    "hi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है। "
    "उन्हें बुद्धि और अन्तरात्मा की देन प्राप्त है और परस्पर उन्हें भाईचारे के भाव से बर्ताव करना चाहिए।",
    "sw": "Watu wote wamezaliwa huru, hadhi na haki zao ni sawa. Wote wamejaliwa akili na dhamiri, "
    "hivyo yapasa watendeane kindugu.",
}
# Numbers are read out in every language
SPOKEN = (
    "4 8 15 16 23 42. 108. 3 1 4 1 5 9 2 6. 27 18 28. 77 12 90. 1 2 3 4 5 6 7. 365 24 60 60. "
    "99 50 1000. 8 9 10."
)


def has_espeak():
    """Is espeak-ng installed?"""
    return shutil.which("espeak-ng") is not None


def read_aloud(code, sex, path):
    """espeak-ng reads ARTICLE and SPOKEN in a language into the .wav `path`; some 35 s.

    code: a value of LANGUAGES; sex: a key of SEXES.
    """
    voice, text = f"{code}+{SEXES[sex]}", f"{ARTICLE[code]} {SPOKEN}"
    command = ["espeak-ng", "-v", voice, "-s", "150", "-w", str(path), text]
    subprocess.run(command, check=True)
