"""Series: axes are plain or refused, each channel has its own scale and comes back in its own units."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alphabar import prepare
from alphabar.cli.read import read_sample
from alphabar.data.charts import curves
from alphabar.data.kinds import KINDS
from alphabar.data.space import Space
from alphabar.model.codec import codec_from, fit_codec
from program import TINY, call


def waves(n=60, channels=2, length=64, seed=0):
    """Sines of any phase in each channel."""
    rng = np.random.default_rng(seed)
    t = np.arange(length) / length
    frequency, phase = rng.integers(1, 5, (n, channels, 1)), rng.random((n, channels, 1))
    return np.sin(2 * np.pi * (frequency * t + phase)).astype(np.float32)


def noted(data, words):
    return any(words in note for note in data.notes)


# --- arrays --------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["CL", "LC", "L"])
def test_series_come_back_in_the_users_own_axes(layout):
    series = waves(channels=1 if layout == "L" else 6)
    own = {"CL": series, "LC": np.moveaxis(series, 1, 2), "L": series[:, 0]}[layout]
    data = prepare(own, layout=layout, holdout=0)
    assert (data.space.kind, data.space.layout) == ("series", layout)
    np.testing.assert_array_equal(data.images, series)
    np.testing.assert_array_equal(data.space.to_layout(np.asarray(data.images)), own)
    np.testing.assert_array_equal(data.space.from_layout(own), series)
    assert data.space == Space(**data.space.to_dict())


def test_few_channels_are_plain_and_other_axes_are_refused_with_the_choices():
    assert prepare(waves(channels=3)).space.layout == "CL"
    assert prepare(waves()[:, 0]).space.kind == "array"
    with pytest.raises(
        ValueError, match=r"HW for .*CL for series of 12 channels and 64 times; LC for .*array"
    ):
        prepare(waves(channels=12))


def test_options_of_series_are_refused_for_what_is_none():
    for setting in ({"rate": 100}, {"window": 1}, {"hop": 1}):
        with pytest.raises(ValueError, match="is for series, and these are none"):
            prepare(np.zeros((8, 5)), **setting)
    with pytest.raises(ValueError, match="series is for tables"):
        prepare(waves(), series="id")
    with pytest.raises(ValueError, match="give --rate HZ"):
        prepare(waves(), window=0.1)
    with pytest.raises(ValueError, match="above 0, got -1"):
        prepare(waves(), rate=-1)


def test_not_a_number_is_refused_with_its_place():
    series = waves()
    series[7, 1, 30] = np.nan
    with pytest.raises(ValueError, match=r"first in sample 7 at \(1, 30\)"):
        prepare(series)


def test_pictures_alone_are_mirrored():
    with pytest.raises(ValueError, match="flip mirrors pictures"):
        prepare(waves()).batch(0, 0, 4, flip=True)


# --- windows -------------------------------------------------------------------------------------


def test_windows_are_cut_where_they_should_be_and_keep_their_class():
    series = np.arange(2 * 3 * 100, dtype=np.float32).reshape(2, 3, 100)
    data = prepare((series, ["a", "b"]), rate=10, window=4, hop=3, holdout=0)
    wanted = np.stack([series[i, :, s : s + 40] for i in range(2) for s in (0, 30, 60)])
    np.testing.assert_array_equal(data.images, wanted)
    assert data.values["class"].tolist() == [0, 0, 0, 1, 1, 1]
    assert data.space.timeline.rate == 10
    assert noted(data, "6 windows of 4 s (40 numbers at 10 a second), one each 3 s")
    table = {"id": ["a"] * 10 + ["b"] * 3, "x": np.arange(13.0) % 4}
    short = prepare(pytest.importorskip("pandas").DataFrame(table), series="id", rate=1, window=4, holdout=0)
    assert noted(short, "shorter than a window, and left out: b")
    assert len(short) == 2
    with pytest.raises(ValueError, match=r"as long as a window of 20 s .*longest has 10 s"):
        prepare(series, rate=10, window=20)


@pytest.mark.parametrize(
    ("n", "hop", "whole"), [(60, None, True), (60, 4, True), (8, None, False), (8, 4, True)]
)
def test_windows_that_overlap_are_never_on_both_sides_of_the_split(n, hop, whole):
    series = np.random.default_rng(0).standard_normal((n, 2, 64))
    data = prepare(series, rate=1, window=16, hop=hop, holdout=0.3)
    each = len(data.images) // n
    parts = [{*(data.held_out // each).tolist()}, {*(data.training // each).tolist()}]
    assert len(data.held_out)
    assert (not parts[0] & parts[1]) == whole


# --- the codec -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "int64"])
def test_channels_have_their_own_scale_and_are_affinely_equivariant(dtype):
    """Channels in other units are the same in model space, and come back in those units."""
    z = waves(channels=3).astype(np.float64)
    whole = np.dtype(dtype).kind == "i"
    far = 2**60 if dtype == "int64" else 0
    scale = np.array([100, 3000, 10_000] if whole else [1e-6, 1.0, 1e5])[:, None]
    shift = np.array([0, -500, 7] if whole else [3.0, 0.0, -1e5])[:, None]
    series = (np.rint(z * scale + shift) if whole else z * scale + shift).astype(dtype) + np.array(far, dtype)
    data = prepare(series, layout="CL", holdout=0)
    codec = fit_codec(data.space, data.images)
    x_0 = codec.encode(series)
    np.testing.assert_allclose(x_0.mean((0, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(x_0.std((0, 2)), 1, atol=1e-3)
    if whole:
        np.testing.assert_array_equal(codec.decode(x_0), series)
    else:
        np.testing.assert_allclose(codec.decode(x_0), series, atol=1e-6 * (abs(shift) + scale).max())
        plain = fit_codec(Space((3, 64), dtype, None, None, "series"), z.astype(dtype))
        given = np.random.default_rng(1).standard_normal(x_0.shape)
        np.testing.assert_allclose(
            x_0, plain.encode(z.astype(dtype)), atol=0.2 if dtype == "float32" else 1e-5
        )
        got = codec.decode(given).astype(np.float64)
        wanted = plain.decode(given).astype(np.float64) * scale + shift
        np.testing.assert_allclose((got - wanted) / scale, 0, atol=0.5 if dtype == "float32" else 1e-6)
    assert (data.space.bounds is None) == (not whole)
    again = codec_from(codec.to_dict(), codec.space)
    np.testing.assert_array_equal(again.encode(series), x_0)


@pytest.mark.parametrize("value", [0.0, 7.25, -1e-9, 1e30])
def test_a_constant_channel_comes_back_as_it_is(value):
    series = waves()
    series[:, 1] = value
    data = prepare(series, holdout=0)
    assert noted(data, f"channel 1 always {value:g}")
    codec = fit_codec(data.space, data.images)
    x_0 = codec.encode(series)
    assert np.all(np.isfinite(x_0))
    noisy = x_0 + np.random.default_rng(0).standard_normal(x_0.shape)
    assert np.all(codec.decode(noisy)[:, 1] == np.float32(value))
    again = codec_from(codec.to_dict(), codec.space)
    assert np.all(again.decode(noisy)[:, 1] == np.float32(value))


def test_floats_are_not_clipped_unless_asked():
    assert prepare(waves()).space.bounds is None
    data = prepare(waves(), range="-2 2")
    codec = fit_codec(data.space, data.images)
    low, high = codec.bounds
    np.testing.assert_allclose(codec.decode(np.broadcast_to(low, (1, 2, 64))), -2)
    np.testing.assert_allclose(codec.decode(np.broadcast_to(high, (1, 2, 64))), 2)


# --- drawn ---------------------------------------------------------------------------------------


def test_curves_go_where_the_numbers_go():
    rising = np.linspace(0, 1, 500, dtype=np.float32)
    for series, channel in ((rising, 0), (rising[::-1], 1)):
        pair = np.stack([np.zeros(500, np.float32)] * 2)
        pair[channel] = series
        drawn = curves(pair[None, channel : channel + 1], None)[0]
        assert drawn.shape == (3, 90, 160)
        dark = drawn[0] < 150
        heights = [np.flatnonzero(dark[:, x]).mean() for x in (10, 80, 150)]
        assert sorted(heights, reverse=channel == 0) == heights
        assert heights[1] == pytest.approx(45, abs=2)


def test_a_short_spike_of_a_long_series_is_seen_and_many_channels_have_lanes():
    series = np.zeros((1, 1, 16_384), np.float32)
    series[0, 0, 5000] = 1
    drawn = curves(series, None)[0]
    assert (drawn[0, :20] < 200).any(0).sum() in (1, 2, 3)
    assert drawn.shape == (3, 182, 160)  # and below where it is
    assert (drawn[0, 92:112] < 200).any(0).sum() in (1, 2, 3)
    lanes = curves(np.zeros((1, 12, 50), np.float32), (np.full((12, 1), -1), np.full((12, 1), 1)))[0]
    rows = np.flatnonzero((lanes.min(0) < 200).any(1))
    assert np.count_nonzero(np.diff(rows) > 2) == 11


def test_where_a_long_series_varies_most_is_magnified_for_each_by_itself():
    t = np.arange(2048)
    waves = np.stack([np.sin(t / 6), np.sign(np.sin(t / 6)), (t / 38) % 2 - 1])[:, None]
    loud = [1000, 400, 1700]
    for wave, start in zip(waves, loud, strict=True):
        wave[:, np.abs(t - start - 77) > 77] *= 0.1
    drawn = curves(waves, None)
    assert drawn.shape == (3, 3, 182, 160)
    for picture, start in zip(drawn, loud, strict=True):
        shaded = np.flatnonzero(picture[0, 0] == 226)
        assert shaded.mean() == pytest.approx(3 + (start + 77) / 2048 * 154, abs=3)
    ink = drawn[:, 0, 92:, 10:150] < 200
    heights = (ink * np.arange(90)[:, None]).sum(1) / ink.sum(1)
    sine, square, saw = (np.abs(heights - 45) > 30).mean(1)  # a square is at its ends, a saw everywhere alike
    assert square > 0.8 > sine + 0.1 > saw + 0.2
    still = curves(np.zeros((1, 2, 617)), None)[0]
    assert still.shape == (3, 182, 160)
    assert curves(np.zeros((1, 2, 616)), None).shape == (1, 3, 90, 160)


# --- sound ---------------------------------------------------------------------------------------


def write_sounds(folder, depth="PCM_16", rate=8000, seconds=(0.5,) * 6, channels=2, ending="wav"):
    """Tones by formula, in two folders of classes; what is read back of them as they are."""
    soundfile = pytest.importorskip("soundfile")
    for i, length in enumerate(seconds):
        place = folder / ("high" if i % 2 else "low")
        place.mkdir(parents=True, exist_ok=True)
        t = np.arange(round(length * rate)) / rate
        tone = np.sin(2 * np.pi * (440 + 440 * (i % 2)) * t[:, None] + np.arange(channels) + i)
        soundfile.write(place / f"{i}.{ending}", 0.3 * tone, rate, subtype=depth)
    return folder


@pytest.mark.parametrize(
    ("depth", "ending", "dtype", "bits"),
    [("PCM_16", "wav", "int16", 16), ("PCM_24", "wav", "int32", 24), ("PCM_U8", "wav", "int16", 8),
     ("PCM_S8", "flac", "int16", 8), ("PCM_24", "flac", "int32", 24), ("FLOAT", "wav", "float32", 0)],
)  # fmt: skip
def test_sound_comes_back_in_its_rate_and_depth(tmp_path, depth, ending, dtype, bits):
    soundfile = pytest.importorskip("soundfile")
    data = prepare(write_sounds(tmp_path / "in", depth, ending=ending), holdout=0)
    assert data.space.shape == (2, 4000)
    assert data.space.dtype == dtype
    assert data.space.names == ("left", "right")
    assert data.conditions["class"].names == ("high", "low")
    if bits:
        assert data.space.bounds[1].max() == 2 ** (bits - 1) - 1
    ending_of_samples, content_of = KINDS["series"].each(data.space)
    for i, image in enumerate(data.images):
        (tmp_path / f"{i:06d}{ending_of_samples}").write_bytes(content_of(image))
    sources = sorted((tmp_path / "in").rglob(f"*.{ending}"))
    assert len(sources) == 6
    for i, source in enumerate(sources):
        before, rate = soundfile.read(source, dtype="float64")
        after, again = soundfile.read(tmp_path / f"{i:06d}.wav", dtype="float64")
        np.testing.assert_array_equal(before, after)
        assert rate == again == 8000
        assert soundfile.info(tmp_path / f"{i:06d}.wav").subtype == {"PCM_S8": "PCM_U8"}.get(depth, depth)


@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_sound_in_an_archive_is_that_of_a_folder(tmp_path, ending):
    folder = write_sounds(tmp_path / "in", ending="flac", seconds=(0.5, 0.5, 0.75, 1.0))
    shutil.make_archive(tmp_path / "top/in", ending, tmp_path, "in")
    data, wanted = (
        prepare(place, window=0.25, hop=0.25, holdout=0) for place in (tmp_path / f"top/in.{ending}", folder)
    )
    np.testing.assert_array_equal(data.images[:], wanted.images[:])
    np.testing.assert_array_equal(data.values["class"], wanted.values["class"])
    assert (data.space, data.fingerprint) == (wanted.space, wanted.fingerprint)
    with pytest.raises(ValueError, match="size is for pictures"):
        prepare(tmp_path / f"top/in.{ending}", size=32)


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_of_sound_and_pictures_together_there_are_more_of_one_and_the_others_are_said(tmp_path, form):
    folder = write_sounds(tmp_path / "in")  # six
    for i in range(8):
        Image.fromarray(np.full((8, 8, 3), 10 * i, np.uint8)).save(folder / f"cover{i}.png")

    def read():
        if form == "folder":
            return prepare(folder, holdout=0)
        shutil.make_archive(tmp_path / "in", "zip", folder)
        return prepare(tmp_path / "in.zip", holdout=0)

    data = read()
    assert (data.space.kind, len(data.images)) == ("picture", 8)
    assert noted(data, "6 other files left out (6 × .wav)")
    assert noted(data, "low holds no picture that can be read (3 × .wav) and is left out as a whole")
    for i in range(5):
        (folder / f"cover{i}.png").unlink()
    data = read()
    assert (data.space.kind, len(data.images)) == ("series", 6)
    assert noted(data, "3 other files left out (3 × .png)")


def test_sound_is_cut_into_windows_and_says_so(tmp_path):
    folder = write_sounds(tmp_path / "in", seconds=(0.5, 1.0, 0.75, 0.1))
    with pytest.raises(ValueError, match=r"lasts 0.1 s .*say how long samples are by --window"):
        prepare(folder)
    data = prepare(folder, window=0.25, hop=0.25, holdout=0)
    assert data.images.shape == (2 + 4 + 3, 2, 2000)
    assert noted(data, "9 windows of 0.25 s (2,000 numbers at 8,000 a second), from 4 series")
    assert noted(data, "left out: low/3.wav") or noted(data, "left out: high/3.wav")
    names = data.conditions["class"].names
    assert [names[i] for i in data.values["class"]].count("high") == 4
    assert np.abs(np.asarray(data.images, float)).max() == pytest.approx(0.3 * 2**15, rel=0.01)


@pytest.mark.parametrize(
    ("others", "message"),
    [({"rate": 16_000}, r"several sampling rates \(Hz\) \(6 × 8000, 2 × 16000.*-ar 8000"),
     ({"channels": 1}, r"several numbers of channels \(6 × 2, 2 × 1.*-ac 2"),
     ({"depth": "FLOAT"}, r"several depths \(6 × PCM_16, 2 × FLOAT"),
     ({"depth": "ULAW"}, r"2 of 8 sound files cannot be read: more/high/1.wav \(its numbers are ULAW")],
)  # fmt: skip
def test_sound_that_is_not_alike_is_refused_with_what_to_do(tmp_path, others, message):
    folder = write_sounds(tmp_path / "in")
    write_sounds(folder / "more", **{"seconds": (0.5, 0.5), **others})
    with pytest.raises(ValueError, match=message):
        prepare(folder)


def test_what_is_no_sound_is_named_or_left_out_and_options_of_pictures_are_refused(tmp_path):
    folder = write_sounds(tmp_path / "in")
    (folder / "low" / "broken.wav").write_bytes(b"RIFFxxxx")
    (folder / "cover.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"1 of 7 sound files cannot be read: low/broken.wav"):
        prepare(folder)
    data = prepare(folder, skip_bad=True, holdout=0)
    assert len(data.images) == 6
    assert noted(data, "1 other file left out (1 × .png)")
    with pytest.raises(ValueError, match="size is for pictures"):
        prepare(folder, size=32)


# --- tables --------------------------------------------------------------------------------------


def written(data, values="class"):
    """The one file that the samples of data are written in."""
    titles = [data.conditions[values].names[i] for i in data.values[values]] if values in data.values else []
    images = np.asarray(data.images)
    return list(KINDS["series"].files(lambda: images, data.space, range(len(images)), {"class": titles}))


def test_one_row_a_series_comes_back_as_it_was(tmp_path):
    pytest.importorskip("pyarrow")
    text = "0:00,0:30,kind,1:00\n1.50,2.25,a,-3.00\n0.00,1.00,b,2.00\n4.00,5.00,a,6.75\n"
    (tmp_path / "d.csv").write_text(text)
    data = prepare(tmp_path / "d.csv", layout="L", holdout=0)
    assert (data.space.kind, data.space.shape) == ("series", (1, 3))
    np.testing.assert_array_equal(np.asarray(data.images)[:, 0], [[1.5, 2.25, -3], [0, 1, 2], [4, 5, 6.75]])
    assert data.conditions["class"].names == ("a", "b")
    assert [(name, content.decode()) for name, content in written(data)] == [("samples.csv", text)]
    assert data.space == Space(**data.space.to_dict())
    with pytest.raises(ValueError, match="--types kind=skip"):
        prepare(tmp_path / "d.csv", layout="L", classes="none")


LONG = """id,t,kind,x,y
B,0.0,up,1.5,10
B,0.5,up,2.5,20
A,0.0,down,3.5,30
B,1.0,up,0.5,40
A,0.5,down,1.0,50
A,1.0,down,2.0,60
"""


def test_rows_with_one_id_are_one_series_in_their_order(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "d.csv").write_text(LONG)
    data = prepare(tmp_path / "d.csv", series="id", holdout=0)
    assert data.space.names == ("x", "y")
    np.testing.assert_array_equal(data.images, [[[1.5, 2.5, 0.5], [10, 20, 40]], [[3.5, 1, 2], [30, 50, 60]]])
    assert [data.conditions["class"].names[i] for i in data.values["class"]] == ["up", "down"]
    assert noted(data, "the times are t")
    ((name, content),) = written(data)
    assert name == "samples.csv"
    assert content.decode().splitlines()[:4] == [
        "id,t,kind,x,y",
        "0,0.0,up,1.5,10",
        "0,0.5,up,2.5,20",
        "0,1.0,up,0.5,40",
    ]
    assert data.space == Space(**data.space.to_dict())


def test_parquet_in_long_form_keeps_its_types(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    table = pa.table({
        "day": pa.array([*range(5)] * 4, pa.date32()),
        "who": pa.array(np.repeat([7, 3, 9, 1], 5), pa.int64()),
        "n": pa.array(np.arange(20) ** 2 % 7, pa.int16()), "v": pa.array(np.sin(np.arange(20)), pa.float32()),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "d.parquet")
    data = prepare(tmp_path / "d.parquet", series="who", holdout=0)
    assert data.space.timeline.rate == pytest.approx(1 / 86_400)
    ((name, content),) = written(data)
    (tmp_path / name).write_bytes(content)
    again = pq.read_table(tmp_path / name)
    assert again.schema.types == table.schema.types
    assert again.drop(["who"]).to_pylist() == table.drop(["who"]).to_pylist()
    assert again["who"].to_pylist() == np.repeat(range(4), 5).tolist()


def test_ragged_series_are_refused_with_their_lengths_or_cut(tmp_path):
    pytest.importorskip("pyarrow")
    lines = [f"{name},{i},{i * i % 5}.5" for name, n in (("a", 12), ("b", 12), ("c", 9)) for i in range(n)]
    (tmp_path / "d.csv").write_text("\n".join(["who,step,v", *lines]))
    with pytest.raises(ValueError, match=r"one length, and there are 1 of 9, 2 of 12 .*: c\): --window"):
        prepare(tmp_path / "d.csv", series="who")
    data = prepare(tmp_path / "d.csv", series="who", rate=1, window=4, holdout=0)
    assert data.images.shape == (8, 1, 4)
    ((_, content),) = written(data)
    assert content.decode().splitlines()[0] == "who,v"


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [("a,b\n1,2\n,3\n", {"layout": "L"}, "series row 1 is missing at place 0"),
     (LONG.replace("2.5,20", ",20"), {"series": "id"}, "x of series B is missing at place 1"),
     (LONG.replace("B,0.5,up", "B,0.5,down"), {"series": "id"}, "not the same in all rows of series B"),
     (LONG, {"series": "ID"}, "no column ID in"),
     (LONG, {"series": "id", "layout": "L"}, "got layout L and series id"),
     (LONG, {"layout": "HW"}, "of a table, --layout L"),
     (LONG, {"rate": 5}, "rate is for series, and these are none"),
     ("a,b\nx,y\n", {"layout": "L"}, "could each be the classes")],
)  # fmt: skip
def test_tables_that_are_no_series_are_refused_with_what_to_do(tmp_path, text, settings, message):
    pytest.importorskip("pyarrow")
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path / "d.csv", **settings)


def test_windows_of_one_row_a_series_have_numbered_columns(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "d.csv").write_text("kind,a,b,c,d\nx,1,2,3,4\ny,5,6,7,8\n")
    data = prepare(tmp_path / "d.csv", layout="L", rate=1, window=2, holdout=0)
    ((_, content),) = written(data)
    assert content.decode().splitlines()[:3] == ["kind,0,1", "x,1,2", "x,3,4"]


def test_one_series_of_a_table_is_read_by_its_id_or_its_row(tmp_path, capsys):
    pytest.importorskip("pyarrow")
    (tmp_path / "d.csv").write_text(LONG)
    (tmp_path / "w.csv").write_text("0:00,0:30,kind,1:00\n1.50,2.25,a,-3.00\n0.00,1.00,b,2.00\n")
    long = prepare(tmp_path / "d.csv", series="id", holdout=0)
    wide = prepare(tmp_path / "w.csv", layout="L", holdout=0)
    for i, name in enumerate("BA"):
        np.testing.assert_array_equal(read_sample(f"{tmp_path}/d.csv:{name}", long.space), long.images[i])
        np.testing.assert_array_equal(read_sample(f"{tmp_path}/w.csv:{i}", wide.space), wide.images[i])
    alone = tmp_path / "a.csv:one.csv"  # without ids, longer than a sample
    alone.write_text("y,x\n" + "".join(f"{i}.5,{i}\n" for i in range(5)))
    np.testing.assert_array_equal(read_sample(str(alone), long.space), [[0, 1, 2], [0.5, 1.5, 2.5]])
    assert "longer than a sample: of it the first" in " ".join(capsys.readouterr().err.split())
    (tmp_path / "gaps.csv").write_text("x,y\n,1\n2,3\n4,\n")
    known = np.array([[False, True, True], [True, True, False]])
    found = read_sample(str(tmp_path / "gaps.csv"), long.space, known)
    np.testing.assert_array_equal(found, [[0, 2, 4], [1, 3, 0]])
    for name, message in {
        "d.csv": r"has 2 series \(B, A\): name one, as .*d\.csv:B",
        "d.csv:C": "got C",
        "gaps.csv": "has no number of x at place 0: fill it in",
        "w.csv:0": "has no column x, y; it has 0:00, 0:30, kind, 1:00",
    }.items():
        with pytest.raises(ValueError, match=message):
            read_sample(f"{tmp_path}/{name}", long.space)
    (tmp_path / "short.csv").write_text("x,y\n1,2\n1,2\n")
    with pytest.raises(ValueError, match=r"a sample is .* and the series in .* has 2"):
        read_sample(str(tmp_path / "short.csv"), long.space)
    with pytest.raises(FileNotFoundError, match=r"gone\.csv"):
        read_sample(str(tmp_path / "gone.csv:3"), wide.space)


# --- all the way ---------------------------------------------------------------------------------

SCALE, MIDDLE = np.array([50, 1e-6, 0]), np.array([1000, 0, 7.25])
FEW = ["-n", 3, "--steps", 3]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run on series in long form, of three channels: two of very different scales, and a constant one."""
    pytest.importorskip("pyarrow")
    place = tmp_path_factory.mktemp("series")
    series = waves(n=60, channels=3, length=16) * SCALE[:, None] + MIDDLE[:, None]
    rows = [
        f"{i},{t},{'ab'[i % 2]}," + ",".join(f"{v:.9g}" for v in series[i, :, t])
        for i in range(60)
        for t in range(16)
    ]
    (place / "d.csv").write_text("\n".join(["who,step,kind,volts,amps,fixed", *rows]))
    assert not call(
        "train", place / "d.csv", "--series", "who", "--out", place / "run", "--images", 48, *TINY
    )
    return place


