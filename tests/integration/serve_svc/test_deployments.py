"""Deployments from the control plane to predictions."""

import threading
from typing import Any

import pytest

from proto.gen.modelwright.common.v1 import reference_pb2, reference_pb2_grpc
from proto.gen.modelwright.serve.v1 import deployment_pb2 as pb
from services.common.errors import ConflictError, InvalidError, NotFoundError
from services.common.rpc import call, stream


def test_a_deployment_becomes_ready_and_answers_name_their_origin(plant: Any) -> None:
    digest = plant.put("models:/sum@champion", 7, weight=1.0)
    server = plant.start_inference()
    first = plant.apply("models:/sum@champion")
    assert first.desired.number == 1
    found = plant.wait_ready()
    assert found.active.id == found.desired.id
    assert [e.rest_url for e in found.endpoints] == [f"http://127.0.0.1:{server.rest}"]

    answer = server.predict(0.5)
    assert answer["outputs"][0]["data"] == [32.0, 64.0, 96.0]
    assert answer["model_version"] == "7"
    assert answer["parameters"] == {
        "model_digest": digest,
        "run": "run_1",
        "dataset": "sha256:" + "d" * 64,
        "deployment": "default/sum",
        "revision": found.active.id,
    }
    assert answer["id"].startswith(f"prd_{found.active.id}_")


def test_the_life_of_revisions(plant: Any) -> None:
    plant.put("one", 1, weight=1.0)
    plant.put("two", 2, weight=2.0)
    plant.put("broken", 3, weight=3.0, golden_shift=0.25)
    server = plant.start_inference()
    plant.apply("one")
    plant.wait_ready()

    plant.apply("two", threads=1)
    plant.wait_ready()
    assert server.predict()["model_version"] == "2"
    assert plant.apply("two", threads=1).desired.number == 2, "nothing changed, so no new revision"

    plant.apply("broken")
    failed = plant.wait(lambda d: d.desired.state == pb.REVISION_STATE_FAILED)
    assert "golden replay: output 'output' deviates by up to 0.25" in failed.desired.error
    assert failed.active.number == 2
    assert server.predict()["model_version"] == "2"

    assert plant.apply("two", threads=1).desired.number == 2, "going back to what serves needs no new revision"

    back = call(plant.stub.RollbackDeployment, pb.RollbackDeploymentRequest(project="default", name="sum"))
    assert back.deployment.desired.model_number == 1
    found = plant.wait_ready()
    assert found.active.number == 4
    assert server.predict()["model_version"] == "1"

    history = call(plant.stub.ListRevisions, pb.ListRevisionsRequest(project="default", name="sum")).revisions
    assert [r.number for r in history] == [4, 3, 2, 1]
    assert [r.state for r in history] == [pb.REVISION_STATE_READY] + 3 * [pb.REVISION_STATE_RETIRED]


def test_a_deleted_deployment_is_unloaded_but_its_revisions_stay_known(plant: Any) -> None:
    plant.put("one", 1, weight=1.0)
    server = plant.start_inference()
    plant.apply("one")
    revision = plant.wait_ready().active.id
    stub = plant.peer.stub(reference_pb2_grpc.ReferenceServiceStub)

    def pinned() -> set[str]:
        answers = stream(stub.ListReferences, reference_pb2.ListReferencesRequest(), timeout_s=10)
        return {digest for answer in answers for digest in answer.digests}

    assert pinned() == {file.digest for file in plant.models.versions["one"].files}
    call(plant.stub.DeleteDeployment, pb.DeleteDeploymentRequest(project="default", name="sum"))
    assert pinned() == set()
    with pytest.raises(NotFoundError):
        call(plant.stub.GetDeployment, pb.GetDeploymentRequest(project="default", name="sum"))
    found = call(plant.stub.GetRevision, pb.GetRevisionRequest(id=revision))
    assert (found.revision.model_number, found.deployment.name) == (1, "sum")
    while server.post("/v2/repository/index", b"")[1] != []:
        pass
    plant.apply("one")
    assert plant.wait_ready().active.number == 1


def test_two_servers_are_both_needed_and_one_refusal_leaves_the_old_revision_on_both(light_plant: Any) -> None:
    plant = light_plant
    plant.put("one", 1, weight=1.0)
    plant.put("broken", 2, weight=2.0, golden_shift=0.5)
    servers = [plant.start_inference(), plant.start_inference()]
    plant.apply("one")
    plant.wait_ready()
    found = plant.wait(lambda d: len(d.endpoints) == 2)
    assert {e.grpc_address for e in found.endpoints} == {f"127.0.0.1:{s.rpc}" for s in servers}
    assert [s.predict()["model_version"] for s in servers] == ["1", "1"]
    plant.apply("broken")
    plant.wait(lambda d: d.desired.state == pb.REVISION_STATE_FAILED)
    assert [s.predict()["model_version"] for s in servers] == ["1", "1"]

    servers[1].process.kill()
    plant.wait(lambda d: len(d.endpoints) == 1)
    plant.put("three", 3, weight=3.0)
    plant.apply("three")
    plant.wait_ready()
    assert servers[0].predict()["model_version"] == "3"


