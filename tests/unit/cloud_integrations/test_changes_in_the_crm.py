"""What has changed in HubSpot is read page by page, and nothing of it is skipped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.crm import hubspot
from connectors.crm.hubspot import HubSpot, HubSpotOptions

BEGIN = datetime(2026, 11, 2, tzinfo=UTC)


class Search:
    """A search of HubSpot's over objects that were changed a second after each other."""

    def __init__(self, **counts: int) -> None:
        self.counts = counts

    async def ask(self, _method: str, path: str, query: dict[str, Any]) -> dict[str, Any]:
        kind = path.split("/")[4]
        begin, by = int(query.get("after", 0)), query["sorts"][0]["propertyName"]
        since = datetime.fromtimestamp(int(query["filterGroups"][0]["filters"][0]["value"]) / 1000, UTC)
        changed = [BEGIN + timedelta(seconds=n) for n in range(self.counts.get(kind, 0))]
        some = [(n, when) for n, when in enumerate(changed) if when >= since]
        page = some[begin : begin + query["limit"]]
        results = [{"id": f"{kind}-{n}", "properties": {by: when.isoformat()}} for n, when in page]
        end = begin + len(page)
        return {"results": results, **({"paging": {"next": {"after": str(end)}}} if end < len(some) else {})}


@pytest.mark.parametrize("changes_max", [300, 5000])
async def test_a_thousand_contacts_at_once_are_all_told_though_a_deal_is_newer(
    monkeypatch: pytest.MonkeyPatch, changes_max: int
) -> None:
    monkeypatch.setattr(hubspot, "CHANGES_MAX", changes_max)
    crm = HubSpot(HubSpotOptions("token"))
    monkeypatch.setattr(crm, "_http", Search(contacts=1000, deals=1500))
    told: set[str] = set()
    since = BEGIN
    for _ in range(10):
        found = await crm.changes(since)
        told |= {one.id for one in found}
        since = max(one.changed for one in found)
    assert told == {f"contacts-{n}" for n in range(1000)} | {f"deals-{n}" for n in range(1500)}
