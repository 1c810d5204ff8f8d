/* The end of every BN_ISA page: its words become kernels and a row of the
 * dispatch table. page_end.h forgets the words. */
#define BN_PASTE_(a, b) a##b
#define BN_PASTE(a, b) BN_PASTE_(a, b)
#define BN_QUOTE_(a) #a
#define BN_QUOTE(a) BN_QUOTE_(a)
#define BN_FN(op) BN_PASTE(BN_PASTE(bn_, op), BN_PASTE(_, BN_ISA))

#include "exp.h"
#include "row.h"
#include "scale_saved.h"
#include "forward.h"
#include "backward.h"
#ifdef BN_EACH_ISA          /* a test's own code, for every instruction set */
#include BN_EACH_ISA
#endif

static const bn_kernels BN_FN(kernels) = {
    BN_QUOTE(BN_ISA),
    { BN_FN(forward), BN_FN(forward_dot), BN_FN(forward_general) },
    { BN_FN(backward), BN_FN(backward_general) },
    BN_FN(scale_saved)
};
