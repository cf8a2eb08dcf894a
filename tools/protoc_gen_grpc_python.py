"""A protoc plugin for buf: the Python service stubs of grpcio-tools.

grpcio-tools ships its generator inside the compiler only, not as a plugin binary. This reads a
CodeGeneratorRequest on standard input, lets the compiler run on the same descriptors, and answers with the
files it wrote. Files without a service are left out: their stubs would be empty.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from google.protobuf.compiler import plugin_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc


def answer(request: plugin_pb2.CodeGeneratorRequest) -> plugin_pb2.CodeGeneratorResponse:
    """Return the stubs of every requested file that defines a service."""
    response = plugin_pb2.CodeGeneratorResponse(supported_features=1)  # 1: knows proto3 `optional`
    wanted = [
        file.name for file in request.proto_file if file.service and file.name in request.file_to_generate
    ]
    if not wanted:
        return response
    with tempfile.TemporaryDirectory() as folder:
        descriptors = Path(folder, "descriptors.binpb")
        descriptors.write_bytes(FileDescriptorSet(file=request.proto_file).SerializeToString())
        out = Path(folder, "out")
        out.mkdir()
        code = protoc.main(
            ["protoc", f"--descriptor_set_in={descriptors}", f"--grpc_python_out={out}", *wanted]
        )
        if code:
            response.error = f"The compiler ended with code {code}; see its messages above."
        for path in sorted(out.rglob("*.py")):
            response.file.add(name=path.relative_to(out).as_posix(), content=path.read_text(encoding="utf-8"))
    return response


if __name__ == "__main__":
    incoming = plugin_pb2.CodeGeneratorRequest.FromString(sys.stdin.buffer.read())
    sys.stdout.buffer.write(answer(incoming).SerializeToString())
