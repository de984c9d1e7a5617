"""Probing: families of attacks, rendered, sent to declared targets and judged by evidence."""
