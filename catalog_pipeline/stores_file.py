"""Reading `stores.yaml`: from bytes on disk to validated stores, or to every error by line and key.

What a store may say is `stores.py`; here is how the file is read, how `defaults:` reach each store
and how errors find their line. The file is hostile until proven otherwise: YAML's own machinery
that runs code (tags) or multiplies text (aliases) is refused before anything is built.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import cast

import yaml
from pydantic import BaseModel, ValidationError

from catalog_pipeline.errors import ConfigurationError
from catalog_pipeline.sentences import sentence, shown, unknown
from catalog_pipeline.stores import (
    MERGED_KEYS,
    SECRET_KEYS,
    Pause,
    QualityThresholds,
    Rules,
    SecretSource,
    StoreConfig,
    not_served,
)

# Thousands of stores fit; nothing that would make reading it slow does.
MAX_BYTES = 1_000_000
MAX_DEPTH = 10
_LARGEST_INTEGER = 2**63

_Location = tuple[str | int, ...]
_MODELS: Mapping[str, type[BaseModel]] = {
    "consumer_key": SecretSource,
    "consumer_secret": SecretSource,
    "include": Rules,
    "exclude": Rules,
    "quality": QualityThresholds,
    "paused": Pause,
}
# What a store cannot do without, so that `defaults:` can be validated when no store uses them.
_ANY_STORE = {
    "id": "defaults",
    "url": "https://shop.example.com",
    "consumer_key": {"env": "KEY"},
    "consumer_secret": {"env": "SECRET"},
}


@dataclass(frozen=True)
class StoresFile:
    """An accepted `stores.yaml`.

    Attributes:
        path: the file as it was named.
        digest: SHA-256 of its bytes in hexadecimal; equal digests mean nothing changed.
        stores: the stores by id, in the order of the file.
        quality: the thresholds of stores that set none of their own.
    """

    path: Path
    digest: str
    stores: Mapping[str, StoreConfig]
    quality: QualityThresholds


def load_stores(path: Path) -> StoresFile:
    """Read and validate the file as a whole.

    Relative paths inside it are relative to its folder.

    Raises:
        ConfigurationError: the file cannot be read or anything in it is wrong; the message has a
            line `FILE:LINE: KEY: what is wrong` for every error.
    """
    return parse_stores(path, read_stores_file(path))


def parse_stores(path: Path, content: bytes) -> StoresFile:
    """Validate the content of the file at this path, whether or not it still stands there.

    Raises:
        ConfigurationError: as `load_stores`.
    """
    findings = _Findings(path)
    tree = _parse(content, findings)
    stores: dict[str, StoreConfig] = {}
    usual: StoreConfig | None = None
    if isinstance(tree, dict):
        defaults, usual = _defaults(tree.get("defaults"), findings)
        stores = _stores(tree, defaults, findings)
    findings.raise_if_any()
    assert usual is not None
    digest = hashlib.sha256(content).hexdigest()
    return StoresFile(path, digest, MappingProxyType(stores), usual.quality)


class _Findings:
    """Everything wrong with one file, and where in it each key stands."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[_Location, int] = {}
        self._found: dict[tuple[int, str], None] = {}

    def add(self, location: _Location, what: str, line: int | None = None) -> None:
        """Note an error; the same one at the same place counts once."""
        where = line if line is not None else self.line(location)
        named = f"{_name(location)}: {what}" if location else what
        self._found[(where, named)] = None

    def line(self, location: _Location) -> int:
        """The line of a key, or of the nearest thing around it that the file holds."""
        for end in range(len(location), 0, -1):
            if location[:end] in self.lines:
                return self.lines[location[:end]]
        return 1

    def raise_if_any(self) -> None:
        if self._found:
            ordered = sorted(self._found, key=lambda found: found[0])
            raise ConfigurationError("\n".join(f"{self.path}:{n}: {text}" for n, text in ordered))


def read_stores_file(path: Path) -> bytes:
    """The file's bytes.

    Raises:
        ConfigurationError: it is absent, unreadable or too large.
    """
    try:
        with path.open("rb") as handle:
            content = handle.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path}: there is no such file; copy stores.example.yaml there, or name another in "
            "CATALOG_STORES_FILE"
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigurationError(f"{path}: cannot be read: {reason}") from error
    if len(content) > MAX_BYTES:
        raise ConfigurationError(f"{path}: is larger than {MAX_BYTES:,} bytes")
    return content


