/* What the kernels and the rows both use. */
#include "have.h"
#include "convert.c"        /* elements of each type, fused multiply-add */
#include "kernel.h"         /* structs, and the table of functions */
#include "logit_map.h"      /* scale and softcap */
#include "exp_table.h"
#include "scale.c"          /* saved exponentials, scaled in double */
