"""Task queues: what waits, and for what (legacy-methods.md, section 6; legacy-schema.md, section 4)."""

from __future__ import annotations

from rest_backend.models.matching import QueueDescription, QueuedJob, QueuePath, QueueSearch
from rest_backend.operations import Answer, Context, Operation
from rest_backend.policies.task_queues import READ_QUEUES
from shared_db.queries.task_queues import TaskQueue, jobs_of_queue, task_queues


def described(queue: TaskQueue) -> QueueDescription:
    """A queue as it is answered."""
    return QueueDescription(**queue.described())


async def search(context: Context, body: QueueSearch | None, _parameters: None) -> Answer:
    """The queues that have jobs, with how many they are."""
    asked = body or QueueSearch()
    queues = await task_queues(context.work, asked.queue_ids)
    return Answer([described(each) for each in queues if asked.vos is None or each.demand.vo in asked.vos])


async def jobs(context: Context, _body: None, parameters: QueuePath) -> Answer:
    """The jobs that wait in a queue, oldest first; none for a queue that is not there."""
    rows = await jobs_of_queue(
        context.work, parameters.queue_id, after=parameters.after, most=parameters.per_page
    )
    return Answer(
        [QueuedJob(JobID=row.JobId, Priority=row.Priority, RealPriority=row.RealPriority) for row in rows]
    )


OPERATIONS = (
    Operation(
        "task-queues_search_task_queues",
        "POST",
        "/api/task-queues/search",
        search,
        READ_QUEUES,
        body=QueueSearch | None,
        response=list[QueueDescription],
        extension=True,
    ),
    Operation(
        "task-queues_get_jobs",
        "GET",
        "/api/task-queues/{queue_id}/jobs",
        jobs,
        READ_QUEUES,
        parameters=QueuePath,
        response=list[QueuedJob],
        extension=True,
    ),
)
