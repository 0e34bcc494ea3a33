"""Bad input, given to the real gateway and command line: one clear message each, and nothing changed."""

import base64
import io
import os
import shutil
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from services.common.errors import InvalidError, NotFoundError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

DOCUMENT = """
name: careless
data: {source: ./pictures, dataset: careless}
train: {model: resnet_small, epochs: 1}
compress: {variants: [{name: int8, method: static}]}
gate: {bounds: ["accuracy >= 0.5"], prefer: p50_ms}
serve: {deployment: careless, alias: champion}
"""


def png(shade):
    out = io.BytesIO()
    Image.fromarray(np.full((8, 8), shade, dtype="uint8"), mode="L").save(out, "PNG")
    return out.getvalue()


PICTURES = [(f"{label}/{i}.png", png(10 * i + 100 * (label == "b"))) for label in "ab" for i in range(10)]


def folder_of(path, files):
    for name, data in files:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def tar_of(path, files, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def zip_of(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return path


def refusal(client, source, **options):
    """Commit `source`; return the error that it ends with, and see that no version was made."""
    job = client.datasets.push("careless", source, **options)
    ended = client.jobs.wait(job.id)
    assert ended.state == "failed"
    with pytest.raises(NotFoundError):
        client.datasets.get("careless")
    return ended.error


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return folder_of(tmp_path_factory.mktemp("document") / "pictures", PICTURES).parent


@pytest.fixture(scope="module")
def mw(platform):
    """Run the command line; return exit code, standard output and standard error."""

    def run(*arguments, **environment):
        command = [sys.executable, "-m", "modelwright.cli", *map(str, arguments)]
        settings = {**platform.environment, "MODELWRIGHT_URL": platform.url, **environment}
        done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=90, check=False)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture(scope="module")
def rest(platform):
    with httpx.Client(base_url=platform.url + "/api/v1/projects/default", trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def served(client, dataset, platform):
    """A small model of the digits that answers as `digits`."""
    run, job = client.runs.train("digits", {"model": "mlp", "epochs": 1, "model_name": "digits"}, dataset)
    digest = client.jobs.wait(job.id).successful().result["model_digest"]
    client.deployments.apply("digits", digest)
    platform.until(lambda: (active := client.deployments.get("digits").active) and active.state == "ready", 60)
    return run, digest


DATA_FAULTS = {
    "a `..`": ([("../../evil.png", png(1))], ["../../evil.png", "leads out"]),
    "an absolute path": ([("/etc/evil.png", png(1))], ["/etc/evil.png", "absolute path"]),
    "a control character": ([("a/x\x1b[31m\n.png", png(1))], [r"a/x\x1b[31m\n.png", "rename"]),
    "an id twice": ([("a/1.png", png(1))], ["a/1.png", "twice"]),
}


@pytest.mark.parametrize("fault", DATA_FAULTS)
def test_an_archive_with(client, tmp_path, fault):
    files, words = DATA_FAULTS[fault]
    error = refusal(client, tar_of(tmp_path / "data.tar", [*PICTURES, *files]))
    assert all(word in error for word in words), error
    assert "\x1b" not in error


@pytest.mark.parametrize("name", ["bomb.tar.gz", "bomb.zip"])
def test_a_bomb_is_refused_before_it_unfolds(client, tmp_path, platform, name):
    files = [*PICTURES, ("a/bomb.png", bytes(300 << 20))]
    source = zip_of(tmp_path / name, files) if name.endswith("zip") else tar_of(tmp_path / name, files, "w:gz")
    before = shutil.disk_usage(platform.home).free
    error = refusal(client, source)
    assert "bomb" in error
    assert before - shutil.disk_usage(platform.home).free < 100 << 20


def test_a_truncated_archive_is_named_and_nothing_is_made_of_its_rest(client, tmp_path):
    whole = tar_of(tmp_path / "whole.tar", PICTURES).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:5000])
    error = refusal(client, tmp_path / "cut.tar")
    assert "cut.tar" in error
    assert "pack and upload it again" in error


