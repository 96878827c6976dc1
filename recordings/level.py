"""How loud the speech in a recording is: the level to which mel and MFCC are normalised.

loud_level of a waveform, loud_level_of one that comes in blocks, and RunningLevel, a guess from
what was heard so far, for speech that is still being spoken.
"""

import math

import torch

STRETCH = 400  # samples (25 ms) whose power is looked at
LOUD = 0.95  # the level is what this share of the stretches does not reach
RARE, BELOW = 0.995, 12.0  # but at most 12 dB below what this share does not reach


def loud_level(waveform):
    """The level of the loud parts: root mean square of the 25 ms stretch that 95% do not reach.

    Not the overall level, which depends on how long the pauses are. Not the peak, which a single
    click would set. Where somebody speaks for less than a twentieth of the time, as on one side
    of a conversation, 95% of the stretches are pauses; so the level is at most 12 dB below that of
    the loudest 0.5%. Ordinary speech is not affected: there the difference is 2 to 10 dB.
    """
    return loud_level_of([waveform])[0]


def loud_level_of(blocks):
    """(loud_level, number of samples) of a waveform in blocks [n_i]. It keeps 0.6 MB an hour."""
    powers, held, samples = [], torch.zeros(0), 0
    for block in blocks:
        power, held = _powers(held, block)
        powers.append(power)
        samples += len(block)
    power = torch.cat(powers)  # [stretches]
    if not len(power):
        power = held.square().mean()[None]
    below_loud = max(1, math.ceil(LOUD * len(power)))
    loud, rare = (power.kthvalue(k).values.sqrt() for k in (below_loud, _below_rare(len(power))))
    return torch.maximum(loud, rare * 10 ** (-BELOW / 20)).clamp(min=1e-5), samples


def _powers(held, block):
    """Mean squares of the whole stretches in what was left over and a block -> [n], left over."""
    held = torch.cat([held, block])
    whole = len(held) // STRETCH * STRETCH
    return held[:whole].view(-1, STRETCH).square().mean(dim=1), held[whole:]


def _below_rare(n):
    """How many of n stretches are below the loudest few: RARE of them, but 0.1 s are above.

    So a single click, which fills a stretch or two, never sets the level.
    """
    return max(1, min(math.ceil(RARE * n), n - 4))


class RunningLevel:
    """loud_level of what was heard so far. As a function it gives the level.

    The first sounds may be a breath. So it starts as if 5 s had been heard at -20 dB, the usual
    level of recorded speech; what is really heard takes over in proportion, in dB. A level more
    than 30 dB below the usual one is the silence of a room, not speech. Stretches are counted in
    bins of 0.1 dB, so the memory is the same after a day as at once.
    """

    USUAL, SILENT = -20.0, -50.0  # dB below full scale
    TRUST = 200  # stretches (5 s) for which the usual level counts

    def __init__(self):
        self.counts = torch.zeros(1001)  # bin n: stretches at n / 10 dB below full scale
        self.held = torch.zeros(0)

    def hear(self, blocks):
        """Hand on blocks [n_i], after counting their stretches."""
        for block in blocks:
            power, self.held = _powers(self.held, block)
            decibels = 10 * torch.log10(power.clamp(min=1e-10))  # [stretches]
            bins = (-10 * decibels).round().long().clamp(0, 1000)
            self.counts += torch.bincount(bins, minlength=1001)
            yield block

    def __call__(self):
        """The level so far, as a root mean square."""
        heard = int(self.counts.sum())
        loud = self.USUAL
        if heard:
            above = torch.tensor([heard * (1 - LOUD), heard - _below_rare(heard)])  # [2], stretches
            bins = torch.searchsorted(self.counts.cumsum(0), above, right=True).clamp(max=1000)
            loud, rare = (-0.1 * bins).tolist()
            loud = max(loud, rare - BELOW, self.SILENT)
        decibels = (self.TRUST * self.USUAL + heard * loud) / (self.TRUST + heard)
        return 10 ** (decibels / 20)
