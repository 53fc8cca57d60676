#!/usr/bin/env python3
"""A collector that offers rules, honest ones and others: rules_peer.py PORT CA-FOLDER WORK

CA-FOLDER has a collector's server.pem, server.key and ca.key. Acknowledges whatever it gets. Each line appended to WORK/offers is one offer,
made when the agent is connected (the last one again when a connection begins and the agent has not had it):

    serial=N name=NAME revision=N file=PATH [heal=1] [canary=NAME] [key=PATH] [break=xml|length|signature|zstd|claim]

key: sign with that one. break: other bytes than signed; a manifest with another length; a signature with one bit changed; bytes that are no
zstd; a frame that claims to hold gigabytes. Each status that the agent sends becomes a line of WORK/statuses (so does what Hello and each
Heartbeat say, with hello or heartbeat in front):

    status serial=N name=NAME revision=N state=NAME evidence=N reason="..." words="..." """
import hashlib
import os
import select
import socket
import ssl
import struct
import subprocess
import sys
import time

from peer import ACK, BATCH, GOODBYE, HEARTBEAT, HELLO, REPLY, WELCOME, field, frame, pack, varint

OFFER, STATUS = 13, 14
STATES = ['none', 'received', 'applied', 'loaded', 'failed', 'refused', 'drifted']


def fixed64(number, value):
    return varint(number << 3 | 1) + struct.pack('<Q', value)


def zstd(data):
    """One frame of raw blocks that says its size."""
    out = b'\x28\xb5\x2f\xfd' + bytes([0xa0]) + struct.pack('<I', len(data))
    blocks = [data[i:i + 65536] for i in range(0, len(data), 65536)] or [b'']
    for i, block in enumerate(blocks):
        out += struct.pack('<I', len(block) << 3 | (i == len(blocks) - 1))[:3] + block
    return out


def sign(key, data):
    return subprocess.run(['openssl', 'dgst', '-sha256', '-sign', key], input=data, stdout=subprocess.PIPE, check=True).stdout


def offer(ca, words):
    o = dict(w.split('=', 1) for w in words.split())
    xml = open(o['file'], 'rb').read()
    broken = o.get('break')
    manifest = pack((1, int(o['serial'])), (2, o['name'].encode()), (3, int(o['revision'])), (4, hashlib.sha256(xml).digest()),
                    (5, len(xml) + (broken == 'length'))) + fixed64(6, int((time.time() + 11644473600) * 10**7))
    if o.get('heal'):
        manifest += pack((7, 1))
    if o.get('canary'):
        manifest += pack((8, o['canary'].encode()))
    signature = sign(o.get('key', ca + '/ca.key'), b'haechi ruleset v1\n' + manifest)
    packed = zstd(xml)
    if broken == 'xml':
        packed = zstd(xml[:-1] + b'!')
    if broken == 'signature':
        signature = signature[:-1] + bytes([signature[-1] ^ 1])
    if broken == 'zstd':
        packed = b'no zstd at all'
    if broken == 'claim':
        packed = packed[:4] + bytes([0xe0]) + struct.pack('<Q', 1 << 40) + packed[9:]
    return pack((1, manifest), (2, signature), (3, packed))


def told(source, body):
    def text(n):
        return '"%s"' % field(body, n, b'').decode('utf-8', 'backslashreplace').replace('\n', '|').replace('"', "'")
    state = field(body, 5, 0)
    return '%s serial=%d name=%s revision=%d state=%s evidence=%d reason=%s words=%s\n' % (
        source, field(body, 1, 0), field(body, 2, b'').decode(), field(body, 3, 0), STATES[state], field(body, 6, 0), text(7), text(8))


class Session:
    def __init__(self, tls, work, ca):
        self.tls, self.work, self.ca, self.held, self.batches, self.welcomed, self.has = tls, work, ca, b'', 0, False, None

    def send(self, kind, body=b''):
        self.tls.sendall(frame(kind, body))

    def write(self, line):
        with open(self.work + '/statuses', 'a') as f:
            f.write(line)

    def on(self, kind, body):
        now = fixed64(3, int((time.time() + 11644473600) * 10**7))
        if kind == HELLO:
            self.send(WELCOME, pack((1, 1), (2, b'peer')) + now + pack((4, 1), (5, b'HOST'), (6, 16), (9, 1)))
            self.welcomed = True
            rules = field(body, 17)
            self.has = field(rules, 1, 0) if rules is not None else 0
            self.write(told('hello', rules) if rules is not None else 'hello none\n')
        elif kind == BATCH:
            self.batches += 1
            self.send(ACK, pack((1, self.batches)))
        elif kind == HEARTBEAT:
            self.send(REPLY)
            rules = field(body, 13)
            if rules is not None:
                self.write(told('heartbeat', rules))
        elif kind == STATUS:
            self.write(told('status', body))
        elif kind == GOODBYE:
            return False
        return True

    def run(self, offered):
        """Until it ends. Returns how many lines of offers were used."""
        self.tls.settimeout(None)
        while True:
            if not self.tls.pending():
                ready, _, _ = select.select([self.tls], [], [], 0.05)
            else:
                ready = True
            if ready:
                try:
                    more = self.tls.recv(65536)
                except (ConnectionError, ssl.SSLError):
                    return offered
                if not more:
                    return offered
                self.held += more
            while len(self.held) >= 5:
                n, kind = struct.unpack('<IB', self.held[:5])
                if len(self.held) < 5 + n:
                    break
                body, self.held = self.held[5:5 + n], self.held[5 + n:]
                if not self.on(kind, body):
                    return offered
            lines = open(self.work + '/offers').read().splitlines() if os.path.exists(self.work + '/offers') else []
            if self.has is not None and lines and self.has < int(lines[-1].split('serial=')[1].split()[0]):
                offered = min(offered, len(lines) - 1) # the connection before ended too early
            self.has = None
            for line in lines[offered:] if self.welcomed else []:
                self.send(OFFER, offer(self.ca, line))
                offered += 1


def main():
    port, ca, work = sys.argv[1:4]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(ca + '/server.pem', ca + '/server.key')
    context.load_verify_locations(ca + '/ca.pem')
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(['haechi/1'])
    context.num_tickets = 0
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(('127.0.0.1', int(port)))
    listener.listen(8)
    print('listening', flush=True)
    offered = 0
    while True:
        raw, _ = listener.accept()
        try:
            tls = context.wrap_socket(raw, server_side=True)
        except (ConnectionError, ssl.SSLError) as e:
            print('refused: %s' % e, flush=True)
            continue
        offered = Session(tls, work, ca).run(offered)
        tls.close()


main()
