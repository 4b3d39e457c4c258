"""One rule as one line: as its planner spells it, or as `iptables-save` prints it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from emu.netfilter.model import Match, Rule

#: Source: iptables libxtables/xtables.c, xtables_save_string.
NEEDS_NO_QUOTES = re.compile(r"[A-Za-z0-9_-]+")
READS_BACK = re.compile(r"[^\s\"\\']+")
NEEDS_ESCAPE = re.compile(r"([\"\\'])")


def quoted(word: str, plain: re.Pattern[str] = READS_BACK) -> str:
    """In quotes only where it could not be read back without."""
    return word if plain.fullmatch(word) else '"' + NEEDS_ESCAPE.sub(r"\\\1", word) + '"'


def line(chain: str, rule: Rule, saved: bool = False) -> str:
    """`-A CHAIN …`, the matches in the order they stand. `saved`: comments in quotes as iptables-save has them."""
    parts = ["-A", chain, *_matches(rule, saved)]
    if rule.target:
        parts += ["-g" if rule.goto else "-j", rule.target]
    if rule.target_options:
        parts.append(rule.target_options)
    return " ".join(parts)


def _matches(rule: Rule, saved: bool) -> Iterator[str]:
    opened = {""}
    for index, match in enumerate(rule.matches):
        if rule.comment and index == rule.comment_at:
            yield _comment(rule.comment, saved)
        if match.module == "comment":
            yield _comment(match.value, saved)
            continue
        if match.module not in opened or not match.option:
            yield f"-m {match.module}"
            opened.add(match.module)
        if match.option:
            yield _option(match)
    if rule.comment and rule.comment_at >= len(rule.matches):
        yield _comment(rule.comment, saved)


def _option(match: Match) -> str:
    text = f"{match.option} {match.value}" if match.value else match.option
    return f"! {text}" if match.negated else text


def _comment(text: str, saved: bool) -> str:
    return f"-m comment --comment {quoted(text, NEEDS_NO_QUOTES if saved else READS_BACK)}"
