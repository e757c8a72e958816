"""`photo`: the codec of whole pictures (`models/transform_coder.py`), 256 numbers per 16x16 pixels.

Bottlenecks keep it at 17 kMAC per pixel to encode, and a slender synthesis at 16 to decode.
"""

from collections.abc import Sequence
from typing import Any

from neurocodec.models.transform_coder import TransformCoder


class Photo(TransformCoder):
    """Maps at 1/4, 1/8 and 1/16."""

    unshuffle, stride = 4, 16
    finest, of_photos = 0.1, True

    def __init__(
        self,
        channels: int = 256,
        widths: Sequence[int] = (96, 160, 256),
        blocks: Sequence[int] = (2, 3, 4),
        block: str | Sequence[str] = "bottleneck",
        **options: Any,
    ):
        super().__init__(channels, widths, blocks, block, **options)
