"""Made-up enrolment tokens: made_token.py TOKEN [address=HOST:PORT] [secret=HEX] [id=HEX] [pin-of=TOKEN]: TOKEN, changed, with a right checksum."""
import base64
import sys
import zlib

PREFIX = 'haechi-enroll.v1.'


def parts(token):
    """pin, id, secret, address"""
    text = token.strip()[len(PREFIX):]
    raw = base64.urlsafe_b64decode(text + '=' * (-len(text) % 4))
    assert zlib.crc32(raw[:-4]) == int.from_bytes(raw[-4:], 'little')
    return raw[:32], raw[32:40], raw[40:72], raw[72:-4]


def join(pin, ident, secret, address):
    raw = pin + ident + secret + address
    raw += zlib.crc32(raw).to_bytes(4, 'little')
    return PREFIX + base64.urlsafe_b64encode(raw).decode().rstrip('=')


if __name__ == '__main__':
    pin, ident, secret, address = parts(sys.argv[1])
    for change in sys.argv[2:]:
        key, value = change.split('=', 1)
        if key == 'address':
            address = value.encode()
        elif key == 'secret':
            secret = bytes.fromhex(value)
        elif key == 'id':
            ident = bytes.fromhex(value)
        else:
            pin = parts(value)[0]
    print(join(pin, ident, secret, address))
