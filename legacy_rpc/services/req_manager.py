"""RequestManagement/ReqManager (legacy-methods.md, section 12): records only, there are no handlers here."""

from __future__ import annotations

from typing import Any

from legacy_rpc.messages import Write
from legacy_rpc.services.table import Context, Service

_ABOUT = """\
Requests that DIRAC's agents work off later, which jobs and pilots leave when something could not be done
at once. Calls are [passed through](plan.md#the-old-side) to DIRAC's own service; without an `upstream`
they are an error that says so."""

req_manager = Service(
    "RequestManagement/ReqManager", handler_class="ReqManagerHandler", about=_ABOUT, elsewhere=True
)


@req_manager.method(str, write=Write.CREATE)
async def putRequest(_context: Context, requestJSON: str) -> None:
    """Stores a request, written as JSON; answers its id. One with the id of another replaces it."""


@req_manager.method(int, write=Write.APPEND)
async def getRequest(_context: Context, requestID: int = 0) -> None:
    """Answers a request as JSON, 0: the next one; it is then assigned, and nobody else gets it."""


@req_manager.method(int, bool, write=Write.APPEND)
async def getBulkRequests(_context: Context, numberOfRequest: int, assigned: bool) -> None:
    """Answers so many requests, as `getRequest`."""


@req_manager.method(int)
async def peekRequest(_context: Context, requestID: int = 0) -> None:
    """Answers a request as JSON; it stays what it is."""


@req_manager.method(int, write=Write.IDEMPOTENT)
async def cancelRequest(_context: Context, requestID: int) -> None:
    """Cancels a request."""


@req_manager.method(int, write=Write.IDEMPOTENT)
async def deleteRequest(_context: Context, requestID: int) -> None:
    """Deletes a request."""


@req_manager.method(str)
async def getRequestIDForName(_context: Context, requestName: str) -> None:
    """Answers the id of the request of a name."""


@req_manager.method(int)
async def getScheduledRequest(_context: Context, operationID: int) -> None:
    """Answers the request that an operation belongs to, as JSON."""


@req_manager.method()
async def getDBSummary(_context: Context) -> None:
    """Answers how many requests, operations and files are in which status."""


@req_manager.method(dict, list, int, int)
async def getRequestSummaryWeb(
    _context: Context, selectDict: dict[str, Any], sortList: list[Any], startItem: int, maxItems: int
) -> None:
    """Answers a page of requests for the web portal."""


@req_manager.method(str)
async def getDistinctValuesWeb(_context: Context, attribute: str) -> None:
    """Answers the values that a column has."""


@req_manager.method(str, dict)
async def getRequestCountersWeb(
    _context: Context, groupingAttribute: str, selectDict: dict[str, Any]
) -> None:
    """Answers how many requests have which value of a column."""


@req_manager.method(list, int, str)
async def getRequestIDsList(
    _context: Context,
    statusList: Any = None,
    limit: Any = None,
    since: Any = None,
    until: Any = None,
    getJobID: Any = False,
) -> None:
    """Answers `[[id, status, time, ...], ...]` of the requests in some statuses."""


@req_manager.method(list)
async def getRequestIDsForJobs(_context: Context, jobIDs: list[Any]) -> None:
    """Answers `{"Successful": {job: request id}, "Failed": {job: text}}`."""


@req_manager.method(list)
async def readRequestsForJobs(_context: Context, jobIDs: list[Any]) -> None:
    """Answers `{"Successful": {job: request as JSON}, "Failed": {job: text}}`."""


@req_manager.method(int)
async def getDigest(_context: Context, requestID: int) -> None:
    """Answers a summary of a request as JSON."""


@req_manager.method(int)
async def getRequestStatus(_context: Context, requestID: int) -> None:
    """Answers the status of a request."""


@req_manager.method(list, since="8.0")
async def getBulkRequestStatus(_context: Context, requestIDs: list[Any]) -> None:
    """Answers the status of each request."""


@req_manager.method(int, [str, list])
async def getRequestFileStatus(_context: Context, requestID: int, lfnList: Any) -> None:
    """Answers the status of files of a request, by their logical names."""


@req_manager.method(int)
async def getRequestInfo(_context: Context, requestID: int) -> None:
    """Answers the columns of a request."""
