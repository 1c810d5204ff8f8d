/* bnfloss: Bidirectional Negative Feedback (arXiv 2410.04834), DPO with its
 * family, and SFT: losses with exact gradients, from a logits buffer, in C11.
 *
 * SPDX-License-Identifier: MIT
 *
 * A trainer hands over the logits that its model just produced, or the
 * log-probabilities it already has, and gets back the loss and its gradient.
 * Nothing is allocated, printed or kept between calls; every function may be
 * called from any thread.
 *
 * The one idea
 * ------------
 * For one token with logits z, label y, p = softmax(z) and logp = log p_y,
 * every loss here moves the logits along one direction,
 *
 *     dL/dz = dlogp * (onehot(y) - p)
 *
 * so a loss is one number per token, dlogp = dL/dlogp. That makes three
 * stages, each a function of its own; bnfloss_run() does all three:
 *
 *     logits (N,V) --bnfloss_forward--> row states, logp (N)
 *                  --bnfloss_loss-----> loss, dlogp (N)
 *                  --bnfloss_backward-> gradient of the logits (N,V)
 *
 * One letter per dimension: N rows (tokens), V vocabulary, S sequences.
 *
 * How to build it
 * ---------------
 * Link the library, or compile src/bnfloss.c into your program, or put
 *
 *     #define BNFLOSS_IMPLEMENTATION
 *     #include "bnfloss.h"
 *
 * into one source file of yours. No flag is needed; SIMD is chosen at run
 * time. With -DBNFLOSS_OPENMP -fopenmp bnfloss_run() uses several threads.
 * BNFLOSS_NO_AVX512, BNFLOSS_NO_AVX512BF16, BNFLOSS_NO_AVX2 and BNFLOSS_NO_NEON
 * leave instruction sets out: the code is smaller, the results are the same.
 * No macro of yours harms the header that is installed or generated, unless it
 * has the name of a member or a parameter below.
 *
 * What holds for every call
 * -------------------------
 * - All arguments are checked before anything is written. After an error no
 *   output byte has changed, except result->where, the offending index.
 *   E_NULL, E_STRUCT, E_ALIGN and E_OVERLAP may come from any function with
 *   such arguments.
 * - Results are the same bits for every instruction set, compiler, thread
 *   count, alignment and stride, in place or not.
 * - Pointers need the alignment of their element and nothing more.
 * - No output may overlap an input or another output, judged by address from
 *   first to last element; the gradient may be the logits buffer itself (same
 *   type, same stride).
 * - Calls may run at the same time and share inputs, but neither outputs nor
 *   work; inputs must not change during a call. Work need not be initialised.
 * - Structs start with their own size: set struct_size to sizeof(the struct).
 *   Fields that a smaller (older) struct lacks get their default; non-zero
 *   bytes that a larger (newer) struct brings are an error, and so is a size
 *   above 4096 or not a multiple of the size of a pointer.
 * - The caller's rounding mode, flush-to-zero and exception masks neither
 *   change a result nor are changed (x86-64 and aarch64).
 * - Labels are used as given: row i's label is the token that row i should
 *   predict. The shift by one is the caller's.
 */
#ifndef BNFLOSS_H
#define BNFLOSS_H

#include <stddef.h>
#include <stdint.h>

#define BNFLOSS_VERSION_MAJOR 0
#define BNFLOSS_VERSION_MINOR 1
#define BNFLOSS_VERSION_PATCH 0
#define BNFLOSS_VERSION "0.1.0"

/* BNFLOSS_API marks what the library exports. A shared library is built with
 * BNFLOSS_BUILD_SHARED; a Windows program that links one says
 * BNFLOSS_USE_SHARED. Defined as `static inline` in a file that also defines
 * BNFLOSS_IMPLEMENTATION, it gives that file a private copy of the library,
 * which exports nothing and has a bnfloss_isa_select() of its own. */
#ifndef BNFLOSS_API
#if defined(_WIN32) && defined(BNFLOSS_BUILD_SHARED)
#define BNFLOSS_API __declspec(dllexport)
#elif defined(_WIN32) && defined(BNFLOSS_USE_SHARED)
#define BNFLOSS_API __declspec(dllimport)
#elif defined(__GNUC__) && defined(BNFLOSS_BUILD_SHARED)
#define BNFLOSS_API __attribute__((__visibility__("default")))
#else
#define BNFLOSS_API
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- What a call answers ------------------------------------------------ */

/* Every function that can fail returns one of these. Those marked (row),
 * (sequence) or (pair) leave the first offender's index in result->where. */
