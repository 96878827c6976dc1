"""What training draws from: features on disk, and windows of them."""

import numpy as np
import pytest
import torch
from three_corpora import write_take

from beyond.augment import with_noise, with_other_vocal_tract
from body.bvh import read_bvh, write_bvh
from body.motion import resample
from body.pose import PoseCodec
from data import Corpus, mean_and_deviation
from recordings.audio import load_audio
from recordings.pairs import CorpusError, match_files, name_hash
from tools import InputError
from wavlm_loader import SpeechFeatures


def small_corpus(tmp_path, corpus="beat", takes=3, **more):
    for n in range(takes):
        write_take(tmp_path / "c", f"take {n}", corpus, 4.0 + 0.5 * n, seed=n, size=1 - 0.1 * n)
    pairs, _ = match_files(tmp_path / "c")
    return pairs, Corpus(pairs, SpeechFeatures("mel"), scratch=tmp_path, **more)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def windows_in(rows, frames):
    """All windows of rows [F, ...], in order."""
    return [rows[n : n + frames] for n in range(len(rows) - frames + 1)]


def key(window):
    return window.contiguous().numpy().tobytes()


def hissing(seed):
    """A version of the speech for `versions`: noise that depends on the take's name."""

    def version(waveform, name):
        random = seeded(name_hash(f"{name} {seed}") % 2**32)
        return waveform + 0.05 * torch.randn(len(waveform), generator=random)

    return version


class Cached:
    """Mel features that pass for WavLM's, so that they are kept in a cache."""

    kind, layer, layers, fps, dim = "wavlm", 12, 1, 20, 40

    def __init__(self):
        self.mel = SpeechFeatures("mel")

    def settings(self):
        return self.mel.settings()

    def pieces(self, waveform):
        return self.mel.pieces(waveform)


# ---- features ------------------------------------------------------------------------------------
def test_means_and_deviations_are_those_of_all_frames_together():
    takes = [torch.randn(n, 3, generator=seeded(n)) * 5 + 2 for n in (10, 3000, 1)]
    mean, deviation = mean_and_deviation(takes)
    assert torch.allclose(mean, torch.cat(takes).mean(dim=0), atol=1e-5)
    assert torch.allclose(deviation, torch.cat(takes).std(dim=0), atol=1e-5)
    still = mean_and_deviation([torch.ones(5, 2)])[1]
    assert (still > 0).all(), "a column that never changes can be divided by its deviation"


def test_features_on_disk_are_those_of_the_codec_and_leave_no_file(tmp_path):
    pairs, corpus = small_corpus(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"c"}, "the files on disk have no name"
    motions = [resample(read_bvh(bvh), 20) for bvh, _ in pairs]
    codec = PoseCodec.fit(motions)
    assert list(codec.kept) == list(corpus.codec.kept)
    for motion, pose, speech in zip(motions, corpus.poses, corpus.speeches):
        assert np.allclose(codec.encode(motion)[: len(pose)], pose, atol=2e-3)
        assert len(pose) == len(speech)
    speech = torch.cat(corpus.speeches)
    assert np.allclose(speech.mean(0), 0, atol=1e-3)
    assert np.allclose(speech.std(0)[5:20], 1, atol=1e-2)
    assert corpus.seconds == pytest.approx(4.0 + 4.5 + 5.0, abs=0.2)


def test_a_fitted_codec_and_scale_are_used_as_they_are(tmp_path):
    """So a part of a corpus, or another one, is seen as a model was trained."""
    pairs, whole = small_corpus(tmp_path)
    features = SpeechFeatures("mel")
    part = Corpus(pairs[1:2], features, whole.codec, whole.speech_scale, scratch=tmp_path)
    assert torch.equal(part.poses[0], whole.poses[1])
    assert torch.equal(part.speeches[0], whole.speeches[1])


