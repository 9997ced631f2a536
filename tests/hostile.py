# ruff: noqa: E501
"""Sources of data that are broken, odd or made to harm: (what must come of it, maker) by name.

A maker writes into an empty folder, and gives what is named as DATA (a path in it) with options after it;
or None: the only entry.
"""

from __future__ import annotations

import io
import os
import random
import socket
import stat
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

READ, REFUSED, EITHER = 0, 2, None
ESCAPES = "a\x1b[31m\x07\u009bb"
PATIENT = 60
"""Samples in arrays."""

SOURCES: dict[str, tuple[int | None, Callable[[Path], object]]] = {}


def add(name, outcome, make):
    assert name not in SOURCES, name
    SOURCES[name] = outcome, make


# --- parts -------------------------------------------------------------------------------------


def noise(*shape, dtype="u1", seed=0):
    """Numbers that fill their type, or floats around 0."""
    generator = np.random.default_rng(seed)
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        return generator.integers(info.min, info.max, shape, np.dtype(dtype).newbyteorder("="), True)
    return generator.normal(size=shape).astype(dtype)


def npy(array, version=None):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), version)
    return file.getvalue()


def headed(header, body=b"", version=(1, 0), length=None):
    """An .npy of any header."""
    text = header.encode("utf-8")
    size = len(text) if length is None else length
    return (
        b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", size) + text + body
    )


def claim(descr="|u1", shape="(60, 8, 8)", order="False", more=""):
    return f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, {more}}}".ljust(117) + "\n"


def packed(entries, compressed=True):
    """A .zip of (name, bytes); a name may come twice."""
    file = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(file, "w", method) as archive:
        for name, raw in entries:  # of names that are there already it warns
            info = zipfile.ZipInfo(name)
            info.compress_type = archive.compression
            archive.writestr(info, raw)
    return file.getvalue()


def patched(raw, *, flag=None, method=None, size=None, crc=None, offset=None):
    """The first entry of a .zip says something else, in the list at the end and before its bytes."""
    raw, local, listed = bytearray(raw), raw.index(b"PK\3\4"), raw.index(b"PK\1\2")
    for value, places, form in (
        (flag, (local + 6, listed + 8), "<H"), (method, (local + 8, listed + 10), "<H"),
        (crc, (local + 14, listed + 16), "<I"), (size, (local + 22, listed + 24), "<I"),
        (offset, (listed + 42,), "<I"),
    ):  # fmt: skip
        for place in places if value is not None else ():
            struct.pack_into(form, raw, place, value)
    return bytes(raw)


def picture(form="PNG", mode="RGB", size=(8, 8), seed=0, **options):
    file, bands = io.BytesIO(), len(Image.new(mode, (1, 1)).getbands())
    array = noise(size[1], size[0], bands, seed=seed)
    image = Image.frombytes(mode, size, array.tobytes()) if mode not in ("P", "1", "I;16", "I", "F") else (
        Image.fromarray(noise(size[1], size[0], dtype="u2", seed=seed)) if mode[0] == "I"
        else Image.frombytes("L", size, array[..., 0].tobytes()).convert(mode)
    )  # fmt: skip
    image.save(file, form, **options)
    return file.getvalue()


def animated(form, frames, size=(8, 8)):
    images = [Image.fromarray(noise(size[1], size[0], 3, seed=k)) for k in range(frames)]
    file = io.BytesIO()
    images[0].save(file, form, save_all=True, append_images=images[1:])
    return file.getvalue()


def png(width, height, depth=8, color=2, data=None, before=b""):
    """A PNG that claims a size."""

    def chunk(name, raw):
        return struct.pack(">I", len(raw)) + name + raw + struct.pack(">I", zlib.crc32(name + raw))

    body = zlib.compress(b"\0" * 4000) if data is None else data
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + before + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def text_chunk(name, raw):
    return struct.pack(">I", len(raw)) + name + raw + struct.pack(">I", zlib.crc32(name + raw))


def tiff_loop():
    """A TIFF whose page is followed by itself."""
    raw = bytearray(picture("TIFF", "L"))
    start = struct.unpack_from("<I", raw, 4)[0]
    count = struct.unpack_from("<H", raw, start)[0]
    struct.pack_into("<I", raw, start + 2 + 12 * count, start)
    return bytes(raw)


# --- sources of one file, and of a folder ------------------------------------------------------


def one(name, raw, *options):
    def make(place):
        (place / name).write_bytes(raw() if callable(raw) else raw)
        return [name, *options]

    return make


def folder(files, *options, beside=()):
    """A folder `it` of {name: bytes}, and two sound pictures unless `beside` says what else."""

    def make(place):
        found = {f"sound{i}.png": picture(seed=i) for i in range(2)} if beside == () else dict(beside)
        for name, raw in {**found, **(files() if callable(files) else files)}.items():
            path = os.path.join(os.fsencode(place / "it"), os.fsencode(name))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(raw() if callable(raw) else raw)
        return ["it", *options]

    return make


