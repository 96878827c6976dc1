"""A training run in its folder: settings from the command line, resuming, stopping, saving.

setting, parse       a dataclass of settings <-> the command line
resume_from          the checkpoint to go on from, and its settings
claimed              a run's folder, for one run at a time
Run                  what happens beside the loop: the bar, the looks at the loss, what is due
"""

import argparse
import contextlib
import itertools
import math
import shlex
import signal
import sys
import time
from dataclasses import MISSING, asdict, field, fields
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

import progress
from checkpoints import read_run, restore_training
from recordings.pairs import take_names
from tools import CheckpointError, Parser, alone_in, one_line, shown

CHECK_EVERY = 10  # steps between looks at the loss; each makes a GPU wait for all it was given


# ------------------------------------------------------------------------------------------------
# Settings
# ------------------------------------------------------------------------------------------------
def setting(default, help, **more):
    """A field of a settings dataclass. more: choices, least, most, kind (how its text is read),
    no (is there a flag --no-NAME too?)."""
    return field(default=default, metadata=dict(help=help, **more))


def flag(name):
    """The flag of a setting: weight_decay -> --weight-decay."""
    return "--" + name.replace("_", "-")


def parse(Settings, groups, arguments, **texts):
    """The command line -> (its parser, {name: value} of what was given, is it --resume?).

    groups: {title: names of settings}, in the order of --help.
    """
    parser = Parser(formatter_class=argparse.RawDescriptionHelpFormatter, **texts)
    known = {one.name: one for one in fields(Settings)}
    for title, names in groups.items():
        group = parser.add_argument_group(title)
        for name in names.split():
            add_setting(group, known[name])
    group.add_argument("--resume", action="store_true", help="go on with the run in --out")
    args = vars(parser.parse_args(arguments))
    resume = args.pop("resume")
    given = {name: value for name, value in args.items() if value is not MISSING}
    given = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
    return parser, given, resume


def add_setting(group, one):
    """A dataclass' field as an argument of a parser's group."""
    meta = one.metadata
    said = "" if one.default in ((), "", False) else f" (default: {one.default})"
    how = dict(help=meta["help"].replace("%", "%%") + said, default=MISSING)
    if one.type is bool:
        how.update(action=argparse.BooleanOptionalAction if meta.get("no") else "store_true")
    elif one.type is tuple:
        how.update(nargs="+", metavar="NAME")
    else:
        how.update(type=meta.get("kind", one.type), choices=meta.get("choices"))
        if len(meta.get("choices", "")) not in (2, 3):
            how.update(metavar="N" if one.type in (int, float) else one.name.upper())
    group.add_argument(flag(one.name), **how)


def in_range(settings, parser):
    """Refuse numbers that a setting cannot have; not-a-number is refused too."""
    for one in fields(settings):
        least, most = one.metadata.get("least"), one.metadata.get("most", math.inf)
        value = getattr(settings, one.name)
        if least is not None and not least <= value <= most:
            bounds = f"at least {least:g}" if most == math.inf else f"{least:g} to {most:g}"
            parser.error(f"{flag(one.name)} must be {bounds}, not {value}")


# What a resumed run may be given otherwise than the first. The data may have moved: whether they
# are the same is seen from the takes
HERE_AND_NOW = ("out", "data", "save_every", "picture_every", "device", "compile",
                "wavlm_checkpoint", "cache")  # fmt: skip
ANEW = ("out", "device", "compile")  # not taken over: the folder may have moved, or the machine


def resume_from(folder, Settings, given, now):
    """The last checkpoint in a run's folder -> (the checkpoint, the Settings it goes on with)."""
    path = Path(folder) / "last.pt"
    saved, before = read_run(path, Settings)
    for name, value in given.items():  # what is given must not be ignored in silence
        if value != getattr(before, name) and name not in HERE_AND_NOW:
            raise CheckpointError(
                f"{flag(name)} {value}: the run in {folder} was started with "
                f"{getattr(before, name)}; leave it out, or start anew in another --out"
            )
    anew = {name: getattr(now, name) for name in ANEW}
    return saved, Settings(**asdict(before) | given | anew)


