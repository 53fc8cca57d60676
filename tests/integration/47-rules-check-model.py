#!/usr/bin/env python3
# timeout: 120
"""The checker against a model of the grammar that is worked out here from Microsoft's manifests: real configurations with tags, fields,
conditions, options and schema versions exchanged. What the newest schema lacks must be an error, what only the named one lacks a
warning, and nothing else of these kinds may be found."""
import glob
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("HAECHI_BIN", os.path.join(ROOT, "build/test"))
CONFIGS = os.path.join(os.environ.get("HAECHI_SHARED", os.path.join(ROOT, "../shared")), "data/configs")
NEWEST = 491
SEED, FILES = 5, 300
GRAMMAR_CODES = {"unknown-tag", "unknown-field", "wrong-field", "unknown-condition", "unknown-option", "gone-from-schema", "misplaced"}
OF_OUR_OWN = {"mixed-ids", "schemaversion"}  # the model does not look at these


def version(text):
    return round(float(text) * 100)


def manifests():
    by_version = {}
    for m in ET.parse(CONFIGS + "/schema/sysmon-manifests-2.0-to-4.90.xml").getroot().iter("manifest"):
        by_version.setdefault(version(m.get("schemaversion")), []).append(m)
    linux = by_version[490][0]
    for name in ("sysmon-4.90-windows.xml", "sysmon-4.91-windows.xml"):
        m = ET.parse(CONFIGS + "/schema/" + name).getroot()
        by_version.setdefault(version(m.get("schemaversion")), []).append(m)
    by_version[NEWEST].append(linux)
    return by_version


def option_name(o):
    if o.get("noconfig") == "true" or o.get("target") == "internal":
        return None
    if o.get("rule") == "true":
        return o.get("name") + "Config" if o.get("forceconfig") == "true" else None
    return o.get("name")


def grammar(list_of_manifests):
    tags, conditions, options = {}, set(), set()
    for m in list_of_manifests:
        for e in m.iter("event"):
            if e.get("rulename"):
                tags.setdefault(e.get("rulename"), set()).update(d.get("name") for d in e.iter("data"))
        conditions |= set(m.find("configuration/filters").text.split(","))
        options |= {option_name(o) for o in m.iter("option")} - {None}
    return tags, conditions, options


def judge(root, g):
    """What the grammar lacks, as a set of words."""
    tags, conditions, options = g
    lacks = set()

    def field(n, tag):
        if n.get("condition", "is").lower() not in conditions:
            lacks.add("condition " + n.get("condition").lower())
        if n.tag not in tags[tag]:
            lacks.add("field %s of %s" % (n.tag, tag))

    def filtering(parent):
        for n in parent:
            if n.tag == "RuleGroup":
                filtering(n)
            elif n.tag not in tags:
                lacks.add("tag " + n.tag)
            else:
                for k in n:
                    for f in k if k.tag == "Rule" else [k]:
                        field(f, n.tag)

    for n in root:
        if n.tag == "EventFiltering":
            filtering(n)
        elif n.tag not in options:
            lacks.add("option " + n.tag)
    return lacks


def has(g, lack):
    """The grammar has what another one lacks."""
    tags, conditions, options = g
    kind, name = lack.split(" ", 1)
    if kind == "field":
        field, tag = name.split(" of ")
        return field in tags.get(tag, ())
    return name in {"tag": tags, "condition": conditions, "option": options}[kind]


def change(text, rnd, g):
    tags, conditions, _ = g
    kind = rnd.randrange(4)
    if kind == 0:
        versions = ["2.0", "3.10", "3.40", "4.00", "4.22", "4.31", "4.50", "4.81", "4.90", "4.91", "4.9"]
        return re.sub(r'schemaversion="[^"]*"', 'schemaversion="%s"' % rnd.choice(versions), text, count=1)
    if kind == 1:
        found = list(re.finditer(r'condition="([^"]*)"', text))
        if not found:
            return text
        m = rnd.choice(found)
        return text[: m.start(1)] + rnd.choice(sorted(conditions | {"equals", "begins with"})) + text[m.end(1):]
    if kind == 2:
        found = list(re.finditer(r"<(\w+)( [^<>]*)?>[^<]*</\1>", text))
        if not found:
            return text
        m = rnd.choice(found)
        name = rnd.choice(sorted(set().union(*tags.values())))
        piece = re.sub(r"</\w+>", "</%s>" % name, re.sub(r"^<\w+", "<" + name, m.group()))
        return text[: m.start()] + piece + text[m.end():]
    old, new = rnd.choice(sorted(tags)), rnd.choice(sorted(tags) + ["ProcesCreate"])
    return text.replace("<%s " % old, "<%s " % new).replace("</%s>" % old, "</%s>" % new)


def main():
    if not os.path.isdir(CONFIGS):
        print("skipped: no " + CONFIGS)
        sys.exit(77)
    kept = manifests()
    grammars = {v: grammar(m) for v, m in kept.items()}
    paths = sorted(p for p in glob.glob(CONFIGS + "/**/*.xml", recursive=True) if "/schema/" not in p)
    rnd = random.Random(SEED)
    with tempfile.TemporaryDirectory(dir=os.environ.get("HAECHI_TMP")) as folder:
        cases = {}
        while len(cases) < FILES:
            path = rnd.choice(paths)
            raw = open(path, "rb").read()
            if b"\0" in raw or b"ISO-8859" in raw:
                continue
            text = raw.decode("utf-8-sig")
            for _ in range(rnd.randrange(3)):
                text = change(text, rnd, grammars[NEWEST])
            try:
                root = ET.fromstring(text)
            except ET.ParseError:
                continue
            name = "%s/%d.xml" % (folder, len(cases))
            with open(name, "w", encoding="utf-8") as f:
                f.write(text)
            cases[name] = (path, root)
        out = subprocess.run([BIN + "/haechi", "rules", "check", "--json"] + list(cases), capture_output=True, text=True).stdout
        found = {name: [] for name in cases}
        for line in out.splitlines():
            f = json.loads(line)
            found[f["file"]].append(f)
        refused = newer = 0
        for name, (path, root) in cases.items():
            named = version(root.get("schemaversion"))
            if named in (482, 483):  # of these no manifest is kept
                continue
            by_name = grammars[max(v for v in grammars if v <= named)]
            of_named = judge(root, by_name)
            of_newest = judge(root, grammars[NEWEST])
            errors = [f for f in found[name] if f["code"] in GRAMMAR_CODES]
            others = [f for f in found[name] if f["kind"] == "error" and f["code"] not in GRAMMAR_CODES | OF_OUR_OWN]
            warned = any(f["code"] == "newer-than-schema" for f in found[name])
            lacks = [x for x in of_newest if not has(by_name, x)]  # what only the newest lacks is the named schema's own
            want = bool(lacks)
            if bool(errors) != want or others:
                sys.exit("FAILED: %s (%s): the model lacks %s, found %s" % (name, path, lacks[:5], (errors + others)[:5]))
            if not errors and warned != bool(of_named - of_newest):
                sys.exit("FAILED: %s (%s): newer is %s, %s" % (name, path, sorted(of_named - of_newest)[:5], found[name][:5]))
            refused += want
            newer += warned
    print("%d changed configurations: %d refused, %d newer than they name" % (len(cases), refused, newer))


main()
