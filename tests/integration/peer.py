#!/usr/bin/env python3
"""A hostile peer of the collector: peer.py HOST:PORT STATE SPOOL ACTION...

STATE is the state folder of an enrolled agent, whose key and certificate are used; SPOOL that of an agent which has spooled batches and never
sent them. Each ACTION is a function below; it ends with an assertion of what the collector does. Prints "ACTION: ok" for each."""
import ctypes
import glob
import os
import socket
import ssl
import struct
import subprocess
import sys
import time

import made_token

HELLO, WELCOME, BATCH, ACK, HEARTBEAT, REPLY, RENEW, GOODBYE, ENROLL, ENROLL_REPLY = 1, 2, 3, 4, 5, 6, 9, 11, 32, 33
NAMES = {HELLO: 'Hello', WELCOME: 'Welcome', ACK: 'Ack', GOODBYE: 'Goodbye', ENROLL_REPLY: 'EnrollReply'}


# ---- protobuf, as little as is needed ----

def varint(n):
    out = b''
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def pack(*fields):
    """(number, int or bytes) ..."""
    out = b''
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def unpack(data):
    """[(number, wire type, value)]"""
    def take():
        nonlocal at
        n = shift = 0
        while True:
            b = data[at]
            at += 1
            n |= (b & 127) << shift
            shift += 7
            if b < 128:
                return n
    at, out = 0, []
    while at < len(data):
        tag = take()
        kind = tag & 7
        if kind == 0:
            value = take()
        else:
            n = {1: 8, 5: 4}.get(kind) or take()
            value = data[at:at + n]
            at += n
        out.append((tag >> 3, kind, value))
    return out


def field(data, number, default=None):
    return next((v for n, _, v in unpack(data) if n == number), default)


def frame(kind, body):
    return struct.pack('<IB', len(body), kind) + body


# ---- blocks ----

def digest(data):
    class U128(ctypes.Structure):
        _fields_ = [('low', ctypes.c_uint64), ('high', ctypes.c_uint64)]
    lib = ctypes.CDLL('libxxhash.so.0')
    lib.XXH3_128bits.restype = U128
    lib.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    h = lib.XXH3_128bits(data, len(data))
    return struct.pack('>QQ', h.high, h.low)


def spooled(spool):
    """The batches of a spool as (header, columns and payload)."""
    out = []
    for path in sorted(glob.glob(spool + '/*.seg')):
        data = open(path, 'rb').read()
        at = 16
        while at < len(data):
            _, length, _, header_len, _, source_len, position_len = struct.unpack('<IIQIIHH', data[at:at + 28])
            start = at + 36 + source_len + position_len
            at += 36 + length
            out.append((data[start:start + header_len], data[start + header_len:at]))
    assert out, 'nothing is spooled'
    return out


def batch_body(header, rest):
    return struct.pack('<I', len(header)) + header + rest


def changed(header, rest, **fields):
    """The header with other values and the digest that fits."""
    parts = b''
    for number, kind, value in unpack(header):
        if number == 15:
            continue
        value = fields.get('f%d' % number, lambda v: v)(value)
        parts += varint(number << 3 | kind)
        parts += varint(value) if kind == 0 else value if kind in (1, 5) else varint(len(value)) + value
    return parts + b'\x7a\x10' + digest(parts + rest)


# ---- the connection ----

class Peer:
    def __init__(self, address, state=None, alpn='haechi/1', timeout=30, receive_buffer=None):
        host, port = address.rsplit(':', 1)
        self.raw = socket.socket()
        if receive_buffer:
            self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.raw.settimeout(timeout)
        self.raw.connect((host, int(port)))
        self.tls = None
        self.held = b''
        if alpn is False:
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if alpn:
            context.set_alpn_protocols([alpn])
        if state:
            context.load_cert_chain(state + '/identity', state + '/key.pem')
        self.tls = context.wrap_socket(self.raw)

    def send(self, kind, body=b''):
        self.tls.sendall(frame(kind, body))

    def recv(self):
        """The next frame, or None at the end."""
        while True:
            if len(self.held) >= 5:
                n, kind = struct.unpack('<IB', self.held[:5])
                if len(self.held) >= 5 + n:
                    body = self.held[5:5 + n]
                    self.held = self.held[5 + n:]
                    return kind, body
            try:
                more = self.tls.recv(65536)
            except (ConnectionError, ssl.SSLError):
                return None
            if not more:
                return None
            self.held += more

    def expect(self, kind):
        got = self.recv()
        assert got and got[0] == kind, '%s instead of %s' % (got and (NAMES.get(got[0], got[0]), got[1][:200]), NAMES.get(kind, kind))
        return got[1]

    def hello(self, **more):
        self.send(HELLO, pack((1, 1), (2, b'0.1.0'), (3, b'Python'), (4, b'peer')))
        return self.expect(WELCOME)

    def goodbye(self, words, code=None):
        """The collector says why and closes."""
        body = self.expect(GOODBYE)
        reason = field(body, 2, b'').decode()
        assert words in reason, 'goodbye without "%s": %s' % (words, reason)
        assert self.recv() is None, 'still open after its goodbye'

    def ended(self):
        got = self.recv()
        assert got is None, 'still open: %r' % (got,)

    def close(self):
        (self.tls or self.raw).close()


