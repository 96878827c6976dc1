"""What is generated, what it is held against, and what the command lab.evaluate says and writes."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from conftest import ROOT, SHARED, TINY, assert_one_error_line, call, run
from three_corpora import write_take

import train
from beyond.recipes import OURS, PAPER, names_of
from body.motion import BvhError
from lab import baselines, evaluate, reference, report
from lab.puppet_scores import PUPPET_SCORES
from recordings.pairs import CorpusError, find_pairs
from recordings.puppet import write_corpus
from sample import load_generator
from tools import SHIPPED, read_checkpoint, save_checkpoint


# ---- generating ----------------------------------------------------------------------------------
def test_motions_come_back_in_the_order_of_their_sounds():
    class Echo:
        model = SimpleNamespace(recipe=OURS)

        def speech_of(self, waveform):
            return waveform[:1][None, None]  # [1, 1, 1]

        def __call__(self, speech, seed, steps=10):
            assert len(speech) <= (8 if steps == 10 else 1)  # each step remembers what it saw
            return [float(x) for x in speech[:, 0, 0]]

    lengths = [3, 1, 3, 2, 3, 3, 3, 1, 3, 3, 3, 3, 3]  # ten of one length: two groups
    sounds = [torch.full((n,), float(value)) for value, n in enumerate(lengths, start=1)]
    assert evaluate.generate_for(Echo(), sounds, 0, "echo") == list(range(1, 14))
    assert evaluate.generate_for(Echo(), sounds, 0, "echo", steps=1000) == list(range(1, 14))


# ---- speech without motion -----------------------------------------------------------------------
@pytest.fixture
def beats(monkeypatch):
    """The strokes that every motion has, and a generator of such motions."""
    strokes = [np.array([1.0, 2.0])]
    noise = torch.randn(4 * 16_000, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(evaluate, "load_audio", lambda path: noise)
    monkeypatch.setattr(evaluate, "find_strokes", lambda motion: (strokes[0],))

    class Silent:
        speech_of = staticmethod(lambda waveform: waveform)

        def __call__(self, speech, seed):
            return [None]

    return strokes, Silent()


def test_speech_files_of_one_name_are_told_apart(beats):
    paths = ["a/talk.wav", "b/talk.wav", "other.wav"]
    scores = evaluate.evaluate_speech(beats[1], paths, range(3))
    assert list(scores) == ["a/talk.wav", "b/talk.wav", "other.wav"]
    assert scores["other.wav"]["strokes_per_minute"] == 30


def test_speech_without_a_stroke_has_no_hits(beats):
    strokes, generator = beats
    strokes[0] = np.zeros(0)
    scores = evaluate.evaluate_speech(generator, ["other.wav"], range(3))["other.wav"]
    assert scores.pop("strokes_per_minute") == 0 and len(scores) == 4
    assert all(np.isnan(score) for score in scores.values())


def test_the_shipped_model_beats_on_the_energy_onsets_of_real_speech():
    """Speech that the puppet never heard, against the same recordings shifted by random times.

    Of 15 recordings of 5 to 28 s, 13 hit more often than by chance, by 0.24 on average.
    """
    paths = sorted(SHARED.glob("speech/*"))
    if not paths:
        pytest.skip("no real files at ../shared/data/speech/*")
    scores = evaluate.evaluate_speech(load_generator(SHIPPED), paths, seeds=range(3)).values()
    above = np.array([s["onset_hits"] - s["onset_hits_shifted"] for s in scores])
    assert above.mean() > 0.15 and (above <= 0).sum() <= 2
    assert all(s["strokes_per_minute"] > 10 for s in scores)


# ---- what models are held against ----------------------------------------------------------------
def test_another_programs_json_beside_a_take_is_no_answer(tmp_path):
    texts = dict(a=b"\xef\xbb\xbf{}", b=b"caf\xe9", c=b"[1", d=b"[]", e=b'{"names": ["jawOpen"]}',
                 f=b'{"stresses": 5}', g=b'{"stresses": 5, "rests": []}')  # fmt: skip
    for name, text in texts.items():
        (tmp_path / f"{name}.json").write_bytes(text)
        assert reference.answers_of([(tmp_path / f"{name}.bvh", None)]) is None
    assert reference.answers_of([(tmp_path / "none.bvh", None)]) is None


ODD_ANSWERS = [
    dict(stresses=[1]),
    dict(stresses=[dict(time=float("nan"))]),
    dict(stresses=[dict(time="1")]),
    dict(rests=5),
    dict(rests=[1]),
    dict(phrases=[dict(start=0)]),
    dict(speaker={}),
]


@pytest.mark.parametrize("odd", ODD_ANSWERS, ids=str)
def test_damaged_answers_get_one_line(odd, tmp_path):
    phrase = dict(start=0.0, end=1.5, question=False, hands="left", form="beat")
    good = dict(speaker=dict(number=0), stresses=[dict(time=1.0)], rests=[[2, 3]], phrases=[phrase])
    pair = tmp_path / "a.bvh", None
    (tmp_path / "a.json").write_text(json.dumps(good))
    assert reference.answers_of([pair]) == [good]
    (tmp_path / "a.json").write_text(json.dumps(good | odd))
    with pytest.raises(CorpusError, match="a.json: holds damaged answers"):
        reference.answers_of([pair])


def test_answers_of_an_earlier_puppet_are_refused(tmp_path):
    old = dict(speaker=dict(number=0), phrases=[], stresses=[])
    (tmp_path / "a.json").write_text(json.dumps(old))
    with pytest.raises(CorpusError, match="a.json: holds the answers of an earlier puppet"):
        reference.answers_of([(tmp_path / "a.bvh", None)])


def test_other_truth_is_a_take_like_each_and_what_is_fitted_is_neither(tmp_path):
    write_corpus(tmp_path / "c", train=12, valid=0, test=3, seconds=8.0)
    how = reference.corpus_reference(find_pairs(tmp_path / "c"), cache=None).how
    kinds = [name[:-4] for name in how["other_truth"]]
    assert kinds == ["speaker0_calm", "speaker1_lively", "speaker2_calm"]
    assert len(how["fitted_on"]) == 9 and not set(how["fitted_on"]) & set(how["other_truth"])
    assert not how["other_truth_was_fitted_on"]


def test_takes_that_are_judged_are_fitted_on_only_where_there_are_no_others(tiny_corpus, capsys):
    parts = find_pairs(tiny_corpus)
    alone = reference.corpus_reference(parts | dict(train=parts["test"]), cache=None).how
    assert alone["fitted_on"] == [parts["valid"][0][0].stem], "the judged takes are not training's"
    nobody = dict(train=[], valid=[], test=parts["test"])
    assert "no other takes" not in capsys.readouterr().err
    single = reference.corpus_reference(nobody, cache=None)
    assert "the mean pose is their own" in capsys.readouterr().err
    assert single.how["fitted_on"] == [parts["test"][0][0].stem] and not single.how["other_truth"]
    assert set(single.left_out) >= {"fgd_raw", "fgd_code"}
    assert single.columns["truth"]["beat_f1"] > 0.5 and single.columns["mean_pose"]["beat_f1"] == 0


# ---- printing ------------------------------------------------------------------------------------
def test_what_is_not_defined_is_a_dash_and_none_in_json(capsys):
    nan, row = float("nan"), dict(model=0.5, spread=0.1, truth=0.9, seeds=[0.5], unit="things")
    table = dict(
        fgd_raw=row | dict(model=nan, spread=nan, mean_pose=nan, shuffled=nan),
        rest_error=row | dict(mean_pose=123.456),
        beat_f1_truth=row,
    )
    evaluate.print_report(table, {})
    shown = capsys.readouterr().out.splitlines()
    assert shown[1].split() == ["fgd_raw", "not", "defined", "0.900", "-", "-", "things"]
    assert shown[2].startswith("rest_error                    0.500 ± 0.100      0.900")
    assert shown[2].split()[5:] == ["123.5", "-", "at", "most", "0.20"] and len(shown) == 3
    evaluate.print_table(dict(onset_hits=nan, speech=dict(style_error=0.5)))
    assert "onset_hits                         -\n" in (shown := capsys.readouterr().out)
    assert "nan" not in shown and "\nspeech\n  style_error" in shown
    written = json.dumps(evaluate.finite(table), allow_nan=False)
    assert json.loads(written)["fgd_raw"]["model"] is None


# ---- the command ---------------------------------------------------------------------------------
def test_the_puppets_scores_and_their_goals_are_in_the_json(tiny_run, tiny_corpus, tmp_path):
    options = [
        "--data",
        tiny_corpus,
        "--cache",
        tmp_path / "c",
        "--json",
        tmp_path / "s" / "s.json",
    ]
    done = call(evaluate, "--checkpoint", tiny_run / "last.pt", *options)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "s" / "s.json").read_text())
    scores = written["scores"]
    assert set(evaluate.GOALS) <= set(scores) and list(scores) == list(PUPPET_SCORES)
    unknown = {name for name, value in scores.items() if value is None}
    assert "beat_f1_mismatched" in unknown, "one test take: there is no other's speech"
    may_be = {"rest_error", "rest_speed", "rest_speed_truth", "shrug_hits", "shrug_false"}
    assert unknown - may_be == {"beat_f1_mismatched"}, "12 s may have no rest and no question"
    assert {n: written[n] for n in ("sampler", "steps", "guidance", "seeds")} == dict(
        sampler=OURS.sampler, steps=OURS.steps, guidance=OURS.guidance, seeds=3
    ), "as the recipe says"


def test_how_it_is_sampled_comes_from_the_recipe_unless_it_is_asked_for(tiny_run, tmp_path):
    state = read_checkpoint(tiny_run / "last.pt")
    state["recipe"] |= {name: names_of(PAPER)[name] for name in ("sampler", "guidance")}
    save_checkpoint(tmp_path / "paper.pt", state | dict(recipe=state["recipe"] | dict(steps=4)))
    made = {}
    for label, more in (("usual", []), ("asked", ["--steps", 2, "--guidance", 3])):
        soundfile.write(tmp_path / "talk.wav", np.random.default_rng(0).normal(size=48_000), 16_000)
        options = ["--speech", tmp_path / "talk.wav", "--json", tmp_path / "s.json", *more]
        done = call(evaluate, "--checkpoint", tmp_path / "paper.pt", *options)
        assert done.returncode == 0, done.stderr
        made[label] = json.loads((tmp_path / "s.json").read_text())
    assert (made["usual"]["sampler"], made["usual"]["steps"], made["usual"]["guidance"]) == (
        "ddpm", 4, 1.0,
    )  # fmt: skip
    assert (made["asked"]["steps"], made["asked"]["guidance"]) == (2, 3)
    assert "talk.wav" in made["usual"]["scores"]["speech"] and made["usual"]["data"] is None


def test_a_baseline_is_scored_as_any_other_model(tiny_corpus, tmp_path):
    options = ["--data", tiny_corpus, "--out", tmp_path, "--steps", 2, *TINY]
    assert call(baselines, "concat", *options).returncode == 0
    options = ["--data", tiny_corpus, "--cache", tmp_path / "c", "--steps", 2]
    done = call(evaluate, "--checkpoint", tmp_path / "model.pt", *options)
    assert done.returncode == 0 and "hand_agreement" in done.stdout, done.stderr


def test_a_baseline_that_computes_in_float32_refuses_another_precision(tiny_corpus, tmp_path):
    options = ["--data", tiny_corpus, "--out", tmp_path, "--steps", 2, *TINY]
    assert call(baselines, "frames", *options).returncode == 0
    done = call(evaluate, "--checkpoint", tmp_path / "model.pt", "--precision", "bfloat16")
    assert_one_error_line(done, "model.pt: this baseline computes in float32")


def test_speech_too_short_to_be_shifted_is_not_scored(tiny_run, tmp_path):
    """As a user runs it."""
    t = np.arange(int(1.9 * 16_000)) / 16_000
    soundfile.write(tmp_path / "short.wav", 0.3 * np.sin(2 * np.pi * 300 * t), 16_000)
    options = ["--checkpoint", tiny_run / "last.pt", "--steps", 2]
    done = run("lab.evaluate", *options, "--speech", tmp_path / "short.wav")
    assert done.returncode == 0, done.stderr
    assert "  onset_hits                         -\n" in done.stdout


@pytest.mark.parametrize(
    "arguments,words",
    [
        (["--guidance", "nan"], "--guidance must be a number"),
        (["--steps", "0"], "--steps must be at least 1"),
        (["--seeds", "2"], "no spread"),
        (["--json", str(ROOT)], "is a folder"),
        (["--checkpoint", "none.pt"], "none.pt: no such checkpoint"),
        (["--speech", "none.wav"], "none.wav"),
    ],
)
def test_what_cannot_be_used_gets_one_line(arguments, words):
    assert_one_error_line(call(evaluate, *arguments), words)


def test_a_corpus_without_such_takes_gets_one_line(tiny_run, tmp_path):
    write_corpus(tmp_path / "c", train=2, valid=0, test=0, seconds=4.0)
    options = ["--checkpoint", tiny_run / "model.pt", "--data", tmp_path / "c"]
    assert_one_error_line(call(evaluate, *options, "--part", "valid"), "no takes held out for")


# ---- a corpus without known answers --------------------------------------------------------------
ZEGGS = [f"{n:03d}_Neutral_{n - 1}_x_1_0" for n in (1, 2, 3, 5)]  # the authors hold out 005


@pytest.fixture(scope="module")
def zeggs(tmp_path_factory):
    """A small tree with ZEGGS' names and joints, and a model of it."""
    root, out = tmp_path_factory.mktemp("zeggs"), tmp_path_factory.mktemp("run")
    for n, name in enumerate(ZEGGS):
        write_take(root, name, "zeggs", seed=n)
    train.main([str(x) for x in ("--data", root, "--out", out, "--steps", 2, *TINY)])
    return root, out / "model.pt"