def with_special(act, *options):
    """A folder `it` of two sound pictures, and what `act` puts into it."""

    def make(place):
        folder({})(place)
        act(place / "it")
        return ["it", *options]

    return make


def link(name, to):
    return lambda place: (place / name).symlink_to(to)


def listen(path):
    before = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


def only(act, *data):
    """What `act` puts into the place, named by `data`."""

    def make(place):
        act(place)
        return list(data)

    return make


# --- .npy --------------------------------------------------------------------------------------

GRAY = noise(PATIENT, 8, 8)
SOUND = npy(GRAY)
for at in (0, 1, 5, 6, 7, 8, 9, 10, 11, 60, 127, 128, 129, 1000, len(SOUND) - 1):
    add(f"npy cut at {at}", REFUSED, one("a.npy", SOUND[:at]))
add("npy with more behind it", EITHER, one("a.npy", SOUND + b"x" * 999))
for name, raw in {
    "npy of another magic": b"\x94NUMPY" + SOUND[6:], "npy of version 9": headed(claim(), version=(9, 9)),
    "npy of a pickle": b"\x80\x04cos\nsystem\n(S'touch /tmp/harmed'\ntR.",
    "npy of text": b"1,2,3\n", "npy of zeros": bytes(4096), "npy that is an npz": packed([("a.npy", SOUND)]),
    "npy without a header": headed("", SOUND), "npy of a header that is code": headed("__import__('os')\n"),
    "npy of a nested header": headed("(" * 3000 + ")" * 3000 + "\n"),
    "npy of a long header": headed(claim() + " " * 100_000, version=(2, 0)),
    "npy whose header claims 4 GB": headed(claim(), version=(2, 0), length=2**32 - 1),
    "npy of a huge shape": headed(claim(shape="(1000000000, 1000, 1000)"), b"x" * 99),
    "npy of a shape beyond 64 bits": headed(claim(shape=f"({2**70}, 8)"), b"x" * 99),
    "npy of a shape that overflows": headed(claim(shape=f"({2**32}, {2**32})")),
    "npy of a huge shape of no bytes": headed(claim(shape=f"({2**62}, 0)")),
    "npy of a huge shape with a zero": headed(claim(shape=f"(60, 0, {2**62})")),
    "npy of negative sides": headed(claim(shape="(-1, 8, 8)"), b"x" * 640),
    "npy of sides that are floats": headed(claim(shape="(6.5, 8)"), b"x" * 640),
    "npy of sides that are true": headed(claim(shape="(True, 8)"), b"x" * 640),
    "npy of objects": headed(claim("|O"), b"x" * 999), "npy of void": headed(claim("|V8"), b"x" * 99999),
    "npy of dates": headed(claim("<M8[s]"), bytes(60 * 64 * 8)),
    "npy of an unknown type": headed(claim("<q99"), b"x" * 999),
    "npy of a type of no bytes": headed(claim("|S0"), b""), "npy of complex numbers": npy(noise(60, 8) * 1j),
    "npy of text in unicode": npy(np.full((60, 8), ESCAPES)), "npy of long doubles": npy(np.ones((60, 8), "g")),
    "npy of fields": npy(np.zeros(60, [("x", "f4"), ("y", "f4")])),
    "npy of fields named to harm": npy(np.zeros(60, [(ESCAPES, "f4")])),
    "npy of one number": npy(np.float32(1)), "npy of one axis": npy(np.arange(60.0)),
    "npy of no samples": npy(np.zeros((0, 8, 8))), "npy of empty samples": npy(np.zeros((60, 0, 8))),
    "npy of 64 axes": npy(np.zeros((2,) * 6 + (1,) * 26)),
    "npy with NaN": npy(np.where(np.arange(480).reshape(60, 8) == 300, np.nan, 1.0)),
    "npy with infinity": npy(np.where(np.arange(480).reshape(60, 8) == 300, -np.inf, 1.0)),
}.items():  # fmt: skip
    add(name, EITHER if name == "npy of 64 axes" else REFUSED, one("a.npy", raw))
for dtype in ("?", "<i1", ">u2", "<i2", ">i4", "<u4", "<i8", ">u8", "<f2", ">f4", "<f8", ">f8"):
    add(f"npy of {dtype}", READ, one("a.npy", npy(noise(60, 8, 8, dtype="u1" if dtype == "?" else dtype)
                                                  .astype(dtype))))  # fmt: skip
