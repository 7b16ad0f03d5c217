"""The npm package oidc-provider, unmodified, as a test server: whoever logs in there is believed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from missing import missing

FOLDER = Path(__file__).parents[2] / ".clients/oidc-provider-9.13.3"
# Of the clients `basic` and `post`; `public`, `ec`, `pss` and `ed` have none, and other signatures.
SECRET = "a secret: with + and % &"


@contextmanager
def oidc_provider(*redirect_uris: str, methods: str = "") -> Iterator[str]:
    """The issuer of a running provider, whose clients may be sent to these addresses.

    ``methods``: how clients may prove who they are; all, when it is empty.
    """
    if not (FOLDER / "node_modules").exists() or not shutil.which("node"):
        missing("no oidc-provider: run `make clients`")
    script = Path(__file__).with_name("oidc_server.mjs")
    with subprocess.Popen(
        ["node", str(script), str(FOLDER), *redirect_uris],
        env=os.environ | ({"METHODS": methods} if methods else {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        issuer = process.stdout.readline().strip()
        assert issuer
        try:
            yield issuer
        finally:
            process.communicate()
