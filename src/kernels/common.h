/* What the kernels of every instruction set stand on: plain C, once. */
#include "have.h"
#include "convert.c"        /* elements of each type, fused multiply-add */
#include "kernel.h"         /* structs, and the table of functions */
#include "logit_map.h"      /* scale and softcap */
#include "prefetch.h"
#include "exp_table.h"
#include "masks.h"          /* for the group in which not every logit counts */
#include "sums.c"           /* the sums of a chunk */
#include "saved.c"          /* exponentials that become gradients later */
