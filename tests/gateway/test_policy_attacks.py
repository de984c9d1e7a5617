"""What an attacker, or a mistake, can do to root and policy: every case is refused for the reason that it names."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from gateway import durable
from gateway.policy import bundle as bundles
from gateway.policy import root as roots
from gateway.policy import trust
from gateway.policy.bundle import compose_bundle, hash_agent_key, sign_bundle
from gateway.policy.chain import Document, Memory, TrustedSet, remember
from gateway.policy.files import load_policy, read_memory
from gateway.policy.refused import DETAILS, PolicyError
from gateway.policy.root import compose_root, sign_root
from gateway.policy.trust import BUNDLE, ROOT, join_signatures, key_pair, sign

NOW = datetime(2026, 11, 24, tzinfo=UTC)
HASH_KEY = "5c" * 32
ORDER = 2**252 + 27742317777372353535851937790883648493
"""Of the group (RFC 8032 section 5.1)."""


def key(name):
    """A fixed pair for each name, so that a failure can be repeated."""
    return key_pair(hashlib.sha256(name.encode()).digest())


A, B, C, D, E = (key(f"root {n}") for n in "abcde")
POLICY, STOLEN, NEXT, STRANGER = (key(n) for n in ("policy", "stolen", "next", "stranger"))


def root(version=1, signers=(A, B), **changes):
    """A root of two out of A, B, C, with two policy keys, signed by `signers`."""
    document = {
        "tenant": "nimbus",
        "version": version,
        "epoch": 1,
        "issued": NOW,
        "expires": NOW + timedelta(days=365),
        "threshold": 2,
        "root_keys": [A.public, B.public, C.public],
        "policy_keys": [POLICY.public, STOLEN.public],
    }
    return signed_root(compose_root(**{**document, **changes}), signers)


def signed_root(raw, signers=(A, B)):
    return Document(raw, join_signatures(*(sign_root(raw, k.private) for k in signers)))


def edited_root(signers=(A, B), base=None, **changes):
    """A root that `compose_root` would not write."""
    document = {**json.loads((base or root()).raw), **changes}
    return signed_root(json.dumps({k: v for k, v in document.items() if v is not None}).encode(), signers)


def policy(version=1, signer=POLICY, **changes):
    document = {
        "tenant": "nimbus",
        "audience": ["gw"],
        "version": version,
        "issued": NOW,
        "expires": NOW + timedelta(days=7),
        "hash_key": HASH_KEY,
        "agents": [{"id": "a", "key_hash": hash_agent_key(HASH_KEY, "k")}],
    }
    raw = compose_bundle(**{**document, **changes})
    return Document(raw, sign_bundle(raw, signer.private))


def edited_policy(**changes):
    document = {**json.loads(policy().raw), **changes}
    raw = json.dumps({k: v for k, v in document.items() if v is not None}).encode()
    return Document(raw, sign_bundle(raw, POLICY.private))


@dataclass
class Offer:
    """A source, as a folder or server would be."""

    document: Document
    steps: tuple[Document, ...] = ()

    def root(self, version):
        # By place, not by content: what lies at `root.2.json` may be anything.
        return self.steps[version - 2] if 0 <= version - 2 < len(self.steps) else None

    def policy(self):
        return self.document


@dataclass
class Gateway:
    """A gateway's memory on disk, and what it takes over from offers."""

    folder: object
    installed: Document = field(default_factory=root)

    def take(self, offer, now=NOW, gateway_id="gw"):
        path = self.folder / "root.1.json"
        path.write_bytes(self.installed.raw)
        (self.folder / "root.1.json.sig").write_bytes(self.installed.signatures)
        return load_policy(offer, path, gateway_id, self.folder / "memory.json", now, lambda p: p)

    def memory(self):
        return read_memory(self.folder / "memory.json")


@pytest.fixture
def gateway(tmp_path):
    return Gateway(tmp_path)


