"""Several recordings in one batch of the network. Who shares a batch never changes a motion."""

import torch

from beyond.stream import generate_by_recipe

BATCH_FRAMES = 8000  # with the padding: 100 MB of activations at the small size


def in_batches(jobs, copies=1):
    """Jobs (name, waveform, speech [1, F, S]) -> lists of jobs whose lengths roughly agree.

    A batch is as long as its longest job; at most a quarter of it may be padding.
    """
    waiting = []
    for job in jobs:
        lengths = [speech.shape[1] for _, _, speech in (*waiting, job)]
        padded = max(lengths) * len(lengths)
        if waiting and (padded * copies > BATCH_FRAMES or sum(lengths) < 0.75 * padded):
            yield waiting
            waiting = []
        waiting.append(job)
    if waiting:
        yield waiting


def together(generator, speeches, seeds, **settings):
    """Speech [1, F_i, S] of any lengths and a seed for each -> Motions, each as it would be alone.

    Short clips are padded with zeros, which is what a clip by itself hears behind its end, and the
    motion looks at nothing beyond its segment.
    """
    model = generator.model
    if hasattr(model, "generate"):  # baselines, which know nothing of seeds in a batch
        pairs = zip(speeches, seeds)
        return [generator(speech, seed=seed, **settings)[0] for speech, seed in pairs]
    longest = max(speech.shape[1] for speech in speeches)
    padded = [torch.nn.functional.pad(s, (0, 0, 0, longest - s.shape[1])) for s in speeches]
    batch = torch.cat(padded)  # [n, longest, S]
    poses = generate_by_recipe(model, generator.schedule, batch, seed=list(seeds), **settings)
    poses = poses.float().cpu().numpy()  # [n, longest, P]
    return [generator.motion_of(pose[: speech.shape[1]]) for pose, speech in zip(poses, speeches)]
