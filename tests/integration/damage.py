"""Makes damaged logs: damage.py chunks FILE N OUT | cut|flip|chunk|head FILE OUT [WHERE]

chunks: an .evtx of N chunks, those of FILE (one chunk) with other record ids, all checksums right."""
import struct
import sys
import zlib

HEAD, CHUNK = 4096, 65536


def read(path):
    return bytearray(open(path, 'rb').read())


def chunks(source, n):
    head, one = source[:HEAD], source[HEAD:HEAD + CHUNK]
    first, last = struct.unpack('<QQ', one[24:40])
    count = last - first + 1
    out = bytearray()
    for i in range(n):
        c = bytearray(one)
        at, end = 512, struct.unpack('<I', c[48:52])[0]
        while at < end and c[at:at + 4] == b'**\0\0':
            size, ident = struct.unpack('<IQ', c[at + 4:at + 16])
            value = c.index(struct.pack('<Q', ident), at + 24, at + size)  # EventRecordID
            struct.pack_into('<Q', c, at + 8, ident + i * count)
            struct.pack_into('<Q', c, value, ident + i * count)
            at += size
        for where in (8, 16, 24, 32):
            struct.pack_into('<Q', c, where, struct.unpack('<Q', c[where:where + 8])[0] + i * count)
        struct.pack_into('<I', c, 52, zlib.crc32(bytes(c[512:end])))
        struct.pack_into('<I', c, 124, zlib.crc32(bytes(c[:120]) + bytes(c[128:512])))
        out += c
    struct.pack_into('<QQQ', head, 8, 0, n - 1, last + 1 + (n - 1) * count)
    struct.pack_into('<H', head, 42, n)
    struct.pack_into('<I', head, 124, zlib.crc32(bytes(head[:120])))
    return head + out


def main():
    how, data = sys.argv[1], read(sys.argv[2])
    if how == 'chunks':
        data = chunks(data, int(sys.argv[3]))
        out = sys.argv[4]
    else:
        out = sys.argv[3]
        where = int(sys.argv[4]) if len(sys.argv) > 4 else 0
        if how == 'cut':
            data = data[:where]
        elif how == 'flip':
            data[where] ^= 0x5a
        elif how == 'chunk':
            at = HEAD + where * CHUNK
            data[at:at + CHUNK] = b'\xa5' * CHUNK
        elif how == 'head':
            data[:HEAD] = bytes(HEAD)
    open(out, 'wb').write(data)


main()
