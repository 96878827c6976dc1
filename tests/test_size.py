"""One unit of length for any body: what it is with legs, and how well it is estimated without."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import shared_files
from three_corpora import CORPORA, body, without_legs

from body.bvh import read_bvh
from body.joints import COMMON_BODY, choose_joints
from body.motion import BvhError
from body.pose import PoseCodec
from body.rotations import exp_to_matrix
from body.size import UPPER, common_body, hands_of, height_of
from body.strokes import find_strokes
from recordings.skeletons import extents, refuse_other_unit


@pytest.mark.parametrize("corpus", CORPORA)
def test_a_body_with_legs_is_as_high_as_it_reaches(corpus):
    motion = body(corpus, 1)
    assert height_of(motion) == motion.body_height()


@pytest.mark.parametrize("size", [1.0, 0.01], ids=["cm", "m"])
def test_the_height_of_an_upper_body_goes_by_its_arms(size):
    """Arms of 27 + 25 cm, by Winter's figure 4.1 of a human of 52 / 0.332 = 156.6 cm."""
    motion = without_legs(body("zeggs", 1, size=size))
    assert height_of(motion) == pytest.approx(52 / 0.332 * size)
    raised = replace(motion, rotations=motion.rotations.copy())
    raised.rotations[:, motion.names.index("LeftArm")] = np.eye(3)
    assert height_of(raised) == pytest.approx(height_of(motion)), "in any pose"


@pytest.mark.parametrize(
    "path", shared_files("people/zeggs/*.bvh") + shared_files("people/b*t/*.bvh")
)
def test_the_estimate_agrees_with_the_height_of_recorded_people(path):
    motion = read_bvh(path, 2)
    assert height_of(without_legs(motion)) == pytest.approx(height_of(motion), rel=0.04)


@pytest.mark.parametrize("path", shared_files("people/ted/talk_0*.bvh"))
def test_a_talk_from_video_has_strokes_as_people_have_them(path):
    """In units of its own vertical extent it had up to 116 a minute; ZEGGS has 32."""
    motion = read_bvh(path, 20)
    count = len(find_strokes(motion)[0])
    assert 60 * count / (len(motion) * motion.frame_time) < 70
    assert 0.3 < np.ptp(motion.points()[0][..., 1]) / height_of(motion) < 0.6


def test_what_has_neither_feet_nor_arms_is_as_high_as_it_reaches():
    motion = without_legs(body("zeggs", 1))
    nameless = replace(motion, names=[f"bone{j}" for j in range(len(motion.names))])
    assert height_of(nameless) == nameless.body_height()


def test_an_upper_body_has_its_strokes_and_places_of_the_whole_body():
    whole = body("zeggs", 4)
    upper = without_legs(whole)
    share = height_of(upper) / height_of(whole)
    assert np.allclose(hands_of(upper) * share, hands_of(whole))
    p, q = common_body(whole), common_body(upper)
    legs = [n for n in range(len(COMMON_BODY)) if n not in UPPER]
    assert np.isnan(q[:, legs]).all() and len(legs) == 6
    shares = (q[:, UPPER] - q[:, :1]) / (p[:, UPPER] - p[:, :1] + 1e-9)
    assert np.allclose(np.nanmedian(shares), shares[:, 1:], rtol=1e-3)
    assert np.nanmedian(shares) == pytest.approx(1, abs=0.08), "its unit is estimated"


def test_all_of_an_upper_body_is_upper():
    motion = without_legs(body("beat", 1))
    assert choose_joints(motion, "upper") == list(range(len(motion.names)))
    assert len(choose_joints(motion, "upper,no-fingers")) < len(motion.names)
    assert PoseCodec.fit([motion], 20, joints=choose_joints(motion, "upper")).pose_dim > 0


def test_a_body_with_one_foot_is_no_upper_body():
    motion = body("trinity", 1)
    names = [name.replace("LeftFoot", "LeftPaw") for name in motion.names]
    with pytest.raises(BvhError, match="left foot"):
        common_body(replace(motion, names=names))


def test_an_upper_body_is_in_one_unit_wherever_its_hands_are():
    """From the waist on: 162 cm wide with the arms to the sides, 64 cm high with them folded."""
    wide = without_legs(body("zeggs", 1))
    wide.rotations[:], wide.positions[:, 1:5] = np.eye(3), wide.positions[:, 1:5] / 2
    folded = replace(wide, rotations=wide.rotations.copy())
    for side, up, back in (("Left", -1.2, 2.8), ("Right", 1.2, -2.8)):
        for part, angle in (("Arm", up), ("ForeArm", back)):
            turn = exp_to_matrix(np.array([0, 0, angle]))
            folded.rotations[:, folded.names.index(side + part)] = turn
    assert extents(wide).max() > 2 * extents(folded).max()
    assert refuse_other_unit("folded", folded, refuse_other_unit("wide", wide, None))
