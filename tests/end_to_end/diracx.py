"""A person with the unmodified DiracX client 0.7.0: its commands and its Python, and how to log in."""

from __future__ import annotations

import ast
import datetime
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from person import Page, Person

DIRACX = "9.1.22"  # the DIRAC whose environment holds diracx-client, diracx-api and diracx-cli 0.7.0

# What a script shows with `see(value)` is read here; times are shown as texts.
PREAMBLE = """
def see(value):
    print("SEEN " + repr(value), flush=True)
"""
LOGIN_SECONDS = 60


@dataclass
class DiracX:
    """A person's account on some machine: it knows the server's address, and nothing else."""

    environment: Path
    url: str
    home: Path

    @property
    def credentials(self) -> Path:
        """Where the client keeps what it was given."""
        return self.home / ".cache/diracx/credentials.json"

    def variables(self, **extra: str) -> dict[str, str]:
        """All that a user sets."""
        path = f"{self.environment / 'bin'}:{os.environ['PATH']}"
        return {"PATH": path, "HOME": str(self.home), "DIRACX_URL": self.url, **extra}

    def dirac(self, *arguments: str | Path, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run `dirac ARGUMENTS` to its end."""
        return self._run([self.environment / "bin/dirac", *arguments], extra)

    def output(self, *arguments: str | Path, **extra: str) -> str:
        """What `dirac ARGUMENTS` prints; it must succeed."""
        done = self.dirac(*arguments, **extra)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def python(self, script: str) -> list[Any]:
        """What a script shows with ``see``; it must succeed."""
        done = self._run([self.environment / "bin/python", "-c", PREAMBLE + script], {})
        assert done.returncode == 0, done.stdout + done.stderr
        return [ast.literal_eval(line[5:]) for line in done.stdout.splitlines() if line.startswith("SEEN ")]

    def _run(self, command: list[str | Path], extra: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self.variables(**extra), cwd=self.home, capture_output=True, text=True, timeout=120
        )

    def begin_login(self, *arguments: str) -> tuple[subprocess.Popen[str], str]:
        """Start `dirac login ARGUMENTS`; returns it with the address it tells the person to go to."""
        process = subprocess.Popen(
            [str(self.environment / "bin/dirac"), "login", *arguments],
            env=self.variables(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if line.startswith("Now go to: "):
                return process, line.removeprefix("Now go to: ").strip()
        process.wait()
        raise AssertionError(said)

    def log_in(self, user: str, *arguments: str) -> tuple[int, str, Page]:
        """`dirac login ARGUMENTS`, and a person who chooses a user on the demo's page.

        Returns the exit code of the command, what it said after the address, and the browser's last page.
        """
        process, url = self.begin_login(*arguments)
        try:
            page = Person().log_in(url, {"user": user})
            said, _ = process.communicate(timeout=LOGIN_SECONDS)
        finally:
            process.kill()
        return process.returncode, said, page

    def logged_in(self, user: str, group: str = "demo_user") -> DiracX:
        """The same person, logged in."""
        code, said, _page = self.log_in(user, "demo", "--group", group)
        assert code == 0, said
        return self

    def kept(self) -> dict[str, Any]:
        """The client's credentials."""
        content: dict[str, Any] = json.loads(self.credentials.read_text())
        return content

    @property
    def refresh_token_id(self) -> str:
        """The id of the refresh token that the client keeps."""
        claims: dict[str, str] = jwt.decode(self.kept()["refresh_token"], options={"verify_signature": False})
        return claims["jti"]

    def age(self) -> None:
        """Let the client believe that its access token is about to end."""
        self.credentials.write_text(
            json.dumps(
                {**self.kept(), "expires_on": int(datetime.datetime.now(datetime.UTC).timestamp()) + 5}
            )
        )
