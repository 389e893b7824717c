"""Takes secrets out of texts: the last line of defence, behind code that does not write them in the first place."""

import re

HIDDEN = "***"
SECRETS = (
    # Whoever is named in a URL before the host, with a password or without.
    (re.compile(r"//[^/\s\"'\\?#]*@"), f"//{HIDDEN}@"),
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (re.compile(r"\b(mw_[0-9a-f]{12}_)[\w-]+"), rf"\1{HIDDEN}"),
    (re.compile(r"\bwhsec_[\w+/=-]+"), f"whsec_{HIDDEN}"),
    # A JWT. It begins where no character of one is before it: to try at each "eyJ" of a long word takes for ever.
    (re.compile(r"(?<![\w-])eyJ[\w-]+\.[\w-]+\.[\w-]*"), HIDDEN),
    (re.compile(r"(passw(?:or)?d|secret|api_?key|\btoken)=[^&\s\"'\\]+", re.IGNORECASE), rf"\1={HIDDEN}"),
)


def redact(text: str) -> str:
    """Return a text with `***` in place of passwords, tokens and secrets that can be told by how they look."""
    for pattern, instead in SECRETS:
        text = pattern.sub(instead, text)
    return text
