"""Generate the stubs in `client/modelward/v1` and the published descriptor set from the protos beside this file.

The server's stubs of the Open Inference Protocol, whose proto is not part of the contract, are generated too. Other
packages register its names in protobuf's default pool, so these stubs get a pool of their own.

`python protos/generate.py` writes them; `--check` writes nothing and fails when what is committed differs.

The constraints import `buf/validate/validate.proto`, whose descriptor the installed `protovalidate` package
carries, so no copy lies here. Before stubs are made that import is dropped and the options' bytes are kept:
clients then need no `buf` package in any language, and the server still enforces every rule.

The published descriptor set is all that a client in another language is made from: it also holds
`google/rpc/status.proto` and `error_details.proto`, in which errors come, and it lacks the constraints, whose bytes
Java's generator does not accept without their import.

Stubs need at least the releases of protobuf and gRPC that their generator belongs to. `TOOLS` is therefore older than
what the server runs with, and is installed into an environment of its own below `.cache`, once.
"""

import argparse
import filecmp
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from protovalidate._gen.buf.validate import validate_pb

PROTOS = Path(__file__).parent
ROOT = PROTOS.parent
VALIDATE = "buf/validate/validate.proto"
ERRORS = ["google/rpc/status.proto", "google/rpc/error_details.proto"]
STUBS = Path("client/modelward/v1")
DESCRIPTORS = Path("protos/modelward.binpb")
INFERENCE = Path("server/modelward_server/oip/open_inference.proto")
DEFAULT_POOL, OWN_POOL = "_descriptor_pool.Default()", "_descriptor_pool.DescriptorPool()"
# The oldest release that writes stubs for protobuf 6, which protobuf 7 accepts as well: protobuf's guarantee is one
# major version. Another release writes other stubs, and moves the floors in `pyproject.toml`.
TOOLS = ("grpcio-tools==1.72.1", "mypy-protobuf==5.1.0")
TOOLS_PYTHON = ">=3.11,<3.14"  # The Pythons that this grpcio-tools has wheels for.


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="fail when the committed files differ")
    parser.add_argument("--image", type=Path, help="only write the image that `buf lint` reads, here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        image = compile_image(Path(scratch), PROTOS, *sources(), *ERRORS)
        if args.image:
            args.image.write_bytes(image.SerializeToString(deterministic=True))
            return 0
        generate(image, fresh := Path(scratch, "fresh"))
        generate_inference(Path(scratch), fresh)
        return check(fresh) if args.check else install(fresh)


def compile_image(scratch: Path, root: Path, *protos: str) -> FileDescriptorSet:
    """Compile protos, named from a root, with their comments and everything that they import."""
    known = scratch / "validate.binpb"
    known.write_bytes(imported_descriptors())
    image = scratch / "image.binpb"
    protoc(
        f"--descriptor_set_in={known}",
        f"-I{root}",
        "--include_imports",
        "--include_source_info",
        f"--descriptor_set_out={image}",
        *protos,
    )
    return FileDescriptorSet.FromString(image.read_bytes())


def imported_descriptors() -> bytes:
    """Return the descriptor set of `validate.proto`, of Google's protos of errors, and of those that ours import."""
    with tempfile.NamedTemporaryFile() as known:
        names = ("descriptor", "duration", "timestamp", "field_mask", "any")
        protos = [f"google/protobuf/{name}.proto" for name in names]
        google = files("google.rpc") / ".." / ".."
        protoc(f"-I{google}", f"--descriptor_set_out={known.name}", *protos, *ERRORS)
        descriptors = FileDescriptorSet.FromString(Path(known.name).read_bytes())
    descriptors.file.add().ParseFromString(validate_pb.desc().proto.to_binary())
    return descriptors.SerializeToString()


def generate(image: FileDescriptorSet, out: Path) -> None:
    """Write the published descriptor set and the stubs of the contract below `out`."""
    published = out / DESCRIPTORS
    published.parent.mkdir(parents=True)
    files = without_buf(image)
    published.write_bytes(without_constraints(files).SerializeToString(deterministic=True))
    write_stubs(files, out / STUBS.parent.parent, *sources())


def generate_inference(scratch: Path, out: Path) -> None:
    """Write the stubs of the Open Inference Protocol below `out`."""
    root, proto = INFERENCE.parts[0], str(INFERENCE.relative_to(INFERENCE.parts[0]))
    write_stubs(without_buf(compile_image(scratch, ROOT / root, proto)), out / root, proto)
    stub = out / INFERENCE.with_name("open_inference_pb2.py")
    text = stub.read_text()
    assert DEFAULT_POOL in text, "protoc writes stubs in another way"
    stub.write_text(text.replace(DEFAULT_POOL, OWN_POOL))


def write_stubs(files: FileDescriptorSet, root: Path, *protos: str) -> None:
    """Write the stubs of protos below `root`."""
    root.mkdir(parents=True)
    with tempfile.NamedTemporaryFile() as descriptors:
        Path(descriptors.name).write_bytes(files.SerializeToString(deterministic=True))
        plugins = [f"--{kind}_out={root}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
        # Concrete: a servicer may leave out calls, which the server then answers as not served.
        options = ["--mypy_opt=quiet", "--mypy_grpc_opt=quiet,generate_concrete_servicer_stubs"]
        protoc(f"--descriptor_set_in={descriptors.name}", *plugins, *options, *protos)
    for stub in root.rglob("*_pb2_grpc.pyi"):
        stub.write_text(with_context_types(stub.read_text()))


def with_context_types(stub: str) -> str:
    """Add type arguments that mypy-protobuf leaves out: without them, pyright takes a type for partly unknown."""
    partial = "_aio.ServicerContext):  # type: ignore[misc, type-arg]"
    return stub.replace(partial, "_aio.ServicerContext[object, object]):  # type: ignore[misc]")


def without_buf(image: FileDescriptorSet) -> FileDescriptorSet:
    kept = FileDescriptorSet(file=[file for file in image.file if file.name != VALIDATE])
    for file in kept.file:
        if VALIDATE in file.dependency:
            file.dependency.remove(VALIDATE)
    return kept


def without_constraints(files: FileDescriptorSet) -> Message:
    """Drop the options that none of the files declares, which leaves our own."""
    pool = DescriptorPool()
    for file in files.file:
        pool.Add(file)
    kind = pool.FindMessageTypeByName(FileDescriptorSet.DESCRIPTOR.full_name)
    kept = GetMessageClass(kind).FromString(files.SerializeToString())
    kept.DiscardUnknownFields()
    return kept


def sources() -> list[str]:
    return sorted(str(path.relative_to(PROTOS)) for path in PROTOS.glob("modelward/v1/*.proto"))


def protoc(*args: str) -> None:
    bin_dir = tools()
    plugins = [f"--plugin={bin_dir / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    subprocess.run([bin_dir / "python", "-m", "grpc_tools.protoc", *plugins, *args], check=True)


def tools() -> Path:
    """Return the folder of programs of the environment that has `TOOLS`, and create it where it is missing."""
    environment = ROOT / ".cache" / "_".join(TOOLS).replace("==", "-")  # protoc splits a plugin's path at "=".
    complete = environment / "complete"
    if not complete.exists():
        uv("venv", "--clear", "--python", TOOLS_PYTHON, str(environment))
        uv("pip", "install", "--python", str(environment), *TOOLS)
        complete.touch()
    return environment / "bin"


def uv(*args: str) -> None:
    subprocess.run([sys.executable, "-m", "uv", "--quiet", *args], check=True)


def check(fresh: Path) -> int:
    stale = [path for path in generated(fresh) | generated(ROOT) if not same(fresh / path, ROOT / path)]
    for path in sorted(stale):
        print(f"{path} is not what the protos give: run python protos/generate.py", file=sys.stderr)
    return 1 if stale else 0


def install(fresh: Path) -> int:
    for path in generated(ROOT):
        (ROOT / path).unlink()
    for path in generated(fresh):
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_bytes((fresh / path).read_bytes())
    (ROOT / STUBS / "__init__.py").touch()
    return 0


def generated(root: Path) -> set[Path]:
    folders = (STUBS, INFERENCE.parent)
    stubs = {path.relative_to(root) for folder in folders for path in (root / folder).glob("*_pb2*")}
    return stubs | ({DESCRIPTORS} if (root / DESCRIPTORS).exists() else set())


def same(fresh: Path, committed: Path) -> bool:
    return fresh.exists() and committed.exists() and filecmp.cmp(fresh, committed, shallow=False)


if __name__ == "__main__":
    sys.exit(main())
