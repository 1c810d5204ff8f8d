/* The end of every ISA page: its words become kernels and a row of the
 * dispatch table. page_end.h forgets the words. */
#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
#define QUOTE_(a) #a
#define QUOTE(a) QUOTE_(a)
#define FN(op) PASTE(PASTE(bn_, op), PASTE(_, ISA))

#include "exp.h"
#include "row.h"
#include "kept.h"
#include "forward.h"
#include "backward.h"

static const bn_kernels FN(kernels) = {
    QUOTE(ISA),
    { FN(forward), FN(forward_dot), FN(forward_general) },
    { FN(backward), FN(backward_general) },
    FN(kept)
};
