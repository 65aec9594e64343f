"""Two readings of the protocol agree: the program's, and one that was written from the text alone."""

import ast
import base64
import json
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from protocol.errors import ProtocolError
from protocol.identity import TownKey, new_paper, succeeds
from protocol.ids import DocId, FederationId, Op, RecordId, TownId, home_id
from protocol.ids import address as program_address
from protocol.record import check_signature, fields_of, open_record
from sync.authority import resolve
from sync.merge import Fact, prune

HERE = Path(__file__).resolve().parent
SCRIPT = HERE / "verify_records.py"
PARTS = sorted(HERE.glob("second_*.py"))

if TYPE_CHECKING:
    from tests.independent.second_curve import generation
    from tests.independent.second_places import Authority, stands
    from tests.independent.second_records import Record, address, check_raw
    from tests.independent.second_values import Refused, encode
    from tests.independent.verify_records import sign
else:
    sys.path.insert(0, str(HERE))
    from second_curve import generation
    from second_places import Authority, stands
    from second_records import Record, address, check_raw
    from second_values import Refused, encode
    from verify_records import sign

VECTORS: dict[str, Any] = json.loads((HERE.parent / "vectors" / "records.json").read_text("utf-8"))
RECORDS = VECTORS["records"]


def script(*arguments: object, said: str = "") -> subprocess.CompletedProcess[str]:
    """Run the script as a stranger would: isolated, from a directory that is not the project's."""
    command = [sys.executable, "-I", str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, cwd="/", input=said, capture_output=True, text=True, timeout=250)


def line(vector: dict[str, str]) -> dict[str, Any]:
    """A vector as a line of `export`."""
    parts = {
        name: base64.b64encode(bytes.fromhex(vector[name])).decode() or None
        for name in ("header", "signature", "body")
    }
    return {**parts, "id": vector["id"], "doc": vector["doc"], "address": vector["address"]}


LINES = "\n".join(json.dumps(line(vector)) for vector in RECORDS.values())


@cache
def mutated(*seed: str) -> list[dict[str, str]]:
    """What the script makes of the vectors."""
    done = script("mutate", "-", *seed, said=LINES)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(text) for text in done.stdout.splitlines()]


def opened(raw: bytes) -> str:
    """What the program says of a raw record."""
    try:
        check_signature(open_record(raw))
    except ProtocolError as error:
        return error.code
    return "good"


@pytest.mark.parametrize("path", [SCRIPT, *PARTS], ids=lambda path: path.name)
def test_the_second_reading_imports_nothing_of_the_project(path: Path) -> None:
    known = {*sys.stdlib_module_names, "nacl", "msgpack", *(part.stem for part in PARTS)}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            assert {alias.name.partition(".")[0] for alias in node.names} <= known
        if isinstance(node, ast.ImportFrom):
            name = str(node.module)
            assert name.partition(".")[0] in known or name.startswith("tests.independent.second_")


@pytest.mark.parametrize("name", RECORDS)
def test_every_vector_verifies(name: str) -> None:
    vector = RECORDS[name]
    record = check_raw(bytes.fromhex(vector["record"]))
    assert (record.id.hex(), record.doc.hex()) == (vector["id"], vector["doc"])
    assert address(record.doc) == vector["address"]


def test_the_script_verifies_lines_and_sums_them_up() -> None:
    done = script("verify", "-", said=LINES)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ("7 lines, 0 bad, 3 put, 1 delete, 3 entry, 4 documents, 1 towns, 2 superseded\n")


@pytest.mark.parametrize("name", ["header", "signature", "body", "id", "doc", "address"])
def test_the_script_names_the_line_in_which_anything_is_false(name: str) -> None:
    false = line(RECORDS["put"]) | {name: line(RECORDS["entry"])[name]}
    done = script("verify", "-", said=f"{LINES}\n{json.dumps(false)}\n")
    assert done.returncode == 1
    first, summary = done.stdout.splitlines()
    assert first.startswith("line 8: ")
    assert summary.startswith("8 lines, 1 bad, ")


