"""What one sees of a training while it runs: the loss on held-out takes, and a table of the loss.

held_out_windows, validation_loss   a loss that two moments of a training can be compared by
write_table                         loss.csv
"""

import csv
import io

import torch

from data import Corpus
from tools import InputError, one_line, written_beside


def held_out_windows(takes, corpus, s, folder):
    """16 windows of held-out takes, always the same: pose [B, F, P], speech [B, F, S]; or None.

    takes: pairs of files; of many the first seven. s: the settings of train.py.
    """
    if not takes:
        return None
    scales = dict(codec=corpus.codec, speech_scale=corpus.speech_scale)
    try:
        seen = Corpus(takes[:7], corpus.features, **scales, scratch=folder, cache=s.cache)
        seen.to(corpus.device, s.window)
    except InputError as error:  # too short, or of another skeleton; that need not stop a training
        print(f"no validation loss: {one_line(error)}")
        return None
    return seen.batch(16, torch.Generator().manual_seed(0))


@torch.no_grad()
def validation_loss(model, pose, speech, loss_of, draw):
    """The loss on these windows, with the same noise levels and noise every time -> a number.

    The training's own random numbers are not touched. loss_of, draw: as in train.py.
    """
    losses = []
    for seed in range(4):  # four noise levels a window
        drawn = draw(model, pose, torch.Generator().manual_seed(seed))
        losses.append(float(loss_of(model, pose, speech, *drawn)))
    return sum(losses) / len(losses)


def write_table(path, steps, losses, rates, valid):
    """A CSV with a row for each of `steps`; a loss is the mean over the steps since the last row.

    valid: [[step, validation loss]], of some of the steps.
    """
    text, valid = io.StringIO(), dict(valid)
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["step", "loss", "learning_rate", "valid_loss"])
    for step, loss, rate in zip(steps, losses, rates):
        heard = f"{valid[step]:.6g}" if step in valid else ""
        table.writerow([step, f"{loss:.6g}", f"{rate:.6g}", heard])
    with written_beside(path) as beside:
        beside.write_text(text.getvalue())