# What follows the installed root in an honest estate: STOLEN was revoked, so a new epoch began.
HONEST = root(2, epoch=2, policy_keys=[POLICY.public, NEXT.public], revoked_keys=[STOLEN.public])


def test_the_honest_estate_is_taken_over(gateway):
    assert gateway.take(Offer(policy(1))).version == 1
    assert gateway.take(Offer(policy(2))).version == 2
    renewed = gateway.take(Offer(policy(1, NEXT, epoch=2, root_version=2), (HONEST,)))
    assert (renewed.epoch, renewed.version, renewed.key_id) == (2, 1, NEXT.key_id)
    assert gateway.memory().root_version == 2


def test_any_two_of_three_may_sign_and_more_may(gateway):
    for signers in ((A, C), (B, C), (A, B, C)):
        assert TrustedSet(root(signers=signers)).root.version == 1


def test_holders_can_be_exchanged_one_by_one():
    trusted = TrustedSet(root())
    trusted.update_root(root(2, (A, B, D), root_keys=[A.public, B.public, D.public]))
    trusted.update_root(root(3, (B, D), root_keys=[B.public, D.public], threshold=1))
    trusted.update_root(root(4, (D,), root_keys=[D.public], threshold=1))
    assert (trusted.root.version, sorted(trusted.successors)) == (4, [2, 3, 4])


def test_an_expired_root_is_a_step_but_no_end(gateway):
    gone = root(2, expires=NOW + timedelta(seconds=1))
    later = NOW + timedelta(days=1)
    assert gateway.take(Offer(policy(1), (gone, root(3))), later).version == 1
    with pytest.raises(PolicyError) as refused:
        Gateway(gateway.folder).take(Offer(policy(1)), NOW + timedelta(days=400))
    assert refused.value.detail == "expired"


def test_a_policy_ends_with_its_root(gateway):
    installed = root(expires=NOW + timedelta(days=2))
    gateway.installed = installed
    assert gateway.take(Offer(policy(1))).expires == NOW + timedelta(days=2)


# -- one table of attacks: (what is tried, what is offered, why it is refused) ---------------------------------------


def resigned(document, signatures):
    return Document(document.raw, signatures)


def high_s(document):
    """The signature with S + L: verifies under an equation that is not reduced (RFC 8032 section 5.1.7)."""
    head, signature = document.signatures[:25], bytes.fromhex(document.signatures[25:-1].decode())
    s = int.from_bytes(signature[32:], "little") + ORDER
    return resigned(document, head + (signature[:32] + s.to_bytes(32, "little")).hex().encode() + b"\n")


def small_order_root(public):
    return edited_root(policy_keys=[public.hex(), POLICY.public.hex()])