def test_damaged_pictures_are_named_all_together(client, tmp_path):
    damaged = [("a/3.png", png(3)[:50]), ("b/4.png", b"no picture"), ("b/5.png", b"")]
    error = refusal(client, folder_of(tmp_path / "data", [*PICTURES, *damaged]))
    assert "3 faults" in error
    assert all(name in error for name, _ in damaged)
    assert "a/1.png" not in error


def test_one_class_alone_is_refused(client, tmp_path):
    source = folder_of(tmp_path / "data", [file for file in PICTURES if file[0].startswith("a")])
    assert "at least two classes" in refusal(client, source)


def test_a_table_that_names_a_file_twice_is_refused_with_its_line(client, tmp_path):
    rows = ["path,label", *(f"{name},{name[0]}" for name, _ in PICTURES), "a/3.png,a"]
    source = folder_of(tmp_path / "data", [*PICTURES, ("labels.csv", "\n".join(rows).encode())])
    error = refusal(client, source)
    assert "labels.csv line 22" in error
    assert "a/3.png" in error


@pytest.mark.parametrize("fractions", [{"train": 1.0, "test": 0.0}, {"train": 1.5, "test": -0.5}, {"train": 0.5}])
def test_an_empty_or_impossible_split_is_refused_at_once(client, tmp_path, fractions):
    source = folder_of(tmp_path / "data", PICTURES)
    with pytest.raises(InvalidError, match=r"split|fractions"):
        client.datasets.push("careless", source, fractions=fractions)


def test_a_split_that_no_sample_falls_into_is_refused(client, tmp_path):
    source = folder_of(tmp_path / "data", [file for file in PICTURES if file[0][2] in "01"])
    assert "too few to have one in each of" in refusal(
        client, source, fractions={"train": 0.9, "validation": 0.05, "test": 0.05}
    )


def test_an_empty_file_or_folder_is_refused_by_name(client, tmp_path):
    (tmp_path / "nothing.tar").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for name in ("nothing.tar", "folder"):
        with pytest.raises(InvalidError, match=name):
            client.datasets.push("careless", tmp_path / name)


NAMES = ["a\x1b[31m", "a\nb", "../x", "a/b", "ünicode", "", "x" * 200]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_no_terminal_or_path_should_see_is_refused(rest, name):
    answer = rest.post("/datasets", json={"name": name, "uploads": ["upl_1"]})
    assert answer.status_code == 422
    (fault,) = answer.json()["violations"]
    assert fault["field"] == "name"
    assert "use 1 to 128 letters" in fault["message"]
    assert "\x1b" not in answer.text


def test_labels_in_any_script_are_kept(client, tmp_path):
    files = [(f"{label}/{i} 图.png", png(i)) for label in ("数字", "émile ☃") for i in range(20)]
    job = client.datasets.push("unicode", folder_of(tmp_path / "data", files))
    assert set(client.datasets.wait(job).schema["labels"]) == {"数字", "émile ☃"}


DOCUMENT_FAULTS = {
    "an unknown key": ("epochs: 1", "epocs: 1", ["line 3", "epocs", "did you mean 'epochs'?"]),
    "an unknown section": ("serve:", "sreve:", ["line 6", "did you mean 'serve'?"]),
    "a wrong type": ("epochs: 1", "epochs: many", ["line 3", "train.epochs", "a whole number"]),
    "no list of variants": ("[{name: int8, method: static}]", "3", ["line 4", "compress.variants", "wanted a list"]),
    "an unknown method": ("method: static", "method: statc", ["line 4", "variants[0].method", "'static'?"]),
    "an unknown template": ("resnet_small", "resnet_smal", ["line 3", "did you mean 'resnet_small'?"]),
    "an unknown figure": ("accuracy >=", "acuracy >=", ["line 5", "gate.bounds[0]", "did you mean 'accuracy'?"]),
    "no figure to prefer": ("prefer: p50_ms", "prefer: speed", ["line 5", "gate.prefer", "p50_ms"]),
    "a missing version": ("source: ./pictures, dataset: careless", "dataset: 'x:7'", ["line 2", "no dataset 'x'"]),
    "a missing folder": ("./pictures", "./nowhere", ["data.source", "nowhere", "make it"]),
    "no split to train on": ("dataset: careless", "dataset: c, split: {trian: 0.9, test: 0.1}", ["line 2", "'train'"]),
    "a name with control characters": ("name: careless", 'name: "a\\u001b[31m"', ["line 1", "valid name"]),
    "an alias that is a path": ("alias: champion", "alias: ../..", ["line 6", "serve.alias"]),
    "no YAML": ("variants: [", "variants: [[", ["line 4", "not YAML"]),
}


