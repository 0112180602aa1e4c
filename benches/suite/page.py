"""The rendered page: one file, readable without a network, light and dark."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from suite.conditions import BATCHES, DECODE, FIFO, RTP_QUANTITIES
from suite.plots import dots, kind, number
from suite.summary import Cells

STYLE = Path(__file__).with_name("page.css")
QUANTITIES = {
    "cpu_us": "CPU time per message, us",
    "wall_us": "Wall time per message, us",
    "p50_us": "Median latency from the sending call to PCM in hand, us",
    "p99_us": "99th percentile of that latency, us",
    **RTP_QUANTITIES,
}
PLOTTED = {"cpu_us", "p50_us", "streams_per_core", "jitter_max_us", "late_p99_us"}
LIMITED_BY_LOAD = 0.9


def render(report: dict[str, Any]) -> str:
    """Returns the page of a report, as ``run.py`` writes it."""
    sections = report["sections"]
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>voxwire benchmarks</title>',
        '<meta name="viewport" content="width=device-width">',
        f"<style>{STYLE.read_text()}</style></head><body><main><h1>voxwire benchmarks</h1>",
        *facts(sections),
        wanted(report["wanted"]),
    ]
    for name, section in sections.items():
        note = escape(section["note"])
        parts.append(f'<section id="{name}"><h2>{escape(section["title"])}</h2><p>{note}</p>{stamp(section)}')
        parts.append(runs(section) if "cells" in section else rows(section["rows"]))
        parts.append("</section>")
    return "".join(parts) + "</main></body></html>\n"


def facts(sections: dict[str, Any]) -> list[str]:
    machines = {(s["machine"]["processor"], s["machine"]["cores"], s["machine"]["system"]) for s in sections.values()}
    lines = [f"<p><b>{escape(model)}</b>, {cores} cores, {escape(system)}.</p>" for model, cores, system in machines]
    if any(section["short"] for section in sections.values()):
        lines.append('<p class="warning">Sections marked as short took few samples: read their figures as rough.</p>')
    lines.append(
        "<p>Client and load server have a core each. Every run is a fresh process; its count and bytes are checked, "
        "and the audio was compared with its source before any time counted. The pairs of a section are shuffled anew "
        "for each repetition. CPU is user and system time of the client. Cells: <b>median</b> (minimum to maximum). "
        "Only ratios hold from one machine to another, and only those of stacks of one section.</p>"
    )
    return lines


def wanted(judged: list[dict[str, Any]]) -> str:
    """The figures wanted beside those measured."""
    if not judged:
        return ""
    body = []
    for row in judged:
        sign = "≥" if row["bound"] == "at least" else "≤"
        cells = "".join(
            f'<td class="{"met" if value["is_met"] else "missed"}"><b>{escape(value["condition"])}</b> '
            f"{measured(value)}; wanted {sign} {wish(value)})</small></td>"
            for value in row["values"]
        )
        body.append(f'<tr><th>{row["figure"]}. <a href="#{row["section"]}">{row["section"]}</a></th>')
        body.append(f"<td>{escape(row['what'])}</td>{cells}</tr>")
    return (
        "<section><h2>Figures wanted</h2><p>Ratios of medians in one section; those of RTP are medians themselves. "
        "Saturated ratios are never those of a real-time stream, for which see <a href='#paced'>paced</a>. "
        "Rivals never join chunks.</p>"
        f'<div class="scroll"><table class="wanted">{"".join(body)}</table></div></section>'
    )


def measured(value: dict[str, Any]) -> str:
    if "ratio" in value:
        return f"{number(value['ratio'])}x <small>(minima {number(value['ratio_of_minima'])}x"
    return f"{number(value['median'])} <small>({number(value['min'])} to {number(value['max'])}"


def wish(value: dict[str, Any]) -> str:
    return f"{value['wanted']:g}x" if "ratio" in value else number(value["wanted"])


def stamp(section: dict[str, Any]) -> str:
    machine = section["machine"]
    mode = f"{section['mode']}, " if "mode" in section else ""
    count = f"{section['repetitions']} repetitions, " if "repetitions" in section else ""
    short = "<b>short</b>, " if section["short"] else ""
    return (
        f'<p class="stamp">{short}{mode}{count}took {section["took_s"]} s; commit {escape(machine["commit"])}, '
        f"{machine['date']}, Python {machine['python']}</p>"
    )


def runs(section: dict[str, Any]) -> str:
    """Plots and tables of a group."""
    cells = Cells(section)
    parts = []
    for quantity, title in QUANTITIES.items():
        if not any(cell.get(quantity) for cell in section["cells"]):
            continue
        plot = f'<div class="scroll">{dots(cells, quantity, title)}</div>' if quantity in PLOTTED else ""
        parts.append(f"<h3>{title}</h3>{plot}{spreads(cells, quantity)}")
    if any("runs" in cell for cell in section["cells"]):
        parts.append(f"<h3>Each run: worst jitter, and worst wake of the machine itself, us</h3>{each_run(cells)}")
    busy = [(cell, cell.get("load_busy", 0)) for cell in section["cells"]]
    limited = [f"{cell['stack']} at {cell['condition']}" for cell, share in busy if share > LIMITED_BY_LOAD]
    if limited:
        parts.append(f"<p>The load server was busy for over {LIMITED_BY_LOAD:.0%} of the time, so that only CPU ")
        parts.append(f"counts, not wall time: {escape('; '.join(limited))}.</p>")
    if section["failures"]:
        failures = (f"{row['stack']}, {row['condition']}: {row['reason']}" for row in section["failures"])
        parts.append('<h3 class="missed">Failed</h3><ul>' + "".join(f"<li>{escape(line)}</li>" for line in failures))
        parts.append("</ul>")
    return "".join(parts)


def spreads(cells: Cells, quantity: str) -> str:
    """A table: stacks down, conditions across, each figure beside ours or, a latency, beside the native client's."""
    is_latency = quantity in {"p50_us", "p99_us"}
    base = FIFO.name if quantity in RTP_QUANTITIES else DECODE.name if is_latency else BATCHES.name
    columns = "".join(f"<th>{escape(condition)}</th>" for condition in cells.conditions)
    body = []
    for stack in cells.stacks:
        body.append(f'<tr class="{kind(stack)}"><th>{escape(stack)}</th>')
        for condition in cells.conditions:
            spread = (cells.get(stack, condition) or {}).get(quantity)
            if spread is None:
                body.append("<td></td>")
                continue
            median, beside = spread["median"], cells.value(base, condition, quantity)
            compared = "" if not beside else f"{median - beside:+.1f}" if is_latency else f"{number(median / beside)}x"
            span = f"<small>({number(spread['min'])} to {number(spread['max'])})</small>"
            body.append(f"<td><b>{number(median)}</b> {span}<br><small>{compared}</small></td>")
        body.append("</tr>")
    how = "what it is beyond that of" if is_latency else "how many times that of"
    return (
        f"<details><summary>Figures, and {how} {escape(base)}</summary>"
        f'<div class="scroll"><table><tr><th></th>{columns}</tr>{"".join(body)}</table></div></details>'
    )


