"""Redaction of secrets in texts: a second line of defence behind code that does not write them in the first place."""

import re

HIDDEN = "***"
SECRETS = (
    # User information in a URL, with a password or without.
    (re.compile(r"//[^/\s\"'\\?#]*@"), f"//{HIDDEN}@"),
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (re.compile(r"\b(mw_[0-9a-f]{12}_)[\w-]+"), rf"\1{HIDDEN}"),
    (re.compile(r"\bwhsec_[\w+/=-]+"), f"whsec_{HIDDEN}"),
    # A JWT. It begins where no character of one precedes it: trying at each "eyJ" of a long word takes quadratic time.
    (re.compile(r"(?<![\w-])eyJ[\w-]+\.[\w-]+\.[\w-]*"), HIDDEN),
    (re.compile(r"(passw(?:or)?d|secret|api_?key|\btoken)=[^&\s\"'\\]+", re.IGNORECASE), rf"\1={HIDDEN}"),
)


def redact(text: str) -> str:
    """Return a text with `***` in place of the passwords, tokens and secrets that their format identifies."""
    for pattern, replacement in SECRETS:
        text = pattern.sub(replacement, text)
    return text
