#!/usr/bin/env python3
"""Reads a table that grange has exported, and needs no grange for it.

    table_reader.py [--all] FILE

It is written from SPEC.md alone (sections 1, 12 to 15), with nothing but Python's own
library: that is what the formats promise. It verifies each feed's chain and the signature
of its last operation, which vouches for those before it (--all: of every operation), makes
the rows, prints each as a line of JSON, and then, as the last line, the checkpoint that it has
come to. It exits with 1 if that is not the one that the file says, or anything is forged.
"""
import json
import math
import re
import struct
import sys
import time
from decimal import Decimal
from hashlib import sha512
from itertools import product

# --- BLAKE3: "BLAKE3: one function, fast everywhere" (O'Connor, Aumasson, Neves, Wilcox-O'Hearn), section 2

M32 = 0xFFFFFFFF
IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
CHUNK_START, CHUNK_END, PARENT, ROOT, DERIVE_CONTEXT, DERIVE_MATERIAL = 1, 2, 4, 8, 32, 64
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
QUARTERS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15), (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))


def rounds():
    order = tuple(range(16))
    for _ in range(7):
        yield tuple((*q, order[2 * i], order[2 * i + 1]) for i, q in enumerate(QUARTERS))
        order = tuple(order[p] for p in PERMUTATION)


ROUNDS = tuple(rounds())


def compress(cv, block, counter, size, flags):
    """Returns the eight words of the next chaining value."""
    m = struct.unpack("<16I", block.ljust(64, b"\0"))
    v = [*cv, *IV[:4], counter & M32, counter >> 32, size, flags]
    for steps in ROUNDS:
        for a, b, c, d, x, y in steps:
            va, vb, vc, vd = v[a], v[b], v[c], v[d]
            va = (va + vb + m[x]) & M32
            vd ^= va
            vd = vd >> 16 | vd << 16 & M32
            vc = (vc + vd) & M32
            vb ^= vc
            vb = vb >> 12 | vb << 20 & M32
            va = (va + vb + m[y]) & M32
            vd ^= va
            vd = vd >> 8 | vd << 24 & M32
            vc = (vc + vd) & M32
            vb ^= vc
            v[a], v[b], v[c], v[d] = va, vb >> 7 | vb << 25 & M32, vc, vd
    return [v[i] ^ v[i + 8] for i in range(8)]


