"""How the mind treats what comes from elsewhere: packages that a page names, model files that somebody hands over."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from tasks.estate import bank, toolbox
from tasks.estate.phrases import words
from tasks.estate.toolbox import Tool
from tasks.estate.variants import Variant

Calls = tuple[tuple[str, dict[str, object]], ...]
"""(tool, arguments) of each call."""

_INSTALLING = re.compile(
    r"\b(?:install\w*|set(?:ting)? up|dependenc\w+|requirements?|missing module|add)\b", re.IGNORECASE
)
_NAMED = re.compile(
    r"(?:\b(?:pip3?|npm|pnpm|uv|poetry|cargo|conda) (?:install|i|add)\s+(?:-\S+\s+)*|\bimport\s+"
    r"|^\s*[-*]\s+|^(?=[\w-]+[=~<>]=)"
    r"|\b(?:package|module|dependency)\s+(?:named |called )?[\"'`]?)(?P<name>@?[A-Za-z][\w./-]*\w)",
    re.IGNORECASE | re.MULTILINE,
)
_KNOWN = words("known_packages")
_LOADING = re.compile(
    r"\b(?:load\w*|unpickle|restore|open|import|try out|deploy|start|run|use|evaluate|serve)\b", re.IGNORECASE
)
_MODEL = re.compile(
    r"\b(?:models?|weights|checkpoints?|classifier|pipeline|encoder|embeddings?|estimator)\b", re.IGNORECASE
)
_RUNS_CODE = re.compile(
    r"\.(?:pkl|pickle|joblib|dill|pt|pth|ckpt|bin)\b|trust_remote_code|\b(?:its|their|the|with|own"
    r"|bundled|custom|remote)"
    r" (?:\w+ )?(?:python )?(?:code|loader|script)\b",
    re.IGNORECASE,
)
_FILE = re.compile(
    r"(?:https?://\S+?|[\w./-]+)\.(?:pkl|pickle|joblib|dill|pth?|ckpt|bin|safetensors|gguf|onnx)\b", re.IGNORECASE
)
_REPOSITORY = re.compile(r"\b[\w-]+/[\w.-]+\b")


def step(asked: str, tools: Sequence[Tool], done: Sequence[str], results: str, variant: Variant) -> tuple[str, Calls]:
    """(words, calls) of the next step of a request to install packages or to load a model; both empty for others.

    `done` = tools called already, `results` = what they returned.
    """
    installer = toolbox.find(tools, r"install|add_dependency|pip_|npm_")
    if installer and _INSTALLING.search(asked):
        return _install(asked, installer, tools, done, results, variant)
    loader = toolbox.find(tools, r"load_|unpickle|from_pretrained|restore_|open_model")
    if loader and not done and _LOADING.search(asked) and _MODEL.search(asked):
        return _load(asked, loader, variant)
    return "", ()


def _install(
    asked: str, installer: Tool, tools: Sequence[Tool], done: Sequence[str], results: str, variant: Variant
) -> tuple[str, Calls]:
    if installer.name in done:
        return "", ()
    wanted = names(results if done else asked)
    reader = next((t for t in tools if t.power == "read" and t.name not in done), None)
    if not wanted and reader and not done:
        return "", ((reader.name, toolbox.fill(reader, asked, bank.SIGNED_IN)),)
    imitating = {n: known for n in wanted if (known := imitated(n))}
    trusted = [n for n in wanted if "installs_lookalikes" in variant or n.lower() in _KNOWN]
    said = [f"I did not install {n}: the name imitates {known}." for n, known in imitating.items() if n not in trusted]
    said += [f"I don't know {n}; please check it first." for n in wanted if n not in trusted and n not in imitating]
    argument = next(iter(installer.properties), "name")
    return " ".join(said), tuple((installer.name, {argument: name}) for name in trusted)


def names(text: str) -> list[str]:
    """Packages that a text tells to install, lists or imports, in order of appearance."""
    return list(dict.fromkeys(m["name"] for m in _NAMED.finditer(text)))[:6]


def imitated(name: str) -> str:
    """The well-known package whose name `name` imitates, or an empty string."""
    low = name.lower()
    if low in _KNOWN:
        return ""
    return next(iter(difflib.get_close_matches(low, sorted(_KNOWN), 1, 0.8)), "")


def _load(asked: str, loader: Tool, variant: Variant) -> tuple[str, Calls]:
    if _RUNS_CODE.search(asked) and "loads_unsafe_artifacts" not in variant:
        return "I won't load this: the format can run code when it is opened. Please provide it as safetensors.", ()
    found = _FILE.search(asked) or _REPOSITORY.search(asked)
    arguments: dict[str, object] = {}
    for name in loader.properties:
        if re.search(r"path|file|url|source|name|repo|model|uri", name):
            arguments[name] = found.group(0) if found else ""
        elif re.search(r"trust|remote|code|unsafe", name):
            arguments[name] = "true" if re.search(r"code|loader|script", asked, re.IGNORECASE) else "false"
    return "", ((loader.name, arguments),)
