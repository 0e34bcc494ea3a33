"""YAML as version 1.2 has it: `1e-3` is a number and `off` is a word, as in `compile: off`."""

import re
from pathlib import Path
from typing import Any

import yaml

from services.train_svc.engine.reading import fault

BOOL, FLOAT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:float"
BOOL_FORM = re.compile("(true|True|TRUE|false|False|FALSE)$")
FLOAT_FORM = re.compile(
    r"([-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(inf|Inf)|\.(nan|NaN))$"
)


def load_mapping(path: Path) -> dict[str, Any]:
    """Return the mapping that a file holds.

    Raises:
        InvalidError: there is no such file, it is no YAML, a key stands twice in it, or it holds no mapping.
    """
    try:
        value = parse(path.read_text("utf-8-sig"))
    except OSError as error:
        raise fault("file", f"{path} cannot be read ({error.strerror}); check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise fault("file", f"{path} is no YAML: {error}") from error
    if not isinstance(value, dict):
        raise fault("file", f"{path} holds no mapping; it begins with lines such as 'data: ./pictures' and 'train:'")
    return value


def parse(text: str) -> Any:  # noqa: ANN401 - plain data
    """Return the plain data of a text.

    Raises:
        yaml.YAMLError: it is no YAML.
    """
    return yaml.load(text, _Loader)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {  # noqa: RUF012 - as in its class
        first: [(tag, form) for tag, form in pairs if tag not in (BOOL, FLOAT)]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping of which no key stands twice."""
        keys = [key.value for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            message = f"the key {twice!r} stands twice; keep one"
            raise yaml.constructor.ConstructorError(None, None, message, node.start_mark)
        return super().construct_mapping(node, deep=deep)


for _tag, _form, _first in ((BOOL, BOOL_FORM, "tTfF"), (FLOAT, FLOAT_FORM, "-+0123456789.")):
    _Loader.add_implicit_resolver(_tag, _form, list(_first))
