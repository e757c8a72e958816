"""neurocodec: a progressive neural image codec. Every prefix of a stream decodes.

>>> data = neurocodec.encode("photo.jpg", bytes=20_000)
>>> neurocodec.decode(data).save("photo.png")

torch is imported only when a network runs.
"""

from neurocodec._api import Info, decode, encode, info, list_models, load, pack, truncate, unpack
from neurocodec.errors import ModelError, NeurocodecError, StreamError

__version__ = "0.1.0"
__all__ = [
    "Info",
    "ModelError",
    "NeurocodecError",
    "StreamError",
    "decode",
    "encode",
    "info",
    "list_models",
    "load",
    "pack",
    "truncate",
    "unpack",
]
