"""Which store the settings name, opened and tried."""

from __future__ import annotations

import time
import uuid

from gateway.ledger.leases import Charge
from gateway.ledger.ledger import Store
from gateway.ledger.memory import MemoryStore
from gateway.ledger.redis import RedisStore, connect
from gateway.ledger.sqlite import SqliteStore
from gateway.limit_check import check_store
from gateway.secrets import resolve_secret
from gateway.settings import GatewaySettings

SELF_TEST_SECONDS = 60


def open_store(settings: GatewaySettings) -> Store:
    """The ledger's storage, once it has refused to go over a limit. Raises ConfigError or LedgerError."""
    ledger = settings.ledger
    store: Store
    if ledger.kind == "memory":
        store = MemoryStore()
    elif ledger.kind == "redis":
        url = ledger.url or ""
        store = RedisStore(connect(url if url.startswith("redis") else resolve_secret(url)))
    else:
        store = SqliteStore(ledger.file or settings.spool.folder / "ledger.sqlite")
    account = f"self-test {uuid.uuid4().hex}"
    check_store(store, Charge(account, 1, 1, int(time.time()) + SELF_TEST_SECONDS))
    return store