typedef enum bnfloss_status {
    BNFLOSS_OK = 0,
    BNFLOSS_E_NULL = 1,      /* a pointer that this call needs is NULL */
    BNFLOSS_E_STRUCT = 2,    /* struct_size unset, or unknown bytes not zero */
    BNFLOSS_E_ENUM = 3,      /* an unknown constant or flag */
    BNFLOSS_E_SHAPE = 4,     /* a dimension, stride or range out of bounds */
    BNFLOSS_E_VALUE = 5,     /* a number outside its range, or NaN */
    BNFLOSS_E_OPTION = 6,    /* an option that this loss does not have */
    BNFLOSS_E_ALIGN = 7,     /* a pointer not aligned to its element */
    BNFLOSS_E_OVERLAP = 8,   /* an output overlaps another buffer */
    BNFLOSS_E_LABEL = 9,     /* (row) a label >= the vocabulary */
    BNFLOSS_E_WEIGHT = 10,   /* (row) a weight that is NaN or infinite */
    BNFLOSS_E_REF_LOGP = 11, /* (row) a reference logp above 2^-6, or NaN */
    BNFLOSS_E_LOGP = 12,     /* (row) a policy logp above 2^-6 */
    BNFLOSS_E_SEQ = 13,      /* (sequence) seq_start is not 0 .. N, or steps
                                back; an empty sequence is legal */
    BNFLOSS_E_SIDE = 14,     /* (sequence) a side that is not +1 or -1, or
                                that contradicts the pairing */
    BNFLOSS_E_PAIRING = 15,  /* pairs needed: none given, or S is odd */
    BNFLOSS_E_STATE = 16,    /* (row) states that do not fit together */
    BNFLOSS_E_WORK = 17,     /* work_bytes is less than bnfloss_workspace() */
    BNFLOSS_E_ISA = 18,      /* an instruction set that is not here */
    BNFLOSS_E_INPUT = 19,    /* (sequence or pair, or place in mismatched) a
                                number out of range, or NaN, in an array of
                                bnfloss_inputs; (row) for log_square */
    BNFLOSS_E_SELFTEST = 20, /* bnfloss_selftest(): other bits than promised */
    BNFLOSS_STATUS_MAX = 0x7fffffff /* keeps the enum 32 bits wide */
} bnfloss_status;

/* One line of text for a status; "unknown status" for any other number. */
BNFLOSS_API const char *bnfloss_status_string(bnfloss_status status);

/* ---- What the buffers look like ----------------------------------------- */

typedef enum bnfloss_type {     /* element of logits and gradient */
    BNFLOSS_F32 = 0,
    BNFLOSS_BF16 = 1,
    BNFLOSS_F16 = 2,
    BNFLOSS_TYPE_MAX = 0x7fffffff
} bnfloss_type;

typedef enum bnfloss_label_type {
    BNFLOSS_I32 = 0,
    BNFLOSS_I64 = 1,
    BNFLOSS_LABEL_TYPE_MAX = 0x7fffffff
} bnfloss_label_type;

typedef enum bnfloss_layout_flag {
    BNFLOSS_ACCUMULATE = 1,     /* grad += instead of grad = ; never in place */
    BNFLOSS_ENTROPY = 2,        /* bnfloss_forward() also takes the sum that
                                   entropy, rest and BNF's value need, */
    BNFLOSS_MEAN = 4,           /* the sum that the row's mean logit needs, */
    BNFLOSS_SQUARES = 8,        /* and the sum of p^2, which costs a second
                                   pass over the row in the cache */
    BNFLOSS_LAYOUT_FLAG_MAX = 0x7fffffff
} bnfloss_layout_flag;

/* The layout of the logits, labels and gradient, and what happens to a logit
 * before the softmax. Here, and only here, zero means the default.
 *
 *     z' = softcap * tanh(logit_scale * z / softcap)   with a softcap
 *     z' = logit_scale * z                             without
 *
 * -inf stays -inf: a masked token has p = 0 and, unless it is the label, a
 * gradient of exactly 0. A z' beyond the range of a float counts as infinite,
 * and with smoothing, or where the mean is taken, so does one that is further
 * than that below the row's largest.
 * label_smoothing (ls) and z_loss (zeta) belong to SFT without DFT and are an
 * error with any other loss. They make a row's value and gradient
 *
 *     (1-ls) nll + ls * mean over finite z' of (lse - z'_v) + zeta lse^2
 *     dlogp * [(1-ls) onehot + ls/V - p (1 + 2 zeta lse)]
 *
 * with nll = lse - z'_y and V counting the tokens that are not masked.
 *
 * A buffer may hold only the columns [vocab_begin, vocab_begin + vocab) of a
 * vocabulary of vocab_total, for tensor parallelism: see bnfloss_row_merge().
 */
typedef struct bnfloss_layout {
    uint32_t struct_size;     /* sizeof(bnfloss_layout) */
    uint32_t logits_type;     /* bnfloss_type; default f32 */
    uint32_t grad_type;       /* bnfloss_type; default f32 */
    uint32_t label_type;      /* bnfloss_label_type; default i32 */
    uint32_t flags;           /* bnfloss_layout_flag, or'ed */
    float logit_scale;        /* > 0, at most 2^127; 0 means 1 */
    float softcap;            /* 0 .. 65536; 0 means none. logit_scale / softcap
                                 must be a normal float */
    float label_smoothing;    /* 0 .. 1 */
    float z_loss;             /* >= 0 */
    uint32_t reserved;        /* 0 */
    int64_t rows;             /* N */
    int64_t vocab;            /* V, at most 2^31 - 1 */
    int64_t logits_stride;    /* elements from row to row; 0 means vocab */
    int64_t grad_stride;      /* 0 means logits_stride */
    int64_t grad_cols;        /* columns [vocab, grad_cols) of the gradient
                                 are set to 0; 0 means none. At most
                                 grad_stride; not with ACCUMULATE */
    int64_t vocab_begin;      /* first column's token id */
    int64_t vocab_total;      /* 0 means vocab_begin + vocab */
} bnfloss_layout;

/* ---- Which loss --------------------------------------------------------- */

/* Per token: l the policy's log-probability of the label, r the reference's,
 * p = e^l, q = e^r. Sums run over a sequence's valid tokens, those whose label
 * is not negative and whose weight is not 0; n is their number. For a pair of
 * chosen (w) and rejected (x) responses
 *
 *     a = sum (l - r) over w,  b = sum (l - r) over x,  h = a - b
 *     m = mean of l,           u = s beta h + m',       sig(x) = 1/(1+e^-x)
 *
 * with s and m' the pair's own scale and margin, 1 and 0 unless the inputs
 * bring them. A row_weight multiplies its token's l and r in all of these, and
 * n stays a count. Where a loss has no reference, r = 0. Values and gradients
 * of each are in src/losses/, a file a family. Their defaults are TRL's where
 * TRL has the loss (but AlphaPO's alpha, TRL's 0 being SimPO, and ORPO's
 * sft_norm are the papers'), else the authors', unless README.md's table says
 * that they are ours.
 *
 * Names in text: bnfloss_kind_name(), bnfloss_kind_from_name(). */
