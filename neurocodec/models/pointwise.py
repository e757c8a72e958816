"""1x1 convolutions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Pointwise(nn.Linear):
    """1x1 convolution of (N, C, h, w), where that is faster as a matrix product.

    That is for maps whose channels are last, but when a processor codes: there the library of convolutions is faster.
    """

    def forward(self, x: Tensor) -> Tensor:
        coding = not torch.is_grad_enabled() and x.device.type == "cpu"
        if coding or x.is_contiguous():
            return F.conv2d(x, self.weight[:, :, None, None], self.bias)
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
