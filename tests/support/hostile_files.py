"""Files of models that were changed: cut off, with other bytes, numbers or blocks, and with counts that are huge."""

import io
import random
import re
import struct
import zipfile

NUMBERS = [b"-1", b"0", b"1", b"2", b"7", b"-2", b"-9", b"99", b"4096", b"2147483647", b"-2147483648", b"4294967295"]
WORDS = [struct.pack("<i", value) for value in (-1, 0, 1, 2, 7, 255, 4096, 2**31 - 1, -(2**31))]
LIGHTGBM_TREE = re.compile(rb"Tree=\d+\n.*?\n\n\n?(?=Tree=|end of trees)", re.DOTALL)
LIGHTGBM_SIZES = re.compile(rb"tree_sizes=[^\n]*")
NUMBER = re.compile(rb"-?\d+")


def changed(content: bytes, seed: int) -> bytes:
    """Return a file with one to three changes, and the sizes of a text file's trees as they are then.

    Args:
        content: the file's.
        seed: of the changes.
    """
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 3)):
        content = chance.choice([cut, flip, block, number, number, word, word])(content, chance)
    return sized(content) if content.startswith(b"tree\n") and chance.random() < 0.9 else content


def changed_member(content: bytes, seed: int) -> bytes:
    """Return a zip file of which one member was changed, with checksums that fit.

    Args:
        content: the zip file.
        seed: of the changes.
    """
    sink = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as given, zipfile.ZipFile(sink, "w") as made:
        chosen = random.Random(seed).choice(given.namelist())
        for name in given.namelist():
            member = given.read(name)
            made.writestr(name, changed(member, seed) if name == chosen else member)
    return sink.getvalue()


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))] if chance.random() < 0.3 else content


def flip(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content))
    return content[:at] + bytes([chance.randrange(256)]) + content[at + 1 :]


def block(content: bytes, chance: random.Random) -> bytes:
    """Remove a block, or repeat it somewhere else."""
    at, length = chance.randrange(len(content)), chance.randrange(1, 40)
    taken = content[at : at + length]
    if chance.random() < 0.5:
        return content[:at] + content[at + length :]
    there = chance.randrange(len(content))
    return content[:there] + taken + content[there:]


def number(content: bytes, chance: random.Random) -> bytes:
    """Replace a number that is written as text."""
    found = list(NUMBER.finditer(content))
    if not found:
        return content
    one = chance.choice(found)
    return content[: one.start()] + chance.choice(NUMBERS) + content[one.end() :]


def word(content: bytes, chance: random.Random) -> bytes:
    """Replace four bytes, as they are in a file or in the other order."""
    if content.startswith(b"tree\n"):
        return number(content, chance)
    at, value = chance.randrange(len(content)) & chance.choice([-1, -4]), chance.choice(WORDS)
    return content[:at] + (value if chance.random() < 0.5 else value[::-1]) + content[at + 4 :]


def sized(content: bytes) -> bytes:
    """Return a text file of LightGBM with the sizes that its trees have."""
    sizes = b" ".join(b"%d" % len(tree) for tree in LIGHTGBM_TREE.findall(content))
    return LIGHTGBM_SIZES.sub(b"tree_sizes=" + sizes, content, count=1)
