"""Which agents somebody sees: those of their tenant, at the sites and lines that their roles hold for.

Where a role holds for one site, it holds for the agents whose group has the site's name, and where it holds for one
line, for the agent ``site/line``. Another agent is none of theirs, whatever its tags mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloud_ingest.access.elsewhere import refuse_elsewhere
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal


@dataclass(frozen=True, slots=True)
class Sight:
    """Agents of ``tenant_id`` (``None``: of all), whose ``group`` or ``group/name`` is among ``places``, if given."""

    tenant_id: int | None = None
    places: tuple[str, ...] | None = None

    def sees(self, tenant_id: int, agent: str) -> bool:
        """Whether the agent ``group/name`` of that tenant is among them."""
        if self.tenant_id not in (None, tenant_id):
            return False
        return self.places is None or agent in self.places or agent.partition("/")[0] in self.places

    @property
    def arguments(self) -> tuple[int | None, list[str] | None]:
        """For ``seen``."""
        return self.tenant_id, None if self.places is None else list(self.places)


EVERYTHING: Final = Sight()
"""Of who works on the database itself: the commands of the program."""


def sight_of(principal: Principal, permission: Permission) -> Sight:
    """What ``principal`` sees by that permission."""
    places = principal.places(permission)
    if places is None:
        return Sight(principal.tenant_id)
    return Sight(principal.tenant_id, tuple(site if line is None else f"{site}/{line}" for site, line in places))


def seen(first: int, tenant: str = "agent.tenant_id", group: str = "group_name", name: str = "agent.name") -> str:
    """An SQL condition whose parameters ``$first`` and the next one are ``Sight.arguments``."""
    return (
        f"(${first}::int IS NULL OR {tenant} = ${first}) AND (${first + 1}::text[] IS NULL "
        f"OR {group} = ANY(${first + 1}) OR {group} || '/' || {name} = ANY(${first + 1}))"
    )


def check_agent(principal: Principal, permission: Permission, agent: str) -> None:
    """Raises ``RequestRefused`` where ``principal`` may not do that to the agent ``group/name``.

    One that their tenant does not have is refused by who looks for it, whether or not another tenant has it.
    """
    group, _, name = agent.partition("/")
    refuse_elsewhere(principal, permission, group, name)
