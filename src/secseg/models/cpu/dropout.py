"""Element-wise dropout whose mask costs little on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Dropout(nn.Dropout):
    """``nn.Dropout`` that on a CPU draws its mask from random bytes, eight at a time: torch's own draws one number
    after the other, and in a head that is trained on cached features took a fifth of the step.

    The probability is rounded to a multiple of 1/256 there, and so is what the kept elements are divided by: the
    expectation is exact. On other devices it is ``nn.Dropout``.
    """

    def forward(self, input: Tensor) -> Tensor:
        dropped = round(256 * self.p)
        if not self.training or input.device.type != "cpu" or not 0 < dropped < 256:
            return super().forward(input)
        words = torch.empty(-(-input.numel() // 8), dtype=torch.int64).random_(-(2**63), None)  # all of their bits
        kept = torch.empty_like(input)  # the input's type: mixed ones are multiplied several times slower
        kept.as_strided((kept.numel(),), (1,)).copy_(words.view(torch.uint8)[: kept.numel()].ge_(dropped))
        return (input * kept).mul_(256 / (256 - dropped))
