"""Use cases of the data service: uploads, commits, versions. Plain types in and out."""

from services.data_svc.service.commits import CommitService, NewVersion
from services.data_svc.service.uploads import UploadService
from services.data_svc.service.versions import VersionService

__all__ = ["CommitService", "NewVersion", "UploadService", "VersionService"]
