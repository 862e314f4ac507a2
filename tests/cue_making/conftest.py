"""The nodes of conf/localization, as a command composes them."""

from __future__ import annotations

from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from secseg.utils.config import config_dir, to_plain
from tests.models.conftest import vgg16_file  # noqa: F401 (a fixture)


def localization(option: str) -> dict[str, Any]:
    """Return ``conf/localization/<option>.yaml``, plain."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return to_plain(compose(overrides=[f"+localization={option}"]))["localization"]


@pytest.fixture(scope="session")
def paper() -> dict[str, Any]:
    """The paper's two networks, without pretrained weights."""
    nodes = localization("paper")
    for name in ("foreground", "background"):
        nodes[name]["network"]["trunk"]["weights"] = None
    return nodes
