"""The documentation says what is so: its commands run, its files are sound, its tables name what there is.

Comments of the form `<!-- test: ... -->` before a block steer this:
`skip REASON`, `file NAME` (keep the block under that name), `output contains TEXT`, `exit NUMBER`.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

ROOT = Path(__file__).resolve().parents[3]
EN, ZH = ROOT / "docs" / "en", ROOT / "docs" / "zh"
FIRST = "quickstart.md"
"""Makes the deployment that the other pages ask."""
PAGES = sorted(page.name for page in EN.glob("*.md"))
BLOCK = re.compile(r"((?:^<!-- test:[^\n]*-->\n)*)^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DIRECTIVE = re.compile(r"<!-- test: (skip|file|output contains|exit) (.*?) -->")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
ROW = re.compile(r"^\| `(MODELWRIGHT_\w+)` \| ([^|]*) \|", re.MULTILINE)
SETTINGS = {
    "services.common.settings": ("CommonSettings", "TlsSettings"),
    "gateway.settings": ("GatewaySettings",),
    "services.data_svc.settings": ("DataSettings",),
    "services.train_svc.settings": ("TrainSettings",),
    "services.compress_svc.settings": ("CompressSettings",),
    "services.serve_svc.settings": ("ServeSettings", "InferenceSettings"),
}
OF_CLIENTS = {"MODELWRIGHT_URL", "MODELWRIGHT_TOKEN", "MODELWRIGHT_PROJECT"}
NOT_RUN = ("make demo", "make test", "git clone")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block and what its comments ask of the test."""

    language: str
    text: str
    directives: list[tuple[str, str]] = field(default_factory=list)

    def given(self, name: str) -> list[str]:
        return [value for key, value in self.directives if key == name]


def blocks(page: Path) -> list[Block]:
    found = BLOCK.findall(page.read_text())
    return [Block(language=lang, text=text, directives=DIRECTIVE.findall(head)) for head, lang, text in found]


def run_block(block: Block, folder: Path, environment: dict[str, str]) -> None:
    """Run a block as its reader would; shell variables last to the end of the page."""
    if block.language == "sh":
        state = folder / ".shell"
        text = f"set -a -o pipefail\ntouch {state}; . {state}\ntrap 'export -p > {state}' EXIT\nset -e\n{block.text}"
        command = ["bash", "-c", text]
    else:
        command = [sys.executable, "-c", block.text]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    said = f"{block.text}\nexited with {done.returncode} and said:\n{done.stdout}"
    assert done.returncode == int((block.given("exit") or ["0"])[0]), said
    for wanted in block.given("output contains"):
        assert wanted in done.stdout, f"{wanted!r} was expected of\n{said}"


def demand_tools(page: Path) -> None:
    """Skip a page whose commands need a program that this machine lacks; CI has them all."""
    for tool in ("curl", "jq"):
        if f"{tool} " in page.read_text() and not shutil.which(tool) and not os.environ.get("CI"):
            pytest.skip(f"{page.name} needs {tool}, which is not installed")


def run_page(page: Path, folder: Path, environment: dict[str, str]) -> None:
    demand_tools(page)
    (folder / ".shell").unlink(missing_ok=True)
    for block in blocks(page):
        for name in block.given("file"):
            (folder / name).write_text(block.text)
        if block.language in ("sh", "python") and not block.given("skip"):
            if not any(words in block.text for words in NOT_RUN):
                run_block(block, folder, environment)


@pytest.fixture(scope="module")
def quickstart(folder: Path, environment: dict[str, str]) -> None:
    run_page(EN / FIRST, folder, environment)


def test_the_quickstart_leads_to_a_served_model(quickstart: None) -> None:
    pass


# A page's blocks run one after the other, each in a process of its own that may load torch.
@pytest.mark.timeout(480)
@pytest.mark.parametrize("page", [page for page in PAGES if page != FIRST])
def test_the_code_of_a_page_runs(page: str, quickstart: None, folder: Path, environment: dict[str, str]) -> None:
    run_page(EN / page, folder, environment)


