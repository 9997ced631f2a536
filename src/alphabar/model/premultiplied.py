"""Pictures with alpha: the model sees colors times alpha, so that nothing that can't be seen counts."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .affine import Codec


class Premultiplied(Codec):
    """The affine codec of (red, green, blue) · alpha and alpha, where alpha goes from 0 to 1.

    A color fades to black where it fades to nothing, instead of ending at an edge that nobody sees; mixing
    pixels and removing noise act on what is seen. `decode` divides again. It is the inverse of `encode` but
    for colors under alpha 0, which become black, as the data has them.
    """

    name: ClassVar[str] = "premultiplied"
    linear: ClassVar[bool] = False

    def encode(self, images: np.ndarray) -> np.ndarray:
        """x_0 = (image - offset) / scale with colors · alpha, (…, *shape), float32."""
        colors, alpha = self._apart(np.asarray(images, np.float64))
        low, top = self._ends_of_alpha
        seen = low + (colors - low) * (alpha / top)
        return super().encode(np.concatenate([seen, alpha], axis=-3))

    def decode(self, x_0: np.ndarray) -> np.ndarray:
        """The image in the data's own type, rounded and clipped, with colors / alpha."""
        offset, scale = self._columns
        seen, alpha = self._apart(np.asarray(x_0, np.float64) * scale + offset)
        low, top = self._ends_of_alpha
        alpha = np.clip(np.rint(alpha), 0, top)
        share = np.where(alpha > 0, alpha, top) / top
        colors = np.where(alpha > 0, low + (seen - low) / share, low)
        return self.space.at_origin(np.concatenate([colors, alpha], axis=-3))

    def numbers_of(self, which: np.ndarray) -> np.ndarray:
        """What is known of a sample in model space: of a color, only where alpha is known too."""
        colors, alpha = self._apart(which)
        return np.concatenate([colors & alpha, alpha], axis=-3)

    @staticmethod
    def _apart(values: np.ndarray) -> tuple[Any, Any]:
        return values[..., :-1, :, :], values[..., -1:, :, :]

    @property
    def _ends_of_alpha(self) -> tuple[np.ndarray, float]:
        """(what colors are without light, (3, 1, 1); the greatest alpha)."""
        assert self.space.low is not None
        assert self.space.high is not None
        return self.space.column(self.space.low)[:-1], float(self.space.high[-1])

    @property
    def no_density(self) -> str:
        """Pictures with alpha have none."""
        return "a likelihood is of one density, and colors under alpha 0, which nobody sees, have none"
