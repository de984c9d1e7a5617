"""Second opinions on a regular expression's hit. Each returns how many characters of the value it accepts; 0 = none."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gateway.validators import identity, payment, tokens, wallets

VALIDATORS: dict[str, Callable[[str], int]] = {
    check.__name__: check
    for check in (
        payment.payment_card,
        payment.card_track,
        identity.email,
        identity.iban,
        identity.mrz,
        identity.nino,
        identity.phone,
        identity.phone_us,
        identity.ssn,
        identity.tckn,
        tokens.assigned_secret,
        tokens.assigned_token,
        tokens.authorization,
        tokens.aws_key_id,
        tokens.aws_secret,
        tokens.azure_key,
        tokens.azure_sas,
        tokens.crc_token,
        tokens.jwt,
        tokens.mixed_token,
        tokens.openai_key,
        tokens.pypi_token,
        tokens.random_hex,
        tokens.random_token,
        tokens.url_password,
        wallets.seed_phrase,
        wallets.seed_words,
        wallets.wallet_key,
    )
}
"""What a pattern file may name."""


class Starts(NamedTuple):
    """A cheaper look at where a match may begin."""

    near: Callable[[str, int, int], list[int]]
    """(text, first, last) -> the offsets from `first` to `last`, in order."""
    anywhere: Callable[[bytes], list[tuple[int, int]]]
    """A text as one byte per character, between zeros -> (first, last) offsets in it, for long texts."""


_LISTED = Starts(wallets.phrase_starts, wallets.listed_stretches)
STARTS: dict[Callable[[str], int] | None, Starts] = {wallets.seed_phrase: _LISTED, wallets.seed_words: _LISTED}
"""Of the validators that have one."""
