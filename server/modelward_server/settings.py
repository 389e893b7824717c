"""The server's settings: each one is a flag of `modelward serve` and an environment variable `MODELWARD_<NAME>`."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from modelward.shared.targets import is_loopback
from modelward_server.storage.locations import Location
from modelward_server.webhooks.secrets import secret_bytes

DEFAULT_PORT = 50061
MAX_PORT = 65_535
LIFETIMES = ("answers", "reports", "logs", "silent_engines", "engines", "scores", "rows", "blobs")
"""What has a retention period, each with a setting `keep_<NAME>_days`."""
MAX_LABEL, MAX_HOST = 63, 253
"""Characters that DNS allows in one part of a name, and in all of it."""


def check_keys_place(place: str) -> str:
    """Return where the keys of an identity provider are: a file, an https URL, or an http URL of this machine.

    Raises:
        ValueError: it is a URL whose answer others could change.
    """
    url = urlsplit(place)
    if url.scheme == "http" and not is_loopback(url.hostname or ""):
        raise ValueError("keys that could be changed in transit prove nothing; use https://")
    return place


def webhook_problem(url: str) -> str:
    """Return why a URL cannot be a webhook's; empty when it can."""
    if not (url.isascii() and url.isprintable() and " " not in url):
        return "must have no spaces, accents and control characters"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # Its message would quote a part of the URL.
        return "has an invalid port or brackets; ports range from 1 to 65535, and brackets enclose an IPv6 address"
    if parts.scheme not in {"http", "https"} or not host or port == 0:
        return "must begin with http:// or https:// and the name of a host, and ports range from 1 to 65535"
    if parts.username is not None or parts.password is not None:
        return "has a user or a password before its host, which would not be sent; a token belongs into path or query"
    return "" if ":" in host else _host_problem(host)


def _host_problem(host: str) -> str:
    labels = host.removesuffix(".").split(".")
    if len(host) <= MAX_HOST and all(1 <= len(label) <= MAX_LABEL for label in labels):
        return ""
    return f"has a host that DNS does not allow: each part between two dots has 1 to {MAX_LABEL} characters"


