/* The whole library as one translation unit; this is its table of contents.
 *
 * SPDX-License-Identifier: MIT
 *
 * Four layers. A line that needs only numbers belongs to losses/, one that
 * needs the lanes of a vector to kernels/, one that needs the rows around it to
 * rows/, one that checks what a caller passes to api/. A layer calls itself and
 * those above it in this list.
 */
#include "../include/bnfloss.h"

#include "precise.h"        /* opens: precise maths whatever the flags say */
#include "core.h"           /* helpers of all layers */
#include "math.c"           /* exp, expm1, log, log1p, tanh in double */
#include "fenv.c"           /* the caller's floating-point environment */

/* Losses: log-probabilities in, loss and dlogp out. */
#include "losses/formulas.h"    /* the losses, and the table of them */
#include "losses/state.h"   /* reads the state of a row */
#include "losses/batch.c"   /* tokens, sequences, normalisation */
#include "losses/pairs.c"   /* pairs, sorted batches, single responses */
#include "losses/metrics.c" /* the batch's loss and metrics */
#include "losses/drift.c"   /* how far the policy has moved */

/* Kernels: one chunk of a row. */
#include "kernels/common.h" /* what rows/ uses as well */
#if !defined(BNFLOSS_UNITS) /* else each is a unit of its own: kernels/unit.c */
#include "kernels/chunk.h"  /* what all of them stand on */
#include "kernels/scalar.c" /* the definition */
#include "kernels/avx2.c"
#include "kernels/avx512.c"
#include "kernels/neon.c"
#endif
#include "kernels/cpu.c"    /* which of them to use */
#include "kernels/gradient.c"   /* the coefficients of a row's gradient */

/* Rows: labels, strides, types, chunks, threads. */
#include "rows/sweep.h"     /* what a sweep needs to know */
#include "rows/state.c"     /* the state of a row, merged from its chunks */
#include "rows/forward.c"   /* the forward pass of a chunk */
#include "rows/backward.c"  /* the backward pass of a row */
#include "rows/pending.c"   /* exponentials saved, rows that wait */
#include "rows/threads.c"
#include "rows/sweep.c"     /* a batch through its rows */

/* API: every public function. */
#include "api/args.h"       /* the arguments of a call in one struct */
#include "api/check.c"      /* checks: structs, layout, buffers, labels */
#include "api/enter.c"      /* what every call does first and last */
#include "api/names.c"      /* names, status texts, defaults */
#include "api/arrays.h"     /* the arrays of inputs and outputs, a line each */
#include "api/check_loss.c" /* checks: spec and inputs */
#include "api/stages.c"     /* forward, merge, outputs, backward */
#include "api/loss.c"       /* workspace, loss, run */
#include "api/drift.c"      /* how far the policy has moved */
#include "api/selftest.c"   /* the library's test of the machine */

#include "precise_end.h"    /* closes what precise.h opened */
