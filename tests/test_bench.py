"""The benchmark: which bytes of a rival count, how curves are read, and that a run's outputs agree with each other."""

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import skimage
from click.testing import CliRunner, Result
from PIL import Image

import neurocodec
from neurocodec import bench, metrics
from neurocodec.bench import protocols, report, rivals, thumbhash
from neurocodec.bench.protocols import PROTOCOLS, at_budget, bd_rate, frontier, window
from neurocodec.bench.run import pictures, select
from neurocodec.cli import main
from neurocodec.errors import NeurocodecError

ROW = [
    "codec",
    "setting",
    "image",
    "width",
    "height",
    "bytes",
    "bpp",
    "psnr",
    "ssim",
    "ms_ssim",
    "ssimulacra2",
    "encode_s",
    "decode_s",
]
TIMES = ("encode_s", "decode_s")


@pytest.fixture(scope="module")
def thumb() -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(skimage.data.astronaut()[:256:8, 100:356:8]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, thumb) -> Path:
    """Two thumbnails, one of them not square."""
    folder = tmp_path_factory.mktemp("thumbs")
    thumb.save(folder / "a.png")
    thumb.crop((0, 4, 32, 28)).save(folder / "b.png")
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["bench", *map(str, arguments)])


def fails(reason: str, *arguments: object) -> None:
    result = run(*arguments)
    assert result.exit_code == 1, (result.output, result.exception)
    assert result.stdout == "" and result.stderr.count("\n") == 1 and reason in result.stderr, result.stderr


def close(image: Image.Image, shown: Image.Image) -> float:
    return metrics.psnr(np.asarray(image), np.asarray(shown))


@pytest.mark.parametrize("optimised", [False, True])
def test_jpeg_reassembles(thumb, optimised):
    data = (rivals.jpeg_optimised if optimised else rivals.jpeg)(thumb, "30")
    segments, scan = rivals.jpeg_segments(data)
    assert data == b"\xff\xd8" + b"".join(segments) + scan + b"\xff\xd9"
    assert segments[-1][:2] == b"\xff\xda" and rivals.jpeg_scan(data) == len(scan)
    tables = [segment for segment in segments if segment[:2] == b"\xff\xc4"]
    assert rivals.jpeg_scan_and_tables(data) == len(scan) + sum(map(len, tables))
    standard = 2 * (2 + 2 + 1 + 16 + 12) + 2 * (2 + 2 + 1 + 16 + 162)  # marker, length, number, counts, symbols
    assert sum(map(len, tables)) < standard if optimised else sum(map(len, tables)) == standard


def test_standard_huffman_tables_do_not_depend_on_the_picture(thumb):
    def tables(data: bytes) -> list[bytes]:
        return [segment for segment in rivals.jpeg_segments(data)[0] if segment[1] == 0xC4]

    other = thumb.rotate(90)
    assert tables(rivals.jpeg(thumb, "30")) == tables(rivals.jpeg(other, "70"))
    assert tables(rivals.jpeg_optimised(thumb, "30")) != tables(rivals.jpeg_optimised(other, "70"))


def test_jpeg2000_reassembles(thumb):
    data = rivals.jpeg2000_small(thumb, "12-3-9/7")
    header, start, packets = data.partition(b"\xff\x93")
    assert header[:4] == b"\xff\x4f\xff\x51" and data.endswith(b"\xff\xd9")
    assert rivals.jpeg2000_packets(data) == len(packets) - 2
    tile_part = header[header.index(b"\xff\x90") :]  # its SOT says how long it is
    assert int.from_bytes(tile_part[6:10], "big") == len(tile_part) + len(start) + rivals.jpeg2000_packets(data)


def test_webp_payload_is_the_file_less_30_bytes(thumb):
    for quality in ("0", "20", "60"):
        data = rivals.webp(thumb, quality)
        assert data[:4] == b"RIFF" and int.from_bytes(data[4:8], "little") == len(data) - 8
        assert data[23:26] == b"\x9d\x01\x2a"  # the start code, after RIFF, chunk and frame tag
        assert tuple(int.from_bytes(data[i : i + 2], "little") for i in (26, 28)) == thumb.size
        assert rivals.webp_frame(data) == len(data) - 30
    buffer = io.BytesIO()
    thumb.save(buffer, "WEBP", lossless=True)
    with pytest.raises(ValueError, match="lossy"):
        rivals.webp_frame(buffer.getvalue())


