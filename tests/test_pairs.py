"""Which motion belongs to which sound, and which takes are held out, in anybody's folders."""

import errno
import io
import os
from pathlib import Path

import pytest
from three_corpora import touch, write_take

import body.bvh
from lab.check import check
from recordings.pairs import (
    CorpusError,
    find_pairs,
    match_files,
    name_hash,
    split_takes,
    take_names,
    usable_takes,
)
from recordings.skeletons import takes_of_one_skeleton
from tools import InputError

BOTH = ("bvh", "wav")


def stems(split):
    return {part: [bvh.stem for bvh, _ in takes] for part, takes in split.items()}


def counts(split):
    return {part: len(takes) for part, takes in split.items()}


def assert_each_take_once(split, count):
    everything = [bvh for takes in split.values() for bvh, _ in takes]
    assert len(everything) == len(set(everything)) == count


# ---- corpora as they come ------------------------------------------------------------------------
@pytest.mark.parametrize("motion,audio", [("Motion", "Audio"), ("bvh", "audio"), ("", "")])
def test_trinity_as_it_comes_holds_out_its_two_takes(tmp_path, motion, audio):
    touch(tmp_path, *[f"./{motion}/Recording_{n:03}.bvh" for n in range(1, 24)])
    touch(tmp_path, *[f"./{audio}/Recording_{n:03}.wav" for n in range(1, 24)])
    split = find_pairs(tmp_path)
    assert stems(split)["test"] == ["Recording_008", "Recording_015"]
    assert_each_take_once(split, 23)
    assert all(bvh.stem == sound.stem for takes in split.values() for bvh, sound in takes)


def test_zeggs_as_it_comes_holds_out_the_takes_of_its_table(tmp_path):
    """Names and the column `validation` of its info.csv; files carry the numbers of their cut."""
    table = {
        "001_Neutral_0": False,
        "004_Neutral_3": False,
        "005_Neutral_4": True,
        "010_Sad_4": True,
        "029_Angry_3": True,
        "030_Agreement_0": False,
        "033_Agreement_2": True,
        "058_Laughing_1": True,
        "062_Tired_0": False,
        "065_Speech_0": True,
        "066_Speech_1": True,
        "067_Speech_2": True,
    }
    takes = {
        f"{name}{m}_x_1_0": test for name, test in table.items() for m in ("", "_mirror")
    }  # mirrored takes go where theirs go
    touch(tmp_path, *[f"clean/{take}.{e}" for take in takes for e in BOTH])
    split = stems(find_pairs(tmp_path))
    assert sorted(split["test"]) == sorted(take for take, test in takes.items() if test)


def test_beat_as_it_comes_holds_out_one_take_of_each_speaker(tmp_path):
    people = ("wayne", "scott", "solomon", "lawrence")
    takes = [f"{n}/{n}_{p}_0_{k}_{k}" for n, p in enumerate(people, 1) for k in range(1, 30)]
    endings = ("bvh", "wav", "TextGrid", "json", "csv", "txt")
    touch(tmp_path, *[f"{take}.{ending}" for take in takes for ending in endings])
    split = find_pairs(tmp_path)
    assert sorted(s.split("_")[1] for s in stems(split)["test"]) == sorted(people)
    assert_each_take_once(split, 116)
    assert len(split["valid"]) < 25 < 80 < len(split["train"])


# ---- pairs ---------------------------------------------------------------------------------------
def test_one_name_in_several_speakers_folders_stays_with_its_speaker(tmp_path):
    for who in ("anna", "ben"):
        touch(tmp_path, *[f"Motion/{who}/{n}.bvh" for n in range(5)])
        touch(tmp_path, *[f"Audio/{who}/{n}.flac" for n in range(5)])
    touch(tmp_path, "carl/mocap/0.bvh", "carl/sound/0.mp3")
    split = find_pairs(tmp_path)
    assert_each_take_once(split, 11)
    people = {"anna", "ben", "carl"}
    for takes in split.values():
        for bvh, sound in takes:
            assert people & set(bvh.parts) == people & set(sound.parts)


