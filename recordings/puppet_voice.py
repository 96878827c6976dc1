"""The puppet's speech: what is said and when (`script`), and how it sounds (`speak`).

Reading order
    script                   phrases, syllables, stresses: numbers only
    speak                    the waveform, from the parts below it
    vowel_responses          what the mouth makes of one pulse of air
    add_vowel, add_consonant one syllable
    room, microphone         how it is recorded

`who` is a recordings.puppet.Speaker. Random numbers are drawn in a fixed order: the same generator
gives the same speech, and to reorder the draws would change every corpus.
"""

import numpy as np

from recordings.audio import SAMPLE_RATE

# Hz: the first three formants of each vowel. All but the first (an open vowel of our own) are those
# of the men of Peterson and Barney 1952 in head, hid, hawed, hood, hud.
# fmt: off
VOWELS = [
    (700, 1220, 2600), (530, 1840, 2480), (390, 1990, 2550),
    (570,  840, 2410), (440, 1020, 2240), (640, 1190, 2390),
]
# fmt: on
PULSE = int(0.025 * SAMPLE_RATE)  # samples until a pulse of the glottis has died away: 25 ms
ECHO = int(0.4 * SAMPLE_RATE)  # samples until the room has died away


# ------------------------------------------------------------------------------------------------
# What is said, and when
# ------------------------------------------------------------------------------------------------
def script(who, mood, seconds, rng):
    """Phrases and pauses that fill `seconds`: a list of {start, end, hand, syllables}, in seconds.

    mood is "calm" or "lively"; `hand` is "left" or "right". For the syllables see `phrase`.
    """
    phrases, t = [], rng.uniform(0.6, 1.4)
    while True:
        length = rng.uniform(1.8, 4.5)
        if t + length > seconds - 0.8:
            if phrases or t > seconds - 1.4:
                return phrases
            length = seconds - 0.8 - t  # a short take still says something
        syllables, end = phrase(who, mood, t, length, rng)
        hand = ("left", "right")[int(rng.integers(2))]
        phrases.append(dict(start=t, end=end, hand=hand, syllables=syllables))
        short_pause = rng.random() < 0.55
        t = end + (rng.uniform(0.35, 0.9) if short_pause else rng.uniform(1.9, 3.0))


def phrase(who, mood, start, length, rng):
    """Syllables from `start` for at least `length` seconds -> (syllables, end of the last one).

    A syllable is {start, duration, peak, loudness, pitch, vowel, stressed}; at its peak the vowel
    is loudest. Stresses are at least 0.57 s apart: an arm needs that for preparation and stroke.
    Real speakers, too, make one or two strokes a second.
    """
    lively = mood == "lively"
    syllables, t, next_stress = [], start, start + rng.uniform(0.15, 0.5)
    while t < start + length:
        stressed = t >= next_stress
        tempo = who.tempo * (1.1 if lively else 0.95)
        duration = (1.25 if stressed else 0.95) / tempo * rng.uniform(0.85, 1.2)
        loudness = rng.uniform(0.55, 1.0) if stressed else rng.uniform(0.2, 0.38)
        along = (t - start) / length
        accent = rng.uniform(1.15, 1.3) if stressed else rng.uniform(0.95, 1.05)
        pitch = who.pitch * (1.12 - 0.25 * along) * accent
        syllable = dict(
            start=t,
            duration=duration,
            peak=t + 0.07,
            loudness=loudness * (1.15 if lively else 0.85),
            pitch=pitch * (1.08 if lively else 0.97),
            vowel=int(rng.integers(len(VOWELS))),
            stressed=stressed,
        )
        syllables.append(syllable)
        if stressed:
            next_stress = syllable["peak"] + rng.uniform(0.5, 1.25 if lively else 1.6)
        t += duration
    return syllables, t


