"""The official Noise vectors: what our channel rests on speaks the same Noise as everybody else."""

import json
from pathlib import Path
from typing import Any

import pytest
from noise.connection import Keypair, NoiseConnection

from node.transport.channel import NOISE_NAME

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "noise" / "xx_25519_chachapoly.json").read_text()
)["vectors"]
DEFERRED = "XX1"
"""A pattern that the library does not know and that we do not use."""
USED = [vector for vector in VECTORS if DEFERRED not in vector["protocol_name"]]


def end_of(vector: dict[str, Any], side: str) -> NoiseConnection:
    """One end of the handshake of a vector."""
    end = NoiseConnection.from_name(vector["protocol_name"].encode())
    (end.set_as_initiator if side == "init" else end.set_as_responder)()
    end.set_prologue(bytes.fromhex(vector[f"{side}_prologue"]))
    if f"{side}_psks" in vector:
        end.set_psks(psks=[bytes.fromhex(psk) for psk in vector[f"{side}_psks"]])
    end.set_keypair_from_private_bytes(Keypair.STATIC, bytes.fromhex(vector[f"{side}_static"]))
    end.set_keypair_from_private_bytes(Keypair.EPHEMERAL, bytes.fromhex(vector[f"{side}_ephemeral"]))
    end.start_handshake()
    return end


def said(end: NoiseConnection, payload: bytes) -> bytes:
    """What this end puts on the wire."""
    return bytes(end.encrypt(payload) if end.handshake_finished else end.write_message(payload))


def heard(end: NoiseConnection, message: bytes) -> bytes:
    """What this end understands."""
    return bytes(end.decrypt(message) if end.handshake_finished else end.read_message(message))


@pytest.mark.filterwarnings("ignore:One of ephemeral keypairs is already set")  # the vectors set it
@pytest.mark.parametrize("vector", USED, ids=lambda vector: vector["protocol_name"])
def test_every_message_of_an_official_noise_vector_comes_out_byte_for_byte(vector: dict[str, Any]) -> None:
    ends = end_of(vector, "init"), end_of(vector, "resp")
    for index, message in enumerate(vector["messages"]):
        payload, ciphertext = bytes.fromhex(message["payload"]), bytes.fromhex(message["ciphertext"])
        assert said(ends[index % 2], payload) == ciphertext
        assert heard(ends[1 - index % 2], ciphertext) == payload
    assert (
        ends[0].get_handshake_hash().hex() == ends[1].get_handshake_hash().hex() == vector["handshake_hash"]
    )


def test_the_protocol_of_our_channel_is_among_the_vectors() -> None:
    assert NOISE_NAME.decode() in {vector["protocol_name"] for vector in USED}
