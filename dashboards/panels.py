"""Panels, variables, links and boards as plain dicts in Grafana's classic JSON. As few fields as do the work.

A board is rows of questions, a row is its panels from cause to effect. A panel is made without a place; `board` gives
it one, from left to right in a grid of 24.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

PROMETHEUS: Json = {"type": "prometheus", "uid": "prometheus"}
LOKI: Json = {"type": "loki", "uid": "loki"}
TEMPO: Json = {"type": "tempo", "uid": "tempo"}

# Beside blue, hues that colour-blind eyes tell apart; the word or the mark beside them says the same.
GOOD, WARN, BAD, QUIET = "#56a64b", "#ff9830", "#e02f44", "#8e8e8e"

GRID = 24
TREE = 1000
"""The id of the panel with one trace, for links that open it alone."""

# --- queries -------------------------------------------------------------------------------------------------------


def prom(expr: str, legend: str = "", *, exemplar: bool = False) -> Json:
    """A range of PromQL."""
    return _without_none(
        {"datasource": PROMETHEUS, "expr": expr, "legendFormat": legend, "range": True, "exemplar": exemplar or None}
    )


def now(expr: str, legend: str = "") -> Json:
    """PromQL at the end of the time range."""
    return {"datasource": PROMETHEUS, "expr": expr, "legendFormat": legend, "instant": True, "range": False}


def column(expr: str) -> Json:
    """PromQL at the end of the time range, as a table."""
    return {**now(expr), "format": "table"}


def lines(expr: str) -> Json:
    """Log lines."""
    return {"datasource": LOKI, "expr": expr, "queryType": "range", "maxLines": 200}


def counted(expr: str, legend: str = "") -> Json:
    """A number from log lines, over time."""
    return {"datasource": LOKI, "expr": expr, "queryType": "range", "legendFormat": legend}


def counted_column(expr: str) -> Json:
    """A number from log lines, at the end of the time range."""
    return {"datasource": LOKI, "expr": expr, "queryType": "instant"}


def traces(query: str, limit: int = 20) -> Json:
    """Traces that TraceQL finds, the newest of them: without the hint it would be any."""
    return {
        "datasource": TEMPO, "queryType": "traceql", "query": f"{query} with (most_recent=true)", "limit": limit,
        "tableType": "traces",
    }  # fmt: skip


def trace(trace_id: str) -> Json:
    """One trace by its id."""
    return {"datasource": TEMPO, "queryType": "traceql", "query": trace_id}


def service_map() -> Json:
    """Who calls whom, from the service graph's metrics."""
    return {"datasource": TEMPO, "queryType": "serviceMap", "serviceMapQuery": ""}


# --- panels --------------------------------------------------------------------------------------------------------


def panel(kind: str, title: str, description: str, *targets: Json, w: int, h: int, **more: Any) -> Json:
    """Any panel. `gridPos` has its size; its place is the board's to give."""
    sources = {target["datasource"]["uid"]: target["datasource"] for target in targets}
    source = next(iter(sources.values()), PROMETHEUS)
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": source,
        "gridPos": {"w": w, "h": h},
        "targets": [{"refId": chr(ord("A") + number), **target} for number, target in enumerate(targets)],
        **more,
    }


def thresholds(*steps: tuple[float | None, str]) -> Json:
    """From which value on which colour; the first has no value."""
    return {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in steps]}


def words(said: dict[Any, tuple[str, str]]) -> list[Json]:
    """What single values, numbers or texts, are called, and in which colour."""
    options = {
        (value if isinstance(value, str) else f"{value:g}"): {"text": text, "color": color, "index": index}
        for index, (value, (text, color)) in enumerate(said.items())
    }
    return [{"type": "value", "options": options}]


def ranged(least: float | None, most: float | None, text: str, color: str) -> Json:
    """What a range of values is called."""
    return {"type": "range", "options": {"from": least, "to": most, "result": {"text": text, "color": color}}}


def link(title: str, url: str) -> Json:
    """A link on a value."""
    return {"title": title, "url": url}


