"""The manifests against the API schemas, and against one another."""

from pathlib import Path

import kubernetes_validate
import pytest
import yaml

BASE = Path(__file__).resolve().parents[2] / "deploy" / "k8s" / "base"
OVERLAYS = BASE.parent / "overlays"
API_VERSION = "1.31"


def documents(folder: Path) -> list[dict]:
    names = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    texts = [(folder / name).read_text() for name in names if (folder / name).is_file()]
    return [document for text in texts for document in yaml.safe_load_all(text)]


def pods() -> list[tuple[str, dict]]:
    found = [d for d in documents(BASE) if d["kind"] in ("Deployment", "StatefulSet")]
    return [(d["metadata"]["name"], d["spec"]["template"]["spec"]) for d in found]


@pytest.mark.parametrize("document", documents(BASE), ids=lambda d: f"{d['kind']}-{d['metadata']['name']}")
def test_a_manifest_is_what_the_api_takes(document):
    kubernetes_validate.validate(document, API_VERSION, strict=True)


def test_every_manifest_of_the_base_is_listed():
    listed = set(yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"])
    assert listed == {path.name for path in BASE.glob("*.yaml")} - {"kustomization.yaml"}


def test_every_service_selects_pods_that_name_its_port():
    by_name = dict(pods())
    for service in (d for d in documents(BASE) if d["kind"] == "Service"):
        container = by_name[service["spec"]["selector"]["app.kubernetes.io/name"]]["containers"][0]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for port in service["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"]


def test_addresses_name_services_that_exist():
    services = {d["metadata"]["name"]: d for d in documents(BASE) if d["kind"] == "Service"}
    settings = next(d for d in documents(BASE) if d["kind"] == "ConfigMap")["data"]
    for name, value in settings.items():
        if name.endswith("_ADDRESS"):
            host, port = value.split(":")
            assert int(port) in [p["port"] for p in services[host]["spec"]["ports"]]


@pytest.mark.parametrize(("name", "pod"), pods(), ids=[name for name, _ in pods()])
def test_no_pod_runs_as_root_or_without_limits(name, pod):
    assert pod["securityContext"]["runAsNonRoot"]
    for container in pod["containers"]:
        assert "memory" in container["resources"]["limits"]
        assert not container["securityContext"]["allowPrivilegeEscalation"]
        assert "livenessProbe" in container or "readinessProbe" in container


def test_settings_are_ones_that_the_programs_read():
    from gateway.settings import GatewaySettings

    known = {f"MODELWRIGHT_{field.upper()}" for field in GatewaySettings.model_fields}
    given = [d for d in documents(BASE) if d["kind"] in ("ConfigMap", "Secret")]
    names = {key for d in given for key in (d.get("data") or d["stringData"]) if key.startswith("MODELWRIGHT_")}
    assert names <= known


@pytest.mark.parametrize("overlay", sorted(OVERLAYS.iterdir()), ids=lambda path: path.name)
def test_an_overlay_patches_what_the_base_has(overlay):
    kustomization = yaml.safe_load((overlay / "kustomization.yaml").read_text())
    assert (overlay / kustomization["resources"][0]).resolve() == BASE
    names = {(d["kind"], d["metadata"]["name"]) for d in documents(BASE)}
    for patch in kustomization["patches"]:
        document = yaml.safe_load((overlay / patch["path"]).read_text())
        assert (document["kind"], document["metadata"]["name"]) in names
