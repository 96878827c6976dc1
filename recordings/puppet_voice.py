"""The puppet's speech: what is said and when (`script`), and how it sounds (`speak`).

Reading order
    Voice, draw_voice        how stress is marked, the voice's source, the channel: of one take
    script, phrase           phrases, syllables, stresses: numbers only
    speak                    the waveform, from the parts below it
    vowel_responses          what the mouth makes of one pulse of air
    add_vowel, shares        one syllable's voiced part, and how the mouth moves in it
    add_consonant            its hiss
    room, microphone         how it is recorded

`who` is a recordings.puppet.Speaker. Random numbers are drawn in a fixed order: the same generator
gives the same speech, and to reorder the draws would change every corpus.
"""

from dataclasses import dataclass

import numpy as np

from recordings.audio import SAMPLE_RATE

# Hz: the first three formants of each vowel. All but the first (an open vowel of our own) are those
# of the men of Peterson and Barney 1952 in head, hid, hawed, hood, hud, heed, who'd, had, hod.
# fmt: off
VOWELS = [
    (700, 1220, 2600), (530, 1840, 2480), (390, 1990, 2550), (570,  840, 2410), (440, 1020, 2240),
    (640, 1190, 2390), (270, 2290, 3010), (300,  870, 2240), (660, 1720, 2410), (730, 1090, 2440),
]
# fmt: on
HIGHER = (3500, 4500)  # Hz: the fourth and fifth formants, of all vowels
SONORANT = (280, 1100, 2300)  # Hz: m, n, l are about like this; one for all of them
PULSE = int(0.025 * SAMPLE_RATE)  # samples until a pulse of the glottis has died away: 25 ms
ECHO = int(1.0 * SAMPLE_RATE)  # samples until the room has died away
LONGEST = 0.5  # s: no syllable lasts longer, but the last one of a question
STRESS = 0.775  # the loudness of an average stress, before the mood


# ------------------------------------------------------------------------------------------------
# The voice of a take
# ------------------------------------------------------------------------------------------------
@dataclass
class Voice:
    """How a speaker speaks in one take. The defaults: an ordinary voice, stress marked by all cues.

    Stress is marked by loudness, pitch and length; a voice relies on one of them, see draw_voice.
    """

    kind: str = "modal"  # "modal", "breathy", "creaky", or "whisper": no pitch
    contrast: float = 1.0  # amplitude = loudness ** contrast; 1: stressed vowels are 8 dB louder
    accent: float = 3.5  # semitones that an average stress is higher
    lengthening: float = 1.3  # a stressed syllable lasts that many times as long
    wander: float = 0.4  # semitones, deviation of pitch from syllable to syllable without a reason
    tone: bool = False  # a tone language: each syllable has a pitch movement of its own
    rate: float = 1.0  # times the speaker's tempo
    hold: float = 0.12  # s in which a vowel falls by 9 dB
    gaps: float = 0.0  # share of syllables with a short pause after them
    sonorants: float = 0.0  # share of syllables that begin with m, n, l, and so weakly
    hiss: float = 0.1  # loudness of the other consonants
    breath: float = 0.0  # share of noise in the voice, 1 in a whisper
    cutoff: float = 600.0  # Hz from which the voice loses 6 dB an octave
    ring: float = 0.1  # strength of the fourth and fifth formants, the first being 1
    closure: float = 0.0  # s, the most for which the mouth is closed at the end of a syllable
    diphthongs: float = 0.0  # share of syllables that end in another vowel than they begin with
    unevenness: float = 0.0  # dB, deviation of level from syllable to syllable without a reason
    jitter: float = 0.0  # deviation of a pulse's time, in periods
    telephone: bool = False  # a band of 300 to 3400 Hz
    reverberant: bool = False  # a large or bare room


