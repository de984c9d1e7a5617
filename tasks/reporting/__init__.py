"""Reports: one `posture.json`, signed, and its renderings.

`snapshot` makes the posture from the lake; `report.write_report` writes everything an auditor takes away.
HTML, PDF and CSV are renderings of the same document: what they leave out they say. `verify.py` checks signatures
without aispm and travels beside the report.
"""