def test_the_code_of_the_readme_runs(quickstart: None, folder: Path, environment: dict[str, str]) -> None:
    run_page(ROOT / "README.md", folder, environment)


@pytest.mark.parametrize("page", PAGES)
def test_the_lifecycles_of_a_page_are_sound(page: str, quickstart: None, environment: dict[str, str]) -> None:
    from modelwright import Client

    with Client(environment["MODELWRIGHT_URL"]) as client:
        for block in blocks(EN / page):
            if block.language == "yaml" and not block.given("skip"):
                client.lifecycles.create(whole(block.text), validate_only=True)


def whole(text: str) -> str:
    """Return a lifecycle for one, or for some sections of one."""
    keys = yaml.safe_load(text).keys()
    sections = {"name": "name: example\n", "data": "data: {dataset: digits}\n"}
    if "compress" in keys or "serve" in keys:
        sections["train"] = "train: {}\n"
    if "gate" in keys:
        sections |= {"train": "train: {}\n", "compress": "compress: {variants: [{name: int8}]}\n"}
    return text + "".join(line for key, line in sections.items() if key not in keys)


@pytest.mark.parametrize("page", [*PAGES, "README.md"])
def test_both_languages_show_the_same_code(page: str) -> None:
    english, chinese = pair(page)
    assert [(one.language, one.text) for one in blocks(english)] == [
        (one.language, one.text) for one in blocks(chinese)
    ]


@pytest.mark.parametrize("page", [*PAGES, "README.md"])
def test_both_languages_have_the_same_sections_and_tables(page: str) -> None:
    def shape(file: Path) -> tuple[list[str], int]:
        text = BLOCK.sub("", file.read_text())
        return re.findall(r"^#+", text, re.MULTILINE), len(re.findall(r"^\|", text, re.MULTILINE))

    english, chinese = pair(page)
    assert shape(english) == shape(chinese)


def pair(page: str) -> tuple[Path, Path]:
    return (ROOT / page, ROOT / "README.zh-CN.md") if page == "README.md" else (EN / page, ZH / page)


def test_there_are_the_same_pages_in_both_languages() -> None:
    assert sorted(page.name for page in ZH.glob("*.md")) == PAGES


@pytest.mark.parametrize(
    "page",
    [ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted(EN.glob("*.md")), *sorted(ZH.glob("*.md"))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(BLOCK.sub("", page.read_text())):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name} links to {link}"


def anchors(page: Path) -> set[str]:
    headings = HEADING.findall(BLOCK.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [EN / "operating.md", ZH / "operating.md"], ids=["en", "zh"])
def test_the_settings_are_those_of_the_programs(page: Path) -> None:
    told = {name: default.strip().strip("`") for name, default in ROW.findall(page.read_text())}
    assert told.keys() - OF_CLIENTS == defaults().keys()
    for name, default in defaults().items():
        assert default in (None, told[name]), name


def defaults() -> dict[str, str | None]:
    """Return each setting's default by its variable's name; None where it is worked out."""
    found: dict[str, str | None] = {}
    for module, names in SETTINGS.items():
        for name in names:
            found |= fields_of(getattr(import_module(module), name))
    return found


def fields_of(settings: type[BaseModel]) -> dict[str, str | None]:
    prefix = str(settings.model_config.get("env_prefix", ""))
    fields = {
        name: info for name, info in settings.model_fields.items() if name != "tls"
    }  # TLS has a class of its own.
    return {info.alias or f"{prefix}{name}".upper(): shown(info.default) for name, info in fields.items()}


def shown(default: object) -> str | None:
    if repr(default) == "PydanticUndefined":
        return None
    reveal: Callable[[], str] = getattr(default, "get_secret_value", lambda: "")
    if default is None or default == "" or (hasattr(default, "get_secret_value") and not reveal()):
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)