@pytest.mark.parametrize("fault", DOCUMENT_FAULTS)
def test_a_lifecycle_with(mw, client, folder, fault):
    old, new, words = DOCUMENT_FAULTS[fault]
    assert old in DOCUMENT
    (folder / "lifecycle.yaml").write_text(DOCUMENT.lstrip().replace(old, new))
    code, out, error = mw("apply", "-f", folder / "lifecycle.yaml")
    assert (code, out) == (2, ""), error
    assert error.startswith("error: ")
    assert all(word in error for word in words), error
    assert "Traceback" not in error
    assert "\x1b" not in error
    assert not list(client.lifecycles.list())


def test_every_fault_of_a_lifecycle_is_told_at_its_line(mw, folder):
    faulty = DOCUMENT.lstrip().replace("epochs: 1", "epochs: many, optimiser: x").replace("static", "dynamic")
    (folder / "lifecycle.yaml").write_text(faulty)
    code, _, error = mw("apply", "-f", folder / "lifecycle.yaml", "--validate-only")
    assert code == 2, error
    told = error.splitlines()
    assert told[0] == "error: 3 faults:"
    assert [line.split(",")[0].strip() for line in told[1:]] == ["line 3", "line 3", "line 4"]


def test_a_missing_dataset_version_names_the_newest(client, dataset):
    with pytest.raises(NotFoundError, match="no version 99; its newest is 1"):
        client.runs.train("x", {"model": "mlp"}, "digits:99")
    assert not list(client.runs.list())