def timeseries(
    title: str,
    description: str,
    unit: str,
    *targets: Json,
    w: int = 12,
    h: int = 9,
    stacked: bool = False,
    limits: Json | None = None,
    links: list[Json] | None = None,
    overrides: list[Json] | None = None,
    most: float | None = None,
    none: str = "no data in this time range",
) -> Json:
    """Values over time, the largest first in the legend."""
    custom: Json = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 30 if stacked else 8,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if limits else "off"},
    }
    defaults = {
        "unit": unit,
        "min": 0,
        "max": most,
        "color": {"mode": "palette-classic"},
        "custom": custom,
        "thresholds": limits or thresholds((None, GOOD)),
        "links": links,
        "noValue": none,
    }
    return panel(
        "timeseries",
        title,
        description,
        *targets,
        w=w,
        h=h,
        fieldConfig={"defaults": _without_none(defaults), "overrides": overrides or []},
        options={
            "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"],
                       "showLegend": True, "sortBy": "Last *", "sortDesc": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    )  # fmt: skip


LATEST: Json = {"calcs": ["lastNotNull"], "fields": "", "values": False}
"""The value that a panel of one number shows of a series."""


def stat(
    title: str,
    description: str,
    unit: str,
    *targets: Json,
    w: int = 6,
    h: int = 3,
    limits: Json | None = None,
    mappings: list[Json] | None = None,
    links: list[Json] | None = None,
    none: str = "no data",
    decimals: int | None = None,
    text: str = "value",
    colours: dict[str, str] | None = None,
) -> Json:
    """One number, with a word where the number alone does not tell; `colours` are those of its queries, by refId."""
    defaults = {
        "unit": unit,
        "decimals": decimals,
        "mappings": mappings,
        "thresholds": limits or thresholds((None, "text")),
        "color": {"mode": "thresholds"},
        "links": links,
        "noValue": none,
    }
    return panel(
        "stat",
        title,
        description,
        *targets,
        w=w,
        h=h,
        fieldConfig={
            "defaults": _without_none(defaults),
            "overrides": [
                {
                    "matcher": {"id": "byFrameRefID", "options": query},
                    "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
                }
                for query, colour in (colours or {}).items()
            ],
        },
        options={
            "reduceOptions": LATEST,
            "colorMode": "value",
            "graphMode": "none",
            "justifyMode": "auto",
            "orientation": "auto",
            "textMode": text,
        },
    )


def bars(
    title: str, description: str, unit: str, *targets: Json, limits: Json, w: int = 12, h: int = 9,
    most: float | None = None, links: list[Json] | None = None, none: str = "none",
    name: str = "agent_id",
) -> Json:  # fmt: skip
    """A bar for each series, as it stands, called by its label `name`, also where there is only one."""
    defaults = {
        "unit": unit, "min": 0, "max": most, "thresholds": limits, "color": {"mode": "thresholds"}, "links": links,
        "noValue": none,
        "displayName": f"${{__field.labels.{name}}}",
    }  # fmt: skip
    return panel(
        "bargauge",
        title,
        description,
        *targets,
        w=w,
        h=h,
        fieldConfig={"defaults": _without_none(defaults), "overrides": []},
        options={
            "reduceOptions": LATEST,
            "orientation": "horizontal",
            "displayMode": "basic",
            "valueMode": "color",
            "showUnfilled": True,
        },
    )


def timeline(title: str, description: str, *targets: Json, mappings: list[Json], w: int = 12, h: int = 8) -> Json:
    """States over time, in words."""
    return panel(
        "state-timeline",
        title,
        description,
        *targets,
        w=w,
        h=h,
        fieldConfig={
            "defaults": {
                "unit": "none",
                "mappings": mappings,
                "custom": {"fillOpacity": 70, "lineWidth": 0},
                # Not by thresholds: Grafana would then show each step's range, -∞+, in place of the words.
                "color": {"mode": "fixed", "fixedColor": QUIET},
                "noValue": "nothing in this time range",
            },
            "overrides": [],
        },
        options={
            "mergeValues": True,
            "showValue": "auto",
            "rowHeight": 0.9,
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False},
            "tooltip": {"mode": "single", "sort": "none"},
        },
    )


