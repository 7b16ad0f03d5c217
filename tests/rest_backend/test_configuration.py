"""The configuration as DiracX's clients read it, and the page that shows the API."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from missing import missing

from rest_backend.served_configuration import served_configuration
from rest_backend.settings import Provider
from shared_db.cfg import parse_cfg
from shared_db.registry import Registry

PATH = "/api/config/"

CFG = """
DIRAC
{
  VirtualOrganization = demo
  NoSetup = True
}
LocalSite
{
  Site = DEMO.Geneva.ch
}
Resources
{
  Computing
  {
    OSCompatibility
    {
      el9 = el8, el7
      el7 = el7
    }
  }
}
Operations
{
  Defaults
  {
    SoftwareDistModule = Everybodys
    JobDescription
    {
      MaxCPUTime = 1000
      AllowedJobTypes = User, MC ,
    }
    Services
    {
      JobMonitoring
      {
        GlobalJobsInfo = no
      }
    }
    Own
    {
      x = 1
    }
  }
  demo
  {
    SoftwareDistModule = Demos
    JobDescription
    {
      MinCPUTime = 5
      MaxPriority = plenty
    }
    Pilot
    {
      Version = 9.1
    }
  }
}
Registry
{
  DefaultGroup = user
  Users
  {
    alice
    {
      DN = /O=Grid/CN=alice, /O=Grid/CN=Alice
      Email = alice@example.org
      Suspended = other
    }
    olga
    {
      DN = /O=Grid/CN=olga
      Email =
      Subject = olgas-subject
      Quota = much
    }
    nobody
    {
      DN = /O=Grid/CN=nobody
    }
  }
  Groups
  {
    user
    {
      Users = alice, ghost
      Properties = NormalUser
      JobShare = 500
      AutoUploadProxy = yes
      VOMSRole = /demo
    }
    other_user
    {
      Users = olga, alice
      Properties = NormalUser, JobSharing
      VO = other
    }
  }
  VO
  {
    demo
    {
      VOMSName = demo.example.org
      DefaultStorageQuota = 2.5
      IdP
      {
        URL = https://old.example.org
        ClientID = old
      }
      Support
      {
        Email = help@example.org
      }
    }
  }
}
"""
PROVIDERS = {"other": (Provider("https://idp.example.org", "wherry"),)}


DIRAC = Path(__file__).parents[2] / ".clients/dirac-9.1.22/bin/python"


@pytest.fixture
def dirac_python() -> Path:
    """The environment of a DIRAC client, which has DiracX's packages too."""
    return DIRAC if DIRAC.exists() else missing("no environment with DIRAC 9.1.22: run `make clients`")


def served(text: str = CFG) -> dict:
    cfg = parse_cfg(text)
    return json.loads(served_configuration(cfg, Registry.from_cfg(cfg), PROVIDERS).json)


def test_users_and_groups_are_known_by_subject() -> None:
    cfg = parse_cfg(CFG)
    registry = Registry.from_cfg(cfg)
    vos = served()["Registry"]
    assert vos.keys() == {"demo", "other"}
    alice = registry.subject("alice", "demo")
    assert vos["demo"]["Users"] == {
        alice: {
            "PreferedUsername": "alice",
            "DNs": ["/O=Grid/CN=alice", "/O=Grid/CN=Alice"],
            "Email": "alice@example.org",
            "Suspended": ["other"],
            "Quota": None,
        }
    }
    assert vos["demo"]["Groups"]["user"] == {
        "AutoAddVOMS": False,
        "AutoUploadPilotProxy": False,
        "AutoUploadProxy": True,
        "JobShare": 500,
        "Properties": ["NormalUser"],
        "Quota": None,
        "Users": [alice],
        "AllowBackgroundTQs": False,
        "VOMSRole": "/demo",
        "AutoSyncVOMS": False,
    }
    assert vos["other"]["Groups"]["other_user"]["Users"] == sorted(
        ["olgas-subject", registry.subject("alice", "other")]
    )


def test_a_vo_has_its_provider_and_support() -> None:
    vos = served()["Registry"]
    assert vos["demo"]["IdP"] == {"URL": "https://old.example.org", "ClientID": "old"}
    assert vos["other"]["IdP"] == {"URL": "https://idp.example.org", "ClientID": "wherry"}
    assert vos["demo"]["Support"] == {
        "Email": "help@example.org",
        "Webpage": None,
        "Message": "Please contact system administrator",
    }
    assert (vos["demo"]["DefaultGroup"], vos["demo"]["VOMSName"]) == ("user", "demo.example.org")
    assert vos["demo"]["DefaultStorageQuota"] == 2.5


def test_operations_are_merged_for_each_vo() -> None:
    operations = served()["Operations"]
    assert operations.keys() == {"demo", "other"}
    demo, other = operations["demo"], operations["other"]
    assert (demo["SoftwareDistModule"], other["SoftwareDistModule"]) == ("Demos", "Everybodys")
    assert demo["JobDescription"]["MaxCPUTime"] == other["JobDescription"]["MaxCPUTime"] == 1000
    assert (demo["JobDescription"]["MinCPUTime"], other["JobDescription"]["MinCPUTime"]) == (5, 100)
    assert demo["JobDescription"]["AllowedJobTypes"] == ["User", "MC"]
    assert demo["Services"]["JobMonitoring"]["GlobalJobsInfo"] is False
    assert (demo["Pilot"], other["Pilot"]) == ({"Version": "9.1"}, None)
    assert "Own" not in demo