typedef enum bnfloss_kind {
    /* -- of each token by itself -- */

    /* Bidirectional Negative Feedback, arXiv 2410.04834, eq. 8-10. Needs
     * ref_logp and sides. With f = min(p/q, 1) and targets frozen,
     *     value = -[f l + (1-f) rest],  rest = sum_{t != y} p_t log p_t / (1-p)
     *     loss  = sum over sequences of side/n * sum of values
     *     dlogp = -side/n * g,  g = min(1, odds(p)/odds(q)),
     *     odds(x) = x/(1-x) */
    BNFLOSS_BNF = 1,

    /* Direct Preference Optimization, arXiv 2305.18290, eq. 7; flip_prob is
     * conservative DPO's. Needs ref_logp and pairs.
     *     L = -(1-flip) log sig(u) - flip log sig(-u)
     *     dlogp = beta (sig(u) - 1 + flip) chosen; its negative rejected */
    BNFLOSS_DPO = 2,

    /* Supervised fine-tuning: the cross-entropy of the labels, with label
     * smoothing and z-loss from the layout, and DFT (arXiv 2508.05629) as a
     * flag: value p * nll, dlogp -p, the factor p frozen. */
    BNFLOSS_SFT = 3,

    /* -- of a pair, through one margin u -- */

    BNFLOSS_ROBUST = 4,      /* robust DPO, 2403.00409: [-(1-flip) log sig(u)
                                + flip log sig(-u)] / (1 - 2 flip) */
    BNFLOSS_HINGE = 5,       /* max(0, 1 - u), RSO, 2309.06657 */
    BNFLOSS_IPO = 6,         /* (d - 1/(2 beta))^2 with d = a/n - b/n: as TRL
                                and the authors run it, 2310.12036 */
    BNFLOSS_IPO_SUM = 7,     /* the same with d = h: the paper's eq. 17 */
    BNFLOSS_EXO_PAIR = 8,    /* 2402.00856, eq. 16: KL from sig(u) to 1-flip */
    BNFLOSS_DISCOPOP = 9,    /* 2406.08414, eq. 5: (1-j) (-log sig(u)) + j e^-u,
                                j = sig(u/tau) */
    BNFLOSS_SIGMOID_NORM = 10, /* DPO with h = a/n - b/n, 2411.15124 */
    BNFLOSS_SIMPO = 11,      /* 2405.14734: -log sig(beta (m_w - m_x) - gamma),
                                no reference; its authors set beta 2 */
    BNFLOSS_ALPHAPO = 12,    /* 2501.03884: SimPO with (1 - e^(-alpha m))/alpha
                                for m; alpha 0 is SimPO */
    BNFLOSS_CPO = 13,        /* 2401.08417: DPO with r = 0, and sft_weight 1 */
    BNFLOSS_SLIC = 14,       /* SLiC-HF, 2305.10425: max(0, gamma - l_w + l_x),
                                sums, and sft_weight for its lambda */
    BNFLOSS_DPOP = 15,       /* 2402.13228: DPO with
                                h - penalty max(0, r_w - l_w) for h */
    BNFLOSS_RDPO = 16,       /* R-DPO, 2403.19159: DPO with
                                u + alpha (n_w - n_x) for u */
    BNFLOSS_RPO = 17,        /* 2405.16436: DPO - beta sft_weight l_w */
    BNFLOSS_RPO_MEAN = 18,   /* its variant: DPO - sft_weight m_w */
    BNFLOSS_ADA_DPO = 19,    /* 2406.02764: min over t in [tau, tau_max] of
                                -t log sig(u/t) + (rho - log 2) t; with beta
                                1 the paper's, whose rho_0 is rho */
    BNFLOSS_BMC = 20,        /* 2408.07471: DPO with token weights 1 +
                                mask min(1/p, cap), frozen; the reference's
                                from its own q (their code), or the policy's
                                too with BNFLOSS_POLICY_WEIGHTS (the paper).
                                Needs row_mask */
    BNFLOSS_FPO = 21,        /* 2411.07618: SIGMOID_NORM with u - alpha beta
                                (D_x - D_w) for u, D_w frozen. Needs distance */
    BNFLOSS_IREPO = 22,      /* 2405.15230: (u - logit(soft_label))^2; its
                                constants are a reconstruction */
    BNFLOSS_UPO = 23,        /* 2410.20187: DPO times pair_weight, the pair's
                                certainty, which it needs: a reconstruction */

    /* -- of a pair, through a and b apart -- */

    BNFLOSS_NCA_PAIR = 24,   /* 2402.05369: -log sig(beta a)
                                - [log sig(-beta a) + log sig(-beta b)] / 2 */
    BNFLOSS_BCO_PAIR = 25,   /* 2404.04656, without its shift:
                                -log sig(beta a) - log sig(-beta b) */
    BNFLOSS_SPPO_HARD = 26,  /* 2405.00675: (a - 1/(2 beta))^2
                                + (b + 1/(2 beta))^2 */
    BNFLOSS_APO_ZERO = 27,   /* 2408.06266, eq. 7: 1 - sig(beta a)
                                + sig(beta b) */
    BNFLOSS_APO_DOWN = 28,   /* eq. 8: sig(beta a) + 1 - sig(beta h) */
    BNFLOSS_ORPO = 29,       /* 2403.07691: -penalty log sig(log odds(e^m_w)
                                - log odds(e^m_x)), no reference, and
                                sft_weight 1 by length */

    /* -- of the whole batch of pairs, sorted -- */

    BNFLOSS_AOT = 30,        /* 2406.05882: DPO's L of beta t, t = the sorted
                                l_w - l_x minus the sorted r_w - r_x */
    BNFLOSS_AOT_UNPAIRED = 31, /* t = the sorted a minus the sorted b */

    /* -- of each sequence by itself, with a side -- */

    BNFLOSS_KTO = 32,        /* 2402.01306: weight (1 - sig(side beta (a - kl)))
                                with desirable_weight or undesirable_weight;
                                kl from the inputs */
    BNFLOSS_BCO = 33,        /* 2404.04656: -weight log sig(side (beta a -
                                shift)), shift the running mean of beta a */
    BNFLOSS_APO_ZERO_UNPAIRED = 34, /* 1 - sig(beta a); sig(beta b) */
    BNFLOSS_ASFT = 35,       /* 2409.10571: -(1 + penalty) m;
                                -penalty log(1 - e^m), no reference; the
                                default of penalty is a reconstruction */
    BNFLOSS_KIND_MAX = 0x7fffffff
} bnfloss_kind;

