"""The offers that are known: those shipped, and a user's own over them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

from simulator.catalogue.offer import ManagedOffer, Offer
from simulator.catalogue.rows import Row, read_offers
from simulator.errors import ConfigError
from workloads.options import nearest
from workloads.readers.files import read_text


@dataclass(frozen=True)
class Catalogue:
    """Offers by id (PROVIDER/REGION/INSTANCE_TYPE), in the order of their tables."""

    offers: Mapping[str, Offer]

    def __iter__(self) -> Iterator[Offer]:
        return iter(self.offers.values())

    def __len__(self) -> int:
        return len(self.offers)

    def get(self, name: str) -> Offer:
        """The offer of an id.

        Raises:
            ConfigError: no such offer, with the nearest ids.
        """
        if name not in self.offers:
            near = self._near(name)
            hint = f"; did you mean {' or '.join(near)}?" if near else ";"
            raise ConfigError(
                f"instance={name}: no such offer among {len(self)}{hint} `python -m simulator.prices show` lists them"
            )
        return self.offers[name]

    def find(self, *, gpu: str | None = None, provider: str | None = None, region: str | None = None) -> list[Offer]:
        """The offers of a GPU (with or without its memory: A100 or A100-40GB), a provider, a region.

        Raises:
            ConfigError: a name that no offer has, with the nearest.
        """
        found = list(self)
        for option, wanted in {"gpu": gpu, "provider": provider, "region": region}.items():
            if wanted is not None:
                if not any(_is(offer, option, wanted) for offer in self):
                    known = sorted({name for offer in self for name in _names(offer, option)})
                    raise ConfigError(f"{option}={wanted}: no offer has it{nearest(wanted, known)}")
                found = [offer for offer in found if _is(offer, option, wanted)]
        return found

    def over(self, other: Catalogue) -> Catalogue:
        """All offers of both; of an id that is in both, this one's."""
        return Catalogue(MappingProxyType({**other.offers, **self.offers}))

    def _near(self, name: str) -> list[str]:
        """Ids that look like it, or whose instance type does."""
        near = difflib.get_close_matches(name, self.offers, 3, 0.75)
        types = difflib.get_close_matches(name.rpartition("/")[2], {offer.instance_type for offer in self}, 3, 0.75)
        alike = [offer.id for kind in types for offer in self if offer.instance_type == kind]
        return list(dict.fromkeys([*alike, *near]))[:3]


def catalogue_of(offers: Sequence[Offer]) -> Catalogue:
    """A catalogue of just these."""
    return Catalogue(MappingProxyType({offer.id: offer for offer in offers}))


def load_catalogue(path: Path | str | None = None) -> Catalogue:
    """The shipped catalogue (instances.csv), and over it the user's own table of the same columns.

    Raises:
        TraceError: the place in a table that breaks a rule.
        ConfigError: a file that can't be read.
    """
    shipped = catalogue_of(_shipped("instances.csv", Offer))
    return shipped if path is None else catalogue_of(_read(path, Offer)).over(shipped)


def load_managed(path: Path | str | None = None) -> Mapping[str, ManagedOffer]:
    """Managed offers by name: the shipped ones (managed.csv), and over them the user's own.

    Raises:
        TraceError, ConfigError: as `load_catalogue`.
    """
    offers = _shipped("managed.csv", ManagedOffer) + ([] if path is None else _read(path, ManagedOffer))
    return MappingProxyType({offer.id: offer for offer in offers})


def _shipped(name: str, cls: type[Row]) -> list[Row]:
    text = files("simulator.catalogue").joinpath(name).read_text(encoding="utf-8")
    return read_offers(text, cls, f"simulator/catalogue/{name}")


def _read(path: Path | str, cls: type[Row]) -> list[Row]:
    return read_offers(read_table(path), cls, path)


def read_table(path: Path | str) -> str:
    """A user's file as text.

    Raises:
        TraceError: bytes that aren't UTF-8.
        ConfigError: a file that can't be read.
    """
    try:
        return read_text(Path(path))
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from None


def _is(offer: Offer, option: str, wanted: str) -> bool:
    return wanted.lower() in [name.lower() for name in _names(offer, option)]


def _names(offer: Offer, option: str) -> tuple[str, ...]:
    return (offer.family, offer.gpu_type) if option == "gpu" else (getattr(offer, option),)