def test_a_reload_under_load_fails_no_request(light_plant: Any, load: Any) -> None:
    plant = light_plant
    plant.put("one", 1, weight=1.0)
    plant.put("two", 2, weight=2.0)
    server = plant.start_inference()
    plant.apply("one")
    plant.wait_ready()
    with load(server) as running:
        for ref in ("two", "one", "two"):
            plant.apply(ref)
            plant.wait_ready()
        answered = len(running.answers)
        while len(running.answers) < answered + 20:
            pass
    assert running.failures == []
    for answer in running.answers:
        weight = {"1": 1.0, "2": 2.0}[answer["model_version"]]
        assert answer["outputs"][0]["data"][0] == 64.0 * weight
    assert running.answers[-1]["model_version"] == "2"


def test_predictions_go_on_while_the_control_plane_is_away(light_plant: Any, load: Any) -> None:
    plant = light_plant
    plant.put("one", 1, weight=1.0)
    plant.put("two", 2, weight=2.0)
    server = plant.start_inference()
    plant.apply("one")
    plant.wait_ready()
    with load(server) as running:
        plant.control.stop(0)
        answered = len(running.answers)
        while len(running.answers) < answered + 50:
            pass
        plant.start_control_plane()
        plant.apply("two")
        plant.wait_ready()
    assert running.failures == []
    assert server.predict()["model_version"] == "2"


def test_two_equal_requests_at_once_make_one_revision(plant: Any) -> None:
    plant.put("one", 1, weight=1.0)
    numbers: list[int] = []
    threads = [threading.Thread(target=lambda: numbers.append(plant.apply("one").desired.number)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers == [1] * 8
    history = call(plant.stub.ListRevisions, pb.ListRevisionsRequest(project="default", name="sum")).revisions
    assert len(history) == 1


def test_wrong_requests_are_refused_and_change_nothing(plant: Any) -> None:
    plant.put("one", 1, weight=1.0)
    cases: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (InvalidError, "not a valid name", {"name": "a/b", "model_ref": "one"}),
        (InvalidError, "did you mean 'threads'", {"name": "a", "model_ref": "one", "options_json": '{"thread": 1}'}),
        (InvalidError, "no JSON", {"name": "a", "model_ref": "one", "options_json": "{"}),
        (InvalidError, "within 1 to 64", {"name": "a", "model_ref": "one", "options_json": '{"instances": 0}'}),
        (InvalidError, "model_ref is empty", {"name": "a"}),
        (NotFoundError, "no model version", {"name": "a", "model_ref": "nine"}),
    ]
    for error, text, fields in cases:
        with pytest.raises(error, match=text):
            call(plant.stub.ApplyDeployment, pb.ApplyDeploymentRequest(project="default", **fields))
    call(plant.stub.ApplyDeployment, pb.ApplyDeploymentRequest(project="default", name="a", validate_only=True))
    assert not call(plant.stub.ListDeployments, pb.ListDeploymentsRequest(project="default")).deployments

    plant.apply("one")
    with pytest.raises(ConflictError, match="taken by a deployment of project 'default'"):
        call(plant.stub.ApplyDeployment, pb.ApplyDeploymentRequest(project="other", name="sum", model_ref="one"))
    with pytest.raises(NotFoundError, match="no revision 5"):
        call(plant.stub.RollbackDeployment, pb.RollbackDeploymentRequest(project="default", name="sum", revision=5))
    with pytest.raises(ConflictError, match="nothing to go back to"):
        call(plant.stub.RollbackDeployment, pb.RollbackDeploymentRequest(project="default", name="sum"))


def test_deployments_come_in_pages(light_plant: Any) -> None:
    plant = light_plant
    plant.put("one", 1, weight=1.0)
    for name in ("c", "a", "b"):
        plant.apply("one", name)
    request = pb.ListDeploymentsRequest(project="default", page_size=2)
    first = call(plant.stub.ListDeployments, request)
    request.page_token = first.next_page_token
    second = call(plant.stub.ListDeployments, request)
    assert [d.name for d in (*first.deployments, *second.deployments)] == ["a", "b", "c"]
    assert not second.next_page_token
    request.project = "other"
    with pytest.raises(InvalidError, match="page_token"):
        call(plant.stub.ListDeployments, request)
