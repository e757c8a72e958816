"""Planes of digits and their range coding: inverse, cut anywhere, and never out of step."""

import itertools
import sys
from collections.abc import Iterator
from dataclasses import replace

import constriction
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neurocodec import entropy, planes, weights
from neurocodec.errors import StreamError
from neurocodec.models.transform_coder import Prior
from neurocodec.payload import CodedPasses
from neurocodec.tables import BASE, BRIGHTEST, CLASSES, FEATURES, HALF, INDICES, LARGEST, ONE, PLANES, RANKS, UNTOLD, Tables
from neurocodec.train import contexts

CHANNELS, HIDDEN, STRIDE = 13, 6, 8


def tables(seed: int = 0) -> Tables:
    """Tables that know nothing, but disagree about everything."""
    rng = np.random.default_rng(seed)

    def whole(largest: int, *shape: int, kind: type = np.int8) -> np.ndarray:
        return rng.integers(-largest, largest + 1, shape).astype(kind)

    stay = rng.uniform(0.3, 1, (INDICES, CLASSES)) ** np.linspace(0.002, 2, INDICES)[:, None]
    up = ((1 - stay) * rng.uniform(0.3, 0.7, stay.shape) * ONE).astype(np.int64) + 1
    down = ((1 - stay) * ONE).astype(np.int64) + 2 - up
    return Tables(
        tops=tuple(int(t) for t in rng.integers(2, PLANES + 1, CHANNELS)),
        across=whole(100, HIDDEN, CHANNELS),
        level=whole(900, PLANES, HIDDEN, kind=np.int32),
        around=whole(100, HIDDEN, 9 * HIDDEN),
        nearby=whole(100, HIDDEN, kind=np.int32),
        told=whole(100, CHANNELS, 2 * HIDDEN),
        base=whole(90, PLANES, CHANNELS, kind=np.int32) + 400,
        shifts=(3, 4, 4),
        ranks=rng.integers(0, RANKS, (INDICES, CLASSES)).astype(np.uint8),
        rests=rng.integers(0, RANKS, (INDICES, CLASSES)).astype(np.uint8),
        apart=2 * rng.integers(0, 2, (INDICES, CLASSES)).astype(np.uint8),
        trits=np.stack([down, ONE - up - down, up], -1),
    )


LAYOUT = CodedPasses(STRIDE, max_pixels=1 << 20, tables=tables())


def latent(width: int, height: int, seed: int, scale: float = 3) -> np.ndarray:
    known = LAYOUT.known(width, height)
    z = np.random.default_rng(seed).laplace(0, scale, known.shape).astype(np.int32)
    return np.clip(z, -known.largest, known.largest).ravel()


def told(z: np.ndarray, width: int, height: int) -> tuple[list[planes.Told], planes.Known]:
    """All passes of a latent, and what is known then."""
    known = LAYOUT.known(width, height)
    truth = lambda known, plane, elements: known.digits(z, plane, elements)
    return list(planes.tell(known, LAYOUT.tables, lambda table, keys, true: true, truth)), known


def digits(one: planes.Told) -> dict[int, int]:
    """By element."""
    return {e: d for some in (one.late, one.here) for e, d in zip(some.elements.tolist(), some.digits.tolist(), strict=True)}


def same(one: planes.Told, other: planes.Told) -> bool:
    return one.plane == other.plane and list(digits(one).items()) == list(digits(other).items())


sizes = st.tuples(st.integers(1, 70), st.integers(1, 70))


