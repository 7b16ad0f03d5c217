"""How a DIRAC user starts: proxies, their upload and download, authorities, an edited configuration."""

from __future__ import annotations

import base64
import datetime
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from wherry.demo.pki import KeyPair, make_proxy

from .conftest import Client, DemoGrid

pytestmark = pytest.mark.clients

VERSIONS = ("9.1.22", "8.0.86")
DN = "/DC=org/DC=wherry/OU=people/CN="
UNAUTHORIZED = "Unauthorized query ( 1111 : Unauthorized query)"
NO_PROXY = f"Can't find proxy ( 1101 : {DN}alice has no proxy registered)"

START = """
import DIRAC
DIRAC.initialize()
from DIRAC.Core.Base.Client import Client
from DIRAC.FrameworkSystem.Client.ProxyManagerClient import gProxyManager
manager = Client(url="Framework/ProxyManager")
ALICE = "/DC=org/DC=wherry/OU=people/CN=alice"
"""


class User:
    """A person with a certificate and key, who works in a shell."""

    def __init__(self, client: Client, name: str, home: Path) -> None:
        self.client = client
        self.proxy = home / f"{name}.pem"
        self.files = client.grid.facts["certificates"][name]

    def command(self, *command: str) -> CompletedProcess[str]:
        """Run a command."""
        variables = {"X509_USER_CERT": self.files["certificate"], "X509_USER_KEY": self.files["key"]}
        return self.client.command(*command, credential=self.proxy, **variables)

    def must(self, *command: str) -> str:
        """What a command prints; it must succeed."""
        done = self.command(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(self, script: str) -> list[Any]:
        """What a script shows, run with the user's proxy."""
        return self.client.run(START + script, credential=self.proxy)

    def certified(self) -> KeyPair:
        """The certificate and key themselves."""
        certificate, key = (Path(self.files[name]).read_bytes() for name in ("certificate", "key"))
        loaded: Any = load_pem_private_key(key, None)
        return KeyPair(x509.load_pem_x509_certificate(certificate), loaded)


@pytest.fixture(scope="module", params=VERSIONS)
def client(request: pytest.FixtureRequest, dirac_client: Callable[[str], Client]) -> Client:
    """Each client in turn."""
    return dirac_client(request.param)


@pytest.fixture
def alice(client: Client, tmp_path: Path) -> Iterator[User]:
    """Alice; what she has uploaded is removed afterwards."""
    yield User(client, "alice", tmp_path)
    admin = client.grid.proxy("alice", "demo_admin")
    assert client.run(START + "see(manager.deleteProxyBundle([ALICE])['OK'])", admin) == [True]


def shown(text: str) -> dict[str, str]:
    """The fields that a command prints, ``name : value``."""
    return dict(re.findall(r"^(\w[\w ]*?) *: (.*)$", text, flags=re.MULTILINE))


WHOAMI = "see(Client(url='WorkloadManagement/JobMonitoring').whoami()['Value'])"


def test_proxy_init(alice: User) -> None:
    """A proxy with a group is made and uploaded, and works."""
    printed = alice.must("dirac-proxy-init", "-g", "demo_admin", "--strict")
    fields = shown(printed)
    assert (fields["username"], fields["DIRAC group"]) == ("alice", "demo_admin")
    assert fields["properties"].startswith("Operator, NormalUser")
    assert re.search(rf"^ {DN}alice \| \d{{4}}/\d\d/\d\d \d\d:\d\d$", printed, flags=re.MULTILINE)
    [who] = alice.run(WHOAMI)
    assert (who["group"], who["isLimitedProxy"], who["DN"]) == ("demo_admin", False, f"{DN}alice")
    uploaded, lives, has = alice.run(
        "see(gProxyManager.getUserProxiesInfo())\n"
        "see(gProxyManager.getUploadedProxyLifeTime(ALICE))\n"
        "see(gProxyManager.userHasProxy(ALICE, 'demo_user', 3600))\n"
    )
    end = uploaded["Value"][f"{DN}alice"]
    end = end[""] if alice.client.version < "9" else end
    assert end - datetime.datetime.now(datetime.UTC).replace(tzinfo=None) > datetime.timedelta(days=300)
    assert lives["Value"] > 300 * 86400
    assert has == {"OK": True, "Value": True}


def test_proxy_without_group(alice: User) -> None:
    """Who names no group gets the default one."""
    assert shown(alice.must("dirac-proxy-init", "--strict"))["DIRAC group"] == "demo_user"
    [who] = alice.run(WHOAMI)
    assert who["group"] == "demo_user"


def test_limited_proxy(alice: User) -> None:
    """A limited proxy works, and is seen to be one; the full one that was uploaded is not."""
    alice.must("dirac-proxy-init", "-g", "demo_user", "--limited", "--strict")
    [who] = alice.run(WHOAMI)
    assert (who["group"], who["isLimitedProxy"]) == ("demo_user", True)


def test_token_in_the_proxy(alice: User) -> None:
    """The proxy that 9.x makes carries tokens with which DiracX's client works; 8.0 knows none."""
    alice.must("dirac-proxy-init", "-g", "demo_user", "--no-upload")
    block = re.search(
        r"-----BEGIN DIRACX-----\n(.+)\n-----END DIRACX-----", alice.proxy.read_text(), re.DOTALL
    )
    if alice.client.version < "9":
        assert block is None
        return
    assert block is not None
    tokens = json.loads(base64.b64decode(block[1]))
    assert tokens.keys() >= {"access_token", "refresh_token", "expires_on"}
    assert tokens["refresh_token"].count(".") == 2
    script = (
        "from DIRAC.Core.Security.DiracX import DiracXClient\n"
        "with DiracXClient() as api:\n"
        "    user = api.auth.userinfo()\n"
        "see([user.preferred_username, user.dirac_group, user.vo, user.properties])"
    )
    assert alice.run(script) == [["alice", "demo_user", "demo", ["NormalUser"]]]


def test_proxy_info_and_destroy(alice: User) -> None:
    """A proxy is valid, is shown with what was uploaded, and all of it goes away."""
    alice.must("dirac-proxy-init", "-g", "demo_user", "--strict")
    assert shown(alice.must("dirac-proxy-info", "-v"))["DIRAC group"] == "demo_user"
    assert f" {DN}alice" in alice.must("dirac-proxy-info", "-m").partition("== Proxies uploaded ==")[2]
    # 9.1.22 refuses -a, and without it removes what was uploaded; 8.0 then removes the file only.
    older = alice.client.version < "9"
    alice.must("dirac-proxy-destroy", *(["-a"] if older else []))
    assert alice.proxy.exists() != older
    admin = alice.client.grid.proxy("alice", "demo_admin")
    assert alice.client.run(START + "see(gProxyManager.getUserProxiesInfo())", admin) == [
        {"OK": True, "Value": {}}
    ]


def test_expired_proxy(alice: User) -> None:
    """An expired proxy is shown as one, and does not work."""
    make_proxy(alice.certified(), "demo_user", lifetime=datetime.timedelta(minutes=-5)).write(alice.proxy)
    assert shown(alice.must("dirac-proxy-info"))["timeleft"] == "00:00:00"
    done = alice.command("dirac-proxy-info", "-v")
    assert done.returncode != 0
    assert "Proxy is expired" in done.stdout + done.stderr


DOWNLOAD = """
result = gProxyManager.downloadProxy(ALICE, "demo_user", requiredTimeLeft=1200)
if result["OK"]:
    chain = result["Value"]
    result = [chain.isLimitedProxy()["Value"], chain.getDIRACGroup(ignoreDefault=True)["Value"],
              chain.getRemainingSecs()["Value"] // 60, chain.dumpAllToFile("{file}")["OK"]]
see(result)
"""


@pytest.mark.parametrize(
    ("user", "group", "limited"), [("alice", "demo_admin", False), ("pilot", "demo_pilot", True)]
)
def test_download(alice: User, tmp_path: Path, user: str, group: str, limited: bool) -> None:
    """Who has a delegation property gets a proxy of another user that works; a pilot a limited one."""
    alice.must("dirac-proxy-init", "-g", "demo_user", "--strict")
    file = tmp_path / "downloaded.pem"
    caller = alice.client.grid.proxy(user, group)
    [got] = alice.client.run(START + DOWNLOAD.format(file=file), caller)
    # 1200 and 14400 seconds are asked for, and half as much again is given.
    assert got == [limited, "demo_user", (14400 + 1200) * 3 // 2 // 60 - 1, True]
    [who] = alice.client.run(START + WHOAMI, file)
    assert (who["DN"], who["group"], who["isLimitedProxy"]) == (f"{DN}alice", "demo_user", limited)
    admin = alice.client.grid.proxy("alice", "demo_admin")
    [log] = alice.client.run(
        START + "see(manager.getLogContents({}, [['Timestamp', 'DESC']], 0, 100))", admin
    )
    assert ["download proxy", DN + user, group, f"{DN}alice", "demo_user"] in [
        list(entry[:5]) for entry in log["Value"]["Records"]
    ]


def test_download_refused(alice: User) -> None:
    """Users get no proxies; nobody one that is not there, for a foreign group, or with VOMS attributes."""
    calls = (
        "see(gProxyManager.downloadProxy(ALICE, 'demo_user'))\n"
        "see(gProxyManager.downloadProxy(ALICE, 'demo_pilot'))\n"
        "see(gProxyManager.downloadVOMSProxy(ALICE, 'demo_user', requiredVOMSAttribute='/demo'))\n"
    )
    bob = alice.client.run(START + calls, alice.client.grid.proxy("bob", "demo_user"))
    assert [answer["Message"] for answer in bob] == [UNAUTHORIZED] * 3
    admin = alice.client.run(START + calls, alice.client.grid.proxy("alice", "demo_admin"))
    missing, foreign, voms = [answer["Message"] for answer in admin]
    assert missing == NO_PROXY
    assert "Invalid group demo_pilot" in foreign
    assert "asks no VOMS server" in voms


def test_users_with_proxy(alice: User) -> None:
    """Administrators see who has one; 9.1.22's command looks for columns that no server of 9.1 sends."""
    alice.must("dirac-proxy-init", "-g", "demo_admin", "--strict")
    done = alice.command("dirac-admin-users-with-proxy")
    if alice.client.version == "9.1.22":
        assert "IndexError" in done.stdout + done.stderr
    else:
        assert done.returncode == 0, done.stdout + done.stderr
        assert f" DN         : {DN}alice" in done.stdout.splitlines()


@pytest.fixture
def directory(client: Client) -> Iterator[Path]:
    """Where the client keeps authorities if nobody says otherwise; one it must have to call at all."""
    made = client.root / "etc/grid-security/certificates"
    made.mkdir(parents=True)
    [authority] = Path(client.grid.facts["ca_path"]).glob("*.0")
    (made / authority.name).write_bytes(b"from long ago\n" + authority.read_bytes())
    yield made
    shutil.rmtree(made)


def test_bundles(client: Client, directory: Path) -> None:
    """Authorities and CRLs are brought up to date, and nothing comes into a directory that is in sync."""
    script = (
        "from DIRAC.FrameworkSystem.Client.BundleDeliveryClient import BundleDeliveryClient\n"
        "bundles = BundleDeliveryClient()\n"
        "for sync in (bundles.syncCAs, bundles.syncCRLs, bundles.syncCAs, bundles.syncCRLs):\n"
        "    see(sync()['OK'])\n"
        f"see(bundles.syncDir('Others', {str(directory)!r})['Message'])\n"
    )
    # 9.1.22 takes no notice of X509_CERT_DIR here, 8.0.86 does.
    seen = client.run(START + script, X509_CERT_DIR=str(directory))
    assert seen == [True] * 4 + ["Unknown bundle Others"]
    ours = Path(client.grid.facts["ca_path"])
    assert {file.name: file.read_bytes() for file in directory.iterdir() if file.name[0] != "."} == {
        file.name: file.read_bytes() for file in ours.iterdir()
    }


EDIT = """
import os, time
from DIRAC import gConfig
from DIRAC.ConfigurationSystem.Client.ConfigurationData import gConfigurationData
from DIRAC.ConfigurationSystem.private.Refresher import gRefresher
versions = [gConfigurationData.getVersion()]
def wait_for(value):
    deadline = time.monotonic() + 20
    while gConfig.getValue("/Operations/Defaults/Greeting", "") != value:
        assert time.monotonic() < deadline, "the edit is not seen"
        assert gRefresher.forceRefresh()["OK"]
    versions.append(gConfigurationData.getVersion())
path = {path!r}
text = open(path).read()
edit = "Operations\\n{{\\n  Defaults\\n  {{\\n    Greeting = WORD\\n  }}\\n}}\\n"
try:
    for word in ("hello", "again"):
        open(path, "w").write(text + edit.replace("WORD", word))
        wait_for(word)
finally:
    open(path, "w").write(text)
wait_for("")
see(versions == sorted(set(versions)))
see(Client(url="Configuration/Server").writeEnabled())
see(Client(url="Configuration/Server").getCommitHistory()["Value"] == [["registry", versions[-1]]])
see(Client(url="Configuration/Server").commitNewData("x")["Message"])
"""


def test_edited_configuration(client: Client, demo_grid: DemoGrid) -> None:
    """Clients that refresh see what was edited in the registry file, also what was taken back."""
    path = str(demo_grid.directory / "registry.cfg")
    rising, writable, history, refused = client.run(START + EDIT.format(path=path))
    assert (rising, writable["Value"], history) == (True, False, True)
    assert "edit its registry file" in refused