def is_database_url(url: str) -> bool:
    """Return whether SQLAlchemy can read the URL; imports it only where a URL is given."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        make_url(url)
    except (ArgumentError, ValueError):
        return False
    return True


class SettingError(ValueError):
    """A setting's value cannot be used, which shows only when the server starts.

    Args:
        setting: its name.
        reason: why, without a secret.
    """

    def __init__(self, setting: str, reason: str) -> None:
        super().__init__(reason)
        self.setting = setting


RENAMED = {"workers": "processes", "worker_seconds": "sandbox_seconds", "worker_memory_mb": "sandbox_memory_mb"}
"""Settings by their names in release 0.1, which the commands accept for one release more."""


class Settings(BaseSettings):
    """The settings of a server. Every default runs on one machine without other services."""

    model_config = SettingsConfigDict(env_prefix="MODELWARD_", frozen=True, hide_input_in_errors=True)

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(
        default=DEFAULT_PORT, ge=0, le=MAX_PORT, description="Port to listen on; 0: a free port, which is printed."
    )
    processes: int = Field(default=1, ge=1, le=256, description="Server processes that share the port and the load.")
    data_dir: Path = Field(default=Path("modelward-data"), description="Folder of the server's files.")
    blobs_dir: str = Field(
        default="", description="Folder of the models' files, which replicas share. Empty: blobs in the data folder."
    )
    database_url: str = Field(
        default="", repr=False, description="SQLAlchemy URL of the ledger. Empty: SQLite in the data folder."
    )
    mlflow_uri: str = Field(
        default="", repr=False, description="MLflow tracking URI, local or http(s). Empty: SQLite in the data folder."
    )
    allowed_sources: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("runs:/", "models:/"),
        description="Comma-separated URIs of locations that the server may read, such as file:///srv/models.",
    )
    sandbox_seconds: float = Field(
        default=60.0,
        gt=0,
        allow_inf_nan=False,
        description="Maximum run time of a model in seconds when the server compares models.",
    )
    sandbox_memory_mb: int = Field(default=4096, ge=256, description="Maximum memory of such a model in MiB.")
    scoring_processes: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="Maximum number of processes that keep models loaded, to score rows; 0: the server does not score.",
    )
    scoring_memory_mb: int = Field(
        default=8192, ge=64, description="Maximum memory in MiB of all models that are loaded to score rows."
    )
    score_log: float = Field(
        default=0.0,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Share of the calls to score that are logged, by their request ids; 0: none, 1: all.",
    )
    table_memory_mb: int = Field(
        default=2048,
        ge=64,
        description="Maximum memory in MiB of the decoded tables of all calls; one table may use half of it.",
    )
    allow_pickle: bool = Field(
        default=False,
        description="Allow comparing models stored as pickles, which run their authors' code in a confined process.",
    )
    trusted_types: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Comma-separated names of further types that skops files may contain, such as my_package.MyStep.",
    )
    trusted_signers: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Comma-separated files of public keys or authorities' certificates, in PEM, whose signatures over "
        "models are trusted, and folders of such files named *.pem.",
    )
    trusted_evidence_keys: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Comma-separated files of public keys, in PEM, of registries whose evidence packs may be imported, "
        "and folders of such files named *.pem.",
    )
    import_evidence_mb: int = Field(
        default=4096, ge=1, description="Maximum MiB of the unpacked files of an evidence pack that is imported."
    )
    dask_scheduler: str = Field(
        default="",
        description="Address of a dask scheduler whose workers compare Parquet data, such as tcp://10.0.0.5:8786.",
    )
    schedule_seconds: float = Field(
        default=5.0,
        gt=0,
        allow_inf_nan=False,
        description="Interval in seconds at which schedules are evaluated, and windows of live data closed.",
    )
    keep_answers_days: int = Field(
        default=30, ge=1, le=3650, description="Days for which the answer to a request id is kept for retries."
    )
    keep_reports_days: int = Field(
        default=730, ge=1, le=36500, description="Days for which drift reports are kept; the newest is kept longer."
    )
    keep_logs_days: int = Field(
        default=90, ge=1, le=36500, description="Days for which the output of an ended job is kept."
    )
    keep_silent_engines_days: int = Field(
        default=7, ge=1, le=36500, description="Days for which rollouts list an engine that is gone."
    )
    keep_engines_days: int = Field(
        default=730, ge=1, le=36500, description="Days for which it is kept which engine ran which version."
    )
    keep_scores_days: int = Field(
        default=90, ge=1, le=36500, description="Days for which it is kept which version answered which call to score."
    )
    keep_rows_days: int = Field(
        default=0,
        ge=0,
        le=36500,
        description="Days for which rows of live monitoring are kept for comparisons; 0: until their window's report.",
    )
    keep_rows_mb: int = Field(
        default=1024, ge=1, description="Maximum MiB of such rows of one model; the oldest are deleted first."
    )
    keep_blobs_days: int = Field(
        default=7, ge=1, le=36500, description="Days for which files that no version refers to are kept."
    )
    grace_seconds: float = Field(
        default=10.0,
        ge=0,
        allow_inf_nan=False,
        description="Maximum seconds of a shutdown, in which calls in flight and the mirror to MLflow finish.",
    )

    webhooks: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        repr=False,
        description="Comma-separated http(s) URLs to notify of alarms, jobs, approvals and transitions.",
    )
    webhooks_secret: str = Field(
        default="", repr=False, description="Secret that signs webhook messages: whsec_ and base64, or any text."
    )
    webhooks_private: bool = Field(
        default=False, description="Allow webhooks to addresses of this machine and of private networks."
    )

    call_seconds: float = Field(
        default=300.0,
        gt=0,
        allow_inf_nan=False,
        description="Deadline in seconds of unary calls whose client set none.",
    )
    upload_silence_seconds: float = Field(
        default=60.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds after which an upload that sends nothing is ended.",
    )
    client_rate: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="Maximum calls per second of one client, with bursts of 10 seconds' worth; 0: no limit.",
    )
    client_calls: int = Field(
        default=0, ge=0, description="Maximum concurrent calls of one client, not counting streams; 0: no limit."
    )
    client_streams: int = Field(default=5_000, ge=0, description="Maximum open streams of one client; 0: no limit.")

    client_engines: int = Field(
        default=10_000, ge=1, description="Maximum engines that one client reports, those of each model counted."
    )
    max_engines: int = Field(
        default=100_000, ge=1, description="Maximum engines that all clients report, those of each model counted."
    )

    log_format: Literal["text", "json"] = Field(
        default="text", description="Format of the log: text, or json with one object per line."
    )
    log_calls: bool = Field(default=False, description="Write a log line for each call.")
    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=MAX_PORT,
        description="Port of the Prometheus endpoint /metrics; a second process uses the next port; empty: none.",
    )
    console_port: int | None = Field(
        default=None,
        ge=0,
        le=MAX_PORT,
        description="Port of the console, the registry in a browser, in the first process; 0: a free port, which is "
        "printed; empty: none.",
    )
    console_read_only: bool = Field(default=False, description="Offer no changes in the console.")
    signing_key: str = Field(
        default="",
        repr=False,
        description="Private key that signs evidence: a file in PEM, or a PKCS#11 URI. Empty: it is not signed.",
    )
    timestamp_url: str = Field(
        default="",
        repr=False,
        description="http(s) URL of the authority for time stamps of evidence (RFC 3161). Empty: no time stamps.",
    )
    channelz: bool = Field(default=False, description="Serve gRPC's channelz service: connections, calls and sockets.")
    tls_cert: str = Field(default="", description="File of the server's certificate chain, in PEM. Empty: no TLS.")
    tls_key: str = Field(default="", description="File of the certificate's private key, in PEM.")
    tls_client_ca: str = Field(
        default="", description="File of the authority that must have issued every client's certificate, in PEM."
    )
    jwt_keys: str = Field(
        default="", description="Keys of the identity provider whose JWTs are accepted: file or https URL of a JWK set."
    )
    jwt_issuer: str = Field(default="", description="Required issuer of the JWTs.")
    jwt_audience: str = Field(default="modelward", description="Required audience of the JWTs.")
    auth: bool = Field(
        default=False,
        validate_default=True,
        description="Require a token, a JWT or a certificate of every client.",
    )

    @field_validator("database_url")
    @classmethod
    def check_database(cls, url: str) -> str:
        if url and not is_database_url(url):
            raise ValueError("must be an SQLAlchemy URL such as postgresql+psycopg://user:password@host:5432/database")
        return url

    @field_validator("timestamp_url")
    @classmethod
    def check_authority(cls, url: str, info: ValidationInfo) -> str:
        if url and (wrong := webhook_problem(url)):
            raise ValueError(wrong)
        if url and not info.data.get("signing_key"):
            raise ValueError("time stamps need --signing-key: they are over signatures")
        return url

    @field_validator("tls_client_ca")
    @classmethod
    def check_tls(cls, value: str, info: ValidationInfo) -> str:
        cert, key = (info.data.get(name, "") for name in ("tls_cert", "tls_key"))
        if bool(cert) != bool(key) or (value and not cert):
            raise ValueError("TLS needs both --tls-cert and --tls-key")
        return value

    @field_validator("jwt_keys")
    @classmethod
    def check_keys(cls, value: str) -> str:
        return check_keys_place(value)

    @field_validator("jwt_issuer")
    @classmethod
    def check_issuer(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("jwt_keys") and not value:
            raise ValueError("JWTs need --jwt-issuer beside --jwt-keys")
        return value

    @field_validator("auth")
    @classmethod
    def guard_the_network(cls, value: bool, info: ValidationInfo) -> bool:
        """Refuse to listen on a network without TLS and authentication."""
        host, cert = info.data.get("host", ""), info.data.get("tls_cert")
        proven = value or info.data.get("tls_client_ca") or info.data.get("jwt_keys")
        if not is_loopback(host) and not (cert and proven):
            raise ValueError(
                f"listening on {host} needs --tls-cert and --tls-key, and authentication: "
                "--auth for tokens, --tls-client-ca for certificates or --jwt-keys; or use 127.0.0.1"
            )
        return value

    @field_validator("metrics_port")
    @classmethod
    def leave_room(cls, port: int | None, info: ValidationInfo) -> int | None:
        if port and port + info.data.get("processes", 1) - 1 > MAX_PORT:
            raise ValueError("leaves no port for each process: they use this one and those after it")
        return port

    @field_validator(
        *("allowed_sources", "trusted_types", "trusted_signers", "trusted_evidence_keys", "webhooks"), mode="before"
    )
    @classmethod
    def split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("trusted_types")
    @classmethod
    def check_types(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            parts = name.split(".")
            if len(parts) < 2 or not all(part.isidentifier() for part in parts):
                raise ValueError(f"{name} is not the complete name of a type, such as my_package.MyStep")
        return names

    @field_validator("allowed_sources")
    @classmethod
    def check_sources(cls, uris: tuple[str, ...]) -> tuple[str, ...]:
        for uri in uris:
            try:
                Location.parse(uri)
            except ValueError as error:
                raise ValueError(
                    f"{uri!r} {error}; give URIs such as file:///srv/models or s3://bucket/models"
                ) from None
        return uris

    @field_validator("webhooks")
    @classmethod
    def check_webhooks(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for number, url in enumerate(urls, 1):
            if wrong := webhook_problem(url):  # The URL itself may hold a secret.
                raise ValueError(f"URL {number} of {len(urls)}: {wrong}")
        return urls

    @field_validator("webhooks_secret")
    @classmethod
    def check_secret(cls, secret: str) -> str:
        secret_bytes(secret)
        return secret

    @property
    def requires_identity(self) -> bool:
        return self.auth or bool(self.tls_client_ca) or bool(self.jwt_keys)

    @property
    def keeps_rows(self) -> bool:
        return self.keep_rows_days > 0

    @property
    def lifetimes(self) -> dict[str, timedelta]:
        return {kind: timedelta(days=getattr(self, f"keep_{kind}_days")) for kind in LIFETIMES}

    @property
    def blobs_folder(self) -> Path:
        return Path(self.blobs_dir) if self.blobs_dir else self.data_dir / "blobs"

    @property
    def ledger_url(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'ledger.db'}"

    @property
    def tracking_uri(self) -> str:
        return self.mlflow_uri or f"sqlite:///{self.data_dir.resolve() / 'mlflow.db'}"

    @property
    def own_artifacts(self) -> Path | None:
        """The folder of MLflow's artifacts; None where MLflow is not this server's own."""
        return None if self.mlflow_uri else self.data_dir.resolve() / "mlflow-artifacts"