/* The kind of a name, in lower case: "bnf", "kto"; TRL's "sigmoid" is DPO.
 * 0 for NULL or any other text. */
BNFLOSS_API uint32_t bnfloss_kind_from_name(const char *name);

/* The name of a kind; NULL for any other number. Kinds run from 1 without a
 * gap. */
BNFLOSS_API const char *bnfloss_kind_name(uint32_t kind);

typedef enum bnfloss_token_norm {   /* each token's share in its sequence */
    BNFLOSS_NORM_NONE = 1,          /* 1: a sequence counts by its length */
    BNFLOSS_NORM_LENGTH = 2,        /* 1/n, its own number of valid tokens */
    BNFLOSS_NORM_SHORTEST = 3,      /* 1/n of the call's shortest sequence
                                       that has a valid token */
    BNFLOSS_NORM_BATCH = 4,         /* sft_norm only: pairs / valid chosen
                                       tokens of the call, which TRL does */
    BNFLOSS_NORM_MAX = 0x7fffffff
} bnfloss_token_norm;

typedef enum bnfloss_divisor {      /* what the batch's sum is divided by */
    BNFLOSS_DIV_SEQUENCES = 1,      /* sequences with a valid token */
    BNFLOSS_DIV_PAIRS = 2,          /* pairs that count: with a valid token;
                                       where a loss divides by both lengths,
                                       with one on both sides */
    BNFLOSS_DIV_TOKENS = 3,         /* valid tokens; a weight is not a count */
    BNFLOSS_DIV_GIVEN = 4,          /* divisor_value: the way to make
                                       accumulated or distributed calls add
                                       up to one call */
    BNFLOSS_DIV_MAX = 0x7fffffff
} bnfloss_divisor;

typedef enum bnfloss_spec_flag {
    BNFLOSS_DFT = 1,                /* SFT only */
    BNFLOSS_CHOSEN_ONLY = 2,        /* SFT of the preferred sequences alone:
                                       the others' rows count as ignored */
    BNFLOSS_REFERENCE_FREE = 4,     /* r = 0 in a loss that has a reference,
                                       but BNF: ref_logp is not read */
    BNFLOSS_WPO = 8,                /* pair losses but AOT, 2406.11827: times
                                       W_w W_x, not cut at 1,
                                       W = exp(mean of l - log sum_v p_v^2) over
                                       valid tokens, unweighted, frozen */
    BNFLOSS_POLICY_WEIGHTS = 16,    /* BMC only */
    BNFLOSS_DEFER_SCALE = 32,       /* bnfloss_run() of one loss: see there */
    BNFLOSS_SPEC_FLAG_MAX = 0x7fffffff
} bnfloss_spec_flag;

/* What a log-ratio x = a or b becomes before the margin is made of it: f'(e^x)
 * of an f-divergence (2309.16240), 0 at 0. For the losses of one margin that
 * have a reference and neither DPOP's penalty, nor token weights, nor
 * distances, nor Ada-DPO's scale. */
typedef enum bnfloss_f_divergence {
    BNFLOSS_REVERSE_KL = 0,         /* x */
    BNFLOSS_FORWARD_KL = 1,         /* 1 - e^-x */
    BNFLOSS_JS_DIVERGENCE = 2,      /* log(2 sig(x)) */
    BNFLOSS_ALPHA_DIVERGENCE = 3,   /* (e^((k-1) x) - 1) / (k-1), k = f_alpha,
                                       the paper's alpha being 1 - k; x at
                                       |k-1| < 1e-6 */
    BNFLOSS_F_DIVERGENCE_MAX = 0x7fffffff
} bnfloss_f_divergence;

/* A loss and its numbers. bnfloss_spec_init() fills in the loss's defaults;
 * after that every value is meant literally. A number that a loss does not
 * take is 0, and anything else there is E_OPTION. The README's table says
 * which loss takes which.
 *
 * Several losses in one call: an array of specs, whose first says in `also`
 * how many follow, all of its struct_size. The call's loss is the sum of
 * weight * loss over them, each with its own divisor, and so is dlogp; counts,
 * metrics and the outputs of a row or sequence are those of the first. */
