"""The accuracy drop by cut layer and by share of malicious clients, as figures 2 to 4 of Khan et al. 2022."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from raysplit.analysis.report.canvas import LIGHT, Theme, apart, head_panel, new_figure
from raysplit.analysis.report.numbers import spread_note
from raysplit.analysis.report.pairs import Measure, Trial, differences, is_unsplit, key, labels, names, split, type_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Panel:
    """One panel of figures 2 to 4. ``drops``: series name → tick → drops in percentage points, one a seed.

    ``baseline``: the same in federated learning, by tick for a line (figure 4) or under ``""`` for bars (figures 2 and
    3). ``shows``: the y axis, where it is not the drop.
    """

    title: str
    drops: Mapping[str, Mapping[str, Sequence[float]]]
    baseline: Mapping[str, Sequence[float]]
    shows: str = "accuracy drop (points)"


_HATCHES = ("", "//", "..")
"""For a fifth series and more, as there are four colours."""


def panels_by_cut(trials: Sequence[Trial], measure: Measure) -> dict[str, list[Panel]]:
    """Model → one panel a rule and attack, as figures 2 and 3: a bar a cut, a series a protocol; one cut with nothing
    beside it gives none."""
    figures: dict[str, list[Panel]] = {}
    for (model, title), group in _experiments(trials, varied=()).items():
        drops: dict[str, dict[str, list[float]]] = {}
        baseline: list[float] = []
        protocols = labels([trial.scenario.get("protocol") for trial in group])
        for trial, protocol in zip(group, protocols, strict=True):
            value = trial.drop(measure)
            if value is None or not math.isfinite(value):
                continue
            if is_unsplit(trial.scenario):
                baseline.append(100 * value)
            else:
                series = drops.setdefault(protocol, {})
                series.setdefault(split(trial.scenario), []).append(100 * value)
        if drops and (baseline or len({cut for series in drops.values() for cut in series}) > 1):
            figures.setdefault(model, []).append(Panel(title, drops, {"": baseline} if baseline else {}))
    return figures


def panels_by_malicious(
    trials: Sequence[Trial], measure: Measure, show: Literal["drop", "accuracy"] = "drop"
) -> dict[str, list[Panel]]:
    """Model → one panel a rule and attack, as figure 4: drop, or accuracy under attack, over the share of malicious
    clients.

    Where there is a scenario without malicious clients beside attacked ones that differ from it by nothing else, it is
    their share 0, with no drop. One share alone gives no panel.
    """
    nobody = {_besides_malice(trial): trial for trial in trials if _malicious(trial.scenario) == 0}
    figures: dict[str, list[Panel]] = {}
    for (model, title), group in _experiments(trials, varied=("malicious",)).items():
        drops: dict[str, dict[str, list[float]]] = {}
        baseline: dict[str, list[float]] = {}
        protocols = labels([trial.scenario.get("protocol") for trial in group])
        for trial, protocol in zip(group, protocols, strict=True):
            value = trial.drop(measure) if show == "drop" else trial.accuracy(measure)[1]
            share = _malicious(trial.scenario)
            if value is None or not math.isfinite(value) or share is None:
                continue
            if is_unsplit(trial.scenario):
                series = baseline
            else:
                name = f"{protocol} {split(trial.scenario)}"
                series = drops.setdefault(name, {})
            series.setdefault(f"{100 * share:g}", []).append(100 * value)
            clean = nobody.get(_besides_malice(trial))
            if clean is not None and (free := clean.accuracy(measure)[0]) is not None:
                series["0"] = [0.0 if show == "drop" else 100 * free]
        if any(len(series) > 1 for series in [*drops.values(), baseline]):
            shows = Panel.shows if show == "drop" else "accuracy under attack (%)"
            figures.setdefault(model, []).append(Panel(title, drops, baseline, shows))
    return figures


def drop_by_cut(panels: Sequence[Panel], theme: Theme = LIGHT) -> Figure:
    """Bars of the accuracy drop by cut, federated learning as a red dashed line; whiskers are a standard deviation over
    seeds."""
    panel_width = max(3.6, 4.2 / len(panels))
    figure, all_axes = new_figure(panel_width * len(panels), 3.4, len(panels), theme)
    names = sorted({name for panel in panels for name in panel.drops})
    for panel, axes in zip(panels, all_axes, strict=True):
        cuts = sorted({cut for series in panel.drops.values() for cut in series})
        width = 0.72 / len(names)
        for place, name in enumerate(names):
            series = panel.drops.get(name, {})
            x = [cuts.index(cut) + (place - (len(names) - 1) / 2) * width for cut in cuts if cut in series]
            values = [series[cut] for cut in cuts if cut in series]
            means = [statistics.fmean(value) for value in values]
            bars = axes.bar(
                x, means, width * 0.92, color=theme.series[place % 4], hatch=_HATCHES[place // 4 % 3], label=name,
                edgecolor=theme.paper, linewidth=0, yerr=_whiskers(values), ecolor=theme.ink, capsize=2,
            )  # fmt: skip
            texts = axes.bar_label(
                bars, fmt=lambda v: f"{v:.1f}".replace("-", "−"), padding=2, color=theme.ink, fontsize=8.5, zorder=4
            )
            # On the page's colour, so that the line of the baseline does not run through a number.
            for text in texts:
                text.set_bbox({"facecolor": theme.paper, "edgecolor": "none", "pad": 0.6})
        if panel.baseline:
            level = statistics.fmean(panel.baseline[""])
            axes.axhline(level, color=theme.baseline, linestyle=(0, (5, 3)), linewidth=1.6)
            _say(axes, (len(cuts) - 0.5, level), f"FL {level:.1f}".replace("-", "−"), theme.baseline, offset=(4, -3))
        axes.axhline(0, color=theme.faint, linewidth=0.8)
        axes.set_xticks(range(len(cuts)), cuts)
        axes.set_xlim(-0.5, len(cuts) - 0.5)
        axes.set_xlabel("cut layer")
        head_panel(axes, panel.title, panel_width - 0.5, theme)
        axes.margins(y=0.16)
    all_axes[0].set_ylabel("accuracy drop (points)")
    if len(names) > 1:
        handles = {
            label: handle for axes in all_axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            handles.values(), handles, loc="outside upper center", ncols=min(len(names), 2 * len(panels)), frameon=False,
            labelcolor=theme.ink,
        )  # fmt: skip
    return figure


def drop_by_malicious(panels: Sequence[Panel], theme: Theme = LIGHT) -> Figure:
    """Lines of the accuracy drop over the share of malicious clients in %; federated learning red and dashed."""
    panel_width = max(4.2, 5.0 / len(panels))
    figure, all_axes = new_figure(panel_width * len(panels), 3.4, len(panels), theme)
    for panel, axes in zip(panels, all_axes, strict=True):
        ends: list[tuple[float, float, str, str]] = []
        lines = [
            (name, series, theme.series[place % 4], "-") for place, (name, series) in enumerate(panel.drops.items())
        ]
        if panel.baseline:
            lines.append(("FL", panel.baseline, theme.baseline, "--"))
        for name, series, colour, style in lines:
            x = sorted(float(share) for share in series)
            y = [statistics.fmean(series[f"{share:g}"]) for share in x]
            errors = _whiskers([series[f"{share:g}"] for share in x])
            axes.errorbar(x, y, yerr=errors, color=colour, linestyle=style, marker="o", markersize=4, capsize=2)
            ends.append((x[-1], y[-1], name, colour))
        low, high = axes.get_ylim()
        for x_end, height, text, colour in apart(ends, 0.075 * (high - low)):
            _say(axes, (x_end, height), text, colour, offset=(7, -3))
        axes.set_xlabel("malicious clients (%)")
        head_panel(axes, panel.title, panel_width - 1.6, theme)
    all_axes[0].set_ylabel(panels[0].shows)
    return figure


ABREAST = 3
"""Panels side by side in one picture; with more, nobody could read them."""


def rows_of(figures: Mapping[str, Sequence[Panel]]) -> list[Sequence[Panel]]:
    """The panels of each figure, as many as stand in one picture together."""
    return [panels[at : at + ABREAST] for panels in figures.values() for at in range(0, len(panels), ABREAST)]


def legend_of(panels: Sequence[Panel]) -> str:
    """What a caption must explain of these panels: the line of federated learning and whiskers, where they are drawn;
    begins with a semicolon."""
    values = [
        found for panel in panels for series in [*panel.drops.values(), panel.baseline] for found in series.values()
    ]
    line = "; dashed red: federated learning" if any(panel.baseline for panel in panels) else ""
    note = spread_note(len(found) for found in values)
    return line + ("; whiskers: standard deviation (n − 1) over seeds" if note else "")


def _say(axes: Axes, place: tuple[float, float], text: str, colour: str, offset: tuple[float, float] = (2, 4)) -> None:
    axes.annotate(
        text,
        place,
        xytext=offset,
        textcoords="offset points",
        color=colour,
        fontsize=8.5,
        fontweight="bold",
        annotation_clip=False,
    )


def _whiskers(values: Sequence[Sequence[float]]) -> list[float] | None:
    if all(len(value) < 2 for value in values):
        return None
    return [statistics.stdev(value) if len(value) > 1 else 0.0 for value in values]


def _experiments(trials: Sequence[Trial], varied: Sequence[str]) -> dict[tuple[str, str], list[Trial]]:
    """Trials by (model, rule and attack): what one panel shows. ``varied``: fields of ``cohort`` that vary along
    the x axis."""
    full = [trial for trial in trials if trial.clean is not None and trial.attacked is not None]
    places = [
        key({**trial.scenario, "training": None}, without=("name", "attack", "defense", "seed")) for trial in full
    ]
    rules = names([trial.scenario.get("defense") for trial in full], places)
    attacks = names([trial.scenario.get("attack") for trial in full], places)
    models = [
        f"{type_name(trial.scenario.get('model'))} on {type_name(trial.scenario.get('population'))}" for trial in full
    ]
    settings = [""] * len(full)
    for model in set(models):
        here = [place for place, other in enumerate(models) if other == model]
        for place, text in zip(here, differences([_setting(full[p].scenario, varied) for p in here]), strict=True):
            settings[place] = text
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial, rule, attack, model, setting in zip(full, rules, attacks, models, settings, strict=True):
        groups.setdefault((model, ", ".join([rule, attack, *([setting] if setting else [])])), []).append(trial)
    return groups


def _setting(scenario: Mapping[str, Any], varied: Sequence[str]) -> dict[str, Any]:
    """What tells one panel from another beside its rule and attack."""
    rest = {
        name: value
        for name, value in scenario.items()
        if name not in ("name", "attack", "defense", "seed", "protocol", "checkpoint_every")
    }
    rest["cohort"] = {name: value for name, value in _mapping(scenario.get("cohort")).items() if name not in varied}
    rest["training"] = {name: value for name, value in _mapping(scenario.get("training")).items() if name != "rounds"}
    rest["model"] = {name: value for name, value in _mapping(scenario.get("model")).items() if name != "cut"}
    return rest


def _besides_malice(trial: Trial) -> str:
    """A scenario's canonical text without its name, attack, seed and share of malicious clients."""
    cohort = {name: value for name, value in _mapping(trial.scenario.get("cohort")).items() if name != "malicious"}
    return key({**trial.scenario, "cohort": cohort}, without=("name", "attack", "seed"))


def _malicious(scenario: Mapping[str, Any]) -> float | None:
    share = _mapping(scenario.get("cohort")).get("malicious")
    return float(share) if isinstance(share, int | float) else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
