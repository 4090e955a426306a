"""How much each window counts where a stage learns."""

from __future__ import annotations

import torch
from torch import Tensor


def weights_of(wanted: Tensor) -> Tensor:
    """[windows], of the scores that are to be foretold, [windows].

    As much is learned of windows with a bird as of those without, however rare they are.
    """
    heard = wanted >= 0.5 * float(wanted.max())
    share = float(heard.float().mean().clamp(0.1, 0.9))
    return torch.where(heard, 0.5 / share, 0.5 / (1 - share))
