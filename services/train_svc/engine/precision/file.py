"""A policy as a file that people read and edit."""

import json
import re
from pathlib import Path

import yaml

from services.train_svc.engine.precision.policy import Difference, Operator, Policy
from services.train_svc.engine.reading import fault, read

HEAD = """\
# In which number format each operator of this model computes, as it was measured. Edit it freely.
#
# Each operator ran alone in the base format, on the values and gradients of a float32 run, so that its numbers tell of
# itself and not of what ran before it.
#   precision       the format in which it will run: fp16, bf16 or fp32
#   forward_error   how far its output is from float32: 0.01 is one hundredth of the output's size
#   gradient_error  the same of the gradients that it hands back and of those of its own weights
#   onward_error    what the rounding of its output alone becomes in the output of the operator that takes it
#   overflow        share of its numbers that the base format cannot hold: they become infinite
#   underflow       share of its numbers that become zero and should not; gradients are multiplied by loss_scale first
#   reason          why it is not in the base format
# `plain` and `measured` tell how far loss and gradients of the whole model are from float32, with torch's own mixed
# precision and with this file (null: infinite or no number).
#
# To decide yourself, write patterns under `force`; they win over the list, of several that fit the last one does, and a
# name stands for all that is inside it too:
#   force: {"decoder.*.attention": fp32, encoder: bf16}
"""
PLAIN = re.compile(r"[A-Za-z_][\w.]*")
WORDS = {"true", "false", "yes", "no", "on", "off", "y", "n", "null"}
"""What YAML takes for something else than text."""


def write_policy(policy: Policy, path: str | Path) -> Path:
    """Write a policy as YAML, one line an operator, and return its path."""
    lines = [
        f"model: {_text(policy.model)}",
        f"base: {policy.base}",
        f"loss_scale: {policy.loss_scale:g}",
        *(f"{name}: {_difference(getattr(policy, name))}" for name in ("plain", "measured") if getattr(policy, name)),
        "force: {" + ", ".join(f"{json.dumps(key)}: {value}" for key, value in policy.force.items()) + "}",
        "operators:" if policy.operators else "operators: []",
        *_rows(policy.operators),
    ]
    path = Path(path)
    path.write_text(HEAD + "\n" + "\n".join(lines) + "\n", "utf-8")
    return path


def read_policy(path: str | Path) -> Policy:
    """Return the policy of a file.

    Raises:
        InvalidError: there is no such file, or it is no valid policy; every fault with its place in the file.
    """
    try:
        data = yaml.safe_load(Path(path).read_text("utf-8"))
    except OSError as error:
        message = f"cannot read {str(path)!r} ({error.strerror}); `modelwright train sensitivity` writes such a file"
        raise fault("policy", message) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise fault("policy", f"{str(path)!r} is no YAML: {error}") from error
    return read(Policy, data, "policy")


def _rows(operators: tuple[Operator, ...]) -> list[str]:
    width = max((len(_text(each.name)) for each in operators), default=0) + 1
    return [
        f"- {{name: {_text(each.name) + ',':{width}} precision: {each.precision}, "
        f"forward_error: {each.forward_error:.1e}, gradient_error: {each.gradient_error:.1e}, "
        f"onward_error: {each.onward_error:.1e}, "
        f"overflow: {each.overflow:.1e}, underflow: {each.underflow:.1e}, "
        f"kind: {_text(each.kind)}, reason: {json.dumps(each.reason)}}}"
        for each in operators
    ]


def _difference(difference: Difference) -> str:
    return f"{{loss: {_number(difference.loss)}, gradient: {_number(difference.gradient)}}}"


def _number(value: float | None) -> str:
    return "null" if value is None else f"{value:.2e}"


def _text(text: str) -> str:
    return text if PLAIN.fullmatch(text) and text.lower() not in WORDS else json.dumps(text)
