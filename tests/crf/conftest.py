"""pydensecrf is the reference. Comparisons with it are skipped if it is not installed, but not in CI."""

from __future__ import annotations

import os

import pytest

from secseg.crf import CRF, CRFParams, build_crf
from secseg.utils.errors import UserError


@pytest.fixture(scope="session")
def official():
    """Build the official implementation for given parameters and gradient."""

    def build(params: CRFParams, gradient: str = "stop") -> CRF:
        try:
            return build_crf("pydensecrf", params, gradient)
        except UserError as error:
            if os.environ.get("CI"):
                pytest.fail(f"CI compares with pydensecrf: {error}")
            pytest.skip(str(error))

    return build
