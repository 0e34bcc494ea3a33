"""The platform with mutual TLS among all its parts."""

import pytest

from tests.certificates import issue
from tests.e2e.embedded.conftest import EmbeddedPlatform

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    authority = issue(folder, "ca")
    issue(folder, "node", authority)
    settings = {
        "tls_certificate": str(folder / "node.pem"),
        "tls_key": str(folder / "node.key"),
        "tls_ca": str(folder / "ca.pem"),
        "tls_require_client_certificate": "true",
    }
    platform = EmbeddedPlatform(folder / "home", **settings)
    platform.start()
    yield platform
    platform.stop()


def test_a_model_is_trained_deployed_and_asked_over_mutual_tls(platform, client, dataset, digits):
    spec = {"model": "resnet_small", "epochs": 1, "model_name": "digits"}
    run, _ = client.runs.train("over tls", spec, dataset)
    list(client.runs.watch(run.id))
    assert client.runs.get(run.id).state == "succeeded"
    client.deployments.apply("digits", "digits/1")
    platform.until(lambda: client.deployments.get("digits").active, 30)
    picture = next(digits.rglob("*.png")).read_bytes()
    answer = client.deployments.predict_image("digits", picture, "image/png")
    assert answer.run == run.id
    assert client.deployments.get("digits").endpoints[0].rest_url.startswith("https://")
