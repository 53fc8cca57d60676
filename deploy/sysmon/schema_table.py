#!/usr/bin/env python3
"""Writes server/rules/schema_table.c: what each Sysmon schema version knows.

    deploy/sysmon/schema_table.py [FOLDER] >server/rules/schema_table.c

FOLDER holds the manifests (default: ../shared/data/configs/schema): sysmon-manifests-2.0-to-4.90.xml is
microsoft/SysmonCommon's manifest.xml (MIT), sysmon-4.90-windows.xml and sysmon-4.91-windows.xml are dumps of the Windows
program kept by darkoperator/vscode-sysmon (BSD-3-Clause). Only facts are taken: names, numbers, and in which versions they
stand. No manifest of 4.82 and 4.83 is kept anywhere; what those added is Microsoft's documentation's word.
"""
import os
import sys
import xml.etree.ElementTree as ET

DOCUMENTED = {27: 482, 28: 483}  # FileBlockExecutable, FileBlockShredding


NUMBERED_LATER = {0xF001: 23, 0xF002: 24, 0xF003: 10}  # numbers that old manifests use inside Sysmon


def number(event):
    n = int(event.get("value"), 0)
    return NUMBERED_LATER.get(n, n)


def version(text):
    return round(float(text) * 100)


def manifests(folder):
    """[(version, windows, manifest)], the oldest first."""
    out = []
    for m in ET.parse(os.path.join(folder, "sysmon-manifests-2.0-to-4.90.xml")).getroot().iter("manifest"):
        out.append((version(m.get("schemaversion")), False, m))
    for name in ("sysmon-4.90-windows.xml", "sysmon-4.91-windows.xml"):
        m = ET.parse(os.path.join(folder, name)).getroot()
        out.append((version(m.get("schemaversion")), True, m))
    return sorted(out, key=lambda x: (x[0], x[1]))


class Spans:
    """In which versions a thing stands, as [since, until) pairs; until 0: to the newest."""

    def __init__(self, versions):
        self.versions, self.seen = versions, {}

    def add(self, key, at):
        self.seen.setdefault(key, set()).add(at)

    def of(self, key):
        at, spans, since = self.seen[key], [], 0
        for v in self.versions:
            if v in at and not since:
                since = v
            elif v not in at and since:
                spans.append((since, v))
                since = 0
        if since:
            spans.append((since, 0))
        return spans


def one(spans, key):
    found = spans.of(key)
    if len(found) != 1:
        sys.exit("%r comes and goes: %r; the table has one span for each" % (key, found))
    return found[0]


def merged_order(orders):
    """One list in which every given one, the oldest first, keeps its order; the newest decides where they disagree."""
    result = list(orders[-1])
    for order in reversed(orders[:-1]):
        for i, name in enumerate(order):
            if name not in result:
                before = [result.index(x) for x in order[:i] if x in result]
                result.insert(max(before) + 1 if before else 0, name)
    return result


