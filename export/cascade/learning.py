"""How the gate and the head learn."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


def learn(
    parameters: Iterable[nn.Parameter], loss: Callable[[], Tensor], steps: int, rate: float, decay: float
) -> None:
    """So many steps of AdamW, whose rate rises to `rate` and falls to nothing. loss: of the next batch."""
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    for _ in range(steps):
        optimiser.zero_grad()
        loss().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()


def cross_entropy(logits: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """The mean over all, each by its weight. wanted: probabilities."""
    return nn.functional.binary_cross_entropy_with_logits(logits, wanted, weight=weights)


def weights_of(wanted: Tensor) -> Tensor:
    """[windows], of the scores that are to be foretold, [windows].

    As much is learned of windows with a bird as of those without, however rare they are.
    """
    heard = wanted >= 0.5 * float(wanted.max())
    share = float(heard.float().mean().clamp(0.1, 0.9))
    return torch.where(heard, 0.5 / share, 0.5 / (1 - share))
