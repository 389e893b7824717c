"""Who may change a model's tier, by which a policy lists the functions that approve its transitions."""

from modelward.caller import Permission
from modelward.errors import RoleTooLow
from modelward.lifecycle import PromotionPolicy, Stage
from modelward_server import identity
from modelward_server.lifecycle.approval_gates import functions_at
from modelward_server.security.permissions import ADMINISTER


def check_tier(policy: PromotionPolicy, before: int | None, after: int | None) -> None:
    """Refuse a tier for which some function need not approve any more, unless the client may change the policy too.

    Args:
        policy: the model's policy.
        before: the tier; None for none.
        after: the new tier.

    Raises:
        RoleTooLow: the client may not set policies.
    """
    client = identity.current.get()
    if client is None or Permission.ADMINISTER in client.role.permissions:
        return
    for to in Stage:
        if spared := set(functions_at(policy, before, to)) - set(functions_at(policy, after, to)):
            what = f"with this tier {', '.join(sorted(spared))} would not approve transitions to {to} any more"
            message = f"{what}; who may set the policy of {policy.model} may set it"
            raise RoleTooLow(message, role=client.role, needed=",".join(ADMINISTER.least_roles))
