"""Configurations as YAML files: reading with overrides, errors that name the nearest key, writing."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from asr.config.tree import Config
from asr.errors import ConfigError
from asr.files import replacing


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a YAML file and apply `section.key=value` overrides.

    Raises:
        ConfigError: the file is missing or not YAML, a key is unknown (the nearest is named), a value is impossible.
    """
    path = Path(path)
    try:
        tree = read_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2020-13-45
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    tree = {} if tree is None else tree
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected sections such as `model:`, found {type(tree).__name__}")
    for override in overrides:
        _apply(tree, override)
    return parse_config(tree, str(path))


class _Loader(yaml.SafeLoader):
    """A section that stands twice would take the place of the first, and nobody would know."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(text: str) -> Any:
    """`yaml.safe_load`, which refuses (`yaml.YAMLError`) a key that stands twice."""
    return yaml.load(text, _Loader)


def parse_config(tree: dict[str, Any], where: str = "configuration") -> Config:
    """Check a nested dictionary; `where` opens the error message.

    Raises:
        ConfigError: lists every unknown key and impossible value.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        problems = [_explain(problem) for problem in error.errors()]
        raise ConfigError(f"{where}: " + "; ".join(problems)) from None


def save_config(config: Config, path: Path) -> None:
    """Write the whole tree, defaults included, as YAML, atomically."""
    with replacing(path) as partial:
        partial.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), encoding="utf-8")


def config_keys(section: type[BaseModel] = Config, prefix: str = "") -> list[str]:
    """Every dotted key, such as `model.subsampling.factor`."""
    keys: list[str] = []
    for name, child in ((name, _section_of(field.annotation)) for name, field in section.model_fields.items()):
        keys += config_keys(child, f"{prefix}{name}.") if child else [prefix + name]
    return keys


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The section class inside `annotation` (which may be `Section | None`), if there is one."""
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise ConfigError(f"--set {override}: expected section.key=value, such as training.epochs=30")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        raise ConfigError(f"--set {override}: {text!r} is not a YAML value") from None
    *parents, leaf = key.split(".")
    section: Any = Config
    for name in (*parents, leaf):
        if section is None or name not in section.model_fields:
            raise ConfigError(f"--set {override}: {_unknown(key)}")
        section = _section_of(section.model_fields[name].annotation)
    node = tree
    for name in parents:
        child = node.setdefault(name, {})
        if child is None:  # a section switched off in the file, and switched on again by this override
            child = node[name] = {}
        if not isinstance(child, dict):
            raise ConfigError(f"--set {override}: `{name}` is {child!r} in the file, not a section")
        node = child
    node[leaf] = value


def _explain(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return _unknown(key)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{key}: {message}" if key else message  # no key where two sections do not agree
    return f"{key} = {problem['input']!r}: {message[0].lower()}{message[1:]}"


def _unknown(key: str) -> str:
    ours = key.split(".")
    known = [name.split(".") for name in [*_section_keys(), *config_keys()]]
    known = [theirs for theirs in known if theirs != ours[: len(theirs)]]  # a section is no remedy for a key in it
    often = Counter(theirs[-1] for theirs in known)

    def likeness(theirs: list[str]) -> float:
        misspelt = min(map(_alike, ours, theirs)) if len(ours) == len(theirs) else 0.0
        # The right name in the wrong section is as common a slip; but `probability` is in a dozen of them.
        misplaced = _alike(ours[-1], theirs[-1]) if often[theirs[-1]] == 1 else 0.0
        return max(misspelt, misplaced if misplaced == 1 or len(ours) == 1 else 0.0)

    near = max(known, key=likeness)
    if likeness(near) >= 0.6:
        return f"unknown key {key!r}, did you mean {'.'.join(near)!r}?"
    return f"unknown key {key!r}; {_beside(ours)}"


def _alike(name: str, known: str) -> float:
    """From 0 to 1; people also write `lr` for `learning_rate`, `reverb` for `reverberation`, `beam_size` for `beam`."""
    words = known.split("_")
    if len(words) > 1 and name == "".join(word[:1] for word in words):
        return 1.0
    ratio = difflib.SequenceMatcher(None, name, known).ratio()
    shorter, longer = sorted((name, known), key=len)
    return max(ratio, 0.8) if len(shorter) >= 4 and longer.startswith(shorter) else ratio


def _beside(names: Sequence[str]) -> str:
    """What there is where the first unknown one of `names` stands."""
    section: type[BaseModel] = Config
    for depth, name in enumerate(names):
        if name not in section.model_fields:
            where = ".".join(names[:depth])
            return f"the {f'keys of {where}' if where else 'sections'} are {', '.join(section.model_fields)}"
        child = _section_of(section.model_fields[name].annotation)
        if child is None:
            break
        section = child
    return f"{'.'.join(names[: depth + 1])} is a value, not a section"


def _section_keys(section: type[BaseModel] = Config, prefix: str = "") -> list[str]:
    """Every dotted section, such as `model.subsampling`."""
    keys: list[str] = []
    for name, child in ((name, _section_of(field.annotation)) for name, field in section.model_fields.items()):
        if child:
            keys += [prefix + name, *_section_keys(child, f"{prefix}{name}.")]
    return keys
