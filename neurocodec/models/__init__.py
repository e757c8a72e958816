"""The one registry of architectures, readable without torch: name, permanent number, payload layout, network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from neurocodec.bitstream import RawPasses


@dataclass(frozen=True)
class Architecture:
    """An entry. `name` and `number` are permanent; `build(**config)` makes the network, importing torch."""

    name: str
    number: int
    summary: str
    layout: RawPasses
    build: Callable[..., Any]


ARCHITECTURES: dict[str, Architecture] = {}


def register(
    name: str, number: int, summary: str, layout: RawPasses
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a function that builds a network. Raises ValueError when the name or the number is taken."""

    def add(build: Callable[..., Any]) -> Callable[..., Any]:
        if name in ARCHITECTURES or any(a.number == number for a in ARCHITECTURES.values()):
            raise ValueError(f"model name {name!r} or number {number} is already registered")
        ARCHITECTURES[name] = Architecture(name, number, summary, layout, build)
        return build

    return add


@register(
    "conv-lstm",
    number=1,
    summary="progressive recurrent codec of Toderici et al.; raw bits, 0.125 bpp per pass",
    layout=RawPasses(bits=32, stride=16, max_passes=16),
)
def conv_lstm(**config: int) -> Any:
    from neurocodec.models.conv_lstm import ConvLSTM

    return ConvLSTM(**config)
