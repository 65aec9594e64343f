"""The vectors and the tables of the normative text are what the code does."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from protocol.record import check_signature, open_record

ROOT = Path(__file__).parents[2]
VECTORS: dict[str, Any] = json.loads((ROOT / "tests" / "vectors" / "records.json").read_text())


def test_the_vectors_are_made_again_byte_for_byte() -> None:
    spec = importlib.util.spec_from_file_location("make_records", ROOT / "tests/vectors/make_records.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.vectors() == VECTORS


@pytest.mark.parametrize("name", sorted(VECTORS["records"]))
def test_each_vector_opens_to_its_id_and_its_signature_holds(name: str) -> None:
    vector = VECTORS["records"][name]
    record = open_record(bytes.fromhex(vector["record"]))
    check_signature(record)
    assert (record.id.hex(), record.doc.hex()) == (vector["id"], vector["doc"])


def test_the_edit_and_the_delete_are_of_the_document_of_the_put() -> None:
    records = VECTORS["records"]
    assert records["put"]["doc"] == records["edit"]["doc"] == records["delete"]["doc"]
    assert records["entry"]["doc"] == records["revision"]["doc"] != records["put"]["doc"]
    assert records["charter"]["id"].startswith(VECTORS["federation"])


def test_the_tables_of_the_normative_text_are_those_of_the_code() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "docs" / "tables.py"), "--check"], check=False)
    assert done.returncode == 0, "run: python docs/tables.py"
