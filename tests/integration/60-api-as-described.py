#!/usr/bin/env python3
"""openapi.json is held to the real server: every route in the file answers as described, the server takes exactly the
parameters that the file lists, and every route that the server has is in the file. Over the unix socket and over HTTPS."""
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("HAECHI_BIN", os.path.join(ROOT, "build/test"))
checks = 0


def check(good, what):
    global checks
    checks += 1
    if not good:
        sys.exit("FAILED: " + str(what))


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=20)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(self.path)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Collector:
    def __init__(self, tmp):
        self.sock = tmp + "/api.sock"
        self.data = tmp + "/data"
        self.port = free_port()
        conf = tmp + "/haechid.toml"
        with open(conf, "w") as f:
            f.write('[listen]\naddress = "127.0.0.1:0"\n[api]\naddress = ["unix:%s", "127.0.0.1:%d"]\n' % (self.sock, self.port))
        self.log = open(tmp + "/log", "wb")
        self.process = subprocess.Popen([BIN + "/haechid", "--config", conf, "--data", self.data], stdout=self.log, stderr=self.log)
        for _ in range(600):
            if os.path.exists(self.sock) or self.process.poll() is not None:
                break
            time.sleep(0.05)
        check(self.process.poll() is None and os.path.exists(self.sock), "haechid does not start:\n" + open(tmp + "/log").read())

    def ask(self, method, path, body=None, headers=None, connection=None):
        c = connection or Unix(self.sock)
        c.request(method, path, body=body, headers=headers or {})
        r = c.getresponse()
        text = r.read()
        c.close()
        return r, text

    def https(self, token=None, **more):
        trust = ssl.create_default_context(cafile=self.data + "/ca/ca.pem")
        trust.check_hostname = False
        if "alpn" in more:
            trust.set_alpn_protocols(more["alpn"])
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=trust, timeout=20), ({"Authorization": "Bearer " + token} if token else {})


# ---- a small part of JSON Schema: what openapi.json uses ----

