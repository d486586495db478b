"""What machines and managed inference cost, by a dated catalogue.

`python -m simulator.prices show [gpu=H100] [provider=aws] [region=us-east-1] [sort=usd_per_gpu_h] [catalogue=FILE]`
lists the offers, the cheapest first. `sort` is usd_per_gpu_h (on demand), spot, committed_1y, committed_3y (a GPU too),
gpu, offer or as_of. Prices more than 180 days old are marked (!).

`python -m simulator.prices show instance=aws/us-east-1/p4d.24xlarge [catalogue=FILE]`
tells all that is known of one offer, and from where.

`python -m simulator.prices managed [kind=token] [catalogue=FILE]`
lists inference by the replica-second, the request or the token.

`python -m simulator.prices refresh [provider=aws,azure,gcp] [gpu=H100] [region=us-east-1] [out=prices.csv]`
writes today's offers to a table of your own; needs gpuhunt (pip install -e '.[prices]') and the network.

`python -m simulator.prices import skypilot=vms.csv provider=aws as_of=2026-09-01 [out=prices.csv]`
does so from a file of SkyPilot's catalogue.

A table of your own goes over the shipped one: `catalogue=prices.csv` here, `cluster.catalogue=prices.csv` in a run.
"""

from __future__ import annotations

import datetime
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from simulator.catalogue import (
    KINDS,
    MAX_AGE_DAYS,
    PURCHASES,
    ManagedOffer,
    Offer,
    catalogue_of,
    is_stale,
    load_catalogue,
    load_managed,
)
from simulator.catalogue.catalogue import read_table
from simulator.catalogue.naming import with_facts
from simulator.catalogue.refresh import fetch_offers
from simulator.catalogue.rows import write_offers
from simulator.catalogue.skypilot import read_skypilot
from simulator.commands import asks_for_help, complain
from simulator.errors import ConfigError
from workloads.errors import WorkloadError
from workloads.options import nearest

_WIDTH = 160  # of what isn't a terminal
_NAMED = 5  # offers in a message
_SORTS: Mapping[str, Callable[[Offer], Any]] = {
    "usd_per_gpu_h": lambda offer: _last(offer.usd_per_gpu_h()),
    "spot": lambda offer: _last(offer.usd_per_gpu_h("spot")),
    "committed_1y": lambda offer: _last(offer.usd_per_gpu_h("committed_1y")),
    "committed_3y": lambda offer: _last(offer.usd_per_gpu_h("committed_3y")),
    "gpu": lambda offer: (offer.gpu_type, _last(offer.usd_per_gpu_h())),
    "offer": lambda offer: offer.id,
    "as_of": lambda offer: offer.as_of,
}
Options = Mapping[str, str]


