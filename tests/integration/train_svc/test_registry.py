"""The registry over gRPC, on both databases."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from proto.gen.modelwright.train.v1 import registry_pb2 as pb
from proto.gen.modelwright.train.v1 import run_pb2
from services.common.digest import digest_json
from services.common.errors import ConflictError, InvalidError, ModelwrightError, NotFoundError
from services.common.rpc import call

DATASET = "sha256:" + "d" * 64


def register(client: Any, name: str = "digits", content: str = "a", **fields: Any) -> Any:
    files = [
        client.store("model.onnx", f"model {content}".encode()),
        client.store("card.json", json.dumps({"name": content}).encode()),
        client.store("signature.json", b'{"inputs": []}'),
    ]
    version = pb.ModelVersion(project="p", name=name, files=files, **fields)
    return call(client.registry.CreateModelVersion, pb.CreateModelVersionRequest(version=version)).version


def get(client: Any, ref: str) -> Any:
    return call(client.registry.GetModelVersion, pb.GetModelVersionRequest(project="p", ref=ref)).version


def set_alias(client: Any, digest: str, alias: str = "champion", **fields: Any) -> Any:
    request = pb.SetAliasRequest(
        project="p", name="digits", alias=alias, digest=digest, actor="ann", reason="better", **fields
    )
    return call(client.registry.SetAlias, request).model


def delete(client: Any, ref: str) -> None:
    call(client.registry.DeleteModelVersion, pb.DeleteModelVersionRequest(project="p", ref=ref))


def test_a_version_is_named_by_its_package_and_carries_its_card(client: Any) -> None:
    made = register(client)
    assert made.digest == digest_json({file.path: file.digest for file in made.files})
    assert made.number == 1
    assert json.loads(made.card_json) == {"name": "a"}
    assert json.loads(made.signature_json) == {"inputs": []}
    assert register(client) == made
    assert register(client, content="b").number == 2
    other = register(client, name="other")
    assert (other.digest, other.number) == (made.digest, 1)


def test_the_same_package_registered_at_once_is_one_version(connect: Callable[[], Any]) -> None:
    clients = [connect(), connect()]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda i: register(clients[i % 2], content=str(i % 3)), range(12)))
    assert len({version.digest for version in made}) == 3
    assert sorted({version.number for version in made}) == [1, 2, 3]


def test_references_lead_to_versions(client: Any) -> None:
    first, second = register(client, content="a"), register(client, content="b")
    set_alias(client, first.digest)
    for ref, wanted in {
        "models:/digits@champion": first,
        "digits@champion": first,
        "models:/digits/1": first,
        "digits/2": second,
        "digits": second,
        "models:/digits": second,
        "digits/latest": second,
        first.digest: first,
        f"models:/{second.digest}": second,
    }.items():
        assert get(client, ref).digest == wanted.digest, ref
    assert list(get(client, "digits@champion").aliases) == ["champion"]


@pytest.mark.parametrize(
    ("ref", "error", "message"),
    [
        ("digit", NotFoundError, "did you mean 'digits'"),
        ("digits@champoin", NotFoundError, "did you mean 'champion'"),
        ("digits/9", NotFoundError, "no version 9"),
        ("sha256:" + "0" * 64, NotFoundError, "no model version"),
        ("sha256:12", InvalidError, "models:/digits@champion"),
        ("digits@@x", InvalidError, "names no model version"),
        ("", InvalidError, "names no model version"),
        ("../x", InvalidError, "names no model version|not a valid name"),
    ],
)
def test_a_reference_that_leads_nowhere_says_so(
    client: Any, ref: str, error: type[ModelwrightError], message: str
) -> None:
    set_alias(client, register(client).digest)
    with pytest.raises(error, match=message):
        get(client, ref)


def test_an_alias_keeps_who_moved_it_and_moves_only_from_where_it_is_expected(client: Any) -> None:
    first, second = register(client, content="a").digest, register(client, content="b").digest
    assert dict(set_alias(client, first, expected_digest="").aliases) == {"champion": first}
    with pytest.raises(ConflictError, match="points at"):
        set_alias(client, second, expected_digest=second)
    with pytest.raises(ConflictError):
        set_alias(client, second, expected_digest="")
    set_alias(client, second, expected_digest=first)
    set_alias(client, second)
    gone = pb.DeleteAliasRequest(project="p", name="digits", alias="champion", actor="bob", reason="broken")
    assert not call(client.registry.DeleteAlias, gone).model.aliases
    with pytest.raises(NotFoundError):
        call(client.registry.DeleteAlias, gone)
    events = call(client.registry.ListAliasEvents, pb.ListAliasEventsRequest(project="p", name="digits")).events
    assert [(e.from_digest, e.to_digest, e.actor, e.reason) for e in events] == [
        (second, "", "bob", "broken"),
        (first, second, "ann", "better"),
        ("", first, "ann", "better"),
    ]


def test_of_two_who_move_an_alias_at_once_one_wins(connect: Callable[[], Any]) -> None:
    clients = [connect(), connect()]
    digests = [register(clients[0], content=str(i)).digest for i in range(5)]
    set_alias(clients[0], digests[0])

    def move(number: int) -> bool:
        try:
            set_alias(clients[number % 2], digests[number], expected_digest=digests[0])
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(move, range(1, 5))) == 1


def test_an_alias_needs_a_version_of_its_model_and_a_name_that_is_no_number(client: Any) -> None:
    made, other = register(client), register(client, name="other", content="b")
    for alias, digest, error in (
        ("champion", other.digest, NotFoundError),
        ("3", made.digest, InvalidError),
        ("latest", made.digest, InvalidError),
        ("a b", made.digest, InvalidError),
        ("champion", "x", InvalidError),
    ):
        with pytest.raises(error):
            set_alias(client, digest, alias)


def test_a_version_is_not_deleted_while_something_leans_on_it(client: Any) -> None:
    parent = register(client)
    child = register(client, content="int8", parent=parent.digest, variant="int8")
    set_alias(client, child.digest)
    with pytest.raises(ConflictError, match="was made from"):
        delete(client, "digits/1")
    with pytest.raises(ConflictError, match="alias 'champion'"):
        delete(client, "digits/2")
    call(client.registry.DeleteAlias, pb.DeleteAliasRequest(project="p", name="digits", alias="champion"))
    delete(client, child.digest)
    delete(client, "digits/1")
    with pytest.raises(NotFoundError):
        get(client, "digits")
    # A number is never given twice.
    assert register(client).number == 3


def test_a_digest_that_two_models_have_deletes_neither(client: Any) -> None:
    made = register(client)
    register(client, name="other")
    with pytest.raises(InvalidError, match="digits, other"):
        delete(client, made.digest)
    delete(client, "other/1")
    assert get(client, made.digest).name == "digits"


@pytest.mark.parametrize(
    "fields",
    [
        {"parent": "sha256:" + "0" * 64},
        {"run_id": "run_none"},
        {"digest": "sha256:" + "0" * 64},
        {"name": "a/b"},
        {"card_json": "[1]"},
        {"dataset_digest": "x"},
    ],
)
def test_an_unsound_version_is_refused_and_nothing_is_kept(client: Any, fields: dict[str, str]) -> None:
    with pytest.raises(InvalidError):
        register(client, **fields)
    assert not call(client.registry.ListModels, pb.ListModelsRequest(project="p")).models


def test_a_package_with_a_file_that_was_not_uploaded_is_refused(client: Any) -> None:
    file = client.store("model.onnx", b"x")
    file.digest = "sha256:" + "0" * 64
    version = pb.ModelVersion(project="p", name="digits", files=[file])
    with pytest.raises(InvalidError, match=r"model\.onnx; upload"):
        call(client.registry.CreateModelVersion, pb.CreateModelVersionRequest(version=version))


def test_lists_come_in_pages(client: Any) -> None:
    for i in range(5):
        register(client, content=str(i))
        register(client, name=f"m{i}", content=str(i))
    names, numbers, token = [], [], ""
    while True:
        models = call(client.registry.ListModels, pb.ListModelsRequest(project="p", page_size=2, page_token=token))
        names += [model.name for model in models.models]
        if not (token := models.next_page_token):
            break
    while True:
        request = pb.ListModelVersionsRequest(project="p", name="digits", page_size=2, page_token=token)
        versions = call(client.registry.ListModelVersions, request)
        numbers += [version.number for version in versions.versions]
        if not (token := versions.next_page_token):
            break
    assert names == ["digits", "m0", "m1", "m2", "m3", "m4"]
    assert numbers == [5, 4, 3, 2, 1]
    with pytest.raises(InvalidError, match="page_token"):
        call(client.registry.ListModels, pb.ListModelsRequest(project="p", page_token="stale"))


def edges(client: Any, node: str) -> set[tuple[str, str, str]]:
    found = call(client.registry.GetLineage, pb.GetLineageRequest(project="p", id=node))
    assert {edge.from_id for edge in found.edges} | {edge.to_id for edge in found.edges} <= {n.id for n in found.nodes}
    return {(edge.from_id, edge.relation, edge.to_id) for edge in found.edges}


def test_lineage_leads_from_the_dataset_to_the_compressed_model_and_back(client: Any) -> None:
    run = call(client.runs.CreateRun, run_pb2.CreateRunRequest(project="p", dataset_digest=DATASET)).run.id
    sibling = call(client.runs.CreateRun, run_pb2.CreateRunRequest(project="p", dataset_digest=DATASET)).run.id
    trained = register(client, content="fp32", run_id=run)
    child = register(client, content="int8", parent=trained.digest, variant="int8")
    assert trained.dataset_digest == DATASET
    assert (child.run_id, child.dataset_digest) == (run, DATASET)
    line = {
        (DATASET, "trained_on", run),
        (run, "produced", trained.digest),
        (trained.digest, "compressed_to", child.digest),
    }
    for node in (run, trained.digest, child.digest):
        assert edges(client, node) == line
    assert edges(client, DATASET) == line | {(DATASET, "trained_on", sibling)}
    with pytest.raises(ConflictError, match="digits/1"):
        call(client.runs.DeleteRun, run_pb2.DeleteRunRequest(id=run))
    for unknown in ("sha256:" + "0" * 64, "run_none"):
        with pytest.raises(NotFoundError):
            edges(client, unknown)
