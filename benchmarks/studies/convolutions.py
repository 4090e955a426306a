"""How far scores move where an engine computes FP32 convolutions as Winograd or FFT, as a table in Markdown.

    python -m edgebird.benchmarks.studies.convolutions fold_0_model.bin ...

TensorRT and cuDNN choose such algorithms for 3x3 convolutions by time alone. They are exact in real numbers and lose
digits in FP32. Here they are computed in FP32 on the CPU, every convolution that they can be used for, against the
original network in float64. Winograd: F(m x m, 3 x 3) of A. Lavin, S. Gray, Fast Algorithms for Convolutional Neural
Networks (arXiv:1509.09308); cuDNN has m = 2 and m = 4. The FFT is that of the whole map.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from edgebird.parity import TOLERANCES, Evidence, compare

# m -> B^T, G and A^T: inputs, weights and outputs of a tile.
_WINOGRAD = {
    2: (
        ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
        ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
        ((1, 1, 1, 0), (0, 1, -1, -1)),
    ),
    4: (
        ((4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0),
         (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1)),
        ((1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6),
         (1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6), (0, 0, 1)),
        ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
    ),
}  # fmt: skip
HEADER = "| folds | convolutions | computed as | largest score difference | 99 % within |\n|---|---|---|---|---|"


def winograd(images: Any, convolution: Any, m: int) -> Any:
    """A torch Conv2d of 3x3, stride 1 and padding 1 in tiles of m x m: float32 [n, channels, height, width]."""
    import torch
    from torch.nn.functional import pad

    to_tile, to_weights, to_output = (torch.tensor(matrix, dtype=torch.float32) for matrix in _WINOGRAD[m])
    weight, groups, (count, channels, height, width) = convolution.weight, convolution.groups, images.shape
    weights = (to_weights @ weight @ to_weights.T).unflatten(0, (groups, -1))
    padded = pad(images, (1, 1 + -width % m, 1, 1 + -height % m))
    tiles = to_tile @ padded.unfold(2, m + 2, m).unfold(3, m + 2, m) @ to_tile.T
    tiles = tiles.reshape(count, groups, channels // groups, *tiles.shape[2:])
    output = to_output @ torch.einsum("gocij,ngcxyij->ngoxyij", weights, tiles) @ to_output.T
    output = output.flatten(1, 2).transpose(3, 4).flatten(4, 5).flatten(2, 3)[:, :, :height, :width]
    return output if convolution.bias is None else output + convolution.bias[:, None, None]


def fourier(images: Any, convolution: Any) -> Any:
    """The same by FFT."""
    import torch
    from torch.nn.functional import pad

    groups, size = convolution.groups, (images.shape[2] + 2, images.shape[3] + 2)
    spectrum = torch.fft.rfft2(pad(images, (1, 1, 1, 1))).unflatten(1, (groups, -1))
    weights = torch.fft.rfft2(convolution.weight.flip(2, 3), s=size).unflatten(0, (groups, -1))
    output = torch.fft.irfft2(torch.einsum("gocij,ngcij->ngoij", weights, spectrum), s=size).flatten(1, 2)[:, :, 2:, 2:]
    return output if convolution.bias is None else output + convolution.bias[:, None, None]


WAYS: dict[str, Callable[[Any, Any], Any] | None] = {
    "sums of products": None,
    "Winograd F(2x2, 3x3)": lambda images, convolution: winograd(images, convolution, 2),
    "Winograd F(4x4, 3x3)": lambda images, convolution: winograd(images, convolution, 4),
    "FFT": fourier,
}


def with_convolutions(network: Any, way: Callable[[Any, Any], Any] | None) -> tuple[Any, int]:
    """A copy of a torch network whose 3x3 convolutions of stride 1 and padding 1 are computed so; how many they are."""
    from torch import nn

    copied, count = deepcopy(network), 0
    for module in copied.modules():
        shape = isinstance(module, nn.Conv2d) and (module.kernel_size, module.stride, module.padding, module.dilation)
        if shape == ((3, 3), (1, 1), (1, 1), (1, 1)):
            count += 1
            if way is not None:
                module.forward = lambda images, module=module: way(images, module)
    return copied, count


def rows(network: Any, evidence: Evidence, name: str) -> Iterator[str]:
    """A row for each way, of a frozen network in float32, held to evidence."""
    import torch

    windows = evidence.windows()
    with torch.inference_mode():
        for way, compute in WAYS.items():
            changed, count = with_convolutions(network, compute)
            scores = np.concatenate([changed(torch.from_numpy(window[None])).numpy() for window in windows])
            found = compare(evidence.scores, scores, TOLERANCES["fp32"])
            yield f"| {name} | {count} | {way} | {found.max_abs:.1e} | {found.p99:.1e} |"


def main() -> None:
    """Print the table of fold checkpoints."""
    from edgebird.export.families.registry import read_family

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fold", nargs="+", type=Path)
    print(HEADER)
    for path in parser.parse_args().fold:
        family, checkpoints = read_family([path], None)
        originals = family.load(checkpoints, None, "window")
        for row in rows(originals.freeze(), originals.record_golden(), path.parent.name or path.name):
            print(row, flush=True)


if __name__ == "__main__":
    main()