def table(
    title: str,
    description: str,
    columns: dict[str, tuple[Json, str, Json]],
    *,
    by: tuple[str, ...],
    w: int = 24,
    h: int = 10,
    sort: str | None = None,
    least_first: bool = False,
    keys: Json | None = None,
    none: str = "—",
) -> Json:
    """A row for each set of the labels `by`, a column for each query: name -> (query, unit, what else is said of it).

    `keys` is what is said of a label's column, by label.
    """
    targets = [query for query, _, _ in columns.values()]
    names = list(columns)
    joined: list[Json] = (
        [{"id": "joinByField", "options": {"byField": by[0], "mode": "outer"}}]
        if len(by) == 1 and len(names) > 1
        else ([{"id": "merge", "options": {}}] if len(names) > 1 else [])
    )
    values = [f"Value #{chr(ord('A') + number)}" for number in range(len(names))] if len(names) > 1 else ["Value"]
    order = {**{label: index for index, label in enumerate(by)}, **{v: len(by) + i for i, v in enumerate(values)}}
    organize = {
        "id": "organize",
        "options": {
            "excludeByName": {
                "Time": True,
                "__name__": True,
                **{f"{it} {number}": True for it in ("Time", "__name__") for number in range(1, len(names) + 1)},
            },
            "indexByName": order,
            "renameByName": dict(zip(values, names, strict=True)),
        },
    }
    overrides = [
        *(_override(label, said) for label, said in (keys or {}).items()),
        *(_override(name, {"unit": unit, **said}) for name, (_, unit, said) in columns.items()),
    ]
    return panel(
        "table",
        title,
        description,
        *targets,
        w=w,
        h=h,
        transformations=[*joined, organize],
        fieldConfig={
            "defaults": {
                "custom": {"align": "auto", "minWidth": 70},
                "thresholds": thresholds((None, "text")),
                "noValue": none,
            },
            "overrides": overrides,
        },
        options={
            "showHeader": True,
            "cellHeight": "sm",
            "sortBy": [{"displayName": sort, "desc": not least_first}] if sort else [],
        },
    )


COLORED: Json = {"custom.cellOptions": {"type": "color-text"}}
"""A column whose text has the colour of its threshold or word."""


def found(title: str, description: str, query: Json, *, w: int = 12, h: int = 8) -> Json:
    """Traces in a table; a click on one shows it in full, on the trace board."""
    here = f"/d/agent-traces?var-trace_id=${{__value.raw}}&${{__url_time_range}}&viewPanel={TREE}"
    return panel(
        "table",
        title,
        description,
        query,
        w=w,
        h=h,
        fieldConfig={
            "defaults": {
                "custom": {"align": "auto", "minWidth": 60},
                "thresholds": thresholds((None, "text")),
                "noValue": "—",
            },
            "overrides": [
                _override("traceID", {"displayName": "Trace", "links": [link("Show it", here)]}),
                _override("startTime", {"custom.width": 170}),
                _override("traceDuration", {"custom.width": 90}),
                _override("traceService", {"displayName": "Begun by", "custom.width": 120}),
                # It says the same as the service.
                _override("traceName", {"custom.hideFrom.viz": True}),
            ],
        },
        options={"showHeader": True, "cellHeight": "sm"},
    )


def logs(title: str, description: str, query: Json, *, w: int = 24, h: int = 10) -> Json:
    """Log lines, the newest first; the id of a line's trace is a link to it."""
    return panel(
        "logs",
        title,
        description,
        query,
        w=w,
        h=h,
        options={
            "showTime": True, "wrapLogMessage": True, "enableLogDetails": True, "sortOrder": "Descending",
            "dedupStrategy": "none", "showLabels": False, "showCommonLabels": False, "prettifyLogMessage": False,
        },
    )  # fmt: skip


def graph(title: str, description: str, query: Json, *, w: int = 24, h: int = 12) -> Json:
    """Nodes and edges."""
    return panel("nodeGraph", title, description, query, w=w, h=h, options={})


def tree(title: str, description: str, query: Json, *, h: int = 18) -> Json:
    """One trace as a waterfall."""
    return panel("traces", title, description, query, w=GRID, h=h, id=TREE)


