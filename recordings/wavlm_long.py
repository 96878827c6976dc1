"""WavLM's hidden states for speech of any length, in pieces, with flat memory.

hidden_states puts the pieces together. normaliser, convolve and transform are the three parts of
the network; each says what a piece changes in it.

How far are pieces from the whole? On 28 s of real speech, random weights, layer 12: root mean
square of the difference, over the deviation of the whole (python -m lab.hearing FILE --random
--pieces):

    context   pieces of 5 s   10 s   20 s
      0           0.50        0.32   0.25
      0.5 s       0.44        0.29   0.24
      1.3 s       0.38        0.28   0.23
      2.0 s       0.36        0.28   0.24
      5.0 s       0.26        0.24

Random attention looks everywhere alike, so this is the worst case. In layer 0 the difference is
2e-7 from a context of 1.28 s (64 features) on, the reach of the position convolution. If each
piece had a normalisation of its own, it would be 0.16.

The window of a piece and its context is 15 s. WavLM follows HuBERT, which was trained on at most
15.6 s at once (fairseq, hubert_base_librispeech.yaml). It is also the cheapest length: shorter
pieces compute more rows twice, and the cost of attention grows with the square of the length.
"""

import torch
from tqdm import tqdm

STRIDE, FIELD = 320, 400  # samples between features, and samples that one feature sees
PIECE, CONTEXT = 625, 64  # features: 12.5 s, and 1.28 s on both sides
CONVOLVED = 250  # features (5 s) that are convolved at once: the first layer is 64 times as long

# On a GPU, convolutions round float32 inputs to 10 bits unless told not to: an error of 1e-3
full_precision = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


@torch.no_grad()
def hidden_states(wavlm, waveform, layers, piece=PIECE, context=CONTEXT):
    """Waveform [samples] -> yields consecutive pieces [n, len(layers) * width], 50 rows a second.

    wavlm    torchaudio's model
    layers   0, what enters the first block, to 12, what leaves the last. torchaudio's
             extract_features gives layers 1 to 12, at its indices 0 to 11

    A recording of up to piece + 2 context features goes through whole. A longer one goes through
    in pieces with `context` features on both sides, which are thrown away. Three parts of the
    network mix times, and this is what a piece changes in them:
    - the first layer's normalisation runs over the whole recording, and is worked out for it;
    - the convolutions see 25 ms, the position convolution 64 features on each side: no change;
    - attention misses what lies outside the piece and its context.

    One recording at a time, because torchaudio's WavLM cannot mask the padding of a batch
    (pytorch/audio issue 3700), and unmasked padding changes the first layer's normalisation.
    """
    device = next(wavlm.parameters()).device
    waveform = torch.nn.functional.pad(waveform, (0, max(0, FIELD - len(waveform))))
    first_layer = wavlm.feature_extractor.conv_layers[0]
    scale, shift = (x.to(device) for x in normaliser(first_layer, waveform))
    features = (len(waveform) - FIELD) // STRIDE + 1
    piece = piece if features > piece + 2 * context else features
    # The position bias is the same for all pieces
    rows = min(features, piece + 2 * context)
    attention = wavlm.encoder.transformer.layers[0].attention
    bias = attention.compute_bias(rows, rows)[None].contiguous()  # [1, 12, rows, rows]
    starts = range(0, features, piece)
    bar = tqdm(starts, desc="WavLM", unit="piece", leave=False, disable=features <= 4 * piece)
    held, first = None, 0  # convolved features that are still needed, and the number of their first
    for start in bar:
        stop = min(start + piece, features)
        low, high = max(0, start - context), min(features, stop + context)
        done = 0 if held is None else first + len(held)
        for begin in range(done, high, CONVOLVED):
            end = min(begin + CONVOLVED, high)
            part = waveform[STRIDE * begin : STRIDE * (end - 1) + FIELD].to(device)
            new = convolve(wavlm, part, scale, shift)  # [end - begin, 512]
            held = new if held is None else torch.cat([held, new])
        held, first = held[low - first :], low  # [high - low, 512]
        states = transform(wavlm, held, layers, bias)[start - low : stop - low]
        yield states.float().cpu()  # [stop - start, len(layers) * width]


def normaliser(layer, waveform):
    """The first layer's normalisation over the whole recording -> scale, shift [512, 1].

    Each of the 512 channels is normalised over time:

        y = (w p - mean) / sqrt(variance + eps) * weight + bias = scale w p + shift

    A channel is a weighted sum w p of ten samples p. So mean and variance need no pass through the
    layer: they are w E[p] and w Cov[p] w. In float64, because they are sums over an hour and the
    difference of two of them.
    """
    windows = waveform.unfold(0, layer.conv.kernel_size[0], layer.conv.stride[0])  # [T, 10], a view
    taps = windows.shape[1]
    total = torch.zeros(taps, dtype=torch.float64)
    squares = torch.zeros(taps, taps, dtype=torch.float64)
    for part in windows.split(2**16):
        part = part.double()
        total += part.sum(dim=0)
        squares += part.T @ part
    mean = total / len(windows)  # [10]
    covariance = squares / len(windows) - mean[:, None] * mean  # [10, 10]
    w = layer.conv.weight[:, 0].double().cpu()  # [512, 10]
    variance = ((w @ covariance) * w).sum(dim=1).clamp(min=0)  # [512]
    norm = layer.layer_norm
    scale = norm.weight.double().cpu() / (variance + norm.eps).sqrt()
    shift = norm.bias.double().cpu() - scale * (w @ mean)
    return scale.float()[:, None], shift.float()[:, None]  # [512, 1] each


@full_precision
def convolve(wavlm, waveform, scale, shift):
    """The seven convolutions. Waveform [samples] -> [K, 512], K = (samples - 400) // 320 + 1."""
    first, *others = wavlm.feature_extractor.conv_layers
    x = first.conv(waveform[None, None]) * scale + shift  # [1, 512, samples / 5]
    x = torch.nn.functional.gelu(x)
    for layer in others:
        x, _ = layer(x, None)  # [1, 512, half as many]
    return x[0].T  # [K, 512]


@full_precision
def transform(wavlm, convolved, layers, bias):
    """The transformer. Convolved [K, 512] -> hidden states side by side [K, len(layers) * width].

    bias [1, heads, >= K, >= K] is the first block's compute_bias: how much a row cares for one so
    far away. torchaudio computes it once, too, and hands it on from block to block.
    """
    transformer = wavlm.encoder.transformer
    x = wavlm.encoder.feature_projection(convolved[None])  # [1, K, width]
    x = transformer.layer_norm(x + transformer.pos_conv_embed(x))
    bias = bias[:, :, : len(convolved), : len(convolved)]  # [1, heads, K, K]
    states = [x]
    for block in transformer.layers[: max(layers)]:
        x, _ = block(x, position_bias=bias)
        states.append(x)
    return torch.cat([states[n][0] for n in layers], dim=1)  # [K, len(layers) * width]