TENSOR: dict[str, Any] = {"name": "input", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": [0.0] * 64}
TENSORS: dict[str, tuple[dict[str, Any], str]] = {
    "a wrong shape": ({"shape": [1, 1, 4, 16]}, "[-1, 1, 8, 8]"),
    "too few elements": ({"data": [1.0]}, "takes 64"),
    "a wrong type": ({"datatype": "INT64", "data": [0] * 64}, "FP32"),
    "an unknown type": ({"datatype": "FP31"}, "FP31"),
    "an unknown name": ({"name": "inptu"}, "'input'"),
    "no shape": ({"shape": [-1, 1, 8, 8]}, "not a shape"),
    "words for numbers": ({"data": ["x"] * 64}, "input"),
    "a huge shape": ({"shape": [10**12, 1, 8, 8]}, "takes"),
}


@pytest.mark.parametrize("fault", TENSORS)
def test_a_tensor_with(rest, served, fault):
    changed, words = TENSORS[fault]
    answer = rest.post("/deployments/digits:predict", json={"inputs": [{**TENSOR, **changed}]})
    assert answer.status_code == 422, answer.text
    assert words in answer.json()["detail"]


@pytest.mark.parametrize("body", [b"", b"x", png(1)[:50]])
def test_bytes_that_are_no_picture_are_told_so(rest, served, body):
    answer = rest.post("/deployments/digits:predict", content=body, headers={"Content-Type": "image/png"})
    assert answer.status_code == 422
    assert "picture" in answer.json()["detail"]
    encoded = {"images": [base64.b64encode(body).decode()]}
    assert rest.post("/deployments/digits:predict", json=encoded).status_code == 422


def test_a_prediction_of_what_is_not_deployed_says_so(mw, folder):
    code, _, error = mw("predict", "nothing", folder / "pictures" / "a" / "1.png")
    assert code == 3
    assert "no deployment 'nothing'" in error


@pytest.mark.parametrize("path", ["/deployments/digits:predict", "/lifecycles", "/datasets", "/runs:train"])
def test_an_oversized_body_is_refused_with_the_limit(rest, served, path):
    answer = rest.post(path, content=bytes(70 << 20), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert "at most" in answer.json()["detail"]


LISTS = ["runs", "datasets", "models", "jobs", "lifecycles", "deployments", "compressions"]


@pytest.mark.parametrize("name", LISTS)
def test_a_stale_page_token_or_a_huge_page_is_refused(rest, served, name):
    other = rest.get("/datasets/digits/samples", params={"page_size": 1}).json()["next_page_token"]
    for token in (other, "garbage"):
        answer = rest.get(f"/{name}", params={"page_token": token})
        assert answer.status_code == 422
        assert "start again without it" in answer.json()["detail"]
    assert rest.get(f"/{name}", params={"page_size": 10**9}).status_code == 422


def test_a_key_used_for_another_body_is_refused(rest):
    headers = {"Idempotency-Key": "careless-1"}
    body = {"filename": "a.tar", "size": 5}
    first, again = (rest.post("/uploads", json=body, headers=headers) for _ in range(2))
    assert first.json()["id"] == again.json()["id"]
    other = rest.post("/uploads", json={**body, "size": 6}, headers=headers)
    assert other.status_code == 422
    assert "take a new key" in other.json()["detail"]


def test_what_something_came_from_is_not_deleted(client, rest, served):
    run, digest = served
    answer = rest.delete("/datasets/digits:1")
    assert answer.status_code == 409
    assert "came from this dataset version" in answer.json()["detail"]
    assert rest.delete(f"/runs/{run.id}").status_code == 409
    served_by = rest.delete("/models/digits/versions/1")
    assert served_by.status_code == 409
    assert "deployment 'digits' serves this version" in served_by.json()["detail"]
    assert client.datasets.get("digits:1").digest
    assert client.models.get("digits", "1").digest == digest


def test_cancelling_what_has_ended_changes_nothing(mw, served):
    run, _ = served
    code, out, _ = mw("cancel", run.id)
    assert code == 0
    assert "succeeded already" in out


def test_a_bad_token_is_refused_where_one_is_needed(start_platform, mw):
    url = start_platform(api_token="s3cret-token-of-this-test").url
    for token, code in (("wrong", 6), ("", 6), ("s3cret-token-of-this-test", 0)):
        given, _, error = mw("status", MODELWRIGHT_URL=url, MODELWRIGHT_TOKEN=token)
        assert given == code, error
        assert "s3cret" not in error


def test_a_home_or_port_that_cannot_be_used_is_told_before_anything_starts(mw, tmp_path, platform):
    (tmp_path / "file").write_text("")
    port = platform.url.rsplit(":", 1)[1]
    for home, wanted, words, expected in (
        ("file", "0", "cannot be the platform's home", 2),
        ("home", "99999", "there is no port 99999", 2),
        ("home", port, "stop what holds the port", 5),
    ):
        code, _, error = mw("up", "--detach", "--home", tmp_path / home, "--port", wanted)
        assert (code, len(error.splitlines())) == (expected, 1), error
        assert words in error


def test_a_second_platform_in_the_same_home_is_refused(mw, platform):
    code, _, error = mw("up", "--home", platform.home, "--port", "0")
    assert code == 4
    assert "modelwright down" in error


def test_a_home_whose_database_is_damaged_says_which_file(mw, tmp_path):
    database = tmp_path / "home" / "db" / "train_svc.sqlite"
    database.parent.mkdir(parents=True)
    database.write_bytes(os.urandom(8192))
    code, _, error = mw("up", "--detach", "--home", tmp_path / "home", "--port", "0")
    assert code == 5
    assert "train_svc.sqlite" in error
    assert len(error.splitlines()) == 1


def test_files_that_are_no_documents_are_told_so(mw, tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty.yaml").write_text("")
    bomb = "\n".join(["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]" for i in range(1, 30))])
    (tmp_path / "bomb.yaml").write_text(textwrap.dedent(bomb))
    for name, words in (("binary", "UTF-8"), ("empty", "mapping"), ("bomb", "aliases"), ("missing", "check the path")):
        code, _, error = mw("apply", "-f", tmp_path / f"{name}.yaml")
        assert (code, words in error) == (2, True), error
