"""Everything a run reads from the user, checked before anything is started, sent or written."""

from __future__ import annotations

from tasks.discovery.inventory import Inventory, load_inventory
from tasks.mapping.catalog import load_catalogs
from tasks.mapping.resolve import load_kinds
from tasks.probing.catalog import Family, load_families
from tasks.probing.estimate import declared_targets
from tasks.probing.meters import Meters
from tasks.settings import Settings


def check_inputs(settings: Settings) -> tuple[Inventory, dict[str, Family]]:
    """Read inventory, probes and mappings. Raises ConfigError with file and line."""
    load_kinds(load_catalogs())
    inventory = load_inventory(settings.inventory)
    Meters(settings.probing, declared_targets(inventory))
    return inventory, load_families(extra_folder=settings.probing.folder)
