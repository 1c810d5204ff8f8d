"""C as tokens: what a proof is about, without comments and layout.

Each function takes the text of a file. White space matters in three places
only, and is kept there: around a line of the preprocessor, between a macro's
name and its parenthesis, and within strings. (A macro that makes a string of
several tokens would see more of it; the library has none, and no __LINE__.)
"""
import collections
import re

TOKEN = re.compile(
    r'(?P<blank>[^\S\n]+|\\\n|/\*.*?\*/|//(?:\\\n|[^\n])*)|(?P<line>\n)'
    r'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    r'|\.?\d(?:[eEpP][-+]|[\w.])*|[A-Za-z_]\w*'
    r'|<<=|>>=|\.\.\.|->|\+\+|--|&&|\|\||##|[-+*/%&|^<>=!]=|<<|>>|.', re.S)
KEYWORDS = set('if for while switch return sizeof do else case default break '
               'continue static const typedef struct union enum goto'.split())

# text; where it starts and ends; whether it is of a preprocessor line
Token = collections.namedtuple('Token', 'text start end directive')


def tokens_of(text):
    """All tokens of a text, those of preprocessor lines among them."""
    found, fresh, directive = [], True, False
    for m in TOKEN.finditer(text):
        if m.lastgroup == 'line':
            fresh, directive = True, False
        if m.lastgroup:
            continue
        if fresh and m.group() == '#':
            directive = True
        fresh = False
        found.append(Token(m.group(), m.start(), m.end(), directive))
    return found


def code_of(text):
    """The tokens that are not of preprocessor lines."""
    return [t for t in tokens_of(text) if not t.directive]


def spelling(text):
    """The tokens as one string: it is the same for two texts that differ in
    comments and layout alone."""
    words, inside, at = [], False, 0
    tokens = tokens_of(text)
    for i, t in enumerate(tokens):
        first = t.directive and t.text == '#' and (
            not inside or '\n' in text[tokens[i - 1].end:t.start])
        if first or inside != t.directive:
            words.append('\n')
        at = i if first else at
        inside = t.directive
        glued = (inside and i == at + 3 and t.text == '('
                 and tokens[at + 1].text == 'define'
                 and tokens[i - 1].end == t.start)
        words.append('\t(' if glued else t.text)
    return '\0'.join(words)


def places_of(text, snippet):
    """Where a text has the tokens of a snippet, whatever the layout and the
    comments between them: (start, end) of each place."""
    tokens, wanted = tokens_of(text), [t.text for t in tokens_of(snippet)]
    words, n = [t.text for t in tokens], len(wanted)
    return [(tokens[i].start, tokens[i + n - 1].end)
            for i in range(len(words) - n + 1) if words[i:i + n] == wanted]


def is_word(text):
    """Whether a token is a name or a keyword."""
    return re.match(r'[A-Za-z_]', text) is not None


def is_operand(text):
    """Whether an operator after this token has it on its left."""
    return re.match(r'[\w)\]"\'.]', text) is not None \
        and text not in KEYWORDS


def show(words):
    """Texts of tokens as one readable line, always spaced alike."""
    line, unary = '', False
    for i, w in enumerate(words):
        before = words[i - 1] if i else ''
        tight = (
            not i or before in ('(', '[', '!', '~', '.', '->') or unary
            or w in (')', ']', ',', ';', '.', '->')
            or (w == '[' and is_operand(before))
            or (w in ('++', '--') and is_operand(before))
            or (w == '(' and is_operand(before) and before[0] != '"'))
        line += ('' if tight else ' ') + w
        unary = (w in ('-', '+', '*', '&', '++', '--')
                 and not is_operand(before))
    return line


def closing(words, i):
    """Index of the bracket that closes the one at i."""
    depth = 0
    for j in range(i, len(words)):
        depth += words[j] in ('(', '[', '{')
        depth -= words[j] in (')', ']', '}')
        if depth == 0:
            return j
    return len(words) - 1


def opening(words, i):
    """Index of the bracket that the one at i closes."""
    depth = 0
    for j in range(i, -1, -1):
        depth += words[j] in (')', ']', '}')
        depth -= words[j] in ('(', '[', '{')
        if depth == 0:
            return j
    return 0


def opens_function(words, i):
    """Whether the brace at i is that of a function's body."""
    if i == 0 or words[i - 1] != ')':
        return False
    at = opening(words, i - 1)          # struct FN(name) { is none
    return at < 2 or words[at - 2] not in ('struct', 'union', 'enum')


class Part:
    """A function, or a definition of data or of a type, with its tokens.
    name: with #2 where the tree defines a function a second time."""

    def __init__(self, file, text, tokens, body):
        self.file, self.text, self.tokens = file, text, tokens
        self.words = [t.text for t in tokens]
        self.body = body                # index of its first brace
        self.is_function = opens_function(self.words, body)
        self.name = self.named()
        self.line = text.count('\n', 0, tokens[0].start) + 1

    def named(self):
        """The name in it: FN(x) where a macro makes the name of x."""
        w, body = self.words, self.body
        if self.is_function:
            i = opening(w, body - 1) - 1
            if w[i] == ')':
                return show(w[opening(w, i) - 1:i + 1])
            return w[i]
        head = w[:body]
        if '=' in head:
            head = head[:head.index('=')]
            while '[' in head:
                head = head[:head.index('[')]
            return show(head[opening(head, len(head) - 1) - 1:]
                        if head[-1] == ')' else head[-1:])
        if 'enum' in head and head[-1] == 'enum':
            return 'enum ' + w[body + 1]
        if head and head[-1] not in KEYWORDS:
            return show(head[opening(head, len(head) - 1) - 1:]
                        if head[-1] == ')' else head[-1:])
        return w[-2]                    # typedef struct { } NAME;

    def shape(self):
        """Its tokens with each name replaced by its number: the same for two
        that differ by names alone, consistently."""
        numbers = {}
        return ' '.join(
            f'@{numbers.setdefault(w, len(numbers))}'
            if is_word(w) and w not in KEYWORDS else w for w in self.words)


def parts_of(file, text):
    """All definitions of a file that have braces, in order."""
    tokens, found = code_of(text), []
    words = [t.text for t in tokens]
    begin = depth = level = 0
    body = None
    for i, t in enumerate(tokens):
        if t.text in ('{', '}'):
            if t.text == '{' and depth == 0 and body is None:
                body = i
            depth += 1 if t.text == '{' else -1
        level += t.text in ('(', '[')
        level -= t.text in (')', ']')
        if depth or level:
            continue
        if t.text == ';' or (t.text == '}' and body is not None
                             and opens_function(words, body)):
            if body is not None:
                found.append(Part(file, text, tokens[begin:i + 1],
                                  body - begin))
            begin, body = i + 1, None
    return found


def name_apart(parts):
    """Gives parts of one name, in order, the names NAME, NAME#2, .."""
    seen = collections.Counter()
    for p in parts:
        seen[p.name] += 1
        if seen[p.name] > 1:
            p.name += f'#{seen[p.name]}'
    return parts
