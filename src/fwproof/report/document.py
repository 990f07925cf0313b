"""results.json: how it is written, what its JSON Schema is, and how it is read back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from fwproof.errors import Fault, InputError
from fwproof.report.clean import encodable, one_line
from fwproof.results import SCHEMA_ID, CheckResult, Results
from fwproof.run_record import Run

SCHEMA_FILE = Path(__file__).with_name("results.schema.json")
"""The published schema of results-1, as :func:`schema` generates it; a copy goes into every run's folder."""

_META = "https://json-schema.org/draft/2020-12/schema"
_FAULTS_SHOWN = 10
_NUMBERS = "planned, run, and one for each verdict"


class _Counts(BaseModel):
    planned: int = Field(ge=0)
    run: int = Field(ge=0)
    pass_: int = Field(ge=0, alias="pass")
    fail: int = Field(ge=0)
    waived: int = Field(ge=0)
    error: int = Field(ge=0)
    inconclusive: int = Field(ge=0)
    not_applicable: int = Field(ge=0)


class _Document(BaseModel):
    schema_: Literal["https://fwproof.invalid/schema/results-1"] = Field(alias="schema")
    run: Run
    counts: _Counts = Field(description=f"How many checks: {_NUMBERS}.")
    checks: tuple[CheckResult, ...]


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of results.json; within results-1, keys may be added and none removed."""
    document = _Document.model_json_schema(by_alias=True)
    return {"$schema": _META, "$id": SCHEMA_ID, **document, "title": "fwproof results, version 1"}


def render_schema() -> bytes:
    """Return the schema as the file that is published."""
    return (json.dumps(schema(), indent=2, sort_keys=True) + "\n").encode()


def render_json(results: Results) -> bytes:
    """Return results.json in UTF-8: sorted keys, one form for one run, undecodable bytes as ``\\xff`` escapes."""
    document = all_encodable(results.as_json())
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=True, allow_nan=False) + "\n").encode()


def all_encodable(value: Any, text: Callable[[str], str] = encodable) -> Any:
    """Return the values of a document with each text as ``text`` makes it: lone surrogates as escapes."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, dict):
        return {text(str(key)): all_encodable(item, text) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [all_encodable(item, text) for item in value]
    return value


def in_words(results: Results, text: Callable[[str], str]) -> Results:
    """Return results with each text as ``text`` makes it, such as without secrets."""
    document = _Document.model_validate(all_encodable(results.as_json(), lambda each: text(encodable(each))))
    return Results(run=document.run, checks=document.checks)


def read_results(path: Path) -> Results:
    """Read results.json, or the results.json in a run's folder.

    Raises InputError, with every fault found, when the file cannot be read, is not results-1, or its counts are
    not those of its checks.
    """
    if path.is_dir():
        path /= "results.json"
    name = one_line(str(path))
    try:
        raw = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise InputError([Fault(name, error.lineno, error.colno, f"not JSON: {error.msg}")]) from error
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text, or nested too deeply"
        advice = "; expected a run: `fwproof audit` makes one" if isinstance(error, FileNotFoundError) else ""
        raise InputError([Fault(name, 0, 0, f"cannot be read: {reason}{advice}")]) from error
    try:
        document = _Document.model_validate(raw)
    except ValidationError as error:
        raise InputError(_faults(name, error)) from error
    results = Results(run=document.run, checks=document.checks)
    stated = document.counts.model_dump(by_alias=True)
    wrong = [
        f"{key} is {stated[key]}, counted {number}" for key, number in results.counts().items() if stated[key] != number
    ]
    if wrong:
        message = f"the counts are not those of the checks ({'; '.join(wrong)}): the file was changed or cut"
        raise InputError([Fault(name, 0, 0, message)])
    return results


def _faults(name: str, error: ValidationError) -> list[Fault]:
    found = error.errors(include_url=False, include_input=False)
    faults = [
        Fault(name, 0, 0, one_line(f"{'.'.join(str(part) for part in fault['loc']) or 'document'}: {fault['msg']}"))
        for fault in found[:_FAULTS_SHOWN]
    ]
    if len(found) > _FAULTS_SHOWN:
        faults.append(Fault(name, 0, 0, f"… and {len(found) - _FAULTS_SHOWN:,} more faults of this kind"))
    return faults