def test_a_motion_without_sound_does_not_take_its_neighbours(tmp_path):
    touch(tmp_path, "a/1.bvh", "b/1.bvh", "b/1.wav", "c/2.bvh", "c/2.wav")
    pairs, odd = match_files(tmp_path)
    assert [(b.parent.name, s.parent.name) for b, s in pairs] == [("b", "b"), ("c", "c")]
    assert len(odd) == 1 and odd[0][0] == tmp_path / "a/1.bvh" and "no partner" in odd[0][1]
    with pytest.raises(CorpusError, match="1.bvh"):
        find_pairs(tmp_path)
    assert_each_take_once(find_pairs(tmp_path, skip=True), 2)


def test_skip_says_what_it_leaves_out(tmp_path, capsys):
    touch(tmp_path, "a.bvh", "a.wav", "b.bvh", "c.bvh", "c.wav", "c.mp3", "d.flac")
    assert_each_take_once(find_pairs(tmp_path, skip=True), 1)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3 and all(line.startswith("left out: ") for line in said)
    for line, name, why in zip(said, ("b.bvh", "c.bvh", "d.flac"), ("partner", "several", "part")):
        assert name in line and why in line


def test_folders_without_a_pair_get_one_line_that_counts_what_is_there(tmp_path):
    with pytest.raises(CorpusError, match="no such folder"):
        find_pairs(tmp_path / "nowhere")
    touch(tmp_path, "a.bvh", "b.wav", "c.wav", "d.txt")
    with pytest.raises(
        CorpusError, match=r"no pairs .*found 1 \.bvh: a\.bvh; 2 sound files: b\.wav, c\.wav\)"
    ):
        find_pairs(tmp_path, skip=True)


def test_linked_folders_are_followed_once_and_one_name_in_two_spellings_is_one(tmp_path):
    touch(tmp_path, "there/Audio/cafe\u0301.wav", "here/Motion/caf\u00e9.bvh")
    os.symlink(tmp_path / "there" / "Audio", tmp_path / "here" / "Audio")
    os.symlink(tmp_path / "here", tmp_path / "here" / "Motion" / "back")
    pairs, odd = match_files(tmp_path / "here")
    assert len(pairs) == 1 and odd == []


def test_hidden_folders_are_left_out(tmp_path):
    """A puppet that was killed may leave one that begins with a dot."""
    touch(tmp_path, *[f"{folder}/a.{e}" for folder in (".puppet.part", "here/.old") for e in BOTH])
    touch(tmp_path, *[f"here/b.{e}" for e in BOTH])
    pairs, odd = match_files(tmp_path)
    assert [bvh.stem for bvh, _ in pairs] == ["b"] and odd == []


# ---- what is held out ----------------------------------------------------------------------------
def test_folders_by_other_names_say_what_is_held_out(tmp_path):
    for part in ("trn", "val", "tst"):
        touch(tmp_path, *[f"{part}/{e}/{part}_{n}.{e}" for n in range(4) for e in BOTH])
    split = stems(find_pairs(tmp_path))
    taken = {part: {stem[:3] for stem in takes} for part, takes in split.items()}
    assert taken == {"train": {"trn"}, "valid": {"val"}, "test": {"tst"}}


def test_without_named_folders_a_tenth_is_held_out_by_name(tmp_path):
    touch(tmp_path, *[f"{n}.{e}" for n in range(200) for e in BOTH])
    split = find_pairs(tmp_path)
    assert 8 <= len(split["test"]) <= 35 and 8 <= len(split["valid"]) <= 35
    assert_each_take_once(split, 200)
    touch(tmp_path, "new.bvh", "new.wav")
    after = find_pairs(tmp_path)
    assert set(split["test"]) <= set(after["test"]), "a new take does not move the others"


def test_what_is_held_out_stays_so_when_a_speaker_is_added(tmp_path):
    """Also one whose takes have the same names: else a model would be tested on what it learnt."""
    touch(tmp_path, *[f"anna/take{n}.{e}" for n in range(1, 40) for e in BOTH])
    before = find_pairs(tmp_path)
    touch(tmp_path, *[f"ben/take{n}.{e}" for n in range(1, 40) for e in BOTH])
    after = find_pairs(tmp_path)
    assert before["test"] and set(before["test"]) <= set(after["test"])
    changed = [p for part in before for p in before[part] if p not in after[part]]
    assert len(changed) <= 1 and not set(changed) & set(after["test"])


def parts_of(names):
    """{name: its part} of takes that lie in one folder."""
    folder = Path("takes")
    pairs = [(folder / f"{name}.bvh", folder / f"{name}.wav") for name in sorted(names)]
    split = split_takes(folder, pairs)
    return {bvh.stem: part for part, takes in split.items() for bvh, _ in takes}


