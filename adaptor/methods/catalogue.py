"""Every adaptor there is."""

from __future__ import annotations

from adaptor.conversation import Adaptor
from adaptor.methods.job_manager import job_manager
from adaptor.methods.job_monitoring import job_monitoring
from adaptor.methods.pilot_manager import pilot_manager

ADAPTORS: dict[tuple[str, str], Adaptor] = {
    (service.name, name): adaptor
    for service in (job_manager, job_monitoring, pilot_manager)
    for name, adaptor in service.adaptors.items()
}