def draw_voice(rng):
    """The voice of a take. Stress stays audible: one cue of three is strong, the others vary."""
    kind = ("modal", "breathy", "creaky", "whisper")[rng.choice(4, p=(0.64, 0.16, 0.1, 0.1))]
    cue = ("loudness", "pitch", "length")[rng.choice(3, p=(0.5, 0.3, 0.2))]
    tone = bool(rng.random() < 0.2) and kind != "whisper"
    if cue == "pitch" and (tone or kind == "whisper"):
        cue = "loudness"
    breath = dict(modal=(0, 0.15), breathy=(0.3, 0.6), creaky=(0, 0.1), whisper=(1, 1))[kind]
    cutoff = dict(modal=(400, 2500), breathy=(200, 500), creaky=(500, 2500), whisper=(1000, 4000))
    return Voice(
        kind=kind,
        contrast=rng.uniform(*((0.7, 1.1) if cue == "loudness" else (0.35, 0.7))),
        accent=rng.uniform(*((4, 8) if cue == "pitch" else (0, 3))),
        lengthening=rng.uniform(*((1.6, 2.1) if cue == "length" else (1.0, 1.4))),
        wander=rng.uniform(0.2, 1.2),
        tone=tone,
        rate=rng.uniform(0.75, 1.3),
        hold=np.exp(rng.uniform(np.log(0.08), np.log(0.4))),
        gaps=rng.uniform(0, 0.12),
        sonorants=rng.uniform(0, 0.6),
        hiss=np.exp(rng.uniform(np.log(0.06), np.log(0.3))),
        breath=rng.uniform(*breath),
        cutoff=np.exp(rng.uniform(*np.log(cutoff[kind]))),
        ring=rng.uniform(0.05, 0.5),
        closure=rng.uniform(0, 0.12),
        diphthongs=rng.uniform(0, 0.7),
        unevenness=rng.uniform(0, 1.5),
        jitter=0.08 if kind == "creaky" else rng.uniform(0, 0.01),
        telephone=bool(rng.random() < 0.15),
        reverberant=bool(rng.random() < 0.2),
    )


# ------------------------------------------------------------------------------------------------
# What is said, and when
# ------------------------------------------------------------------------------------------------
def script(who, mood, seconds, rng):
    """Phrases and pauses that fill `seconds`: a list of {start, end, question, syllables}.

    mood is "calm" or "lively". Times in seconds. For the syllables see `phrase`. Three phrases in
    ten are questions; none in a whisper, where nobody would hear it.
    """
    phrases, t = [], rng.uniform(0.6, 1.4)
    while True:
        length = rng.uniform(1.8, 4.5)
        if t + length > seconds - 0.8:
            if phrases or t > seconds - 1.4:
                return phrases
            length = seconds - 0.8 - t  # a short take still says something
        question = bool(rng.random() < 0.3) and who.voice.kind != "whisper"
        syllables, end = phrase(who, mood, t, length, rng)
        if question:
            end = ask(who, syllables, rng)
        phrases.append(dict(start=t, end=end, question=question, syllables=syllables))
        short_pause = rng.random() < 0.75
        t = end + (rng.uniform(0.35, 0.9) if short_pause else rng.uniform(3.2, 5.0))


def phrase(who, mood, start, length, rng):
    """Syllables from `start` for at least `length` seconds -> (syllables, end of the last one).

    A syllable is {start, duration, peak, loudness, pitch, glide, gain, closed, vowel, towards,
    onset, stressed}; at its peak the vowel is loudest.

    pitch           Hz, in its middle; it rises by `glide` semitones from its start to its end
    gain            its amplitude is loudness ** contrast * gain
    closed          seconds at its end without a vowel
    vowel, towards  indices of VOWELS: it begins and ends with these
    onset           "hiss", "sonorant" or "none": what it begins with

    Stresses are at least 0.57 s apart: an arm needs that for preparation and stroke. Real speakers,
    too, make one or two strokes a second. The loudness of a stress decides how high and how long it
    is, too.
    """
    lively, voice = mood == "lively", who.voice
    syllables, t, next_stress = [], start, start + rng.uniform(0.15, 0.5)
    while t < start + length:
        stressed = t >= next_stress
        tempo = who.tempo * voice.rate * (1.1 if lively else 0.95)
        loudness = rng.uniform(0.55, 1.0) if stressed else rng.uniform(0.2, 0.38)
        strength = loudness / STRESS if stressed else 0.0
        duration = 0.95 * voice.lengthening**strength / tempo * rng.uniform(0.85, 1.2)
        duration = min(duration, LONGEST)
        tone, glide = (3.0, 6.0) * rng.integers(-1, 2, 2) if voice.tone else (0.0, -1.7)
        semitones = voice.accent * strength + voice.wander * rng.standard_normal() + tone
        pitch = who.pitch * (1.12 - 0.25 * (t - start) / length) * 2 ** (semitones / 12)
        vowel, other = rng.integers(len(VOWELS), size=2).tolist()
        onset = rng.random()
        hiss = voice.sonorants + 0.8 * (1 - voice.sonorants)
        syllable = dict(
            start=t,
            duration=duration,
            peak=t + 0.07,
            loudness=loudness * (1.15 if lively else 0.85),
            pitch=pitch * (1.08 if lively else 0.97),
            glide=glide,
            gain=10 ** (voice.unevenness * rng.standard_normal() / 20),
            closed=min(rng.uniform(0, voice.closure), duration / 3),
            vowel=vowel,
            towards=other if rng.random() < voice.diphthongs else vowel,
            onset="sonorant" if onset < voice.sonorants else "hiss" if onset < hiss else "none",
            stressed=stressed,
        )
        syllables.append(syllable)
        if stressed:
            next_stress = syllable["peak"] + rng.uniform(0.5, 1.25 if lively else 1.6)
        t += duration
        pause = rng.uniform(0.06, 0.2)
        if rng.random() < voice.gaps and t + pause < start + length:
            t += pause
    return syllables, syllables[-1]["start"] + syllables[-1]["duration"]


