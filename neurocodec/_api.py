"""The public calls: what the command line and Python users share."""

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from neurocodec import bitstream, images, weights
from neurocodec.bitstream import Header
from neurocodec.errors import ModelError, NeurocodecError
from neurocodec.payload import CodedPasses, RawPasses, ScenePasses
from neurocodec.weights import Model

if TYPE_CHECKING:
    from neurocodec.codec import Codec, LatentCodec

DEFAULT_MODEL = "photo"
PREVIEW_MODEL, PREVIEW_SIDE = "preview", 64  # pixels: up to here a picture is a preview of one
Progress = Callable[[int, int], None]
Octets = bytes  # `bytes` is also the name of an option


@dataclass(frozen=True)
class Info:
    """What a stream says of itself without being decoded.

    model: architecture name; width, height: pixels; passes: whole ones; bytes: of the stream; bpp: of the stream;
    pass_bytes: payload bytes of each pass, the last one perhaps cut; container: False for a header-less stream.
    """

    model: str
    width: int
    height: int
    passes: int
    bytes: int
    bpp: float
    pass_bytes: list[int]
    container: bool


def load(model: str | os.PathLike = DEFAULT_MODEL) -> "Codec":
    """The codec of a model, its weights in memory. Raises ModelError."""
    return _codec(weights.find(model))


def list_models() -> list[Model]:
    """The models that came with the package."""
    return weights.shipped()


def encode(
    image: images.Source,
    *,
    model: str | os.PathLike | None = None,
    passes: int | None = None,
    bytes: int | None = None,
    bpp: float | None = None,
    ssim: float | None = None,
    fit: int | None = None,
    effort: int = 1,
    headerless: bool = False,
    checksum: bool = False,
    progress: Progress | None = None,
) -> Octets:
    """Encode a picture (path, bytes, binary file, PIL image or uint8 array) to a stream.

    model: by default `preview` where both sides are at most 64 pixels, else `photo`.
    At most one of: passes; bytes or bpp, hard limits on the whole stream; ssim, reached at the first pass that does. Where these
    passes are fewer bytes than a decoder takes (1; more above two megapixels), it is so many of more passes. By default
    64 bytes for `preview`, 0.5 bpp for `photo`, 8 or 16 passes for the others.
    fit scales the picture down to a long side of that many pixels; `preview` does so to 32 where a side is above 64.
    effort, 1 to 9: above 1, `preview` and its variants search for better bits, twice as long at each level: the best that so
    many bytes can be, or, asked for passes or ssim, for every length of the stream.
    headerless leaves only the payload, without size, model and alpha. checksum protects the payload.
    progress is called with (passes done, passes expected).
    Raises NeurocodecError for a picture or a request that cannot be served, ModelError for a model that is not here.
    """
    if sum(value is not None for value in (passes, bytes, bpp, ssim)) > 1:
        raise NeurocodecError("at most one of passes, bytes, bpp and ssim can be asked for")
    if ssim is not None and not 0 < ssim <= 1:
        raise NeurocodecError("an SSIM target must be above 0 and at most 1")
    picture, found = prepare(image, model, fit)
    layout = found.layout
    width, height = picture.width, picture.height
    room = None
    if passes is bytes is bpp is ssim is None:
        passes, bytes, room = layout.default_passes, layout.default_bytes, layout.default_room(width, height)
    if passes is None:
        passes = layout.max_passes
    if not 1 <= passes <= layout.max_passes:
        raise NeurocodecError(f"passes must be 1 to {layout.max_passes}")
    if not 1 <= effort <= 9:
        raise NeurocodecError("effort must be 1 to 9")
    if effort > 1 and not layout.search:
        raise NeurocodecError(f"{found.name} knows no effort but 1")

    def container(payload: Octets) -> Octets:
        if headerless:
            return payload
        alpha = None if picture.alpha is None else bitstream.pack_alpha(picture.alpha)
        header = Header(found.architecture.number, found.fingerprint, width, height, alpha, checksum)
        return bitstream.write(header, payload)

    if bytes is not None or bpp is not None:
        least, most = layout.least(width, height), layout.most(width, height)
        room = _room(_budget(bytes, bpp, width * height), least, most, lambda n: len(container(b"\0" * n)))
        passes = layout.passes_in(room, width, height)
    search = []  # for models that know one
    if effort > 1:
        from neurocodec.search import refine

        search = [partial(refine, objective=found.objective, rounds=2**effort, payload=room)]
    target = images.to_image(replace(picture, alpha=None)) if ssim is not None else None
    codec = _codec(found)

    def codes() -> Iterator[Any]:
        for n, done in enumerate(codec.encode(picture, *search), 1):
            yield done.codes
            if progress:
                progress(n, passes)
            if n == passes:
                return
            if target is not None:
                from neurocodec import metrics

                shown = images.to_image(done.picture)
                if metrics.ssim(np.asarray(target), np.asarray(shown)) >= ssim:
                    return

    payload = layout.pack(codes(), width, height, room)
    if len(payload) < (least := layout.least(width, height)):  # no decoder takes so few: the first bytes of more passes instead
        passes, target = layout.max_passes, None
        payload = layout.pack(codes(), width, height, least)
    return container(payload)