def test_what_cannot_be_read_is_the_default_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    config = served()
    assert config["Operations"]["demo"]["JobDescription"]["MaxPriority"] == 10
    assert config["Registry"]["other"]["Users"]["olgas-subject"]["Quota"] is None
    told = [record.getMessage() for record in caplog.records]
    assert any(each.startswith("Operations/demo/JobDescription/MaxPriority: ") for each in told)
    assert any(each.startswith("Registry/Users/olga/Quota: ") for each in told)


def test_the_rest_of_the_document() -> None:
    config = served()
    assert config["DIRAC"] == {"NoSetup": True}
    assert config["LocalSite"] == {"Site": "DEMO.Geneva.ch"}
    assert config["Resources"] == {
        "Computing": {"OSCompatibility": {"el9": ["el7", "el8", "el9"], "el7": ["el7"]}}
    }
    assert config["WebApp"] is None


def test_secrets_stay_here() -> None:
    """Everybody with a token gets the document: no password leaves, wherever it stands."""
    secrets = """
Systems
{
  Databases
  {
    User = Dirac
    Password = hush
    JobDB
    {
      Host = db.example.org
      rootPasswd = hush
    }
  }
}
WebApp
{
  ClientSecret = hush
}
"""
    config = served(CFG + secrets)
    assert config["Systems"] == {"Databases": {"User": "Dirac", "JobDB": {"Host": "db.example.org"}}}
    assert "hush" not in json.dumps(config)


def test_equal_files_have_equal_tags() -> None:
    one, same, other = (parse_cfg(text) for text in (CFG, CFG + "\n# a comment\n", CFG.replace("500", "501")))
    tags = [served_configuration(cfg, Registry.from_cfg(cfg), PROVIDERS).etag for cfg in (one, same, other)]
    assert tags[0] == tags[1] != tags[2]


def test_diracx_reads_it(dirac_python: Path) -> None:
    """DiracX's own model of the configuration takes it as it is, and says the same."""
    program = (
        "import json, sys\n"
        "from diracx.core.config.schema import Config\n"
        "given = sys.stdin.read()\n"
        "print(Config.model_validate_json(given).model_dump_json(by_alias=True))\n"
    )
    given = served()
    for user in given["Registry"]["demo"]["Users"].values():
        user["Email"] = None  # its check of addresses refuses those of documentation
    read = subprocess.run(
        [dirac_python, "-c", program], input=json.dumps(given), capture_output=True, text=True, check=True
    )
    said = json.loads(read.stdout)
    for platform in said["Resources"]["Computing"]["OSCompatibility"].values():
        platform.sort()
    assert said == given


async def test_a_client_gets_it_once(grid) -> None:
    said = await grid.http("GET", PATH, caller="alice")
    assert said.status == 200
    assert said.body["Registry"]["demo"]["DefaultGroup"] == "demo_user"
    etag, modified = said.headers["ETag"], said.headers["Last-Modified"]
    assert '"' not in etag
    for known in (etag, f'"{etag}"'):
        again = await grid.http("GET", PATH, caller="pilot", headers={"If-None-Match": known})
        assert (again.status, again.body, again.headers["ETag"]) == (304, None, etag)
    other = await grid.http("GET", PATH, caller="alice", headers={"If-None-Match": "other"})
    assert other.status == 200
    for since, status in ((modified, 200), ("Fri, 01 Jan 2100 00:00:00 GMT", 304), ("yesterday", 200)):
        said = await grid.http("GET", PATH, caller="alice", headers={"If-Modified-Since": since})
        assert said.status == status


async def test_it_needs_a_token(grid) -> None:
    assert (await grid.http("GET", PATH, caller=None)).status == 401
    assert (await grid.http("GET", "/api/config", caller=None)).status == 307


async def test_the_page_of_the_api_needs_no_internet(grid) -> None:
    async with grid.client.get("/api/docs") as response:
        page = await response.text()
        assert (response.status, response.content_type) == (200, "text/html")
        assert "'self'" in response.headers["Content-Security-Policy"]
    assert "http" not in page.replace("https://", "http://").replace("<html", "")
    for asset, kind, content in (
        ("swagger-ui-bundle.js", "text/javascript", b"SwaggerUIBundle"),
        ("swagger-ui.css", "text/css", b".swagger-ui"),
        ("start.js", "text/javascript", b"/api/openapi.json"),
    ):
        assert f"/api/docs/{asset}" in page
        async with grid.client.get(f"/api/docs/{asset}") as response:
            assert (response.status, response.content_type) == (200, kind)
            assert content in await response.read()
    async with grid.client.get("/api/docs/..%2fsettings.py") as response:
        assert response.status in (404, 422)
