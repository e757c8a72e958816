"""1x1 convolutions."""

from torch import Tensor, nn


class Pointwise(nn.Linear):
    """1x1 convolution of (N, C, h, w) as a matrix product, which is the faster of the two on processors."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
