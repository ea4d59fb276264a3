"""Make the Python code of the protos: `python protos/generate.py OUTPUT_DIR`.

The dependency on buf/validate/validate.proto is taken out of the descriptors first: a generated top-level `buf` package
would clash in the descriptor pool with the copy that other wheels bring. The rules stay in the descriptors as unknown
options, where protovalidate finds them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2

VALIDATE = "buf/validate/validate.proto"
PROTOS = Path(__file__).resolve().parent
VENDORED = PROTOS.parent / "third_party" / "protos"


def main(output: str) -> None:
    """Write the `*_pb2*` files of every proto below OUTPUT; the folders' `__init__.py` are left alone."""
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        everything, stripped = Path(scratch, "all.binpb"), Path(scratch, "stripped.binpb")
        _protoc(
            [f"-I{PROTOS}", f"-I{VENDORED}", "--include_imports", "--include_source_info", "--retain_options"],
            ["-o", str(everything)],
            sources,
        )
        stripped.write_bytes(_without_validate(everything.read_bytes()))
        Path(output).mkdir(parents=True, exist_ok=True)
        _protoc(
            [f"--descriptor_set_in={stripped}"],
            [f"--python_out={output}", f"--grpc_python_out={output}"],
            sources,
        )
        _protoc(
            [f"--descriptor_set_in={stripped}"],
            [f"--mypy_out=quiet:{output}", f"--mypy_grpc_out=quiet:{output}"],
            sources,
        )


def _protoc(inputs: list[str], outputs: list[str], sources: list[str]) -> None:
    environment = dict(os.environ, PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", *inputs, *outputs, *sources], check=True, env=environment
    )


def _without_validate(descriptors: bytes) -> bytes:
    kept = descriptor_pb2.FileDescriptorSet()
    for file in descriptor_pb2.FileDescriptorSet.FromString(descriptors).file:
        if file.name == VALIDATE:
            continue
        remaining = [name for name in file.dependency if name != VALIDATE]
        del file.dependency[:]
        file.dependency.extend(remaining)
        kept.file.append(file)
    return kept.SerializeToString()


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python protos/generate.py FOLDER (services, for the code that is committed)")
    main(sys.argv[1])
