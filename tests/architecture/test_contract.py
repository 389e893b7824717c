"""`buf breaking` finds what would break clients of the last release."""

import re
import subprocess
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorSet

from modelward_server.interceptors.validation import PATTERNS
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Takes seconds.

ROOT = Path(__file__).parents[2]
RELEASED = sorted((ROOT / "protos" / "released").glob("modelward-*.binpb"))[-1]


@pytest.fixture
def contract() -> FileDescriptorSet:
    return FileDescriptorSet.FromString(RELEASED.read_bytes())


def message(contract: FileDescriptorSet, name: str) -> DescriptorProto:
    [found] = [one for file in contract.file for one in file.message_type if f"{file.package}.{one.name}" == name]
    return found


def differences(contract: FileDescriptorSet, folder: Path) -> list[str]:
    """Return what breaks when a contract takes the released one's place, by the rules in buf.yaml."""
    changed = folder / "changed.binpb"
    changed.write_bytes(contract.SerializeToString())
    command = ["buf", "breaking", str(changed), "--against", str(RELEASED), "--config", str(ROOT / "buf.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.stderr == ""
    assert done.returncode == (100 if done.stdout else 0)
    return done.stdout.splitlines()


def test_a_new_field_breaks_nothing(contract: FileDescriptorSet, tmp_path: Path) -> None:
    string, optional = FieldDescriptorProto.TYPE_STRING, FieldDescriptorProto.LABEL_OPTIONAL
    added = FieldDescriptorProto(name="desk", json_name="desk", number=999, type=string, label=optional)
    message(contract, "modelward.v1.Halt").field.append(added)
    assert differences(contract, tmp_path) == []


def test_a_field_that_is_gone_is_found(contract: FileDescriptorSet, tmp_path: Path) -> None:
    gone = message(contract, "modelward.v1.Halt").field.pop(0)
    found = differences(contract, tmp_path)
    assert found
    assert [line for line in found if f'"{gone.name}" on message "Halt" was deleted' not in line] == []


def test_a_field_that_is_renamed_is_found_since_json_names_it(contract: FileDescriptorSet, tmp_path: Path) -> None:
    field = message(contract, "modelward.v1.Halt").field[0]
    field.name = field.json_name = "other"
    found = differences(contract, tmp_path)
    assert found
    assert [line for line in found if 'on message "Halt" changed' not in line] == []


def test_every_pattern_is_told_in_words() -> None:
    files = [
        *(ROOT / "protos" / "modelward").rglob("*.proto"),
        *(ROOT / "server" / "modelward_server").rglob("*.proto"),
    ]
    texts = "".join(file.read_text() for file in files)
    found = {text.replace("\\\\", "\\") for text in re.findall(r'pattern\s*[:=]\s*"([^"]*)"', texts)}
    assert len(found) > 10
    assert found - PATTERNS.keys() == set()
