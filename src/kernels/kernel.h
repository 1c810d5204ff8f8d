/* What a kernel is: its constants, the structs it works on, and the table of
 * functions that each instruction set fills in.
 *
 * The loops over logits are written once for all instruction sets, over the
 * vector operations of each: forward.h, backward.h, scale_saved.h. What runs
 * once per block or per row is plain C in double: sums.c, saved.c and
 * gradient.c. */

/* Logits are read in groups of four vectors of 16 virtual lanes. They are
 * summed in float over a span of four groups, then in double, and get a new
 * reference once per block. All of these numbers are part of the result's
 * bits. */
enum { BN_LANES = 16, BN_GROUP = 64, BN_SPAN = 256, BN_BLOCK = 2048 };

/* ln 2 as the range reduction of the kernels' exponential has it. */
#define BN_LN2_F32 0x1.62e430p-1

/* How logits become z', the input of the softmax (bnfloss.h defines it). */
typedef struct bn_map {
    float scale, softcap;
    float tanh_scale;           /* scale / softcap */
    double limit;               /* z' is infinite from here on */
    uint32_t unit[8];           /* the exponential's table, for tanh */
} bn_map;

/* Exponentials of a chunk that were saved and are to become gradients:
 *
 *     grad[i] = exps[i] > cutoff ? exps[i] * factor : 0 */
typedef struct bn_scaling {
    const float *exps;
    void *grad;                 /* exps itself, or elsewhere and of any type */
    uint32_t grad_type;
    int nontemporal;            /* f32 gradients: store past the caches */
    int prefetch;               /* exps may have left the nearest cache */
    int64_t n, done;            /* columns, and how many are gradients by now */
    double factor, cutoff;
} bn_scaling;

/* Where a forward pass saves the e^x / 2^power of its chunk. This may be the
 * memory of the logits. It may also be that of relay->exps, since the pass
 * scales those a span before it overwrites them. */
typedef struct bn_save {
    float *exps;
    int64_t n;                  /* how many are valid, from the first on */
    int32_t power;
    bn_scaling *relay;          /* what to scale on the way, or NULL */
} bn_save;

/* What the gradients of a chunk are, from its logits.
 *
 *     plain:    grad = e^x * factor                     where e^x > cutoff
 *     general:  grad = slope * (e^x * post + uniform)   factor in the table */
typedef struct bn_coefficients {
    uint32_t table[8];
    float origin;               /* x = scale * (z - origin) */
    float underflow_at;         /* e^x is 0 up to this x */
    float factor, cutoff;
    float no_mask_above;        /* above this x, e^x is above cutoff */
    float post;                 /* 1, unless the factor overflows a float */
    float uniform;              /* smoothing's part of every finite logit */
    int accumulate;
} bn_coefficients;

/* Logits that are summed as one unit: at most BNFLOSS_CHUNK of them. */
typedef struct bn_chunk {
    const void *logits;         /* (n) of type */
    void *grad;                 /* (n) of grad_type; backward only */
    uint32_t type, grad_type;   /* bnfloss_type */
    int64_t n;
    int64_t label;              /* forward: its index, or -1 */
    int nontemporal;            /* backward, f32: store past the caches */
    bn_save *save;              /* forward, plain or dot: may be NULL */
} bn_chunk;

/* Fills in the sums of *row and adds to its flags. */
typedef void bn_forward_kernel(const bn_chunk *chunk, const bn_map *map,
                               bnfloss_row *row);
/* Writes the gradients of a chunk. The label's is the caller's to write. */
typedef void bn_backward_kernel(const bn_chunk *chunk,
                                const bn_coefficients *co, const bn_map *map);
/* Scales what is left of saved exponentials, whose factor fits a float. Their
 * logits were z, of this type. */
typedef void bn_scale_kernel(const bn_scaling *scaling, uint32_t type,
                             const void *z);

/* The kinds of forward kernel. Plain: sums of e^x alone. Dot: also of e^x x.
 * General: also of x, with scale, softcap and smoothing. */
enum { BN_PLAIN = 0, BN_DOT = 1, BN_GENERAL = 2 };

typedef struct bn_kernels {
    const char *name;                   /* of the instruction set */
    bn_forward_kernel *forward[3];      /* plain, dot, general */
    bn_backward_kernel *backward[2];    /* plain, general */
    bn_scale_kernel *scale_saved;
} bn_kernels;

#if defined(BNFLOSS_UNITS)
extern BN_SHARED const bn_kernels bnfloss_kernels_scalar;
extern BN_SHARED const bn_kernels bnfloss_kernels_avx2;
extern BN_SHARED const bn_kernels bnfloss_kernels_avx512;
extern BN_SHARED const bn_kernels bnfloss_kernels_avx512bf16;
extern BN_SHARED const bn_kernels bnfloss_kernels_neon;
#endif
