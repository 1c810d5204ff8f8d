/* Compiles the kernels for the instruction set whose operations are defined,
 * and fills in its line of functions. undef.h undefines the operations. */
#define BN_PASTE_(a, b) a##b
#define BN_PASTE(a, b) BN_PASTE_(a, b)
#define BN_QUOTE_(a) #a
#define BN_QUOTE(a) BN_QUOTE_(a)
#define BN_FN(op) BN_PASTE(BN_PASTE(bn_, op), BN_PASTE(_, BN_ISA))

#include "exp.h"            /* the exponential, tanh */
#include "group.h"          /* reading and writing */
#include "scale_saved.h"    /* gradients from saved exponentials */
#include "forward.h"        /* sums */
#include "backward.h"       /* gradients from logits */
#ifdef BN_EACH_ISA          /* a test's own code, for every instruction set */
#include BN_EACH_ISA
#endif

BN_SHARED const bn_kernels BN_PASTE(bnfloss_kernels_, BN_ISA) = {
    BN_QUOTE(BN_ISA),
    { BN_FN(forward), BN_FN(forward_dot), BN_FN(forward_general) },
    { BN_FN(backward), BN_FN(backward_general) },
    BN_FN(scale_saved)
};