# ------------------------------------------------------------------------------------------------
# Beside the loop
# ------------------------------------------------------------------------------------------------
@contextlib.contextmanager
def claimed(folder, first):
    """Make a run's folder and keep a second run out of it: InputError for that one.

    Only the first process of a team does it. If nothing is written, a new folder is removed again.
    """
    if not first:
        yield
        return
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        busy = f"{folder}: another run is at work in it; wait for it, or give another --out"
        with alone_in(folder, busy):
            yield
    finally:
        if new:
            with contextlib.suppress(OSError):  # it holds something
                folder.rmdir()


@contextlib.contextmanager
def only_a_picture():
    """Within it a disk that is full ends no training: it gets one line."""
    try:
        yield
    except OSError as error:
        tqdm.write(f"warning: {one_line(error)}; the training goes on without it", file=sys.stderr)


KEPT = ("last.pt", "model.pt", "scores.json", "loss.png", "loss.csv", "layers.png",
        "sample-*.png", "sample-*.html")  # fmt: skip


def move_earlier_away(folder):
    """What an earlier run left in the folder goes to before/, then before-2/, ...

    A forgotten --resume must not cost a night's work, and no old model.pt may pass for this run's.
    """
    earlier = [path for name in KEPT for path in sorted(folder.glob(name))]
    if not earlier:
        return
    names = ("before" if n == 1 else f"before-{n}" for n in itertools.count(1))
    before = next(folder / name for name in names if not (folder / name).exists())
    before.mkdir()
    for path in earlier:
        path.replace(before / path.name)
    also = f"; --resume --out {shlex.quote(str(before))} goes on with it"
    go_on = also if (before / "last.pt").exists() else ""
    print(shown(f"what an earlier run left in {folder} is now in {before}{go_on}"))


def summary(corpus, s, held_out):
    """What is trained on, and what is not, in a line or more. held_out: {part: pairs}."""
    text = (
        f"{len(corpus.poses)} takes, {corpus.seconds / 60:.1f} min, "
        f"{corpus.codec.pose_dim} pose features, {corpus.features.dim} speech features "
        f"({s.features})"
    )
    short = sum(len(pose) < s.window for pose in corpus.poses)
    if short:
        text += (
            f"\n{short} of {len(corpus.poses)} takes are shorter than a window of {s.window} "
            "frames and not learnt from; a smaller --window takes them in"
        )
    if s.features == "wavlm":
        size = sum(speech.numel() * speech.element_size() for speech in corpus.speeches)
        hourly = size / 1e6 / corpus.seconds * 3600
        text += f"\n{s.cache}: {size / 1e9:.2f} GB of WavLM's features, {hourly:.0f} MB an hour"
    return f"{text}\n{names_held_out(held_out, corpus.pairs)}"


def names_held_out(held_out, training, most=20):
    """Which takes are held out, in one line; of more than `most` in a part the first.

    A take that shares its name with another, of those for training too, is named with its folder.
    """
    name_of, texts = take_names([*held_out["test"], *held_out["valid"], *training]), []
    for part in ("test", "valid"):
        names = sorted(name_of[pair] for pair in held_out[part])
        more = f" and {len(names) - most} more" if len(names) > most else ""
        texts.append(f"{part}: {', '.join(names[:most]) or 'none'}{more}")
    return shown(f"held out for {'; '.join(texts)}")


def takes_of(corpus):
    """The takes that are trained on, [[name, frames]]: a resumed run must have the same."""
    return [[bvh.name, len(pose)] for (bvh, _), pose in zip(corpus.pairs, corpus.poses)]


