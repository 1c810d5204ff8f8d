/* The whole library as one translation unit; this is its table of contents.
 *
 * SPDX-License-Identifier: MIT
 *
 * Three floors. A line that needs the SIMD lanes belongs to kernels/, one
 * that needs the rows around it to rows/, one that needs only numbers to
 * losses/. No floor calls a floor above it; api/ lets the caller in.
 */
#include "../include/bnfloss.h"

#include "precise.h"        /* opens: precise maths whatever the flags say */
#include "core.h"           /* the types that the floors share */

/* floor 1: log-probabilities in, loss and dlogp out */
#include "math.c"           /* exp, expm1, log, log1p, tanh in double */
#include "losses/real.h"    /* the number type and its few functions */
#include "losses/softmax.h" /* what one token's softmax has to say */
#include "losses/sft.h"
#include "losses/bnf.h"
#include "losses/response.h" /* a whole response, and a loss's numbers */
#include "losses/margin.h"  /* of a pair: what u is, */
#include "losses/logistic.h" /* and losses of it */
#include "losses/adadpo.h"
#include "losses/piecewise.h"
#include "losses/pair_loss.h" /* of a pair: chosen and rejected apart */
#include "losses/sequence_loss.h"
#include "losses/table.h"   /* all of them, a line each */
#include "losses/state.h"   /* what a row's forward pass has left */
#include "losses/batch.c"   /* tokens, sequences, normalisation */
#include "losses/pairs.c"   /* pairs, sorted batches, single responses */
#include "losses/metrics.c" /* the sum of it, and what else is worth knowing */
#include "losses/drift.c"   /* how far the policy has moved */

/* floor 3, which floor 2 stands on: one row */
#include "kernels/convert.c" /* one element of each type */
#include "kernels/sums.c"   /* the scalar half of every kernel */
#include "kernels/scalar.c" /* the definition */
#include "kernels/avx2.c"
#include "kernels/avx512.c"
#include "kernels/neon.c"
#include "kernels/cpu.c"    /* which of them to use */

/* floor 2: labels, strides, dtypes, chunks, threads */
#include "fenv.c"
#include "rows/row.c"
#include "rows/threads.c"
#include "rows/sweep.c"

/* the door */
#include "api/check.c"      /* everything that can be wrong with buffers, */
#include "api/names.c"      /* of errors and losses, and their defaults */
#include "api/check_loss.c"  /* and what with a loss and its inputs */
#include "api/stages.c"     /* forward, merge, outputs, backward */
#include "api/loss.c"       /* workspace, loss, run */
#include "api/drift.c"
#include "api/selftest.c"   /* the library's test of the machine */

#include "precise_end.h"    /* closes what precise.h opened */
