"""Whether the noise layer of a network stands where a client can add its noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raysplit.errors import ScenarioError
from raysplit.models.network import check_cut, stage_names
from raysplit.models.noise.pixel_dp import PixelDp

if TYPE_CHECKING:
    from raysplit.scenario.scenario import Scenario


def check_noise_layer(scenario: Scenario) -> None:
    """Raise ``ScenarioError`` for a noise layer behind the cut: whoever adds the noise must know the layers before it, of
    which it takes its scale."""
    model, protocol = scenario.model, scenario.protocol
    if not isinstance(model, PixelDp):
        return
    if protocol.topology.kind == "vertical":
        raise ScenarioError(
            f"PixelDp adds noise to what one client makes of a whole sample, but {type(protocol).__name__} cuts samples "
            "among parties; use a protocol such as SplitFedV1"
        )
    first, _ = check_cut(model, split=protocol.server != "none", u_shaped=protocol.u_shaped)
    names = stage_names(model)
    if names.index(model.noise_stage) >= first:
        raise ScenarioError(
            f"PixelDp adds its noise at the client, but {model.after!r} of {type(model.model).__name__} is behind the cut "
            f"{model.cut!r}; put the noise after {names[first - 1]!r} at the latest, or cut later"
        )