def main(arguments: Sequence[str] | None = None, today: datetime.date | None = None) -> int:
    """Runs one command; returns the exit code: 0, or 2 after one line about a user's mistake.

    Args:
        today: from which prices are old; None: by this machine's clock.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if asks_for_help(given):
        print(__doc__)
        return 0
    try:
        if given[0] not in _COMMANDS:
            raise ConfigError(f"unknown command {given[0]!r}{nearest(given[0], _COMMANDS)}")
        command, keys = _COMMANDS[given[0]]
        command(_options(given[1:], keys), today or datetime.date.today(), _console())
    except (ConfigError, WorkloadError, OSError) as error:
        return complain(error)
    return 0


def _show(options: Options, today: datetime.date, console: Console) -> None:
    catalogue = load_catalogue(options.get("catalogue"))
    if "instance" in options:
        if others := [key for key in options if key not in ("instance", "catalogue")]:
            raise ConfigError(f"instance={options['instance']}: is one offer; leave out {', '.join(others)}")
        offer = catalogue.get(options["instance"])
        table = Table(title=offer.id, show_header=False, title_justify="left")
        for each in fields(Offer):
            table.add_row(each.name, _text(getattr(offer, each.name)))
        console.print(table, highlight=False)
        return
    sort = options.get("sort", "usd_per_gpu_h")
    if sort not in _SORTS:
        raise ConfigError(f"sort={sort}: unknown order{nearest(sort, _SORTS)}")
    given = {key: options[key] for key in ("gpu", "provider", "region") if key in options}
    found = catalogue.find(**given)
    if not found:
        told = " ".join(f"{key}={value}" for key, value in given.items())
        first, value = next(iter(given.items()))
        some = [offer.id for offer in catalogue.find(**{first: value})]
        more = f" and {len(some) - _NAMED} more" if len(some) > _NAMED else ""
        there = f"with {first}={value} there are {', '.join(some[:_NAMED])}{more}"
        raise ConfigError(f"{told}: no offer has all of these; {there}")
    table = Table(title="USD an hour; prices by purchase are of one GPU", title_justify="left")
    table.add_column("offer")
    table.add_column("GPUs", no_wrap=True)
    for name in ("vCPUs", "GiB", "GiB/s", "machine", "on demand", "spot", "1 year", "3 years"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("as of", no_wrap=True)
    for offer in sorted(found, key=_SORTS[sort]):
        table.add_row(
            *(offer.id, f"{offer.gpus} {offer.gpu_type}"),
            *(_text(offer.vcpus), _text(offer.memory_gib), _text(offer.network_gib_per_s)),
            _usd(offer.prices.get(PURCHASES[0])),
            *(_usd(offer.usd_per_gpu_h(purchase)) for purchase in PURCHASES),
            _day(offer.as_of, today),
        )
    console.print(table, highlight=False)
    told = f"{len(found)} of {len(catalogue)} offers; –: not known; GiB/s: of a machine's network"
    _tell(console, told, sum(is_stale(offer.as_of, today) for offer in found))


def _managed(options: Options, today: datetime.date, console: Console) -> None:
    offers = list(load_managed(options.get("catalogue")).values())
    kind = options.get("kind")
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"kind={kind}: unknown kind{nearest(kind, KINDS)}")
    found = [offer for offer in offers if kind in (None, offer.kind)]
    table = Table(title="USD", title_justify="left")
    for name in ("offer", "pays for", "GPU or model"):
        table.add_column(name, no_wrap=True)
    for name in ("replica-hour", "1,000 requests", "M tokens in", "M tokens out", "cold start s"):
        table.add_column(name, justify="right")
    table.add_column("as of", no_wrap=True)
    for offer in found:
        table.add_row(
            *(offer.offer, offer.kind, offer.gpu_type or offer.model), *_costs(offer), _day(offer.as_of, today)
        )
    console.print(table, highlight=False)
    for source in dict.fromkeys(offer.source for offer in found):
        named = ", ".join(offer.offer for offer in found if offer.source == source)
        console.print(f"{named}: {source}", markup=False, highlight=False, soft_wrap=True)
    _tell(console, f"{len(found)} of {len(offers)} offers", sum(is_stale(offer.as_of, today) for offer in found))


def _refresh(options: Options, today: datetime.date, console: Console) -> None:
    providers = [name for name in options.get("provider", "aws,azure,gcp").split(",") if name]
    logging.getLogger("gpuhunt").addHandler(logging.NullHandler())  # it logs tracebacks of what it then raises
    offers = fetch_offers(providers=providers, gpu=options.get("gpu"), today=today)
    for provider in providers:
        if not any(offer.provider == provider for offer in offers):
            console.print(f"no offer by {provider}", markup=False, highlight=False)
    _write(catalogue_of(offers).find(region=options.get("region")), options, console)


def _import(options: Options, today: datetime.date, console: Console) -> None:
    for key in ("skypilot", "provider", "as_of"):
        if key not in options:
            raise ConfigError(f"{key}=… is needed: import skypilot=FILE provider=NAME as_of=DAY")
    try:
        as_of = datetime.date.fromisoformat(options["as_of"])
    except ValueError:
        raise ConfigError(f"as_of={options['as_of']}: must be a day such as 2026-09-01") from None
    path = Path(options["skypilot"])
    offers, left = read_skypilot(read_table(path), path, provider=options["provider"], as_of=as_of)
    for reason, count in left.items():
        rows = "1 row" if count == 1 else f"{count:,} rows"
        console.print(f"left out: {rows} {reason}", highlight=False)
    _write(offers, options, console)


def _write(offers: Sequence[Offer], options: Options, console: Console) -> None:
    out = Path(options.get("out", "prices.csv"))
    write_offers(with_facts(offers, load_catalogue()), out)
    wrote = "1 offer" if len(offers) == 1 else f"{len(offers):,} offers"
    console.print(f"wrote {wrote} to {out}", markup=False, highlight=False, soft_wrap=True)


_COMMANDS: Mapping[str, tuple[Callable[[Options, datetime.date, Console], None], tuple[str, ...]]] = {
    "show": (_show, ("gpu", "provider", "region", "sort", "instance", "catalogue")),
    "managed": (_managed, ("kind", "catalogue")),
    "refresh": (_refresh, ("provider", "gpu", "region", "out")),
    "import": (_import, ("skypilot", "provider", "as_of", "out")),
}


def _options(arguments: Sequence[str], keys: Sequence[str]) -> Options:
    options: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not value:
            raise ConfigError(f"{argument!r}: must read KEY=VALUE")
        if key not in keys:
            raise ConfigError(f"{key}: unknown key{nearest(key, keys)}")
        if key in options:
            raise ConfigError(f"{argument}: {key} is given twice")
        options[key] = value
    return options


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else _WIDTH)


def _costs(offer: ManagedOffer) -> tuple[str, ...]:
    a_second = offer.usd_per_replica_s
    return (
        _usd(None if a_second is None else a_second * 3600.0),
        _usd(offer.usd_per_1k_requests),
        _usd(offer.usd_per_m_input_tokens),
        _usd(offer.usd_per_m_output_tokens),
        _text(offer.cold_start_s),
    )


def _tell(console: Console, told: str, num_stale: int) -> None:
    old = f"; !: more than {MAX_AGE_DAYS} days old ({num_stale} of them)" if num_stale else ""
    console.print(told + old, markup=False, highlight=False, soft_wrap=True)


def _day(as_of: datetime.date, today: datetime.date) -> str:
    return f"[yellow]{as_of} ![/yellow]" if is_stale(as_of, today) else f"{as_of}"


def _usd(value: float | None) -> str:
    return "–" if value is None else f"{value:,.3f}"


def _text(value: object) -> str:
    if value is None or value == "":
        return "–"
    return f"{value:,g}" if isinstance(value, float) else str(value)


def _last(value: float | None) -> float:
    return float("inf") if value is None else value


if __name__ == "__main__":
    sys.exit(main())
