"""Idempotency keys of what a request submits."""

import hashlib

from fastapi import Request

from services.common.ids import new_id


def submission_key(request: Request) -> str:
    """Return the key under which the services take this request's job.

    With an `Idempotency-Key` it is the same for the same caller and route, so that even a gateway that died
    before it kept its answer does not submit twice; without one, every request is new.
    """
    given = request.headers.get("idempotency-key", "")
    if not given:
        return new_id("key")
    actor = request.scope.get("state", {}).get("actor", "")
    text = "\n".join((actor, request.method, request.url.path, given))
    return "rest-" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:48]
