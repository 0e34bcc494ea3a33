"""`modelwright template`: needs no server and no engine."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from services.train_svc.engine.templates import describe


def test_the_list_names_domain_sizes_and_paper(mw: Any) -> None:
    found = mw("template", "list")
    line = next(line for line in found.out.splitlines() if line.startswith("bert "))
    assert all(word in line for word in ("language", "base, large", "arXiv 1810.04805"))
    rows = json.loads(mw("template", "list", "-o", "json").out)
    assert next(row for row in rows if row["name"] == "bert")["sizes"] == ["base", "large"]


def test_show_prints_yaml_that_builds_the_same(mw: Any) -> None:
    found = mw("template", "show", "BERT", "--size", "large")
    assert yaml.safe_load(found.out) == describe("bert", size="large").to_data()
    assert mw("template", "show", "bert:large").out == found.out


def test_an_unknown_template_or_size_names_the_nearest(mw: Any) -> None:
    assert (mw("template", "show", "brt").code, "did you mean 'bert'" in mw("template", "show", "brt").err) == (3, True)
    assert "did you mean 'large'" in mw("template", "show", "bert", "--size", "larg").err


def test_the_summary_counts_blocks_and_the_whole(mw: Any) -> None:
    found = mw("template", "summary", "bert")
    cells = [line.split() for line in found.out.splitlines()]
    assert ["layers", "repeat", "x", "12", "[128,", "768]", "85,054,464", "11.2", "G"] in cells
    assert "109,482,240 parameters" in found.err
    longer = json.loads(mw("template", "summary", "bert", "--at", "time=512", "-o", "json").out)
    # Linear layers cost 4 times as much, attention's two products 16 times.
    assert longer["multiply_adds"] == 12 * (512 * (4 * 768**2 + 2 * 768 * 3072) + 2 * 512**2 * 768) + 768**2


def test_a_size_that_the_model_does_not_have_is_refused(mw: Any) -> None:
    found = mw("template", "summary", "bert", "--at", "tme=7")
    assert (found.code, "has no size 'tme'; known: time" in found.err) == (2, True)
    assert "wanted a name and a number" in mw("template", "summary", "bert", "--at", "time").err


def test_a_users_file_is_summarised_and_its_faults_are_named(mw: Any, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("model: {name: Bert, num_layers: 2}")
    assert "repeat x 2" in mw("template", "summary", str(file)).out
    file.write_text("model: {name: Bert, num_layer: 2}")
    found = mw("template", "summary", str(file))
    assert "model.num_layer: unknown key 'num_layer'; did you mean 'num_layers'?" in found.err
    assert "there is no file" in mw("template", "summary", str(tmp_path / "none.yaml")).err


def test_the_difference_shows_lines_and_parameters(mw: Any) -> None:
    found = mw("template", "diff", "bert", "bert:large")
    assert "-        times: 12" in found.out
    assert "+        times: 24" in found.out
    assert "109,482,240 in bert, 335,141,888 in bert:large" in found.out
    assert len(mw("template", "diff", "bert", "bert").out.splitlines()) == 1


def test_every_option_and_field_says_what_it_is(mw: Any) -> None:
    assert "30522" in next(line for line in mw("template", "options", "bert").out.splitlines() if "vocab_size" in line)
    kinds = [line.split()[0] for line in mw("template", "blocks").out.splitlines()[1:]]
    assert {"conv2d", "attention", "repeat"} <= set(kinds)
    for kind in kinds:
        rows = json.loads(mw("template", "blocks", kind, "-o", "json").out)
        assert all(row["text"] for row in rows), kind
    assert "did you mean 'conv2d'" in mw("template", "blocks", "conv2").err


def test_no_engine_is_loaded() -> None:
    program = """if True:
        import sys
        from modelwright.cli.app import build
        build()(["template", "summary", "bert"], standalone_mode=False)
        sys.exit(bool({"torch", "tensorflow", "numpy", "onnx"} & set(sys.modules)))
    """
    assert subprocess.run([sys.executable, "-c", program], check=False, capture_output=True).returncode == 0
