"""The whole program on one sheet, with the recipe OURS or PAPER: plot_architecture.

Left, what is computed once a clip. In the middle, what is computed at every diffusion step: the
network, with one of its blocks. Right, what stands around the network: sampling and training.
Names in typewriter are names in the code, which tests/test_inside.py checks.

    python -m lab.architecture     both as a PDF to print: out/architecture.pdf

All places and sizes are in inches.
"""

from pathlib import Path

from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.patches import FancyBboxPatch

from show.figures import DARK, LEFT, MIDDLE, RIGHT, new_figure, write_picture
from tools import Parser, run_script, written_beside

WIDTH, HEIGHT = 13.6, 8.3
PALE = "#555f6f"  # of explanations
# Face and edge of a box: what is made of the speech, what is made of noise, all else
SPEECH, NOISE, OTHER = ("#fdf0e2", LEFT), ("#e6eef8", RIGHT), ("#eceef2", MIDDLE)


class Sheet:
    """A sheet of WIDTH x HEIGHT inches to put boxes, arrows and texts onto."""

    def __init__(self):
        self.figure = new_figure(WIDTH, HEIGHT)
        self.axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, HEIGHT))
        self.axes.axis("off")

    def text(self, x, y, text, size=8, colour=PALE, **settings):
        """A text whose middle is at height y; it starts at x, unless `ha` says otherwise."""
        self.axes.text(x, y, text, fontsize=size, color=colour, **dict(va="center") | settings)

    def code(self, x, y, text, size=8.5, colour=LEFT, **settings):
        """Names of the code, in typewriter."""
        self.text(x, y, text, size, colour, family="monospace", **settings)

    def panel(self, x, y, wide, tall, corner, **settings):
        """A rectangle with round corners, from its lower left corner (x, y)."""
        style = f"round,pad=0,rounding_size={corner}"
        self.axes.add_patch(FancyBboxPatch((x, y), wide, tall, boxstyle=style, **settings))

    def box(self, x, y, name, text="", kind=OTHER, wide=2.5, tall=0.62):
        """A box whose centre is (x, y): a name of the code, and what it does."""
        face, edge = kind
        corner = (x - wide / 2, y - tall / 2)
        self.panel(*corner, wide, tall, 0.08, fc=face, ec=edge, lw=1.3, zorder=3)
        self.code(x, y + (0.12 if text else 0), name, 9.5, DARK, ha="center", zorder=4)
        if text:
            self.text(x, y - 0.14, text, ha="center", zorder=4)

    def arrow(self, *points, label="", colour=DARK, at=0, shift=(0.08, 0)):
        """A line through the points with a head at its end.

        The label stands beside the middle of the line's `at`-th piece.
        """
        line = dict(color=colour, lw=1.4, shrinkA=0, shrinkB=0)
        for a, b in zip(points, points[1:]):
            style = "-|>" if b == points[-1] else "-"
            self.axes.annotate("", b, a, arrowprops=dict(arrowstyle=style, **line), zorder=2)
        if label:
            (x1, y1), (x2, y2) = points[at : at + 2]
            self.text((x1 + x2) / 2 + shift[0], (y1 + y2) / 2 + shift[1], label, zorder=4)

    def wire(self, x, y):
        """A thin line of the modulation."""
        self.axes.plot(x, y, color=LEFT, lw=1, zorder=2)

    def area(self, x, y, wide, tall, title, colour):
        """What belongs together, from its lower left corner (x, y), the title at its upper left."""
        self.panel(x, y, wide, tall, 0.15, fc=colour, ec="none", alpha=0.35, zorder=0)
        self.text(x + 0.12, y + tall - 0.2, title, 10, DARK, weight="bold")


def plot_architecture(path, paper=False):
    """The sheet -> its figure, written to path as PNG unless that is None.

    paper: the network of chapter one alone, without our departures.
    """
    sheet = Sheet()
    _draw_condition(sheet, paper)
    _draw_network(sheet, paper)
    _draw_block(sheet, paper)
    _draw_sampling(sheet, paper)
    _draw_training(sheet, paper)
    return write_picture(path, sheet.figure, dpi=110)