def fingerprints(corpus):
    """Two numbers a take, of its motion and its speech, by which other recordings are noticed.

    -> [[motion, speech]], each about 1 in size. Unlike a checksum of the files, they stay the same
    where a sound has been stored in another format, or is read on another machine.
    """
    mean, deviation = (0, 1) if corpus.speech is not None else corpus.speech_scale
    found = []
    for pose, speech in zip(corpus.poses, corpus.speeches):
        some = slice(None, None, max(1, len(pose) // 256))  # WavLM's features lie on disk
        found.append([of_wave(pose[some]), of_wave((speech[some].float() - mean) / deviation)])
    return found


def of_wave(rows):
    """Rows [n, columns] -> their product with a wave over both axes, a number."""
    over_rows, over_columns = (torch.arange(n).cos() for n in rows.shape)
    return float(over_rows @ rows.float() @ over_columns) / math.sqrt(rows.numel())


SAME = 0.01  # fingerprints of one recording may differ by so much: a GPU rounds otherwise


def refuse_other_recordings(before, now, takes, path, data):
    """CheckpointError if the recordings are not those that the run was started with.

    before, now: fingerprints. Named is the take that differs most: all are standardised together,
    so that a new take moves the others a little too.
    """
    apart = (torch.tensor(before) - torch.tensor(now)).abs()  # [takes, 2]
    if not apart.max() < SAME:  # nan too
        n, which = divmod(int(apart.argmax()), 2)
        raise CheckpointError(
            f"{path}: the {('motion', 'sound')[which]} of {takes[n][0]} in {data} is not the one "
            "that the run was started with; restore it or start anew"
        )


class Run:
    """What happens beside the loop of train.py: progress, the look at the loss, stopping."""

    def __init__(self, folder, settings, saved, team, command):
        self.command = command
        self.folder, self.s, self.team, self.saved = folder, settings, team, saved
        training = saved["training"] if saved else dict(step=0, losses=[])
        self.first = self.kept = training["step"]  # kept: the step that is in last.pt
        self.losses, self.recent = list(training["losses"]), []
        self.valid = list(training.get("valid", []))  # [[step, validation loss]]
        self.asked_to_stop, self.usual = [], {}
        self.held_out = None  # windows for the validation loss

    def steps(self):
        """The steps of this run with a bar, and with Ctrl-C and kill turned into a saved stop."""
        self.started = time.time()
        for sign in (signal.SIGINT, signal.SIGTERM):
            self.usual[sign] = signal.signal(sign, self.stop_soon)
        self.bar = tqdm(
            range(self.first, self.s.steps), initial=self.first, total=self.s.steps,
            desc="training", unit="step", smoothing=0.05, disable=not self.team.first,
        )  # fmt: skip
        return self.bar

    def stop_soon(self, number, _):
        """Ctrl-C or kill: save at the next look at the loss, and go; the second time at once."""
        self.asked_to_stop.append(number)
        signal.signal(number, signal.SIG_DFL)
        if self.team.first:
            what = f"stopping: at most {CHECK_EVERY} more steps, then all is saved"
            tqdm.write(f"{what}; the second time at once", file=sys.stderr)

    def looks(self, done, loss, norm):
        """Note a step's loss and gradient norm -> was this a step at which the loss is looked at?

        CheckpointError if one of them was not a number: a loss can be finite where its gradient is
        not, and after such a step the weights are not either, and must not be saved.
        """
        self.recent.append(torch.stack([loss.detach(), norm]))  # [2]
        if done % CHECK_EVERY and done < self.s.steps:
            return False
        stop = torch.full_like(self.recent[0], len(self.asked_to_stop))
        values = self.team.mean(torch.stack([*self.recent, stop]))  # [steps + 1, 2]
        *values, (self.stop, _) = values.tolist()
        self.recent = []
        for n, pair in enumerate(values):
            if not all(map(math.isfinite, pair)):
                self.refuse(done - len(values) + n + 1)
        self.losses.append(sum(loss for loss, _ in values) / len(values))
        few = self.losses[-20:]
        told = dict(loss=sum(few) / len(few)) | ({"valid": self.valid[-1][1]} if self.valid else {})
        self.bar.set_postfix({k: f"{v:.4f}" for k, v in told.items()}, refresh=False)
        if done % self.s.save_every < CHECK_EVERY or done == self.s.steps:
            self.write_table()
        return True

    def refuse(self, step):
        """The loss or its gradient is not a number."""
        self.bar.close()
        if not self.team.first:  # one says it
            raise SystemExit(2)
        kept = "no checkpoint was due before it"
        if self.kept:
            kept = f"{self.folder / 'last.pt'} keeps step {self.kept}, the last good one"
        raise CheckpointError(
            f"the loss or its gradient is not a number at step {step}; {kept}; "
            f"try a smaller --lr, now {self.s.lr:g}"
        )

    def hold_out(self, takes, corpus):
        """Keep windows of held-out takes for the validation loss."""
        if self.team.first:
            self.held_out = progress.held_out_windows(takes, corpus, self.s, self.folder)

    def validate(self, done, ema, loss_of, draw):
        """Note the loss of the averaged weights on held-out takes. loss_of, draw: train.py's."""
        if self.held_out is not None:
            loss = progress.validation_loss(ema, *self.held_out, loss_of, draw)
            before = [row for row in self.valid if row[0] < done]  # a resumed run does it again
            self.valid = [*before, [done, loss]]
            self.write_table()

    def write_table(self):
        """Write loss.csv anew."""
        if self.team.first:
            with only_a_picture():
                path, s = self.folder / "loss.csv", self.s
                rate = partial(self.learning_rate, warmup=s.warmup, steps=s.steps)
                steps = [min(n * CHECK_EVERY, s.steps) for n in range(1, len(self.losses) + 1)]
                rates = [s.lr * rate(step - 1) for step in steps]
                progress.write_table(path, steps, self.losses, rates, self.valid)

    def save_is_due(self, done):
        """Is it time for a checkpoint?"""
        due = self.stop or done % self.s.save_every < CHECK_EVERY or done == self.s.steps
        self.kept = done if due else self.kept
        return due and self.team.first

    def picture_is_due(self, done):
        """Is it time for a picture of a sample? The last one is drawn after the loop."""
        due = done % self.s.picture_every < CHECK_EVERY and done < self.s.steps
        return due and self.team.first

    def stop_if_asked(self, done):
        """All is saved: leave, if Ctrl-C or kill asked for it."""
        if self.stop and done < self.s.steps:
            self.bar.close()
            again = f"python {self.command} --out {shlex.quote(str(self.folder))} --resume"
            said = shown(f"stopped after {done} steps and saved; continue with: {again}")
            raise SystemExit(said)

    def restore(self, model, ema, optimiser, corpus):
        """Put the state of a resumed run in place; or move away what an earlier run left."""
        takes, self.fingerprints = takes_of(corpus), fingerprints(corpus)
        self.learning_rate = model.recipe.learning_rate
        if self.saved is None:
            if self.team.first:
                move_earlier_away(self.folder)
            return
        training, network = self.saved["training"], type(model).__name__
        if self.saved["network"] != network:
            raise CheckpointError(
                f"{self.folder / 'last.pt'}: is a run of {self.saved['network']}, not of {network}"
            )
        if self.saved["model"] != model.size or training["takes"] != takes:
            raise CheckpointError(
                f"{self.folder / 'last.pt'}: the takes to train on in {self.s.data} are not those "
                "that the run was started with; restore them or start anew"
            )
        if known := training.get("fingerprints"):  # an earlier version stored none
            where = self.folder / "last.pt", self.s.data
            refuse_other_recordings(known, self.fingerprints, takes, *where)
        restore_training(self.folder / "last.pt", self.saved, model, ema, optimiser)
        if "threads" in training:  # sums of another number of threads are rounded otherwise
            torch.set_num_threads(training["threads"])
        self.saved = None  # a second copy of all weights

    def state(self, done, model, optimiser, corpus):
        """What --resume needs, beside what sampling needs."""
        training = dict(
            settings=asdict(self.s), takes=takes_of(corpus), step=done, losses=self.losses,
            weights=model.state_dict(), optimiser=optimiser.state_dict(),
            fingerprints=self.fingerprints, threads=torch.get_num_threads(), valid=self.valid,
        )  # fmt: skip
        return dict(training=training)

    def end(self):
        """The model is saved: say so, and from here on a signal stops at once."""
        minutes, steps = (time.time() - self.started) / 60, self.s.steps - self.first
        model = shown(self.folder / "last.pt")
        print(f"{minutes:.1f} minutes for {steps} steps -> {model}")
        tried = "sample.py YOUR_RECORDING.wav"
        if self.command != "train.py":  # a baseline, which sample.py does not take
            tried = "-m lab.evaluate"
        print(f"try it:  python {tried} --checkpoint {shlex.quote(model)}")
        for sign, handler in self.usual.items():
            signal.signal(sign, handler)
        if self.asked_to_stop:
            model = self.folder / "model.pt"
            raise SystemExit(f"stopped: the training was at its end, and {shown(model)} is saved")