def each_run(cells: Cells) -> str:
    """A table as that of ``spreads``: of each run of RTP its worst jitter, and how far the machine had a part in it."""
    columns = "".join(f"<th>{escape(condition)}</th>" for condition in cells.conditions)
    body = []
    for stack in cells.stacks:
        body.append(f'<tr class="{kind(stack)}"><th>{escape(stack)}</th>')
        for condition in cells.conditions:
            taken = (cells.get(stack, condition) or {"runs": []})["runs"]
            lines = "<br>".join(f"<b>{number(run['jitter_max_us'])}</b> {wake(run)}" for run in taken)
            body.append(f"<td>{lines}</td>")
        body.append("</tr>")
    return (
        "<details><summary>All runs, disturbed ones too</summary>"
        f'<div class="scroll"><table><tr><th></th>{columns}</tr>{"".join(body)}</table></div></details>'
    )


def wake(run: dict[str, Any]) -> str:
    worst = run["wake_max_us"]
    return "<small>(machine not watched)</small>" if worst is None else f"<small>({number(worst)})</small>"


def rows(table: list[dict[str, Any]]) -> str:
    """A table for each group of rows, or for each part, that have the same columns."""
    tables: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in table:
        tables.setdefault(tuple(row), []).append(row)
    parts = []
    for columns, group in tables.items():
        head = "".join(f"<th>{escape(column.replace('_', ' '))}</th>" for column in columns)
        body = "".join("<tr>" + "".join(entry(row[column]) for column in columns) + "</tr>" for row in group)
        parts.append(f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>')
    joined = "".join(parts)
    return f"<details><summary>{len(table)} rows</summary>{joined}</details>" if len(table) > 20 else joined


def entry(value: Any) -> str:
    if isinstance(value, str) or value is None:
        return f"<th>{escape(value or '')}</th>"
    return f"<td>{number(value)}</td>"


def escape(text: Any) -> str:
    return html.escape(str(text))
