"""The configuration as DiracX's clients read it (rest-diracx.md, section 8); names and defaults are DiracX's.

Whatever a CFG file says is text: lists are separated by commas, and an empty text says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from rest_backend.parameters import HEADER


def _listed(value: Any) -> Any:
    if isinstance(value, str):
        return [each for piece in value.split(",") if (each := piece.strip())]
    return value


Listed = Annotated[list[str], BeforeValidator(_listed)]
Sorted = Annotated[list[str], BeforeValidator(lambda value: sorted(set(_listed(value))))]
Section = dict[str, Any] | None


class CfgModel(BaseModel):
    """A section; options that DiracX knows nothing of are left out."""

    model_config = ConfigDict(extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _without_empty_texts(cls, options: Any) -> Any:
        if isinstance(options, Mapping):
            return {name: value for name, value in options.items() if value not in ("", "None")}
        return options


class UserSection(CfgModel):
    """A user; the section's name is the subject."""

    PreferedUsername: str
    DNs: Listed = []
    Email: str | None = None
    Suspended: Listed = []
    Quota: int | None = None


class GroupSection(CfgModel):
    """A group; ``Users`` are subjects."""

    AutoAddVOMS: bool = False
    AutoUploadPilotProxy: bool = False
    AutoUploadProxy: bool = False
    JobShare: int = 1000
    Properties: Sorted = []
    Quota: int | None = None
    Users: Sorted = []
    AllowBackgroundTQs: bool = False
    VOMSRole: str | None = None
    AutoSyncVOMS: bool = False


class IdPSection(CfgModel):
    """A VO's identity provider; both are empty where it has none."""

    URL: str = ""
    ClientID: str = ""


class SupportSection(CfgModel):
    """Where a VO's users find help."""

    Email: str | None = None
    Webpage: str | None = None
    Message: str = "Please contact system administrator"


class RegistrySection(CfgModel):
    """A VO: quotas in GB, life times in seconds."""

    IdP: IdPSection = IdPSection()
    Support: SupportSection = SupportSection()
    DefaultGroup: str = ""
    DefaultStorageQuota: float = 0
    DefaultProxyLifeTime: int = 43200
    VOMSName: str | None = None
    Users: dict[str, UserSection] = {}
    Groups: dict[str, GroupSection] = {}


class JobMonitoringSection(CfgModel):
    """``GlobalJobsInfo``: users see the jobs of others."""

    GlobalJobsInfo: bool = True


class JobSchedulingSection(CfgModel):
    """How often a job may start anew."""

    EnableSharesCorrection: bool = False
    MaxRescheduling: int = 3


class ServicesSection(CfgModel):
    """Settings of services."""

    Catalogs: Section = None
    JobMonitoring: JobMonitoringSection = JobMonitoringSection()
    JobScheduling: JobSchedulingSection = JobSchedulingSection()


class JobDescriptionSection(CfgModel):
    """Limits and defaults of jobs; times in seconds."""

    DefaultCPUTime: int = 86400
    DefaultPriority: int = 1
    MinCPUTime: int = 100
    MinPriority: int = 0
    MaxCPUTime: int = 500000
    MaxPriority: int = 10
    MaxInputData: int = 100
    AllowedJobTypes: Listed = ["User", "Test", "Hospital"]


class ProtocolsSection(CfgModel):
    """Protocols by which jobs read their data."""

    Remote: Listed = []
    Local: Listed = []


_WORKLOAD_CLIENT = "DIRAC.WorkloadManagementSystem.Client"


class InputDataPolicySection(CfgModel):
    """How jobs get at their data: Python modules."""

    Default: str = f"Default = {_WORKLOAD_CLIENT}.InputDataByProtocol"
    Download: str = f"{_WORKLOAD_CLIENT}.DownloadInputData"
    Protocol: str = f"{_WORKLOAD_CLIENT}.InputDataByProtocol"
    AllReplicas: bool = True
    Protocols: ProtocolsSection = ProtocolsSection()
    InputDataModule: str = "DIRAC.Core.Utilities.InputDataResolution"


class OperationsSection(CfgModel):
    """The operations of one VO; ``Section``: whatever the file has there."""

    EnableSecurityLogging: bool = False
    InputDataPolicy: InputDataPolicySection = InputDataPolicySection()
    JobDescription: JobDescriptionSection = JobDescriptionSection()
    Services: ServicesSection = ServicesSection()
    SoftwareDistModule: str = "LocalSoftwareDist"
    Cloud: Section = None
    DataConsistency: Section = None
    DataManagement: Section = None
    EMail: Section = None
    GaudiExecution: Section = None
    Hospital: Section = None
    JobScheduling: Section = None
    JobTypeMapping: Section = None
    LogFiles: Section = None
    LogStorage: Section = None
    Logging: Section = None
    Matching: Section = None
    MonitoringBackends: Section = None
    NagiosConnector: Section = None
    Pilot: Section = None
    Productions: Section = None
    Shares: Section = None
    Shifter: Section = None
    SiteSEMappingByProtocol: Section = None
    TransformationPlugins: Section = None
    Transformations: Section = None
    ResourceStatus: Section = None


class DiracSection(CfgModel):
    """What concerns the installation."""

    NoSetup: bool = False


class ComputingSection(CfgModel):
    """By platform: the platforms that it can take the place of, itself among them."""

    OSCompatibility: dict[str, Sorted] = {}

    @model_validator(mode="after")
    def _with_themselves(self) -> ComputingSection:
        for platform, others in self.OSCompatibility.items():
            if platform not in others:
                self.OSCompatibility[platform] = sorted([*others, platform])
        return self


class ResourcesSection(CfgModel):
    """Computing resources."""

    Computing: ComputingSection = ComputingSection()


class ServedConfig(CfgModel):
    """The whole document; ``Operations`` and ``Registry`` by VO."""

    DIRAC: DiracSection = DiracSection()
    Operations: dict[str, OperationsSection] = {}
    Registry: dict[str, RegistrySection] = {}
    Resources: ResourcesSection = ResourcesSection()
    LocalSite: Any = None
    LogLevel: Any = None
    MCTestingDestination: Any = None
    Systems: Any = None
    WebApp: Any = None


class Conditional(BaseModel):
    """What a client has already: the ``ETag`` and the time of its copy."""

    if_none_match: Annotated[str | None, Field(alias="if-none-match"), HEADER] = None
    if_modified_since: Annotated[str | None, Field(alias="if-modified-since"), HEADER] = None
