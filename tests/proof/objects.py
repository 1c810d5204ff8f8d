"""Object files compared: whether two of them hold the same code and data.

What counts is each allocated section with its relocations. Sections may come
in any order and local symbols may have any name. An exported symbol counts by
its name, and a local one by the content of what it points to.

A section gets a hash of its bytes, and then, round by round, one of the hashes
of the sections that it refers to and that refer to it. Two objects are the
same if no round tells their sections apart. Constants and strings that a
linker may merge count by their content, wherever they lie.

.eh_frame is left out: a compiler derives it from the code, one section for
all functions in their order, and it does not change what a function computes.
"""
import collections
import hashlib
import struct

ALLOC, EXEC, MERGE, STRINGS = 2, 4, 16, 32      # flags of sections
RELA, NOBITS, REL = 4, 8, 9                     # types of sections
X86, X86_PC = 62, (2, 4, 9, 41, 42)     # relocations from the instruction
LEFT_OUT = ('.eh_frame', '.note.gnu.property')

Symbol = collections.namedtuple('Symbol', 'name info other section value size')


def digest(value):
    """A short hash of any value with a stable repr."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:24]


def text_at(data, at):
    """The string that begins at an offset."""
    return data[at:data.index(b'\0', at)]


class Section:
    def __init__(self, name, header, data):
        self.name, self.data = name, data
        (_, self.type, self.flags, _, _, self.size, self.link, self.info,
         self.align, self.entry) = header
        self.relocations = []           # (offset, type, symbol, addend)
        self.exports = []               # what the symbols in it say
        self.starts = set()             # of a pool: what is referred to

    def is_pool(self):
        """Whether it holds constants whose place says nothing. gcc has no
        mergeable section for some, of 64 bytes and of odd sizes: they are in
        .rodata itself."""
        return bool(self.flags & MERGE) or (
            self.name == '.rodata' and not self.relocations)

    def piece(self, at):
        """The constant or string at an offset, and where in it that is. In
        .rodata itself it goes on to the next that is referred to."""
        if self.flags & STRINGS:
            return text_at(self.data, at), 0
        if self.flags & MERGE:
            return self.data[at // self.entry * self.entry:][:self.entry], \
                at % self.entry
        end = min((x for x in self.starts if x > at), default=self.size)
        return self.data[at:end].rstrip(b'\0'), 0

    def pieces(self):
        """All of them."""
        if self.flags & STRINGS:
            return [x for x in self.data.split(b'\0') if x]
        if self.flags & MERGE:
            return [self.data[i:i + self.entry]
                    for i in range(0, self.size, self.entry)]
        return [self.piece(at)[0] for at in sorted({0, *self.starts})]


class Object:
    """An ELF file of 64 bits, little-endian, with RELA relocations."""

    def __init__(self, path):
        with open(path, 'rb') as f:
            data = f.read()
        if data[:6] != b'\x7fELF\2\1':
            raise ValueError(f'{path}: not ELF of 64 bits, little-endian')
        self.machine = struct.unpack_from('<H', data, 18)[0]
        start = struct.unpack_from('<Q', data, 40)[0]
        size, count, names = struct.unpack_from('<HHH', data, 58)
        headers = [struct.unpack_from('<IIQQQQIIQQ', data, start + i * size)
                   for i in range(count)]
        bodies = [b'' if h[1] == NOBITS else data[h[4]:h[4] + h[5]]
                  for h in headers]
        every = [Section(text_at(bodies[names], h[0]).decode(), h, b)
                 for h, b in zip(headers, bodies)]
        symbols = self.symbols_of(every)
        for s in every:
            if s.type == REL:
                raise ValueError(f'{path}: relocations without addends')
            if s.type == RELA:
                for at, info, addend in struct.iter_unpack('<QQq', s.data):
                    every[s.info].relocations.append(
                        (at, info & 0xffffffff, symbols[info >> 32], addend))
        for s in symbols:               # the exported ones, and common ones
            if s.info >> 4 and 0 < s.section < 0xff00:
                every[s.section].exports.append(
                    (s.name, s.info, s.other & 3, s.value, s.size))
        self.common = sorted(s for s in symbols
                             if s.info >> 4 and s.section >= 0xff00)
        self.every = every
        self.sections = [s for s in every if s.flags & ALLOC
                         and s.name not in LEFT_OUT
                         and (s.size or s.relocations or s.exports)]

    @staticmethod
    def symbols_of(every):
        """The symbol table."""
        found = []
        for s in every:
            if s.type == 2:
                strings = every[s.link].data
                for name, info, other, section, value, size in \
                        struct.iter_unpack('<IBBHQQ', s.data):
                    found.append(Symbol(text_at(strings, name).decode(), info,
                                        other, section, value, size))
        return found

    def target(self, kind, symbol, addend):
        """What a relocation points to: a name, a constant, or a section and a
        place in it."""
        if symbol.section == 0 or symbol.info >> 4 \
                or symbol.section >= 0xff00:
            return 'name', symbol.name, symbol.value, addend
        to = self.every[symbol.section]
        if not to.is_pool():
            return 'section', to, symbol.value + addend
        at = self.place(to, kind, symbol, addend)
        return 'piece', to.piece(at), symbol.value + addend - at

    def place(self, to, kind, symbol, addend):
        """Where in a pool a relocation points to."""
        if symbol.info & 15 != 3:       # not the section's own symbol
            return symbol.value
        at = addend
        if self.machine == X86 and kind in X86_PC:
            # from the end of a field of 4 bytes, or of a byte more behind it
            at += 4
            at += at % to.align == to.align - 1 and to.align > 1
        return at

    def prepare(self):
        """Each section's first hash, and its edges: where, whereto, and the
        place there."""
        self.hash, self.out, self.into = {}, {}, {}
        for s in self.sections:         # first of all where pieces begin
            for _, kind, symbol, addend in s.relocations:
                if 0 < symbol.section < 0xff00 and not symbol.info >> 4:
                    to = self.every[symbol.section]
                    to.starts.add(self.place(to, kind, symbol, addend))
        for s in self.sections:
            if s.is_pool():
                continue
            fixed, edges = [], []
            for at, kind, symbol, addend in sorted(
                    s.relocations, key=lambda r: r[:2]):
                to = self.target(kind, symbol, addend)
                if to[0] == 'section':
                    edges.append(((at, kind), to[1], to[2]))
                    to = ('section',)
                fixed.append((at, kind, to))
            self.out[s] = edges
            self.hash[s] = digest((s.type, s.flags, s.align, s.entry, s.size,
                                   s.data, sorted(s.exports), fixed))
        for s, edges in self.out.items():
            for here, to, there in edges:
                self.into.setdefault(to, []).append((s, here, there))

    def refine(self):
        """The next round of hashes."""
        old = self.hash
        self.hash = {s: digest((
            h, [(here, old.get(to, to.name), there)
                for here, to, there in self.out[s]],
            sorted((old[a], here, there)
                   for a, here, there in self.into.get(s, []))))
            for s, h in old.items()}

    def pool(self):
        """All constants and strings that may be merged."""
        return collections.Counter(
            (s.flags, p) for s in self.sections if s.is_pool()
            for p in s.pieces())


def apart(a, b):
    """Names of the sections of an object that the other has not."""
    count = collections.Counter(b.hash.values())
    found = []
    for s, h in a.hash.items():
        count[h] -= 1
        if count[h] < 0:
            found.append(s.name)
    return sorted(found)


def differences(path_a, path_b):
    """Names of what differs, in the first round that tells: none where the
    two objects are the same."""
    a, b = Object(path_a), Object(path_b)
    if a.machine != b.machine:
        return ['the machine']
    for o in (a, b):
        o.prepare()
    many = 0
    while True:
        names = sorted({*apart(a, b), *apart(b, a)})
        if names:
            return names
        if len(set(a.hash.values())) == many:
            break
        many = len(set(a.hash.values()))
        a.refine()
        b.refine()
    if a.pool() != b.pool():
        return ['constants or strings']
    return ['common symbols'] if a.common != b.common else []


def names_of(path):
    """How many sections of an object are compared."""
    return len(Object(path).sections)
