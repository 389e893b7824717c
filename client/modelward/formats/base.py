"""What a format of models is: how objects become files, how files are recognised, loaded and shown in MLflow."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from modelward.signature import Signature

if TYPE_CHECKING:  # It imports numpy, which takes as long as the rest of the package.
    from modelward.formats.predictor import Predictor


@dataclass(frozen=True)
class MlflowFlavor:
    """How MLflow loads a model.

    Attributes:
        name: the flavor's name, such as `sklearn`.
        options: what the flavor needs to know, as in the file `MLmodel`.
        requirements: the packages that load it, as lines of `requirements.txt`.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    requirements: tuple[str, ...] = ()


class Format(Protocol):
    """A format in which models are stored.

    Client, server and MLflow's mirror all use formats through this protocol. A package adds its own by an entry point
    of the group `modelward.formats`, whose name is the format's and whose object satisfies this protocol. The module is
    imported by every process that uses models, so it imports its library only in the methods that need it.
    """

    name: str
    """Its name: lowercase letters, digits and hyphens, 16 characters at most."""
    file_name: str
    """The file to which an object is saved."""
    extra: str
    """The extra of Modelward that installs its library, or empty where that is not Modelward's."""
    runs_code: bool
    """Whether loading it runs its author's code, so that it has to be allowed explicitly."""
    modules: Sequence[str]
    """Modules that loading needs; the sandbox imports them before it is confined."""

    def takes(self, model: object) -> bool:
        """Return whether an object can be saved in this format."""

    def save(self, model: Any, path: Path) -> str:
        """Save an object that the format takes.

        Returns:
            The framework that made it with its release, such as `scikit-learn 1.7.2`.

        Raises:
            InvalidField: it cannot be saved.
            ImportError: the library is not installed.
        """

    def recognises(self, path: Path) -> bool:
        """Return whether a file is of this format, by its content and never by its name; without its library."""

    def check(self, path: Path) -> None:
        """Check the structure of a file before a library reads it.

        Raises:
            InvalidField, ValueError: it is not what the format allows.
        """

    def untrusted(self, path: Path, trusted: Sequence[str] = ()) -> list[str]:
        """Return the types in a file that are not trusted; none where the format has no types.

        Args:
            path: the file.
            trusted: names of further types that it may contain.

        Raises:
            ImportError: the library is not installed.
        """

    def load(self, path: Path, trusted: Sequence[str] = ()) -> Any:
        """Load a model, in the form of its own library, from a file that was checked and has no untrusted types.

        Args:
            path: the file.
            trusted: names of further types that it may contain.

        Raises:
            ImportError: the library is not installed.
        """

    def signature(self, model: Any) -> Signature:
        """Return what a model says of its columns, outputs and classes.

        Args:
            model: an object that the format takes, or one that `load` returned.
        """

    def predictor(self, model: Any, signature: Signature | None) -> "Predictor":
        """Return the object with which a model is used everywhere.

        Args:
            model: what `load` returned.
            signature: the version's, which may hold names and classes that a file cannot; None if it has none.
        """

    def flavor(self, file_name: str, framework: str) -> MlflowFlavor | None:
        """Return how MLflow loads the file; None where MLflow has no flavor for it.

        Args:
            file_name: the file's name beside the file `MLmodel`.
            framework: what `save` returned.
        """


def package_of(kind: type) -> str:
    """Return the outermost package that defines a class; empty for one that was made without a module.

    Args:
        kind: any class, such as one that a pickle has brought.
    """
    return str(getattr(kind, "__module__", "")).partition(".")[0]
