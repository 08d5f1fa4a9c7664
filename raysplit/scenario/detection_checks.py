"""Whether a protocol has the main server that detection stands at."""

from __future__ import annotations

from raysplit.defenses.detection.detection import Detection
from raysplit.errors import ScenarioError
from raysplit.protocols.as_published import AS_WRITTEN, published
from raysplit.protocols.protocol import TrainingProtocol, server_step, synchrony_of
from raysplit.protocols.topology import topology_of


def check_detection(detection: Detection, protocol: TrainingProtocol) -> None:
    """Raise ScenarioError where there is no shared server portion that steps after every visit of every client."""
    kind = type(protocol).__name__
    if protocol.server == "none" or protocol.client_sync == "one_party" or topology_of(protocol).kind != "pair":
        raise ScenarioError(
            f"Scenario.detection stands at a main server that many clients visit, but {kind} has none; leave it out"
        )
    if protocol.server == "replicas":
        raise ScenarioError(
            f"Scenario.detection compares clients at one shared server portion, but {kind} has a replica for each; "
            "leave it out, or use SplitFedV2"
        )
    if server_step(protocol) != "visit" or synchrony_of(protocol) != "synchronous":
        raise ScenarioError(
            f"Scenario.detection needs a server that steps after every visit and waits for everybody, but {kind} has "
            f"server_step={server_step(protocol)!r} and synchrony={synchrony_of(protocol)!r}; leave it out"
        )
    if published(protocol) != AS_WRITTEN:
        raise ScenarioError(
            f"the published code of {kind} detects nobody; leave Scenario.detection or as_published out"
        )
    for screen in detection.screens:
        if protocol.u_shaped and getattr(screen, "needs_labels", False):
            raise ScenarioError(
                f"{type(screen).__name__} needs the labels at the main server, but {kind} is U-shaped; use another "
                "screen or u_shaped=False"
            )
    if detection.rollback is not None and protocol.order != "client_major":
        raise ScenarioError(
            f"{type(detection.rollback).__name__} takes whole turns of clients back, but {kind} has "
            f"order={protocol.order!r}; "
            "use one whose clients come one after another (client_major)"
        )