typedef struct bnfloss_spec {
    uint32_t struct_size;     /* sizeof(bnfloss_spec) */
    uint32_t kind;            /* bnfloss_kind */
    uint32_t token_norm;      /* BNF: own length; SFT: none; or any of the
                                 first three. All others: none */
    uint32_t divisor;         /* SFT: tokens. Pair losses: pairs. BNF and other
                                 losses of a sequence: sequences */
    uint32_t flags;           /* bnfloss_spec_flag, or'ed; 0 */
    uint32_t also;            /* specs that follow this one, at most 15; 0 */
    double weight;            /* of this loss in the call, finite; 1. At 0 it
                                 adds 0, were it NaN */
    double divisor_value;     /* > 0, with BNFLOSS_DIV_GIVEN; 1 */
    double loss_scale;        /* > 0; multiplies dlogp (not the loss), for
                                 gradients too small for f16; 1. Finite also
                                 when divided by divisor_value */
    float beta;               /* > 0; how strongly the reference holds */
    float flip_prob;          /* 0 .. 0.5, how often a label is wrong: label
                                 smoothing of the pair. Robust: < 0.5;
                                 EXO: > 0 */
    float eps;                /* BNF: 0 .. 1; 0. The authors' later public
                                 code has 1e-6: f = min(p/(q+eps), 1) and
                                 (1-f+eps)/(1-p+eps) for (1-f)/(1-p) */
    float gamma;              /* >= 0; target margin */
    float alpha;              /* finite; AlphaPO, R-DPO, FPO, as named there */
    float penalty;            /* >= 0; DPOP's, ORPO's and ASFT's lambda */
    float tau;                /* > 0; DiscoPOP's temperature, Ada-DPO's least */
    float tau_max;            /* >= tau; Ada-DPO's largest */
    float rho;                /* 0 < rho < log 2; Ada-DPO */
    float cap;                /* >= 0; BMC */
    float desirable_weight;   /* >= 0; KTO, BCO */
    float undesirable_weight; /* >= 0; KTO, BCO */
    float sft_weight;         /* >= 0; pair losses: adds sft_weight * the chosen
                                 response's share of nll, by sft_norm */
    uint32_t sft_norm;        /* bnfloss_token_norm: none, length or batch */
    float ld_alpha;           /* 0 .. 1; pair losses but BMC, LD-DPO,
                                 2409.06411: tokens beyond the pair's shorter
                                 response weigh so much, with l and r; 1 */
    uint32_t f_divergence;    /* bnfloss_f_divergence */
    float f_alpha;            /* finite; order of the alpha divergence; 0.5 */
    uint32_t reserved;        /* 0 */
} bnfloss_spec;

/* Fills *spec, of struct_size bytes (sizeof(bnfloss_spec)), with the defaults
 * of a loss: not a byte more, whatever size this library's own struct has. An
 * unknown kind is kept as it is and refused by the call that uses it.
 * Errors: E_NULL, E_ALIGN, E_STRUCT. */
BNFLOSS_API bnfloss_status bnfloss_spec_init(
    bnfloss_spec *spec, uint32_t struct_size, uint32_t kind);

/* ---- What a loss may need besides --------------------------------------- */

typedef enum bnfloss_pairing {
    BNFLOSS_PAIRS_NONE = 0,
    BNFLOSS_PAIRS_ADJACENT = 1,     /* chosen, rejected, chosen, rejected.. */
    BNFLOSS_PAIRS_HALVES = 2,       /* all chosen, then all rejected, in the
                                       same order: TRL's batches */
    BNFLOSS_PAIRS_MAX = 0x7fffffff
} bnfloss_pairing;

/* NULL or 0 where a loss does not need it. SFT needs none of these: without
 * seq_start all rows are one sequence. With a pairing, sides may be left
 * NULL. From seq_weight on, what no loss of the call reads is E_OPTION. P is
 * the number of pairs, S/2. */
typedef struct bnfloss_inputs {
    uint32_t struct_size;     /* sizeof(bnfloss_inputs) */
    uint32_t pairing;         /* bnfloss_pairing */
    int64_t sequences;        /* S */
    const int64_t *seq_start; /* (S+1) sequence s owns the rows seq_start[s] ..
                                 seq_start[s+1] - 1; from 0 to N */
    const int8_t *side;       /* (S) +1 preferred, -1 dispreferred */
    const float *ref_logp;    /* (N) the reference's logp of each label; -inf
                                 means q = 0; up to 2^-6 is taken as 0 */
    const float *row_weight;  /* (N) factor of each token's share; negative is
                                 legal, exactly 0 skips the row unread */
    const float *seq_weight;  /* (S) losses of tokens or sequences: factor of
                                 each sequence; finite. At 0 a sequence
                                 counts, but gives 0, and BCO's shift leaves
                                 it out */
    const float *pair_weight; /* (P) pair losses but AOT: factor of each pair's
                                 loss, sft_weight's term apart; finite. At 0
                                 a pair counts, but gives 0 */
    const float *pair_scale;  /* (P) losses of one margin: s above; > 0 */
    const float *pair_margin; /* (P) and m'; finite, added to u */
    const float *soft_label;  /* (P) IREPO: probability in (0,1) that chosen is
                                 the better one */
    const float *distance;    /* (S) FPO: each response's feature distance D */
    const uint8_t *row_mask;  /* (N) BMC: not 0 where a token is among those in
                                 which the two responses differ */
    const float *log_square;  /* (N) WPO in bnfloss_loss() without states: the
                                 log of sum_v p_v^2; finite, at most 2^-6 */
    const double *mismatched; /* (M) KTO: sum (l - r) of M prompts with answers
                                 of other prompts (outputs->seq_ratio of a
                                 call on those); kl = max(0, their mean) */
    int64_t mismatches;       /* M */
    double kl;                /* KTO: >= 0, where mismatched is NULL */
    double shift_mean;        /* BCO: result->shift and */
    double shift_count;       /*   result->shift_count of the call before; both
                                 0 in the first */
} bnfloss_inputs;