def heatmap(title: str, description: str, unit: str, query: Json, *, w: int = 12, h: int = 8) -> Json:
    """A histogram over time."""
    return panel(
        "heatmap",
        title,
        description,
        {**query, "format": "heatmap"},
        w=w,
        h=h,
        fieldConfig={"defaults": {"unit": unit, "noValue": "none told"}, "overrides": []},
        options={
            "calculate": False,
            "color": {"mode": "scheme", "scheme": "Blues", "steps": 32},
            "yAxis": {"unit": unit},
            "cellGap": 1,
            "tooltip": {"mode": "single", "yHistogram": False},
            "legend": {"show": True},
        },
    )


# --- boards --------------------------------------------------------------------------------------------------------


def variable(name: str, label: str, query: str, *, many: bool = True, hidden: bool = False) -> Json:
    """A choice from the values of a label. All is `.*`, so that what has none is shown too."""
    chosen: Json = {"current": {"text": "All", "value": "$__all"}, "includeAll": True, "allValue": ".*"} if many else {}
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": PROMETHEUS,
        "query": {"query": query, "refId": name},
        "refresh": 2,  # with the time range
        "sort": 1,
        "multi": many,
        "hide": 2 if hidden else 0,
        **chosen,
    }


def given(name: str, label: str) -> Json:
    """A text that a link or a person fills in."""
    empty = {"text": "", "value": ""}
    return {"type": "textbox", "name": name, "label": label, "query": "", "current": empty, "options": []}


def constant(name: str, value: str) -> Json:
    """What links are made with, and a site may have otherwise."""
    return {
        "type": "constant", "name": name, "query": value, "current": {"text": value, "value": value}, "hide": 2,
    }  # fmt: skip


def goes_to(uid: str, title: str, *, variables: bool = True) -> Json:
    """A link at the head of a board, keeping the time range and what is chosen."""
    return {
        "type": "link", "title": title, "url": f"/d/{uid}", "icon": "dashboard", "keepTime": True,
        "includeVars": variables, "targetBlank": False, "asDropdown": False, "tags": [], "tooltip": "",
    }  # fmt: skip


def annotation(name: str, expr: str, title: str, text: str, color: str, *, on: bool = True) -> Json:
    """A mark on every graph, where an expression has a value."""
    return {
        "name": name, "datasource": PROMETHEUS, "expr": expr, "titleFormat": title, "textFormat": text,
        "iconColor": color, "enable": on, "hide": True, "step": "60s",
    }  # fmt: skip


def board(
    uid: str,
    title: str,
    description: str,
    *rows: tuple[str, list[Json]],
    variables: list[Json],
    links: list[Json],
    annotations: list[Json],
    since: str = "now-6h",
    refresh: str = "30s",
    closed: tuple[str, ...] = (),
) -> Json:
    """Rows of panels, each row a question. Those `closed` ask nothing of a server until they are opened."""
    placed: list[Json] = []
    y = 0
    for question, panels in rows:
        inside: list[Json] = []
        shut = question in closed
        placed.append(
            {"type": "row", "title": question, "collapsed": shut, "panels": inside, "gridPos": _at(0, y, GRID, 1)}
        )
        y, x, tallest = y + 1, 0, 0
        for made in panels:
            w, h = made["gridPos"]["w"], made["gridPos"]["h"]
            if x + w > GRID:
                y, x, tallest = y + tallest, 0, 0
            (inside if shut else placed).append({**made, "gridPos": _at(x, y, w, h)})
            x, tallest = x + w, max(tallest, h)
        y += tallest
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["agents"],
        "schemaVersion": 41,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,  # one cursor on all graphs
        "timezone": "browser",
        "time": {"from": since, "to": "now"},
        "refresh": refresh,
        "links": links,
        "annotations": {"list": annotations},
        "templating": {"list": variables},
        "panels": [{"id": number, **made} for number, made in enumerate(placed, 1)],
    }


def _at(x: int, y: int, w: int, h: int) -> Json:
    return {"x": x, "y": y, "w": w, "h": h}


def _override(field: str, said: Json) -> Json:
    return {
        "matcher": {"id": "byName", "options": field},
        "properties": [{"id": key, "value": value} for key, value in said.items()],
    }


def _without_none(values: Json) -> Json:
    return {key: value for key, value in values.items() if value is not None}
