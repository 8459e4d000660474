"""basf2's branch names: how a variable's name becomes a ROOT branch name, and back.

basf2 (``framework/utilities/src/MakeROOTCompatible.cc``) replaces every special character of a
variable by ``__`` and two letters and drops whatever is not a letter, digit or underscore then.

>>> mangle("useCMSFrame(E)")
'useCMSFrame__boE__bc'
>>> unmangle("daughter__bo0__cm__spE__bc")
'daughter(0, E)'
"""

from __future__ import annotations

import re
from typing import Final

#: Two-letter code of each special character. basf2 lists "-" twice; the first, ``mi``, wins.
CODES: Final = {
    " ": "sp", ",": "cm", ":": "cl", "=": "eq", "<": "st", ">": "gt", ".": "pt", "+": "pl",
    "-": "mi", "(": "bo", ")": "bc", "{": "co", "}": "cc", "[": "so", "]": "sc", "`": "to",
    "´": "tc", "^": "ha", "°": "ci", "$": "do", "§": "pa", "%": "pr", "!": "em", "?": "qm",
    ";": "sm", "#": "hs", "*": "mu", "/": "sl", "\\": "bl", "'": "sq", '"': "dq", "~": "ti",
    "|": "pi", "&": "am", "@": "at",
}  # fmt: skip

#: Branches that basf2 itself decorates with ``__``; they are not mangled variables
#: (``__production__`` would otherwise read as ``%oduction__``).
COUNTERS: Final = frozenset(
    {
        "__experiment__",
        "__run__",
        "__event__",
        "__production__",
        "__candidate__",
        "__ncandidates__",
        "__signalSideCandidate__",
        "__nSignalSideCandidates__",
        "__MCDecayString__",
        "__weight__",
    }
)

_ENCODE: Final = {ord(character): f"__{code}" for character, code in CODES.items()}
_DECODE: Final = {code: character for character, code in CODES.items()} | {"da": "-"}
_CODE: Final = re.compile(f"__({'|'.join(_DECODE)})")
_FORBIDDEN: Final = re.compile(r"[^A-Za-z0-9_]")
_BLANKS: Final = re.compile(r"(?:(?<=[,(]) +)|(?: +(?=[,)]))")


def mangle(variable: str) -> str:
    """Branch name that basf2 writes for ``variable``.

    Spaces count: ``daughter(0,p)`` and ``daughter(0, p)`` are two branches of one quantity.
    """
    return _FORBIDDEN.sub("", variable.translate(_ENCODE))


def unmangle(branch: str) -> str:
    """Variable behind a branch name; branches that basf2 does not mangle are returned as they are.

    Exact for every variable without a literal ``__`` and without characters that
    :func:`mangle` drops.
    """
    if branch in COUNTERS:
        return branch
    return _CODE.sub(lambda match: _DECODE[match[1]], branch)


def normalise(variable: str) -> str:
    """The variable without the blanks that carry no meaning: after ``,`` and inside brackets.

    Two spellings of one quantity have the same normal form.

    >>> normalise("daughter( 0, daughter(1, clusterTiming) )")
    'daughter(0,daughter(1,clusterTiming))'
    """
    return _BLANKS.sub("", variable)
