"""The last word to a device that its town took back: what is shown, and that its node takes it in."""

from __future__ import annotations

from random import Random

from protocol.ids import DeviceId, Op
from protocol.limits import EVIDENCE_BYTES_MAX
from sync.authority import Authority, resolve
from sync.events import Drop, Heard, LinkId, LinkUp, TakeIn
from sync.farewell import farewell, proof_of
from sync.hub import Hub
from tests.sync.river import BEE, OWN
from tests.sync.world import device_of

LINK = LinkId(1)
DEVICE = DeviceId(OWN.device(2).public)
CERTIFICATE = OWN.certificate(2)
ENDED = OWN.certificate(2, op=Op.DELETE, stamp=5)


def test_it_shows_what_ends_the_right_of_this_device_and_nothing_else() -> None:
    others = [OWN.revoke(3), OWN.certificate(1), OWN.certificate(3), OWN.keep(CERTIFICATE)]
    shown = [OWN.rotate(), OWN.revoke(2), ENDED]
    assert proof_of([*others, *shown], DEVICE, CERTIFICATE.doc) == [each.raw for each in shown]
    known = [CERTIFICATE, OWN.revoke(2)]
    assert not resolve(OWN.id, known).is_certified(OWN.id, DEVICE)


def test_it_is_no_longer_than_other_evidence() -> None:
    many = [OWN.revoke(2, stamp=number) for number in range(EVIDENCE_BYTES_MAX // 200)]
    proof = proof_of(many, DEVICE, CERTIFICATE.doc)
    assert 0 < sum(map(len, proof)) <= EVIDENCE_BYTES_MAX < sum(len(each.raw) for each in many)
    assert farewell(proof)


def test_who_hears_it_takes_it_in_like_any_other_record() -> None:
    """It comes in place of the first HELLO, on a link to a town that is an approved peer."""
    hub = Hub(OWN.id, DEVICE, Authority(OWN.id), {}, Random(1))
    hub.handle(LinkUp(LINK, BEE.id, device_of(BEE), b"h" * 32, True), 0)
    proof = [OWN.revoke(2).raw, ENDED.raw]
    effects = [effect for frame in farewell(proof) for effect in hub.handle(Heard(LINK, frame), 0)]
    assert [effect.records for effect in effects if isinstance(effect, TakeIn)] == [tuple(proof)]
    assert not [effect for effect in effects if isinstance(effect, Drop)]


def test_who_has_nothing_to_show_says_nothing() -> None:
    assert farewell([]) == []
