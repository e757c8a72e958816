"""What several test files share: real pictures of different kinds, small, and a folder to work in."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image

import neurocodec

pytest.register_assert_rewrite("command", "pictures")
from command import SIZE  # noqa: E402, rewritten only if it is registered first


@pytest.fixture(scope="session")
def photos() -> list[np.ndarray]:
    """Four photographs, uint8 (160, 192, 3), from scikit-image's samples."""
    names = ("astronaut", "chelsea", "coffee", "rocket")
    return [np.ascontiguousarray(getattr(skimage.data, name)()[20:180, 100:292]) for name in names]


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    rows, columns = np.mgrid[: SIZE[1], : SIZE[0]]
    return np.dstack([rows * 7, columns * 3, rows + columns]).astype(np.uint8)


@pytest.fixture(scope="module")
def raw_passes() -> Iterator[None]:
    """What is not a preview goes to a model whose passes have sizes that can be told in advance."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("neurocodec._api.DEFAULT_MODEL", "conv-lstm")
        yield


@pytest.fixture(scope="module")
def stream(pixels) -> bytes:
    return neurocodec.encode(pixels, model="conv-lstm", passes=3)


@pytest.fixture
def here(tmp_path, monkeypatch, pixels, stream) -> Path:
    """A folder to work in, with a picture, a.png, and a stream, s.nci, of three passes."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(pixels).save("a.png")
    Path("s.nci").write_bytes(stream)
    return tmp_path


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate-golden", action="store_true", help="write tests/golden/ anew, after weights or the format changed"
    )
