/* What the kernels of every instruction set stand on besides: plain C. */
#include "prefetch.h"
#include "masks.h"          /* for the group in which not every logit counts */
#include "sums.c"           /* the sums of a chunk */
#include "saved.c"          /* exponentials that become gradients later */
#include "x86.h"
