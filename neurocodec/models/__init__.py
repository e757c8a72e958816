"""The one registry of architectures, readable without torch: name, permanent number, payload layout, network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from neurocodec.payload import CodedPasses, RawPasses


@dataclass(frozen=True)
class Architecture:
    """An entry. `name` and `number` are permanent; `network()` is the network's class, whose module imports torch."""

    name: str
    number: int
    summary: str
    layout: RawPasses | CodedPasses
    network: Callable[[], Any]


ARCHITECTURES: dict[str, Architecture] = {}


def register(
    name: str, number: int, summary: str, layout: RawPasses | CodedPasses
) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Decorate a function that imports a network's class. Raises ValueError when the name or the number is taken."""

    def add(network: Callable[[], Any]) -> Callable[[], Any]:
        if name in ARCHITECTURES or any(a.number == number for a in ARCHITECTURES.values()):
            raise ValueError(f"model name {name!r} or number {number} is already registered")
        ARCHITECTURES[name] = Architecture(name, number, summary, layout, network)
        return network

    return add


@register(
    "conv-lstm",
    number=1,
    summary="progressive recurrent codec of Toderici et al.; raw bits, 0.125 bpp per pass",
    layout=RawPasses(bits=32, stride=16, max_passes=16),
)
def conv_lstm() -> Any:
    from neurocodec.models.conv_lstm import ConvLSTM

    return ConvLSTM


@register(
    "fc-residual-shared",
    number=2,
    summary="fully connected residual network of Toderici et al., one set of weights; raw bits, 0.0625 bpp per pass",
    layout=RawPasses(bits=4, stride=8, max_passes=16, default_passes=16),
)
def fc_residual_shared() -> Any:
    from neurocodec.models.fc import FcResidualShared

    return FcResidualShared


@register(
    "fc-residual",
    number=3,
    summary="fully connected residual network of Toderici et al., weights per pass; raw bits, 0.0625 bpp per pass",
    layout=RawPasses(bits=4, stride=8, max_passes=16, default_passes=16),
)
def fc_residual() -> Any:
    from neurocodec.models.fc import FcResidual

    return FcResidual


@register(
    "fc-lstm",
    number=4,
    summary="fully connected LSTM network of Toderici et al.; raw bits, 0.0625 bpp per pass",
    layout=RawPasses(bits=4, stride=8, max_passes=16, default_passes=16),
)
def fc_lstm() -> Any:
    from neurocodec.models.fc import FcLSTM

    return FcLSTM


@register(
    "conv-residual-shared",
    number=5,
    summary="convolutional residual network of Toderici et al., one set of weights; raw bits, 0.125 bpp per pass",
    layout=RawPasses(bits=2, stride=4, max_passes=8),
)
def conv_residual_shared() -> Any:
    from neurocodec.models.conv_residual import ConvResidualShared

    return ConvResidualShared


@register(
    "conv-residual",
    number=6,
    summary="convolutional residual network of Toderici et al., weights per pass; raw bits, 0.125 bpp per pass",
    layout=RawPasses(bits=2, stride=4, max_passes=8),
)
def conv_residual() -> Any:
    from neurocodec.models.conv_residual import ConvResidual

    return ConvResidual


@register(
    "conv-autoencoder",
    number=7,
    summary="convolutional autoencoder of Toderici et al., one network per rate; raw bits, 0.5 or 1 bpp",
    layout=RawPasses(bits=8, stride=4, max_passes=1, default_passes=1),
)
def conv_autoencoder() -> Any:
    from neurocodec.models.conv_residual import ConvAutoencoder

    return ConvAutoencoder


@register(
    "preview",
    number=8,
    summary="thumbnails in 16 to 256 bytes; a scalar latent binarized plane by plane, entropy-coded",
    layout=CodedPasses(stride=8, max_pixels=1 << 16, default_bytes=64, fit=32, search=True),
)
def preview() -> Any:
    from neurocodec.models.preview import Preview

    return Preview


@register(
    "photo",
    number=9,
    summary="whole pictures; a scalar latent binarized plane by plane, entropy-coded",
    layout=CodedPasses(stride=16, max_pixels=1 << 27, default_bpp=0.5),
)
def photo() -> Any:
    from neurocodec.models.photo import Photo

    return Photo