/* ---- What comes back ---------------------------------------------------- */

/* One row after the forward pass: plain data of a fixed size that may be
 * copied, stored, sent to another process of the same byte order and minor
 * version, and merged over slices of the vocabulary. x = z' above; "the others"
 * are all columns but the label and the leader, the largest logit that is not
 * the label. */
typedef struct bnfloss_row {
    double leader;            /* x of the leader; -inf if there is none */
    double sum;               /* of exp(x - leader) over the others */
    double dot;               /* of exp(x - leader) (x - leader); ENTROPY */
    double label;             /* x of the label */
    double shift;             /* of x - leader over the finite others, and */
    double finite;            /* their number; MEAN or label smoothing */
    int64_t leader_id;        /* token id of the leader; -1 if there is none */
    int64_t label_id;         /* token id of the label; negative if ignored */
    float label_smoothing;    /* as in the layout */
    float z_loss;
    uint32_t flags;           /* bnfloss_row_flag */
    uint32_t reserved;
    double square;            /* of exp(2 (x - leader)); with SQUARES */
} bnfloss_row;

typedef enum bnfloss_row_flag {
    BNFLOSS_ROW_IGNORED = 1,  /* not read: its label is negative */
    BNFLOSS_ROW_LABEL = 2,    /* the label is among the columns seen */
    BNFLOSS_ROW_ENTROPY = 4,  /* dot was taken */
    BNFLOSS_ROW_NAN = 8,      /* a NaN or +inf logit among them */
    BNFLOSS_ROW_MEAN = 16,    /* shift and finite were taken */
    BNFLOSS_ROW_SQUARES = 32, /* square was taken */
    BNFLOSS_ROW_FLAG_MAX = 0x7fffffff
} bnfloss_row_flag;

/* Optional outputs; NULL where not wanted. An ignored row's are 0 (argmax -1).
 * forward writes the first group, loss the second, run both; what is of the
 * other group is left as it is. */
typedef struct bnfloss_outputs {
    uint32_t struct_size;     /* sizeof(bnfloss_outputs) */
    uint32_t reserved;        /* 0 */
    float *logp;              /* (N) log p of the label */
    float *rest;              /* (N) sum_{t != y} p_t log p_t / (1-p) */
    float *entropy;           /* (N) -sum_t p_t log p_t, in nats */
    float *log_square;        /* (N) log sum_v p_v^2 */
    int32_t *argmax;          /* (N) token id; the label if it ties */

    float *dlogp;             /* (N) dL/dlogp, as run found it */
    float *row_loss;          /* (N) BNF, SFT: the token's value, before any
                                 weight or normalisation; others: l - r */
    float *row_scale;         /* (N) with DEFER_SCALE: see bnfloss_run() */
    double *seq_logp;         /* (S) sum of weight * logp */
    double *seq_ratio;        /* (S) sum of weight * (logp - ref_logp), with
                                 the token weights of LD-DPO and BMC; of
                                 logp where there is no reference */
    double *seq_loss;         /* (S) each sequence's loss before the divisor;
                                 pair losses: (P), each pair's */
    float *distance_grad;     /* (S) FPO: dL/dD, scaled like dlogp; 0 for
                                 chosen ones */
    double *spec_loss;        /* (1 + also) each loss, before its weight */
} bnfloss_outputs;

/* A call's loss, counts and metrics. A metric that does not apply is NaN. */
typedef struct bnfloss_result {
    uint32_t struct_size;     /* sizeof(bnfloss_result) */
    uint32_t reserved;        /* 0 */
    int64_t where;            /* offending row, sequence or pair; -1 if none */
    double loss;              /* after the divisor; 0 where nothing counts */
    double divisor;           /* what it was divided by; the first loss's */
    int64_t tokens;           /* valid tokens */
    int64_t sequences;        /* sequences with a valid token */
    int64_t pairs;            /* pairs that count */
    int64_t empty_sequences;  /* sequences without */
    int64_t skipped_pairs;    /* pairs that do not */
    int64_t nan_rows;         /* used rows with a NaN or +inf logit, or none
                                 finite, or a NaN logp */
    int64_t nan_pairs;        /* pairs whose margin is NaN */
    int64_t clamped_logps;    /* reference or policy logp in (0, 2^-6] */
    int64_t zero_refs;        /* reference logp of -inf */
    double rewards_chosen;    /* mean over sequences of beta * sum (l-r), beta
                                 1 where a loss has none. SimPO, AlphaPO, ORPO
                                 and ASFT: of beta * mean l. Weights count as
                                 above; SFT has none of these ten */
    double rewards_rejected;
    double rewards_margins;   /* chosen - rejected */
    double rewards_accuracies;/* share of pairs whose chosen reward is larger */
    double logps_chosen;      /* mean over sequences of sum l */
    double logps_rejected;
    double logps_mean_chosen; /* mean over sequences of mean l */
    double logps_mean_rejected;
    double logits_chosen;     /* mean over tokens of the row's mean logit, */
    double logits_rejected;   /*   with MEAN in the layout */
    double entropy;           /* mean over valid tokens; where it was taken */
    double token_accuracy;    /* share of valid tokens whose label's logit is
                                 the maximum */
    double z_loss;            /* SFT with z-loss: mean of zeta lse^2 */
    double sft_loss;          /* with sft_weight: what it multiplies; in RPO
                                 with its beta */
    double bnf_coefficient;   /* BNF: mean of g over valid tokens */
    double bnf_full_share;    /* BNF: share of valid tokens with g = 1 */
    double kl;                /* KTO: as it was used */
    double shift;             /* BCO: the running mean after this call, and */
    double shift_count;       /*   how many sequences are in it: those with a
                                   valid token and a seq_weight other than 0 */
} bnfloss_result;

