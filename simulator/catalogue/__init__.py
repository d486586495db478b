"""What machines and managed inference cost, as dated tables: python -m simulator.prices show"""

from simulator.catalogue.catalogue import Catalogue, catalogue_of, load_catalogue, load_managed
from simulator.catalogue.offer import KINDS, MAX_AGE_DAYS, ON_DEMAND, PURCHASES, ManagedOffer, Offer, is_stale
from simulator.catalogue.pool import pool_settings, price_note, price_notes

__all__ = [
    "KINDS",
    "MAX_AGE_DAYS",
    "ON_DEMAND",
    "PURCHASES",
    "Catalogue",
    "ManagedOffer",
    "Offer",
    "catalogue_of",
    "is_stale",
    "load_catalogue",
    "load_managed",
    "pool_settings",
    "price_note",
    "price_notes",
]
