"""A bridge in front of existing services, which here are those of another Wherry in the same process."""

from __future__ import annotations

import asyncio
import io
import ssl
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner, Result

from legacy_rpc.client.diset import Endpoint, call, client_tls, download
from legacy_rpc.front_door import FinishedCall
from shared_db.cfg import CfgSection, parse_cfg
from wherry.cli import cli
from wherry.config import ConfigError, load_config
from wherry.demo.credentials import GridCredentials
from wherry.serve import Serving, serving

from .conftest import CONFIG, Grid, fill_directory

MONITORING, PILOTS = "WorkloadManagement/JobMonitoring", "WorkloadManagement/PilotManager"
BUNDLES, REQUESTS, CATALOG = "Framework/BundleDelivery", "RequestManagement/ReqManager", "Data/Catalog"
MIND = "WorkloadManagement/OptimizationMind"
FAR = "dips://far.example.org:9197"


def plan(services: str) -> str:
    """A plan with these services."""
    return f"plan: 1\nservices: {{{services}}}\n"


class Bridge:
    """The front of two grids; ``calls`` is what it answered itself."""

    def __init__(self, directory: Path, credentials: GridCredentials, behind: Grid) -> None:
        self.directory = directory
        self.credentials = credentials
        self.behind = behind
        self.calls: list[FinishedCall] = []
        self.up: Serving

    def configure(self, services: str, upstream: str, more: str = "") -> None:
        """Write configuration and plan."""
        text = CONFIG.format(pki=self.credentials.ca_path.parent)
        (self.directory / "wherry.yaml").write_text(f"{text}upstream: {{{upstream}}}\n{more}")
        (self.directory / "plan.yaml").write_text(plan(services))

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Bridge]:
        """Up until the block ends."""
        async with serving(load_config(self.directory / "wherry.yaml"), self.calls.append) as up:
            self.up = up
            yield self

    def tls(self, user: str = "alice", group: str = "demo_admin") -> ssl.SSLContext:
        """A client's."""
        return client_tls(self.credentials.proxies[user][group], self.credentials.ca_path)

    def endpoint(self, service: str) -> Endpoint:
        """Where clients find a service here."""
        return Endpoint.parse(self.up.addresses.service(service))

    async def call(self, service: str, method: str, *arguments: Any, **how: Any) -> dict[str, Any]:
        """A call by DISET."""
        return await call(self.endpoint(service), method, arguments, self.tls(**how), seconds=20)

    @property
    def routes(self) -> list[tuple[str, str, str]]:
        """Of what was answered: method, route, reason."""
        return [(each.call.method, each.answered.route, each.answered.reason) for each in self.calls]


@pytest.fixture
async def bridge(grid: Grid, tmp_path_factory: pytest.TempPathFactory) -> Bridge:
    """A bridge that is not up yet, in front of a grid that is."""
    directory = await fill_directory(tmp_path_factory.mktemp("bridge"), grid.credentials)
    return Bridge(directory, grid.credentials, grid)


def behind(bridge: Bridge, service: str) -> str:
    """Where a service is behind the bridge, as the configuration names it."""
    return f'{service}: "{bridge.behind.up.addresses.service(service)}"'


async def test_day_one(bridge: Bridge) -> None:
    """A whole service is passed through: its methods, and what every service has."""
    bridge.configure(f"{MONITORING}: {{old: upstream}}", behind(bridge, MONITORING))
    async with bridge.serving():
        here = await bridge.call(MONITORING, "getJobsStatus", [1, 2])
        assert here == await bridge.behind.call("JobMonitoring", "getJobsStatus", [1, 2])
        assert (await bridge.call(MONITORING, "getJobsStatus", "x"))["Message"] == (
            await bridge.behind.call("JobMonitoring", "getJobsStatus", "x")
        )["Message"]
        who = (await bridge.call(MONITORING, "whoami", user="bob", group="demo_user"))["Value"]
        assert (who["username"], who["group"]) == ("bob", "demo_user")
        port = bridge.behind.up.addresses.wires["dips"]
        assert f":{port}/" in (await bridge.call(MONITORING, "ping"))["Value"]["URL"]
        assert (await bridge.call(MONITORING, "noSuchMethod"))["Message"] == "Unknown method noSuchMethod"
        assert {route for _, route, _ in bridge.routes} == {"upstream"}
        assert {each.call.identity.username for each in bridge.behind.calls} == {"alice", "bob"}
        assert (await bridge.call(PILOTS, "ping"))["OK"]
        assert bridge.routes[-1] == ("ping", "native", "builtin")


