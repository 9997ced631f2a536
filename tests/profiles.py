"""ICC profiles, as a camera or a program might write them."""

from __future__ import annotations

import struct

WHITE = struct.pack(">3i", 63190, 65536, 54061)  # D50


def display_p3() -> bytes:
    """With the primaries of Display P3, and a gamma of 2.2."""
    primaries = {
        b"rXYZ": (0.5151, 0.2412, -0.0011),
        b"gXYZ": (0.2920, 0.6922, 0.0419),
        b"bXYZ": (0.1571, 0.0666, 0.7841),
    }
    tags = {
        tag: b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * v) for v in xyz))
        for tag, xyz in primaries.items()
    }
    return _profile(b"RGB ", b"Display P3", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _gamma(2.2)))


def gray(gamma: float) -> bytes:
    """For grays of this gamma."""
    return _profile(b"GRAY", b"Gray Gamma", {b"kTRC": _gamma(gamma)})


def cmyk() -> bytes:
    """For CMYK: a table of 16 corners, in which each ink takes its own part of the light alone."""
    corners = b""
    for i in range(16):
        c, m, y, k = (i >> 3) & 1, (i >> 2) & 1, (i >> 1) & 1, i & 1
        light = 100 * (1 - k) * (1 - (c + m + y) / 4)
        corners += bytes([round(light * 2.55), 128, 128])  # L*, and no color
    ramp = bytes(range(256))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0])
    table += struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536) + ramp * 4 + corners + ramp * 3
    return _profile(b"CMYK", b"Some Press", {b"A2B0": table}, kind=b"prtr", connection=b"Lab ")


def _gamma(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)


def _profile(
    space: bytes, name: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr", connection: bytes = b"XYZ "
) -> bytes:
    name += b"\0"
    described = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(79),
        b"wtpt": b"XYZ \0\0\0\0" + WHITE,
    }
    tags = described | tags
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for tag, content in tags.items():
        padded = content + bytes(-len(content) % 4)
        table += tag + struct.pack(">II", start + len(body), len(padded))
        body += padded
    header = struct.pack(">I4sI4s4s4s", start + len(body), bytes(4), 0x02100000, kind, space, connection)
    header += bytes(12) + b"acsp" + bytes(28) + WHITE
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body
