"""Everything a run reads from the user, checked before anything is started, sent or written."""

from __future__ import annotations

from pathlib import Path

from tasks.discovery.inventory import Inventory, load_inventory
from tasks.errors import ConfigError
from tasks.mapping.catalog import Catalogs, load_catalogs
from tasks.mapping.resolve import KindMapping, load_kinds
from tasks.probing.catalog import OWN_KINDS, Family, load_families
from tasks.probing.estimate import declared_targets
from tasks.probing.meters import Meters
from tasks.records import digest
from tasks.settings import Settings


def check_inputs(settings: Settings) -> tuple[Inventory, dict[str, Family]]:
    """Read inventory, probes and mappings. Raises ConfigError with file and line."""
    families = load_families(extra_folder=settings.probing.folder)
    kinds = mapped_kinds(load_catalogs(), settings.probing.folder)
    for family in families.values():
        check_mapped(family, kinds, settings.probing.folder)
    inventory = load_inventory(settings.inventory)
    Meters(settings.probing, declared_targets(inventory))
    return inventory, families


def mapped_kinds(catalogs: Catalogs, folder: Path | None) -> dict[str, KindMapping]:
    """Finding kinds with their controls, those of the user's own families in `folder` included."""
    return load_kinds(catalogs, own=None if folder is None else folder / OWN_KINDS)


def mappings_version(catalogs: Catalogs, folder: Path | None) -> str:
    """Changes with any file that `mapped_kinds` reads."""
    own = None if folder is None else folder / OWN_KINDS
    if own is None or not own.is_file():
        return catalogs.mappings_sha256
    return digest(catalogs.mappings_sha256, own.read_text(encoding="utf-8"))


def check_mapped(family: Family, kinds: dict[str, KindMapping], folder: Path | None) -> None:
    """Raises ConfigError when a finding of the family would count toward no control."""
    if family.finding_kind not in kinds:
        place = folder / OWN_KINDS if folder is not None else "mappings/kinds/"
        raise ConfigError(f"`{family.finding_kind}` has no controls; map it in {place}", family.path, 1)
