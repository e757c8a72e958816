"""Planes of digits and their range coding: inverse, cut anywhere, and never out of step."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurocodec import planes
from neurocodec.errors import StreamError
from neurocodec.payload import CodedPasses

CHANNELS, STRIDE = 13, 8


def tables(seed: int = 0) -> planes.Tables:
    """Tables that know nothing, but disagree about everything."""
    rng = np.random.default_rng(seed)
    logits = np.arange(-planes.RANGE, planes.RANGE + 1) / planes.FINE
    return planes.Tables(
        tuple(int(t) for t in rng.integers(2, planes.PLANES + 1, CHANNELS)),
        rng.integers(-9, 12, (2, CHANNELS, 9 * CHANNELS)).astype(np.float32),
        rng.integers(-900, 200, (planes.PLANES, planes.CLASSES, 2, CHANNELS)).astype(np.float32),
        np.round(planes.ONE / (1 + np.exp(-logits))).astype(np.int64),
    )


LAYOUT = CodedPasses(STRIDE, max_pixels=1 << 14, default_bytes=64, fit=None, tables=tables())


def latent(width: int, height: int, seed: int) -> np.ndarray:
    map = LAYOUT.known(width, height).map
    largest = planes.BASE**map.top // 2
    return np.clip(np.random.default_rng(seed).laplace(0, 3, map.count).astype(np.int32), -largest, largest)


def codes_of(z: np.ndarray, width: int, height: int) -> tuple[list[np.ndarray], planes.Known]:
    known, codes = LAYOUT.known(width, height), []
    for n in range(planes.PASSES):
        codes.append(known.digits(z, n))
        known.tell(n, codes[-1])
    return codes, known


sizes = st.tuples(st.integers(1, 70), st.integers(1, 70))


@given(sizes, st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_all_planes_tell_the_whole_numbers(size, seed):
    z = latent(*size, seed)
    _, known = codes_of(z, *size)
    assert np.array_equal(known.value, z)


@given(sizes, st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_every_element_lies_within_what_is_known_of_it(size, seed):
    z, known = latent(*size, seed), LAYOUT.known(*size)
    rng = np.random.default_rng(seed)
    for n in range(planes.PASSES):
        digits = known.digits(z, n)
        last = rng.random() < 0.05
        if last:
            digits = digits[: rng.integers(len(digits) + 1)]
        known.tell(n, digits)
        at = known.map.elements[n][: len(digits)]
        step = planes.BASE ** planes.plane_of(n)
        assert not (known.value[at] % step).any() and (2 * np.abs(z - known.value)[at] < step).all()
        if last:
            break


@given(sizes, st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_packing_is_inverse_and_costs_the_information_of_the_digits(size, seed):
    codes, _ = codes_of(latent(*size, seed), *size)
    payload = LAYOUT.pack(codes, *size)
    again = list(LAYOUT.unpack(payload, *size))
    assert len(again) == len(codes) and all(np.array_equal(a, b) for a, b in zip(codes, again, strict=True))
    by_pass, whole = LAYOUT.sizes(payload, *size)
    assert whole == planes.PASSES and sum(by_pass) == len(payload)
    walk, bits, told = planes.walk(LAYOUT.known(*size), LAYOUT.tables), 0.0, None
    for digits in codes:
        probabilities = walk.send(told)
        assert (probabilities.sum(1) == 1).all()
        bits -= np.log2(probabilities[np.arange(len(digits)), digits]).sum()
        told = digits
    assert bits / 8 - 1 < len(payload) < bits / 8 * 1.001 + 3


def test_every_prefix_tells_the_first_digits_and_no_others():
    codes, _ = codes_of(latent(40, 33, 5), 40, 33)
    payload, truth = LAYOUT.pack(codes, 40, 33), np.concatenate(codes)
    counts = []
    for length in range(1, len(payload) + 1):
        digits = np.concatenate(list(LAYOUT.unpack(payload[:length], 40, 33)))
        assert np.array_equal(digits, truth[: len(digits)])
        counts.append(len(digits))
    assert counts == sorted(counts) and counts[-1] == len(truth) > counts[-2]


def test_cutting_to_passes_keeps_the_least_that_tells_them():
    codes, _ = codes_of(latent(32, 32, 1), 32, 32)
    payload = LAYOUT.pack(codes, 32, 32)
    for passes in (1, 12, 21, planes.PASSES):
        part = LAYOUT.cut(payload, passes, 32, 32)
        assert payload.startswith(part)
        assert LAYOUT.sizes(part, 32, 32)[1] >= passes
        found = itertools.islice(LAYOUT.unpack(part, 32, 32), passes)
        assert all(np.array_equal(a, b) for a, b in zip(codes[:passes], found, strict=True))
        if len(part) > 1:
            assert LAYOUT.sizes(part[:-1], 32, 32)[1] < passes


@pytest.mark.parametrize("garbage", [b"123456789", bytes(40)])
def test_bytes_after_the_last_pass_are_refused(garbage):
    codes, _ = codes_of(latent(32, 32, 2), 32, 32)
    payload = LAYOUT.pack(codes, 32, 32)
    with pytest.raises(StreamError, match="trailing garbage"):
        list(LAYOUT.unpack(payload + garbage, 32, 32))


@given(st.binary(min_size=1, max_size=80))
@settings(deadline=None)
def test_any_bytes_decode_or_are_refused(payload):
    try:
        found = list(LAYOUT.unpack(payload, 32, 32))
    except StreamError:
        return
    known = LAYOUT.known(32, 32)
    for n, digits in enumerate(found):
        known.tell(n, digits)
    assert (np.abs(known.value) <= planes.LARGEST).all()


def test_sums_stay_exact():
    """The largest possible sum of a table is below 2^24, where float32 counts whole numbers."""
    largest = 9 * 48 * planes.MAX_WEIGHT * planes.FEATURES.max() + planes.RANGE // planes.FINE * planes.LOGIT
    assert largest < 1 << 24