SMALL_ORDER = [
    bytes(32),
    (1).to_bytes(32, "little"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
]
NOT_A_POINT = (2).to_bytes(32, "little")
NOT_CANONICAL = (2**255 - 19 + 1).to_bytes(32, "little")

FIRST_ROOTS = [
    ("one signature of two", root(signers=(A,)), "signature"),
    ("one key signs twice", resigned(root(), sign_root(root().raw, A.private) * 2), "signature"),
    ("signed by strangers", root(signers=(STRANGER, D)), "signature"),
    ("enough, and a stranger", root(signers=(A, B, STRANGER)), "signature"),
    ("signed by policy keys", root(signers=(POLICY, STOLEN)), "signature"),
    (
        "signature lines out of order",
        resigned(root(), b"".join(sorted(root().signatures.splitlines(True))[::-1])),
        "signature",
    ),
    ("no signature at all", resigned(root(), b""), "signature"),
    ("seventeen signature lines", resigned(root(), root().signatures + b"x" * 4096), "signature"),
    (
        "one good and one broken signature beside enough",
        resigned(
            root(signers=(A, B, C)),
            root(signers=(A, B, C)).signatures.replace(sign_root(root().raw, C.private)[25:40], b"0" * 15),
        ),
        "signature",
    ),
    (
        "a policy's signatures on a root",
        resigned(root(), join_signatures(*(sign(BUNDLE, root().raw, k.private) for k in (A, B)))),
        "signature",
    ),
    ("threshold 0", edited_root(threshold=0), "content"),
    ("threshold above the keys", edited_root(threshold=4), "content"),
    ("threshold as text", edited_root(threshold="2"), "content"),
    ("threshold true", edited_root(threshold=True), "content"),
    ("no root keys", edited_root(root_keys=[]), "content"),
    ("no policy keys", edited_root(policy_keys=[]), "content"),
    ("seventeen root keys", edited_root(root_keys=[key(str(n)).public.hex() for n in range(17)]), "content"),
    ("one root key twice", edited_root(root_keys=[A.public.hex(), A.public.hex(), B.public.hex()]), "content"),
    ("a key with two roles", edited_root(policy_keys=[A.public.hex()]), "content"),
    ("a key in use though revoked", edited_root(revoked_keys=[POLICY.public.hex()]), "content"),
    ("key in capitals", edited_root(policy_keys=[POLICY.public.hex().upper()]), "content"),
    ("unknown critical field", edited_root(allow_all=True), "content"),
    ("missing field", edited_root(expires=None), "content"),
    ("unknown schema", edited_root(schema="aispm.policy_root/2"), "content"),
    ("version 0", edited_root(version=0), "content"),
    ("epoch 0", edited_root(epoch=0), "content"),
    ("version beyond exact numbers", edited_root(version=2**53), "content"),
    (
        "duplicate key in the document",
        signed_root(root().raw.replace(b'"threshold": 2', b'"threshold": 2, "threshold": 1')),
        "content",
    ),
    ("expires before it is issued", edited_root(expires="2020-01-01T00:00:00Z"), "content"),
    ("larger than any root", signed_root(root().raw + b" " * roots.MAX_BYTES), "size"),
    ("not JSON", signed_root(b"\xff\xfe{}"), "content"),
    *((f"small-order policy key {n}", small_order_root(public), "content") for n, public in enumerate(SMALL_ORDER)),
    ("a policy key that is no point", small_order_root(NOT_A_POINT), "content"),
    ("a policy key in another spelling", small_order_root(NOT_CANONICAL), "content"),
]


@pytest.mark.parametrize(("document", "why"), [c[1:] for c in FIRST_ROOTS], ids=[c[0] for c in FIRST_ROOTS])
def test_an_installed_root_that_does_not_hold(document, why):
    with pytest.raises(PolicyError) as refused:
        TrustedSet(document)
    assert refused.value.detail == why


NEXT_ROOTS = [
    ("signed by the old holders only", root(2, (A, B), root_keys=[C.public, D.public]), "signature"),
    ("signed by the new holders only", root(2, (C, D), root_keys=[C.public, D.public]), "signature"),
    ("one old holder short", root(2, (A, D, E), root_keys=[D.public, E.public]), "signature"),
    ("one new holder short", root(2, (A, B, C), root_keys=[C.public, D.public]), "signature"),
    ("signed by the stolen policy key", root(2, (STOLEN,)), "signature"),
    ("signed by a stranger too", root(2, (A, B, STRANGER)), "signature"),
    ("a skipped version", root(3), "root"),
    ("the same version again", root(1), "root"),
    ("version rolled back", edited_root(version=1, expires="2030-01-01T00:00:00Z"), "root"),
    ("of another tenant", root(2, tenant="other"), "tenant"),
    ("an epoch back", edited_root(base=root(2), epoch=0), "content"),
    ("an epoch too far", root(2, epoch=3), "root"),
    ("a policy key dropped within the epoch", root(2, policy_keys=[POLICY.public]), "root"),
    ("a policy key exchanged within the epoch", root(2, policy_keys=[POLICY.public, NEXT.public]), "root"),
    (
        "altered after signing",
        Document(root(2).raw.replace(b'"epoch": 1', b'"epoch": 2'), root(2).signatures),
        "signature",
    ),
    (
        "an old holder's broken signature beside enough",
        resigned(root(2, (A, B, C)), join_signatures(root(2).signatures, sign_root(root(3).raw, C.private))),
        "signature",
    ),
    ("larger than any root", signed_root(root(2).raw + b" " * roots.MAX_BYTES), "size"),
]


@pytest.mark.parametrize(("document", "why"), [c[1:] for c in NEXT_ROOTS], ids=[c[0] for c in NEXT_ROOTS])
def test_a_root_that_does_not_follow(gateway, document, why):
    """The policy beside it is good; it is not taken over either, and what is remembered does not move."""
    gateway.take(Offer(policy(1)))
    before = gateway.memory()
    with pytest.raises(PolicyError) as refused:
        gateway.take(Offer(policy(2), (document,)))
    assert refused.value.detail == why
    assert gateway.memory() == before


def test_a_revoked_key_never_comes_back():
    trusted = TrustedSet(root())
    trusted.update_root(HONEST)
    for again in (
        {"revoked_keys": []},
        {"policy_keys": [POLICY.public, NEXT.public, STOLEN.public], "revoked_keys": []},
    ):
        with pytest.raises(PolicyError, match="never be taken back"):
            trusted.update_root(root(3, epoch=2, **{"policy_keys": [POLICY.public, NEXT.public], **again}))


POLICIES = [
    ("signed by a stranger", policy(6, STRANGER), "signature"),
    ("signed by a root holder", policy(6, A), "signature"),
    (
        "signed twice",
        resigned(policy(6), join_signatures(policy(6).signatures, policy(6, STOLEN).signatures)),
        "signature",
    ),
    ("one line twice", resigned(policy(6), policy(6).signatures * 2), "signature"),
    ("non-canonical S", high_s(policy(6)), "signature"),
    ("all-zero signature", resigned(policy(6), policy(6).signatures[:25] + b"0" * 128 + b"\n"), "signature"),
    ("the signature of another version", resigned(policy(6), policy(5).signatures), "signature"),
    ("a root's signature on a policy", resigned(policy(6), sign(ROOT, policy(6).raw, POLICY.private)), "signature"),
    ("signature over the bare bytes", resigned(policy(6), sign(BUNDLE, b"", POLICY.private)), "signature"),
    (
        "carriage returns in the signature",
        resigned(policy(6), policy(6).signatures.replace(b"\n", b"\r\n")),
        "signature",
    ),
    ("capital hex in the signature", resigned(policy(6), policy(6).signatures.upper()), "signature"),
    ("no newline after the signature", resigned(policy(6), policy(6).signatures[:-1]), "signature"),
    ("an older version", policy(4), "rollback"),
    (
        "a second policy of that version",
        policy(5, defaults={"pii": {"request": "allow", "response": "allow"}}),
        "rollback",
    ),
    ("the next epoch without its root", policy(1, epoch=2), "epoch"),
    ("a root that is not here yet", policy(6, root_version=2), "epoch"),
    ("of another tenant", policy(6, tenant="other"), "tenant"),
    ("for other gateways", policy(6, audience=["gw-2", "GW"]), "audience"),
    ("for nobody", policy(6, audience=[]), "audience"),
    ("expired", policy(6, issued=NOW - timedelta(days=9), expires=NOW), "expired"),
    ("unknown critical field", edited_policy(version=6, bypass=["a"]), "content"),
    (
        "unknown critical field in an agent",
        edited_policy(version=6, agents=[{"id": "a", "key_hash": "0" * 64, "admin": True}]),
        "content",
    ),
    ("a field missing", edited_policy(version=6, rules=None), "content"),
    ("unknown schema", edited_policy(version=6, schema="aispm.policy/9"), "content"),
    ("no root version", edited_policy(version=6, root_version=None), "content"),
    ("epoch 0", edited_policy(version=6, epoch=0), "content"),
    ("version beyond exact numbers", edited_policy(version=2**53), "content"),
    ("larger than any policy", Document(b" " * (bundles.MAX_BYTES + 1), policy().signatures), "size"),
    ("empty", Document(b"", policy().signatures), "signature"),
    ("a root in place of the policy", Document(root().raw, sign(BUNDLE, root().raw, POLICY.private)), "content"),
]


@pytest.mark.parametrize(("document", "why"), [c[1:] for c in POLICIES], ids=[c[0] for c in POLICIES])
def test_a_policy_that_is_refused(gateway, document, why):
    """Version 5 is in force; nothing about it changes."""
    gateway.take(Offer(policy(5)))
    before = gateway.memory()
    with pytest.raises(PolicyError) as refused:
        gateway.take(Offer(document))
    assert refused.value.detail == why
    assert gateway.memory() == before
    assert gateway.take(Offer(policy(5))).version == 5


def test_there_are_enough_attacks_and_every_reason_is_a_listed_one():
    cases = FIRST_ROOTS + NEXT_ROOTS + POLICIES
    assert len(cases) >= 45
    assert {why for _, _, why in cases} <= DETAILS.keys()
    assert len({name for name, _, _ in POLICIES}) == len(POLICIES)


def test_a_stolen_keys_huge_version_dies_with_its_epoch(gateway):
    huge = policy(2**53 - 1, STOLEN)
    assert gateway.take(Offer(huge)).version == 2**53 - 1  # until the theft is noticed it is a key like any other
    with pytest.raises(PolicyError):
        gateway.take(Offer(policy(7)))
    honest = Offer(policy(1, NEXT, epoch=2, root_version=2), (HONEST,))
    assert gateway.take(honest).version == 1
    for late in (huge, policy(9, STOLEN, epoch=2, root_version=2), policy(7)):
        with pytest.raises(PolicyError):
            gateway.take(Offer(late, (HONEST,)))


def test_a_revocation_of_keys_is_remembered_though_the_policy_beside_it_is_withheld(gateway):
    """Freeze and mix-and-match: the new root arrives with the policy that the stolen key signed."""
    gateway.take(Offer(policy(1, STOLEN)))
    with pytest.raises(PolicyError) as refused:
        gateway.take(Offer(policy(1, STOLEN), (HONEST,)))
    assert refused.value.detail == "signature"
    assert gateway.memory().root_version == 2
    for offer in (Offer(policy(1, STOLEN)), Offer(policy(2, POLICY))):  # and later the new root is withheld again
        with pytest.raises(PolicyError):
            gateway.take(offer)


def test_a_frozen_policy_ends_on_its_day(gateway):
    frozen = Offer(policy(1))
    assert gateway.take(frozen, NOW + timedelta(days=6)).version == 1
    with pytest.raises(PolicyError) as refused:
        gateway.take(frozen, NOW + timedelta(days=7))
    assert refused.value.detail == "expired"


def test_another_installed_root_is_not_taken_for_the_known_one(gateway):
    gateway.take(Offer(policy(1)))
    gateway.installed = root(signers=(A, B), expires=NOW + timedelta(days=9))
    with pytest.raises(PolicyError, match="two different roots"):
        gateway.take(Offer(policy(2)))
    gateway.installed = root(tenant="other")
    with pytest.raises(PolicyError, match="another tenant"):
        gateway.take(Offer(policy(2)))


def test_a_newer_installed_root_is_as_good_as_the_way_to_it(gateway):
    gateway.take(Offer(policy(1, NEXT, epoch=2, root_version=2), (HONEST,)))
    gateway.installed = HONEST
    assert gateway.take(Offer(policy(2, NEXT, epoch=2, root_version=2))).version == 2
    gateway.installed = root()
    with pytest.raises(PolicyError) as refused:  # a backup of the old installation, without what came after
        gateway.take(Offer(policy(2)))
    assert refused.value.detail == "rollback"


def test_two_keys_with_one_id_are_refused(monkeypatch):
    """64 bits can be made to collide with patience; here the hash is cut to 4 bits."""
    monkeypatch.setattr(trust, "key_id", lambda public: hashlib.sha256(public).hexdigest()[:1] * 16)
    monkeypatch.setattr(roots, "key_id", trust.key_id)
    names = [key(str(n)) for n in range(40)]
    twins = next(
        (a, b) for a in names for b in names if a is not b and trust.key_id(a.public) == trust.key_id(b.public)
    )
    with pytest.raises(PolicyError, match="shares its id"):
        compose_root(
            tenant="t",
            version=1,
            epoch=1,
            issued=NOW,
            expires=NOW + timedelta(days=1),
            threshold=2,
            root_keys=[k.public for k in twins],
            policy_keys=[POLICY.public],
        )
    signature = {trust.key_id(twins[0].public): bytes.fromhex(sign(ROOT, b"x", twins[0].private)[25:-1].decode())}
    with pytest.raises(PolicyError, match="cannot be told"):
        trust.verify_threshold(ROOT, b"x", signature, [twins[0].public, twins[0].public, twins[1].public], 2)


def test_a_server_cannot_keep_a_gateway_walking():
    trusted = TrustedSet(root(signers=(A,), root_keys=[A.public], threshold=1))
    for version in range(2, 258):
        trusted.update_root(root(version, (A,), root_keys=[A.public], threshold=1))
    with pytest.raises(PolicyError, match="more than 256 roots"):
        trusted.update_root(root(258, (A,), root_keys=[A.public], threshold=1))


# -- every byte -------------------------------------------------------------------------------------------------------


def flips(raw):
    for at in range(len(raw)):
        yield raw[:at] + bytes([raw[at] ^ (1 << (at % 8))]) + raw[at + 1 :]


def test_every_flipped_byte_of_every_document_is_noticed():
    """First root, next root, policy, and the signatures of each: no byte of them is free."""
    first, second, offered = root(), root(2, (A, B, C)), policy()
    for raw in flips(first.raw):
        with pytest.raises(PolicyError):
            TrustedSet(Document(raw, first.signatures))
    for signatures in flips(first.signatures):
        with pytest.raises(PolicyError):
            TrustedSet(Document(first.raw, signatures))
    trusted = TrustedSet(first)
    for broken in (
        *(Document(raw, second.signatures) for raw in flips(second.raw)),
        *(Document(second.raw, signatures) for signatures in flips(second.signatures)),
    ):
        with pytest.raises(PolicyError):
            trusted.update_root(broken)
    assert trusted.root.version == 1
    for broken in (
        *(Document(raw, offered.signatures) for raw in flips(offered.raw)),
        *(Document(offered.raw, signatures) for signatures in flips(offered.signatures)),
    ):
        with pytest.raises(PolicyError):
            trusted.policy(broken, "gw", NOW)
    assert trusted.policy(offered, "gw", NOW).version == 1


def test_the_parser_sees_nothing_that_the_old_keys_did_not_sign(monkeypatch):
    trusted, second, offered = TrustedSet(root()), root(2, (C, D)), policy(1, STRANGER)

    def fail(*_, **__):
        raise AssertionError("parsed before the signatures held")

    monkeypatch.setattr("gateway.policy.reading.json.loads", fail)
    with pytest.raises(PolicyError):
        trusted.update_root(second)
    with pytest.raises(PolicyError):
        trusted.policy(offered, "gw", NOW)


@pytest.mark.parametrize("public", [*SMALL_ORDER, NOT_A_POINT, NOT_CANONICAL, b"short"])
def test_unsafe_public_keys_verify_nothing(public):
    signature = {trust.key_id(public): bytes(64)}
    with pytest.raises(PolicyError):
        trust.verify_threshold(BUNDLE, b"x", signature, [public], 1)


# -- crashes ---------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("at", ["open", "write", "fsync", "replace", "sync_folder"])
def test_a_kill_while_remembering_leaves_the_old_or_the_new_memory_whole(gateway, monkeypatch, at):
    """Root and policy of one offer are remembered together or not at all; afterwards it is taken over."""
    gateway.take(Offer(policy(5)))
    before = gateway.memory()
    calls = []

    def killing(real):
        def kill(*arguments):
            calls.append(1)
            if len(calls) == 1:
                if at == "write":  # half of it reaches the disk
                    real(arguments[0], arguments[1][: len(arguments[1]) // 2])
                raise Killed
            return real(*arguments)

        return kill

    with monkeypatch.context() as patch:
        if at == "sync_folder":
            patch.setattr(durable, "sync_folder", killing(durable.sync_folder))
        elif at == "replace":
            replace = type(gateway.folder).replace
            patch.setattr(type(gateway.folder), "replace", killing(replace))
        elif at == "open":
            real, lock = durable.os.open, killing(durable.os.open)
            patch.setattr(durable.os, "open", lambda p, *a: lock(p, *a) if str(p).endswith(".new") else real(p, *a))
        else:
            patch.setattr(durable.os, at, killing(getattr(durable.os, at)))
            patch.setattr(durable, "sync_folder", lambda folder: None)  # syncs too: only files are counted
        with pytest.raises(Killed):
            gateway.take(Offer(policy(1, NEXT, epoch=2, root_version=2), (HONEST,)))
    found = gateway.memory()
    assert (found.root_version, found.epoch, found.version) in ((1, 1, 5), (2, 2, 1))
    assert found.root_version == 2 or found == before
    assert gateway.take(Offer(policy(1, NEXT, epoch=2, root_version=2), (HONEST,))).epoch == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "aispm.policy_state/1"}', '{"schema": "other"}', "\xff"])
def test_a_damaged_memory_is_never_taken_for_an_empty_one(gateway, text):
    (gateway.folder / "memory.json").write_text(text, encoding="latin-1")
    with pytest.raises(PolicyError) as refused:
        gateway.take(Offer(policy(1)))
    assert refused.value.detail == "memory"


def test_what_a_gateway_cannot_enforce_is_not_remembered(gateway):
    gateway.take(Offer(policy(1)))
    before = gateway.memory()

    def refuse(_):
        raise PolicyError("content", "no such pattern")

    with pytest.raises(PolicyError):
        load_policy(Offer(policy(2)), gateway.folder / "root.1.json", "gw", gateway.folder / "memory.json", NOW, refuse)
    assert gateway.memory() == before


def test_a_slower_worker_does_not_undo_what_a_faster_one_remembered(gateway):
    gateway.take(Offer(policy(1)))

    def overtaken(found):
        gateway.take(Offer(policy(3)))
        return found

    with pytest.raises(PolicyError) as refused:
        load_policy(
            Offer(policy(2)), gateway.folder / "root.1.json", "gw", gateway.folder / "memory.json", NOW, overtaken
        )
    assert refused.value.detail == "rollback"
    assert gateway.memory().version == 3


def test_memory_is_pure_and_knows_both_counters():
    trusted = TrustedSet(root())
    first = remember(None, trusted, None, None)
    assert (first.version, first.policy) == (0, None)
    offered = policy(3)
    second = remember(first, trusted, trusted.policy(offered, "gw", NOW), offered)
    assert isinstance(second, Memory)
    assert (second.epoch, second.version, second.policy) == (1, 3, offered)


def test_framing_is_one_reading():
    offered = policy()
    assert Document.unframe(offered.framed()) == offered
    for body in (b"", b"\n\n", offered.signatures, b"x" * 10_000 + b"\n\n" + offered.raw):
        with pytest.raises(PolicyError):
            trust.parse_signatures(Document.unframe(body).signatures)
