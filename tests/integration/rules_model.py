#!/usr/bin/env python3
"""An evaluator of Sysmon configurations of its own, slow and by the book, against `haechi rules simulate --json`.

    rules_model.py make DIR                              made configurations and events into DIR
    rules_model.py check CONFIG RESULT.jsonl [--now CONFIG_NOW] HOST=EVENTS.jsonl...

EVENTS.jsonl: lines of `haechi events --format json`."""
import collections
import json
import os
import random
import re
import sys
import xml.parsers.expat

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def manifest():
    with open(ROOT + "/proto/fields.def") as f:
        text = f.read()
    fields, tags = {}, collections.defaultdict(list)
    for number, tag, rest in re.findall(r'^SYSMON\((\d+), (NULL|"\w+"), "[^"]*",\s*((?:F\(\w+\),?\s*)+)\)', text, re.M):
        fields[int(number)] = re.findall(r"F\((\w+)\)", rest)
        if tag != "NULL":
            tags[tag.strip('"')].append(int(number))
    return fields, tags


FIELDS, TAGS = manifest()


class Element:
    def __init__(self, name, attributes, line):
        self.name, self.attributes, self.line, self.children, self.text = name, attributes, line, [], ""


def parse(path):
    p = xml.parsers.expat.ParserCreate()
    stack = [Element("", {}, 0)]

    def start(name, attributes):
        e = Element(name, attributes, p.CurrentLineNumber)
        stack[-1].children.append(e)
        stack.append(e)

    def text(data):
        if not stack[-1].children:
            stack[-1].text += data

    p.StartElementHandler, p.EndElementHandler, p.CharacterDataHandler = start, lambda name: stack.pop(), text
    with open(path, "rb") as f:
        p.ParseFile(f)
    return stack[0].children[0]


class Rule:
    def __init__(self, e, block):
        self.single = e.name != "Rule"
        self.line = e.line
        self.all = not self.single and e.attributes.get("groupRelation", "or") == "and"
        name = "" if self.single else e.attributes.get("name", "")
        self.fields = []
        for f in [e] if self.single else e.children:
            own = f.attributes.get("name", "") or name or block.name
            self.fields.append((f.name, f.attributes.get("condition", "is").lower(), f.text.lower(), own, f.line))


class Block:
    def __init__(self, e, group, schema):
        self.ids, self.line = TAGS[e.name], e.line
        self.exclude = e.attributes["onmatch"] == "exclude"
        self.name = group.attributes.get("name", "") if group else ""
        self.all = (group.attributes["groupRelation"] == "and") if group else schema > 4.1
        self.rules = [Rule(r, self) for r in e.children]
        used = {f[0] for r in self.rules for f in r.fields}
        self.bound = next(i for i in self.ids if used <= set(FIELDS[i]))


def load(path):
    root = parse(path)
    schema = float(root.attributes["schemaversion"])
    blocks = []
    for filtering in root.children:
        if filtering.name != "EventFiltering":
            continue
        for e in filtering.children:
            if e.name == "RuleGroup":
                blocks += [Block(b, e, schema) for b in e.children]
            else:
                blocks.append(Block(e, None, schema))
    return blocks


def holds(condition, value, want):
    tokens = want.split(";")
    inside = [t in value for t in tokens]
    return {
        "is": lambda: value == want,
        "is not": lambda: value != want,
        "contains": lambda: want in value,
        "excludes": lambda: want not in value,
        "begin with": lambda: value.startswith(want),
        "not begin with": lambda: not value.startswith(want),
        "end with": lambda: value.endswith(want),
        "not end with": lambda: not value.endswith(want),
        "less than": lambda: value < want,
        "more than": lambda: value > want,
        "image": lambda: value == want or ("\\" not in want and "\\" in value and value.rsplit("\\", 1)[1] == want),
        "contains any": lambda: any(inside),
        "contains all": lambda: all(inside),
        "excludes any": lambda: not any(inside),
        "excludes all": lambda: not all(inside),
        "is any": lambda: value in tokens,
    }[condition]()


