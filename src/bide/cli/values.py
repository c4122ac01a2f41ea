"""What is typed on a command line as a JSON value: by the type that is wanted, where it is known."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, cast

import click


def read_value(text: str | None, schema: dict[str, Any], *, as_json: bool) -> Any:
    """The value that was typed. `@file` and `-` (stdin) stand for what is in there.

    Where a string is wanted, the text itself is one, so that 0042 keeps its zeros. Elsewhere it is JSON if it can
    be, and else a string. With `as_json` it must be JSON. Raises `click.UsageError`.
    """
    import msgspec

    if text is None:
        return None
    text = _content(text)
    if not as_json and _wants_string(schema) and not _is_quoted(text):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        if as_json:
            raise click.UsageError(f"This is no JSON: {error}.") from error
        return text


def _content(text: str) -> str:
    if text == "-":
        return sys.stdin.read().strip()
    if text.startswith("@"):
        try:
            return Path(text[1:]).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(f"{text[1:]} cannot be read: {error}") from error
    return text


def _wants_string(schema: dict[str, Any]) -> bool:
    kinds = schema.get("type")
    if kinds == "string" or (isinstance(kinds, list) and "string" in kinds):
        return True
    choices = cast("list[dict[str, Any]]", schema.get("anyOf", []))
    others = [choice for choice in choices if choice.get("type") != "null"]
    return len(others) == 1 and _wants_string(others[0])


def _is_quoted(text: str) -> bool:
    return len(text) > 1 and text.startswith('"') and text.endswith('"')


def wanted(schema: dict[str, Any]) -> str:
    """A JSON Schema in words: `boolean`, `an object with who (string) and euros (number)`."""
    return _in_words(schema, schema.get("$defs", {}))


def _in_words(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return _in_words(definitions.get(reference.rpartition("/")[2], {}), definitions)
    if "enum" in schema:
        return " or ".join(json.dumps(choice) for choice in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_in_words(choice, definitions) for choice in schema["anyOf"]))
    required = schema.get("required", ())
    if schema.get("type") == "object" and schema.get("properties"):
        members = [
            f"{name} ({_in_words(each, definitions)}{'' if name in required else ', may be left out'})"
            for name, each in schema["properties"].items()
        ]
        return f"an object with {', '.join(members)}"
    if schema.get("type") == "array":
        return f"an array of {_in_words(schema.get('items', {}), definitions)}"
    return str(schema.get("type", "anything"))