@pytest.fixture
def trained(place, monkeypatch):
    """Its data; where it is."""
    monkeypatch.chdir(place)
    return np.asarray(prepare("d.csv", series="who").images)


def test_series_are_shown_trained_on_sampled_and_written_as_they_came(trained, done):
    done("data", "d.csv", "--series", "who", "--out", "sheet.png")
    with Image.open("sheet.png") as sheet:
        assert sheet.size == (8 * 162 - 2, 8 * 92 - 2)
    done("sample", "run", "--class", "b", *FEW, "--out", "new", "--trajectory")
    samples = np.load("new/samples.npy")
    assert samples.shape == (3, 3, 16)
    assert np.all(np.abs(samples.mean((0, 2)) - MIDDLE) <= 3 * SCALE)
    assert np.all(samples.std((0, 2))[:2] > 0.1 * SCALE[:2])
    assert np.all(samples[:, 2] == 7.25)
    with open("new/samples.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == [str(t) for t in range(16)] * 3
    assert {row["kind"] for row in rows} == {"b"}
    np.testing.assert_allclose([float(row["volts"]) for row in rows], samples[:, 0].ravel(), rtol=1e-9)


def test_series_are_edited(trained, done, refused):
    np.save("one.npy", trained[0])
    np.save("two.npy", trained[1])
    done("edit", "inpaint", "run", "one.npy", "4:8", *FEW, "--out", "filled")
    filled = np.load("filled/samples.npy")
    known = np.r_[0:4, 8:16]
    np.testing.assert_array_equal(filled[..., known], np.broadcast_to(trained[0], filled.shape)[..., known])
    assert np.all(filled[:, 0, 4:8] != trained[0, 0, 4:8])
    done("edit", "vary", "run", "one.npy", "--t", 20, *FEW, "--out", "varied")
    done("edit", "interpolate", "run", "one.npy", "two.npy", *FEW, "--out", "between")
    done("edit", "upscale", "run", "one.npy", "--whole", "--factor", 2, *FEW, "--out", "large")
    for folder in ("filled", "varied", "between", "large"):
        samples = np.load(f"{folder}/samples.npy")
        assert np.all(samples[:, 2] == 7.25)
        assert np.all(np.abs(samples[:, 1]) < 1e-4)
    assert "must be a part of 16 numbers" in refused("edit", "inpaint", "run", "one.npy", "4:80")
    assert "START:END, two numbers" in refused("edit", "inpaint", "run", "one.npy", "4:x")
    assert "colorizing is for pictures" in refused("edit", "colorize", "run", "one.npy", "--whole")
    assert "flip mirrors pictures" in refused(
        "train", "d.csv", "--series", "who", "--out", "flipped", "--images", 16, "--flip"
    )


def test_series_are_diagnosed(trained, said):
    code, found, _ = said("diagnose", "run")
    assert (code, "most likely: under-trained" in found) == (1, True)


def test_sound_is_edited_as_files(tmp_path, monkeypatch, done, refused):
    soundfile = pytest.importorskip("soundfile")
    monkeypatch.chdir(tmp_path)
    write_sounds(tmp_path / "in", seconds=[0.1] * 12, channels=1)
    done("train", "in", "--window", "0.008", "--out", "run", "--images", 16, *TINY)
    done("sample", "run", *FEW, "--out", "new")
    assert sorted(p.name for p in Path("new").glob("*.wav")) == ["000000.wav", "000001.wav", "000002.wav"]
    sound, rate = soundfile.read("new/000001.wav", dtype="int16", always_2d=True)
    np.testing.assert_array_equal(sound.T, np.load("new/samples.npy")[1])
    assert rate == 8000
    done("edit", "inpaint", "run", "in/low/0.wav", "0.002:0.004", *FEW, "--out", "filled")
    filled, source = np.load("filled/samples.npy"), soundfile.read("in/low/0.wav", dtype="int16")[0]
    np.testing.assert_array_equal(filled[:, 0, 32:64], np.broadcast_to(source[32:64], (3, 32)))
    soundfile.write("other.wav", np.zeros(800), 4000)
    assert "other.wav has 1 of 800 at 4,000" in refused("edit", "vary", "run", "other.wav", "--t", 50)
