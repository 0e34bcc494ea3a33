"""Deployments and the predictions asked of them."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modelwright.client.records import Deployment, JobFailedError, Prediction, Revision, to_record
from modelwright.client.resource import Resource, items, part

POLL_S = 0.2


class Deployments(Resource):
    """Deployments of the project."""

    def list(self, *, page_size: int = 0) -> Iterator[Deployment]:
        """Yield deployments."""
        return self._pages(Deployment, "deployments", "deployments", page_size=page_size)

    def get(self, name: str) -> Deployment:
        """Return a deployment."""
        return self._one(Deployment, "GET", f"deployments/{part(name)}", "deployment")

    def apply(self, name: str, model: str, *, options: Mapping[str, Any] | None = None) -> Deployment:
        """Make a deployment or move it to another version; it takes the traffic once its golden inputs agree."""
        body = {"model": model, "options": dict(options or {})}
        return self._one(Deployment, "PUT", f"deployments/{part(name)}", "deployment", body=body)

    def wait(self, name: str, timeout_s: float = 120.0) -> Deployment:
        """Return the deployment once its newest revision takes the traffic, or after `timeout_s` as it is then.

        Raises:
            JobFailedError: the revision could not start; the one before keeps the traffic.
        """
        until = time.monotonic() + timeout_s
        while True:
            found = self.get(name)
            newest = found.desired
            if newest and newest.state == "failed":
                raise JobFailedError(f"revision {newest.number} of {name} could not start: {newest.error}")
            is_ready = newest and found.active and newest.id == found.active.id
            if is_ready or time.monotonic() >= until:
                return found
            time.sleep(POLL_S)

    def rollback(self, name: str, revision: int = 0) -> Deployment:
        """Go back to a revision, or (0) to the one that was active before."""
        body = {"revision": revision} if revision else {}
        return self._one(Deployment, "POST", f"deployments/{part(name)}:rollback", "deployment", body=body)

    def delete(self, name: str) -> None:
        """Drain and delete a deployment."""
        self._none("DELETE", f"deployments/{part(name)}")

    def revisions(self, name: str) -> Sequence[Revision]:
        """Return the revisions, newest first."""
        body = self._json("GET", f"deployments/{part(name)}/revisions")
        return [to_record(Revision, item) for item in items(body, "revisions")]

    def predict(self, name: str, body: Mapping[str, Any]) -> Prediction:
        """Ask for a prediction with `{"inputs": […]}`, `{"instances": […]}` or `{"images": [base64]}`."""
        return to_record(Prediction, self._json("POST", f"deployments/{part(name)}:predict", body=dict(body)))

    def predict_image(self, name: str, data: bytes, media_type: str) -> Prediction:
        """Ask for the prediction of one encoded picture, such as `image/png`."""
        headers = {"Content-Type": media_type}
        return to_record(
            Prediction, self._json("POST", f"deployments/{part(name)}:predict", content=data, headers=headers)
        )
