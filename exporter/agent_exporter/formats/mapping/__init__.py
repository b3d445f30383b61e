"""Formats of other programs, each described by one small YAML file: a *mapping*.

    paths       a.b."c.d"[0]            ->  what stands there in a record
    values      a path, or a form       ->  a value: the first that is there, a text, a sum, a table, ...
    conditions  `when` and `where`      ->  whether a rule is for a record
    language    a document              ->  a Mapping, or all its faults
    memory      what is counted once, whatever file it stands in
    stream      records of one stream   ->  lines of our schema
    keys        the keys of the language, each with its meaning; the JSON Schema is made of them
    files       names and paths         ->  Mappings; the ones that come with the package are beside this module

A mapping is compiled to closures once. Each record is decoded once, by msgspec, and what comes out is bytes: a line of
our schema, which the one decoder judges. docs/formats.md describes the language.
"""
