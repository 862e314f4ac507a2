"""Whether W&B has a key here, found without a question and without the network."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit

HOSTS = ("api.forge.coreweave.com", "api.wandb.ai")  # W&B's own goes by two names, and takes a key stored under either


def has_wandb_key() -> bool:
    """Whether W&B can log in without asking: a key in the environment, or an entry for its host in netrc."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    own = os.environ.get("WANDB_BASE_URL")
    hosts = HOSTS if own is None or urlsplit(own).netloc in HOSTS else (urlsplit(own).netloc,)
    names = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
    for name in names:
        try:
            stored = netrc.netrc(Path(name).expanduser()).hosts
        except (OSError, netrc.NetrcParseError):
            continue
        if any(host in stored for host in hosts):
            return True
    return False