async def test_labels_and_records(bridge: Bridge) -> None:
    """The route is a label, a name that the table does not have is none."""
    bridge.configure(
        f'{MONITORING}: {{old: upstream}}, "*": {{old: upstream}}',
        f'{behind(bridge, MONITORING)}, "*": "dips://localhost:1"',
    )
    async with bridge.serving():
        await bridge.call(MONITORING, "getJobsStatus", [1])
        await bridge.call(MONITORING, "madeUp")
        gone = await bridge.call(CATALOG, "madeUp")
        assert gone["Message"].startswith(
            f"The upstream of {CATALOG} did not answer: localhost:1 cannot be called"
        )
        async with aiohttp.ClientSession() as session:
            text = await (await session.get(f"{bridge.up.addresses.operations}/metrics")).text()
    assert f'method="{MONITORING}.getJobsStatus",outcome="ok",reason="legacy",route="upstream"' in text
    assert 'method="unknown",outcome="error",reason="default",route="upstream"' in text
    assert "madeUp" not in text


async def test_an_edit_of_the_plan(bridge: Bridge) -> None:
    """One method goes elsewhere and comes back within a second; an edit that cannot be changes nothing."""
    bridge.configure("", behind(bridge, PILOTS))
    file = bridge.directory / "plan.yaml"
    async with bridge.serving():
        for services, route in (
            (f"{PILOTS}: {{methods: {{getPilotInfo: {{old: upstream}}}}}}", "upstream"),
            (f"{MONITORING}: {{old: upstream}}", "upstream"),  # no upstream of it: refused
            ("", "native"),
        ):
            file.write_text(plan(services))
            await _follow()
            await bridge.call(PILOTS, "getPilotInfo", "no-such-pilot")
            assert bridge.routes[-1][1] == route
            await bridge.call(PILOTS, "getPilotSummary")
            assert bridge.routes[-1][1] == "native"


async def _follow() -> None:
    """Within a second an edit is in force."""
    await asyncio.sleep(1)


async def test_live_with_an_upstream_behind(bridge: Bridge) -> None:
    """A live method whose caller can have no token goes to the old side in force."""
    bridge.configure(
        f"{MONITORING}: {{old: upstream, methods: {{getJobsStatus: {{state: live}}}}}}",
        behind(bridge, MONITORING),
    )
    async with bridge.serving():
        assert (await bridge.call(MONITORING, "getJobsStatus", [1]))["OK"]
        assert bridge.routes[-1][1:] == ("rest", "live")
        wrong = await bridge.call(MONITORING, "getJobsStatus", {"x": 1})
        assert not wrong["OK"]


async def test_a_file(bridge: Bridge) -> None:
    """A download from an existing service comes through as it is, and is its business alone."""
    bridge.configure(f"{BUNDLES}: {{old: upstream}}", behind(bridge, BUNDLES))
    async with bridge.serving():
        into, direct = io.BytesIO(), io.BytesIO()
        done = await download(
            bridge.endpoint(BUNDLES), "ToClient", ["CAs", ""], into, bridge.tls(), seconds=20
        )
        there = Endpoint.parse(bridge.behind.up.addresses.service(BUNDLES))
        assert done == await download(there, "ToClient", ["CAs", ""], direct, bridge.tls(), seconds=20)
        assert into.getvalue() == direct.getvalue()
        assert bridge.routes == [("FileTransfer/ToClient", "upstream", "default")]
        assert done["OK"]
        assert into.getvalue()