/* ---- The three stages --------------------------------------------------- */

/* Reads the rows row_begin .. row_end - 1 of logits (N,V) once and fills
 * their states. labels (N) and state (N) are indexed by row, so that several
 * threads may work on one batch. A row with a negative label is not read.
 * outputs may be NULL; entropy and rest imply the ENTROPY sum, log_square that
 * of SQUARES. result may be NULL; where, tokens and nan_rows are about these
 * rows, and all else in it becomes 0 or NaN: a thread has one of its own, and
 * it is not the one that holds the loss. Two logits buffers are two calls into
 * one state array.
 * Errors: the layout's, E_LABEL (row), E_SHAPE for a bad range, E_OPTION for
 * outputs of a slice, whose rows are not whole yet. */
BNFLOSS_API bnfloss_status bnfloss_forward(
    const bnfloss_layout *layout, const void *logits, const void *labels,
    int64_t row_begin, int64_t row_end, bnfloss_row *state,
    const bnfloss_outputs *outputs, bnfloss_result *result);

/* Adds to into[i] the columns that from[i] has seen, for i < rows. Where a
 * vocabulary is cut into slices, each holder runs bnfloss_forward() on its
 * own columns (vocab_begin, vocab_total), the states are merged in the order
 * of the columns, and each holder runs bnfloss_backward() with the merged
 * state. The bits are those of the uncut row if all slices but the last have
 * 2^k * BNFLOSS_CHUNK columns and neighbours are merged first: 0 with 1, 2
 * with 3 and so on, then those with each other (up to 2^19 columns; trees of
 * that size are merged one by one).
 * Errors: E_STATE (row) if both saw the label, or the labels, smoothing,
 * z-loss, or the IGNORED, ENTROPY, MEAN or SQUARES flags differ. */
BNFLOSS_API bnfloss_status bnfloss_row_merge(
    int64_t rows, bnfloss_row *into, const bnfloss_row *from,
    bnfloss_result *result);

/* The first group of outputs (logp .. argmax) from states, for
 * those who merged them. Errors: E_STATE (row) where the label has not been
 * seen, or where rest or entropy is asked for and ENTROPY was not taken, or
 * log_square and SQUARES was not. */
BNFLOSS_API bnfloss_status bnfloss_row_outputs(
    int64_t rows, const bnfloss_row *state, const bnfloss_outputs *outputs,
    bnfloss_result *result);

enum { BNFLOSS_CHUNK = 32768 }; /* logits that are summed as one unit */

/* The loss of N rows and each row's dlogp (N), which may be NULL. Two doors:
 * - state (N) given: exact. logp and rest must be NULL. BNF's loss (not its
 *   gradient) needs the ENTROPY sum, or is NaN; WPO's needs SQUARES.
 * - state NULL: logp (N) from elsewhere, a GPU say; up to 2^-6 above 0 is
 *   taken as 0, NaN makes a NaN row. Rows to ignore have row_weight 0. rest
 *   may be NULL; then BNF's loss (not its gradient) is NaN.
 * inputs may be NULL for SFT. result must not be NULL.
 * work: at least what bnfloss_workspace(NULL, spec, N, S, &bytes) says. */
BNFLOSS_API bnfloss_status bnfloss_loss(
    const bnfloss_spec *spec, const bnfloss_inputs *inputs, int64_t rows,
    const bnfloss_row *state, const float *logp, const float *rest,
    float *dlogp, const bnfloss_outputs *outputs,
    void *work, uint64_t work_bytes, bnfloss_result *result);

/* grad (N,V) = dlogp * (onehot - p) for the given rows; any dlogp (N) will
 * do, so this also serves losses of your own. grad == logits works in place.
 * A row with a negative label or dlogp 0 is not read: its gradient is 0 (or
 * untouched with ACCUMULATE). NaN or infinite dlogp, or a NaN row, gives a
 * row of NaN. Gradients below about 2^-125 max(1, logit_scale) in magnitude, or
 * 2^-123 |dlogp|, are 0. labels, state and result as for bnfloss_forward();
 * the logits must be those that it read (another NaN among them need not
 * show).
 * Errors: the layout's, E_LABEL and E_STATE (row), E_SHAPE for a bad range,
 * E_OVERLAP for in place with ACCUMULATE, or with another type or stride. */
BNFLOSS_API bnfloss_status bnfloss_backward(
    const bnfloss_layout *layout, const void *logits, const void *labels,
    int64_t row_begin, int64_t row_end, const bnfloss_row *state,
    const float *dlogp, void *grad, bnfloss_result *result);

/* ---- All of it ---------------------------------------------------------- */

/* Bytes of work that bnfloss_run() or, with layout NULL, bnfloss_loss() needs
 * for these shapes: 56 a row, 96 a sequence, 88 a chunk of one row, and a few;
 * where rows depend on each other (all losses but BNF and SFT, or several in
 * one call) and the scale is not deferred, bnfloss_run() needs 88 a row more;
 * several losses in one call, 8 a row more in either. No alignment is needed,
 * and nothing at all without rows and sequences. rows counts only where layout
 * is NULL; rows without sequences are one sequence. */
