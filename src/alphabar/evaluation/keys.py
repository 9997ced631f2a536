"""What each random number of this package is for, so that no two uses share one.

Noise and other numbers of a sample are `rng.normal` or `rng.uniform` of (seed, "evaluation", the sample's
number, step), with one of these as the step; orders and choices are `rng.stream` of (seed, "evaluation", one
of these).
"""

LEVEL = 0  # + the number of the noise level
CONDITIONING = 1000  # + the number of the noise level
OTHER_VALUE = 1999
BOUND_NOISE, BOUND_ORDER = 2000, 2001
DEQUANTIZATION, PROBE = 3000, 3001
WEIGHTS = 4000  # of untrained features; the layer is the index
JITTER = 4001
DIRECTIONS, FOLDS, HALVES = 5000, 5001, 5002
SPLIT, SUBSET = 6000, 6001
TRIVIAL = 7000