def prepare(image: images.Source, model: str | os.PathLike | None, fit: int | None) -> tuple[images.Picture, Model]:
    """The picture that `encode` encodes, of the size that a header-less stream is decoded with, and the model it takes."""
    picture = images.load(image)
    found = _chosen(model, picture.width, picture.height)
    if fit is None and max(picture.width, picture.height) > PREVIEW_SIDE:
        fit = found.architecture.layout.fit
    return picture if fit is None else images.fit(picture, fit), found


def _chosen(model: str | os.PathLike | None, width: int, height: int) -> Model:
    """The model asked for, or the one that follows from the picture's size."""
    return weights.find(model or (PREVIEW_MODEL if max(width, height) <= PREVIEW_SIDE else DEFAULT_MODEL))


def _budget(limit: int | None, bpp: float | None, pixels: int) -> int:
    """A limit in bytes, however it was said. Raises NeurocodecError unless bpp is a positive number."""
    if limit is not None:
        return limit
    if not 0 < bpp < math.inf:
        raise NeurocodecError("bpp must be a positive number")
    return int(bpp * pixels / 8)


def _room(budget: int, least: int, most: int, total: Callable[[int], int]) -> int:
    """The largest payload, at most `most`, whose stream is within the budget.

    total: bytes of the stream with a payload of that many. Raises NeurocodecError when it is below the least.
    """
    room = min(budget - total(0), most)
    while room >= least and total(room) > budget:  # a longer payload may need a longer length field
        room -= 1
    if room < least:
        raise NeurocodecError(f"a budget of {budget} bytes is too small: {total(least)} are the least for this picture")
    return room


def decode(
    data: Octets,
    *,
    passes: int | None = None,
    bytes: int | None = None,
    model: str | os.PathLike | None = None,
    size: tuple[int, int] | None = None,
    upscale: tuple[int, int] | None = None,
) -> Image.Image:
    """Decode a stream, or only its first passes or bytes, to a PIL image, mode RGB, or RGBA where alpha was kept.

    upscale: a size (width, height) to which the picture is smoothly enlarged.

    A header-less stream needs its size (width, height) and, unless it is the default, its model; a container needs a
    model only when its weights did not come with the package.
    Raises StreamError for bytes that are not a valid stream, ModelError for a model that is not here.
    """
    return decoded(data[:bytes], passes, model, size, upscale)[0]


def decoded(
    data: Octets,
    passes: int | None,
    model: str | os.PathLike | None,
    size: tuple[int, int] | None,
    upscale: tuple[int, int] | None,
) -> tuple[Image.Image, Header, int]:
    """What `decode` gives of all the data, the stream's header, and how many whole passes were decoded."""
    if passes is not None and passes < 1:
        raise NeurocodecError("passes must be at least 1")
    header, payload = _open(data, model, size)
    found = _model_of(header, model)
    layout, width, height = found.layout, header.width, header.height
    codes, whole = layout.unpack(payload, width, height), 0
    alpha = None if header.alpha is None else bitstream.unpack_alpha(header.alpha, width, height)
    for last in _codec(found).decode(islice(codes, passes), width, height):
        last.state
        whole += layout.is_whole(last.codes, width, height)
    shown = images.to_image(replace(last.picture, alpha=alpha))
    if upscale is not None:
        bitstream.check_size(*upscale)
        shown = shown.resize(upscale, Image.Resampling.BICUBIC)
    return shown, header, whole


