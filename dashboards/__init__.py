"""Grafana's boards: Python in, the JSON in json/ out; Grafana loads only that and the two YAML files.

panels      what a panel, a variable, a link and a board are in Grafana's JSON: plain dicts
overview    all agents at a glance        -> agent -> its session's lines -> its trace -> back
team        one team
agent       one agent
traces      tasks as trees
budget      tokens and dollars
exporter    the exporter itself
build       writes json/; `--check` compares
"""