def config_option(o):
    """The element's name in a file; None: not one."""
    if o.get("noconfig") == "true" or o.get("target") == "internal":
        return None
    if o.get("rule") == "true":
        return o.get("name") + "Config" if o.get("forceconfig") == "true" else None
    return o.get("name")


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "..", "..", "..", "shared", "data", "configs", "schema")
    all_ = manifests(folder)
    versions = sorted({v for v, _, _ in all_} | set(DOCUMENTED.values()))
    events, fields, options, conditions, cli = (Spans(versions) for _ in range(5))
    tags, orders, default_on, windows, unix, arguments = {}, {}, {}, set(), set(), {}
    for v, is_windows, m in all_:
        # what a version without a manifest has is what the one before it has
        at = [v] + [x for x in DOCUMENTED.values() if v == max(y for y, _, _ in all_ if y < x)]
        for e in m.iter("event"):
            if not e.get("rulename"):
                continue
            eid = number(e)
            tags[eid] = e.get("rulename")
            default_on[eid] = e.get("ruledefault") == "include"
            if v >= 490:
                (windows if is_windows else unix).add(eid)
            names = [d.get("name") for d in e.iter("data")]
            orders.setdefault(eid, []).append(names)
            for x in at:
                events.add(eid, x)
                for n in names:
                    fields.add((eid, n), x)
        for o in m.iter("option"):
            name = config_option(o)
            for x in at:
                if name:
                    options.add(name, x)
                    arguments[name] = o.get("argument")
                elif o.get("noconfig") == "true":
                    cli.add(o.get("name"), x)
        for c in m.find("configuration").find("filters").text.split(","):
            for x in at:
                conditions.add(c, x)
    for eid in unix - windows:  # Linux' newest is 4.90: what Windows' 4.91 lacks is not gone
        events.add(eid, versions[-1])
        for n in orders[eid][-1]:
            fields.add((eid, n), versions[-1])
    for eid, since in DOCUMENTED.items():
        for v in versions:
            if v >= since:
                events.add(eid, v)
                for n in orders[eid][-1]:
                    fields.add((eid, n), v)

    out = []
    w = out.append
    w("/* What each version of Sysmon's schema knows. Written by deploy/sysmon/schema_table.py from Microsoft's manifests 2.0 to 4.90")
    w(" * (microsoft/SysmonCommon, MIT) and the Windows dumps 4.90 and 4.91 (darkoperator/vscode-sysmon, BSD-3-Clause): facts, no")
    w(" * text of theirs. Do not edit. Versions are hundredths; until 0: still there in the newest. */")
    w('#include "schema.h"')
    w("")
    w("/* clang-format off */")
    w("")
    w("const uint16_t schema_versions[] = {%s};" % ", ".join(map(str, versions)))
    w("const size_t schema_n_versions = %d;" % len(versions))
    w("")
    w("/* by event, in the order in which the event has them */")
    w("const struct schema_field schema_fields[] = {")
    first, n = {}, 0
    for eid in sorted(tags):
        order = merged_order(orders[eid])
        first[eid] = (n, len(order))
        w("    /* %d %s */" % (eid, tags[eid]))
        for name in order:
            since, until = one(fields, (eid, name))
            w('    {"%s", %d, %d},' % (name, since, until))
        n += len(order)
    w("};")
    w("")
    w("/* id, first field, fields, since, until, logged without rules, systems */")
    w("const struct schema_event schema_events[] = {")
    for eid in sorted(tags):
        since, until = one(events, eid)
        systems = ([] if eid not in windows else ["SCHEMA_WINDOWS"]) + ([] if eid not in unix else ["SCHEMA_LINUX"])
        w('    {%d, %d, %d, %d, %d, %s, %s},' % (eid, first[eid][0], first[eid][1], since, until,
                                                     "true" if default_on[eid] else "false", " | ".join(systems) or "0"))
    w("};")
    w("const size_t schema_n_events = %d;" % len(tags))
    w("")
    w("/* what a file calls them, and the ids behind it */")
    w("const struct schema_tag schema_tags[] = {")
    names = list(dict.fromkeys(tags[eid] for eid in sorted(tags)))
    for tag in names:
        ids = [eid for eid in sorted(tags) if tags[eid] == tag]
        w('    {"%s", {%s}},' % (tag, ", ".join(map(str, ids))))
    w("};")
    w("const size_t schema_n_tags = %d;" % len(names))
    w("")
    w("/* condition, since */")
    w("const struct schema_name schema_conditions[] = {")
    for c in sorted(conditions.seen, key=lambda c: (one(conditions, c)[0], c)):
        since, until = one(conditions, c)
        w('    {"%s", %d, %d, SCHEMA_NO_ARGUMENT},' % (c, since, until))
    w("};")
    w("const size_t schema_n_conditions = %d;" % len(conditions.seen))
    w("")
    w("/* options that may stand in a file, then those of the command line alone */")
    w("const struct schema_name schema_options[] = {")
    kinds = {"none": "SCHEMA_NO_ARGUMENT", "optional": "SCHEMA_OPTIONAL_ARGUMENT", "required": "SCHEMA_ARGUMENT"}
    for name in sorted(options.seen):
        since, until = one(options, name)
        w('    {"%s", %d, %d, %s},' % (name, since, until, kinds[arguments[name]]))
    for name in sorted(cli.seen):
        w('    {"%s", %d, 0, SCHEMA_COMMAND_LINE},' % (name, min(cli.seen[name])))
    w("};")
    w("const size_t schema_n_options = %d;" % (len(options.seen) + len(cli.seen)))
    print("\n".join(out))


main()