for name, array in {
    "of the ends of int64": np.array([[-(2**63)], [2**63 - 1]] * 30, "i8"),
    "of the ends of uint64": np.array([[0], [2**64 - 1]] * 30, "u8"),
    "of the ends of float64": np.array([[-1.7e308], [1.7e308]] * 30), "of the ends of float16":
    np.array([[-65504], [65504]] * 30, "f2"), "of the least floats": np.array([[5e-324], [0]] * 30),
    "of minus zero": np.full((60, 2), -0.0), "all equal": np.full((60, 2), 1e300),
    "of one sample": noise(1, 8, 8), "in Fortran's order": np.asfortranarray(noise(60, 8, 8)),
    "of long vectors": noise(2, 50_000), "of 100,000 samples": noise(100_000, 1), "of 12 axes":
    noise(3, *[2] * 11), "of one long row": noise(2, 1, 1, 100_000),
}.items():  # fmt: skip
    options = ("--layout", "array") if array.ndim == 4 else ()
    outcome = REFUSED if "12 axes" in name else EITHER if "float64" in name else READ
    add(f"npy {name}", outcome, one("a.npy", npy(array), *options))
add("npy of large samples in Fortran's order", READ,
    one("a.npy", lambda: npy(np.asfortranarray(noise(40, 3, 400, 400))), "--layout", "CHW"))  # fmt: skip
add("npy whose name harms", READ, one(f"{ESCAPES}\nalphabar.npy", SOUND))
add("npy whose name isn't text", READ, only(
    lambda place: Path(os.fsdecode(os.fsencode(place) + b"/a\xff.npy")).write_bytes(SOUND), "a\udcff.npy"
))  # fmt: skip
add("npy that is a folder", EITHER, only(lambda place: (place / "a.npy").mkdir(), "a.npy"))
add("npz that is a folder", EITHER, only(lambda place: (place / "a.npz").mkdir(), "a.npz:x"))
for ending in (".npy", ".npz", ".zip", ".tar", ""):
    add(f"FIFO as {ending}", REFUSED, only(lambda place, e=ending: os.mkfifo(place / f"a{e}"), f"a{ending}"))
    for device in ("zero", "null", "full", "tty"):
        add(f"{device} as {ending}", REFUSED, only(link(f"a{ending}", f"/dev/{device}"), f"a{ending}"))
    add(f"link in a loop as {ending}", REFUSED, only(link(f"a{ending}", f"a{ending}"), f"a{ending}"))
    add(f"link to nothing as {ending}", REFUSED, only(link(f"a{ending}", "gone"), f"a{ending}"))
    add(f"socket as {ending}", REFUSED, only(lambda place, e=ending: listen(place / f"a{e}"), f"a{ending}"))

# --- .npz --------------------------------------------------------------------------------------

LABELED = packed([("x.npy", SOUND), ("y.npy", npy(np.arange(PATIENT) % 3))])
for share in (0, 1, 4, 30, 128, 2000, len(LABELED) - 60, len(LABELED) - 22, len(LABELED) - 1):
    add(f"npz cut at {share}", REFUSED, one("a.npz", LABELED[:share]))
add("npz behind other bytes", EITHER, one("a.npz", b"#!/bin/sh\n" * 99 + LABELED))
for name, raw in {
    "that is an npy": SOUND, "of nothing": packed([]), "of text": packed([("readme.txt", b"x")]),
    "of an empty entry": packed([("x.npy", b"")]), "of a pickle": packed([("x.npy", b"\x80\x04.")]),
    "of objects": packed([("x.npy", headed(claim("|O"), b"\x80\x04."))]),
    "encrypted": patched(LABELED, flag=1), "of an unknown compression": patched(LABELED, method=99),
    "whose entry claims 4 GB": patched(LABELED, size=2**32 - 2),
    "whose entry and header claim 4 GB":
    patched(packed([("x.npy", headed(claim(shape="(536870912, 8)"), b"x" * 999))]), size=2**32 + 128 - 2**32),
    "of a wrong checksum": patched(packed([("x.npy", SOUND)]), crc=7),
    "whose entry is elsewhere": patched(LABELED, offset=2**31),
    "whose entry claims less": patched(LABELED, size=200),
    "of two arrays of one name": packed([("x.npy", SOUND), ("x.npy", npy(GRAY[:9]))]),
}.items():  # fmt: skip
    add(f"npz {name}", EITHER if "two arrays" in name else REFUSED, one("a.npz", raw))