async def test_records_without_handlers(bridge: Bridge) -> None:
    """A service that is only elsewhere says what is missing, and where it is named it is passed through."""
    bridge.configure("", behind(bridge, MONITORING))
    async with bridge.serving():
        message = (await bridge.call(REQUESTS, "getRequestStatus", 1))["Message"]
        mend = "name its DIRAC service under `upstream` in wherry.yaml"
        assert message == f"{REQUESTS} is not served here by itself: {mend}"
        assert (await bridge.call(REQUESTS, "ping"))["OK"]
    bridge.configure("", f'{REQUESTS}: "dips://localhost:1"')
    async with bridge.serving():
        message = (await bridge.call(REQUESTS, "putRequest", "{}"))["Message"]
        assert message.startswith(f"The upstream of {REQUESTS} did not answer: localhost:1")
        assert bridge.routes[-1][1] == "upstream"


# --- the configuration that clients download


async def downloaded(bridge: Bridge) -> tuple[str, CfgSection]:
    """What a client gets, and its version."""
    value = (await bridge.call("Configuration/Server", "getCompressedDataIfNewer", "0"))["Value"]
    return value["newestVersion"], parse_cfg(zlib.decompress(value["data"]).decode())


async def test_clients_are_led_to_the_bridge(bridge: Bridge) -> None:
    """Services that are passed through are found here, in both layouts; others are where they were."""
    registry = bridge.directory / "registry.cfg"
    cfg = parse_cfg(registry.read_text())
    cfg.set("DIRAC/Setup", "Demo")
    cfg.set("DIRAC/Setups/Demo/Data", "Production")
    for service in (CATALOG, REQUESTS, MIND):
        system, component = service.split("/")
        cfg.set(f"Systems/{system}/URLs/{component}", f"{FAR}/{service}")
    cfg.set("Systems/Data/Production/URLs/Catalog", f"{FAR}/{CATALOG}")
    cfg.set("Systems/Data/URLs/Portal", "http://portal.example.org")
    registry.write_text(cfg.to_text())
    bridge.configure("", f'"*": "{FAR}"')
    async with bridge.serving():
        ours = bridge.up.addresses.service
        first, served = await downloaded(bridge)
        assert served.get("Systems/Data/URLs/Catalog") == f"{FAR}/{CATALOG}"
        assert served.get("Systems/RequestManagement/URLs/ReqManager") == ours(REQUESTS)
        assert served.get("Systems/WorkloadManagement/URLs/OptimizationMind") == f"{FAR}/{MIND}"
        (bridge.directory / "plan.yaml").write_text(plan('"*": {old: upstream}'))
        await _follow()
        second, served = await downloaded(bridge)
        assert second > first
        assert served.get("DIRAC/Configuration/Version") == second
        assert served.get("Systems/Data/URLs/Catalog") == ours(CATALOG)
        assert served.get("Systems/Data/Production/URLs/Catalog") == ours(CATALOG)
        assert served.get("Systems/Data/URLs/Portal") == "http://portal.example.org"
        assert served.get("Systems/WorkloadManagement/URLs/OptimizationMind") == f"{FAR}/{MIND}"


async def test_without_an_upstream_the_file_is_right(bridge: Bridge) -> None:
    """Clients of a service that is only elsewhere keep the address that the site's own file has."""
    registry = bridge.directory / "registry.cfg"
    cfg = parse_cfg(registry.read_text())
    cfg.set("Systems/RequestManagement/URLs/ReqManager", f"{FAR}/{REQUESTS}")
    registry.write_text(cfg.to_text())
    async with bridge.serving():
        version, served = await downloaded(bridge)
        assert served.get("Systems/RequestManagement/URLs/ReqManager") == f"{FAR}/{REQUESTS}"
        assert version == bridge.up.new.registry.version


async def test_a_service_that_only_the_configuration_names(bridge: Bridge) -> None:
    """It need not stand in the site's own file."""
    bridge.configure('"*": {old: upstream}', f'{CATALOG}: "{FAR}"')
    async with bridge.serving():
        _, served = await downloaded(bridge)
        assert served.get("Systems/Data/URLs/Catalog") == bridge.up.addresses.service(CATALOG)
        refused = await bridge.call("Data/Other", "ping")
        assert refused["Message"] == "Data/Other is not up in this server"


# --- configuration and commands

