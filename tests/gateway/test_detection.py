"""Each pattern finds freshly drawn values of its kind, as issuers make them, wherever people put them.

The generators follow the issuers' formats, not the patterns' expressions, so that they can disagree.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import string
import zlib

import pytest

from gateway.engine import Engine
from gateway.pattern_files import load_patterns
from gateway.validators.wallets import words

ALL = {p.id: p for p in load_patterns()}
TIMES = 200
ALNUM = string.ascii_letters + string.digits
URL64 = ALNUM + "-_"
BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BASE32 = string.ascii_uppercase + "234567"


def chars(r, alphabet, n):
    return "".join(r.choices(alphabet, k=n))


def hexes(r, n):
    return chars(r, "0123456789abcdef", n)


def base64_of(r, n, alphabet=None):
    return base64.b64encode(r.randbytes(n), alphabet).decode()


def url64(r, n):
    return base64_of(r, n, b"-_").rstrip("=")


def with_crc(prefix, body):
    """GitHub's and npm's check sum: CRC-32 in six base-62 digits."""
    number, tail = zlib.crc32(body.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        tail = BASE62[digit] + tail
    return f"{prefix}{body}{tail}"


def slack(r):
    number = lambda: str(r.randrange(10**10, 10**13))  # noqa: E731 - a name for what is drawn several times
    return r.choice(
        [
            f"xoxb-{number()}-{number()}-{chars(r, ALNUM, 24)}",
            f"xoxp-{number()}-{number()}-{number()}-{hexes(r, 32)}",
            f"xapp-1-A{chars(r, string.ascii_uppercase + string.digits, 10)}-{number()}-{hexes(r, 64)}",
            f"xoxe.xoxp-1-{chars(r, ALNUM, 146)}",
        ]
    )


def pypi(r):
    """A version-2 macaroon: location, identifier, an empty caveat section, signature (libmacaroons binary format)."""
    fields = ((1, b"pypi.org"), (2, r.randbytes(36)))
    packed = b"".join(bytes([kind, len(value)]) + value for kind, value in fields)
    raw = b"\x02" + packed + b"\x00\x00\x06 " + r.randbytes(32)
    return "pypi-" + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def sas(r):
    sig = base64_of(r, 32).replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    parts = ["sv=2023-11-03", "se=2027-01-31T12%3A00%3A00Z", "sr=c", "sp=rl", "spr=https", f"sig={sig}"]
    r.shuffle(parts)
    return "&".join(parts)


def jwt(r):
    encode = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")  # noqa: E731
    signed = f"{encode({'alg': 'HS256', 'typ': 'JWT'})}.{encode({'sub': hexes(r, 12), 'exp': r.randrange(10**9)})}"
    mac = hmac.digest(r.randbytes(32), signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def pem(r):
    kind = r.choice(["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "])
    body = base64_of(r, 120)
    lines = "\n".join(body[i : i + 64] for i in range(0, len(body), 64))
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{lines}\n-----END {kind}PRIVATE KEY-----"


def service_account(r):
    key = {"type": "service_account", "project_id": f"p-{hexes(r, 6)}", "private_key_id": hexes(r, 40)}
    return json.dumps({**key, "private_key": pem(r), "client_email": "x@p.iam.gserviceaccount.com"}, indent=2)


def credentials(r):
    return base64.b64encode(f"svc:{chars(r, ALNUM, 16)}".encode()).decode()


def password(r):
    """As people and password managers make them."""
    word = lambda: chars(r, string.ascii_lowercase, r.randint(3, 6))  # noqa: E731
    return r.choice(
        [
            f"{word().capitalize()}{r.randrange(10, 9999)}{r.choice('!#$%')}{word()}",
            chars(r, ALNUM, 14) + str(r.randrange(10)) + "x",
            chars(r, ALNUM + "!#$%^*_.-", 20) + "7q",
        ]
    )


def luhn_digit(digits):
    total = sum(
        int(c) if i % 2 else (int(c) * 2 - 9 if int(c) > 4 else int(c) * 2) for i, c in enumerate(reversed(digits))
    )
    return str(-total % 10)


CARD_PREFIXES = {
    16: ["4", "51", "55", "2221", "2720", "6011", "65", "3528", "62", "9792"],
    15: ["34", "37"],
    14: ["36", "305"],
}


def card_number(r):
    length, prefix = r.choice([(n, p) for n, prefixes in CARD_PREFIXES.items() for p in prefixes])
    body = prefix + chars(r, string.digits, length - len(prefix) - 1)
    return body + luhn_digit(body)


def card(r):
    number = card_number(r)
    groups = {16: (4, 4, 4, 4), 15: (4, 6, 5), 14: (4, 6, 4)}[len(number)]
    gap = r.choice(["", " ", "-"])
    pieces, at = [], 0
    for size in groups:
        pieces.append(number[at : at + size])
        at += size
    return gap.join(pieces)


def track(r):
    expiry = f"{r.randint(26, 39)}{r.randint(1, 12):02}"
    if r.random() < 0.5:
        return f";{card_number(r)}={expiry}{chars(r, string.digits, 12)}?"
    return (
        f"%B{card_number(r)}^{chars(r, string.ascii_uppercase, 6)}/{chars(r, string.ascii_uppercase, 5)}^{expiry}1010?"
    )


def iban(r):
    letters, digits = string.ascii_uppercase, string.digits
    country, bban = r.choice(
        [
            ("DE", chars(r, digits, 18)),
            ("GB", chars(r, letters, 4) + chars(r, digits, 14)),
            ("FR", chars(r, digits, 10) + chars(r, letters + digits, 11) + chars(r, digits, 2)),
            ("TR", chars(r, digits, 6) + chars(r, digits, 16)),
            ("NL", chars(r, letters, 4) + chars(r, digits, 10)),
            ("ES", chars(r, digits, 20)),
            ("NO", chars(r, digits, 11)),
            ("MT", chars(r, letters, 4) + chars(r, digits, 5) + chars(r, letters + digits, 18)),
        ]
    )
    number = int("".join(str(int(c, 36)) for c in f"{bban}{country}00"))
    whole = f"{country}{98 - number % 97:02}{bban}"
    return whole if r.random() < 0.5 else " ".join(whole[i : i + 4] for i in range(0, len(whole), 4))


def tckn(r):
    d = [r.randint(1, 9)] + [r.randrange(10) for _ in range(8)]
    d.append((sum(d[0:9:2]) * 7 - sum(d[1:8:2])) % 10)
    return "".join(map(str, [*d, sum(d) % 10]))


def mrz(r):
    check = lambda field: str(  # noqa: E731 - ICAO 9303-3, 4.9
        sum((7, 3, 1)[i % 3] * (0 if c == "<" else int(c, 36)) for i, c in enumerate(field)) % 10
    )
    number = chars(r, string.ascii_uppercase, 1) + chars(r, string.ascii_uppercase + string.digits, 8)
    born, ends = (f"{r.randrange(100):02}{r.randint(1, 12):02}{r.randint(1, 28):02}" for _ in range(2))
    dates, nation = (born + check(born), ends + check(ends)), r.choice(["DEU", "UTO", "TUR", "D<<"])
    if r.random() < 0.3:  # identity card, second line
        return f"{dates[0]}{r.choice('MF<')}{dates[1]}{nation}{'<' * 11}{r.randrange(10)}"
    personal = r.choice(["<" * 14, chars(r, string.digits, 9) + "<" * 5])
    personal += r.choice([check(personal), "<"]) if not personal.strip("<") else check(personal)
    whole = check(number + check(number) + dates[0] + dates[1] + personal)
    return f"{number}{check(number)}{nation}{dates[0]}{r.choice('MF<')}{dates[1]}{personal}{whole}"


def phrase(r, n, checked=True):
    known, entropy = list(words()), r.randbytes(n * 4 // 3)
    bits = "".join(f"{b:08b}" for b in entropy)
    bits += f"{hashlib.sha256(entropy).digest()[0]:08b}"[: len(bits) // 32]
    chosen = [known[int(bits[i : i + 11], 2)] for i in range(0, len(bits), 11)] if checked else r.sample(known, n)
    form = r.randrange(4)
    if form == 0:
        return "\n".join(f"{i}. {word}" for i, word in enumerate(chosen, 1))
    return (" ", "\n", ", ")[form - 1].join(chosen)


def base58check(payload):
    raw = payload + hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:4]
    number, text = int.from_bytes(raw, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = BASE58[digit] + text
    return text


def wallet(r):
    return base58check(
        r.choice(
            [
                b"\x80" + r.randbytes(32),
                b"\x80" + r.randbytes(32) + b"\x01",
                b"\xef" + r.randbytes(32) + b"\x01",
                bytes.fromhex("0488ade4") + b"\0" * 9 + r.randbytes(32) + b"\0" + r.randbytes(32),
            ]
        )
    )


def ssn(r):
    area = r.choice([n for n in range(1, 900) if n != 666])
    return f"{area:03}-{r.randint(1, 99):02}-{r.randint(1, 9999):04}"


def us_phone(r):
    area, exchange = (f"{r.randint(2, 9)}{r.choice('02345678')}{r.choice('02345678')}" for _ in range(2))
    line = f"{r.randint(1000, 9999)}"
    return r.choice(["({}) {}-{}", "{}-{}-{}", "{}.{}.{}", "1-{}-{}-{}"]).format(area, exchange, line)


def intl_phone(r):
    form = r.choice(
        ["+44 20 #### ####", "+49 30 #######", "+49-171-#######", "+90 (532) ### ## ##", "+33 1 ## ## ## ##"]
    )
    return "".join(r.choice(string.digits) if c == "#" else c for c in form)


FREE = {
    "anthropic_key": lambda r: f"sk-ant-api03-{chars(r, URL64, 93)}AA",
    "atlassian_token": lambda r: f"ATATT3xFfGF0{chars(r, URL64, 171)}={chars(r, '0123456789ABCDEF', 8)}",
    "aws_access_key_id": lambda r: r.choice(["AKIA", "ASIA"]) + chars(r, BASE32, 16),
    "azure_client_secret": lambda r: f"{chars(r, ALNUM, 3)}8Q~{chars(r, ALNUM + '-_.~', 33)}{r.choice(ALNUM)}",
    "azure_sas_token": sas,
    "basic_auth_url": lambda r: (
        f"{r.choice(['postgres', 'https', 'redis', 'mongodb+srv'])}://app:{chars(r, ALNUM, 12)}7@db.example"
    ),
    "bip39_seed_phrase": lambda r: phrase(r, r.choice([12, 15, 18, 21, 24])),
    "bip39_words": lambda r: phrase(r, r.randint(12, 24), checked=False),
    "card_track_data": track,
    "databricks_token": lambda r: "dapi" + hexes(r, 32),
    "discord_webhook": lambda r: (
        f"https://discord.com/api/webhooks/{r.randrange(10**17, 10**19)}/{chars(r, URL64, 68)}"
    ),
    "docker_pat": lambda r: f"dckr_pat_{chars(r, URL64, 27)}",
    "email": lambda r: (
        f"{chars(r, string.ascii_lowercase, 5)}.{chars(r, ALNUM, 6)}@{chars(r, string.ascii_lowercase, 7)}"
        + r.choice([".com", ".co.uk", ".example", ".museum"])
    ),
    "gcp_oauth_token": lambda r: r.choice([f"ya29.a0{chars(r, URL64, 160)}", f"GOCSPX-{chars(r, URL64, 28)}"]),
    "gcp_service_account_key": service_account,
    "github_token": lambda r: r.choice(
        [
            with_crc(r.choice(["ghp_", "gho_", "ghs_"]), chars(r, ALNUM, 30)),
            f"github_pat_{chars(r, ALNUM, 22)}_{chars(r, ALNUM, 59)}",
        ]
    ),
    "gitlab_token": lambda r: r.choice(
        [f"glpat-{url64(r, 15)}", f"glpat-{url64(r, 24)}.{hexes(r, 2)}.{chars(r, string.digits + 'abcdef', 9)}"]
    ),
    "google_api_key": lambda r: f"AIzaSy{chars(r, URL64, 33)}",
    "groq_key": lambda r: f"gsk_{chars(r, ALNUM, 52)}",
    "huggingface_token": lambda r: f"hf_{chars(r, string.ascii_letters, 34)}",
    "iban": iban,
    "jwt": jwt,
    "nino_uk": lambda r: r.choice(["{}{}{}{}{}", "{} {} {} {} {}"]).format(
        r.choice(["AB", "CE", "JG", "SK", "YZ"]), *(f"{r.randrange(100):02}" for _ in range(3)), r.choice("ABCD")
    ),
    "npm_token": lambda r: with_crc("npm_", chars(r, ALNUM, 30)),
    "openai_key": lambda r: r.choice(
        [
            f"sk-{chars(r, ALNUM, 20)}T3BlbkFJ{chars(r, ALNUM, 20)}",
            f"sk-proj-{chars(r, URL64, 74)}T3BlbkFJ{chars(r, URL64, 74)}",
        ]
    ),
    "passport_mrz": mrz,
    "payment_card": card,
    "phone_intl": intl_phone,
    "phone_us": us_phone,
    "private_key_pem": pem,
    "pypi_token": pypi,
    "replicate_token": lambda r: f"r8_{chars(r, ALNUM, 37)}",
    "sendgrid_key": lambda r: f"SG.{chars(r, URL64, 22)}.{chars(r, URL64, 43)}",
    "shopify_token": lambda r: r.choice(["shpat_", "shpss_", "shpca_"]) + hexes(r, 32),
    "slack_token": slack,
    "slack_webhook": lambda r: "https://hooks.slack.com/services/T{0}/B{0}/{1}".format(
        chars(r, string.ascii_uppercase + string.digits, 10), chars(r, ALNUM, 24)
    ),
    "square_token": lambda r: r.choice([f"EAAA{chars(r, URL64, 60)}", f"sq0csp-{chars(r, URL64, 43)}"]),
    "ssn_us": ssn,
    "stripe_key": lambda r: r.choice(["sk_live_", "rk_live_"]) + chars(r, ALNUM, r.choice([24, 99])),
    "stripe_test_key": lambda r: "sk_test_" + chars(r, ALNUM, r.choice([24, 99])),
    "tckn_tr": tckn,
    "telegram_bot_token": lambda r: f"{r.randrange(10**8, 10**10)}:AA{chars(r, URL64, 33)}",
    "vault_token": lambda r: f"hvs.{chars(r, URL64, r.choice([24, 90]))}",
    "wallet_private_key": wallet,
}
"""pattern -> a value that is recognised by itself."""
CONTEXTS = {
    "prose": "Please take {} for the test of today, thank you.",
    "end of a sentence": "What you asked for is {}.",
    "markdown": "- the value: `{}`\n- the rest",
    "code": 'client = Client("{}", timeout=30)',
    "environment": "DEBUG=1\nexport VALUE={}\nOTHER=2\n",
    "yaml": "a: 1\nvalue: '{}'\n",
    "markup": "<value>{}</value>",
    "list": "[{}, 12]",
}
NAMED = {
    "authorization_header": (
        lambda r: r.choice([f"Bearer {chars(r, ALNUM, 40)}", f"Basic {credentials(r)}"]),
        ["Authorization: {}", "-H 'Authorization: {}'", '{{"Authorization": "{}"}}', 'headers["authorization"] = "{}"'],
    ),
    "aws_secret_access_key": (
        lambda r: base64_of(r, 30),
        [
            "AWS_SECRET_ACCESS_KEY={}",
            "aws_secret_access_key = {}",
            '"SecretAccessKey": "{}"',
            "secret_access_key: '{}'",
            "export AWS_SECRET_KEY='{}'",
        ],
    ),
    "azure_storage_key": (
        lambda r: base64_of(r, 64),
        ["AccountName=a;AccountKey={};EndpointSuffix=core", "AZURE_STORAGE_KEY={}", '"accountKey": "{}"'],
    ),
    "generic_secret_kv": (
        password,
        ["DB_PASSWORD={}", "password: {}", '"password": "{}"', "secret = '{}'", "passwd={}", "client_secret: {}"],
    ),
    "generic_token_kv": (
        lambda r: r.choice([hexes(r, 40), chars(r, ALNUM, 32)]),
        [
            "SERVICE_TOKEN={}",
            '"accessToken": "{}"',
            "api_key: {}",
            "apiKey = '{}'",
            "clientSecret: '{}'",
            "?token={}&x",
        ],
    ),
    "llm_vendor_kv": (
        lambda r: chars(r, ALNUM, 32),
        [
            "MISTRAL_API_KEY={}",
            "cohere api key: {}",
            '"deepseek_api_key": "{}"',
            "TOGETHER_API_KEY='{}'",
            "The Voyage AI key is {}.",
        ],
    ),
    "twilio_key": (
        lambda r: hexes(r, 32),
        ["TWILIO_AUTH_TOKEN={}", "my twilio auth token is {}", 'twilio.rest.Client(s, "{}")', "twilio:\n  token: {}\n"],
    ),
}
"""pattern -> (a value that is recognised beside its name, the ways to write the name)."""


def test_every_pattern_has_a_generator():
    assert {*FREE, *NAMED} == set(ALL)


def missed(pattern_id, draw, forms):
    """Texts in which a drawn value is not found, or not as a whole."""
    r = random.Random(pattern_id)
    pattern, engine, lost = ALL[pattern_id], Engine([ALL[pattern_id]]), []
    for _ in range(TIMES):
        value = draw(r)
        secret = value.split(" ", 1)[1] if pattern_id == "authorization_header" else value.removeprefix("1. ")
        for form in forms:
            text = form.format(value)
            at = text.index(secret)
            for hit in engine.scan(text):
                whole = hit.start <= at and hit.end >= at + len(secret)
                inside = at <= hit.start < hit.end <= at + len(secret)
                # Of an address only the password is cut out; a key in a block has the whole body refused.
                if whole or (inside and (not pattern.redactable or "secret" in pattern.verify.groupindex)):
                    break
            else:
                lost.append(text)
    return lost


@pytest.mark.parametrize("pattern_id", sorted(FREE))
def test_values_that_speak_for_themselves_are_found_everywhere(pattern_id):
    assert missed(pattern_id, FREE[pattern_id], CONTEXTS.values()) == []


@pytest.mark.parametrize("pattern_id", sorted(NAMED))
def test_values_beside_their_name_are_found_however_it_is_written(pattern_id):
    draw, forms = NAMED[pattern_id]
    assert missed(pattern_id, draw, forms) == []


@pytest.mark.parametrize("pattern_id", sorted(FREE))
def test_values_inside_json_that_stands_in_a_text_are_found(pattern_id):
    """With the escapes of JSON left in place, as logs and models do; lists of words stand on one line there."""

    def draw(r):
        value = FREE[pattern_id](r)
        return json.dumps(value.replace("\n", " ") if ALL[pattern_id].hold == "words" else value)[1:-1]

    assert missed(pattern_id, draw, ['{{"note": 1, "v": "{}"}}', '{{"note":1,"v":["{}"]}}']) == []
