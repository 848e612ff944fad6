"""Reports made in the background -> bodies of the API.

Knows:   what is told of a report.
Ignores: how it is made.
"""

from foveate.server import schemas
from foveate.server.exports.report_jobs import ReportJob


def report_job(job: ReportJob) -> schemas.ReportJobBody:
    """Return how far a report is."""
    return schemas.ReportJobBody(
        id=job.id,
        batch=job.batch,
        paper=job.paper,
        state=job.state,
        done=job.done,
        total=len(job.records),
        without_result=job.without_result,
        error=job.error,
    )