def test_what_the_script_makes_the_program_opens() -> None:
    done = script(
        *("make", "--device-seed", VECTORS["device_seed"], "--town", VECTORS["town"]),
        *("--federation", VECTORS["federation"], "--now", 1_790_000_000),
    )
    made = [json.loads(text) for text in done.stdout.splitlines()]
    raws = [encode([base64.b64decode(each[n] or "") or None for n in PART_NAMES]) for each in made]
    assert [opened(raw) for raw in raws] == ["good"] * 3
    assert [open_record(raw).header.op for raw in raws] == [Op.PUT, Op.DELETE, Op.ENTRY]
    assert [open_record(raw).id.hex() for raw in raws] == [each["id"] for each in made]


PART_NAMES = ("header", "signature", "body")


@pytest.mark.parametrize("seed", [(), ("--device-seed", VECTORS["device_seed"])], ids=["stranger", "signer"])
def test_both_refuse_every_mutation_and_keep_what_is_only_at_the_edge(
    seed: tuple[str, ...],
) -> None:
    counts = Counter[str]()
    for told in mutated(*seed):
        raw = base64.b64decode(told["raw"])
        refused = told["says"] != "good"
        name = f"{told['of']}: {told['name']}: {told['says']}"
        assert refused == (told["expected"] != "good"), name
        assert (opened(raw) != "good") == refused, name
        counts[told["of"] + (" refused" if refused else " kept")] += 1
        if not refused:
            assert (fields_of(open_record(raw)) or {}) == check_raw(raw).fields, name
    assert min(counts[f"{op} refused"] for op in ("put", "delete", "entry")) > 2_000
    assert not seed or min(counts[f"{op} kept"] for op in ("put", "entry")) > 60


def test_only_the_encoding_of_signed_headers_can_be_what_is_refused() -> None:
    told = mutated("--device-seed", VECTORS["device_seed"])
    reencoded = [each for each in told if each["name"].startswith("header") and ": " not in each["name"]]
    assert len(reencoded) > 100
    assert {each["says"].partition(":")[0] for each in reencoded} == {"encoding"}


@given(st.binary(min_size=16, max_size=16))
def test_both_give_a_document_the_same_address(doc: bytes) -> None:
    assert address(doc) == program_address(DocId(doc)).replace("-", "")


class TownSigner:
    """A town key with the face of a PyNaCl key."""

    def __init__(self, town: int, generation: int) -> None:
        key = TownKey.next_of(new_paper(bytes([town]) * 16), generation)
        self.verify_key, self.succession = key.public, key.succession
        self.sign = lambda message: SimpleNamespace(signature=key.sign(message))


CHAINS = [[TownSigner(town, generation) for generation in range(4)] for town in range(1, 4)]
TOWNS = [chain[0] for chain in CHAINS]
DEVICES = [SigningKey(bytes([n]) * 32) for n in range(11, 14)]
NAMES = [bytes(key.verify_key) for key in TOWNS]


def record(
    kind: str,
    town: int,
    device: int | None,
    lane: int,
    op: int,
    stamp: int,
    nonce: int,
    fields: Any,
    about: Any,
    signer: Any = None,
    cites: Any = (),
) -> Record:
    """A record of a town, signed by one of the devices, by the town's key or by another signer."""
    key: Any = signer or (TOWNS[town] if device is None else DEVICES[device])
    header = [1, NAMES[town], bytes(key.verify_key), [b"test", 0], stamp, kind, lane, about, 100, 200]
    body = None if op == 1 else encode([bytes(16), fields])
    return sign(key, [*header, bytes([nonce]) * 8, op, [*cites]], body)


LANES, OPS, THREE = st.integers(0, 2), st.sampled_from([0, 0, 0, 1, 2]), st.integers(0, 2)
KINDS = st.sampled_from(
    [
        *["town.device", "town.device", "federation.admit", "federation.join", "offer", "charter"],
        *["town.revoke", "town.keep", "town.rotate", "town.profile"],
    ]
)
ACTS = st.tuples(KINDS, THREE, st.sampled_from([None, 0, 1, 2]), LANES, OPS, st.integers(0, 9), THREE, THREE)
CHARTERS = st.tuples(THREE, st.sampled_from([None, 0, 1]), st.sets(THREE), st.sets(THREE), LANES)


