"""`photo`: the codec of whole pictures (`models/transform_coder.py`), 256 numbers per 16x16 pixels.

Bottlenecks keep it at 17 kMAC per pixel to encode and 21 to decode.
"""

from collections.abc import Sequence

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
        up: str = "depth-to-space",
        film: bool = False,
        centred: bool = False,
        pyramid: int = 0,
        halves: bool = False,
        analysis_blocks: Sequence[int] | None = None,
        contexts: int = 48,
    ):
        super().__init__(channels, widths, blocks, block, up, film, centred, pyramid, halves, analysis_blocks, contexts)