def test_everything_is_reported_on_a_folder_without_answers(zeggs, tmp_path):
    root, model = zeggs
    options = ["--data", root, "--steps", 2, "--cache", tmp_path / "cache"]
    done = call(evaluate, "--checkpoint", model, *options, "--json", tmp_path / "s.json")
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "s.json").read_text())
    table, scores = written["table"], written["scores"]
    assert set(report.UNITS) <= set(table) and "beat_f1" not in table
    assert all(name in done.stdout for name in report.UNITS)
    flat = {"onset_hits", "onset_hits_truth", "onset_hits_shifted", "onset_hits_truth_shifted"}
    assert flat | {"strokes_per_minute", "strokes_per_minute_truth"} == set(scores)
    assert written["seeds"] == 3 and len(table["foot_sliding"]["seeds"]) == 3
    assert written["how"]["fgd"]["window_s"] == 2
    used = written["how"]["fitted_on"] + written["how"]["other_truth"]
    assert ZEGGS[-1] not in used, "held-out takes are never fitted on"


def test_a_damaged_training_take_stops_it_or_is_left_out(zeggs, tmp_path):
    root, model = zeggs
    options = ["--data", root, "--steps", 2, "--cache", tmp_path / "cache"]
    damaged = root / f"{ZEGGS[0]}.bvh"
    whole = damaged.read_text()
    damaged.write_text(whole[:-400])
    try:
        done = call(evaluate, "--checkpoint", model, *options)
        assert_one_error_line(done, f"{ZEGGS[0]}.bvh")
        done = call(evaluate, "--checkpoint", model, *options, "--skip")
        assert done.returncode == 0 and "left out" in done.stderr
    finally:
        damaged.write_text(whole)