def test_avif_payload_is_what_the_boxes_leave(thumb):
    data = rivals.avif_small(thumb, "20-4:2:0")
    at, boxes = 0, {}
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        boxes[data[at + 4 : at + 8]] = size
        at += size
    assert at == len(data) and set(boxes) == {b"ftyp", b"meta", b"mdat"}
    assert rivals.avif_mdat(data) == boxes[b"mdat"] - 8


def test_jpeg_xl_is_a_bare_codestream(thumb):
    data = rivals.jpeg_xl(thumb, "2")
    assert data[:2] == b"\xff\x0a" and rivals.SMALL["jpeg-xl"].payload(data) == len(data)


def test_blurhash_counts_characters_as_a_number(thumb):
    data = rivals.blurhash(thumb, "4x3")
    assert len(data) == 1 + 1 + 4 + 2 * 11
    size = rivals.blurhash_bytes(data)
    assert size == 23 and 256 ** (size - 1) < 83 ** len(data) <= 256**size


def test_thumbhash_is_that_of_the_reference(thumb):
    """Hashes and pixels as thumbhash-python 1.0.1 has them."""
    landscape = thumb.crop((0, 4, 32, 28))
    assert thumbhash.encode(thumb).hex() == "a4180e0f00f5a6599d75677479c666a9687698c0353d0503"
    assert thumbhash.encode(landscape).hex() == "a4180e1582f5b749aa6668728bc66798077d76b037"
    shown = np.asarray(thumbhash.decode(thumbhash.encode(thumb), thumb.size))
    assert shown[::13, 13].tolist() == [[196, 184, 161], [170, 158, 127], [58, 46, 29]]


@pytest.mark.parametrize("name", rivals.SMALL)
def test_small_rivals_give_the_picture_back(thumb, name):
    rival = rivals.SMALL[name]
    data = rival.encode(thumb, rival.settings[-1])
    assert 0 < rival.payload(data) <= len(data)
    shown = rival.decode(data, thumb.size)
    assert shown.size == thumb.size and shown.mode == "RGB"
    assert close(thumb, shown) > (20 if rival.curve else 12)


@pytest.mark.parametrize("name", rivals.LARGE)
def test_large_rivals_give_the_picture_back(photos, name):
    rival, image = rivals.LARGE[name], Image.fromarray(photos[0])
    data = rival.encode(image, rival.settings[-1])
    assert rival.payload(data) == len(data)
    assert close(image, rival.decode(data, image.size)) > 28


def points(*triples: tuple[int, float, float]) -> list:
    return [{"bytes": size, "ssim": ssim, "psnr": psnr} for size, ssim, psnr in triples]


def test_frontier_drops_what_fewer_bytes_reach():
    rows = points((50, 0.5, 20), (20, 0.3, 17), (60, 0.4, 30), (50, 0.6, 19), (20, 0.2, 18), (70, 0.7, 25))
    assert frontier(rows) == points((20, 0.3, 17), (50, 0.6, 19), (70, 0.7, 25))


def test_curves_are_linear_in_ln_bytes():
    curve = points((16, 0.4, 18), (64, 0.8, 24))
    assert at_budget(curve, 32) == pytest.approx((32, 0.6, 21))
    assert at_budget(curve, 64) == pytest.approx((64, 0.8, 24))
    assert at_budget(curve, 8) == (16, 0.4, 18) and at_budget(curve, 100) == (64, 0.8, 24)


def test_a_curve_below_its_floor_has_no_figures():
    def row(image: str, size: int, ssim: float) -> dict:
        return {"codec": "jpeg", "setting": str(size), "image": image, "bytes": size, "ssim": ssim, "psnr": 20.0}

    rows = [row("a", 20, 0.5), row("a", 300, 0.9), row("b", 30, 0.4), row("b", 300, 0.8)]
    thumbs = PROTOCOLS["thumbs"]
    summary = thumbs.summary(rows, [thumbs.rival("jpeg", ["1", "2"])])["summary"]
    found = {entry["budget"]: entry for entry in summary}
    assert list(found) == [int(setting) for setting in thumbs.settings]
    assert found[24] == {"codec": "jpeg", "budget": 24, "bytes": 25.0, "ssim": None, "psnr": None}
    assert found[32]["bytes"] == 32 and 0.45 < found[32]["ssim"] < 0.6


