"""Profiles: named servers and how to call them, in the user's configuration file."""

import os
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from subprocess import CalledProcessError, TimeoutExpired, run
from typing import Any

from modelward.shared.suggestions import nearest

CONFIG, PROFILE = "MODELWARD_CONFIG", "MODELWARD_PROFILE"
"""The environment variables that name the configuration file and the profile."""
TOKEN_SOURCES = ("token_file", "token_env", "token_command")
COMMAND_SECONDS = 60.0
"""How long a command may take to print a token: it may ask the user for a password."""
TOKEN_SECONDS = 300.0
"""For how long the token that a command printed is used."""


class ProfileError(Exception):
    """The configuration file, one of its profiles, or the token that it names cannot be used."""


@dataclass(frozen=True)
class Profile:
    """A server and how to call it; None is not configured."""

    name: str = ""
    server: str | None = None
    actor: str | None = None
    timeout: float | None = None
    time_zone: str | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    token_file: Path | None = None
    token_env: str | None = None
    token_command: tuple[str, ...] | None = None

    @property
    def token_source(self) -> str:
        """Where the token comes from, in words; empty without one."""
        if self.token_file:
            return f"file {self.token_file}"
        if self.token_command:
            return f"command {' '.join(self.token_command)}"
        return f"variable {self.token_env}" if self.token_env else ""

    @cached_property
    def token(self) -> Callable[[], str] | None:
        """A function that returns the current token; None where the profile has no source of tokens."""
        if self.token_file:
            return self._token_of_file
        if self.token_command:
            return _CommandToken(self.name, self.token_command)
        return self._token_of_environment if self.token_env else None

    def _token_of_file(self) -> str:
        assert self.token_file is not None
        try:
            token = self.token_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ProfileError(f"profile {self.name}: {self.token_file}: {_reason(error)}") from None
        return _present(token, f"profile {self.name}: {self.token_file} contains no token")

    def _token_of_environment(self) -> str:
        assert self.token_env is not None
        token = os.environ.get(self.token_env, "")
        return _present(token, f"profile {self.name}: the environment variable {self.token_env} is not set")


class _CommandToken:
    """The token that a command prints; it is run again when the token is old."""

    def __init__(self, profile: str, command: tuple[str, ...]) -> None:
        self._profile = profile
        self._command = command
        self._token = ""
        self._printed_at = 0.0

    def __call__(self) -> str:
        if not self._token or time.monotonic() - self._printed_at > TOKEN_SECONDS:
            self._token, self._printed_at = self._printed(), time.monotonic()
        return self._token

    def _printed(self) -> str:
        named = f"profile {self._profile}: the token_command {self._command[0]}"
        try:
            done = run(self._command, capture_output=True, text=True, check=True, timeout=COMMAND_SECONDS)
        except CalledProcessError as error:
            said = (error.stderr or "").strip().splitlines()
            raise ProfileError(f"{named} ended with code {error.returncode}{f': {said[-1]}' if said else ''}") from None
        except TimeoutExpired:
            raise ProfileError(f"{named} did not end within {COMMAND_SECONDS:g} s") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ProfileError(f"{named}: {_reason(error)}") from None
        return _present(done.stdout.strip(), f"{named} printed no token")


def _present(token: str, otherwise: str) -> str:
    if not token:
        raise ProfileError(otherwise)
    return token


def _reason(error: OSError | ValueError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not UTF-8"


class Configuration:
    """The user's configuration file.

    Args:
        path: the file; None for the usual place, where it need not exist.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._required = path is not None
        self.path: Path = path or default_path()

    def profile(self, name: str | None = None) -> Profile:
        """Return a profile.

        Args:
            name: its name; the default profile when None, or one in which nothing is set where there is no default.

        Raises:
            ProfileError: there is none of this name, or it is not valid.
        """
        name = name or self.default
        if not name:
            return Profile()
        if name not in self._tables:
            there_are = f"it has {', '.join(self.names)}" if self._tables else "it has none"
            raise ProfileError(f"{self.path} has no profile {name!r}{nearest(name, self.names)}; {there_are}")
        return _read_profile(name, self._tables[name], self.path)

    @property
    def names(self) -> list[str]:
        """The names of all profiles, in the order of the file."""
        return list(self._tables)

    @property
    def default(self) -> str:
        """The name of the profile that is used where none is named; empty where there is none."""
        return str(self._document.get("default_profile", ""))

    @property
    def _tables(self) -> Mapping[str, Any]:
        tables: dict[str, Any] = self._document.get("profiles", {})
        return tables

    @cached_property
    def _document(self) -> dict[str, Any]:
        try:
            document = tomllib.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            if self._required:
                raise ProfileError(f"{self.path}: {error.strerror}") from None
            return {}  # Who has no profiles needs no file.
        except tomllib.TOMLDecodeError as error:
            raise ProfileError(f"{self.path} is not TOML: {error}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ProfileError(f"{self.path}: {_reason(error)}") from None
        _check_document(document, self.path)
        return document


def profile_from_environment() -> Profile:
    """Return the profile that `MODELWARD_PROFILE` names; without it one in which nothing is set."""
    name, path = os.environ.get(PROFILE), os.environ.get(CONFIG)
    return Configuration(Path(path) if path else None).profile(name) if name else Profile()


def default_path() -> Path:
    """Return the usual place of the configuration file."""
    named = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    folder = named if named.is_absolute() else Path.home() / ".config"  # As its specification says.
    return folder / "modelward" / "config.toml"


def _check_document(document: dict[str, Any], path: Path) -> None:
    _check_keys(document, ("default_profile", "profiles"), str(path))
    if not isinstance(document.get("default_profile", ""), str):
        raise ProfileError(f"{path}: default_profile must be a text")
    if not isinstance(document.get("profiles", {}), dict):
        raise ProfileError(f"{path}: write each profile as a table, such as [profiles.prod]")


def _read_profile(name: str, table: object, path: Path) -> Profile:
    where = f"{path}, profile {name}"
    if not isinstance(table, dict):
        raise ProfileError(f"{where}: write it as a table, [profiles.{name}]")
    if "token" in table:
        fix = f"name its source instead, one of {', '.join(TOKEN_SOURCES)}"
        raise ProfileError(f"{where}: a token does not belong into this file; {fix}")
    _check_keys(table, [field.name for field in fields(Profile)][1:], where)
    if len(sources := [key for key in TOKEN_SOURCES if key in table]) > 1:
        raise ProfileError(f"{where}: {' and '.join(sources)} are both set; keep one")
    if ("cert" in table) != ("key" in table):
        raise ProfileError(f"{where}: a client certificate needs both cert and key")
    return Profile(name, **{key: _read_value(key, value, path, where) for key, value in table.items()})


def _check_keys(table: Mapping[str, object], known: list[str] | tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            raise ProfileError(f"{where}: unknown key {key!r}{nearest(key, known)}; the keys are {', '.join(known)}")


def _read_value(key: str, value: object, path: Path, where: str) -> Any:
    if key == "timeout":
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return float(value)
        raise ProfileError(f"{where}: timeout must be a positive number of seconds")
    if key == "token_command":
        if isinstance(value, list) and value and all(isinstance(word, str) and word for word in value):
            return tuple(value)
        raise ProfileError(f"{where}: token_command must be a list of texts, such as ['pass', 'show', 'modelward']")
    if not isinstance(value, str) or not value:
        raise ProfileError(f"{where}: {key} must be a text")
    # A file is relative to the configuration, which is the same wherever the command is run.
    return path.parent.absolute() / Path(value).expanduser() if key in {"ca", "cert", "key", "token_file"} else value