class Judge:
    def __init__(self, blocks):
        self.blocks = [b for b in blocks if b.exclude] + [b for b in blocks if not b.exclude]

    def field(self, block, event_id, data, f):
        name, condition, want, own, line = f
        bound, here = FIELDS[block.bound], FIELDS[event_id]
        at = bound.index(name)
        if at >= len(here) or here[at] != name:
            return False
        value = data.get(name.lower())
        if value is None:
            return False
        if (event_id, name) in ((1, "CommandLine"), (13, "Details")):
            value = value.replace("%%", "%")
        if not holds(condition, value.lower(), want):
            return False
        if own:
            self.name = own
        self.line = line
        return True

    def rule(self, block, event_id, data, r):
        for f in r.fields:
            if self.field(block, event_id, data, f) != r.all:
                return not r.all
        if r.all and r.fields:
            self.line = r.line
        return r.all and bool(r.fields)

    def block(self, b, event_id, data):
        if not b.all:
            return any(self.rule(b, event_id, data, r) for r in b.rules)
        groups = collections.defaultdict(bool)
        last = 0
        for i, r in enumerate(b.rules):
            held = self.rule(b, event_id, data, r)
            last = self.line if held else last
            groups[r.fields[0][0] if r.single else i] |= held
        self.line = last
        return bool(groups) and all(groups.values())

    def judge(self, event_id, data):
        """verdict, reason, line, RuleName"""
        self.name = ""
        own = [b for b in self.blocks if event_id in b.ids]
        if not any(event_id in ids for ids in TAGS.values()):
            return "kept", "always", 0, "-"
        for b in own:
            if self.block(b, event_id, data):
                return "dropped" if b.exclude else "kept", "rule", self.line, self.name or "-"
        if len(own) == 1:
            return "kept" if own[0].exclude else "dropped", "no match", own[0].line, "-"
        if own:
            return "dropped", "several blocks, no match", 0, "-"
        return "kept" if event_id in (1, 5) else "dropped", "no block", 0, "-"


# ---- made data ----

WORDS = ["\\", "a", "B", "x.exe", "C:", "temp", "%%v", ".", " "]


def made_value(rng):
    return "".join(rng.choice(WORDS) for _ in range(rng.randrange(5)))


def made_config(rng, path):
    conditions = ["is", "is not", "contains", "excludes", "begin with", "not begin with", "end with", "not end with", "less than",
                  "more than", "image", "contains any", "contains all", "excludes any", "excludes all", "is any"]

    def field(event_id):
        name = rng.choice(FIELDS[event_id][-4:])
        value = ";".join(made_value(rng) for _ in range(rng.randrange(1, 4))).replace("%%", "%")
        own = ' name="n%d"' % rng.randrange(9) if rng.random() < 0.4 else ""
        return '<%s%s condition="%s">%s</%s>' % (name, own, rng.choice(conditions), value, name)

    out = ['<Sysmon schemaversion="4.91">', " <EventFiltering>"]
    for tag, ids in TAGS.items():
        for _ in range(rng.randrange(3)):
            event_id = rng.choice(ids)
            out.append('  <RuleGroup name="%s" groupRelation="%s">' % (rng.choice(["", "g"]), rng.choice(["or", "or", "and"])))
            out.append('   <%s onmatch="%s">' % (tag, rng.choice(["include", "exclude"])))
            for _ in range(rng.randrange(6)):
                if rng.random() < 0.6:
                    out.append("    " + field(event_id))
                else:
                    out.append('    <Rule name="%s" groupRelation="%s">' % (rng.choice(["", "r"]), rng.choice(["and", "and", "or"])))
                    out += ["     " + field(event_id) for _ in range(rng.randrange(1, 4))]
                    out.append("    </Rule>")
            out += ["   </%s>" % tag, "  </RuleGroup>"]
    with open(path, "w") as f:
        f.write("\n".join(out + [" </EventFiltering>", "</Sysmon>", ""]))


