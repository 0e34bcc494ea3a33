"""The filter language of run searches: text to a small tree.

    expression = term {"or" term}          term = factor {"and" factor}
    factor     = ["not"] ("(" expression ")" | comparison)
    comparison = field ("=" | "!=" | "<" | "<=" | ">" | ">=") literal
               | field ["not"] "like" text | field ["not"] "in" "(" literal {"," literal} ")"
    field      = ("metrics" | "params" | "tags") "." name | attribute

`like` takes `%` and `_` and minds no case. Times are seconds since 1970 or ISO 8601 texts.
Names with other characters than letters, digits and `_ - / . @ :` stand in backticks or double quotes.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from services.common.errors import InvalidError
from services.common.names import nearest

GROUPS = {"metrics": "metric", "metric": "metric", "params": "param", "param": "param", "tags": "tag", "tag": "tag"}
TEXTS = frozenset({"id", "name", "state", "engine", "dataset_digest", "code_version", "job_id"})
NUMBERS = frozenset({"seed", "created_at", "started_at", "finished_at"})
COMPARISONS = frozenset({"=", "!=", "<", "<=", ">", ">="})
MAX_CHARS = 4000
MAX_DEPTH = 40

TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))
      | (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<field>[A-Za-z_][\w-]*\.(?:`[^`]+`|"[^"]+"|[\w./@:-]+))
      | (?P<word>[A-Za-z_]\w*)
      | (?P<sign><=|>=|!=|==|<>|=|<|>|\(|\)|,)
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Comparison:
    """One field held against literals (several for `in`)."""

    kind: Literal["metric", "param", "tag", "attribute"]
    name: str
    operator: str
    literals: tuple[float | str, ...]


@dataclass(frozen=True)
class Not:
    """Holds where its part does not."""

    part: "Node"


@dataclass(frozen=True)
class All:
    """Holds where every part does."""

    parts: tuple["Node", ...]


@dataclass(frozen=True)
class Some:
    """Holds where at least one part does."""

    parts: tuple["Node", ...]


@dataclass(frozen=True)
class Absent:
    """Holds where a run has no comparable value under a name; orders need it, the language has no word for it."""

    kind: str
    name: str


Node: TypeAlias = Comparison | Not | All | Some | Absent


@dataclass(frozen=True)
class Token:
    """A piece of the text and where it begins, counted from 1."""

    kind: str
    text: str
    position: int


def parse_filter(text: str) -> Node | None:
    """Return the tree of a filter; None for an empty one, which holds for every run.

    Raises:
        InvalidError: names the position and what was expected there.
    """
    if "\0" in text:
        raise InvalidError("filter holds a NUL character; leave it out", field="filter")
    if len(text) > MAX_CHARS:
        raise InvalidError(f"filter has {len(text)} characters; at most {MAX_CHARS} are read", field="filter")
    tokens = tokenize(text)
    return Parser(tokens).whole() if len(tokens) > 1 else None


def tokenize(text: str) -> list[Token]:
    """Return the tokens of a filter, with one of kind `end` at the end."""
    tokens, position = [], 0
    while position < len(text):
        found = TOKEN.match(text, position)
        if not found or found.lastgroup is None:
            raise _unexpected(Token("", text[position], position + 1), "a field, a literal or an operator")
        if found.lastgroup != "space":
            tokens.append(Token(found.lastgroup, found.group(), position + 1))
        position = found.end()
    return [*tokens, Token("end", "", len(text) + 1)]


class Parser:
    """Reads one expression by recursive descent."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._depth = 0

    def whole(self) -> Node:
        """Return the tree of all tokens."""
        tree = self._some()
        if self._peek().kind != "end":
            raise _unexpected(self._peek(), "'and', 'or' or the end")
        return tree

    def _some(self) -> Node:
        parts = [self._all()]
        while self._accept("or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def _all(self) -> Node:
        parts = [self._factor()]
        while self._accept("and"):
            parts.append(self._factor())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _factor(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise InvalidError(f"filter is nested more than {MAX_DEPTH} deep; write it flatter", field="filter")
        try:
            if self._accept("not"):
                return Not(self._factor())
            if self._accept("("):
                tree = self._some()
                self._expect(")", "')', 'and' or 'or'")
                return tree
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Node:
        field = self._take()
        kind, name = _field(field)
        negated = self._accept("not")
        sign = self._take()
        operator = {"==": "=", "<>": "!="}.get(sign.text, sign.text.lower())
        if negated and operator not in ("like", "in"):
            raise _unexpected(sign, "'like' or 'in' after 'not'")
        if operator not in COMPARISONS | {"like", "in"}:
            raise _unexpected(sign, "one of = != < <= > >= like in")
        _check_operator(kind, name, operator, sign)
        literals = self._list(kind, name) if operator == "in" else (self._literal(kind, name),)
        made = Comparison(kind, name, operator, literals)
        return Not(made) if negated else made

    def _list(self, kind: str, name: str) -> tuple[float | str, ...]:
        self._expect("(", "'(' and a list such as ('a', 'b')")
        found = [self._literal(kind, name)]
        while self._accept(","):
            found.append(self._literal(kind, name))
        self._expect(")", "',' or ')'")
        return tuple(found)

    def _literal(self, kind: str, name: str) -> float | str:
        token = self._take()
        if _is_number(kind, name):
            return _number(token, name)
        if token.kind == "number" and kind != "attribute":
            return token.text  # Parameters and tags are texts; 0.001 is the text '0.001'.
        if token.kind != "text":
            raise _unexpected(token, "a text in quotes, such as 'x'")
        return re.sub(r"\\(.)", r"\1", token.text[1:-1])

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._peek()
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _accept(self, text: str) -> bool:
        token = self._peek()
        found = token.kind in ("word", "sign") and token.text.lower() == text
        self._next += found
        return found

    def _expect(self, text: str, wanted: str) -> None:
        if not self._accept(text):
            raise _unexpected(self._peek(), wanted)


def parse_order(text: str) -> tuple[str, str, bool]:
    """Return (kind, name, descending) of an order such as `metrics.accuracy desc`; empty is `created_at desc`.

    Raises:
        InvalidError: it is no such order.
    """
    tokens = tokenize(text or "created_at desc")
    kind, name = _field(tokens[0])
    words = tokens[1:-1]
    direction = words[0].text.lower() if words else "asc"
    if direction not in ("asc", "desc"):
        raise _unexpected(words[0], "'asc' or 'desc'", "order_by")
    if words[1:]:
        raise _unexpected(words[1], "the end", "order_by")
    if kind == "attribute" and name != "created_at":
        raise InvalidError(
            f"runs cannot be ordered by {name!r}; order by created_at, metrics.NAME, params.NAME or tags.NAME",
            field="order_by",
        )
    return kind, name, direction == "desc"


def _field(token: Token) -> tuple[Literal["metric", "param", "tag", "attribute"], str]:
    if token.kind == "field":
        group, name = token.text.split(".", 1)
        if group.lower() not in GROUPS:
            hint = nearest(group, GROUPS) or "; use metrics.NAME, params.NAME or tags.NAME"
            raise _unexpected(token, f"a known field{hint}")
        return GROUPS[group.lower()], name.strip('`"')  # type: ignore[return-value] # GROUPS holds no other kinds.
    if token.kind == "word" and token.text in TEXTS | NUMBERS:
        return "attribute", token.text
    hint = nearest(token.text, TEXTS | NUMBERS)
    raise _unexpected(token, f"metrics.NAME, params.NAME, tags.NAME or an attribute of the run{hint}")


def _check_operator(kind: str, name: str, operator: str, sign: Token) -> None:
    if _is_number(kind, name):
        if operator in ("like", "in"):
            raise _unexpected(sign, f"one of = != < <= > >= for the number {name!r}")
    elif operator in ("<", "<=", ">", ">="):
        raise _unexpected(sign, f"one of = != like in, because {name!r} is a text")


def _number(token: Token, name: str) -> float:
    if token.kind == "text" and name.endswith("_at"):
        try:
            time = datetime.fromisoformat(token.text[1:-1])
        except ValueError as error:
            raise _unexpected(token, "a time such as '2026-01-31T12:00:00Z' or seconds since 1970") from error
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    if token.kind != "number":
        raise _unexpected(token, f"a number to hold {name!r} against")
    return float(token.text)


def _is_number(kind: str, name: str) -> bool:
    return kind == "metric" or (kind == "attribute" and name in NUMBERS)


def _unexpected(token: Token, wanted: str, field: str = "filter") -> InvalidError:
    found = f"{token.text!r}" if token.text else "the end"
    return InvalidError(f"{field}, position {token.position}: expected {wanted}, found {found}", field=field)
