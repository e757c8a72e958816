"""What several test files share: real pictures of different kinds, small."""

import numpy as np
import pytest
import skimage


@pytest.fixture(scope="session")
def photos() -> list[np.ndarray]:
    """Four photographs, uint8 (160, 192, 3), from scikit-image's samples."""
    names = ("astronaut", "chelsea", "coffee", "rocket")
    return [np.ascontiguousarray(getattr(skimage.data, name)()[20:180, 100:292]) for name in names]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate-golden", action="store_true", help="write tests/golden/ anew, after weights or the format changed"
    )
