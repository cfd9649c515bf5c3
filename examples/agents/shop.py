"""A travel agency and a shop: bookings and orders that may have to be undone."""

from __future__ import annotations

from opscore.sdk import Agent, Fatal, Task

travel = Agent("travel", max_in_flight=8)
shop = Agent("shop", max_in_flight=8)
clerk = Agent("clerk", max_in_flight=8)


@travel.task("book")
def book(what: str, name: str, task: Task) -> dict[str, str]:
    """Book something; the same task books once, however often it is tried."""
    if what == "car":
        raise Fatal("no car is left")
    return {"what": what, "name": name, "booking": f"{what}-{task.idempotency_key[-6:]}"}


@travel.task("cancel-booking")
def cancel_booking(booking: str) -> str:
    """Undo a booking."""
    return f"{booking} was cancelled"


@shop.task("reserve")
def reserve(article: str) -> dict[str, str]:
    """Lay an article aside."""
    return {"article": article, "shelf": "7"}


@shop.task("ship")
def ship(article: str, paid: float) -> str:
    """Send an article."""
    return f"{article} is on its way, {paid:.2f} was paid"


@clerk.task("classify")
def classify(text: str) -> str:
    """What kind of document it is."""
    for word in ("invoice", "contract"):
        if word in text.lower():
            return word
    return "letter"


@clerk.task("read-invoice")
def read_invoice(text: str) -> dict[str, float]:
    """The last number of an invoice is its amount."""
    numbers = [word for word in text.replace(",", "").split() if word.replace(".", "").isdigit()]
    if not numbers:
        raise Fatal("the invoice has no amount")
    return {"amount": float(numbers[-1])}


@clerk.task("read-contract")
def read_contract(text: str) -> dict[str, int]:
    """How long a contract is."""
    return {"words": len(text.split())}


AGENTS = [travel, shop, clerk]