class Actions:
    def __init__(self, address, state, spool):
        self.address, self.state, self.spool = address, state, spool

    def peer(self, **options):
        return Peer(self.address, self.state, **options)

    # -- before TLS, and while it is made --

    def garbage(self):
        for junk in (b'GET / HTTP/1.1\r\n\r\n', b'\0' * 100, bytes(range(256)) * 300, b'\x16\x03\x01\xff\xff' + b'A' * 70000):
            p = self.peer(alpn=False)
            try:
                p.raw.sendall(junk)
                while p.raw.recv(4096):
                    pass
            except ConnectionError:
                pass

    def no_alpn(self):
        try:
            p = self.peer(alpn=None)
            p.send(HELLO)
            p.ended()
        except (ssl.SSLError, ConnectionError):
            pass

    def wrong_alpn(self):
        try:
            p = self.peer(alpn='h2')
            p.send(HELLO)
            p.ended()
        except (ssl.SSLError, ConnectionError):
            pass

    def no_certificate(self):
        try:
            p = Peer(self.address)
            p.send(HELLO, pack((1, 1)))
            p.ended()
        except (ssl.SSLError, ConnectionError):
            pass

    def half_open(self):
        """A connection without a word, and one that stops in the middle of its first record: gone after the handshake's deadline."""
        silent, torn = self.peer(alpn=False), self.peer(alpn=False)
        torn.raw.sendall(b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03')
        began = time.monotonic()
        for p in (silent, torn):
            try:
                while p.raw.recv(4096):
                    pass
            except ConnectionError:
                pass
        took = time.monotonic() - began
        assert 5 < took < 20, 'ended after %.1f s' % took

    def bytewise_handshake(self):
        """Every byte of the handshake in a packet of its own."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(['haechi/1'])
        context.load_cert_chain(self.state + '/identity', self.state + '/key.pem')
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing)
        p = self.peer(alpn=False)
        p.raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def run(f):
            while True:
                try:
                    result = f()
                except ssl.SSLWantReadError:
                    result = None
                for b in outgoing.read():
                    p.raw.sendall(bytes([b]))
                if result is not None:
                    return result
                incoming.write(p.raw.recv(65536))
        run(lambda: tls.do_handshake() or 1)
        run(lambda: tls.write(frame(HELLO, pack((1, 1), (2, b'0.1.0')))))
        assert run(lambda: tls.read(5))[4] == WELCOME
        p.close()

    # -- wrong words --

    def enroll_then_agent(self):
        p = Peer(self.address, alpn='haechi-enroll/1')
        p.send(HELLO, pack((1, 1)))
        p.goodbye('HELLO out of turn: ENROLL is due')

    def oversize(self):
        p = self.peer()
        p.tls.sendall(struct.pack('<IB', 0xffffffff, HELLO))
        p.goodbye('')
        p = self.peer()
        p.hello()
        p.tls.sendall(struct.pack('<IB', 5 * 1024 * 1024, BATCH))
        p.goodbye('BATCH')

    def unknown_type(self):
        p = self.peer()
        p.hello()
        p.send(77, b'x')
        p.goodbye('77')

    def wrong_way(self):
        p = self.peer()
        p.hello()
        p.send(ACK, pack((1, 1)))
        p.goodbye('ACK')

    def malformed(self):
        p = self.peer()
        p.send(HELLO, b'\x0a\xff\xff\xff\xff\x0f')
        p.goodbye('malformed')
        p = self.peer()
        p.hello()
        p.send(HEARTBEAT, b'\xff' * 50)
        p.goodbye('malformed')

    def batch_first(self):
        p = self.peer()
        p.send(BATCH, batch_body(*spooled(self.spool)[0])[:1000])
        p.goodbye('BATCH out of turn: HELLO is due')

    def flood(self):
        """More batches than the credit, without waiting for an ack; each is a small lie, so that no harm is in what gets through."""
        p = self.peer()
        credit = field(p.hello(), 6)
        header, rest = spooled(self.spool)[0]
        one = frame(BATCH, batch_body(header, rest))
        try:
            for _ in range(20):
                p.tls.sendall(one * credit)
        except (ConnectionError, ssl.SSLError):
            pass
        got = [p.recv()]
        while got[-1]:
            got.append(p.recv())
        p.close()

    def slow_reader(self):
        """Sends without an end and never reads: it is stopped by what it does not take."""
        p = self.peer(receive_buffer=4096, timeout=3)
        p.hello()
        beat = frame(HEARTBEAT, pack((2, 1))) * 1000
        try:
            for _ in range(3000):
                p.tls.sendall(beat)
            raise AssertionError('it read on for ever')
        except TimeoutError:
            pass
        except (ConnectionError, ssl.SSLError):
            pass
        p.close()

    def silent(self):
        """Says hello and no more: ended after three heartbeats."""
        p = self.peer()
        beat = field(p.hello(), 9)
        began = time.monotonic()
        p.goodbye('nothing heard')
        took = time.monotonic() - began
        assert 2 * beat < took < 6 * beat + 3, 'ended after %.1f s' % took

    # -- lies --

    def rejected(self, body, words):
        p = self.peer()
        p.hello()
        p.send(BATCH, body)
        ack = p.expect(ACK)
        said = [field(v, 3).decode() for n, _, v in unpack(ack) if n == 2]
        assert len(said) == 1 and words in said[0], 'not rejected for "%s": %s' % (words, said)
        p.send(HEARTBEAT, pack((2, 0)))  # and the session goes on
        p.expect(REPLY)
        p.close()

    def wrong_digest(self):
        header, rest = spooled(self.spool)[0]
        self.rejected(batch_body(header[:-1] + bytes([header[-1] ^ 1]), rest), 'digest')
        self.rejected(batch_body(header, rest[:-1] + bytes([rest[-1] ^ 1])), 'digest')

    def broken_header(self):
        header, rest = spooled(self.spool)[0]
        self.rejected(batch_body(b'\xff' * len(header), rest), '')
        self.rejected(struct.pack('<I', 0xffffff) + header + rest, '')
        self.rejected(batch_body(changed(header, rest, f4=lambda n: n + 1), rest), '')

    def bytewise(self):
        """A true batch, a byte to each record: stored."""
        p = self.peer()
        p.hello()
        header, rest = spooled(self.spool)[0]
        body = frame(BATCH, batch_body(header, rest))
        for i in range(0, len(body), 1):
            p.tls.sendall(body[i:i + 1])
        ack = p.expect(ACK)
        assert field(ack, 1) == 1 and field(ack, 2) is None, 'not stored'
        p.close()

    def lying(self):
        """A digest that holds over a header that the columns belie. The acks come first: the ack path does not look into blocks."""
        header, rest = spooled(self.spool)[0]
        p = self.peer()
        p.hello()
        p.send(BATCH, batch_body(changed(header, rest, f1=lambda v: b'Lies', f7=lambda v: v + 1), rest))
        p.expect(ACK)
        p.send(HEARTBEAT, pack((2, 0)))
        p.expect(REPLY)
        p.close()

    # -- a certificate for another --

    def foreign_subject(self):
        """Requests with the subject of host 1 and other tricks; the collector's own name for the new host is what the certificate says."""
        pin, ident, secret, _ = made_token.parts(os.environ['TOKEN'])
        folder = os.environ['TMP'] + '/forged'
        os.mkdir(folder)
        key = folder + '/key.pem'
        openssl = lambda *words: subprocess.run(['openssl'] + list(words), check=True, capture_output=True).stdout
        openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', key)
        csr = openssl('req', '-new', '-key', key, '-outform', 'DER', '-subj', '/O=Haechi/CN=host:1', '-addext', 'subjectAltName=DNS:host:1')
        as_ca = openssl('req', '-new', '-key', key, '-outform', 'DER', '-subj', '/CN=host:1', '-addext', 'basicConstraints=critical,CA:TRUE')
        ask = lambda der: pack((1, ident), (2, secret), (3, der), (4, b'MALLORY'), (5, b'Python'), (7, b'0'))

        def enroll(der):
            p = Peer(self.address, alpn='haechi-enroll/1')
            p.send(ENROLL, ask(der))
            return p.expect(ENROLL_REPLY)
        for bad in (b'', b'\x30', csr[:-10], csr[:-1] + bytes([csr[-1] ^ 1]), os.urandom(300), as_ca):
            reply = enroll(bad)
            assert field(reply, 1) == 3 and field(reply, 2), 'a bad request was not refused'
        reply = enroll(csr)
        assert field(reply, 1) == 1, 'refused: %s' % field(reply, 2)
        with open(folder + '/identity', 'wb') as f:
            f.write(field(reply, 3))
        subject = openssl('x509', '-in', folder + '/identity', '-noout', '-subject', '-nameopt', 'RFC2253').decode()
        assert subject.strip() == 'subject=CN=host:%d' % field(reply, 5) and field(reply, 5) != 1, subject
        text = openssl('x509', '-in', folder + '/identity', '-noout', '-text').decode()
        assert 'CA:TRUE' not in text and 'DNS:' not in text, text
        p = Peer(self.address, folder)
        welcome = p.hello()
        assert field(welcome, 4) == field(reply, 5) and field(welcome, 5) == b'MALLORY', 'welcomed as %r' % (field(welcome, 5),)
        p.close()


def main():
    address, state, spool = sys.argv[1:4]
    actions = Actions(address, state, spool)
    for name in sys.argv[4:]:
        try:
            getattr(actions, name.replace('-', '_'))()
        except AssertionError as e:
            sys.exit('%s: %s' % (name, e))
        print('%s: ok' % name, flush=True)


if __name__ == '__main__':
    main()