def test_bd_rate_of_half_the_bytes_is_minus_50_percent():
    anchor = [(rate, 10 * math.log10(rate) + 15) for rate in (0.1, 0.3, 1.0, 3.0)]
    test = [(rate / 2, quality) for rate, quality in anchor]
    common = window(anchor, test, (8.0, 20.0))
    assert common == (8.0, anchor[-1][1])
    assert bd_rate(anchor, test, common) == pytest.approx(-50, abs=0.01)
    assert bd_rate(test, anchor, common) == pytest.approx(100, abs=0.01)
    assert window(anchor, [(1.0, 19.0), (2.0, 25.0)], (8.0, 20.0)) is None


def test_a_run_over_thumbnails(folder, tmp_path):
    outputs = {kind: tmp_path / f"out.{kind}" for kind in ("json", "csv")} | {
        "plot": tmp_path / "plot.png",
        "sheet": tmp_path / "sheet.png",
    }
    options = [text for kind, path in outputs.items() for text in (f"--{kind}", path)]
    done = run(folder, "--protocol", "thumbs", "--codecs", "jpeg,conv-lstm", *options)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "conv-lstm" in done.stdout and "64 B" in done.stdout

    result = json.loads(outputs["json"].read_text())
    rows, summary = result["rows"], result["summary"]
    assert all(list(row) == ROW for row in rows)
    assert all(list(entry) == ["codec", "budget", "bytes", "ssim", "psnr"] for entry in summary)
    assert (result["models"], result["rivals"], result["pictures"]) == (["conv-lstm"], ["jpeg"], 2)
    budgets = [int(setting) for setting in PROTOCOLS["thumbs"].settings]
    for codec in ("jpeg", "conv-lstm"):
        assert [entry["budget"] for entry in summary if entry["codec"] == codec] == budgets
    for entry in (entry for entry in summary if entry["codec"] == "conv-lstm"):
        mine = [row for row in rows if row["codec"] == "conv-lstm" and row["setting"] == str(entry["budget"])]
        assert len(mine) == 2 and all(row["bytes"] == entry["budget"] for row in mine)
        assert entry["ssim"] == pytest.approx(np.mean([row["ssim"] for row in mine]), abs=1e-6)
    for row in rows:
        assert row["bpp"] == pytest.approx(8 * row["bytes"] / (row["width"] * row["height"]), abs=1e-6)
        assert row["ms_ssim"] is None and row["encode_s"] > 0 and row["decode_s"] > 0

    with outputs["csv"].open(newline="") as file:
        again = list(csv.DictReader(file))
    assert again == [{key: "" if value is None else str(value) for key, value in row.items()} for row in rows]
    with Image.open(outputs["plot"]) as plot, Image.open(outputs["sheet"]) as sheet:
        assert plot.width > 500
        cell = PROTOCOLS["thumbs"].sheet[2] + report.GAP
        assert sheet.width == 3 * cell + report.GAP and sheet.height > 2 * cell

    second = run(folder, "--protocol", "thumbs", "--codecs", "jpeg,conv-lstm", "--json", "-")
    repeated = json.loads(second.stdout)
    assert repeated["summary"] == summary
    for row in (*rows, *repeated["rows"]):
        for key in TIMES:
            del row[key]
    assert repeated["rows"] == rows


def test_processes_measure_what_one_does(folder):
    def rows(*more: object) -> list[dict]:
        done = run(folder, "--protocol", "thumbs", "--codecs", "thumbhash,jpeg:20", "--json", "-", *more)
        assert done.exit_code == 0, done.output
        return [{k: v for k, v in row.items() if not k.endswith("_s")} for row in json.loads(done.stdout)["rows"]]

    assert rows("--jobs", 2) == rows()


def test_model_rows_are_prefixes_of_one_stream(thumb):
    files = list(PROTOCOLS["thumbs"].model("conv-lstm", ["16", "40"]).files(thumb))
    stream = neurocodec.encode(thumb, model="conv-lstm", passes=3, headerless=True)
    assert [file.data for file in files] == [stream[:16], stream[:40]]
    shown = neurocodec.decode(stream[:16], model="conv-lstm", size=thumb.size)
    assert np.array_equal(np.asarray(files[0].decode(files[0].data)), np.asarray(shown))


