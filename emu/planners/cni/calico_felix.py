"""Rules as Felix writes them: each has a comment with a hash, by which Felix knows its own rules again.

A hash is made of the hash before it in the chain (of the chain's name, for the first) and of the rule's text as Felix
spells it, `--in-interface cali+ --jump cali-from-wl-dispatch`. So the spelling here is Felix's.

Source: projectcalico/calico felix/iptables/rules.go (RuleHashes), felix/hashutils (GetLengthLimitedID). Checked against
dumps of real Nodes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache

from emu.netfilter import parse
from emu.netfilter.model import Chain, Match, Rule

HASH_LENGTH = 16
MOST = 28  # bytes of a chain's name
APPENDED = "*appends*"  # behind the name of the kernel's chain, in the hashes of rules at its end


def chain(name: str, lines: Iterable[str], policy: str = "-") -> Chain:
    return Chain(name, tuple(rules(name, lines)), policy)


def rules(name: str, lines: Iterable[str], behind: str = "") -> Iterator[Rule]:
    """`behind` is APPENDED for rules at the end of a chain of the kernel's."""
    digest = hashlib.sha224(f"{name}{behind}".encode()).digest()
    for line in lines:
        text = f"-A {name}{behind} HASH {line}".rstrip()
        digest = hashlib.sha224(digest + text.encode()).digest()
        yield replace(_plain(line), comment=f"cali:{_short(digest, HASH_LENGTH)}")


def commented(text: str, line: str) -> str:
    return f'-m comment --comment "{text}" {line}'.rstrip()


@lru_cache(maxsize=4096)
def _plain(line: str) -> Rule:
    """The rule without its hash; a comment of its own comes behind that."""
    _, rule = parse.rule(f"-A X {line}")
    own = (Match("comment", "--comment", rule.comment),) if rule.comment else ()
    return replace(rule, matches=(*own, *rule.matches), comment="", comment_at=0)


def named(prefix: str, name: str) -> str:
    """The name of a chain, or where it would be too long a hash of what is behind the prefix."""
    if len(prefix) + len(name) <= MOST:
        return prefix + name
    return f"{prefix}_{_short(hashlib.sha256(name.encode()).digest(), MOST - 1 - len(prefix))}"


def _short(digest: bytes, length: int) -> str:
    return base64.urlsafe_b64encode(digest).decode()[:length]
