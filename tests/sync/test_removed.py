"""What a town hears that was put out of a federation: byte for byte what a stranger hears.

Both are peers of the node, name the federation and claim to serve it; neither is a member in the node's own
resolved authority, and that alone counts.
"""

from __future__ import annotations

import pytest

from sync.authority import resolve
from sync.events import Effect, Send
from tests.sync.cable import EVERYDAY, Bench, Node, authority_of, id_and_key, raw_record
from tests.sync.world import Town, federation_of

HASH = b"h" * 32


def said(name: str, *, posts: bool) -> list[bytes]:
    """Return all frames that node a sends to a peer of this name, which thinks that it is a member."""
    bench, frames = Bench(), list[bytes]()
    bench.hashed = HASH
    honest = bench.node("a", authority_of("a", "ac"), [raw_record(number) for number in range(40)])
    other = bench.node(name, authority_of(name, f"ac{name}"), [raw_record(number) for number in range(9)])

    def watch(node: Node, effect: Effect) -> None:
        if node is honest and isinstance(effect, Send):
            frames.append(effect.frame)

    bench.watch = watch
    bench.join(other, honest)
    bench.run(30_000)
    if posts:
        bench.post(honest, raw_record(100))
    bench.run(300_000)
    assert other.ids() == {id_and_key(raw_record(number))[0] for number in range(9)}
    return frames


@pytest.mark.parametrize("posts", [False, True])
def test_a_removed_town_gets_the_same_bytes_as_a_stranger(posts: bool) -> None:
    """Whether something new is posted meanwhile or not."""
    removed, stranger = said("b", posts=posts), said("s", posts=posts)
    assert removed == stranger and removed
    assert removed == said("b", posts=not posts), "nothing of a post can be seen"


def test_a_town_that_is_removed_while_it_is_linked_hears_nothing_more_of_the_federation() -> None:
    """Also if it goes on asking."""
    bench = Bench()
    one = bench.node("a", authority_of("a", "ab"), [raw_record(number) for number in range(20)])
    two = bench.node("b", authority_of("b", "ab"))
    bench.join(two, one)
    bench.run(10_000)
    assert two.ids() == one.ids()
    bench.move_authority(one, authority_of("a", "a"))
    bench.run(1_000)
    before = two.ids()
    bench.post(one, *(raw_record(number) for number in range(20, 30)))
    bench.run(600_000)
    assert two.ids(EVERYDAY) == before


def test_a_step_without_a_town_leaves_it_no_right_and_no_device() -> None:
    """So a removed town and a stranger are one to every rule that says who may read."""
    own, bee, sea = Town("own"), Town("bee"), Town("sea")
    charter = own.charter("Along the river", [own, bee, sea])
    certificates = [town.certificate() for town in (own, bee, sea)]
    out = own.step(charter, [own, bee])
    authority = resolve(own.id, [charter, *certificates, out, bee.sign(out)])
    never = own.charter("Along the river", [own, bee])
    stranger = resolve(own.id, [never, *certificates])
    river, other = federation_of(charter), federation_of(never)
    assert authority.is_member(river, sea.id) == stranger.is_member(other, sea.id) is False
    assert authority.rights == stranger.rights and sea.id not in authority.rights
    assert authority.federations_of(sea.id) == ()
