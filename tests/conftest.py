from __future__ import annotations

import os
import tempfile

os.environ["ALPHABAR_CACHE"] = tempfile.mkdtemp(prefix="alphabar-tests-")

import pytest
import torch

torch.set_num_threads(1)  # small networks: more threads only get in each other's way


@pytest.fixture(autouse=True)
def _clean_random_state():
    """Tests must not depend on the global generators, and neither may the package."""
    torch.manual_seed(0)