# ------------------------------------------------------------------------------------------------
# How it sounds: a pulse of air, shaped by formants
# ------------------------------------------------------------------------------------------------
def speak(who, phrases, seconds, rng):
    """The waveform of the phrases [samples], float, at most 1: the source-filter model of speech.

    Each opening of the glottis is a pulse of air. A vowel is what the mouth makes of one pulse: a
    sum of damped sinusoids at the formants. Consonants are short noises. Room, noise, microphone
    and gain differ from take to take, so that a model cannot rely on any of them.
    """
    samples = int(round(seconds * SAMPLE_RATE))
    voice = np.zeros(samples + SAMPLE_RATE)  # a second of margin for what rings on
    responses = vowel_responses(who.tract)
    for syllable in [s for p in phrases for s in p["syllables"]]:
        add_vowel(voice, syllable, responses[syllable["vowel"]], rng)
        if rng.random() < 0.8:  # a consonant before most vowels
            add_consonant(voice, syllable, rng)
    size = 1 << (len(voice) + ECHO).bit_length()  # a power of 2, for a fast Fourier transform
    spectrum = np.fft.rfft(voice, size) * room(size, rng) * microphone(size, rng)
    speech = np.fft.irfft(spectrum, size)[:samples]
    loud = np.sqrt(np.mean(speech**2))
    tilt = np.fft.rfft(rng.standard_normal(size))
    tilt = tilt * np.maximum(frequencies(size), 40) ** rng.uniform(-0.8, -0.2)
    noise = np.fft.irfft(tilt, size)[:samples]
    noise *= loud * 10 ** (-rng.uniform(18, 45) / 20) / np.sqrt(np.mean(noise**2))  # 18 to 45 dB
    return (speech + noise) / np.abs(speech + noise).max() * 10 ** (-rng.uniform(1, 20) / 20)


def vowel_responses(tract):
    """What the mouth makes of one pulse, for each of VOWELS: a list of arrays [PULSE]."""
    t = np.arange(PULSE) / SAMPLE_RATE
    gains, widths = (1.0, 0.5, 0.2), (80, 110, 160)  # widths of the formants in Hz
    responses = [
        sum(
            gain * np.exp(-np.pi * width * t) * np.sin(2 * np.pi * formant / tract * t)
            for formant, gain, width in zip(vowel, gains, widths)
        )
        for vowel in VOWELS
    ]
    # The glottis closes softly: voiced sound loses 6 dB an octave above about 600 Hz.
    soft = 1 / (1 + 1j * frequencies(PULSE) / 600)
    return [np.fft.irfft(np.fft.rfft(response) * soft, PULSE) for response in responses]


def add_vowel(voice, syllable, response, rng):
    """Add a syllable's vowel to `voice` [samples]: one `response` [PULSE] for each pulse."""
    start, duration = syllable["start"], syllable["duration"]
    t = start + 0.03 + np.arange(0, duration - 0.03, 1 / SAMPLE_RATE)
    along = (t - t[0]) / (duration - 0.03)  # 0 .. 1
    # A pulse comes where the running phase of the (falling) pitch passes a whole number.
    phase = np.cumsum(syllable["pitch"] * (1.05 - 0.1 * along) / SAMPLE_RATE)
    pulses = np.flatnonzero(np.diff(np.floor(phase), prepend=0))
    rise = np.minimum(1, (t - t[0]) / (syllable["peak"] - t[0]))
    swell = syllable["loudness"] * rise * np.minimum(1, np.exp(-(t - syllable["peak"]) / 0.12))
    at = (t[pulses] * SAMPLE_RATE).astype(int)[:, None] + np.arange(PULSE)  # [pulses, PULSE]
    shimmer = rng.uniform(0.95, 1.05, (len(pulses), 1))
    shape = swell[pulses, None] * shimmer * response  # [pulses, PULSE]
    np.add.at(voice, at.ravel(), shape.ravel())


def add_consonant(voice, syllable, rng):
    """Add 30 to 60 ms of hiss to `voice` [samples] at the start of a syllable."""
    first, n = int(syllable["start"] * SAMPLE_RATE), int(rng.uniform(0.03, 0.06) * SAMPLE_RATE)
    hiss = np.diff(rng.standard_normal(n + 1)) * np.hanning(n)
    voice[first : first + n] += 0.1 * syllable["loudness"] * rng.uniform(0.3, 1) * hiss


def room(size, rng):
    """Spectrum [size / 2 + 1] of a room: the direct sound, and noise that decays after it."""
    decay = rng.uniform(0.03, 0.12)
    echo = rng.standard_normal(ECHO) * np.exp(-np.arange(ECHO) / SAMPLE_RATE / decay)
    echo *= rng.uniform(0.0, 0.4) / np.linalg.norm(echo)
    echo[0] += 1
    return np.fft.rfft(echo, size)


def microphone(size, rng):
    """Gain [size / 2 + 1] of a microphone: a tilt in dB an octave, and a wave over it."""
    octaves = np.log2(np.maximum(frequencies(size), 50) / 1000)
    tilt = rng.uniform(-2, 1) * octaves
    wave_height = rng.uniform(-2.5, 2.5)
    wave = np.sin(2 * np.pi * (octaves / rng.uniform(2, 5) + rng.random()))
    return 10 ** ((tilt + wave_height * wave) / 20)


def frequencies(size):
    """Hz of the lines of a real Fourier transform of `size` samples [size / 2 + 1]."""
    return np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