def test_a_model_is_judged_on_another_corpus_by_the_joints_that_both_have(zeggs, tmp_path):
    for n, name in enumerate(("Recording_001", "Recording_002", "Recording_003", "Recording_008")):
        write_take(tmp_path / "trinity", name, "trinity", seed=10 + n)
    options = ["--data", tmp_path / "trinity", "--steps", 2, "--cache", tmp_path / "cache"]
    done = call(evaluate, "--checkpoint", zeggs[1], *options)
    assert done.returncode == 0, done.stderr
    assert "fgd_raw" in done.stdout and "nan" not in done.stdout


def test_a_corpus_of_upper_bodies_is_learnt_and_scored_but_for_its_feet(zeggs, tmp_path):
    for n, name in enumerate(ZEGGS):
        write_take(tmp_path / "upper", name, "zeggs", seed=n, legs=False)
    data = ["--data", tmp_path / "upper", "--steps", 2]
    upper = [*data, "--joints", "upper", "--out", tmp_path / "run", *TINY]
    train.main([str(word) for word in upper])
    # a model with legs is judged on bodies without, and the other way round
    for model, folder in ((tmp_path / "run" / "model.pt", data[1]), (zeggs[1], data[1]),
                          (tmp_path / "run" / "model.pt", zeggs[0])):  # fmt: skip
        options = ["--data", folder, "--steps", 2, "--cache", tmp_path / "cache"]
        done = call(evaluate, "--checkpoint", model, *options)
        assert done.returncode == 0 and "nan" not in done.stdout, done.stderr
        rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines()[3:11])
        assert "not" not in rows["hand_jerk"] and "not" not in rows["diversity"]
        feet = "left out: foot_sliding: no joint is called a foot or an ankle" in done.stdout
        assert feet == (folder == data[1])


def test_a_skeleton_without_a_hand_by_name_cannot_be_scored(zeggs, tmp_path):
    for n, name in enumerate(("a", "b", "test/c")):
        write_take((tmp_path / name).parent, name[-1], "zeggs", seed=n)
        path = tmp_path / f"{name}.bvh"
        path.write_text(path.read_text().replace("Hand", "Paw"))
    parts = find_pairs(tmp_path)
    with pytest.raises(BvhError, match="c.bvh: no left hand"):
        reference.corpus_reference(parts, cache=None)
