"""Judging: how attempts that evidence could not decide get a verdict, and how far it is trusted.

`judge` the protocols · `offline` three judges and a meta-judge that need no network · `consensus` votes to verdict,
pure · `panel` cases to votes, verdicts and lake rows · `rubrics` what a judge is asked · `train` how the shipped
weights were made.
"""