def test_fixed_settings_stand_at_their_own_size(folder):
    done = run(folder, "--protocol", "thumbs", "--codecs", "thumbhash,jpeg:20,blurhash:4x3", "--json", "-")
    result = json.loads(done.stdout)
    assert [entry["codec"] for entry in result["summary"]] == ["thumbhash", "jpeg", "blurhash"]
    assert result["fixed"] == result["rivals"] == ["thumbhash", "jpeg", "blurhash"]
    sizes = [row["bytes"] for row in result["rows"] if row["codec"] == "jpeg"]
    assert result["summary"][1]["bytes"] == np.mean(sizes)
    assert result["summary"][1]["budget"] == math.ceil(np.mean(sizes))


def test_a_run_over_photos(photos, tmp_path):
    Image.fromarray(skimage.data.coffee()[:192, :192]).save(tmp_path / "a.png")
    codecs = "jpeg,webp:10,webp:40,webp:70,webp:90,conv-lstm:p1,conv-lstm:p4,conv-lstm:0.375"
    done = run(tmp_path, "--protocol", "photos", "--codecs", codecs, "--json", "-", "--plot", tmp_path / "plot.svg")
    assert done.exit_code == 0, (done.output, done.exception)
    result = json.loads(done.stdout)
    jpeg, webp, ours = result["summary"]
    assert [entry["codec"] for entry in (jpeg, webp, ours)] == ["jpeg", "webp", "conv-lstm"]
    assert list(ours) == ["codec", "points", "at_rates", "bd_rate_ms_ssim", "bd_rate_psnr"]
    keys = ["setting", "bpp", "psnr", "ssim", "ms_ssim", "ssimulacra2", "encode_s", "decode_s"]
    assert all(list(point) == keys for entry in result["summary"] for point in entry["points"])
    assert [point["setting"] for point in ours["points"]] == ["p1", "p4"]
    assert [point["bpp"] for point in ours["points"]] == pytest.approx([0.125, 0.5], abs=0.005)
    assert all(row["bpp"] <= 0.375 for row in result["rows"] if row["setting"] == "0.375")
    assert [at["bpp"] for at in ours["at_rates"]] == [0.25, 0.5]
    assert set(ours["bd_rate_ms_ssim"]) == {"jpeg", "webp"} and set(webp["bd_rate_psnr"]) == {"jpeg"}
    assert webp["bd_rate_ms_ssim"]["jpeg"] < 0
    low, high = result["windows"]["bd_rate_ms_ssim"]["webp"]["jpeg"]
    assert protocols.MS_SSIM_WINDOW[0] <= low < high <= protocols.MS_SSIM_WINDOW[1]
    assert "Photos: 1, whole files" in (tmp_path / "plot.svg").read_text()


def test_pictures_at_one_rate_are_read_off_one_by_one():
    def row(bpp, image, ssim):
        return {"bpp": bpp, "image": image, "psnr": 30.0, "ssim": ssim, "ms_ssim": 0.9, "ssimulacra2": 50.0}

    easy, hard = [row(0.125, "a", 0.9), row(0.5, "a", 0.98)], [row(0.25, "b", 0.7), row(1.0, "b", 0.9)]
    assert protocols.at_rate(easy, 0.25) == pytest.approx([30, 0.94, 0.9, 50])
    assert protocols.at_rate(easy, 0.1) is protocols.at_rate(easy, 0.6) is None
    assert protocols._at_rates([*easy, *hard], ["0.125", "0.25", "0.5", "1"]) == [
        {"bpp": rate, "psnr": 30.0, "ssim": pytest.approx(ssim), "ms_ssim": 0.9, "ssimulacra2": 50.0}
        for rate, ssim in ((0.25, 0.82), (0.5, 0.89))
    ]