def _draw_condition(sheet, paper):
    """From a sound file to the condition."""
    sheet.area(0.1, 0.2, 2.9, 7.95, "once a clip", SPEECH[0])
    sound = ("load_audio", "any file: 16 kHz, mono")
    if paper:
        rows = (
            sound,
            ("SpeechFeatures", "WavLM, 20 rows a second"),
            ("speech_encoder", "one linear layer on each row"),
        )
        shapes = ("[samples]", "speech [F, S]")
    else:
        rows = (
            sound,
            ("SpeechFeatures", "mel, mfcc or WavLM, 20 rows a second"),
            ("conv", "convolution over 0.8 s both ways"),
            ("voice", "+ its mean over the last seconds"),
            ("mlp", "two layers"),
            ("linear", "one linear layer for each block"),
        )
        shapes = ("[samples]", "speech [F, S]", "[F, W]", "[F, W]", "condition [F, W]")
    levels = [7.4 - 5.9 * n / (len(rows) - 1) for n in range(len(rows))]
    for y, (name, text) in zip(levels, rows):
        sheet.box(1.55, y, name, text, SPEECH)
    for n, shape in enumerate(shapes):
        sheet.arrow((1.55, levels[n] - 0.31), (1.55, levels[n + 1] + 0.31), label=shape)
    if not paper:
        text = "no speech: null_condition\ntakes the condition's place"
        sheet.text(1.55, 0.62, text, ha="center")


def _draw_network(sheet, paper):
    """Into the blocks and out of them."""
    sheet.area(3.2, 0.2, 7.2, 7.95, "at every diffusion step: denoise", NOISE[0])
    text = "convolution over 5 frames, none later"
    sheet.box(5.0, 7.2, "gesture_encoder", text, NOISE, 2.6)
    sheet.box(5.0, 0.75, "final", "linear layer, back to P", NOISE, 2.6)
    sheet.box(9.0, 7.2, "step_embedding", "how noisy is it?", NOISE, 2.1)
    text = "eps = final: the noise in x_t" if paper else "eps = √ᾱ · final + √(1 − ᾱ) · x_t"
    sheet.text(6.45, 0.5, text, colour=DARK)


def _draw_block(sheet, paper):
    """One block: attention and MLP, each between a norm and a gate; adaLN modulates them."""
    sheet.panel(3.45, 1.62, 6.75, 5.0, 0.12, fc="white", ec=MIDDLE, lw=1.3, zorder=1)
    sheet.text(10.08, 1.82, "one Block of `depth`", 9, DARK, ha="right")
    norm = ("norm", "each frame: mean 0, deviation 1", OTHER)
    mask = "causal_mask" if paper else "segment_mask"
    attention = ("attention", f"qkv, rotate, {mask}, out", NOISE)
    mlp = ("mlp", "each frame by itself", NOISE)
    for y, (name, text, kind) in zip((5.85, 4.85, 3.55, 2.55), (norm, attention, norm, mlp)):
        sheet.box(5.0, y, name, text, kind, 2.6)
    sheet.arrow((5.0, 6.89), (5.0, 6.16), label="x [F, W]", shift=(0.08, 0.23))
    for above, below in ((5.54, 5.16), (4.54, 3.86), (3.24, 2.86)):
        sheet.arrow((5.0, above), (5.0, below))
    sheet.arrow((5.0, 2.24), (5.0, 1.06))
    for start, stop in ((6.42, 4.13), (4.02, 1.83)):  # what goes past the layers and is added
        way = ((5.0, start), (3.58, start), (3.58, stop), (4.88, stop))
        sheet.arrow(*way, colour=MIDDLE)
        circle = dict(boxstyle="circle,pad=0.12", fc="white", ec=DARK)
        sheet.text(5.0, stop, "+", 11, DARK, ha="center", zorder=5, bbox=circle)
    _draw_modulation(sheet, paper)