def world(charters: list[Any], acts: list[Any], listed: list[set[int]]) -> list[Record]:
    """Records of three towns about the federations of these charters, good, bad and useless ones."""
    records = [
        record("charter", town, device, lane, 2, 1, place, charter_fields(stewards, members), [])
        for place, (town, device, stewards, members, lane) in enumerate(charters)
    ]
    names = [each.id[:16] for each in records] + [bytes(16)]
    for (kind, town, device, lane, op, stamp, nonce, about), chosen in zip(acts, listed, strict=False):
        federations = sorted({names[each % len(names)] for each in chosen})
        if kind == "town.device":
            fields: Any = {"device": bytes(DEVICES[about].verify_key)}
            records.append(record(kind, town, None, lane, op, stamp, nonce, fields, []))
        elif kind.startswith("town."):
            later = CHAINS[town][1 + about]
            signer = (
                later if kind == "town.rotate" else [CHAINS[town][0], later, CHAINS[town][1]][device or 0]
            )
            fields = {"device": bytes(DEVICES[about].verify_key), "succession": [*later.succession]}
            fields["records"] = [each.id for each in records if about or each.nonce[0] % 2]
            op = 2 if lane else op
            records.append(record(kind, town, None, 0, op, stamp, nonce, fields, [], signer))
        else:
            fields = charter_fields({about}, set()) if kind == "charter" else {"town": NAMES[about]}
            audience = [] if kind == "charter" else federations
            records.append(record(kind, town, device, lane, op, stamp, nonce, fields, audience))
    return records


def charter_fields(stewards: set[int], members: set[int]) -> dict[str, Any]:
    """The fields of a charter of these towns."""
    return {"name": "F", "stewards": [NAMES[n] for n in stewards], "members": [NAMES[n] for n in members]}


@settings(max_examples=150, deadline=None)
@given(
    st.lists(CHARTERS, max_size=2),
    st.lists(ACTS, max_size=14),
    st.lists(st.sets(st.integers(0, 2), max_size=2), min_size=14, max_size=14),
)
def test_both_place_every_record_alike(charters: list[Any], acts: list[Any], listed: list[set[int]]) -> None:
    records = world(charters, acts, listed)
    theirs = [open_record(encode([each.header, each.signature, each.body])) for each in records]
    for own in NAMES[:2]:
        ours, program = Authority(records, own), resolve(TownId(own), theirs)
        assert ours.adopted == set(program.federations)
        for mine, other in zip(records, theirs, strict=True):
            placement = program.place(other.header, other.id)
            lanes = {
                ("home" if name == home_id(TownId(own)) else name.hex(), int(lane))
                for name, lane in placement.lanes
            }
            try:
                assert ours.places(mine) == lanes
            except Refused as refused:
                assert (refused.code, set()) == (placement.cause, lanes)


SOME = st.sampled_from([{0}, {0, 1}, {0, 1, 2}, {1, 2}])
"""Stewards."""