@pytest.mark.parametrize("count", [6, 8, 19, 20, 45, 100, 300])
def test_a_tenth_is_near_a_tenth_and_never_empty(count):
    for n in range(20):
        parts = list(parts_of(f"{n}-{m}" for m in range(count)).values())
        for part in ("test", "valid"):
            assert max(1, round(count / 15)) <= parts.count(part) <= max(1, round(count / 7.5))
        assert parts.count("train") >= 0.7 * count - 1


def test_few_takes_change_their_part_when_others_are_added():
    """One by one from 6 to 100. A change into the test makes a trained model's score too good."""
    changes, into_test = 0, 0
    for n in range(2):
        before = parts_of(f"{n}-{m}" for m in range(6))
        for count in range(7, 101):
            after = parts_of(f"{n}-{m}" for m in range(count))
            moved = [after[name] for name in before if after[name] != before[name]]
            changes, into_test = changes + len(moved), into_test + moved.count("test")
            before = after
    assert changes / 2 < 20 and into_test / 2 < 10, "a tenth to the take: 34 and 9"


@pytest.mark.parametrize("count", [3, 4, 5, 6])
def test_a_handful_of_takes_has_one_to_test_whatever_their_names(tmp_path, count):
    for n in range(10):
        folder = tmp_path / f"names {n}"
        touch(folder, *[f"{n}-{m}.{e}" for m in range(count) for e in BOTH])
        split = find_pairs(folder)
        assert split["test"] and split["train"]
        assert_each_take_once(split, count)


def test_takes_that_are_all_held_out_by_their_hashes_are_shared_out(tmp_path):
    folder = tmp_path / "two for valid, one for the test"
    touch(folder, *[f"{name}.{e}" for name in ("take19", "take37", "take2") for e in BOTH])
    assert counts(find_pairs(folder)) == dict(train=1, valid=1, test=1)
    all_valid = [(tmp_path / f"take{n}.bvh", tmp_path / f"take{n}.wav") for n in (19, 37, 60)]
    assert {name_hash(bvh.stem) % 10 for bvh, _ in all_valid} == {1}
    assert counts(split_takes(tmp_path, all_valid)) == dict(train=1, valid=1, test=1)
    named = counts(find_pairs(folder, ["*"]))
    assert named == dict(train=0, valid=0, test=3), "names given say it all"
    touch(tmp_path / "named", *[f"{name}.{e}" for name in ("a", "b", "valid/c") for e in BOTH])
    by_folder = counts(find_pairs(tmp_path / "named"))
    assert by_folder == dict(train=2, valid=1, test=0), "folders say it all"


def test_named_takes_override_what_is_held_out(tmp_path):
    touch(tmp_path, *[f"Recording_{n:03}.{e}" for n in range(1, 24) for e in BOTH])
    split = find_pairs(tmp_path, test=["Recording_001", "*_02?"])
    assert stems(split)["test"] == [f"Recording_{n:03}" for n in (1, 20, 21, 22, 23)]
    assert "Recording_008" in stems(split)["train"] + stems(split)["valid"]
    assert_each_take_once(split, 23)
    with pytest.raises(CorpusError, match="Recording_99"):
        find_pairs(tmp_path, test=["Recording_99"])
    touch(tmp_path, "test/x.bvh", "test/x.wav", "valid/y.bvh", "valid/y.wav")
    split = stems(find_pairs(tmp_path, test=["Recording_001"]))
    assert split["test"] == ["Recording_001"] and split["valid"] == ["y"] and "x" in split["train"]
    split = stems(find_pairs(tmp_path))
    assert split["test"] == ["x"], "a folder named test says it before the authors do"


def test_takes_of_one_name_are_told_apart_by_their_folders(tmp_path):
    for take in ("1", "2"):
        touch(tmp_path, *[f"Motion/{who:02}/{take}.bvh" for who in range(30)])
        touch(tmp_path, *[f"Audio/{who:02}/{take}.wav" for who in range(30)])
    split = find_pairs(tmp_path)
    assert_each_take_once(split, 60)
    train, valid, test = counts(split).values()
    assert train > 40 and valid > 1 and test > 1, "a tenth, and a tenth"
    names = set(take_names(split["train"]).values())
    assert len(names) == train, "so each take has noises of its own"
    one = find_pairs(tmp_path, test=["Motion/07/1"])["test"]
    assert [bvh.parent.name for bvh, _ in one] == ["07"]
    assert len(find_pairs(tmp_path, test=["2"])["test"]) == 30