add("npz that claims what it lacks", REFUSED, one("a.npz", patched(
    packed([("x.npy", headed(claim(shape="(4000000, 1000)"), b"x" * 9999))]), size=128 + 4_000_000_000,
)))  # fmt: skip
add(
    "npz that unpacks to 100 MB",
    READ,
    one("a.npz", lambda: packed([("x.npy", npy(np.zeros((1500, 256, 256), "u1")))])),
)
add("npz that unpacks to 100 MB in Fortran's order", READ, one("a.npz", lambda: packed([
    ("x.npy", npy(np.asfortranarray(np.zeros((1500, 256, 256), "u1"))))
])))  # fmt: skip
add(
    "npz of names that lead out",
    READ,
    one("a.npz", packed([("/x.npy", SOUND), ("../../y.npy", npy(np.arange(60) % 2))])),
)
add("npz of names that harm", EITHER, one("a.npz", packed([(f"{ESCAPES}\nx.npy", SOUND), ("z.npy", SOUND)])))
add(
    "npz of 3,000 arrays",
    EITHER,
    one("a.npz", lambda: packed([(f"{i}.npy", npy(np.arange(3))) for i in range(3000)])),
)
LABELS = {
    "too few": (np.arange(59) % 3, EITHER), "too many": (np.arange(61) % 3, EITHER), "one": (np.array(1), EITHER),
    "floats": (np.arange(60) / 7, REFUSED), "NaN": (np.full(60, np.nan), REFUSED),
    "ends of int64": (np.array([-(2**63), 2**63 - 1] * 30), READ), "uint64": (np.array([0, 2**64 - 1] * 30, "u8"), READ),
    "big-endian": ((np.arange(60) % 3).astype(">i4"), READ), "true": (np.arange(60) % 2 == 0, READ),
    "dates": (np.arange(60).astype("M8[D]"), REFUSED), "fields": (np.zeros(60, [("a", "i4")]), REFUSED),
    "objects": (np.array(["a", None] * 30, object), REFUSED), "complex": (np.ones(60) * 1j, REFUSED),
    "text to harm": (np.array([f"{ESCAPES}\nfingerprint  0", "b"] * 30), READ), "empty text": (np.array(["", "b"] * 30), READ),
    "bytes that are no text": (np.array([b"\xff", b"\xfe"] * 30), EITHER), "nul": (np.array(["a\0b", "c"] * 30), READ),
    "none": (np.array(["none", "some"] * 30), EITHER), "long text": (np.array(["x" * 9000, "y"] * 30), READ),
    "surrogates": (np.array(["\ud800", "b"] * 30), EITHER), "text twice in other forms": (np.array(["\u00e9", "e\u0301"] * 30), READ),
    "all different": (np.arange(60), READ), "one-hot": (np.eye(3)[np.arange(60) % 3], READ),
    "two-hot": (np.ones((60, 3)), REFUSED), "columns": (np.arange(60)[:, None] % 3, READ),
    "no columns": (np.zeros((60, 0), int), REFUSED), "three axes": (np.zeros((60, 1, 1), int), EITHER),
    "one-hot with NaN": (np.where(np.eye(60) > 0, np.nan, 0), REFUSED), "no text": (np.zeros(60, "S1"), EITHER),
}  # fmt: skip
for name, (array, outcome) in LABELS.items():
    for how, more in (("found", ""), ("named", ":x,y")):

        def made(place, array=array, more=more):
            np.savez(place / "a.npz", x=GRAY, y=array)
            return [f"a.npz{more}"]

        unfit = how == "named" and name in ("too few", "too many", "one")
        add(f"labels: {name}, {how}", REFUSED if unfit else outcome, made)
for key in ("", ":", ":gone", ":x,gone", ":x,x", ":y,x", ":,", ":,y", ":x,y,z", f":{ESCAPES}"):
    add(f"npz by the key {key!r}", EITHER, one("a.npz", LABELED))
    SOURCES[f"npz by the key {key!r}"] = (
        EITHER,
        lambda place, key=key: one("a.npz", LABELED)(place) and [f"a.npz{key}"],
    )

# --- .zip of pictures --------------------------------------------------------------------------

PAIR = [("a/0.png", picture()), ("b/1.png", picture(seed=1))]
ZIPPED = packed(PAIR, compressed=False)
for at in (0, 3, 30, 100, len(ZIPPED) - 100, len(ZIPPED) - 22, len(ZIPPED) - 1):
    add(f"zip cut at {at}", REFUSED, one("a.zip", ZIPPED[:at]))
for name, entries, outcome in (
    ("of nothing", [], REFUSED), ("of absolute names", [("/etc/0.png", PAIR[0][1]), *PAIR], READ),
    ("of names that lead out", [("../../0.png", PAIR[0][1]), ("..", b""), *PAIR], READ),
    ("of Windows names", [("C:\\a\\0.png", PAIR[0][1]), *PAIR], READ), ("of one name twice", [*PAIR, PAIR[0]], EITHER),
    ("of names that harm", [(f"{ESCAPES}\n\t0.png", PAIR[0][1]), *PAIR], READ), ("of no name", [("", b"x"), *PAIR], EITHER),
    ("of a point", [(".", b"x"), ("./0.png", PAIR[0][1]), *PAIR], EITHER), ("of slashes", [("///0.png", PAIR[0][1]), *PAIR], EITHER),
    ("of a file and a folder of one name", [("a", b"x"), ("a/", b""), *PAIR], READ),
    ("of a zip", [("a.zip", ZIPPED)], REFUSED), ("of a list that claims to be ours", [("a/run.json", b'{"alphabar": 1}'), *PAIR], READ),
    ("of 3,000 entries of no picture", [(f"{i}.txt", b"") for i in range(3000)], REFUSED),
    ("of a folder that is a picture", [("0.png/", b""), *PAIR], READ),
):  # fmt: skip
    add(f"zip {name}", outcome, one("a.zip", lambda entries=entries: packed(entries)))