@st.composite
def governed(draw: Any) -> list[Record]:
    """A federation of three towns with whatever they may sign in it, and acts that rest on any of it."""
    stewards = draw(SOME)
    charter = record("charter", 0, None, 0, 2, 1, 0, charter_fields(stewards, {0, 1, 2}) | rules(draw), [])
    records, steps, about = [charter], [charter], [charter.id[:16]]
    voices: list[Record] = []
    some_id = st.sampled_from
    later = [st.none(), *(st.sampled_from([None, None, chain[1]]) for chain in CHAINS[1:])]
    for nonce in range(draw(st.integers(2, 8))):
        town, device = draw(THREE), draw(st.sampled_from([None] * 11 + [0]))
        shape = (
            town,
            device,
            draw(LANES),
            draw(st.sampled_from([2] * 10 + [0, 1])),
            draw(THREE),
            nonce,
        )
        split = draw(st.lists(some_id(voices), max_size=4)) if voices else []
        fields = charter_fields(draw(SOME), draw(st.sets(THREE))) | rules(draw)
        fields |= {"parent": draw(some_id(steps[-2:])).id, "split": [each.id for each in split]}
        if (turn := draw(st.sampled_from([0, 2, 2] + [1] * 7))) != 1:
            fields["round"] = turn
        steps.append(record("federation.step", *shape, fields, about))
        agreed = {"step": steps[-1].id}
        signs = [
            record(
                "federation.sign", by, None, 0, 2, draw(THREE), nonce, agreed, about, signer=draw(later[by])
            )
            for by in draw(st.sampled_from([set(), {0, 1}, {1, 2}, {0, 1, 2}, {0, 1, 2}]))
        ]
        voices += [steps[-1], *signs]
        records += [steps[-1], *signs]
    for nonce in range(draw(st.integers(0, 6))):
        kind = "federation." + draw(st.sampled_from(["admit", "suspend", "vouch"]))
        shape = (draw(THREE), None, draw(LANES), draw(OPS), draw(THREE), nonce)
        cites = [draw(some_id(steps)).id] if draw(st.integers(0, 4)) else []
        records.append(record(kind, *shape, {"town": NAMES[draw(THREE)]}, about, cites=cites))
    for town in draw(st.sampled_from([set(), set(), {1}, {2}, {1, 2}])):
        key = CHAINS[town][1]
        proof = {"succession": [*key.succession]}
        records.append(record("town.rotate", town, None, 0, 2, 0, 90, proof, [], signer=key))
        stay = draw(st.lists(some_id(voices), max_size=4))
        if stay:
            fields = {"records": [each.id for each in stay]}
            records.append(record("town.keep", town, None, 0, 2, 0, 91, fields, [], signer=key))
    acts = [each for each in records if each.kind[11:] in ("admit", "suspend", "vouch")]
    if acts:
        fields = charter_fields({0, 1}, {2}) | {"parent": charter.id, "decides": [draw(some_id(acts)).id]}
        records.append(record("federation.step", 0, None, 0, 2, 1, 77, fields, about))
        agreed = {"step": records[-1].id}
        records += [record("federation.sign", n, None, 0, 2, 1, 78, agreed, about) for n in (1, 2)]
    return [*records, *(record("offer", n, None, 1, 0, 0, 9, {"title": "x"}, about) for n in range(3))]


def rules(draw: Any) -> dict[str, Any]:
    """Rules that let members vouch, or do not, or say nothing that counts."""
    found: dict[str, Any] = draw(
        st.sampled_from([{}, {"rules": {"vouches": 1}}, {"rules": {"vouches": 2}}, {"rules": [1]}])
    )
    return found


@settings(max_examples=100, deadline=None)
@given(governed())
def test_both_follow_the_same_steps(records: list[Record]) -> None:
    theirs = [open_record(encode([each.header, each.signature, each.body])) for each in records]
    ours, program = Authority(records, NAMES[0]), resolve(TownId(NAMES[0]), theirs)
    assert ours.adopted == set(program.federations)
    for name in ours.adopted:
        federation = program.federations[FederationId(name)]
        assert ours.chains[name].ids == [step.id for step in federation.chain.steps]
        assert ours.chains[name].kept == federation.chain.kept.keys()
        assert ours.members[name] == federation.members
    for mine, other in zip(records, theirs, strict=True):
        placement = program.place(other.header, other.id)
        try:
            home = ("home", mine.lane)
            found = {(name.hex(), int(lane)) for name, lane in placement.lanes}
            assert ours.places(mine) - {home} == found - {(home_id(TownId(NAMES[0])).hex(), mine.lane)}
        except Refused as refused:
            assert (refused.code, frozenset()) == (placement.cause, placement.lanes)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(OPS, st.integers(0, 3), st.integers(0, 5)), max_size=12))
def test_both_let_the_same_records_of_a_document_stand(acts: list[tuple[int, int, int]]) -> None:
    records = [record("offer", 0, 0, 1, op, stamp, 0, {"title": str(salt)}, []) for op, stamp, salt in acts]
    facts = [Fact(RecordId(each.id), each.stamp, Op(each.op)) for each in records]
    assert stands(records) == {fact.id for fact in prune(facts).held}


def test_both_know_which_town_key_follows_which() -> None:
    """Ed25519 in plain integers against libsodium, for good proofs and for bent ones."""
    for chain in CHAINS:
        for place, key in enumerate(chain[1:], 1):
            proof = list(key.succession)
            assert generation(chain[0].verify_key, key.verify_key, proof) == place
            bent = [proof[0], *proof[:-1]] if place % 2 else [bytes(32), *proof[1:]]
            for shown in (bent, proof[1:], [*proof, proof[0]]):
                told = succeeds(chain[0].verify_key, key.verify_key, shown)
                assert told is (generation(chain[0].verify_key, key.verify_key, shown) > 0)
