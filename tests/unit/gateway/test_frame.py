"""The frame of a lifecycle: every fault together, at its line, with the nearest valid name."""

import pytest

from gateway.lifecycles.document import parse_yaml
from gateway.lifecycles.frame import read_frame
from gateway.lifecycles.spec import LifecycleSpec
from gateway.lifecycles.validation import section_path
from services.common.errors import InvalidError

DIGEST = "sha256:" + "a" * 64
GOOD = f"""\
name: digits
project: default
data: {{dataset: digits, uploads: [{{id: upl_1, digest: "{DIGEST}"}}], split: {{train: 0.8, test: 0.2}}, seed: 7}}
train: {{model: resnet_small, epochs: 12}}
compress: {{variants: [{{name: int8}}, {{name: fp16}}]}}
gate: {{bounds: ["accuracy_drop <= 0.01", "p99_ms <= 5"], prefer: p50_ms}}
serve: {{deployment: digits, alias: champion}}
"""


def read(text: str, *, with_source: bool = False) -> LifecycleSpec:
    return read_frame(parse_yaml(text), "default", with_source=with_source)


def faults(text: str) -> list[tuple[int, str, str]]:
    with pytest.raises(InvalidError) as caught:
        read(text)
    return [(getattr(one, "line", 0), one.field, one.message) for one in caught.value.violations]


def test_a_whole_document_asks_for_every_stage() -> None:
    spec = read(GOOD)
    assert spec.stages == ("data", "train", "compress", "gate", "serve")
    assert spec.data.fractions == {"train": 0.8, "test": 0.2}
    assert spec.model_name == "digits"


def test_faults_of_all_sections_are_told_together() -> None:
    text = GOOD.replace("seed: 7", "sed: 7").replace("p99_ms", "p98_ms").replace("alias:", "alais:")
    found = faults(text)
    assert [(line, field) for line, field, _ in found] == [(3, "data.sed"), (6, "gate.bounds[1]"), (7, "serve.alais")]
    assert "did you mean 'seed'" in found[0][2]
    assert "did you mean 'p99_ms'" in found[1][2]
    assert "size_bytes" in found[1][2]
    assert "did you mean 'alias'" in found[2][2]


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("name: digits\n", "name: 'a/b'\n", "name"),
        ("name: digits\n", "", ""),
        ("seed: 7", "seed: true", "data.seed"),
        ("seed: 7", "stratify: 1", "data.stratify"),
        ("project: default", "project: other", "project"),
        ("train: {model: resnet_small, epochs: 12}", "train: [1]", "train"),
        ("train: 0.8", "train: most", "data.split.train"),
        ("id: upl_1", "ids: upl_1", "data.uploads[0].ids"),
        (DIGEST, "sha256:12", "data.uploads[0].digest"),
        ("prefer: p50_ms", "prefer: p50", "gate.prefer"),
        ('"p99_ms <= 5"', "5", "gate.bounds[1]"),
    ],
)
def test_a_wrong_value_is_named_by_its_path(old: str, new: str, field: str) -> None:
    assert field in [found for _, found, _ in faults(GOOD.replace(old, new))]


def test_sections_that_need_another_say_which() -> None:
    found = faults("name: x\ndata: {dataset: digits}\ngate: {bounds: []}\nserve: {deployment: d}\n")
    assert {(field, "needs `" in message) for _, field, message in found} == {("gate", True), ("serve", True)}


def test_a_source_is_read_where_it_can_be_uploaded_and_explained_elsewhere() -> None:
    text = "name: x\ndata: {dataset: digits, source: ./data}\n"
    assert read(text, with_source=True).data.source == "./data"
    assert "modelwright apply" in faults(text)[0][2]


def test_a_named_version_takes_no_split() -> None:
    assert faults("name: x\ndata: {dataset: 'digits:3', seed: 1}")[0][1] == "data.seed"
    assert read("name: x\ndata: {dataset: 'digits:3'}").stages == ("data",)


def test_the_same_bytes_under_other_upload_ids_are_the_same_lifecycle() -> None:
    assert read(GOOD).digest == read(GOOD.replace("upl_1", "upl_2")).digest
    assert read(GOOD).digest != read(GOOD.replace("epochs: 12", "epochs: 13")).digest
    assert read(GOOD).digest == read(GOOD.replace("project: default\n", "")).digest


@pytest.mark.parametrize("text", ["", "[1, 2]", "just words"])
def test_what_is_no_mapping_is_told_so(text: str) -> None:
    assert "write a mapping" in faults(text)[0][2] or "is a mapping" in faults(text)[0][2]


@pytest.mark.parametrize(
    ("section", "field", "path"),
    [
        ("train", "spec.optimizer.lr", ("train", "optimizer", "lr")),
        ("train", "train.epochs", ("train", "epochs")),
        ("data", "split.fractions.train", ("data", "split", "train")),
        ("data", "split.seed", ("data", "seed")),
        ("data", "name", ("data", "dataset")),
        ("compress", "recipe.variants[2].method", ("compress", "variants", 1, "method")),
        ("serve", "instances", ("serve", "options", "instances")),
        ("serve", "name", ("serve", "deployment")),
    ],
)
def test_a_service_s_complaint_finds_its_line(section: str, field: str, path: tuple[str | int, ...]) -> None:
    assert section_path(parse_yaml(GOOD).value, section, field) == path