def test_a_curve_is_of_files_with_as_many_passes(photos):
    image = Image.fromarray(photos[0])
    files = {file.setting: file for file in PROTOCOLS["photos"].model("photo", ("p12", "0.25", "p20")).files(image)}
    assert [neurocodec.info(files[setting].data).passes for setting in ("p12", "p20")] == [12, 20]
    assert files["0.25"].size <= 0.25 * image.width * image.height / 8
    settings = PROTOCOLS["photos"].model_settings("photo", ["photo", "avif"])
    assert set(PROTOCOLS["photos"].settings) < set(settings) and "p18" in settings


def test_by_default_all_that_suits_is_measured(monkeypatch):
    shipped = [model.name for model in neurocodec.list_models() if not model.task]
    thumbs, photos = PROTOCOLS["thumbs"], PROTOCOLS["photos"]
    assert [codec.name for codec in select(None, thumbs)] == [*rivals.SMALL, *shipped, "preview@2", "preview@2*"]
    measured = [codec.name for codec in select(None, photos)]
    assert "conv-lstm" in measured and "preview" not in measured
    monkeypatch.setattr(rivals, "find_spec", lambda name: None)
    assert {"jpeg-xl", "blurhash"} & {codec.name for codec in select(None, thumbs)} == set()


def test_a_search_can_be_told_each_budget_or_none(thumb):
    whole, each = (select(f"{name}:24,{name}:40", PROTOCOLS["thumbs"])[0] for name in ("preview@2", "preview@2*"))
    one = neurocodec.encode(
        thumb, model="preview", passes=neurocodec.load("preview").layout.max_passes, effort=2, headerless=True
    )
    own = [neurocodec.encode(thumb, model="preview", bytes=n, effort=2, headerless=True) for n in (24, 40)]
    assert [file.data for file in whole.files(thumb)] == [one[:24], one[:40]]
    assert [file.data for file in each.files(thumb)] == own and own != [one[:24], one[:40]]


def test_codecs_that_are_not_there(folder, monkeypatch, tmp_path):
    fails("no codec named 'gif'; there are jpeg, ", folder, "--protocol", "thumbs", "--codecs", "gif")
    fails("jpeg has no setting 'high'", folder, "--protocol", "thumbs", "--codecs", "jpeg:high")
    fails("effort must be 1 to 9", folder, "--protocol", "thumbs", "--codecs", "preview@x")
    Image.new("RGB", (161, 161)).save(tmp_path / "large.png")
    fails("in thumbs only", tmp_path / "large.png", "--protocol", "photos", "--codecs", "preview@2*")
    fails("settings of conv-lstm are positive numbers", folder, "--protocol", "thumbs", "--codecs", "conv-lstm:-1")
    fails("settings of photo are positive numbers, not pp", tmp_path / "large.png", "--protocol", "photos", "--codecs", "photo:pp")
    monkeypatch.setattr(bench.importlib, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    fails("imagecodecs is not here: pip install neurocodec[bench]", folder, "--protocol", "thumbs", "--codecs", "jpeg-xl")
    fails("matplotlib is not here", folder, "--protocol", "thumbs", "--codecs", "jpeg", "--plot", "plot.png")


def test_pictures_that_cannot_be_measured(folder, photos, tmp_path):
    Image.fromarray(photos[0]).save(tmp_path / "photo.png")
    fails("a thumbnail has at most 64 a side", tmp_path, "--protocol", "thumbs", "--codecs", "jpeg")
    fails("needs at least 161 a side", folder, "--protocol", "photos", "--codecs", "jpeg")
    (tmp_path / "empty").mkdir()
    fails("no pictures", tmp_path / "empty", "--protocol", "thumbs")
    (tmp_path / "empty" / "bad.png").write_bytes(b"not a picture")
    fails("bad.png: not a picture", tmp_path / "empty", "--protocol", "thumbs")
    fails("cannot be written as '.xyz'", folder, "--protocol", "thumbs", "--codecs", "jpeg", "--plot", tmp_path / "p.xyz")


def test_names_of_pictures(folder):
    thumbs = PROTOCOLS["thumbs"]
    assert list(pictures([folder], thumbs)) == ["a.png", "b.png"]
    assert list(pictures([folder, folder / "a.png"], thumbs)) == [
        f"{folder.name}/a.png",
        f"{folder.name}/b.png",
        "a.png",
    ]
    with pytest.raises(NeurocodecError, match="two pictures are named"):
        pictures([folder, folder], thumbs)
