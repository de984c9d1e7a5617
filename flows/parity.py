"""`aispm parity`: the product's own figures, counted from its data and code, never typed in."""

from __future__ import annotations

import importlib
import importlib.util

from gateway.pattern_files import load_patterns
from gateway.reasons import reasons
from gateway.views import VIEWS
from gateway.wire import WIRE_FORMATS
from tasks.assessment import counts as check_counts
from tasks.discovery import SOURCES
from tasks.judging.panel import counts as judge_count
from tasks.mapping.catalog import load_catalogs
from tasks.mapping.resolve import counts as mapping_counts
from tasks.mapping.resolve import load_kinds
from tasks.probing.catalog import load_families
from tasks.probing.expand import count as probe_count
from tasks.records import AssetKind
from tasks.settings import CONTENT_ROOT


def figures() -> dict[str, int]:
    """One flat object of integers; what does not exist yet counts 0."""
    checks = check_counts()
    probes = probe_count(load_families())
    catalogs = load_catalogs()
    mappings = mapping_counts(catalogs, load_kinds(catalogs))
    return {
        "asset_kinds": len(AssetKind),
        "sources": len(SOURCES),
        "checks": checks["implemented"],
        "mcp_checks": checks["mcp"],
        "rag_tests": _registered("tasks.retrieval_tests", "RAG_TESTS"),
        "vector_tests": _registered("tasks.retrieval_tests", "VECTOR_TESTS"),
        "toxic_combinations": _files("sql/toxic/*.sql"),
        "dlp_patterns": len(load_patterns()),
        "normalization_passes": len(VIEWS),
        "reason_codes": len(reasons()),
        "wire_formats": len(WIRE_FORMATS),
        "probe_families": probes["families"],
        "probe_seeds": probes["seeds"],
        "probe_templates": probes["templates"],
        "selftests": probes["selftests"],
        "judges": judge_count(),
        "frameworks": len({edition.framework for edition in catalogs.editions.values()}),
        "controls": mappings["controls"],
        "mapping_edges": mappings["mapping_edges"],
        "overlaps": mappings["overlaps"],
        "exports": _files("tasks/reporting/as_*.py"),
        "cookbook_queries": _files("sql/cookbook/*.sql"),
    }


def _files(pattern: str) -> int:
    return len(list(CONTENT_ROOT.glob(pattern)))


def _registered(module: str, registry: str) -> int:
    """Entries of a module's registry; 0 while the module is not there."""
    if importlib.util.find_spec(module) is None:
        return 0
    return len(getattr(importlib.import_module(module), registry))
