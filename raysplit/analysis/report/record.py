"""One run in the report: how it ended, who attacked what, what it cost, and its numbers round by round."""

from __future__ import annotations

import html
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from raysplit.analysis.report.by_class import class_facts
from raysplit.analysis.report.detection import client_detection_section
from raysplit.analysis.report.inference import inference_section
from raysplit.analysis.report.markup import definitions, folded, json_block, paragraph, picture, table
from raysplit.analysis.report.noise_layer import noise_layer_section
from raysplit.analysis.report.numbers import NONE, count, percent, seconds, significant, size
from raysplit.analysis.report.pairs import flatten, plain, type_name
from raysplit.analysis.report.plots import first_attacked_round, spread_over_rounds
from raysplit.analysis.report.privacy import privacy_section
from raysplit.analysis.runs.run import Run

ROUNDS_SHOWN = 250
"""Rows of a run's table of rounds in the page; longer runs are thinned evenly, and the page says so."""

_STATUS = {
    "finished": "finished",
    "diverged": "diverged: the loss or the weights stopped being finite",
    "interrupted": "unfinished: interrupted, can be resumed",
    "running": "unfinished: still running, or killed and not yet resumed",
}


def run_section(run: Run, anchor: str) -> str:
    """The whole section, HTML."""
    parts = [
        f'<h2 id="{html.escape(anchor)}">{html.escape(run.name)}</h2>\n',
        _outcome(run),
        _spread(run),
        "<h3>Threat model</h3>\n" + _threat(run),
        "<h3>Aggregation</h3>\n" + _aggregation(run),
        "<h3>Channels</h3>\n" + _channels(run),
        client_detection_section(run),
        privacy_section(run),
        noise_layer_section(run),
        inference_section(run),
        "<h3>Record</h3>\n" + folded("Every round" if run.state.rounds <= ROUNDS_SHOWN else "Rounds", _rounds(run)),
        folded("Scenario", json_block(run.scenario), printed=True),
        folded(
            "Environment",
            json_block(run.environment) if run.environment else paragraph("Not recorded."),
            printed=True,
        ),
    ]
    return "".join(parts)


def _spread(run: Run) -> str:
    """The picture of accuracies over clients, where there were at least two of them and two evaluations."""
    rows = run.evaluations.to_pylist()
    if len(rows) < 2 or rows[-1]["clients"] < 2 or rows[-1]["client_accuracy_p50"] is None:
        return ""
    caption = f"{run.name}: test accuracy of the clients, and its coefficient of variation over them (100 sd / mean)."
    return picture(partial(spread_over_rounds, run), "Accuracy by client over rounds", caption)


def is_synthetic(run: Run) -> bool | None:
    """Whether the run's population is made up; None where the run does not say and its type's name does not show it."""
    for source in (run.state.record, run.environment):
        population = source.get("population")
        if isinstance(population, Mapping) and isinstance(population.get("synthetic"), bool):
            return bool(population["synthetic"])
    return True if type_name(run.scenario.get("population")).startswith("Synthetic") else None


def _outcome(run: Run) -> str:
    summary = run.summary()
    at = "" if summary.final_round is None else f"\u00a0% (round {count(summary.final_round)})"
    best_at = (
        "" if summary.best_round is None else f"\u00a0% (round {count(summary.best_round)}), chosen on the test set"
    )
    rounds = run.rounds.to_pydict()
    last = run.evaluations.to_pylist()[-1:]
    population = {None: "not recorded whether real or synthetic", True: "synthetic", False: "real"}[is_synthetic(run)]
    facts = [
        ("Status", f"{_STATUS.get(run.state.status, run.state.status)}; {count(run.state.rounds)} rounds done"),
        ("Ended early", str(run.state.record.get("stopped", ""))),
        ("Final accuracy", percent(summary.final) + at),
        ("Best accuracy", percent(summary.best) + best_at),
        (
            f"Mean of last {summary.late_evaluations or ''}".strip(),
            percent(summary.last5) + ("\u00a0%" if summary.last5 is not None else ""),
        ),
        ("Diverged", "yes" if summary.diverged else "no"),
        ("Test clients", _clients(last[0]) if last else ""),
        ("Accuracy by client", _across_clients(last[0]) if last else ""),
        *class_facts(run),
        ("Data", f"{type_name(run.scenario.get('population'))}, {population}"),
        ("Model digest", run.state.digest or "not recorded"),
        ("Clients a round", _range(rounds["clients"])),
        (
            "Drawn, not heard",
            count(int(sum(_known(rounds.get("dropped", []))))) if any(rounds.get("dropped", [])) else "",
        ),
        ("Rounds passed over", count(rounds["clients"].count(0)) if 0 in rounds["clients"] else ""),
        ("Time", f"{seconds(sum(rounds['wall_s']))}, median {seconds(_median(rounds['wall_s']))} a round"),
        ("Virtual time", _virtual(rounds.get("virtual_s", []))),
        ("Speed", f"{significant(_median(rounds['clients_per_s']))} clients/s, median of the rounds"),
        ("Peak memory", size(max(rounds["peak_memory_bytes"], default=None))),
        ("Retries", count(sum(rounds["retries"]))),
        ("Folder", str(run.path)),
    ]
    return definitions(facts if run.state.rounds else facts[:12] + facts[-1:])