def test_brackets_are_letters_and_an_accent_is_one_however_it_is_written(tmp_path):
    touch(tmp_path, *[f"{name}.{e}" for name in ("take [1]", "cafe\u0301", "a", "b") for e in BOTH])
    split = stems(find_pairs(tmp_path, test=["take [1]", "caf\u00e9"]))
    assert split["test"] == ["cafe\u0301", "take [1]"]


# ---- held-out takes that cannot be used ----------------------------------------------------------
def test_a_damaged_take_that_is_held_out_is_noticed_before_training(tmp_path, capsys):
    for name in ("good", "cut", "long"):
        write_take(tmp_path, name, "trinity", 6.0 if name == "long" else 3.0)
    (tmp_path / "cut.bvh").write_text((tmp_path / "cut.bvh").read_text()[:-500])
    (tmp_path / "long.wav").write_bytes((tmp_path / "good.wav").read_bytes())
    pairs, _ = match_files(tmp_path)
    with pytest.raises(InputError, match="cut.bvh"):
        usable_takes(pairs)
    assert [bvh.stem for bvh, _ in usable_takes(pairs, skip=True)] == ["good"]
    said = capsys.readouterr().err
    assert said.count("left out:") == 2 and "long.bvh: the motion lasts 6.0 s" in said


# ---- rights ------------------------------------------------------------------------------------
@pytest.fixture
def closed(monkeypatch):
    """A set of paths that may not be read, as if rights said so; root may read all."""
    paths = set()

    def guarded(usual):
        def reads(path=".", *arguments, **more):
            if str(path) in map(str, paths):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return usual(path, *arguments, **more)

        return reads

    monkeypatch.setattr(os, "scandir", guarded(os.scandir))
    monkeypatch.setattr(io, "open", guarded(io.open))  # of Path.read_bytes
    monkeypatch.setattr(body.bvh, "open", guarded(open), raising=False)
    return paths


def test_a_motion_that_may_not_be_read_is_left_out_with_a_line(tmp_path, closed, capsys):
    for name in ("a", "b", "c"):
        write_take(tmp_path, name, "trinity", 3.0)
    closed.add(tmp_path / "a.bvh")
    pairs, _ = match_files(tmp_path)
    with pytest.raises(InputError, match="a.bvh: cannot be read .Permission denied"):
        usable_takes(pairs)
    assert [bvh.stem for bvh, _ in usable_takes(pairs, skip=True)] == ["b", "c"]
    kept = [pair[0].stem for pair, _, _ in takes_of_one_skeleton(pairs, 20, skip=True)]
    assert kept == ["b", "c"]
    assert capsys.readouterr().err.count("left out: ") == 2
    check(tmp_path)
    said = capsys.readouterr().out
    assert "3, of which 2 can be used" in said and "a.bvh: cannot be read" in said


def test_a_folder_that_may_not_be_read_is_said(tmp_path, closed, capsys):
    touch(tmp_path, *[f"{name}.{e}" for name in ("a", "b", "c", "anna/d") for e in BOTH])
    closed.add(tmp_path / "anna")
    with pytest.raises(InputError, match="anna: cannot be read .Permission denied.*rights.*--skip"):
        find_pairs(tmp_path)
    assert sum(counts(find_pairs(tmp_path, skip=True)).values()) == 3
    assert capsys.readouterr().err.startswith(f"left out: {tmp_path / 'anna'}: cannot be read")
    closed.add(tmp_path)
    with pytest.raises(InputError, match="no pairs of .*Permission denied"):
        match_files(tmp_path)


def test_a_folder_whose_names_alone_may_be_read_is_said(tmp_path, monkeypatch):
    touch(tmp_path, *[f"{name}.{e}" for name in ("a", "anna/d") for e in BOTH])
    is_file = Path.is_file

    def refuse(path):
        if path.parent.name == "anna":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refuse)
    pairs, odd = match_files(tmp_path)
    assert [bvh.stem for bvh, _ in pairs] == ["a"]
    assert [path for path, what in odd if "cannot be read" in what] == [tmp_path / "anna"]
