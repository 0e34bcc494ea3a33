"""Failures of S3, named by what the caller can do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from minio.error import InvalidResponseError, S3Error, ServerError
from urllib3.exceptions import HTTPError

from services.common.errors import (
    InvalidError,
    ModelwrightError,
    NotFoundError,
    StorageFullError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
)

_ABSENT = {"NoSuchKey", "NoSuchBucket", "NoSuchUpload", "ResourceNotFound"}
_REFUSED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthorizationHeaderMalformed"}
_FULL = {"XMinioStorageFull", "QuotaExceeded", "InsufficientStorage", "XMinioAdminBucketQuotaExceeded"}
_INVALID = {"InvalidObjectName", "XMinioInvalidObjectName", "KeyTooLongError", "InvalidBucketName", "InvalidArgument"}
_HTTP_FULL = 507


@contextmanager
def translated(endpoint: str, key: str) -> Iterator[None]:
    """Turn the SDK's errors into ours; a range behind the end of the object becomes EOFError."""
    try:
        yield
    except S3Error as error:
        raise _named(str(error.code), str(error.message), endpoint, key) from error
    except InvalidResponseError as error:
        # Some servers call their errors text/xml, which the SDK does not read.
        code, message = (re.search(f"<{tag}>(.*?)</{tag}>", str(error)) for tag in ("Code", "Message"))
        raise _named(code[1] if code else "", message[1] if message else str(error), endpoint, key) from error
    except ServerError as error:
        raise _away(endpoint, str(error), full=error.status_code == _HTTP_FULL) from error
    except HTTPError as error:
        raise _away(endpoint, _reason(error)) from error
    except ValueError as error:
        raise InvalidError(f"S3 refuses {key!r}: {error}", field="key") from error


def _named(code: str, message: str, endpoint: str, key: str) -> Exception:
    if code == "InvalidRange":
        return EOFError(key)
    if code in _ABSENT:
        thing = "no such bucket; create it" if code == "NoSuchBucket" else f"no object {key!r}"
        return NotFoundError(f"the storage at {endpoint} has {thing}")
    if code in _REFUSED:
        return UnauthorizedError(
            f"the S3 service at {endpoint} refuses the credentials ({code}); "
            "check MODELWRIGHT_S3_ACCESS_KEY and MODELWRIGHT_S3_SECRET_KEY"
        )
    if code == "EntityTooLarge":
        return TooLargeError(f"object {key!r} is too large for the S3 service at {endpoint}")
    if code in _INVALID:
        return InvalidError(f"the S3 service at {endpoint} refuses {key!r}: {message}", field="key")
    return _away(endpoint, f"{code}: {message}", full=code in _FULL or "no space left" in message.lower())


def _away(endpoint: str, reason: str, *, full: bool = False) -> ModelwrightError:
    if full:
        return StorageFullError(f"no space left in the S3 service at {endpoint} ({reason}); free space, then try again")
    return UnavailableError(f"the S3 service at {endpoint} does not answer ({reason}); check that it runs")


def _reason(error: Exception) -> str:
    """Return the innermost cause, without addresses of objects."""
    cause = getattr(error, "reason", None) or error
    text = str(cause.args[-1] if getattr(cause, "args", None) else cause)
    return f"{type(cause).__name__}: {text}".split(" at 0x")[0][:300]
