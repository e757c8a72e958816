"""`preview`: the codec of thumbnails (`models/transform_coder.py`), 96 numbers per 8x8 pixels, nearly all of it 3x3 convolutions."""

from collections.abc import Sequence
from typing import Any

from neurocodec.models.transform_coder import TransformCoder


class Preview(TransformCoder):
    """Maps at 1/2, 1/4 and 1/8."""

    unshuffle, stride = 2, 8
    finest, of_photos = 0.26, False

    def __init__(
        self,
        channels: int = 96,
        widths: Sequence[int] = (64, 128, 256),
        blocks: Sequence[int] = (1, 2, 2),
        block: str | Sequence[str] = "residual",
        **options: Any,
    ):
        super().__init__(channels, widths, blocks, block, **options)
