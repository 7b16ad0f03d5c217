"""The oldest client that is still seen, DIRAC 7.3.38, unmodified but for a module that no index has any more.

Its own proxies have 1024 bits, which OpenSSL 3 no longer lets it use: it calls with the grid's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Client

pytestmark = pytest.mark.clients

START = """
import DIRAC
from DIRAC.Core.Base import Script
Script.initialize(ignoreErrors=True, enableCommandLine=False)
from DIRAC.Core.DISET.RPCClient import RPCClient
from DIRAC.Core.Tornado.Client.TornadoClient import TornadoClient
"""

CALLS = """
see(client.whoami())
see(client.getPilotSummary("", ""))
see(client.getPilotInfo("nowhere"))
see(client.setPilotStatus("nowhere", "Done"))
see(client.nothing())
see(client.getPilotInfo(5))
"""


@pytest.fixture(scope="module")
def client(dirac_client: Callable[[str], Client]) -> Client:
    """The client."""
    return dirac_client("7.3.38")


@pytest.mark.parametrize("state", ["legacy", "live"])
def test_same_by_both_wires(client: Client, state: str) -> None:
    """By DISET (in DEncode) and by HTTPS its calls mean the same, on either side."""
    plan = Path(client.grid.facts["plan"])
    plan.write_text(
        f"plan: 1\nservices:\n  WorkloadManagement/PilotManager: {{state: {state}}}\n# {time.time()}\n"
    )
    time.sleep(1)  # the promise: an edit takes effect within a second
    url = f"{client.grid.facts['https']}/WorkloadManagement/TornadoPilotManager"
    diset = client.run(START + 'client = RPCClient("WorkloadManagement/PilotManager")\n' + CALLS)
    https = client.run(START + f'client = TornadoClient("{url}")\n' + CALLS)
    assert [each["OK"] for each in diset] == [True, True, False, True, False, False]
    for by_diset, by_https in zip(diset, https, strict=True):
        for reply in (by_diset, by_https):
            reply.pop("CallStack", None)
            if isinstance(reply.get("Value"), dict):
                reply["Value"].pop("secondsLeft", None)
        assert by_diset == by_https
    who, summary, nobody, changed, unknown, mistyped = diset
    assert (who["Value"]["username"], who["Value"]["group"]) == ("alice", "demo_admin")
    assert len(summary["Value"]["Total"]) == 9
    assert nobody["Errno"] == 1550
    assert changed["Value"] == 0
    assert unknown["Message"] == "Unknown method nothing"
    assert mistyped["Message"].startswith("Type mismatch in parameter 0")


def test_configuration(client: Client) -> None:
    """It reads the registry's groups from the configuration that it has downloaded."""
    script = START + (
        "from DIRAC.ConfigurationSystem.Client.Helpers import Registry\n"
        "see(Registry.getGroupsForUser('alice'))\n"
        "see(DIRAC.gConfig.getValue('/DIRAC/VirtualOrganization'))\n"
    )
    groups, vo = client.run(script)
    assert sorted(groups["Value"]) == ["demo_admin", "demo_user"]
    assert vo == "demo"