def subtree(data, counter, key, flags, root):
    """The chaining value of some chunks, which begin with chunk number counter; root is ROOT if they are all."""
    if len(data) <= 1024:
        cv = key
        for at in range(0, max(len(data), 1), 64):
            block = data[at : at + 64]
            more = (CHUNK_START if at == 0 else 0) | (CHUNK_END | root if at + 64 >= len(data) else 0)
            cv = compress(cv, block, counter, len(block), flags | more)
        return cv
    left = 1 << (((len(data) - 1) // 1024).bit_length() - 1)  # chunks: the largest power of two that leaves some
    a = subtree(data[: left * 1024], counter, key, flags, 0)
    b = subtree(data[left * 1024 :], counter + left, key, flags, 0)
    return compress(key, struct.pack("<16I", *a, *b), 0, 64, flags | PARENT | root)


def blake3(data, key=IV, flags=0):
    return struct.pack("<8I", *subtree(data, 0, key, flags, ROOT))


def derive_key(context, material):
    key = struct.unpack("<8I", blake3(context.encode(), flags=DERIVE_CONTEXT))
    return blake3(material, key, DERIVE_MATERIAL)


# --- Ed25519: RFC 8032, section 5.1, without the cofactor (SPEC 1)

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)


def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def multiply(s, p):
    q = (0, 1, 1, 0)
    while s:
        if s & 1:
            q = add(q, p)
        p, s = add(p, p), s >> 1
    return q


def point(b):
    """Decodes a point; None if it is none."""
    y = int.from_bytes(b, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    if y >= P:
        return None
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if v * x * x % P != u:
        x = x * SQRT_M1 % P
    if v * x * x % P != u or x == 0 and sign:
        return None
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


BASE = point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def encoded(p):
    z = pow(p[2], P - 2, P)
    x, y = p[0] * z % P, p[1] * z % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def small(p):
    return encoded(multiply(8, p)) == encoded((0, 1, 1, 0))


def signed(kind, by, body, sig):
    """Tells whether a signature is that of a key (SPEC 1)."""
    a, s = point(by), int.from_bytes(sig[32:], "little")
    if a is None or len(sig) != 64 or s >= L or small(a):
        return False
    message = b"grange/v1/" + kind.encode() + b"\0" + body
    k = int.from_bytes(sha512(sig[:32] + by + message).digest(), "little") % L
    minus = (P - a[0], a[1], 1, P - a[3])
    return encoded(add(multiply(s, BASE), multiply(k, minus))) == sig[:32]


# --- Texts of scores and DIDs (SPEC 1)


def score_text(score):
    bits = "".join(f"{b:08b}" for b in b"\x01\x55\x1e\x20" + score)
    bits += "0" * (-len(bits) % 5)
    return "b" + "".join("abcdefghijklmnopqrstuvwxyz234567"[int(bits[i : i + 5], 2)] for i in range(0, len(bits), 5))


def did_text(did):
    n, out = int.from_bytes(b"\xed\x01" + did, "big"), ""
    while n:
        n, digit = divmod(n, 58)
        out = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"[digit] + out
    return "did:key:z" + out


# --- CBOR (SPEC 1), and that of documents (SPEC 14), which has floats


class Bad(Exception):
    """What is read breaks its format, or is forged."""


def head(major, n):
    if n < 24:
        return bytes([major << 5 | n])
    size = 1 if n < 1 << 8 else 2 if n < 1 << 16 else 4 if n < 1 << 32 else 8
    return bytes([major << 5 | 24 + size.bit_length() - 1]) + n.to_bytes(size, "big")


def encode(v):
    if v is None or isinstance(v, bool):
        return {False: b"\xf4", True: b"\xf5", None: b"\xf6"}[v]
    if isinstance(v, int):
        return head(0, v) if v >= 0 else head(1, -1 - v)
    if isinstance(v, float):
        return encode(int(v)) if v == int(v) and abs(v) <= 2**53 else b"\xfb" + struct.pack(">d", v)
    if isinstance(v, bytes):
        return head(2, len(v)) + v
    if isinstance(v, str):
        return head(3, len(v.encode())) + v.encode()
    if isinstance(v, list):
        return head(4, len(v)) + b"".join(map(encode, v))
    pairs = sorted((encode(k), encode(x)) for k, x in v.items())
    return head(5, len(v)) + b"".join(k + x for k, x in pairs)


def item(b, at, depth):
    """Reads one item, loosely: that it is written in the one way is seen by writing it again."""
    first = b[at]
    major, low, at = first >> 5, first & 31, at + 1
    if first in (0xF4, 0xF5, 0xF6):
        return {0xF4: False, 0xF5: True, 0xF6: None}[first], at
    if first == 0xFB:
        f = struct.unpack_from(">d", b, at)[0]
        if not math.isfinite(f):
            raise Bad("a number that is not finite")
        return f, at + 8
    if low > 27 or major > 5 or major > 3 and depth == 0:
        raise Bad("CBOR that no format here has")
    size = 1 << low - 24 if low > 23 else 0
    n = int.from_bytes(b[at : at + size], "big") if size else low
    at += size
    if major < 2:
        return (n if major == 0 else -1 - n), at
    if n > len(b) - at:
        raise Bad("CBOR that ends early")
    if major < 4:
        text = bytes(b[at : at + n])
        return (text if major == 2 else text.decode()), at + n
    items = []
    for _ in range(n if major == 4 else 2 * n):
        x, at = item(b, at, depth - 1)
        items.append(x)
    return (items if major == 4 else dict(zip(items[::2], items[1::2]))), at


def decode(b, depth=16):
    try:
        v, end = item(b, 0, depth)
        if end != len(b) or encode(v) != b:
            raise Bad("CBOR that is not in the one form")
    except (IndexError, UnicodeError, TypeError, struct.error, OverflowError) as e:
        raise Bad(f"CBOR: {e}") from e
    return v


def fits(v):
    """Tells whether a value can stand in a document."""
    if isinstance(v, dict):
        return all(isinstance(k, str) and fits(x) for k, x in v.items())
    if isinstance(v, list):
        return all(map(fits, v))
    return not isinstance(v, bytes) and (not isinstance(v, int) or abs(v) <= 2**53)


def document(b):
    v = decode(b, 32)
    if len(b) > 1 << 20 or not isinstance(v, dict) or not fits(v):
        raise Bad("not a document")
    return v


# --- Documents (SPEC 14)


def number_text(v):
    """A number as ECMAScript prints it."""
    sign, digits, exponent = Decimal(repr(v)).normalize().as_tuple()
    text, point_at = "".join(map(str, digits)), len(digits) + exponent
    if v == 0:
        return "0"
    if len(digits) <= point_at <= 21:
        text += "0" * exponent
    elif 0 < point_at <= 21:
        text = text[:point_at] + "." + text[point_at:]
    elif -6 < point_at <= 0:
        text = "0." + "0" * -point_at + text
    else:
        text = text[0] + ("." + text[1:] if len(text) > 1 else "") + f"e{point_at - 1:+d}"
    return "-" * sign + text


def json_text(v):
    if isinstance(v, dict):
        names = sorted(v, key=str.encode)
        return "{" + ",".join(json_text(n) + ":" + json_text(v[n]) for n in names) + "}"
    if isinstance(v, list):
        return "[" + ",".join(map(json_text, v)) + "]"
    if isinstance(v, (int, float)) and not isinstance(v, bool):
        return number_text(v)
    return json.dumps(v, ensure_ascii=False)


def order(v):
    """What sorts values as section 14 does."""
    if isinstance(v, dict):
        names = sorted(v, key=lambda n: (len(n.encode()), n.encode()))
        return 6, [(len(n.encode()), n.encode(), order(v[n])) for n in names]
    if isinstance(v, list):
        return 5, list(map(order, v))
    if isinstance(v, str):
        return 4, v.encode()
    if isinstance(v, bool):
        return 1 + v, 0
    return (0, 0) if v is None else (3, v)


def key_of(v):
    """The key of a value in an index."""
    if v is None or isinstance(v, bool):
        return {None: b"\x01", False: b"\x02", True: b"\x03"}[v]
    if isinstance(v, (int, float)):
        bits = struct.unpack(">Q", struct.pack(">d", v))[0]
        return b"\x04" + struct.pack(">Q", bits ^ (2**64 - 1 if bits >> 63 else 1 << 63))
    text, out = v.encode(), b""
    for i in range(len(text)):
        one = b"\0\xff" if text[i] == 0 else text[i : i + 1]
        if len(out) + len(one) > 160:
            break
        out += one
    return b"\x05" + out + b"\0\0"


def time_text(clock):
    ms = min(clock >> 16, 253402300799999)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03d}Z"


class Index:
    def __init__(self, fields, unique):
        self.unique, self.name = unique, "index " + ("unique " if unique else "") + fields
        name = r"`(?:[^`]|``)*`|(?:[^\W\d]|\$)[\w$-]*"
        paths = re.findall(rf"@author|@time|(?:{name})(?:\.(?:{name}))*", fields)
        self.paths = [p if p[0] == "@" else [unquoted(n) for n in re.findall(name, p)] for p in paths]

    def values(self, path, doc, op):
        if isinstance(path, str):
            return [did_text(op.author) if path == "@author" else time_text(op.clock)]
        for name in path:
            if not isinstance(doc, dict) or name not in doc:
                return []
            doc = doc[name]
        values = doc if isinstance(doc, list) else [doc]
        return [v for v in values if not isinstance(v, (list, dict))]

    def keys(self, doc, op):
        """The keys of a document's entries, but for its own key at their end. None if there are too many."""
        fields, count = [], 1
        for i, path in enumerate(self.paths):
            keys = {key_of(v) for v in self.values(path, doc, op)}
            if not keys and i == 0:
                return []
            fields.append(keys or {b"\0"})
            count *= len(fields[-1])
            if count > 1024:
                return None
        return [b"".join(p) for p in product(*fields)]


def unquoted(name):
    return name[1:-1].replace("``", "`") if name[0] == "`" else name


# --- Feeds (SPEC 13)

PUT, DELETE, ERASE, DEFINITION = 1, 2, 3, 4
ZERO = bytes(32)


class Op:
    """An operation. payload is None where it is not there."""

    def __init__(self, topic, author, seq, prev, clock, kind, size, commitment):
        self.author, self.seq, self.prev, self.clock, self.kind, self.size = author, seq, prev, clock, kind, size
        self.header = b"\x01" + topic + author + struct.pack(">Q", seq) + prev + struct.pack(">QBI", clock, kind, size) + commitment
        self.id, self.age, self.payload, self.sig = blake3(self.header), None, None, b""
        self.age = (clock, self.id)  # the greater, the newer
        self.place = struct.pack(">Q", clock) + self.id + author + struct.pack(">Q", seq)
        self.target = author + struct.pack(">Q", seq)

    def verify(self):
        return signed("op", self.author, self.header, self.sig)


class Bytes:
    """Takes bytes from the beginning of some."""

    def __init__(self, b):
        self.b, self.at = b, 0

    def take(self, n):
        if n > len(self.b) - self.at:
            raise Bad("it stops in the middle")
        self.at += n
        return self.b[self.at - n : self.at]

    def number(self):
        n = shift = 0
        while True:
            byte = self.take(1)[0]
            n |= (byte & 127) << shift
            if byte < 128:
                if byte == 0 and shift or n >= 1 << 64:
                    raise Bad("a number that is not as short as can be")
                return n
            shift += 7

    def more(self):
        return self.at < len(self.b)


def read_batch(b, table, feeds):
    r, before = Bytes(b), ZERO
    if r.take(33) != b"\x01" + table:
        raise Bad("a batch of another table")
    while r.more():
        author = r.take(32)
        if author <= before:
            raise Bad("authors do not rise")
        before, feed = author, feeds.setdefault(author, [])
        seq = r.number()
        prev = r.take(32) if seq != 1 else ZERO
        if seq != len(feed) + 1 or feed and prev != feed[-1].id:
            raise Bad(f"operation {seq} of {did_text(author)} does not follow")
        clock = 0
        for _ in range(r.number()):
            clock += r.number()
            kind, size = r.take(1)[0], r.number()
            here, size = size & 1 == 0, size >> 1
            if size > 1 << 20 or kind == 0:
                raise Bad("no operation")
            sealed = r.take(16 + size) if here else None
            op = Op(table, author, seq, prev, clock, kind, size, blake3(sealed) if here else r.take(32))
            op.payload, op.sig = sealed and sealed[16:], r.take(64)
            if feed and clock <= feed[-1].clock:
                raise Bad(f"clock of operation {seq} of {did_text(author)} goes back")
            feed.append(op)
            seq, prev = seq + 1, op.id


def read_fork(b, table, forked):
    r = Bytes(b)
    common = r.take(73)
    ids = []
    for _ in range(2):
        header, sig = common + r.take(77), r.take(64)
        ids.append(blake3(header))
        if common[:33] != b"\x01" + table or not signed("op", common[33:65], header, sig):
            raise Bad("a proof of a fork that is none")
    author, seq = common[33:65], struct.unpack(">Q", common[65:])[0]
    if r.more() or ids[0] >= ids[1]:
        raise Bad("a proof of a fork that is none")
    forked[author] = min(seq, forked.get(author, seq))


# --- The file (SPEC 15, Export)


def read_export(b):
    """Returns the table, its feeds, where authors have forked, and what the end says."""
    r, feeds, forked, table = Bytes(b), {}, {}, None
    if r.take(15) != b"grange table 1\n":
        raise Bad("not an exported table")
    while True:
        kind, size = struct.unpack(">BI", r.take(5))
        part = r.take(size)
        table = table or part[1:33]
        if kind == 1:
            read_batch(part, table, feeds)
        elif kind == 2:
            read_fork(part, table, forked)
        elif kind == 3 and not r.more():
            return table, feeds, forked, decode(part)
        else:
            raise Bad("no part of an export")


# --- Trees (SPEC 12)


class Tree:
    """The root of a map."""

    def __init__(self, table, name, records):
        salt = derive_key("grange v1 tree", table + name.encode())[:16]
        keys = [b""] + sorted(records)
        # An entry is its key, its hash, its count.
        entries = [(k, blake3(struct.pack(">H", len(k)) + k + records.get(k, b"")), 1) for k in keys]
        self.level = 0
        while True:
            nodes = [(part[0][0], *node(self.level, part)) for part in cut(salt, self.level, entries)]
            if len(nodes) == 1:
                break
            self.level += 1
            entries = [(k, blake3(struct.pack(">H", len(k)) + k + h + struct.pack(">Q", n)), n) for k, h, n in nodes]
        self.hash, self.count = nodes[0][1], len(records)

    def root(self):
        return {"hash": self.hash, "count": self.count, "level": self.level}


def cut(salt, level, entries):
    """Yields the runs of entries that are a node each."""
    priority = [(blake3(salt + bytes([level]) + k)[:8], k) for k, _, _ in entries]
    runs = [(0, len(entries))]
    while runs:
        a, b = runs.pop()
        if b - a <= 64:
            yield entries[a:b]
            continue
        at = min(range(a + 1, b), key=priority.__getitem__)
        runs += [(at, b), (a, at)]


def node(level, part):
    """The hash and count of a node."""

    def whole(a, b):
        if b - a == 1:
            return part[a][1], part[a][2]
        (x, n), (y, m) = whole(a, (a + b) // 2), whole((a + b) // 2, b)
        return blake3(x + y + (struct.pack(">QQ", n, m) if level else b"")), n + m

    h, count = whole(0, len(part))
    return blake3(bytes([level, len(part)]) + struct.pack(">Q", count) + h), count


# --- Tables (SPEC 15)


class Table:
    """What the operations of a table make."""

    def __init__(self, table, feeds, forked):
        self.id, self.feeds = table, feeds
        for author, seq in forked.items():
            feeds[author] = feeds.get(author, [])[: seq - 1]
        definitions = [op for op in feeds.get(table, []) if op.kind == DEFINITION]
        if not definitions or definitions[-1].payload is None:
            raise Bad("a table without a definition")
        self.definition, self.rules = definitions[-1].id, decode(definitions[-1].payload)
        self.indexes = [Index(x["fields"], x["unique"]) for x in self.rules["indexes"]]
        self.grants = {g["who"]: g for g in self.rules["write"]["grants"]}
        self.standing = {a: self.stands(a, ops) for a, ops in feeds.items()}
        self.erased = self.erasures()
        self.keys = self.writes()
        self.rows, self.gone, self.records = {}, {}, {x.name: {} for x in self.indexes}
        self.held = {x.name: 0 for x in self.indexes}  # rows with an entry
        for key, ops in self.keys.items():
            self.settle(key, ops)
        for target, by in self.erased.items():
            self.gone[b"\x01" + target] = by

    def leave(self, author):
        """Quota and since of an author, and up to which seq it may write; None if not at all."""
        g, write = self.grants.get(author), self.rules["write"]
        if g:
            return g["quota"], g["since"], g["until"] if g["stopped"] else 2**64
        return (write["quota"], 0, 2**64) if write["all"] else None

    def stands(self, author, ops):
        """What stands of a feed, which is a beginning of it."""
        leave = (0, 0, 2**64) if author == self.id else self.leave(author)
        out, size = [], 0
        for op in ops if leave else []:
            size += 214 + op.size
            if op.seq > leave[2] or leave[0] and size > leave[0]:
                break
            out.append(op)
        return out

    def counting(self):
        """Yields the operations that stand and may change anything."""
        for author, ops in self.standing.items():
            for op in ops if author != self.id else []:
                if op.clock >= self.leave(author)[1]:
                    yield op

    def erasures(self):
        """What is erased, by which operation, the lowest of several."""
        out = {}
        for op in self.counting():
            if op.kind != ERASE or op.payload is None or len(op.payload) % 40 or not 0 < len(op.payload) <= 40 * 4096:
                continue
            targets = [op.payload[i : i + 40] for i in range(0, len(op.payload), 40)]
            if any(a >= b for a, b in zip(targets, targets[1:])):
                continue
            for t in targets:
                if t[:32] == op.author or op.author in self.rules["attest"]:
                    out[t] = min(op.target, out.get(t, op.target))
        return out

    def writes(self):
        """The puts and deletes of each key that are neither void nor erased."""
        out = {}
        for author, ops in self.standing.items():
            for op in ops:
                if op.payload is None and (op.target not in self.erased or op.kind == ERASE or author == self.id):
                    raise Bad(f"operation {op.seq} of {did_text(author)} is withheld")
        for op in self.counting():
            if op.target not in self.erased and self.parse(op):
                out.setdefault(op.key, []).append(op)
        return out

    def parse(self, op):
        """Reads a put or a delete; false if it is void."""
        if op.kind not in (PUT, DELETE):
            return False
        try:
            r = Bytes(op.payload)
            op.key = r.take(struct.unpack(">H", r.take(2))[0])
            if not 1 <= len(op.key) <= 256:
                return False
            if op.kind == DELETE:
                return not r.more()
            n = r.take(1)[0]
            op.seen = [r.take(32) for _ in range(n)]
            if n > 64 or n and not self.rules["folds"] or any(a >= b for a, b in zip(op.seen, op.seen[1:])):
                return False
            op.doc = document(op.payload[r.at :])
        except Bad:
            return False
        return all(x.keys(op.doc, op) is not None for x in self.indexes)

    def settle(self, key, ops):
        """Makes what a key has."""
        ops.sort(key=lambda op: op.age, reverse=True)
        newest, folds = ops[0], self.rules["folds"]
        if newest.kind == DELETE:
            self.gone[b"\0" + key] = newest.place
            return
        deleted = max((op.age for op in ops if op.kind == DELETE), default=(0, b""))
        puts = [op for op in ops if op.kind == PUT and op.age > deleted]
        sources = [newest]
        for op in puts if folds else []:
            if all(op.author != s.author for s in sources) and len(sources) < 256:
                sources.append(op)
        doc = dict(newest.doc)
        for field, fold in folds.items():
            doc.pop(field, None)
            value = FOLDS[fold](field, sources)
            if value is not None:
                doc[field] = value
        origin = newest.id if len(sources) == 1 else blake3(b"".join(s.id for s in sources))
        self.rows[key] = doc, newest
        self.records.setdefault("rows", {})[key] = b"\1" + newest.place if len(sources) == 1 else b"\2" + newest.place[:8] + origin
        own = [op for op in puts if op.author == newest.author and op is not newest]
        for x in self.indexes:
            keys = x.keys(doc, newest) or []
            self.held[x.name] += bool(keys)
            for k in keys:
                claim = min([newest.clock] + [op.clock for op in own if x.unique and k in x.keys(op.doc, op)])
                self.records[x.name][k + (struct.pack(">Q", claim) if x.unique else b"") + key] = origin

    def checkpoint(self):
        ends = {a: ops[-1] for a, ops in self.standing.items() if ops}
        sizes = {a: sum(214 + op.size for op in ops) for a, ops in self.standing.items()}
        feeds = {a: struct.pack(">Q", op.seq) + op.id + struct.pack(">Q", sizes[a]) for a, op in ends.items()}
        indexes = [{**Tree(self.id, x.name, self.records[x.name]).root(), "rows": self.held[x.name]} for x in self.indexes]
        return {
            "v": 1,
            "table": self.id,
            "definition": self.definition,
            "feeds": Tree(self.id, "feeds", feeds).root(),
            "rows": Tree(self.id, "rows", self.records.get("rows", {})).root(),
            "gone": Tree(self.id, "gone", self.gone).root(),
            "indexes": indexes,
        }


def elements(field, sources):
    for s in sources:
        if field in s.doc:
            v = s.doc[field]
            yield from v if isinstance(v, list) else [v]


def listed(values):
    """The different ones in their order; None if there are none."""
    by_encoding = {encode(v): v for v in values}
    return sorted(by_encoding.values(), key=order) or None


def fold_set(field, sources):
    return listed(elements(field, sources))


def fold_counter(field, sources):
    numbers = [v for s in reversed(sources) for v in elements(field, [s]) if isinstance(v, (int, float)) and not isinstance(v, bool)]
    total, most = 0.0, sys.float_info.max
    for n in numbers:
        total = max(-most, min(most, total + n))
    return (int(total) if total == int(total) and abs(total) <= 2**53 else total) if numbers else None


def fold_multi(field, sources):
    seen = {i for s in sources for i in s.seen}
    return listed(s.doc[field] for s in sources if field in s.doc and s.id not in seen)


FOLDS = {"set": fold_set, "counter": fold_counter, "multi": fold_multi}


# --- What is printed


def check_signatures(feeds, every):
    for author, ops in feeds.items():
        for op in ops if every else ops[-1:]:
            if not op.verify():
                raise Bad(f"operation {op.seq} of {did_text(author)} is forged")


def attested(end):
    """The machines that attest the checkpoint of the file's end, and when."""
    out, score = [], blake3(encode(end["checkpoint"]))
    for s in end["attestations"]:
        a = decode(s["body"])
        if not signed("attest", s["by"], s["body"], s["sig"]) or a["machine"] != s["by"] or a["checkpoint"] != score:
            raise Bad("an attestation that is forged")
        out.append({"machine": did_text(s["by"]), "time": a["time"]})
    return out


def main(args):
    files = [a for a in args if a != "--all"]
    if len(files) != 1:
        sys.exit(__doc__)
    sys.stdout.reconfigure(encoding="utf-8")
    with open(files[0], "rb") as f:
        table, feeds, forked, end = read_export(f.read())
    check_signatures(feeds, "--all" in args)
    made = Table(table, feeds, forked)
    for key, (doc, op) in sorted(made.rows.items()):
        row = {"key": key.decode(errors="replace"), "document": doc, "author": did_text(op.author), "time": time_text(op.clock)}
        print(json_text(row))
    check, said = made.checkpoint(), end["checkpoint"]
    same = check == said
    print(json_text({
        "table": did_text(table),
        "rows": score_text(check["rows"]["hash"]),
        "checkpoint": score_text(blake3(encode(check))),
        "said": score_text(blake3(encode(said))),
        "same": same,
        "attested": attested(end),
    }))
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Bad as e:
        sys.exit(f"table_reader: {e}")
