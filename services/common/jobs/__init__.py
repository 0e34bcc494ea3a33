"""One state machine for every long task: the database is the truth, the Celery message only a bell."""

from services.common.jobs.job import Job, JobState, Lease, LogLine, WorkerInfo
from services.common.jobs.service import JobService
from services.common.jobs.tables import JobTables, job_tables

__all__ = ["Job", "JobService", "JobState", "JobTables", "Lease", "LogLine", "WorkerInfo", "job_tables"]