def _draw_modulation(sheet, paper):
    """AdaLN, and where its shifts, scales and gates go."""
    parts = "Linear(SiLU(condition + step))" if paper else "condition's + step's part"
    text = f"{parts}: six\nnumbers for each frame and feature"
    sheet.box(8.6, 4.2, "adaln", text, SPEECH, tall=0.95)
    places = (
        (5.35, "· (1 + scale_1) + shift_1"),
        (4.3, "· gate_1"),
        (3.05, "· (1 + scale_2) + shift_2"),
        (2.08, "· gate_2"),
    )
    for y, text in places:
        sheet.code(5.12, y, text, zorder=5)
        sheet.wire((7.28, 7.2 if "scale" in text else 5.95), (y, y))
    sheet.wire((7.28, 7.28), (5.35, 2.08))
    sheet.wire((7.35, 7.28), (4.2, 4.2))
    sheet.arrow((9.0, 6.89), (9.0, 4.68), label="[W]", shift=(0.08, 0.35))
    way = ((2.8, 1.5), (3.3, 1.5), (3.3, 1.28), (8.6, 1.28), (8.6, 3.72))
    if paper:
        text = "condition [F, W], the same for all blocks"
    else:
        text = "the condition's part: [F, 6 W] a block, [F, 2 W] for the end"
    sheet.arrow(*way, colour=LEFT, label=text, at=2, shift=(0.45, -0.13))
    sheet.code(5.12, 1.44, "final_norm, final_adaln")


def _draw_sampling(sheet, paper):
    """From noise to a BVH file."""
    sheet.area(10.6, 4.55, 2.9, 3.6, "sampling: generate", OTHER[0])
    noise = ("noise", "x_T: N(0, 1)") if paper else ("FrameNoise", "x_T, a seed for every frame")
    sampler, times = ("sample_ddpm", 1000) if paper else ("sample_dpmpp", 10)
    sheet.box(12.05, 7.2, *noise)
    sheet.box(12.05, 6.2, sampler, f"{times} times: a little less noisy")
    sheet.box(12.05, 5.1, "decode" if paper else "inverse, decode", "write_bvh")
    sheet.arrow((12.05, 6.89), (12.05, 6.51))
    sheet.arrow((12.05, 5.89), (12.05, 5.41), label="x_0 [F, P]")
    way = ((10.8, 6.2), (10.5, 6.2), (10.5, 7.85), (5.0, 7.85), (5.0, 7.51))
    sheet.arrow(*way, label="x_t [F, P], t", at=2, shift=(-0.4, 0.12))
    sheet.arrow((9.0, 7.85), (9.0, 7.51))
    way = ((6.3, 0.75), (10.3, 0.75), (10.3, 6.05), (10.8, 6.05))
    sheet.arrow(*way, label="eps [F, P]", shift=(-0.3, 0.14))


def _draw_training(sheet, paper):
    """From a BVH file to the loss."""
    sheet.area(10.6, 0.2, 2.9, 4.15, "training: train.py", OTHER[0])
    sheet.box(12.05, 3.45, "read_bvh, encode", "exponential maps, standardised")
    sheet.box(12.05, 1.45, "add_noise", "x_t at a random t")
    loss = "loss = mean (eps - model)²"
    sheet.code(12.05, 0.62, loss if paper else f"{loss} / √ᾱ", colour=DARK, ha="center")
    if paper:
        sheet.arrow((12.05, 3.14), (12.05, 1.76), label="x_0 [F, P]")
    else:
        sheet.box(12.05, 2.45, "Innovations", "what is new in each frame")
        sheet.arrow((12.05, 3.14), (12.05, 2.76), label="[F, P]")
        sheet.arrow((12.05, 2.14), (12.05, 1.76), label="x_0")
    sheet.arrow((12.05, 1.14), (12.05, 0.78), label="x_t, eps")


def main(arguments=None):
    """The command: page 1 is the paper's network, page 2 ours."""
    parser = Parser(
        prog="python -m lab.architecture",
        description="Draw the program on a sheet to print: the paper's, and ours.",
    )
    usual = Path("out/architecture.pdf")
    parser.add_argument("--out", type=Path, default=usual, help="the file (default: %(default)s)")
    path = parser.parse_args(arguments).out
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_beside(path) as beside, PdfPages(beside) as pages:
        for paper in (True, False):
            pages.savefig(plot_architecture(None, paper))
    print(path)


if __name__ == "__main__":
    run_script(main)
