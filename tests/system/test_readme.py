"""The README's tables are whole."""

import re

from modelward_server.settings import Settings
from tests.system.documents import ROOT

README = (ROOT / "README.md").read_text()


def test_the_settings_are_all_told_with_their_defaults() -> None:
    told = dict(re.findall(r"^\| `([a-z_]+)` \| (?:`(.*?)`)? ?\| ", README, re.MULTILINE))
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    defaults |= {name: ",".join(default) for name, default in defaults.items() if isinstance(default, tuple)}
    assert set(told) == set(defaults)
    for name, default in defaults.items():
        assert told[name] == (f"{default:g}" if isinstance(default, float) else str(default))
