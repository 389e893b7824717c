"""Self-contained HTML pages: no script, font or picture is loaded from elsewhere."""

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from modelward_server.reports import wording

FIGURES = ("figure", "measure", "score", "change", "against", "level", "percent", "probability", "count", "duration")
WORDING = (*FIGURES, "instant", "short", "middle_cut", "listed")


def templates(package: str) -> Environment:
    """Return the templates of a package, which may include the templates shared by all reports."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, ""), PackageLoader(__package__, "")]),
        autoescape=True,  # Names, labels and categories are untrusted texts.
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=wording.in_one_direction,
    )
    environment.filters |= {name: getattr(wording, name) for name in WORDING}
    return environment