def made_events(rng, path, n):
    escape = lambda s: s.replace("&", "&amp;").replace("<", "&lt;")
    with open(path, "w") as f:
        for i in range(n):
            event_id = rng.choice(list(FIELDS))
            data = "".join("<Data Name='%s'>%s</Data>" % (name, escape(made_value(rng))) for name in FIELDS[event_id] if rng.random() < 0.9)
            f.write("<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider Name='Microsoft-Windows-Sysmon'"
                    " Guid='{5770385f-c22a-43e0-bf4c-06f5698ffbd9}'/><EventID>%d</EventID><Version>5</Version><Level>4</Level><Task>%d</Task>"
                    "<Opcode>0</Opcode><Keywords>0x8000000000000000</Keywords><TimeCreated SystemTime='2026-03-%02dT10:%02d:%02d.0000000Z'/>"
                    "<EventRecordID>%d</EventRecordID><Correlation/><Execution ProcessID='1' ThreadID='2'/>"
                    "<Channel>Microsoft-Windows-Sysmon/Operational</Channel><Computer>PC</Computer><Security UserID='S-1-5-18'/></System>"
                    "<EventData>%s</EventData></Event>\n" % (event_id, event_id, 1 + i // 250, i % 250 // 5, i % 5 * 10, i + 1, data))


def make(folder):
    rng = random.Random(20261125)
    for i in range(4):
        made_config(rng, "%s/made%d.xml" % (folder, i))
    for i in range(2):
        made_events(rng, "%s/events%d.xml" % (folder, i), 6000)


# ---- comparing ----

def compare(what, wanted, got):
    if wanted == got:
        return
    keys = [k for k in sorted(set(wanted) | set(got), key=str) if wanted.get(k) != got.get(k)]
    sys.exit("FAILED: %s: " % what + "; ".join("%s: wanted %s, got %s" % (k, wanted.get(k), got.get(k)) for k in keys[:8]))


def check(config, result, now, files):
    candidate, current = Judge(load(config)), Judge(load(now)) if now else None
    ids, hosts, rows, now_rows = (collections.defaultdict(collections.Counter) for _ in range(4))
    n = 0
    for item in files:
        host, path = item.split("=", 1)
        with open(path) as f:
            for line in f:
                e = json.loads(line)
                if e["provider"] not in ("Microsoft-Windows-Sysmon", "Linux-Sysmon"):
                    continue
                n += 1
                data = {k.lower(): v for k, v in reversed(list(e["data"].items()))}
                v = candidate.judge(e["event_id"], data)
                c = current.judge(e["event_id"], data) if current else ("kept",)
                for counts in (ids[e["event_id"]], hosts[host]):
                    counts.update({"events": 1, "kept": v[0] == "kept", "current_kept": c[0] == "kept",
                                   "lost": v[0] != "kept" and c[0] == "kept", "gained": v[0] == "kept" and c[0] != "kept"})
                rows[(e["event_id"],) + v].update({"events": 1, "other_kept": c[0] == "kept"})
                if current:
                    now_rows[(e["event_id"],) + c].update({"events": 1, "other_kept": v[0] == "kept"})
    with open(result) as f:
        lines = [json.loads(line) for line in f]
    part = lambda kind: [x for x in lines if x["kind"] == kind]
    numbers = lambda x, keys: {k: x[k] for k in keys}
    five = ("events", "kept", "current_kept", "lost", "gained")
    fill = lambda counts: {k: {m: c[m] for m in five} for k, c in counts.items()}
    compare("event ids", fill(ids), {x["event_id"]: numbers(x, five) for x in part("id") if x["events"]})
    compare("hosts", fill(hosts), {x["host"]: numbers(x, five) for x in part("host")})
    for rules, wanted in (("candidate", rows), ("current", now_rows)):
        got = collections.defaultdict(collections.Counter)
        for x in part("rule"):
            if x["rules"] == rules:
                got[(x["event_id"], x["verdict"], x["reason"], x["line"], x["rule_name"])].update(numbers(x, ("events", "other_kept")))
        compare(rules + " rules", {k: dict(c) for k, c in wanted.items()}, {k: dict(c) for k, c in got.items()})
    summary = part("summary")
    if len(summary) != 1 or summary[0]["events"] != n or summary[0]["skipped_blocks"] or summary[0]["cut"]:
        sys.exit("FAILED: summary %s of %d events" % (summary, n))
    for kind, rest in (("id", lines), ("rule", [x for x in lines if x.get("rules") == "candidate"])):
        total = sum(x["bytes"] for x in rest if x["kind"] == kind)
        if abs(total - summary[0]["bytes"]) > len(lines):
            sys.exit("FAILED: bytes by %s: %d of %d" % (kind, total, summary[0]["bytes"]))
    print("%d events, %d rows by rule" % (n, len(rows) + len(now_rows)))


def main():
    args = sys.argv[2:]
    if sys.argv[1] == "make":
        make(args[0])
    else:
        now = None
        if "--now" in args:
            at = args.index("--now")
            now = args[at + 1]
            del args[at:at + 2]
        check(args[0], args[1], now, args[2:])


main()