def _virtual(times: Sequence[float | None]) -> str:
    """What the rounds would take on the scenario's devices; an empty text where it imagines none."""
    known = _known(times)
    return f"{seconds(sum(known))} on the scenario's devices, median {seconds(_median(known))} a round" if known else ""


def _clients(row: Mapping[str, Any]) -> str:
    return f"{count(row['clients'])} clients, {count(row['samples'])} samples at the last evaluation"


def _across_clients(row: Mapping[str, Any]) -> str:
    mean, sd, cv = (row[f"client_accuracy_{name}"] for name in ("mean", "sd", "cv"))
    if mean is None:
        return ""
    variation = "" if cv is None else f" (coefficient of variation {significant(cv)}\u00a0%)"
    quartiles = ", ".join(percent(row[f"client_accuracy_p{p}"]) for p in (10, 25, 50, 75, 90))
    return (
        f"mean {percent(mean)}, sd {percent(sd)}{variation}; 10th, 25th, 50th, 75th, 90th percentile {quartiles}; "
        f"mean of the worst tenth {percent(row['client_accuracy_worst_decile'])}\u00a0%"
    )


def _threat(run: Run) -> str:
    attack = run.scenario.get("attack")
    malicious = run.rounds.column("malicious").to_pylist()
    cohort = run.scenario.get("cohort")
    share = cohort.get("malicious") if isinstance(cohort, Mapping) else None
    who = f"{_range(malicious)} a round" + (f"; share in the scenario {plain(share)}" if share is not None else "")
    if attack is None:
        return paragraph("No attack: clients that are counted as malicious behave as honest ones.") + definitions(
            [("Malicious clients", who if any(malicious) else "")]
        )
    rows = run.attacks.to_pylist()
    model = run.state.record.get("threat_model")
    model = model if isinstance(model, Mapping) else {}
    knowledge = sorted(
        {row["knowledge"] for row in rows} | ({str(model["knowledge"])} if "knowledge" in model else set())
    )
    start = first_attacked_round(run)
    attacked_rounds = sum(run.rounds.column("attacked").to_pylist())
    settings = ", ".join(f"{name}={plain(value)}" for name, value in flatten(attack).items() if name != "type")
    goals = [row for row in run.evaluations.to_pylist() if row.get("attack_success") is not None]
    facts = [
        ("Attack", type_name(attack) + (f" ({settings})" if settings else "")),
        ("Adversary sees", _listed(model.get("sees"))),
        ("Adversary changes", _listed(model.get("changes"))),
        ("Knowledge", ", ".join(knowledge) or "not recorded"),
        ("Malicious clients", who),
        ("Poisoned rounds", NONE if start is None else f"{count(attacked_rounds)}, from round {count(start)} on"),
        ("Poisoned samples", _middle((row.get("poisoned") for row in rows), _whole)),
        (
            "Attack success",
            f"{percent(goals[-1]['attack_success'])}\u00a0% of {count(goals[-1]['attack_samples'])}" if goals else "",
        ),
        ("γ", _middle(row["gamma"] for row in rows)),
        ("Objective", _middle(row["objective"] for row in rows)),
        ("Upper bound", _middle(row["certificate"] for row in rows)),
        ("Time of the attack", _middle((row["seconds"] for row in rows), seconds)),
    ]
    return definitions(facts)


def _aggregation(run: Run) -> str:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in run.aggregation.to_pylist():
        groups.setdefault((row["portion"], row["rule"]), []).append(row)
    if not groups:
        return paragraph("Nothing was aggregated.")
    lines = []
    for (portion, rule), rows in groups.items():
        broken = sum(row["broken"] for row in rows)
        non_finite = sum(_known(row.get("non_finite") for row in rows))  # runs of earlier versions have no such column
        lines.append(
            [
                portion,
                rule,
                f"{_range(row['n'] for row in rows)} × {_range(row['d'] for row in rows)}",
                _range(row["assumed"] for row in rows),
                _range(row["actual"] for row in rows),
                _range(row["trim"] for row in rows),
                f"{count(broken)} ({percent(broken / len(rows))} %)" if broken else "0",
                count(int(non_finite)) if non_finite else NONE,
                _of(rows, "rejected_share", percent),
                _of(rows, "relative_bias", significant),
                _of(rows, "cosine", significant),
                _of(rows, "seconds", seconds),
            ]
        )
    head = [
        ("Portion", ""),
        ("Rule", ""),
        ("Updates", "n × d"),
        ("Declared", "malicious"),
        ("Realised", "malicious"),
        ("Trim", "a side"),
        ("Broken", "rounds"),
        ("Not finite", "updates"),
        ("Rejected", "%, median"),
        ("Relative bias", "median"),
        ("Cosine", "median"),
        ("Time", "median"),
    ]
    note = (
        "Relative bias: distance of the aggregate from the mean of the benign updates, over the norm of that mean. "
        "Broken: more malicious rows than the rule can bear. Not finite: updates that held NaN or infinity; what a rule "
        "does with them is in docs/non-finite.md."
    )
    filled = [place for place in range(len(head)) if any(line[place] != NONE for line in lines)]
    filled_rows = [[line[place] for place in filled] for line in lines]
    return table([head[place] for place in filled], filled_rows, texts=2) + paragraph(note, "note")