@given(sizes, st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_all_planes_tell_the_whole_numbers(size, seed):
    z = latent(*size, seed)
    passes, known = told(z, *size)
    assert np.array_equal(known.value, z) and len(passes) == LAYOUT.max_passes and all(p.whole for p in passes)


@given(sizes, st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_every_element_is_told_once_in_a_plane_and_then_known_to_it(size, seed):
    """Or in two steps, the second of them later."""
    z, known = latent(*size, seed), LAYOUT.known(*size)
    passes, _ = told(z, *size)
    for plane in known.planes:
        elements, half = [], set()
        for one in passes[:RANKS]:
            known.tell(one)
            late, here = one.late, one.here
            assert half.issuperset(late.elements.tolist()) and HALF not in late.digits
            elements += [late.elements, here.elements[here.digits != HALF]]
            half ^= {*late.elements.tolist(), *here.elements[here.digits == HALF].tolist()}
        del passes[:RANKS]
        assert not half
        elements, step = np.concatenate(elements), BASE**plane
        assert len(np.unique(elements)) == len(elements) == len(LAYOUT.tables.channels(plane)) * known.shape[1] * known.shape[2]
        assert not (known.value % step).any() and (2 * np.abs(z - known.value) < step).all()
        assert known.depth == pytest.approx(plane)


@given(sizes, st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_packing_is_inverse_and_costs_the_information_of_the_digits(size, seed):
    codes, _ = told(latent(*size, seed), *size)
    payload = LAYOUT.pack(codes, *size)
    again = list(LAYOUT.unpack(payload, *size))
    assert len(again) == len(codes) and all(map(same, codes, again))
    by_pass, whole = LAYOUT.sizes(payload, *size)
    assert whole == LAYOUT.max_passes and sum(by_pass) == len(payload)
    bits = 0.0
    for symbols in itertools.chain.from_iterable(one.coded for one in codes):
        assert (symbols.table.sum(1) == 1).all() and (symbols.table > 0).all()
        bits -= np.log2(symbols.table[symbols.keys, symbols.found]).sum()
    assert bits / 8 - 1 < len(payload) < bits / 8 * 1.001 + 3


def counted(payload: bytes, truth: list[planes.Told], size: tuple[int, int]) -> int:
    """How many digits a payload tells; all must be those of the whole stream."""
    known, count, depth = LAYOUT.known(*size), 0, float(max(LAYOUT.tables.tops))
    for one, whole in zip(LAYOUT.unpack(payload, *size), truth, strict=False):
        found, true = digits(one), digits(whole)
        assert one.plane == whole.plane and found.items() <= true.items()
        known.tell(one)
        assert one.whole == (len(found) == len(true))
        told = len(found) / len(true) if true else 1
        count += len(found)
        assert depth - known.depth == pytest.approx(told / RANKS)
        depth = known.depth
    return count


@pytest.mark.parametrize(("size", "scale", "step"), [((40, 33), 3, 1), ((320, 300), 0.05, 37)])
def test_every_prefix_tells_digits_of_the_stream_and_no_others(size, scale, step):
    truth, _ = told(latent(*size, 5, scale), *size)
    payload = LAYOUT.pack(truth, *size)
    for table in (LAYOUT.tables.runs, LAYOUT.tables.halves, LAYOUT.tables.others):
        assert any(symbols.table is table and len(symbols.keys) for one in truth for symbols in one.coded)
    counts = [counted(payload[:length], truth, size) for length in (*range(1, len(payload), step), len(payload))]
    assert counts == sorted(counts) and counts[-1] == sum(len(digits(one)) for one in truth) > counts[-2]


def test_cutting_to_passes_keeps_the_least_that_tells_them():
    codes, _ = told(latent(32, 32, 1), 32, 32)
    payload = LAYOUT.pack(codes, 32, 32)
    for passes in (1, 12, 21, LAYOUT.max_passes):
        part = LAYOUT.cut(payload, passes, 32, 32)
        assert payload.startswith(part)
        assert LAYOUT.sizes(part, 32, 32)[1] >= passes
        assert all(map(same, codes[:passes], itertools.islice(LAYOUT.unpack(part, 32, 32), passes)))
        if len(part) > 1:
            assert LAYOUT.sizes(part[:-1], 32, 32)[1] < passes


def test_a_limit_asks_for_no_more_passes_than_it_takes():
    codes, _ = told(latent(64, 64, 3), 64, 64)
    payload, source = LAYOUT.pack(codes, 64, 64), iter(codes)
    assert LAYOUT.pack(source, 64, 64, 100) == payload[:100]
    assert next(source, None) is not None


@pytest.mark.parametrize("garbage", [b"123456789", bytes(40)])
def test_bytes_after_the_last_pass_are_refused(garbage):
    codes, _ = told(latent(32, 32, 2), 32, 32)
    payload = LAYOUT.pack(codes, 32, 32)
    with pytest.raises(StreamError, match="trailing garbage"):
        list(LAYOUT.unpack(payload + garbage, 32, 32))


@given(st.binary(min_size=1, max_size=80))
@settings(deadline=None)
def test_any_bytes_decode_or_are_refused(payload):
    try:
        for one in LAYOUT.unpack(payload, 32, 32):
            assert (np.abs(one.known.value) <= LARGEST).all()
    except StreamError:
        return


@pytest.mark.parametrize("halves", [False, True])
def test_a_decoder_shows_elements_where_training_does(halves):
    """After every pass, at the mean of the part of their distribution that is left, which is nearer to 0 than the middle."""
    torch.manual_seed(0)
    scale = 2.0 ** ((8 * torch.arange(CHANNELS) // 3 - 7.5) / 8)  # indices of magnitudes are not at the edge of two
    prior, tops, shape = Prior(scale, centred=True, halves=halves), torch.full((CHANNELS,), 4), (1, CHANNELS, 9, 11)
    z = (2 * scale[:, None, None] * torch.randn(shape)).round().clamp(-40, 40)
    tensors = contexts.fit(prior, z.int(), 1, tops) | contexts.Expected(prior, tops, torch.empty(0, 9, 11)).whole()
    layout = CodedPasses(STRIDE, 1 << 20, tables=Tables.read({k: v.numpy() for k, v in tensors.items()}))
    known = layout.known(11 * STRIDE, 9 * STRIDE)
    truth = lambda known, plane, elements: known.digits(z.int().numpy().ravel(), plane, elements)
    seen = torch.tensor(False)
    for number, told in enumerate(planes.tell(known, layout.tables, lambda table, keys, true: true, truth), 1):
        steps, middle, value = prior.decoded(z, torch.full((1, 1, 1, 1), 4 - number / RANKS))
        shown, known_as = (torch.from_numpy(n).view(shape) for n in (told.known.centroids(), told.known.value))
        torch.testing.assert_close(shown, value, rtol=0, atol=BASE**told.plane / 1024)
        parted = steps == 2 * BASE**told.plane
        assert ((middle != known_as) == parted).all() and (halves or not parted.any())
        assert (shown.abs() <= middle.abs()).all() and ((shown - middle).abs() < steps / 2).all()
        assert ((shown - middle).abs() > 1e-3)[middle != 0].any() == (middle != 0).any()
        seen |= parted.any()
    assert seen == halves


@pytest.mark.parametrize("plane", [planes.COARSE + 1, planes.COARSE - 1])
def test_means_of_which_nothing_is_told_are_expected_to_be_like_those_around(plane):
    """Of a pyramid's channels, like those of which the same was known before a coarse plane; all else where the tables say."""
    offsets, step = np.random.default_rng(0).integers(-400, 400, (INDICES, CLASSES, 5)), BASE**plane
    pyramid = replace(tables(), phases=np.zeros((HIDDEN + 2, 4, 4), np.int32), centroids=offsets)
    shape = (3, 9, 11)
    known, everything, quiet = planes.Known(3 * (plane + 2,), shape), set(np.ndindex(shape)), np.uint16(5 * CLASSES)
    means = {place for place in everything if place[1] % 4 == place[2] % 4 == 0 and place[0] < 2}
    raised = {(0, 0, 4), (0, 4, 8), (0, 8, 0), (1, 0, 0), (0, 1, 0), (2, 4, 4)}

    def tell(plane: int, told: dict[tuple[int, int, int], int]) -> np.ndarray:
        """What is shown after a pass that tells these digits first in its plane."""
        here, waiting = (np.ravel_multi_index(np.transpose(list(of)), shape) for of in (told, everything - set(told)))
        keys = [quiet + (known.value[elements] != 0).astype(np.uint16) for elements in (here, waiting)]
        digits = planes.Digits(here, keys[0], np.array(list(told.values()), np.uint8))
        known.tell(planes.Told(known, plane, planes.NO_DIGITS, digits, (), 0.1, waiting=(waiting, keys[1]), tables=pyramid))
        return known.centroids().reshape(shape)

    def expected(place: tuple[int, int, int], digit: int | None) -> float:
        value, found = (3 * step, quiet + 1) if place in raised else (0, quiet)
        if digit is None:
            return value + step * pyramid.offsets[found, UNTOLD] if value else 0
        return value + step * (digit - 1 + (value > 0 or digit != 1) * pyramid.offsets[found, digit])

    known.value.reshape(shape)[tuple(zip(*raised, strict=True))] = 3 * step
    told = {(0, 0, 0): 2, (0, 4, 4): 1, (0, 0, 4): 0, (0, 0, 1): 2, (1, 0, 0): 2, (2, 0, 0): 2}
    shown = tell(plane, told)
    for place in everything:
        guess = expected(place, told.get(place))
        if plane >= planes.COARSE and place in means - set(told):
            weights = {
                one: 3.0 ** -(abs(one[1] - place[1]) / 4 + abs(one[2] - place[2]) / 4)
                for one in means & set(told)
                if one[0] == place[0] and (one in raised) == (place in raised)
            }
            around = sum(weight * expected(one, told[one]) for one, weight in weights.items())
            guess = (around + 0.2 * guess) / (sum(weights.values()) + 0.2)
        assert shown[place] == pytest.approx(guess, rel=1e-5)
    assert (shown[0, 4, 0] != 0) == (plane >= planes.COARSE)


def test_turns_put_elements_of_a_place_in_order_and_tell_the_same():
    """Square by square, of a pyramid's channels; of elements that nothing else puts one before another."""
    count, size = 13 * 30, (30 * STRIDE, 13 * STRIDE)
    turns = np.random.default_rng(1).permutation(9).reshape(3, 3).astype(np.uint8)
    raster = replace(tables(), phases=np.zeros((HIDDEN + 2, 4, 4), np.int32))
    z = latent(*size, 2, 30)

    def passes(tables: Tables) -> list[planes.Told]:
        truth = lambda known, plane, elements: known.digits(z, plane, elements)
        return list(replace(LAYOUT, tables=tables).tell(*size, lambda table, keys, true: true, truth))

    before, after = passes(raster), passes(replace(raster, turns=turns))
    row, column = np.divmod(np.arange(count), 30)
    turn, moved = turns[row // 4 % 3, column // 4 % 3], 0
    for one, other in zip(before, after, strict=True):
        assert digits(one) == digits(other)
        channel, of = np.divmod(other.here.elements, count)
        by = np.stack([raster.place[other.here.keys], channel, np.where(channel < 2, turn[of], 0), of], 1).tolist()
        assert by == sorted(by)
        moved += (one.here.elements != other.here.elements).sum()
    assert moved


def test_first_turns_lie_far_apart():
    """The first four are in a quarter each, the first sixteen in a sixteenth."""
    turns = contexts.turns().numpy()
    assert sorted(turns.ravel()) == list(range(64)) and turns.dtype == np.uint8
    for squares in (2, 4):
        first = (turns < squares**2).reshape(squares, 8 // squares, squares, 8 // squares)
        assert (first.sum((1, 3)) == 1).all()


def test_last_symbols_are_certain_as_early_as_first_ones():
    """Though what follows a cut, if it is all ones, is beyond the range of a stream of last symbols."""
    even = replace(tables(), tops=CHANNELS * (1,), trits=np.full((INDICES, CLASSES, 3), [3, 2, 3]) * ONE // 8, rests=None)
    layout = replace(LAYOUT, tables=even)

    def counts(z: int) -> list[int]:
        truth = lambda known, plane, elements: known.digits(np.full(known.value.shape, z), plane, elements)
        payload = layout.pack(list(layout.tell(40, 40, lambda table, keys, true: true, truth)), 40, 40)
        prefixes = (payload[:length] for length in range(1, len(payload)))
        return [sum(len(one.here.elements) for one in layout.unpack(prefix, 40, 40)) for prefix in prefixes]

    first, last = counts(-1), counts(1)
    assert len(first) > 40 and np.abs(np.subtract(first, last)).max() <= 1


@pytest.mark.parametrize("of", ["digits", "halves", "others", "runs"])
def test_symbols_whose_keys_are_in_order_are_coded_as_in_any(of):
    """That they are coded at once, key by key, changes no byte, and a cut stream tells as many of them."""
    table, rng = getattr(weights.find("photo").layout.tables, of), np.random.default_rng(1)
    keys = np.repeat(np.arange(len(table), dtype=np.uint16), rng.integers(0, 60, len(table)))
    symbols = (table[keys].cumsum(1) <= rng.random((len(keys), 1))).sum(1).astype(np.uint8)

    def passes(order: np.ndarray, found: np.ndarray | None = None) -> entropy.Tell:
        def tell(code: planes.Coder) -> Iterator[planes.Told]:
            for some in order:
                coded = planes.Symbols(table, keys[some], code(table, keys[some], None if found is None else found[some]))
                yield planes.Told(None, 0, planes.NO_DIGITS, planes.NO_DIGITS, (coded,))
                if len(coded.found) < len(some):
                    return

        return tell

    at_once, one_by_one = np.arange(len(keys))[None], np.arange(len(keys))[:, None]
    coder = constriction.stream.queue.RangeEncoder()
    coder.encode(symbols.astype(np.int32), constriction.stream.model.Categorical(perfect=False), table[keys])
    payload = entropy.pack(passes(at_once, symbols)(lambda table, keys, true: true))
    assert coder.get_compressed().astype(">u4").tobytes().startswith(payload[:-1])
    for length in (len(payload), len(payload) // 2, 40, 5):
        told = [
            np.concatenate([one.coded[0].found for one in entropy.unpack(payload[:length], passes(order))])
            for order in (at_once, one_by_one)
        ]
        assert np.array_equal(*told) and np.array_equal(told[0], symbols[: len(told[0])])
        assert (len(told[0]) == len(symbols)) == (length == len(payload))


@pytest.mark.parametrize("model", [m.name for m in weights.shipped() if isinstance(m.architecture.layout, CodedPasses)])
def test_sums_stay_exact(model):
    """No sum of a shipped model can reach 2^24, up to where float32 counts whole numbers, in whatever order it is taken."""
    tables = weights.find(model).layout.tables
    for matrix, bias, brightest in (
        (tables.across, tables.level, FEATURES.max()),
        (tables.around, tables.nearby, BRIGHTEST),
        (tables.told, tables.base, BRIGHTEST),
    ):
        largest = np.abs(matrix.astype(int)).sum(1) * brightest + np.abs(bias)
        assert matrix.dtype == np.int8 and largest.max() < 1 << 24


@pytest.mark.parametrize("model", [m.name for m in weights.shipped() if isinstance(m.architecture.layout, CodedPasses)])
def test_magnitudes_are_expected_alike_with_torch_and_without(model, monkeypatch):
    """And whatever precision torch may multiply in, and with products of 8 bits and without."""
    tables = weights.find(model).layout.tables
    channels = len(tables.tops)
    value = (
        np.random.default_rng(0).laplace(0, 60 / np.arange(1, channels + 1)[:, None, None], (channels, 9, 7)).astype(np.int32)
    )
    planes = range(max(tables.tops))
    found = [tables.keys(value, plane) for plane in planes]
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    torch.set_float32_matmul_precision("medium")
    with torch.autocast("cpu", torch.bfloat16):
        mixed = [tables.keys(value, plane) for plane in planes]
    torch.set_float32_matmul_precision("highest")
    monkeypatch.delitem(sys.modules, "torch")
    alone = [tables.keys(value, plane) for plane in planes]
    assert len(set(found[0].tolist())) > 4
    for one, other, third in zip(found, mixed, alone, strict=True):
        assert np.array_equal(one, other) and np.array_equal(one, third)


@pytest.mark.parametrize("maps, pyramid", [(0, 0), (2, 0), (0, 2), (2, CHANNELS)])
def test_the_trained_network_and_the_integers_expect_the_same(maps, pyramid):
    """What training rounds is what the codec computes."""
    torch.manual_seed(0)
    z = torch.randint(-40, 41, (3, CHANNELS, 5, 4), dtype=torch.int32) // torch.arange(1, CHANNELS + 1)[:, None, None]
    prior = Prior(torch.full((CHANNELS,), 5.0), pyramid=pyramid)
    for p in prior.parameters():
        torch.nn.init.normal_(p, 0, 0.2)
    fitted = contexts.fit(prior, z, 3, maps=maps)
    assert ("tables.maps" in fitted) == bool(maps)
    assert ("tables.phases" in fitted) == ("tables.turns" in fitted) == bool(pyramid)
    expected = contexts.Expected(prior, fitted["tables.tops"], torch.randn(maps, 5, 4))
    torch.nn.init.normal_(expected.shares)
    tensors = fitted | expected.whole()
    layout = CodedPasses(STRIDE, 1 << 20, tables=Tables.read({k: v.numpy() for k, v in tensors.items()}))
    known = layout.known(4 * STRIDE, 5 * STRIDE)
    for plane in known.planes:
        index, _, changes = expected(z[:1], plane)
        found = layout.tables.keys(known.value.reshape(known.shape), plane) // CLASSES % INDICES
        assert np.array_equal(found, index.detach().numpy().ravel())
        step = BASE**plane
        before = known.value.copy()
        known.value[:] = contexts.nearest(z[0], step).numpy().ravel()
        change = ((known.value - before) // step * np.where(before < 0, -1, 1)).reshape(CHANNELS, -1)
        assert np.array_equal(change[layout.tables.channels(plane)].ravel(), changes.numpy().ravel())
    assert np.array_equal(known.value, z[0].numpy().ravel())
