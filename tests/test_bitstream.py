"""Bytes and codes are inverse to each other, prefixes stay prefixes, and bad containers are refused."""

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import neurocodec
from neurocodec import bitstream
from neurocodec.bitstream import Header
from neurocodec.errors import StreamError
from neurocodec.payload import RawPasses

LAYOUT = RawPasses(bits=32, stride=16, max_passes=16)
sizes = st.tuples(st.integers(1, 200), st.integers(1, 200))
headers = st.builds(
    Header,
    model=st.integers(0, 1000),
    fingerprint=st.integers(0, 65535),
    width=st.integers(1, 11000),
    height=st.integers(1, 11000),
    alpha=st.none() | st.binary(max_size=300),
    checksum=st.booleans(),
)


@given(headers, st.binary(max_size=100))
def test_containers_round_trip(header, payload):
    assert bitstream.read(bitstream.write(header, payload)) == (header, payload)


@given(sizes, st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_codes_round_trip_and_passes_have_their_size(size, passes, seed):
    bits = np.prod(LAYOUT.code_shape(*size))
    codes = list(np.random.default_rng(seed).integers(0, 2, (passes, bits)).astype(bool))
    payload = LAYOUT.pack(codes, *size)
    assert len(payload) == passes * LAYOUT.pass_bytes(*size) == passes * 16 * -(-size[0] // 32) * -(-size[1] // 32)
    for code, again in zip(codes, LAYOUT.unpack(payload, *size), strict=True):
        assert np.array_equal(code, again)


@given(st.integers(1, 128), st.integers(0, 2**32 - 1))
def test_a_cut_payload_gives_the_same_bits_up_to_its_end(cut, seed):
    payload = np.random.default_rng(seed).bytes(128)  # four passes of 64x32
    whole = np.concatenate(list(LAYOUT.unpack(payload, 64, 32)))
    part = np.concatenate(list(LAYOUT.unpack(payload[:cut], 64, 32)))
    assert np.array_equal(part, whole[: 8 * cut])


def test_ordinary_containers_add_at_most_twelve_bytes():
    for size in ((1, 1), (768, 512), (6000, 4000), (16383, 8192)):
        assert len(bitstream.write(Header(1, 65535, *size), b"")) <= 12


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_alpha_round_trips(width, height, seed):
    alpha = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    assert np.array_equal(bitstream.unpack_alpha(bitstream.pack_alpha(alpha), width, height), alpha)


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (b"", "not one plane"),
        (b"garbage", "damaged"),
        (zlib.compress(bytes(5)), "not one plane"),
        (zlib.compress(bytes(7)), "not one plane"),
        (zlib.compress(bytes(1 << 20)), "not one plane"),
        (zlib.compress(bytes(6))[:-1], "not one plane"),
        (zlib.compress(bytes(6)) + b"x", "not one plane"),
    ],
)
def test_bad_alpha_blocks_are_refused(block, reason):
    with pytest.raises(StreamError, match=reason):
        bitstream.unpack_alpha(block, 3, 2)


GOOD = bitstream.write(Header(1, 7, 64, 64), bytes(64))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "wrong magic"),
        (b"text", "wrong magic"),
        *[(GOOD[:n], "truncated or malformed") for n in range(1, 9)],
        (GOOD[:3] + b"\x20" + GOOD[4:], "version 2"),
        (GOOD[:3] + b"\x14" + GOOD[4:], "reserved"),
        (GOOD[:7] + b"\xff\xff\xff\xff\x7f" * 2 + bytes(9), "outside the limits"),
        (GOOD[:7] + b"\x00\x01", "outside the limits"),
        (GOOD[:7] + b"\xff" * 500, "malformed"),
        (bitstream.write(Header(1, 7, 65535, 2048), b"")[:-2] + b"\x81\x10", "outside the limits"),
        (bitstream.write(Header(1, 7, 8, 8, alpha=bytes(50)), b"")[:-1], "alpha"),
        (bitstream.write(Header(1, 7, 8, 8, checksum=True), b"ab")[:-1] + b"c", "checksum"),
        (bitstream.write(Header(1, 7, 8, 8, checksum=True), b"ab") + b"c", "1 bytes of trailing garbage"),
    ],
)
def test_bad_containers_are_refused(data, reason):
    with pytest.raises(StreamError, match=reason):
        bitstream.read(data)


def test_a_cut_checksummed_payload_is_accepted_and_cutting_makes_the_checksum_anew():
    whole = bitstream.write(Header(1, 7, 32, 32, checksum=True), bytes(range(32)))
    assert bitstream.read(whole[:-5])[1] == bytes(range(27))
    short = neurocodec.truncate(whole, bytes=len(whole) - 5)
    assert bitstream.read(short)[1] == bytes(range(27)) and len(short) == len(whole) - 5


def test_more_than_the_last_pass_is_refused():
    with pytest.raises(StreamError, match="3 bytes of trailing garbage"):
        list(LAYOUT.unpack(bytes(16 * 16 + 3), 32, 32))


def test_a_few_bytes_cannot_ask_for_a_large_picture():
    assert LAYOUT.least(2048, 1024) == 1
    assert LAYOUT.least(6000, 4000) < 0.02 * LAYOUT.pass_bytes(6000, 4000)
    least = LAYOUT.least(6000, 4000)
    assert LAYOUT.sizes(bytes(least), 6000, 4000) == ([least], 0)
    with pytest.raises(StreamError, match="too short for 6000x4000"):
        LAYOUT.sizes(bytes(least - 1), 6000, 4000)
