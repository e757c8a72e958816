"""Frozen streams of every shipped model decode to the pixels they had when they were made, whole and cut.

`pytest tests/test_golden.py --regenerate-golden -k MODEL` makes those of the chosen models anew; only new weights or a new version of
the format may ask for that.
"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import neurocodec
from neurocodec import precision
from neurocodec.models import packed

GOLDEN = Path(__file__).parent / "golden"
MODELS = [model.name for model in neurocodec.list_models()]
SIZES = {"small": (64, 48), "large": (192, 160)}


def path(model: str, size: str, suffix: str) -> Path:
    return GOLDEN / f"{model}-{size}{suffix}"


@pytest.fixture(scope="module", autouse=True)
def regenerated(request, photos):
    if request.config.getoption("--regenerate-golden"):
        GOLDEN.mkdir(exist_ok=True)
        chosen = {item.callspec.params["model"] for item in request.session.items if item.path == Path(__file__)}
        for model in sorted(chosen):
            for (size, (width, height)), photo in zip(SIZES.items(), photos[1:], strict=False):
                budget = width * height // 16  # 0.5 bpp
                stream = neurocodec.encode(photo[:height, :width], model=model, bytes=budget, fit=width)
                path(model, size, ".nci").write_bytes(stream)
                for name, part in (("", stream), ("-cut", cut(stream))):
                    neurocodec.decode(part).save(path(model, size, f"{name}.png"))


def cut(stream: bytes) -> bytes:
    return stream[: len(stream) * 2 // 3]


def assert_shown(model: str, size: str) -> None:
    """To within a level; where decoders round to bfloat16, or to float32, two but for one value in ten thousand, nowhere four."""
    stream = path(model, size, ".nci").read_bytes()
    assert neurocodec.info(stream).model == model.partition(".")[0]
    for name, part in (("", stream), ("-cut", cut(stream))):
        with Image.open(path(model, size, f"{name}.png")) as golden:
            difference = np.abs(np.asarray(golden, np.int16) - np.asarray(neurocodec.decode(part), np.int16))
        assert difference.shape[1::-1] == SIZES[size]
        assert difference.mean() < 0.25
        if model == "photo":
            assert difference.max() < 4 and (difference > 2).mean() < 1e-4
        else:
            assert difference.max() <= 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("model", MODELS)
def test_pixels(model, size):
    assert_shown(model, size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("model", ["photo"])
def test_pixels_of_a_processor_without_bfloat16(model, size, monkeypatch, request):
    for module in (packed, precision):
        monkeypatch.setattr(module, "has_bfloat16", lambda: False)
    packed.packed.cache_clear()
    request.addfinalizer(packed.packed.cache_clear)
    assert_shown(model, size)


@pytest.mark.parametrize("model", MODELS)
def test_prefixes(model):
    """Every one of the small stream, many of the large one."""
    for size, step in (("small", 1), ("large", 97)):
        stream = path(model, size, ".nci").read_bytes()
        head = len(stream) - len(neurocodec.unpack(stream))
        for length in range(head + 1, len(stream) + 1, step):
            assert neurocodec.decode(stream[:length]).size == SIZES[size]
        for length in range(head + 1):
            with pytest.raises(neurocodec.StreamError):
                neurocodec.decode(stream[:length])