# --- from bytes to plain values ---------------------------------------------------------------


def _parse(content: bytes, findings: _Findings) -> object:
    """The file's plain values, or None after noting why there are none."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        findings.add((), "is not UTF-8 text", line)
        return None
    try:
        if not _is_plain(text, findings):
            return None
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        findings.add((), *_syntax_error(text, error))
        return None
    if node is None:
        findings.add((), "is empty; it needs a list of stores under stores:", 1)
        return None
    if not isinstance(node, yaml.MappingNode):
        findings.add((), "must begin with stores:, not with a list or a single value", 1)
        return None
    return _plain(node, (), findings)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The safe loader, leaving dates and `<<` as the text that they are."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the attribute that PyYAML reads
        first: [
            (tag, pattern)
            for tag, pattern in resolvers
            if tag.rpartition(":")[2] in {"bool", "float", "int", "null"}
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _is_plain(text: str, findings: _Findings) -> bool:
    """Whether the file keeps to plain YAML; walks its events, so nothing is built or expanded."""
    depth = documents = 0
    plain = True
    for event in yaml.parse(text, Loader=_Loader):
        line = _line(event)
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents == 2:
                findings.add((), "a second document begins here; the file must hold one", line)
                return False
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            findings.add((), "anchors and aliases (& and *) are not read; use defaults:", line)
            plain = False
        if getattr(event, "tag", None) is not None:
            findings.add((), "tags (!) are not read; write the plain value", line)
            plain = False
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                findings.add((), f"is nested more than {MAX_DEPTH} levels deep", line)
                return False
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return plain


def _syntax_error(text: str, error: yaml.YAMLError) -> tuple[str, int]:
    for number, line in enumerate(text.splitlines(), start=1):
        if "\t" in line[: len(line) - len(line.lstrip())]:
            return "is indented with a tab; YAML wants spaces", number
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line_number = mark.line + 1 if mark is not None else 1
    problem = getattr(error, "problem", None) or getattr(error, "reason", None)
    return f"is not YAML: {problem or 'it cannot be read'}", line_number


def _line(part: yaml.Event | yaml.Node) -> int:
    mark = part.start_mark
    return 1 if mark is None else mark.line + 1


def _plain(node: yaml.Node, location: _Location, findings: _Findings) -> object:
    """A node as dicts with text keys, tuples and scalars; notes the line of every key."""
    findings.lines.setdefault(location, _line(node))
    if isinstance(node, yaml.SequenceNode):
        return tuple(
            _plain(item, (*location, index), findings) for index, item in enumerate(node.value)
        )
    if isinstance(node, yaml.MappingNode):
        return dict(_pairs(node, location, findings))
    return _scalar(cast("yaml.ScalarNode", node))


def _pairs(
    node: yaml.MappingNode, location: _Location, findings: _Findings
) -> Iterator[tuple[str, object]]:
    for key, value in node.value:
        line = _line(key)
        if not isinstance(key, yaml.ScalarNode):
            findings.add(location, "a key must be plain text", line)
            continue
        inner = (*location, str(key.value))
        if inner in findings.lines:
            findings.add(inner, f"is written twice (first in line {findings.lines[inner]})", line)
            continue
        findings.lines[inner] = line
        yield str(key.value), _plain(value, inner, findings)


def _scalar(node: yaml.ScalarNode) -> object:
    try:
        value: object = yaml.constructor.SafeConstructor().construct_object(node)
    except (ValueError, OverflowError, yaml.YAMLError):
        return str(node.value)
    # Left as text, a number that is out of all bounds is refused where a number is wanted.
    too_large = isinstance(value, int) and abs(value) >= _LARGEST_INTEGER
    return str(node.value) if too_large else value


# --- from plain values to stores --------------------------------------------------------------


def _stores(
    tree: dict[str, object], defaults: dict[str, object], findings: _Findings
) -> dict[str, StoreConfig]:
    for key in tree.keys() - {"defaults", "stores"}:
        findings.add((key,), unknown("a key of this file", key, ("defaults", "stores")))
    listed = tree.get("stores")
    if not isinstance(listed, tuple) or not listed:
        problem = "is missing" if "stores" not in tree else "must be a list with at least one store"
        findings.add(("stores",), problem)
        return {}
    stores: dict[str, StoreConfig] = {}
    first_at: dict[str, int] = {}
    for index, entry in enumerate(listed):
        location = ("stores", index)
        if not isinstance(entry, dict):
            findings.add(location, "must be a mapping that begins with id:")
            continue
        store_id = entry.get("id")
        if isinstance(store_id, str) and first_at.setdefault(store_id, index) != index:
            findings.add((*location, "id"), f"is the id of stores[{first_at[store_id]}] already")
        store = _validated(_served(entry, location, findings), location, defaults, findings)
        if store is not None:
            stores[store.id] = store
    return stores


def _defaults(found: object, findings: _Findings) -> tuple[dict[str, object], StoreConfig | None]:
    """What `defaults:` says, and the store that they alone make."""
    if found is not None and not isinstance(found, dict):
        findings.add(("defaults",), "must be a mapping, such as {statuses: [publish]}")
        return {}, None
    defaults = _served(found or {}, ("defaults",), findings)
    if defaults.pop("id", None) is not None:
        findings.add(("defaults", "id"), "belongs to one store; it cannot be a default")
    return defaults, _validated(_ANY_STORE | defaults, ("defaults",), {}, findings)


def _served(
    entry: dict[str, object], location: _Location, findings: _Findings
) -> dict[str, object]:
    """The entry without what this version does not serve, each of it noted."""
    served = {}
    for key, value in entry.items():
        reason = not_served(key, value)
        if reason is None:
            served[key] = value
        else:
            findings.add((*location, key), reason)
    return served


def _validated(
    entry: dict[str, object],
    location: _Location,
    defaults: dict[str, object],
    findings: _Findings,
) -> StoreConfig | None:
    try:
        return StoreConfig.model_validate(
            _merged(defaults, entry), strict=True, context={"folder": findings.path.parent}
        )
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            inner = detail["loc"]
            if len(inner) == 3 and inner[2] == "[key]":
                # Pydantic's mark for the name of a label or a header, after that name.
                inner = inner[:2]
            known = _known_keys(inner[:-1])
            what = (
                unknown("a key", str(inner[-1]), known)
                if detail["type"] == "extra_forbidden"
                else sentence(detail)
            )
            findings.add(_origin(inner, entry, location, defaults), what)
    return None


def _merged(defaults: dict[str, object], entry: dict[str, object]) -> dict[str, object]:
    """A store with the defaults under it; mappings such as `quality` are merged key by key."""
    merged = defaults | entry
    for key in MERGED_KEYS & defaults.keys() & entry.keys():
        below, above = defaults[key], entry[key]
        if isinstance(below, dict) and isinstance(above, dict):
            merged[key] = below | above
    return merged


def _origin(
    inner: _Location,
    entry: dict[str, object],
    location: _Location,
    defaults: dict[str, object],
) -> _Location:
    """Where in the file a value of a merged store was written."""
    if not inner:
        return location
    key = str(inner[0])
    own, default = entry.get(key), defaults.get(key)
    if key in MERGED_KEYS and isinstance(own, dict) and isinstance(default, dict):
        by_default = len(inner) > 1 and inner[1] in default.keys() - own.keys()
    else:
        by_default = key in defaults.keys() - entry.keys()
    return ("defaults", *inner) if by_default else (*location, *inner)


def _known_keys(around: _Location) -> list[str]:
    model = _MODELS.get(str(around[0]), StoreConfig) if around else StoreConfig
    return list(model.model_fields)


def _name(location: _Location) -> str:
    """`stores[1].quality.min_side`; what stands below a secret is not repeated."""
    named = ""
    secret = False
    for part in location:
        if isinstance(part, int):
            named += f"[{part}]"
            continue
        text = "…" if secret and part not in SecretSource.model_fields else shown(part)
        named += f".{text}" if named else text
        secret = secret or part in SECRET_KEYS
    return named