BNFLOSS_API bnfloss_status bnfloss_workspace(
    const bnfloss_layout *layout, const bnfloss_spec *spec, int64_t rows,
    int64_t sequences, uint64_t *bytes);

/* Bytes of work for each thread that make bnfloss_run() faster where rows are
 * of 16 bits or the gradient lies apart: see there. */
#define BNFLOSS_SCRATCH(vocab) (4 * ((uint64_t)(vocab) + 48))

/* Forward, loss and backward. grad NULL: the loss alone. grad == logits: in
 * place. SFT and BNF finish each row while it is in the cache; the others,
 * whose rows depend on each other, sweep twice. A weight of 0 masks a row like
 * a negative label.
 *
 * With BNFLOSS_DEFER_SCALE they too sweep once: the rows of grad lack a factor
 * that is known only at the end, and outputs->row_scale (N) brings it. The
 * next matmul can take it along, as logits = x W gives
 *     for each row i:  x[i] *= row_scale[i]          (N,C)
 *     dW = x^T grad                                  (C,V)
 *     dx = grad W^T, then row i times row_scale[i]   (N,C)
 * Not with sft_weight together with LD-DPO or BMC, nor with ACCUMULATE.
 *
 * work: at least bnfloss_workspace() bytes. A sweep that finishes rows in the
 * cache keeps a row's exponentials where its gradient will be, if that is f32
 * and in place, or short. If not, it keeps them in work that has
 * BNFLOSS_SCRATCH(V) bytes more for each thread, or computes them twice: the
 * same bits, later. Nothing is kept of rows of more than 2^19 columns or cut
 * among threads, nor with scale, softcap, smoothing, MEAN, SQUARES, ACCUMULATE.
 *
 * threads: 0 means as many as OpenMP likes; without
 * BNFLOSS_OPENMP, or in a child forked after a threaded call, there is one.
 * result must not be NULL.
 * Errors: any but E_LOGP, E_STATE, E_ISA and E_SELFTEST; E_OPTION for a slice
 * of the vocabulary, which has no loss of its own. */
BNFLOSS_API bnfloss_status bnfloss_run(
    const bnfloss_layout *layout, const bnfloss_spec *spec,
    const bnfloss_inputs *inputs, const void *logits, const void *labels,
    void *grad, const bnfloss_outputs *outputs,
    void *work, uint64_t work_bytes, int32_t threads, bnfloss_result *result);

/* ---- How far a policy has moved ----------------------------------------- */

/* What the paper (section 5) measures: shifts of the labels' log-likelihood,
 * l - r, and logit, z_y - z_y of the reference. A shift is a sequence's mean
 * over its tokens; Gini is that of its tokens' |shift|, 0 where all are equal
 * or 0. Each is averaged over the preferred and over the dispreferred
 * sequences that have a valid token; NaN where there is none. */
typedef struct bnfloss_shifts {
    uint32_t struct_size;     /* sizeof(bnfloss_shifts) */
    uint32_t reserved;        /* 0 */
    int64_t where;            /* offending row or sequence; -1 if none */
    double logp_chosen, logp_rejected;
    double logit_chosen, logit_rejected;            /* of z' */
    double centred_chosen, centred_rejected;        /* z' minus the row's mean,
                                 where both states were taken with MEAN */
    double logp_gini_chosen, logp_gini_rejected;
    double logit_gini_chosen, logit_gini_rejected;
} bnfloss_shifts;

/* From the states of both models' forward passes on the same labels, and
 * seq_start, sides or pairing, and row_weight (0 or not) of the inputs, which
 * may hold nothing from seq_weight on; rows that either state ignores do not
 * count.
 * work: at least 8 * rows bytes, aligned to 8.
 * Errors: the inputs', E_STATE (row) where labels differ or were not seen. */
BNFLOSS_API bnfloss_status bnfloss_measure_shifts(
    const bnfloss_inputs *inputs, int64_t rows, const bnfloss_row *state,
    const bnfloss_row *ref_state, void *work, uint64_t work_bytes,
    bnfloss_shifts *shifts);

/* ---- The library itself ------------------------------------------------- */

/* The version the library was built as, like BNFLOSS_VERSION. */
BNFLOSS_API const char *bnfloss_version(void);

/* The instruction set in use: "scalar", "avx2", "avx512", "avx512bf16" or
 * "neon". */
BNFLOSS_API const char *bnfloss_isa(void);

/* Names the instruction sets of this build: 0 is "scalar", then from the slowest
 * to the fastest. NULL beyond the last. bnfloss_isa_select() says which of them
 * this CPU has. */
BNFLOSS_API const char *bnfloss_isa_name(int32_t number);

/* Forces an instruction set by that name for the whole process, at once;
 * "auto" picks the best again. E_ISA if this build or CPU lacks it. The
 * results are the same bits on each. */
BNFLOSS_API bnfloss_status bnfloss_isa_select(const char *name);

/* Whether this build computes what it should on this machine: some 300 rows
 * through every instruction set that is here and 8 through every loss, in a
 * few milliseconds and 20 KiB of stack. E_SELFTEST if a single bit differs from
 * what all tested builds compute; *isa, where not NULL, then names the
 * instruction set, and is NULL otherwise. Worth a line at start-up. */
BNFLOSS_API bnfloss_status bnfloss_selftest(const char **isa);

#ifdef __cplusplus
}
#endif

#endif /* BNFLOSS_H */

#ifdef BNFLOSS_IMPLEMENTATION
#undef BNFLOSS_IMPLEMENTATION
#include "../src/bnfloss.c"
#endif