def test_features_in_the_cache_stay_there_and_are_standardised_when_drawn(tmp_path):
    pairs, plain = small_corpus(tmp_path)
    folder = tmp_path / "kept"
    corpus = Corpus(pairs, Cached(), scratch=tmp_path, cache=folder).to("cpu", 20)
    assert len(list(folder.iterdir())) == 3 and corpus.speech is None
    assert all(speech.dtype == torch.float16 for speech in corpus.speeches)
    pose, speech = corpus.batch(40, seeded())
    same_pose, same_speech = plain.to("cpu", 20).batch(40, seeded())
    assert torch.equal(pose, same_pose) and speech.dtype == torch.float32
    assert torch.allclose(speech, same_speech, atol=0.02), "but for float16"
    with pytest.raises(ValueError, match="versions=()"):
        Corpus(pairs, Cached(), scratch=tmp_path, cache=folder, versions=[hissing(0)])


@pytest.mark.parametrize("cached", [False, True])
def test_pose_and_speech_are_cut_to_the_shorter_of_the_two(tmp_path, cached):
    pairs, _ = small_corpus(tmp_path)  # of 4.0, 4.5 and 5.0 s
    sounds = [sound.read_bytes() for _, sound in pairs]
    for (_, sound), other in zip(pairs, (sounds[1], sounds[0])):
        sound.write_bytes(other)  # 4.5 s to the motion of 4.0 s, and the other way round
    features = Cached() if cached else SpeechFeatures("mel")
    corpus = Corpus(pairs, features, scratch=tmp_path, cache=tmp_path / "kept")
    assert [len(pose) for pose in corpus.poses] == [80, 80, 100]
    assert [len(speech) for speech in corpus.speeches] == [80, 80, 100]


# ---- windows -------------------------------------------------------------------------------------
def test_windows_are_cut_inside_takes_and_pose_and_speech_belong_together(tmp_path):
    corpus = small_corpus(tmp_path)[1].to("cpu", 50)
    corpus.pose = torch.arange(len(corpus.pose)).float()[:, None]
    corpus.speech = -corpus.pose[:, None]  # [all frames, 1 version, 1]
    pose, speech = corpus.batch(500, seeded())
    assert torch.equal(pose, -speech) and (pose.diff(dim=1) == 1).all()
    ends = torch.tensor(np.cumsum([len(p) for p in corpus.poses]))[:-1, None, None].float()
    assert not ((pose[:, 0] < ends) & (pose[:, -1] >= ends)).any()