for name, raw in {
    "encrypted": patched(ZIPPED, flag=1), "of an unknown compression": patched(ZIPPED, method=99),
    "of a wrong checksum": patched(ZIPPED, crc=7), "whose entry claims 4 GB": patched(ZIPPED, size=2**32 - 2),
    "whose entry claims 500 MB": patched(ZIPPED, size=2**29 - 1), "whose entry claims less": patched(ZIPPED, size=9),
    "whose entry is elsewhere": patched(ZIPPED, offset=2**31), "whose entries overlap": patched(ZIPPED, offset=ZIPPED.index(b"b/1.png") - 30),
}.items():  # fmt: skip
    add(f"zip {name}", READ if "500 MB" in name else REFUSED, one("a.zip", raw))
    add(f"zip {name}, with --skip-bad", READ, one("a.zip", raw, "--skip-bad"))
add("zip whose picture unpacks to 60 MB", EITHER,
    one("a.zip", lambda: packed([("0.png", PAIR[0][1] + bytes(60_000_000)), *PAIR])))  # fmt: skip
add("zip whose list of ours unpacks to 60 MB", READ,
    one("a.zip", lambda: packed([("a/run.json", bytes(60_000_000)), *PAIR])))  # fmt: skip

# --- .tar of pictures, and labels beside pictures ------------------------------------------------


