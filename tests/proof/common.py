"""What the proof's programs share: where things are, and the hash of src/."""
import glob
import hashlib
import os

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
BUILD = os.environ.get('BNFLOSS_PROOF_DIR', os.path.join(ROOT, 'build-proof'))


def source_hash():
    """Of every file in src/ and of the header: what a proof is about."""
    h = hashlib.sha256()
    files = [f for f in glob.glob(f'{ROOT}/src/**/*', recursive=True)
             if f.endswith(('.c', '.h'))] + [f'{ROOT}/include/bnfloss.h']
    for f in sorted(files):
        h.update(os.path.relpath(f, ROOT).encode() + b'\0')
        with open(f, 'rb') as content:
            h.update(content.read() + b'\0')
    return h.hexdigest()