def test_windows_begin_every_hop_frames_of_each_take(tmp_path):
    _, corpus = small_corpus(tmp_path)
    lengths = [len(pose) for pose in corpus.poses]
    corpus.to("cpu", 20, hop=10)
    count = sum((length - 20) // 10 + 1 for length in lengths)
    assert len(corpus.starts) == count, "the paper's windows overlap by half"
    assert corpus.openings.tolist() == [0, lengths[0], lengths[0] + lengths[1]]
    assert all((corpus.starts[:, None] - corpus.openings).remainder(10).eq(0).any(dim=1))
    assert len(corpus.to("cpu", 20).starts) == sum(length - 19 for length in lengths)


def test_a_share_of_the_windows_are_beginnings_of_takes(tmp_path):
    _, corpus = small_corpus(tmp_path)
    corpus.to("cpu", 20)
    firsts = {key(pose[:20]) for pose in corpus.poses}
    for share, least, most in ((0.0, 0, 40), (1 / 8, 60, 160), (1.0, 800, 800)):
        pose, _ = corpus.batch(800, seeded(), openings=share)
        assert least <= sum(key(p) in firsts for p in pose) <= most


def test_a_corpus_of_takes_shorter_than_a_window_is_refused(tmp_path):
    _, corpus = small_corpus(tmp_path)
    assert len(corpus.to("cpu", 100).openings) == 1, "the one of 5 s is learnt from"
    with pytest.raises(CorpusError, match="smaller --window"):
        corpus.to("cpu", 101)
    with pytest.raises(CorpusError, match="no takes to train on"):
        Corpus([], SpeechFeatures("mel"))


def test_a_batch_is_drawn_in_a_fixed_order_so_that_a_seed_means_the_same_run_in_every_version(
    tmp_path,
):
    """Start, opening, version, mirror: worked out here from the same generator."""
    _, corpus = small_corpus(tmp_path, mirror=True, versions=[hissing(0), hissing(1)])
    corpus.to("cpu", 20)
    pose, speech = corpus.batch(50, seeded(3), openings=1 / 8, noisy=0.25)
    random = seeded(3)
    start = corpus.starts[torch.randint(len(corpus.starts), (50,), generator=random)]
    opening = corpus.openings[torch.randint(len(corpus.openings), (50,), generator=random)]
    start = torch.where(torch.rand(50, generator=random) < 1 / 8, opening, start)
    version = torch.randint(1, 3, (50,), generator=random)
    version = version * (torch.rand(50, generator=random) < 0.25)
    flip = torch.rand(50, generator=random) < 0.5
    swap, sign = corpus.codec.swap, torch.as_tensor(corpus.codec.sign)
    for n, (first, k) in enumerate(zip(start.tolist(), version.tolist())):
        window = corpus.pose[first : first + 20]
        assert torch.equal(pose[n], window[:, swap] * sign if flip[n] else window)
        assert torch.equal(speech[n], corpus.speech[first : first + 20, k])


@pytest.mark.parametrize("mirror", [False, True])
def test_batches_read_from_disk_are_those_from_memory(tmp_path, mirror):
    _, corpus = small_corpus(tmp_path, mirror=mirror, versions=[hissing(0)])
    drawn = dict(openings=0.2, noisy=0.5)
    in_memory = [x.clone() for x in corpus.to("cpu", 20).batch(8, seeded(1), **drawn)]
    corpus.RESIDENT = 0
    on_disk = corpus.to("cpu", 20).batch(8, seeded(1), **drawn)
    assert all(torch.equal(a, b) for a, b in zip(in_memory, on_disk))


def test_half_of_the_windows_are_mirrored_with_their_own_speech(tmp_path):
    _, corpus = small_corpus(tmp_path, mirror=True)
    pose, speech = corpus.to("cpu", 20).batch(400, seeded())
    plain = {
        key(p): s
        for poses, speeches in zip(corpus.poses, corpus.speeches)
        for p, s in zip(windows_in(poses, 20), windows_in(speeches, 20))
    }
    swap, sign = corpus.codec.swap, torch.as_tensor(corpus.codec.sign)
    straight = [key(p) in plain for p in pose]
    assert 150 < sum(straight) < 250
    for p, s, is_plain in zip(pose, speech, straight):
        original = p if is_plain else p[:, swap] * sign
        assert torch.equal(plain[key(original)], s)
    both = torch.cat([torch.cat([p, p[:, swap] * sign])[1:] for p in corpus.poses])
    assert torch.allclose(both.std(0), torch.ones(both.shape[1]), atol=0.02)


# ---- versions of the speech ----------------------------------------------------------------------
def all_versions(pairs, corpus, versions):
    """Speech features of each take, worked out without the corpus: [1 + V, frames, S] each."""
    features = SpeechFeatures("mel")
    for (bvh, sound), pose in zip(pairs, corpus.poses):
        waveform = load_audio(sound)
        waveforms = [waveform, *(version(waveform, bvh.stem) for version in versions)]
        yield torch.stack([features(w)[: len(pose)] for w in waveforms])


@pytest.mark.parametrize(
    "mirror, resident", [(False, 4e9), (True, 0)], ids=["in memory", "mirrored, from disk"]
)
def test_a_share_of_the_windows_has_other_speech_and_its_own_poses(tmp_path, mirror, resident):
    """Each window's speech is looked for among the versions of its own place."""
    versions = [hissing(0), hissing(1)]
    pairs, corpus = small_corpus(tmp_path, versions=versions, mirror=mirror)
    corpus.RESIDENT = resident
    mean, deviation = corpus.speech_scale
    expected = list(all_versions(pairs, corpus, versions))
    recorded = torch.cat([take[0] for take in expected])
    assert torch.allclose(mean, recorded.mean(dim=0), atol=1e-4), "of the speech as recorded"
    assert torch.allclose(deviation, recorded.std(dim=0), rtol=1e-3, atol=1e-4)
    places = {}
    for pose, speech in zip(corpus.poses, expected):
        speech = (speech - mean) / deviation
        images = [pose]
        if mirror:
            images.append(pose[:, corpus.codec.swap] * torch.as_tensor(corpus.codec.sign))
        for image in images:
            for n, window in enumerate(windows_in(image, 20)):
                places[key(window)] = speech[:, n : n + 20]
    corpus.to("cpu", 20)
    for share in (0.0, 0.25, 1.0):
        counts = torch.zeros(3)
        for p, s in zip(*corpus.batch(400, seeded(), noisy=share)):
            found = [torch.allclose(v, s, atol=1e-4) for v in places[key(p)]]
            assert sum(found) == 1
            counts += torch.tensor(found)
        assert abs(counts[0] - 400 * (1 - share)) < (1 if share in (0, 1) else 45)
        assert abs(counts[1] - counts[2]) < (1 if share == 0 else 75)


def test_without_a_share_the_windows_are_those_of_a_corpus_without_versions(tmp_path):
    _, corpus = small_corpus(tmp_path, versions=[hissing(0)])
    _, plain = small_corpus(tmp_path)
    for a, b in zip(
        corpus.to("cpu", 20).batch(50, seeded()), plain.to("cpu", 20).batch(50, seeded())
    ):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="versions="):
        plain.batch(4, seeded(), noisy=0.5)


