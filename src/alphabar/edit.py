"""Real samples: variations, the way between two, their noise, and the rest of what is half known.

`restore` works from an operator and what it measured: `Known` pixels, a picture `downscaled`, in `gray` or
`blurred`.
"""

from .sampling.edit import encode, interpolate, vary
from .sampling.inverse import Known, Observation, Operator, Separable, blurred, downscaled, gray
from .sampling.restoration import restore

__all__ = [
    "Known",
    "Observation",
    "Operator",
    "Separable",
    "blurred",
    "downscaled",
    "encode",
    "gray",
    "interpolate",
    "restore",
    "vary",
]