WRONG = {
    '"*": "dips://h:1/Some/Thing"': "`*`: leave /Some/Thing out: each service's name is put there",
    'JobManager: "dips://h:1"': "JobManager: a service is named System/Component, all others are `*`",
    'A/B: "dips://h"': "A/B: a dips address needs its port, as in dips://HOST:9130",
    'A/B: "dip://h:1"': "A/B: write dips://HOST:PORT or https://HOST:PORT, with the service behind it",
    'A/B: "h:1"': "A/B: write dips://HOST:PORT or https://HOST:PORT, with the service behind it",
    'A/B: "https://u:p@h:1"': "A/B: write the address only, without user, `?` and `#`",
    'A/B: "dips://h:x/A/B"': "A/B: no URL: ",
    'A/B: "dips://h:1/A"': "A/B: behind the port stands System/Component, or nothing",
    'A/B: "dips://localhost:9130"': "`upstream`: A/B: dips://localhost:9130 is Wherry itself: name",
}


@pytest.mark.parametrize(("upstream", "problem"), WRONG.items(), ids=range(len(WRONG)))
def test_wrong_upstreams(credentials: GridCredentials, tmp_path: Path, upstream: str, problem: str) -> None:
    """Each is an error at start that says what to write instead."""
    text = CONFIG.format(pki=credentials.ca_path.parent).replace(
        'dips: {listen: "127.0.0.1:0"}', 'dips: {listen: "127.0.0.1:9130"}'
    )
    (tmp_path / "wherry.yaml").write_text(f"{text}upstream: {{{upstream}}}\n")
    with pytest.raises(ConfigError) as wrong:
        load_config(tmp_path / "wherry.yaml")
    assert problem in str(wrong.value)


@pytest.fixture
def run(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """A command, where a monitoring service is named elsewhere."""
    monkeypatch.chdir(directory)
    with (directory / "wherry.yaml").open("a") as file:
        file.write(f'upstream: {{{MONITORING}: "{FAR}", "{CATALOG}": "https://far.example.org"}}\n')

    def run(services: str, *words: str) -> Result:
        (directory / "plan.yaml").write_text(plan(services))
        return CliRunner().invoke(cli, words)

    return run


def test_explain(run: Callable[..., Result]) -> None:
    """It names the route and where that leads."""
    who = ("--group", "demo_user")
    services = f'{MONITORING}: {{old: upstream}}, "*": {{old: upstream}}'
    seen = run(services, "explain", "getJobsStatus", *who).stdout
    assert f"route: upstream ({FAR}/{MONITORING})\nreason: legacy (" in seen
    for method in (f"{CATALOG}.listDirectory", f"{MONITORING}.newMethod", f"{MONITORING}.ping"):
        assert "route: upstream (" in run(services, "explain", method, *who).stdout
    assert (
        "https://far.example.org/Data/Catalog, which says who may"
        in run(services, "explain", f"{CATALOG}.x", *who).stdout
    )
    assert "unknown method" in run("", "explain", f"{CATALOG}.x", *who).stderr
    assert "route: upstream (none: name one of" in run("", "explain", "putRequest", *who).stdout


def test_plan_check(run: Callable[..., Result]) -> None:
    """A plan that wants an upstream that nobody named is broken, where the configuration is known."""
    assert run(f"{MONITORING}: {{old: upstream}}", "plan", "check").exit_code == 0
    broken = run(f"{PILOTS}: {{old: upstream}}", "plan", "check")
    assert broken.exit_code == 1
    assert (
        f"line 2: {PILOTS} is to go upstream, and wherry.yaml names no upstream of it: add" in broken.stderr
    )
    assert run(f"{PILOTS}: {{old: upstream}}", "plan", "check", "plan.yaml").exit_code == 0
    shown = run(f"{MONITORING}: {{old: upstream}}", "plan", "show").stdout
    assert "getJobsStatus                legacy   line 2  upstream" in shown


async def test_a_start_with_an_unnamed_upstream(bridge: Bridge) -> None:
    """It ends the program, and says the mend."""
    bridge.configure(f"{PILOTS}: {{old: upstream}}", behind(bridge, MONITORING))
    with pytest.raises(ConfigError, match=f"{PILOTS} is to go upstream, and wherry.yaml names no upstream"):
        async with bridge.serving():
            pass
