"""Colors by a picture's own ICC profile → sRGB."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any, NamedTuple

from PIL import Image, ImageCms

MODES = {
    "GRAY": ("1", "L", "LA"),
    "RGB": ("RGB", "RGBA", "RGBX", "P", "PA"),
    "CMYK": ("CMYK",),
}
"""What kind of profile is for pictures in which modes of Pillow."""
ALPHA_MODES = {"LA", "La", "PA", "RGBA", "RGBa"}


class Profile(NamedTuple):
    """An ICC profile: its name, and why it cannot be used, "" if it can."""

    name: str
    fault: str = ""


def has_alpha(image: Image.Image) -> bool:
    """Whether a picture may have transparent pixels, by its header."""
    return image.mode in ALPHA_MODES or "transparency" in image.info


def profile_of(image: Image.Image) -> Profile | None:
    """The profile of a picture, by its header; None if it has none, or is in sRGB anyway."""
    data = image.info.get("icc_profile")
    if not data:
        return None
    try:
        own, name = _read(data)
    except (ImageCms.PyCMSError, ImportError, OSError, ValueError, TypeError):
        return Profile("a profile", "is damaged")
    if any(word in name.lower().replace(" ", "") for word in ("srgb", "sgray")):
        return None
    kind = own.profile.xcolor_space.strip()
    if image.mode in MODES.get(kind, ()):
        return Profile(name)
    if image.mode.startswith("I"):
        return Profile(name, "is not applied to 16 bits")
    return Profile(name, f"is for {kind}, and the picture is {image.mode}")


@lru_cache(64)
def _read(data: bytes) -> tuple[Any, str]:
    own = ImageCms.ImageCmsProfile(io.BytesIO(data))
    return own, ImageCms.getProfileDescription(own).strip()[:60]


def in_srgb(image: Image.Image) -> Image.Image:
    """A picture of 8 bits with its colors, or grays, in sRGB; as it is without a profile that can be used."""
    profile = profile_of(image)
    if profile is None or profile.fault:
        return image
    own, _ = _read(image.info["icc_profile"])
    if image.mode in MODES["GRAY"]:
        gray, *alpha = image.convert("LA" if has_alpha(image) else "L").split()
        gray = _converted(gray, own, "RGB").getchannel(1)
        return Image.merge("LA", (gray, *alpha)) if alpha else gray
    if image.mode in MODES["RGB"]:
        image = image.convert("RGBA" if has_alpha(image) else "RGB")
    return _converted(image, own, "RGB" if image.mode == "CMYK" else image.mode)


def _converted(image: Image.Image, own: ImageCms.ImageCmsProfile, mode: str) -> Image.Image:
    found = ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), outputMode=mode)
    assert found is not None  # only in place it is
    return found