def fits(value, schema, doc, where):
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return fits(value, doc["components"]["schemas"][name], doc, where + "/" + name)
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
    types = schema.get("type", [])
    types = types if isinstance(types, list) else [types]
    def is_kind(t):
        if t in ("integer", "number"):
            return isinstance(value, int if t == "integer" else (int, float)) and not isinstance(value, bool)
        return isinstance(value, kinds[t])
    check(not types or any(is_kind(t) for t in types), "%s: %r is no %s" % (where, value, types))
    check("enum" not in schema or value in schema["enum"], "%s: %r is none of %s" % (where, value, schema.get("enum")))
    if schema.get("format") == "date-time" and value is not None:
        check(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z", value), "%s: time %r" % (where, value))
    if isinstance(value, dict):
        properties = schema.get("properties")
        for key in schema.get("required", []):
            check(key in value, "%s has no %s" % (where, key))
        check(schema.get("maxProperties") is None or len(value) <= schema["maxProperties"], where + " is not empty")
        for key, member in value.items():
            if properties is not None and key in properties:
                fits(member, properties[key], doc, where + "." + key)
            elif isinstance(schema.get("additionalProperties"), dict):
                fits(member, schema["additionalProperties"], doc, where + "." + key)
            elif properties and "Event" not in where:
                check(False, "%s has %s, which is not described" % (where, key))
    if isinstance(value, list):
        for item in value:
            fits(item, schema.get("items", {}), doc, where + "[]")


def check_answer(doc, op, r, text, where):
    described = op["responses"].get(str(r.status))
    check(described is not None, "%s: %d is not described: %s" % (where, r.status, text[:300]))
    if "$ref" in described:
        described = doc["components"]["responses"][described["$ref"].rsplit("/", 1)[1]]
    kind = r.getheader("Content-Type")
    check(kind in described["content"], "%s: %s is not described" % (where, kind))
    check(r.getheader("Cache-Control") == "no-store" and r.getheader("X-Content-Type-Options") == "nosniff", where + ": headers")
    schema = described["content"][kind].get("schema", {})
    if kind == "application/x-ndjson":
        for line in text.splitlines():
            fits(json.loads(line), schema, doc, where)
    elif kind.endswith("json"):
        fits(json.loads(text), schema, doc, where)


GUID = "{00000000-0000-0000-0000-000000000001}"
VALUES = {"since": "1h", "until": "2026-01-01", "id": "1,3", "guid": GUID, "where": "Image exists", "search": "x", "limit": "5",
          "reverse": "1", "follow": "0", "count": "0", "format": "json", "pid": "4", "at": "1h", "group": "g", "silent_s": "1",
          "from": "1", "holes": "1", "host": "no-such-host", "comment": "x", "schema": "4.50", "linux": "1", "to": "no-such",
          "lines": "0", "all": "0", "rules": "loaded"}
VALUES.update({"samples": "2"})
VALUES.update({"around": "2h", "settled": "1h", "span_s": "600", "by": "id,rule"})


XML = b'<Sysmon schemaversion="4.50"><EventFiltering/></Sysmon>'
PLACES = {"host": "no-such-host", "id": "00", "ruleset": "no-such", "revision": "1", "group": "no-such-group"}


def fill(path):
    return re.sub(r"{(\w+)}", lambda m: PLACES[m.group(1)], path)


def check_route(c, doc, path, method, op, tmp):
    where = method.upper() + " " + path
    place = fill(path)
    headers, body = {}, None
    if "requestBody" in op:
        kind = next(iter(op["requestBody"]["content"]))
        headers, body = {"Content-Type": kind}, XML if kind == "application/xml" else b"" if kind != "application/json" else json.dumps({"dir": tmp + "/copy"} if "backup" in path else {}).encode()
    r, text = c.ask(method.upper(), place, body, headers)
    check_answer(doc, op, r, text, where)
    schema = op.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    needs = set(schema.get("required", [])) - {"dir"}
    if needs: # an empty body is refused, and the refusal names what is missing
        check(r.status == 400 and any(name.encode() in text for name in needs), where + " takes an empty body: %d %s" % (r.status, text))
    elif "{" not in path and "follow" not in path:
        check(r.status < 300, where + ": %d %s" % (r.status, text))
    r, text = c.ask(method.upper(), place + "?nonsense=1", body, headers)
    check(r.status == 400 and b"nonsense" in text, where + " takes parameter nonsense")
    check_answer(doc, op, r, text, where)
    listed = {p["name"]: p for p in op.get("parameters", []) if p["in"] == "query"}
    in_path = {p["name"] for p in op.get("parameters", []) if p["in"] == "path"}
    check(in_path == set(re.findall(r"{(\w+)}", path)), where + ": path parameters")
    for name in VALUES: # taken exactly when it is listed
        r, text = c.ask(method.upper(), "%s?%s" % (place, urllib.parse.urlencode({name: VALUES[name]})), body, headers)
        refused = b"unknown parameter" in text
        check(refused == (name not in listed), "%s: parameter %s is %s" % (where, name, "not taken" if refused else "not described"))
        check_answer(doc, op, r, text, where)
    for name, p in listed.items():
        check(name in VALUES, "no value to try for parameter " + name)
        r, text = c.ask(method.upper(), place + "?" + urllib.parse.urlencode([(name, VALUES[name])] * 2), body, headers)
        check((b"given twice" in text) == (p["schema"].get("type") != "array"), "%s: %s twice" % (where, name))
    if body and headers["Content-Type"] == "application/json":
        r, text = c.ask(method.upper(), place, b'{"nonsense":1}', headers)
        check(r.status in (400, 404) and (r.status == 404 or b"nonsense" in text), where + " takes a body with nonsense: %r" % text)


def check_table(doc):
    """The server's own table against the file: method, path, least role."""
    with open(ROOT + "/server/api/routes.c") as f:
        table = re.findall(r'{\s*"(GET|POST|PATCH)",\s*(V1 )?"([^"]+)",\s*ROLE_(\w+),', f.read())
    has = {(m, ("/api/v1" if v else "") + p): role.lower() for m, v, p, role in table}
    said = {(m.upper(), p): op["x-haechi-role"] for p, ops in doc["paths"].items() for m, op in ops.items()}
    check(len(has) == len(table) and has == said, "routes.c and openapi.json differ: %s" % (set(has.items()) ^ set(said.items())))


def check_https(c, doc):
    tokens = {}
    for role in ("viewer", "operator", "admin"):
        r, text = c.ask("POST", "/api/v1/tokens", json.dumps({"role": role}), {"Content-Type": "application/json"})
        tokens[role] = json.loads(text)
    rank = ["viewer", "operator", "admin"]
    for path, ops in doc["paths"].items():
        for method, op in ops.items():
            place = fill(path)
            for role in rank:
                connection, headers = c.https(tokens[role]["token"])
                headers["Accept"] = "nothing/at-all" # judged after the role: nothing is done
                r, text = c.ask(method.upper(), place, None, headers, connection)
                wanted = 406 if rank.index(role) >= rank.index(op["x-haechi-role"]) else 403
                check(r.status == wanted, "%s %s as %s: %d, not %d" % (method, path, role, r.status, wanted))
    for header in ({}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Bearer haechi-api.v1.%s.%s" % ("0" * 16, "0" * 64)}):
        connection, _ = c.https()
        r, text = c.ask("GET", "/api/v1/status", None, header, connection)
        check(r.status == 401 and r.getheader("WWW-Authenticate", "").startswith("Bearer"), "without a token: %d" % r.status)
    js = {"Content-Type": "application/json"}
    connection, headers = c.https(tokens["operator"]["token"])
    r, text = c.ask("POST", "/api/v1/tokens", b'{"role":"admin"}', {**headers, **js}, connection)
    check(r.status == 403, "an operator makes an admin: %d" % r.status)
    connection, headers = c.https(tokens["operator"]["token"])
    r, text = c.ask("POST", "/api/v1/tokens/%s/revoke" % tokens["admin"]["id"], b"{}", {**headers, **js}, connection)
    check(r.status == 403, "an operator revokes an admin: %d" % r.status)
    connection, headers = c.https(tokens["operator"]["token"], alpn=["h2", "http/1.1"])
    r, text = c.ask("POST", "/api/v1/tokens", b"{}", {**headers, **js}, connection)
    check(r.status == 201, "an operator makes an enrolment token: %d %s" % (r.status, text))
    r, text = c.ask("GET", "/api/v1/audit?reverse=1&limit=1")
    check(json.loads(text)["actor"] == "token:" + tokens["operator"]["id"], text)
    r, text = c.ask("POST", "/api/v1/tokens/%s/revoke" % tokens["viewer"]["id"], b"{}", js)
    check(r.status == 200, text)
    r, text = c.ask("GET", "/api/v1/audit?reverse=1&limit=1")
    check(json.loads(text)["actor"].endswith("@unix"), text)
    connection, headers = c.https(tokens["viewer"]["token"])
    r, text = c.ask("GET", "/api/v1/status", None, headers, connection)
    check(r.status == 401 and b"revoked" in text, "a revoked token: %d %s" % (r.status, text))
    with socket.create_connection(("127.0.0.1", c.port)) as plain: # no API without TLS
        plain.settimeout(20)
        plain.sendall(b"GET /api/v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        try:
            while part := plain.recv(1000):
                answer += part
        except ConnectionError:
            pass
        check(b"HTTP" not in answer, "plain text is answered: %r" % answer)


def check_limits(c):
    """Connections of one address beyond 64 are closed; the unix socket is not touched by that."""
    held = [socket.create_connection(("127.0.0.1", c.port), timeout=20) for _ in range(64)]
    over = socket.create_connection(("127.0.0.1", c.port), timeout=5)
    try:
        answer = over.recv(100)
    except ConnectionError:
        answer = b""
    check(answer == b"", "connection 65 of one address: %r" % answer)
    r, text = c.ask("GET", "/api/v1/hosts")
    check(r.status == 200, "the unix socket: %d" % r.status)
    for s in held + [over]:
        s.close()
    for _ in range(100):
        try:
            connection, _ = c.https()
            r, text = c.ask("GET", "/api/v1/hosts", None, {}, connection)
            break
        except OSError:
            time.sleep(0.05)
    check(r.status == 401, "after that: %d" % r.status)


def main():
    with tempfile.TemporaryDirectory(prefix="t.", dir=os.environ.get("HAECHI_TMP", "/tmp")) as tmp:
        c = Collector(tmp)
        try:
            r, text = c.ask("GET", "/api/v1/openapi.json")
            doc = json.loads(text)
            with open(ROOT + "/server/api/openapi.json", "rb") as f:
                check(text == f.read(), "the server gives another openapi.json than the tree's")
            check(doc["openapi"].startswith("3.1."), "version")
            names = [op["operationId"] for ops in doc["paths"].values() for op in ops.values()]
            check(len(names) == len(set(names)), "operationIds are not unique")
            for ref in re.findall(r'"\$ref": "#/([^"]+)"', text.decode()):
                at = doc
                for part in ref.split("/"):
                    check(part in at, "$ref to nothing: " + ref)
                    at = at[part]
            check_table(doc)
            for path, ops in doc["paths"].items():
                for method, op in ops.items():
                    check_route(c, doc, path, method, op, tmp)
            check_https(c, doc)
            check_limits(c)
            c.process.send_signal(signal.SIGTERM)
            check(c.process.wait(20) == 0, "haechid ends with %r" % c.process.returncode)
        finally:
            if c.process.poll() is None:
                c.process.kill()
                c.process.wait()
    print("%d checks" % checks)


main()