def ask(who, syllables, rng):
    """Make the phrase's syllables a question, in place -> the end of the last one, in seconds.

    Over the last two syllables the pitch rises evenly from the voice's own by 8 to 12 semitones,
    and the last one is longer.
    """
    rise, last = rng.uniform(8, 12), syllables[-2:]
    last[-1]["duration"] += rng.uniform(0.1, 0.25)
    for n, syllable in enumerate(last):
        syllable["glide"] = rise / len(last)
        syllable["pitch"] = who.pitch * 2 ** ((n + 0.5) * syllable["glide"] / 12)
    return last[-1]["start"] + last[-1]["duration"]


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
    speech = np.zeros(samples + SAMPLE_RATE)  # a second of margin for what rings on
    responses = vowel_responses(who.tract, who.voice.cutoff, who.voice.ring)
    for syllable in [s for p in phrases for s in p["syllables"]]:
        add_vowel(speech, who.voice, syllable, responses, rng)
        if syllable["onset"] == "hiss":
            add_consonant(speech, who.voice, syllable, rng)
    size = 1 << (len(speech) + ECHO - 1).bit_length()  # a power of 2, for a fast Fourier transform
    spectrum = np.fft.rfft(speech, size) * room(size, who.voice.reverberant, rng)
    spectrum *= microphone(size, who.voice.telephone, rng)
    speech = np.fft.irfft(spectrum, size)[:samples]
    loud = np.sqrt(np.mean(speech**2))
    tilt = np.fft.rfft(rng.standard_normal(size))
    tilt = tilt * np.maximum(frequencies(size), 40) ** rng.uniform(-0.8, -0.2)
    noise = np.fft.irfft(tilt, size)[:samples]
    noise *= loud * 10 ** (-rng.uniform(18, 45) / 20) / np.sqrt(np.mean(noise**2))  # 18 to 45 dB
    return (speech + noise) / np.abs(speech + noise).max() * 10 ** (-rng.uniform(1, 20) / 20)


def vowel_responses(tract, cutoff=600.0, ring=0.1):
    """What the mouth makes of one pulse, for each of VOWELS and SONORANT: arrays [11, PULSE].

    tract: its length. cutoff: Hz; the glottis closes softly, so voiced sound loses 6 dB an octave
    above it. ring: strength of the HIGHER formants. All have the same energy: vowels do not differ
    in loudness.
    """
    t = np.arange(PULSE) / SAMPLE_RATE
    gains, widths = (1.0, 0.5, 0.2, ring, ring), (80, 110, 160, 200, 250)  # widths in Hz
    responses = [
        sum(
            gain * np.exp(-np.pi * width * t) * np.sin(2 * np.pi * formant / tract * t)
            for formant, gain, width in zip((*vowel, *HIGHER), gains, widths)
        )
        for vowel in (*VOWELS, SONORANT)
    ]
    soft = 1 / (1 + 1j * frequencies(PULSE) / cutoff)
    responses = np.fft.irfft(np.fft.rfft(responses) * soft, PULSE)  # [11, PULSE]
    return 3 * responses / np.linalg.norm(responses, axis=1, keepdims=True)


