"""Is the answer right, and if not, which mistake is it? Used by the exercises of the notebooks.

    checks.q_sample(my_q_sample)     ->  'right: ...', 'empty: ...', or 'wrong: ...' with a hint

Each check runs the answer on a few inputs and compares it with the project's own code. Where they
differ, it compares with what common mistakes give on the same inputs. The mistake that fits is the
hint; if none fits, one line says how the answer differs. The comparing is in judging.py, and each
notebook's checks are in a file of their own.

Teachers: the answers are in solutions.py. A new exercise is one more function in the file of its
notebook, with its mistakes beside it.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from checks.changes import (  # noqa: E402
    eps_from_v,
    frames_back,
    poses_from_news,
    window_mask,
)
from checks.diffusion import ddim_step, half_noise, posterior_mean, q_sample  # noqa: E402
from checks.hearing import cepstra, hz_to_mel, sight_and_step, wavlm_rows  # noqa: E402
from checks.motion import (  # noqa: E402
    euler_zxy,
    exponential_map,
    facing,
    forward_kinematics,
    half_way,
)
from checks.network import adaln_share, attended, causal_mask, modulated, rotated  # noqa: E402
from checks.scores import beat_f1, chance_hits, frechet_distance  # noqa: E402
from checks.training import (  # noqa: E402
    best_loss,
    ema_update,
    guided,
    half_forgotten,
    learning_rate,
)

EXERCISES = {  # notebook: its exercises that are checked, in their order
    1: (euler_zxy, exponential_map, forward_kinematics, half_way, facing),
    2: (hz_to_mel, cepstra, sight_and_step, wavlm_rows),
    3: (q_sample, posterior_mean, ddim_step, half_noise),
    4: (modulated, attended, causal_mask, rotated, adaln_share),
    5: (best_loss, ema_update, learning_rate, guided, half_forgotten),
    6: (frechet_distance, beat_f1, chance_hits),
    7: (eps_from_v, poses_from_news, window_mask, frames_back),
}
