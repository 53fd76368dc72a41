"""The query parameters of a product listing: read, checked, and refused in WordPress's words."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from catalog_pipeline.demo.dates import cut_off

STATUSES: Final = ("publish", "draft", "pending", "private", "future", "trash")
_STATUS_CHOICES: Final = ("any", "future", "trash", "draft", "pending", "private", "publish")
# WooCommerce lists some of these twice, and says so when it refuses another.
_ORDERS: Final = (
    "date", "id", "include", "title", "slug", "modified", "popularity", "rating", "post__in",
    "price", "sales", "menu_order", "random", "popularity", "rating", "menu_order", "price",
    "popularity", "rating",
)  # fmt: skip
_TYPES: Final = ("simple", "grouped", "external", "variable")
_STOCK: Final = ("instock", "outofstock", "onbackorder")
_INTEGER: Final = re.compile(r"\s*[+-]?\d{1,18}(\.0*)?\s*")


@dataclass(frozen=True, slots=True)
class Complaint:
    """Why a value is refused: WordPress's code, sentence and data."""

    code: str
    message: str
    data: object = None


class BadParametersError(Exception):
    """Some parameters are wrong; `payload` is the body of the 400 that says so."""

    def __init__(self, complaints: dict[str, Complaint]) -> None:
        super().__init__(", ".join(complaints))
        self.payload = {
            "code": "rest_invalid_param",
            "message": f"Invalid parameter(s): {', '.join(complaints)}",
            "data": {
                "status": 400,
                "params": {name: c.message for name, c in complaints.items()},
                "details": {
                    name: {"code": c.code, "message": c.message, "data": c.data}
                    for name, c in complaints.items()
                },
            },
        }


@dataclass(frozen=True, slots=True)
class Listing:
    """What a listing asks for. Dates are column values as `dates.cut_off` gives them."""

    page: int = 1
    per_page: int = 10
    offset: int | None = None
    order: str = "desc"
    orderby: str = "date"
    include: tuple[int, ...] = ()
    exclude: tuple[int, ...] = ()
    statuses: frozenset[str] = frozenset(STATUSES[:-1])
    dates_are_gmt: bool = False
    after: int | None = None
    before: int | None = None
    modified_after: int | None = None
    modified_before: int | None = None
    matching: tuple[tuple[str, str], ...] = ()
    fields: tuple[str, ...] = ()


Check = Callable[[str, str], Complaint | None]


def _integer(low: int | None = None, high: int | None = None) -> Check:
    def check(name: str, value: str) -> Complaint | None:
        if not _INTEGER.fullmatch(value):
            return Complaint(
                "rest_invalid_type", f"{name} is not of type integer.", {"param": name}
            )
        number = int(float(value))
        if low is not None and high is not None and not low <= number <= high:
            bounds = f"{name} must be between {low} (inclusive) and {high} (inclusive)"
            return Complaint("rest_out_of_bounds", bounds)
        if low is not None and number < low:
            return Complaint("rest_out_of_bounds", f"{name} must be greater than or equal to {low}")
        return None

    return check


def _one_of(*choices: str) -> Check:
    def check(name: str, value: str) -> Complaint | None:
        return None if value in choices else _not_in(name, choices)

    return check


def _some_of(*choices: str) -> Check:
    def check(name: str, value: str) -> Complaint | None:
        for position, part in enumerate(_listed(value)):
            if part not in choices:
                return _not_in(f"{name}[{position}]", choices)
        return None

    return check


def _not_in(name: str, choices: Sequence[str]) -> Complaint:
    glue = ", and " if len(choices) > 2 else " and "
    known = ", ".join(choices[:-1]) + glue + choices[-1]
    return Complaint("rest_not_in_enum", f"{name} is not one of {known}.")


def _integers(name: str, value: str) -> Complaint | None:
    for position, part in enumerate(_listed(value)):
        if not _INTEGER.fullmatch(part):
            item = f"{name}[{position}]"
            return Complaint(
                "rest_invalid_type", f"{item} is not of type integer.", {"param": item}
            )
    return None


def _boolean(name: str, value: str) -> Complaint | None:
    if value.lower() in ("true", "false", "1", "0"):
        return None
    return Complaint("rest_invalid_type", f"{name} is not of type boolean.", {"param": name})


def _listed(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


_DATES: Final = ("after", "before", "modified_after", "modified_before")
_CHECKS: Final[dict[str, Check]] = {
    "context": _one_of("view", "edit"),
    "page": _integer(1),
    "per_page": _integer(1, 100),
    "exclude": _integers,
    "include": _integers,
    "offset": _integer(),
    "order": _one_of("asc", "desc"),
    "orderby": _one_of(*_ORDERS),
    "dates_are_gmt": _boolean,
    "status": _one_of(*_STATUS_CHOICES),
    "include_status": _some_of(*_STATUS_CHOICES),
    "exclude_status": _some_of(*_STATUS_CHOICES[1:]),
    "type": _one_of(*_TYPES),
    "featured": _boolean,
    "on_sale": _boolean,
    "stock_status": _one_of(*_STOCK),
}
# Filters on the products themselves, in the order in which they are applied.
_MATCHED: Final = (
    "type", "slug", "sku", "search", "category", "tag", "featured", "on_sale", "stock_status",
    "min_price", "max_price",
)  # fmt: skip


def read_listing(parameters: dict[str, str], zone: ZoneInfo) -> Listing:
    """The listing that these parameters ask for; unknown ones are ignored, as WordPress does.

    Raises:
        BadParametersError: some value is not allowed.
    """
    complaints: dict[str, Complaint] = {}
    for name, check in _CHECKS.items():
        if name in parameters and (complaint := check(name, parameters[name])):
            complaints[name] = complaint
    cuts: dict[str, int] = {}
    for name in _DATES:
        if name in parameters:
            cut = cut_off(parameters[name], zone)
            if cut is None:
                complaints[name] = Complaint("rest_invalid_date", "Invalid date.")
            else:
                cuts[name] = cut
    if complaints:
        raise BadParametersError(complaints)
    given = parameters.get
    return Listing(
        page=int(float(given("page", "1"))),
        per_page=int(float(given("per_page", "10"))),
        offset=int(float(parameters["offset"])) if "offset" in parameters else None,
        order=given("order", "desc"),
        orderby=given("orderby", "date"),
        include=tuple(int(float(i)) for i in _listed(given("include", ""))),
        exclude=tuple(int(float(i)) for i in _listed(given("exclude", ""))),
        statuses=_statuses(parameters),
        dates_are_gmt=given("dates_are_gmt", "").lower() in ("true", "1"),
        after=cuts.get("after"),
        before=cuts.get("before"),
        modified_after=cuts.get("modified_after"),
        modified_before=cuts.get("modified_before"),
        matching=tuple((n, parameters[n]) for n in _MATCHED if given(n, "")),
        fields=tuple(_listed(given("_fields", ""))),
    )


def check_status(value: str) -> None:
    """Refuse a status that no product can have.

    Raises:
        BadParametersError: it is none of them.
    """
    complaint = _one_of(*STATUSES)("status", value)
    if complaint is not None:
        raise BadParametersError({"status": complaint})


def _statuses(parameters: dict[str, str]) -> frozenset[str]:
    everything = frozenset(STATUSES[:-1])
    wanted: frozenset[str] = frozenset()
    for status in _listed(parameters.get("include_status") or parameters.get("status", "any")):
        wanted |= everything if status == "any" else {status}
    return wanted - frozenset(_listed(parameters.get("exclude_status", "")))