def _channels(run: Run) -> str:
    totals: dict[str, list[int]] = {}
    for row in run.channels.to_pylist():
        total = totals.setdefault(row["channel"], [0, 0, 0])
        for place, name in enumerate(("messages", "bytes", "label_bytes")):
            total[place] += row[name]
    if not totals:
        return paragraph("Nothing crossed a channel.")
    everything = sum(total[1] for total in totals.values())
    rounds = max(run.state.rounds, 1)
    lines = [
        [
            name,
            count(messages),
            size(whole),
            size(whole / rounds),
            f"{percent(whole / everything)}" if everything else NONE,
            size(label),
        ]
        for name, (messages, whole, label) in totals.items()
    ]
    lines.append(
        ["all", count(sum(total[0] for total in totals.values())), size(everything), size(everything / rounds), "", ""]
    )
    head = [
        ("Channel", ""),
        ("Messages", ""),
        ("Bytes", "whole run"),
        ("Bytes", "a round"),
        ("Share", "%"),
        ("of it labels", "whole run"),
    ]
    return table(head, lines) + paragraph("1 MB = 10⁶ B; payloads, without the framing of a transport.", "note")


def _rounds(run: Run) -> str:
    rows = run.rounds.to_pylist()
    shown = rows
    note = ""
    if len(rows) > ROUNDS_SHOWN:
        step = math.ceil(len(rows) / ROUNDS_SHOWN)
        shown = [row for place, row in enumerate(rows, 1) if place % step == 0 or place == len(rows)]
        note = paragraph(f"One round in {step}; all {count(len(rows))} are in metrics/rounds.arrow.", "note")
    tests = {row["round"]: row for row in run.evaluations.to_pylist() if row["split"] == "test"}
    goals = any(row.get("attack_success") is not None for row in tests.values())
    virtual = any(row.get("virtual_s") is not None for row in rows)
    balanced = any(row.get("balanced_accuracy") is not None for row in tests.values())
    lines = []
    for row in shown:
        test = tests.get(row["round"], {})
        flags = ["attacked"] * row["attacked"] + ["‡"] * row["diverged"]
        lines.append(
            [
                " ".join(flags),
                count(row["round"]),
                significant(row["train_loss"], 4),
                percent(row["train_accuracy"]),
                significant(test.get("loss"), 4),
                percent(test.get("accuracy")),
                *([percent(test.get("balanced_accuracy"))] if balanced else []),
                percent(test.get("client_accuracy_p10")),
                *([percent(test.get("attack_success"))] if goals else []),
                f"{count(row['malicious'])} of {count(row['clients'])}",
                count(row["samples"]),
                significant(row["update_norm"]),
                seconds(row["wall_s"]),
                *([seconds(row["virtual_s"])] if virtual else []),
            ]
        )
    head = [
        ("", ""),
        ("Round", ""),
        ("Train loss", "nat"),
        ("Train acc.", "%"),
        ("Test loss", "nat"),
        ("Test acc.", "%"),
        *([("Balanced", "%")] if balanced else []),
        ("Worst tenth", "%"),
        *([("ASR", "%")] if goals else []),
        ("Malicious", "clients"),
        ("Samples", ""),
        ("Update norm", ""),
        ("Time", ""),
        *([("Virtual time", "")] if virtual else []),
    ]
    mark = (
        paragraph("‡ diverged: loss or weights are not finite.", "note")
        if any(row["diverged"] for row in shown)
        else ""
    )
    return note + table(head, lines) + mark


def _listed(channels: Any) -> str:
    if not isinstance(channels, Sequence) or isinstance(channels, str):
        return "not recorded"
    return ", ".join(str(channel) for channel in channels) or "no channel"


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _median(values: Iterable[float | None]) -> float | None:
    known = _known(values)
    return statistics.median(known) if known else None


def _of(rows: Sequence[Mapping[str, Any]], column: str, form: Callable[[float | None], str]) -> str:
    return form(_median(row[column] for row in rows))


def _middle(values: Iterable[float | None], form: Callable[[float | None], str] = significant) -> str:
    """The median over rounds, and the extremes where they are not the same; an empty text where nothing is known."""
    known = _known(values)
    if not known:
        return ""
    low, middle, high = form(min(known)), form(statistics.median(known)), form(max(known))
    return middle if low == high else f"{middle} (median; {low} to {high})"


def _whole(value: float | None) -> str:
    return NONE if value is None else count(round(value))


def _range(values: Iterable[int | None]) -> str:
    """Whole numbers as one, or as least to greatest."""
    known = [value for value in values if value is not None]
    if not known:
        return NONE
    low, high = min(known), max(known)
    return count(low) if low == high else f"{count(low)} to {count(high)}"