def test_versions_are_computed_with_the_name_of_their_take_as_training_makes_them(tmp_path):
    """Another vocal tract and noise, as beyond.departures has them, seeded by the take's name."""

    def version(k):
        def changed(waveform, name):
            seed = name_hash(f"{name} voice {k}")
            return with_noise(with_other_vocal_tract(waveform, 0.4, seed), name_hash(f"{name} {k}"))

        return changed

    versions = [version(0), version(1)]
    pairs, corpus = small_corpus(tmp_path, versions=versions)
    mean, deviation = corpus.speech_scale
    expected = torch.cat([v.swapaxes(0, 1) for v in all_versions(pairs, corpus, versions)])
    assert torch.allclose(corpus.speech, (expected - mean) / deviation, atol=1e-4)
    plain = small_corpus(tmp_path)[1]
    assert torch.equal(corpus.speech[:, 0], plain.speech[:, 0]), "and the first is as recorded"


# ---- takes that cannot be used -------------------------------------------------------------------
def test_takes_that_cannot_be_used_are_left_out_only_when_asked(tmp_path, capsys):
    pairs, corpus = small_corpus(tmp_path, takes=3)
    folder = tmp_path / "c"
    write_take(folder, "a other", "trinity")  # the first by name, but not what most are
    write_take(folder, "b cut", "beat")
    (folder / "b cut.bvh").write_text((folder / "b cut.bvh").read_text()[:-500])
    more, _ = match_files(folder)
    with pytest.raises(InputError):
        Corpus(more, SpeechFeatures("mel"))
    some = Corpus(more, SpeechFeatures("mel"), skip=True)
    said = capsys.readouterr().err
    assert "a other.bvh: another skeleton" in said and "b cut.bvh" in said
    assert said.count("left out:") == 2
    assert some.pairs == pairs
    assert all(torch.equal(a, b) for a, b in zip(some.poses, corpus.poses))
    with pytest.raises(CorpusError, match="none of its 1 takes can be used"):
        Corpus(more[1:2], SpeechFeatures("mel"), skip=True)


def test_with_skip_the_unit_of_most_takes_counts(tmp_path):
    for n, size in enumerate((0.01, 1.0, 0.9, 1.1)):
        write_take(tmp_path, f"take {n}", "trinity", size=size)
    pairs, _ = match_files(tmp_path)
    corpus = Corpus(pairs, SpeechFeatures("mel"), scratch=tmp_path, skip=True)
    assert [bvh.stem for bvh, _ in corpus.pairs] == ["take 1", "take 2", "take 3"]


def test_joints_that_the_skeleton_has_not_and_still_bodies_are_refused(tmp_path):
    with pytest.raises(CorpusError, match="take 0.bvh: --joints Tail"):
        small_corpus(tmp_path, takes=1, joints="Tail")
    still = read_bvh(tmp_path / "c" / "take 0.bvh")
    still.rotations[:], still.positions[:] = still.rotations[0], still.positions[0]
    write_bvh(tmp_path / "c" / "take 0.bvh", still)
    pairs, _ = match_files(tmp_path / "c")
    with pytest.raises(CorpusError, match="nothing moves"):
        Corpus(pairs, SpeechFeatures("mel"), scratch=tmp_path)