def add_vowel(speech, voice, syllable, responses, rng):
    """Add a syllable's voiced part to `speech` [samples]; responses [11, PULSE].

    The source is pulses, noise, or both. A sonorant begins with the syllable and becomes the vowel
    at its peak; after another consonant the voice begins 0.03 s later.
    """
    sonorant = syllable["onset"] == "sonorant"
    start = syllable["start"] + (0.0 if sonorant else 0.03)
    end = syllable["start"] + syllable["duration"] - syllable["closed"]
    n = int((end - start) * SAMPLE_RATE)
    t, peak = np.arange(n) / SAMPLE_RATE, syllable["peak"] - start
    # A pulse comes where the running phase of the gliding pitch passes a whole number.
    pitch = syllable["pitch"] * 2 ** (syllable["glide"] * (np.arange(n) / n - 0.5) / 12)
    phase = np.cumsum(pitch / SAMPLE_RATE)
    pulses = np.flatnonzero(np.diff(np.floor(phase), prepend=0))
    late = voice.jitter * SAMPLE_RATE / syllable["pitch"] * rng.standard_normal(len(pulses))
    pulses = np.clip(pulses + np.round(late).astype(int), 0, n - 1)
    source = np.zeros(n)
    source[pulses] = (1 - voice.breath) * rng.uniform(0.95, 1.05, len(pulses))
    breath = voice.breath * np.sqrt(syllable["pitch"] / SAMPLE_RATE)  # as strong as the pulses
    source += breath * rng.standard_normal(n)
    rise = np.minimum(1, t / peak)
    fall = np.minimum(1, np.exp(-(t - peak) / voice.hold))
    fall *= np.minimum(1, (n / SAMPLE_RATE - t) / 0.01)  # to nothing in the last 10 ms
    swell = fall * (0.35 + 0.65 * rise if sonorant else rise)
    source *= syllable["loudness"] ** voice.contrast * syllable["gain"] * swell
    size, spectrum = 1 << (n + PULSE).bit_length(), 0
    for mouth, share in shares(syllable, rise, t / t[-1]):
        spectrum = spectrum + np.fft.rfft(source * share, size) * np.fft.rfft(
            responses[mouth], size
        )
    first = int(start * SAMPLE_RATE)
    speech[first : first + n + PULSE] += np.fft.irfft(spectrum, size)[: n + PULSE]


def shares(syllable, rise, along):
    """How the mouth moves: [(index of a response, its share [n])]; the shares add up to 1.

    rise [n] goes from 0 to 1 at the syllable's peak, along [n] from 0 to 1 at its end.
    """
    vowel, towards = syllable["vowel"], syllable["towards"]
    last = np.clip(2 * along - 0.5, 0, 1) if towards != vowel else 0.0
    if syllable["onset"] != "sonorant":
        own = [(vowel, 1 - last)]
    else:
        own = [(-1, (1 - rise) * (1 - last)), (vowel, rise * (1 - last))]
    return own + ([(towards, last)] if towards != vowel else [])


def add_consonant(speech, voice, syllable, rng):
    """Add 30 to 90 ms of hiss to `speech` [samples], which ends 30 to 60 ms into a syllable."""
    n = int(rng.uniform(0.03, 0.09) * SAMPLE_RATE)
    last = int((syllable["start"] + rng.uniform(0.03, 0.06)) * SAMPLE_RATE)
    hiss = np.diff(rng.standard_normal(n + 1)) * np.hanning(n)
    loudness = (
        syllable["loudness"] ** voice.contrast * syllable["gain"] * voice.hiss * rng.uniform(0.3, 1)
    )
    speech[last - n : last] += loudness * hiss


def room(size, reverberant, rng):
    """Spectrum [size / 2 + 1] of a room: the direct sound, and noise that decays after it.

    A reverberant one has an echo of up to 0.9 of the direct sound, which falls by 60 dB in 0.8 to
    2 s.
    """
    decay, wet = rng.uniform(0.03, 0.12), rng.uniform(0.0, 0.4)
    if reverberant:
        decay, wet = 0.06 + decay, 0.4 + wet
    echo = rng.standard_normal(ECHO) * np.exp(-np.arange(ECHO) / SAMPLE_RATE / decay)
    echo *= wet / np.linalg.norm(echo)
    echo[0] += 1
    return np.fft.rfft(echo, size)


def microphone(size, telephone, rng):
    """Gain [size / 2 + 1] of a microphone: a tilt in dB an octave, and a wave over it.

    A telephone passes 300 to 3400 Hz.
    """
    octaves = np.log2(np.maximum(frequencies(size), 50) / 1000)
    tilt = rng.uniform(-2, 1) * octaves
    wave_height = rng.uniform(-2.5, 2.5)
    wave = np.sin(2 * np.pi * (octaves / rng.uniform(2, 5) + rng.random()))
    gain = 10 ** ((tilt + wave_height * wave) / 20)
    if telephone:
        gain *= (frequencies(size) > 300) & (frequencies(size) < 3400)
    return gain


def frequencies(size):
    """Hz of the lines of a real Fourier transform of `size` samples [size / 2 + 1]."""
    return np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