def info(data: Octets, *, model: str | None = None, size: tuple[int, int] | None = None) -> Info:
    """What a stream says of itself; of a header-less one when its size (and model) are given. Raises StreamError."""
    header, payload = _open(data, model, size)
    architecture = weights.architecture_of(header.model)
    width, height = header.width, header.height
    sizes, whole = _layout_of(header, model).sizes(payload, width, height)
    return Info(
        architecture.name,
        width,
        height,
        whole,
        len(data),
        8 * len(data) / (width * height),
        sizes,
        size is None,
    )


def truncate(
    data: Octets,
    *,
    passes: int | None = None,
    bytes: int | None = None,
    bpp: float | None = None,
    model: str | os.PathLike | None = None,
) -> Octets:
    """A shorter stream, cut without decoding: to whole passes, or to a hard limit in bytes or bpp on the whole stream.

    model: as of `decode`, for a stream whose weights did not come with the package.
    Raises StreamError for bytes that are not a valid container, NeurocodecError for a budget that is too small.
    """
    if sum(value is not None for value in (passes, bytes, bpp)) != 1:
        raise NeurocodecError("exactly one of passes, bytes and bpp must be asked for")
    header, payload = bitstream.read(data)
    width, height = header.width, header.height
    layout = _layout_of(header, model)
    layout.sizes(payload, width, height)
    if passes is not None:
        if passes < 1:
            raise NeurocodecError("passes must be at least 1")
        return bitstream.write(header, layout.cut(payload, passes, width, height))
    least = layout.least(width, height)
    budget = _budget(bytes, bpp, width * height)
    room = _room(budget, least, len(payload), lambda n: len(bitstream.write(header, b"\0" * n)))
    return bitstream.write(header, payload[:room])


def pack(payload: Octets, *, size: tuple[int, int], model: str | None = None, checksum: bool = False) -> Octets:
    """A container around a header-less payload. Raises StreamError when it does not fit the size."""
    header, payload = _open(payload, model, size)
    info(payload, model=model, size=size)
    return bitstream.write(replace(header, checksum=checksum), payload)


def unpack(data: Octets) -> Octets:
    """The header-less payload of a container; size, model and alpha are left behind. Raises StreamError."""
    return bitstream.read(data)[1]


def _open(data: Octets, model: str | os.PathLike | None, size: tuple[int, int] | None) -> tuple[Header, Octets]:
    """Header and payload of a container, or of a header-less stream when a size is given."""
    if size is None:
        return bitstream.read(data)
    bitstream.check_size(*size)
    found = _chosen(model, *size)
    return Header(found.architecture.number, found.fingerprint, *size), data


def _model_of(header: Header, model: str | os.PathLike | None) -> Model:
    """The model that decodes. Raises ModelError when the one asked for has other weights than the stream names."""
    if model is None:
        return weights.find_for(header.model, header.fingerprint)
    found = weights.find(model)
    if (found.architecture.number, found.fingerprint) != (header.model, header.fingerprint):
        raise ModelError(f"the stream was written with other weights than {found.name} (fingerprint {header.fingerprint:04x})")
    return found


def _layout_of(header: Header, model: str | os.PathLike | None) -> RawPasses | CodedPasses:
    """How a stream's payload is laid out, which the very weights say; of raw passes, where these are not here, their architecture."""
    try:
        return _model_of(header, model).layout
    except ModelError:
        layout = weights.architecture_of(header.model).layout
        if isinstance(layout, RawPasses):
            return layout
        raise


def _codec(model: Model) -> "Codec | LatentCodec":
    from neurocodec.codec import Codec, LatentCodec

    layout = model.layout
    if isinstance(layout, ScenePasses):
        return _scene_codec(model, model.path.stat().st_mtime_ns)
    kind = Codec if isinstance(layout, RawPasses) else LatentCodec
    return kind(_network(model), layout)


def _network(model: Model) -> Any:
    """As coders run it; those of thumbnails as they are, as a search takes gradients of them."""
    from neurocodec.models.packed import packed

    network = weights.network(model.path)
    return packed(network) if getattr(network, "of_photos", False) else network


@lru_cache(maxsize=4)
def _scene_codec(model: Model, modified: int) -> "LatentCodec":
    """The codec of a camera's variant, as its file was when it was modified."""
    from neurocodec.scene import SceneCodec

    camera, base = model.camera, model.base
    scene = images.load(decode(camera.scene))
    network, objective = _network(model), base.objective
    return SceneCodec(network, model.layout, _codec(base), scene, camera.gains, camera.lacking, objective, camera.localisation)
