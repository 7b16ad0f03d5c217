"""What a site's CFG says about jobs (legacy-methods.md, section 2)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared_db.cfg import CfgSection
from shared_db.rules.jdl.policy import DIRAC_9_1
from shared_db.rules.site import SiteJobs, site_jobs


def cfg(**options: str) -> CfgSection:
    """A configuration; paths have two underscores for a slash."""
    section = CfgSection()
    for path, value in options.items():
        section.set(path.replace("__", "/"), value)
    return section


def test_nothing_said() -> None:
    """Without a word all is as DIRAC has it."""
    assert site_jobs(CfgSection(), "lab") == SiteJobs(DIRAC_9_1, 3, 20, True)


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        (["Defaults"], "Defaults"),
        (["Defaults", "Production"], "Production"),
        (["Defaults", "Production", "lab"], "lab"),
        (["lab", "lab__Defaults"], "lab__Defaults"),
        (["Defaults", "lab", "lab__Defaults", "lab__Production"], "lab__Production"),
        (["Defaults", "other", "other__Production"], "Defaults"),
    ],
)
def test_the_most_special_section_decides(places, expected) -> None:
    """A VO's section goes before that of all, and a setup's before its defaults."""
    options = {f"Operations__{place}__SoftwareDistModule": place for place in places}
    site = site_jobs(cfg(DIRAC__Setup="Production", **options), "lab")
    assert site.description.software_dist_module == expected


def test_every_option() -> None:
    """Each bound and default can be set."""
    names = {
        "default_cpu_time": "DefaultCPUTime",
        "min_cpu_time": "MinCPUTime",
        "max_cpu_time": "MaxCPUTime",
        "default_priority": "DefaultPriority",
        "min_priority": "MinPriority",
        "max_priority": "MaxPriority",
        "min_processors": "MinNumberOfProcessors",
        "max_processors": "MaxNumberOfProcessors",
        "max_input_data": "MaxInputData",
    }
    values = {field: 1000 + number for number, field in enumerate(names)}
    given = {f"Operations__Defaults__JobDescription__{names[each]}": str(values[each]) for each in names}
    site = site_jobs(
        cfg(
            **given,
            Operations__Defaults__JobDescription__AllowedJobTypes="User, Merge",
            Operations__Defaults__Transformations__DataProcessing="MCSimulation",
            Operations__Defaults__InputDataPolicy__InputDataModule="In",
            Operations__Defaults__SoftwareDistModule="Soft",
            Operations__Defaults__Services__JobMonitoring__GlobalJobsInfo="no",
            Resources__Sites__LCG__X="",
            **{
                "Resources__Sites__LCG__LCG.Lab.ch__Name": "Lab",
                "Resources__Sites__DIRAC__DIRAC.Lab.ch__CE": "c",
            },
            Resources__Computing__OSCompatibility__el9="el8, el7",
        ),
        "lab",
    )
    assert site == SiteJobs(
        replace(
            DIRAC_9_1,
            **values,
            job_types=("User", "Merge", "MCSimulation"),
            input_data_module="In",
            software_dist_module="Soft",
            sites=frozenset({"LCG.Lab.ch", "DIRAC.Lab.ch"}),
            platforms={"el9": frozenset({"el8", "el7"})},
        ),
        all_may_look=False,
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"Systems__WorkloadManagement__Databases__JobDB__MaxRescheduling": "7"}, 7),
        ({"Systems__WorkloadManagement__Databases__JobDB__MaxRescheduling": "many"}, 3),
        (
            {
                "DIRAC__Setup": "S",
                "DIRAC__Setups__S__WorkloadManagement": "Prod",
                "Systems__WorkloadManagement__Prod__Databases__JobDB__MaxRescheduling": "5",
                "Systems__WorkloadManagement__Databases__JobDB__MaxRescheduling": "7",
            },
            5,
        ),
    ],
)
def test_options_of_systems(options, expected) -> None:
    """A system's option, in the setup's instance where there is one; what is no number does not count."""
    assert site_jobs(cfg(**options), "lab").max_rescheduling == expected


def test_a_new_configuration_is_read() -> None:
    """One object is read once for each VO; another one is another configuration."""
    one, other = cfg(), cfg(Operations__lab__SoftwareDistModule="New")
    assert site_jobs(one, "lab") is site_jobs(one, "lab")
    assert site_jobs(other, "lab").description.software_dist_module == "New"
    assert site_jobs(other, "else").description.software_dist_module == ""
    assert site_jobs(one, "lab").description.software_dist_module == ""
