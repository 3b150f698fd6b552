"""What a person may order about an incident as it is; an order that would do nothing is refused with the way out."""

from __future__ import annotations

from monitor.effect import last_good
from monitor.holding import liftable
from monitor.incident import Incident, State
from monitor.policy import Mode, Order
from monitor.site import Site
from monitor.store import Store

__all__ = ["refusal", "way_back", "why_not"]


def way_back(incident: Incident, store: Store) -> str:
    """Return the release that a roll-back brings into service; empty where none is known as good."""
    return incident.last_good or last_good(store, incident.target, but=incident.release)


def why_not(incident: Incident, order: Order, site: Site | None, store: Store) -> str:
    """Say why an order that is about to be given would do nothing: as ``refusal``, and where it was given already."""
    if (placed := store.order_for(incident.id)) and placed.order is order:
        return f"{placed.by} ordered it already, and the daemon has yet to do it; `alignd status` shows when it has"
    return refusal(incident, order, site, good=way_back(incident, store))


def refusal(incident: Incident, order: Order, site: Site | None, *, good: str) -> str:
    """Say why an order would do nothing, and what to do instead; empty where it does something.

    Args:
        site: Of its target; ``None`` where that is not in the settings.
        good: As ``way_back`` says.
    """
    if incident.closed:
        return "it has ended; `alignd releases` changes what is served"
    if site is None:
        return f"target {incident.target!r} is not in the settings, so the daemon leaves it alone; put the target back"
    if order is Order.APPROVE:
        return _not_to_approve(incident, site, good)
    return _no_way_back(incident, site, good) if order is Order.ROLL_BACK else ""


def _not_to_approve(incident: Incident, site: Site, good: str) -> str:
    observed, by = incident.state is State.OPEN and site.mode is Mode.OBSERVE, incident.facts.get("approved_by")
    if observed and site.unrepairable:
        steered = site.steered and good
        instead = f"`alignd roll-back {incident.id}` serves {good}" if steered else "put a good release in by hand"
        return f"target {site.name} can't be repaired: {site.unrepairable}; {instead}, or `alignd abort {incident.id}`"
    if incident.state is State.AWAITING_APPROVAL or liftable(incident) or (observed and not by):
        return ""
    if held := incident.facts.get("held"):
        return "no approval lifts what holds it: " + "; ".join(f"{h['name']}: {h['why']}" for h in held)
    so_far = f"{by} approved it already" if observed else "it waits for nobody's approval"
    return f"{so_far}; `alignd plan {incident.id}` says how it goes on"


def _no_way_back(incident: Incident, site: Site, good: str) -> str:
    if incident.state is State.ROLLING_BACK:
        return "it is being rolled back already"
    if not site.steered:
        return (
            f"deployer {site.deployed_by} changes nothing that is served; put {good or 'a good release'} in by hand, "
            f"or `alignd abort {incident.id}`"
        )
    if not good:
        return (
            f"no release but {incident.release} is known as good; `alignd abort {incident.id}`, then `alignd releases "
            "promote` puts another one into service"
        )
    return ""
