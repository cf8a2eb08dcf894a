"""Write docs/api.md and docs/errors.md from the comments of the protos, or check that they are in step.

    python tools/document.py [--check]

Nothing is said here that the protos do not say; to change a page, change a comment there.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

from steelyard.v1 import rule_pb2

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "steelyard.v1"
NOTICE = "<!-- Written by `make docs` from protos/; do not edit. -->\n"
# Field numbers of descriptor.proto, of which the path of a comment is made.
MESSAGES, ENUMS, SERVICES = 4, 5, 6
NESTED, NESTED_ENUMS, MEMBERS = 3, 4, 2

Place = tuple[int, ...]
Comments = dict[Place, str]


def describe() -> list[FileDescriptorProto]:
    """Compile the protos and return the descriptors of this package, with comments, in the order of names."""
    command = [str(ROOT / ".venv/bin/buf"), "build", "--as-file-descriptor-set", "--output", "-"]
    image = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    files = [file for file in FileDescriptorSet.FromString(image).file if file.package == PACKAGE]
    return sorted(files, key=lambda file: file.name)


def comments(file: FileDescriptorProto) -> Comments:
    """Map the path of every element of *file* to the comment above it."""
    locations = file.source_code_info.location
    return {tuple(each.path): dedent(each.leading_comments) for each in locations if each.leading_comments}


def dedent(comment: str) -> str:
    """Drop the blank that follows the slashes of each line."""
    return "\n".join(line.removeprefix(" ").rstrip() for line in comment.strip("\n").splitlines()).strip()


def cell(comment: str) -> str:
    """Make *comment* fit one cell of a table."""
    paragraphs = (" ".join(part.split()) for part in comment.split("\n\n"))
    return "<br>".join(paragraphs).replace("|", "\\|")


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """Yield the lines of a table and one empty line; nothing when it has no row."""
    lines = [" | ".join(row) for row in rows]
    if lines:
        titles = list(header)
        yield from (f"| {' | '.join(titles)} |", f"|{' --- |' * len(titles)}")
        yield from (f"| {line} |" for line in lines)
        yield ""


def type_of(field: FieldDescriptorProto, entries: dict[str, DescriptorProto]) -> str:
    """Name the type of *field* as the proto writes it, with a link to a type of this package."""
    name = field.type_name.lstrip(".")
    if name in entries:
        key, value = (type_of(each, entries) for each in entries[name].field)
        return f"map<{key}, {value}>"
    short = name.removeprefix(f"{PACKAGE}.")
    linked = f"[{short}](#{short.lower().replace('.', '')})" if short != name else f"`{name}`"
    scalar = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    shown = linked if name else f"`{scalar}`"
    return f"repeated {shown}" if field.label == FieldDescriptorProto.LABEL_REPEATED else shown


def field_rows(message: DescriptorProto, path: Place, notes: Comments, prefix: str) -> Iterator[list[str]]:
    """Yield number, name, type and comment of each field; alternatives name their group."""
    entries = {
        f"{prefix}.{nested.name}": nested for nested in message.nested_type if nested.options.map_entry
    }
    for index, field in enumerate(message.field):
        kind = type_of(field, entries)
        if field.proto3_optional:
            kind = f"optional {kind}"
        elif field.HasField("oneof_index"):
            kind = f"{kind}, one of `{message.oneof_decl[field.oneof_index].name}`"
        yield [str(field.number), f"`{field.name}`", kind, cell(notes.get((*path, MEMBERS, index), ""))]


def enum_lines(enum: EnumDescriptorProto, path: Place, notes: Comments, prefix: str) -> Iterator[str]:
    """Yield the section of one enum."""
    yield from (f"### {prefix}{enum.name}", "", notes.get(path, ""), "")
    rows = (
        [str(value.number), f"`{value.name}`", cell(notes.get((*path, MEMBERS, index), ""))]
        for index, value in enumerate(enum.value)
    )
    yield from table(("number", "value", "meaning"), rows)


def message_lines(message: DescriptorProto, path: Place, notes: Comments, prefix: str = "") -> Iterator[str]:
    """Yield the section of one message and of all that is nested in it."""
    name = f"{prefix}{message.name}"
    yield from (f"### {name}", "", notes.get(path, ""), "")
    yield from table(
        ("number", "field", "type", "meaning"), field_rows(message, path, notes, f"{PACKAGE}.{name}")
    )
    for index, nested in enumerate(message.nested_type):
        if not nested.options.map_entry:
            yield from message_lines(nested, (*path, NESTED, index), notes, f"{name}.")
    for index, enum in enumerate(message.enum_type):
        yield from enum_lines(enum, (*path, NESTED_ENUMS, index), notes, f"{name}.")


def signature(method: MethodDescriptorProto) -> str:
    """Write the request and the response of *method*, with links, and who may call it."""
    sent, received = (name.rpartition(".")[2] for name in (method.input_type, method.output_type))
    sent = f"{'stream of ' if method.client_streaming else ''}[{sent}](#{sent.lower()})"
    received = f"{'stream of ' if method.server_streaming else ''}[{received}](#{received.lower()})"
    rule: rule_pb2.Rule = method.options.Extensions[rule_pb2.rule]
    permission = rule_pb2.Permission.Name(rule.permission).removeprefix("PERMISSION_").lower()
    place = f"the {rule.scope_prefix.removesuffix(':')} " if rule.scope_prefix else ""
    scope = f" on {place}`{rule.scope_field}`" if rule.scope_field else ""
    if rule.registry_permission:
        other = rule_pb2.Permission.Name(rule.registry_permission).removeprefix("PERMISSION_").lower()
        scope += f", or {other} on the whole registry when that is empty"
    return f"{sent} → {received}. Permission: {permission}{scope}."


def service_lines(file: FileDescriptorProto, notes: Comments) -> Iterator[str]:
    """Yield the section of each service of *file*."""
    for index, service in enumerate(file.service):
        yield from (f"## {service.name}", "", notes.get((SERVICES, index), ""), "")
        for number, method in enumerate(service.method):
            text = notes.get((SERVICES, index, MEMBERS, number), "")
            yield from (f"### {method.name}", "", signature(method), "", text, "")


def type_lines(file: FileDescriptorProto, notes: Comments) -> Iterator[str]:
    """Yield the sections of the messages and enums of *file*; the reasons have a page of their own."""
    for index, message in enumerate(file.message_type):
        yield from message_lines(message, (MESSAGES, index), notes)
    for index, enum in enumerate(file.enum_type):
        if enum.name != "ErrorReason":
            yield from enum_lines(enum, (ENUMS, index), notes, "")


def api_page(files: list[FileDescriptorProto]) -> str:
    """Return the whole of docs/api.md: the services first, then the types by name of their file."""
    services = [service.name for file in files for service in file.service]
    lines = [NOTICE, f"# The API: {PACKAGE}", ""]
    lines += [f"* [{name}](#{name.lower()})" for name in services]
    lines += ["* [Types](#types)", ""]
    for file in files:
        lines += service_lines(file, comments(file))
    lines += ["## Types", ""]
    for file in files:
        lines += type_lines(file, comments(file))
    return "\n".join(lines).rstrip() + "\n"


def reason_row(name: str, comment: str) -> list[str]:
    """Split the comment of a reason into its columns: reason, code, cause, metadata, advice."""
    cause, _, rest = comment.partition("\n\nMetadata: ")
    metadata, _, advice = rest.partition("\n\nAdvice: ")
    code, _, cause = cause.partition(": ")
    if not (metadata and advice and code.replace("_", "").isupper()):
        sys.exit(f"{name} needs a comment of the form: CODE: cause, Metadata: keys, Advice: what to do.")
    return [f"`{name.removeprefix('ERROR_REASON_')}`", code, cell(cause), cell(metadata), cell(advice)]


def errors_page(files: list[FileDescriptorProto]) -> str:
    """Return the whole of docs/errors.md: one row for each reason."""
    file = next(file for file in files if any(enum.name == "ErrorReason" for enum in file.enum_type))
    index, reasons = next(each for each in enumerate(file.enum_type) if each[1].name == "ErrorReason")
    notes = comments(file)
    rows = [
        reason_row(value.name, notes.get((ENUMS, index, MEMBERS, place), ""))
        for place, value in enumerate(reasons.value)
        if value.number
    ]
    lines = [NOTICE, "# Errors", "", notes[ENUMS, index], ""]
    lines += table(("reason", "code", "cause", "metadata", "advice"), rows)
    return "\n".join(lines).rstrip() + "\n"


def main(arguments: list[str]) -> str:
    """Write or check both pages; return what is wrong, or nothing."""
    files = describe()
    stale = []
    for name, text in (("docs/api.md", api_page(files)), ("docs/errors.md", errors_page(files))):
        path = ROOT / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in arguments:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if stale and "--check" in arguments:
        return f"Not in step with protos/: {', '.join(stale)}. Run `make docs`."
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) or 0)
