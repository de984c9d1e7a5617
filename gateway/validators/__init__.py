"""Second opinions on a regular expression's hit. Each returns how many characters of the value it accepts; 0 = none."""

from __future__ import annotations

from collections.abc import Callable

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

STARTS: dict[Callable[[str], int] | None, Callable[[str, int, int], list[int]]] = {
    wallets.seed_phrase: wallets.phrase_starts,
    wallets.seed_words: wallets.phrase_starts,
}
"""validator -> a cheaper look at a text: the offsets from `first` to `last` at which a match may begin, in order."""
