"""FLTrust: trust in proportion to the agreement with an update of one's own (Cao et al., NDSS 2021)."""

from __future__ import annotations

import torch

from raysplit.aggregation.columns import combined
from raysplit.aggregation.geometry import Geometry
from raysplit.aggregation.order_statistics import column_blocks
from raysplit.aggregation.rule import Aggregate, GeometryRule, RoundContext
from raysplit.errors import ScenarioError
from raysplit.parts.part import part


@part
class FLTrust(GeometryRule):
    """AGR(U) = Σ_i t_i (‖g‖/‖u_i‖) u_i / Σ_i t_i with trust t_i = max(0, cos(u_i, g)), g the operator's own update.

    In split learning a server has no client portion's data, so g comes from root clients, ``roots``: ids of clients
    whose data the operator knows to be clean. They train in every round beside the cohort, from the same portion, and
    are no part of it; several count by their samples. It asks for no number of malicious clients, only with a g
    that points where the benign updates point. With no trust in anybody the update is zero. Rows that are not finite or
    zero get no trust. The sample weights play no part.

    Records ``trusted``, the rows with t_i > 0; ``trust``, the mean t_i; and ``broken``: 1 where g is zero or not
    finite, which makes the update zero. Raises ScenarioError where no reference reaches it.

    >>> import torch
    >>> from raysplit import FLTrust
    >>> updates = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0], [50.0, -50.0]])
    >>> FLTrust()(updates, reference=torch.tensor([1.0, 1.0]))
    tensor([0.9750, 0.9750])
    """

    roots: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if not self.roots or len(set(self.roots)) < len(self.roots) or min(self.roots) < 0:
            raise ScenarioError(f"FLTrust.roots must name one or more different client ids, but it is {self.roots}")

    def over(self, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        if context.reference is None:
            raise ScenarioError(
                f"FLTrust has no update of its root clients {self.roots}: it must be the scenario's defense, or the "
                "rule of a part that passes its roots on"
            )
        reference = context.reference
        length = float(reference.double().norm())
        norms = geometry.norms
        trust = cosines(geometry.columns.total(products, reference), norms, length).clamp_min_(0)
        total = float(trust.sum())
        factors = torch.where(trust > 0, trust * length / (norms * max(total, 1e-300)), torch.zeros_like(trust))
        record = {
            "trusted": float((trust > 0).sum()),
            "trust": total / len(trust),
            "broken": float(not 0 < length < torch.inf),
        }
        return Aggregate(combined(geometry.columns, factors), record, trust > 0)


def products(rows: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """⟨u_i, reference⟩ in float64, [n]."""
    total = torch.zeros(rows.shape[0], dtype=torch.float64, device=rows.device)
    for columns in column_blocks(rows, narrow=True):
        total += rows[:, columns].double() @ reference[columns].to(rows).double()
    return total


def cosines(products: torch.Tensor, norms: torch.Tensor, length: float) -> torch.Tensor:
    """cos(u_i, reference), float64 [n], from inner products; 0 where either length is 0 or not finite."""
    measured = norms.isfinite() & (norms > 0)
    if not 0 < length < torch.inf:
        measured = torch.zeros_like(measured)
    return torch.where(measured, products / (norms * length), torch.zeros_like(norms))
