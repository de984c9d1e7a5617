"""Findings to controls: frozen catalogues, finding-kind mappings, graded overlaps and the mapping linter."""