def tarred(entries, form=tarfile.PAX_FORMAT):
    """A .tar of (name, bytes, or a change of the entry's header)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, what in entries:
            info, raw = tarfile.TarInfo(name), what if isinstance(what, bytes) else b""
            info.size = len(raw)
            if not isinstance(what, bytes):
                vars_of = dict(what)
                for key, value in vars_of.items():
                    setattr(info, key, value)
            archive.addfile(info, io.BytesIO(raw))
    return file.getvalue()


def resized(raw, field, at=124):
    """The first header of a .tar has another field, and a sound checksum."""
    head = bytearray(raw[:512])
    head[at : at + len(field)] = field
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + raw[512:]


TARRED = tarred(PAIR)
for at in (0, 3, 100, 511, 512, 600, 1024, 2048, 2100):
    add(f"tar cut at {at}", REFUSED, one("a.tar", TARRED[:at]))
for name, entries, outcome in (
    ("of nothing", [], REFUSED), ("of absolute names", [("/etc/0.png", PAIR[0][1]), *PAIR], READ),
    ("of names that lead out", [("../../0.png", PAIR[0][1]), ("..", b""), *PAIR], READ),
    ("of one name twice", [*PAIR, ("a/0.png", picture(seed=5))], READ), ("of a folder that is a picture", [("0.png", {"type": tarfile.DIRTYPE}), *PAIR], READ),
    ("of links out", [("c.png", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}), ("d.png", {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"}), *PAIR], READ),
    ("of a link to itself", [("c.png", {"type": tarfile.SYMTYPE, "linkname": "c.png"}), *PAIR], READ),
    ("of a device and a FIFO", [("c.png", {"type": tarfile.CHRTYPE, "devmajor": 1}), ("d.png", {"type": tarfile.FIFOTYPE}), *PAIR], READ),
    ("of names that harm", [(f"{ESCAPES}\n\t0.png", PAIR[0][1]), (f"{ESCAPES}\n.png", {"type": tarfile.SYMTYPE}), *PAIR], READ),
    ("of a tar", [("a.tar", TARRED)], REFUSED), ("of 3,000 entries of no picture", [(f"{i}.txt", b"") for i in range(3000)], REFUSED),
    ("of a list that claims to be ours", [("a/run.json", b'{"alphabar": 1}'), *PAIR], READ), ("of long names", [("n" * 9000 + "/0.png", PAIR[0][1]), *PAIR], READ),
    ("of labels that harm", [*PAIR, ("a/0.cls", f"{ESCAPES}\nfingerprint  0".encode()), ("b/1.cls", b"\xff")], REFUSED),
    ("of labels to harm", [*PAIR, ("a/0.cls", f"{ESCAPES}\nfingerprint  0".encode()), ("b/1.cls", b"x" * 9000)], READ),
    ("of a deep label", [*PAIR, ("a/0.json", b"[" * 100_000), ("b/1.json", b"{}")], REFUSED), ("of a large label", [*PAIR, ("a/0.json", b"1" * 2_000_000), ("b/1.json", b"{}")], REFUSED),
):  # fmt: skip
    add(f"tar {name}", outcome, one("a.tar", lambda entries=entries: tarred(entries)))
for name, raw in {
    "whose entry claims 8 GB": resized(TARRED, b"77777777777\0"), "whose entry claims 2^62 bytes": resized(TARRED, b"\x80\0\0\0" + struct.pack(">Q", 2**62)),
    "whose entry claims less than nothing": resized(TARRED, b"\xff" * 10 + b"\xfe\0"), "whose entry claims a long name of 8 GB":
    resized(resized(TARRED, b"L", 156), b"77777777777\0"), "whose entry claims 8 GB of facts": resized(resized(TARRED, b"x", 156), b"77777777777\0"),
    "of a wrong checksum": TARRED[:10] + b"x" + TARRED[11:], "of a wrong second checksum": TARRED[:1034] + b"x" + TARRED[1035:],
    "of sparse files": resized(TARRED, b"S", 156), "of an unknown kind": resized(TARRED, b"Z", 156), "of zeros": bytes(10_240), "of text": b"x" * 10_240,
    "that is a zip": ZIPPED, "by gzip": b"\x1f\x8b" + bytes(600),
}.items():  # fmt: skip
    add(f"tar {name}", EITHER if "kind" in name or "sparse" in name else REFUSED, one("a.tar", raw))
add("tar with more behind it", READ, one("a.tar", TARRED + b"x" * 999))
add(
    "tar of a picture of 60 MB",
    EITHER,
    one("a.tar", lambda: tarred([("0.png", PAIR[0][1] + bytes(60_000_000)), *PAIR])),
)
add("tar twice behind each other", READ, one("a.tar", TARRED + TARRED))
add(
    "tars in a folder, one of them damaged",
    REFUSED,
    folder({"0.tar": TARRED, "1.tar": TARRED[:600]}, beside={}),
)
add("tars in a folder", READ, folder({"0.tar": TARRED, "1.tar": TARRED}, beside={}))
for name, raw, outcome in (
    ("of no bytes", b"", REFUSED), ("to harm", f"file,label\nsound0.png,{ESCAPES}\nsound1.png,\"a\nfingerprint  0\"".encode(), READ),
    ("of one long line", b"x," * 2_000_000, REFUSED), ("of an open quote", b'"' + b"x\n" * 200_000, REFUSED), ("of NUL", b"file,label\nsound0.png,\0\nsound1.png,b", EITHER),
    ("of 200,000 strangers", b"file,label\nsound0.png,a\nsound1.png,b\n" + b"".join(b"%d.png,c\n" % i for i in range(200_000)), READ),
    ("of names that lead out", b"file,label\n../../sound0.png,a\n/etc/sound1.png,b", READ),
):  # fmt: skip
    add(f"labels in a file {name}", outcome, folder({"l.csv": raw}, "--labels", "it/l.csv"))
for name, raw, outcome in (
    ("nested deep", b"[" * 100_000, REFUSED), ("twice", b'{"sound0.png": "a", "sound0.png": "b", "sound1.png": "b"}', REFUSED),
    ("of huge numbers", b'{"sound0.png": 1' + b"0" * 3000 + b', "sound1.png": 2}', EITHER), ("of NaN", b'{"sound0.png": NaN, "sound1.png": 2}', REFUSED),
):  # fmt: skip
    add(f"labels in JSON {name}", outcome, folder({"l.json": raw}, "--labels", "it/l.json"))
add(
    "metadata that harm",
    READ,
    folder({"metadata.jsonl": f'{{"file_name": "{ESCAPES[:1]}", "label": 3}}'.encode()}),
)
for device in ("zero", "null", "tty"):
    add(f"labels in {device}", REFUSED, with_special(link("l.csv", f"/dev/{device}"), "--labels", "it/l.csv"))

# --- pictures ----------------------------------------------------------------------------------

BAD = {
    "of no bytes": b"", "of zeros": bytes(5000), "of PostScript":
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(%pipe%touch harmed) (w) file\nshowpage\n",
    "of PDF": b"%PDF-1.4\n", "of SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "of 100,000 × 100,000 pixels": png(100_000, 100_000), "of 2^31 pixels a side": png(2**31 - 1, 2**31 - 1),
    "of no pixels": png(0, 8), "of 13,000 × 13,000 pixels that aren't there": png(13_000, 13_000, color=0),
    "of 13,000 × 13,000 colored pixels that aren't there": png(13_000, 13_000),
    "of a broken stream": png(8, 8, data=b"\x78\x9c" + b"\xff" * 99), "of an odd depth": png(8, 8, depth=3),
    "of floats": picture("TIFF", "F"), "BMP of 40,000 × 40,000": picture("BMP").replace(
        struct.pack("<ii", 8, 8), struct.pack("<ii", 40_000, 40_000)),
    "PPM of 60,000 × 60,000": b"P6 60000 60000 255\n" + b"x" * 99, "PPM of huge numbers": b"P6 " + b"9" * 5000 + b" 8 255\n",
    "PPM without an end": b"P6 " + b"#" * 9999, "GIF of 65,535 × 65,535": b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x08\x01x\0;",
    "text chunk that unpacks to 100 MB": lambda: png(8, 8, before=text_chunk(
        b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000), 1))),
    "profile that unpacks to 100 MB": lambda: png(8, 8, before=text_chunk(
        b"iCCP", b"a\0\0" + zlib.compress(bytes(100_000_000), 1))),
}  # fmt: skip
for name, raw in BAD.items():
    unread = EITHER if callable(raw) else REFUSED
    add(f"picture {name}", unread, folder({"x.png": raw}))
    add(f"picture {name}, with --skip-bad", READ, folder({"x.png": raw}, "--skip-bad"))
GOOD = {
    "of 1 × 1": picture(size=(1, 1)), "of 1 × 100,000": picture(size=(1, 100_000)), "of 100,000 × 1": picture(size=(100_000, 1)),
    "CMYK": picture("JPEG", "CMYK"), "CMYK TIFF": picture("TIFF", "CMYK"), "LAB": picture("TIFF", "LAB"), "YCbCr": picture("TIFF", "YCbCr"),
    "of 16 bits": picture("PNG", "I;16"), "with a palette": picture("PNG", "P"), "with a transparent palette": picture("PNG", "P", transparency=3),
    "with a palette of alphas": picture("PNG", "P", transparency=bytes(range(256))), "of one bit": picture("PNG", "1"),
    "with a transparent color": picture("PNG", "RGB", transparency=(1, 2, 3)), "gray with alpha": picture("PNG", "LA"),
    "with a broken profile": picture(icc_profile=b"no profile"), "with broken EXIF": picture("JPEG", exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff"),
    "with text to harm": picture(comment=ESCAPES), "with bytes behind it": picture() + b"PK\3\4" * 999,
    "GIF that moves": animated("GIF", 5), "WebP that moves": animated("WEBP", 5), "TIFF of pages": animated("TIFF", 5),
    "PNG that moves": animated("PNG", 5), "TIFF that loops": tiff_loop(), "JPEG named as PNG": picture("JPEG"),
    "of a stream that is short": png(8, 8, color=0, data=zlib.compress(bytes(20))), "WebP": picture("WEBP"), "GIF of 300 frames": lambda: animated("GIF", 300, (4, 4)),
}  # fmt: skip
for name, raw in GOOD.items():
    outcome = (
        EITHER if name in ("LAB", "of 16 bits", "TIFF that loops", "of a stream that is short") else READ
    )
    add(f"picture {name}", outcome, folder({"x.png": raw}))
    add(f"picture {name}, all frames", EITHER, folder({"x.png": raw}, "--frames", "all"))
for form in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "AVIF"):
    whole = picture(form)
    for share in (0.02, 0.1, 0.4, 0.7, 0.98):
        add(f"{form} cut at {share:.0%}", EITHER, folder({"x.png": whole[: int(share * len(whole))]}))

# --- folders -----------------------------------------------------------------------------------

for name, files, outcome in (
    ("of names that harm", {f"{ESCAPES}.png": PAIR[0][1], "b\n\t\r.png": PAIR[1][1], "c\n.txt": b""}, READ),
    ("of names that forge a row", {"x\nfingerprint  0000.gif": animated("GIF", 2)}, READ),
    ("of names that are no text", {b"a\xff.png": PAIR[0][1], b"b\xfe.txt": b""}, READ),
    ("of classes that harm", {f"{c}/{i}.png": PAIR[0][1] for c in (f"{ESCAPES}\nfingerprint  0", "b") for i in range(2)}, READ),
    ("of classes that are no text", {os.fsencode(f"/{i}.png").join([c, b""]) for c in () for i in ()} and {}, READ),
    ("of an unreadable one that harms", {f"{ESCAPES}\nalphabar.png": b"x"}, REFUSED),
    ("of deep folders", {"/".join("d" * 150) + "/0.png": PAIR[0][1]}, READ),
    ("of a class none", {f"{c}/{i}.png": PAIR[0][1] for c in ("none", "b") for i in range(2)}, EITHER),
    ("of classes of one form", {f"{c}/{i}.png": PAIR[0][1] for c in ("\u00e9", "e\u0301") for i in range(2)}, READ),
    ("of a list that claims to be ours", {"run.json": b'{"alphabar": "1"}', "d/samples.json": b'"alphabar"' * 9999}, READ),
    ("of copies of other systems", {"__MACOSX/0.png": b"x", ".DS_Store": b"x", "._0.png": b"x"}, READ),
):  # fmt: skip
    add(
        f"folder {name}",
        outcome,
        folder(files, beside={} if "classes" in name or "class none" in name else ()),
    )
SOURCES["folder of classes that are no text"] = (
    READ,
    folder({c + b"/%d.png" % i: PAIR[0][1] for c in (b"a\xff", b"a\xfe") for i in range(2)}, beside={}),
)
add("folder of nothing", REFUSED, only(lambda place: (place / "it").mkdir(), "it"))
add("folder of one hidden picture", REFUSED, folder({".0.png": PAIR[0][1]}, beside={}))
for name, act in {
    "a FIFO": lambda it: os.mkfifo(it / "x.png"), "a socket": lambda it: listen(it / "x.png"),
    "a link to a device": link("x.png", "/dev/zero"), "a link to nothing": link("x.png", "gone"), "a link to itself": link("x.png", "x.png"),
    "a folder named as a picture": lambda it: (it / "x.png").mkdir(), "a link to a picture": link("x.png", "sound0.png"),
    "a link to itself as folder": link("d", "."), "a link to all": link("d", "/proc/self/root/proc/self/fd"),
    "a link out": link("d", "/etc"), "a FIFO for a list": lambda it: ((it / "d").mkdir(), os.mkfifo(it / "d/run.json")),
    "a device for a list": lambda it: ((it / "d").mkdir(), (it / "d/run.json").symlink_to("/dev/zero")),
    "a picture without rights": lambda it: ((it / "x.png").write_bytes(b""), (it / "x.png").chmod(0)),
    "a folder without rights": lambda it: ((it / "d").mkdir(), (it / "d").chmod(0)),
}.items():  # fmt: skip
    outcome = EITHER if "rights" in name or "to all" in name else READ
    add(f"folder with {name}", outcome, with_special(act))
for text in ("", ".", "~nobody-there/x", "a\0b", "x" * 5000, "hf:", "hf:/gone", "file:///a.npy", "-", "\udcff", f"{ESCAPES}\n", "/dev/stdin", "/proc/self/mem"):  # fmt: skip
    add(f"DATA is {text[:20]!r}", EITHER, only(lambda place: None, text))

# --- sound files with some bytes changed -------------------------------------------------------

RAW = {
    "a.npy": SOUND, "a.npz": LABELED, "b.npz": packed([("x.npy", SOUND)], compressed=False), "a.zip": ZIPPED, "a.tar": TARRED,
    **{f"x.{form.lower()}": picture(form, size=(20, 12)) for form in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "AVIF")},
    "moving.gif": animated("GIF", 3), "moving.tiff": animated("TIFF", 3), "cmyk.jpg": picture("JPEG", "CMYK"),
    "palette.png": picture("PNG", "P", transparency=bytes(range(256))),
}  # fmt: skip
DRAWS = 6


def damaged(raw, seed):
    """Bytes with a piece changed, taken out, put in twice, or made a great number."""
    draw, raw = random.Random(seed), bytearray(raw)
    for _ in range(draw.choice((1, 1, 2, 8))):
        most = draw.choice((200, len(raw)))  # headers are hit as often as all else
        at, size = draw.randrange(min(most, len(raw))), draw.choice((1, 2, 4, 16, 100))
        piece = bytes(raw[at : at + size])
        raw[at : at + size] = draw.choice((
            bytes(draw.randrange(256) for _ in piece), b"", piece * draw.choice((2, 50)), b"\xff" * len(piece),
            bytes(len(piece)), bytes(byte ^ 1 << draw.randrange(8) for byte in piece),
        ))  # fmt: skip
    return bytes(raw)


for file, whole in RAW.items():
    for seed in range(DRAWS):
        raw = damaged(whole, f"{file} {seed}")
        is_picture = not file.endswith((".npy", ".npz", ".zip", ".tar"))
        add(f"{file} changed by {seed}", EITHER,
            folder({file: raw}, "--frames", "all") if is_picture else one(file, raw))  # fmt: skip


def listing(place):
    """Everything below a folder as it is: kind, rights, bytes or target."""
    found = {}
    for above, folders, files in os.walk(os.fsencode(place)):
        for name in (*folders, *files):
            path = os.path.join(above, name)
            status = os.lstat(path)
            what = os.readlink(path) if stat.S_ISLNK(status.st_mode) else b""
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    what = file.read()
            found[path] = status.st_mode, status.st_mtime_ns, what
    return found
