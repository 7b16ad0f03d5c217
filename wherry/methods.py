"""The table of legacy methods, as ``wherry methods`` prints it and docs/reference/methods.md has it.

Everything is drawn from the records, the handlers' docstrings (what is answered) and the adaptors' (requests,
and the differences between the routes), which are written for that page.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from adaptor.methods.catalogue import ADAPTORS
from legacy_rpc.services.catalogue import all_services
from legacy_rpc.services.table import ArgumentType, Method, Service
from wherry.tested_with import TESTED_WITH

NEWEST = "9.1"
WIDTH = 120
DIFFERENCES = "Differences:"

COLUMNS = ("service", "method", "releases", "write class", "routes", "tested with")


def method_lines(services: Sequence[str] = ()) -> Iterator[tuple[str, ...]]:
    """One row of ``COLUMNS`` for each method of the services named (none: of all)."""
    for service in all_services().services:
        if services and service.name not in services:
            continue
        for record in own_methods(service):
            yield (
                service.name,
                record.name,
                releases(record),
                str(record.write),
                ", ".join(routes(service, record)),
                ", ".join(tested_with(record)),
            )


def own_methods(service: Service) -> list[Method]:
    """The methods of a service but for those that every service has."""
    return [record for record in service.methods.values() if not record.builtin]


def releases(record: Method) -> str:
    """The releases of DIRAC that have a method: ``7.3 to 8.0``."""
    return f"{record.since} to {record.until or NEWEST}"


def routes(service: Service, record: Method) -> list[str]:
    """The routes that a call can take; an upstream has to be configured."""
    found = ["upstream"] if service.elsewhere else ["native", "upstream"]
    if (record.service, record.name) in ADAPTORS:
        found.append("rest")
    return found


def tested_with(record: Method) -> list[str]:
    """The unmodified clients, and real services, that tests hold a method against."""
    return [name for name, methods in TESTED_WITH.items() if record.name in methods.get(record.service, ())]


def reference(services: Sequence[str] = ()) -> str:
    """The entries of docs/reference/methods.md, in Markdown; none named: of all services."""
    shown = [each for each in all_services().services if not services or each.name in services]
    pieces = [] if services else _of_every_service(shown[0])
    for service in shown:
        pieces.append(f"## {service.name}")
        if service.about:
            pieces.append(textwrap.fill(" ".join(service.about.split()), WIDTH, break_on_hyphens=False))
        pieces += [_entry(record) for record in own_methods(service)]
    return "\n\n".join(pieces) + "\n"


def _of_every_service(service: Service) -> list[str]:
    builtin = [record for record in service.methods.values() if record.builtin]
    about = "Answered about the service itself, by the old side only."
    return ["## Every service", about, *map(_entry, builtin)]


def _entry(record: Method) -> str:
    """What the page says of one method."""
    told, requests, differences = described(record)
    items = [
        f"Signature: `{signature(record)}`",
        f"Types: {_types(record.types)}. May call: {_callers(record)}. Write class: `{record.write}`."
        + ("" if record.builtin else f" Releases: {releases(record)}."),
        *told,
        *([f"Over REST: {requests}", f"{DIFFERENCES} {differences}"] if requests else []),
    ]
    return "\n".join([f"### `{record.name}`", "", *map(_item, items)])


def described(record: Method) -> tuple[list[str], str, str]:
    """Paragraphs of what a method answers, the requests it becomes over REST, and how that differs."""
    told = _paragraphs(record.description)
    adaptor = ADAPTORS.get((record.service, record.name))
    if adaptor is None:
        return told, "", ""
    text = " ".join(_paragraphs(adaptor.__doc__ or ""))
    requests, _, differences = text.partition(DIFFERENCES)
    return told, requests.strip(), differences.strip()


def _paragraphs(docstring: str) -> list[str]:
    pieces = inspect.cleandoc(docstring).split("\n\n")
    return [" ".join(piece.split()).replace("``", "`") for piece in pieces if piece.strip()]


def _item(text: str) -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent="- ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def signature(record: Method) -> str:
    """The legacy signature."""
    shown = [
        name if default is inspect.Parameter.empty else f"{name}={default!r}".replace("'", '"')
        for name, default in record.parameters
    ]
    return f"{record.name}({', '.join(shown)})"


def _types(types: Sequence[ArgumentType]) -> str:
    return f"`{', '.join(map(_type, types))}`" if types else "none"


def _type(declared: Any) -> str:
    kinds = declared if isinstance(declared, list | tuple) else [declared]
    return "any" if declared is None else " | ".join(kind.__name__ for kind in kinds)


def _callers(record: Method) -> str:
    if record.builtin and not record.hard_coded:
        return "who may call the service's methods by default"
    return ", ".join(f"`{name}`" for name in record.callers)


# Between the two lines of a page is what is printed here.
BEGIN, END = "<!-- printed by `make methods` -->", "<!-- end -->"


def services_table() -> str:
    """The services, and how many methods each has, in Markdown."""
    rows = [f"| `{service.name}` | {len(own_methods(service))} |" for service in all_services().services]
    return "\n".join(["| service | methods |", "|---|---|", *rows]) + "\n"


def brought_up_to_date(page: str, printed: str) -> str:
    """A page with its printed part as it is now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{printed}\n{END}{after}"


def main(reference_page: Path, readme: Path) -> None:
    """Bring two pages up to date."""
    for path, printed in ((reference_page, reference()), (readme, services_table())):
        path.write_text(brought_up_to_date(path.read_text(), printed))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
