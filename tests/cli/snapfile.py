#!/usr/bin/env python3
"""Snapshot files by their description in boot/snapformat.h, for the tests.

    snapfile.py check FILE                       fail unless every checksum in FILE is right
    snapfile.py bounds FILE                      print where each section starts and ends
    snapfile.py start FILE SECTION               print where SECTION starts
    snapfile.py poke FILE OUT WHERE VALUE LEN    copy FILE, with a number changed and the checksums right

WHERE is an offset in the file, SECTION+OFFSET, or SECTION@OFFSET in the section's entry of the table. Shares no code with vmm.
"""
import struct
import sys

NAMES = ('PLAN', 'CPU', 'ROOTS', 'COMPAT', 'MEMORY', 'TABLES', 'PLACED', 'CHUNKS',
         'MACHINE', 'STATE', 'DEVICES', 'NOTE')
TABLE = []
for i in range(256):
    for _ in range(8):
        i = i >> 1 ^ (0x82f63b78 if i & 1 else 0)
    TABLE.append(i)


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 255]
    return crc ^ 0xffffffff


def sections(data):
    """(name, offset of the table's entry, offset, length, checksum) of each."""
    for i in range(struct.unpack_from('<I', data, 48)[0]):
        at = 4096 + 32 * i
        kind, _, _, off, length, crc = struct.unpack_from('<IHHQQI', data, at)
        yield NAMES[kind - 1] if 1 <= kind <= len(NAMES) else 'unknown', at, off, length, crc


def wrong_checksums(data):
    n = struct.unpack_from('<I', data, 48)[0]
    memory = b''
    if crc32c(data[:4092]) != struct.unpack_from('<I', data, 4092)[0]:
        yield 'header'
    if crc32c(data[4096:4096 + 32 * n]) != struct.unpack_from('<I', data, 52)[0]:
        yield 'table'
    for name, _, off, length, crc in sections(data):
        body = data[off:off + length]
        if name == 'MEMORY':
            memory = body
        elif crc32c(body) != crc:
            yield name
        if name == 'CHUNKS':
            chunks = [crc32c(memory[o:o + 65536]) for o in range(0, len(memory), 65536)]
            if body != struct.pack('<%dI' % len(chunks), *chunks):
                yield 'pages'


def poke(data, where, value, length):
    data = bytearray(data)
    if '+' in where:
        section, plus = where.split('+')
        at = next(s[2] for s in sections(data) if s[0] == section) + int(plus, 0)
    elif '@' in where:
        section, plus = where.split('@')
        at = next(s[1] for s in sections(data) if s[0] == section) + int(plus, 0)
    else:
        at = int(where, 0)
    data[at:at + length] = value.to_bytes(length, 'little')
    for name, entry, off, size, _ in list(sections(data)):
        if name != 'MEMORY' and off + size <= len(data):
            struct.pack_into('<I', data, entry + 24, crc32c(data[off:off + size]))
    n = struct.unpack_from('<I', data, 48)[0]
    struct.pack_into('<I', data, 52, crc32c(data[4096:4096 + 32 * n]))
    struct.pack_into('<I', data, 4092, crc32c(data[:4092]))
    return data


def main():
    command, path = sys.argv[1:3]
    with open(path, 'rb') as f:
        data = f.read()
    if command == 'check':
        wrong = list(wrong_checksums(data))
        print('wrong: ' + ' '.join(wrong) if wrong else 'all right')
        sys.exit(bool(wrong))
    elif command == 'bounds':
        for _, _, off, length, _ in sections(data):
            print(off)
            print(off + length)
    elif command == 'start':
        print(next(s[2] for s in sections(data) if s[0] == sys.argv[3]))
    elif command == 'poke':
        with open(sys.argv[3], 'wb') as f:
            f.write(poke(data, sys.argv[4], int(sys.argv[5], 0), int(sys.argv[6])))


main()
