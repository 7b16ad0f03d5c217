"""A pilot as the unreleased pilot code is (``rest-diracx.md``, end of section 7): JSON posts by urllib.

It exchanges its secret, says who it is when nobody knows it (a vacuum pilot), sends its log, refreshes on 401
and repeats the request once, repeats after a pause on 5xx, and revokes its refresh token by a query.  With a
user's tokens it takes the legacy ways.
"""

from __future__ import annotations

import json
import random
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

CLIENT_ID = "myDIRACClientID"
MOST_TRIES = 4


@dataclass
class PilotClient:
    """One pilot; ``vacuum``: what it says of itself when its stamp is not known.

    ``legacy``: its tokens are a user's.
    """

    url: str
    stamp: str
    secret: str = ""
    vacuum: Mapping[str, str] = field(default_factory=dict)
    legacy: bool = False
    access_token: str = ""
    refresh_token: str = ""
    sent: list[str] = field(default_factory=list)

    def login(self) -> None:
        """Exchange the secret for tokens."""
        body = {"pilot_stamp": self.stamp, "pilot_secret": self.secret}
        status, tokens = self._ask("POST", "/api/auth/secret-exchange", body)
        if status == 401:
            status, tokens = self._ask("POST", "/api/auth/secret-exchange", {**body, **self.vacuum})
        self._keep(status, tokens)

    def log(self, lines: Sequence[Mapping[str, str]]) -> int:
        """Send lines; the status that they were answered with."""
        path = "/api/pilots/legacy/message" if self.legacy else "/api/pilots/internal/message"
        return self.request("POST", path, {"pilot_stamp": self.stamp, "lines": list(lines)})[0]

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Ask with the access token; once more with a fresh one if that is refused."""
        answer = self._ask(method, path, body, token=self.access_token)
        if answer[0] == 401:
            self.refresh()
            answer = self._ask(method, path, body, token=self.access_token)
        return answer

    def refresh(self) -> None:
        """Get new tokens."""
        if self.legacy:
            form = {
                "grant_type": "refresh_token",
                "client_id": CLIENT_ID,
                "refresh_token": self.refresh_token,
            }
            self._keep(*self._ask("POST", "/api/auth/token", form=form))
        else:
            body = {"refresh_token": self.refresh_token, "pilot_stamp": self.stamp}
            self._keep(*self._ask("POST", "/api/auth/pilot-token", body))

    def revoke(self) -> int:
        """Say that the refresh token is not needed any more; the status of the answer."""
        query = urllib.parse.urlencode({"refresh_token": self.refresh_token, "client_id": CLIENT_ID})
        return self._ask("POST", f"/api/auth/revoke?{query}")[0]

    def _keep(self, status: int, tokens: Any) -> None:
        if status != 200:
            raise PermissionError(f"{status}: {tokens['detail']}")
        self.access_token, self.refresh_token = tokens["access_token"], tokens["refresh_token"]

    def _ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        form: Mapping[str, str] | None = None,
        token: str = "",
    ) -> tuple[int, Any]:
        """The status and the JSON of an answer; a server's trouble is waited out."""
        headers = {"User-Agent": f"Dirac Pilot [{self.stamp}]"}
        data = None
        if form is not None:
            data = urllib.parse.urlencode(form).encode()
        elif body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        for attempt in range(MOST_TRIES):
            self.sent.append(f"{method} {path.partition('?')[0]}")
            request = urllib.request.Request(self.url + path, data, headers, method=method)
            try:
                with urllib.request.urlopen(request, timeout=10) as response:
                    return response.status, json.loads(response.read() or b"null")
            except urllib.error.HTTPError as error:
                if error.code < 500 or attempt == MOST_TRIES - 1:
                    return error.code, json.loads(error.read() or b"null")
            time.sleep(random.uniform(0.01, 0.05))
        raise AssertionError("not reached")
