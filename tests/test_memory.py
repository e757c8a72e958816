"""Freed memory stays with the process where its user has not said otherwise."""

import ctypes
from types import SimpleNamespace

import pytest

from neurocodec import memory


@pytest.fixture
def asked(monkeypatch):
    """What the C library is asked for, by parameter."""
    found: dict[int, int] = {}
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=found.__setitem__))
    for name in memory._SET_BY_USERS:
        monkeypatch.delenv(name, raising=False)
    return found


def test_a_gigabyte_is_kept(asked):
    memory.keep_freed()
    assert asked == {-3: 1 << 28, -1: 1 << 30}


def test_what_the_environment_says_stays(asked, monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    memory.keep_freed()
    assert not asked


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    memory.keep_freed()
