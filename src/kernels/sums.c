/* The scalar half of every kernel: references, sums, coefficients.
 *
 * The vector half (row.h) is bound by arithmetic on V logits; what is here
 * runs once per block or row, in double, once for all ISAs and dtypes. */

/* Logits are read in groups (four vectors of 16 virtual lanes), summed in
 * float over a span of four groups, promoted to double, and given a reference
 * per block. All these numbers are part of the result's bits. */
enum { BN_LANES = 16, BN_GROUP = 64, BN_SPAN = 256, BN_BLOCK = 2048 };

/* ln 2 as the kernels' range reduction has it, for their references. */
#define BN_LN2_F32 0x1.62e430p-1

/* Beyond this magnitude the exponential's range reduction is not exact. */
#define BN_FAR 65536.0f

/* What happens to a logit before the softmax: z' of bnfloss.h. */
typedef struct bn_map {
    float scale, softcap, inner;    /* inner = scale / softcap */
    uint32_t unit[8];               /* exponential's table for tanh */
} bn_map;

/* z' as a kernel sees it where nothing happens to z: the fast path. */
static int bn_map_is_plain(const bn_map *map)
{
    return map->scale == 1 && map->softcap == 0;
}

/* z' in double, for the logits that count alone: label and leader. */
static double bn_map_value(const bn_map *map, float z)
{
    const double x = (double)map->scale * z;

    if (map->softcap > 0 && bn_is_finite((double)z))
        return map->softcap * bn_tanh(x / map->softcap);
    return bn_is_finite((double)(float)x) ? x : (double)(float)x;
}

/* dz'/dz */
static double bn_map_slope(const bn_map *map, float z)
{
    const double x = (double)map->scale * z;
    double e;

    if (!(map->softcap > 0))
        return map->scale;
    if (z == -BN_INF_F32)
        return 0;
    e = bn_exp((x < 0 ? x : -x) * 2 / map->softcap);
    return map->scale * (4 * e / ((1 + e) * (1 + e)));
}

/* ---- Prefetching -------------------------------------------------------- */

/* What a sweep asks for while it works on the group at index i: the `step`
 * bytes (128 or 256: a group's) from begin + i / 64 * step on. Addresses
 * beyond a buffer do no harm. */
typedef struct bn_prefetches {
    uintptr_t begin;
    uint32_t step;
} bn_prefetches;

/* In the open: a loop over the lines costs as much as one of the four
 * vectors of exponentials beside it. f32 comes as fast as memory can, and
 * requests from L1 would hold the few places that it has for its misses; half
 * as many lines do not fill them, and are better off in L1. */
BN_INLINE void bn_prefetch(const bn_prefetches *p, int64_t i)
{
    const uintptr_t at = p->begin + (uintptr_t)i / BN_GROUP * p->step;

    if (p->step == 128) {
        BN_PREFETCH((const void *)at, 1);
        BN_PREFETCH((const void *)(at + 64), 1);
    } else {
        BN_PREFETCH((const void *)at, 2);
        BN_PREFETCH((const void *)(at + 64), 2);
        BN_PREFETCH((const void *)(at + 128), 2);
        BN_PREFETCH((const void *)(at + 192), 2);
    }
}

/* ---- The maximum, and who is left out of it ----------------------------- */

/* 1 at [BN_GROUP], 0 around it: for row.h's hide(). */
static const float bn_one_hot[2 * BN_GROUP] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1
};

/* The largest of sixteen lanes. */
static float bn_largest(const float *lane)
{
    float a[8];

    for (int i = 0; i < 8; i++)
        a[i] = lane[i] > lane[i + 8] ? lane[i] : lane[i + 8];
    for (int i = 0; i < 4; i++)
        a[i] = a[i] > a[i + 4] ? a[i] : a[i + 4];
    a[0] = a[0] > a[2] ? a[0] : a[2];
    a[1] = a[1] > a[3] ? a[1] : a[3];
    return a[0] > a[1] ? a[0] : a[1];
}

/* ---- Tables of the exponential ------------------------------------------ */

/* 2^(j/8), times a factor that puts all eight next to a float, and one over
 * that factor (and that of e^r's polynomial). From exp_constants.py. */
static const float bn_pow8[8] = {
    0x1.16747cp+0f, 0x1.2fa848p+0f, 0x1.4b2404p+0f, 0x1.691c8ap+0f,
    0x1.89cb7cp+0f, 0x1.ad6fb4p+0f, 0x1.d44dbcp+0f, 0x1.feb052p+0f
};
#define BN_POW8_UNSCALE 0x1.d6b62955437abp-1
#define BN_POW8_FACTOR 0x1.16747cp+0f       /* of the table alone, as a float */

/* e^x / 2^k times the table's own factor, for sums. */
static void bn_table_for_sum(uint32_t table[8], int32_t k)
{
    for (uint32_t j = 0; j < 8; j++)
        table[j] = bn_bits_of(bn_pow8[j]) - (j << 20) - ((uint32_t)k << 23);
}

/* factor * 2^k * e^x for gradients; |factor| in [1, 2). The polynomial's
 * common factor 1 + 1.881e-8 is taken out here. */
static void bn_table_for_product(uint32_t table[8], double factor, int32_t k)
{
    /* 2^(j/8) in double */
    static const double pow8[8] = {
        0x1p+0, 0x1.172b83c7d517bp+0, 0x1.306fe0a31b715p+0,
        0x1.4bfdad5362a27p+0, 0x1.6a09e667f3bcdp+0, 0x1.8ace5422aa0dbp+0,
        0x1.ae89f995ad3adp+0, 0x1.d5818dcfba487p+0
    };

    for (uint32_t j = 0; j < 8; j++) {
        const float f = (float)(factor * (1 - 1.8809679e-8) * pow8[j]);

        table[j] = bn_bits_of(f) - (j << 20) + ((uint32_t)k << 23);
    }
}

/* ---- Sums over a chunk -------------------------------------------------- */

/* The label and the leader (the largest other logit) stay out of the lanes
 * and are added in double: a sum that contained them would lose the small
 * rest, and with it 1 - p, when one of them holds nearly all the mass.
 *
 * Lanes are relative to a reference c, the leader when c was chosen. Their x
 * is z' itself, which is exact, unless logits are scaled or huge; then it is
 * scale * (z - origin), origin being the leader's z and c its z'. The sums
 * hold e = e^x / 2^k, k near c / ln 2. When the leader has outgrown c by more
 * than 1 everything is rebased. */
typedef struct bn_sums {
    double sum[BN_LANES], dots[BN_LANES];       /* e, e (x - ref) */
    double shift[BN_LANES], finite[BN_LANES];   /* x - ref, 1 */
    uint32_t table[8];
    float origin, ref, low;     /* ref: c as an x; e = 0 up to low */
    int started;                /* c has been chosen */
    int dot, general;           /* which lanes are in use besides sum */
    double unscale;             /* lane sums times this are relative to e^c */
    double c;
    double total_sum, total_dot, total_shift, total_finite;
    double leader;              /* z' of it */
    float leader_z;             /* and z */
    int64_t leader_at;          /* and where, in the chunk */
} bn_sums;

/* The z to subtract from every logit, where z' = x is the largest. A softcap
 * is at most BN_FAR and never needs one. */
static float bn_origin(const bn_map *map, double x, float z)
{
    return map->softcap == 0 && (map->scale != 1 || x > BN_FAR || x < -BN_FAR)
               ? z : 0;
}

static void bn_sums_reference(bn_sums *s, double c, float origin)
{
    double k;

    memset(s->sum, 0, sizeof s->sum);
    if (s->dot)
        memset(s->dots, 0, sizeof s->dots);
    if (s->general) {
        memset(s->shift, 0, sizeof s->shift);
        memset(s->finite, 0, sizeof s->finite);
    }
    s->started = 1;
    s->c = c;
    s->origin = origin;
    s->ref = origin != 0 ? 0 : (float)c;
    k = ((double)s->ref * BN_INV_LN2 + BN_ROUND) - BN_ROUND;
    s->low = (float)((k - 125.5) * 0x1.62e42fefa39efp-1);
    s->unscale = BN_POW8_UNSCALE * bn_exp(k * BN_LN2_F32 - (double)s->ref);
    bn_table_for_sum(s->table, (int32_t)k);
}

static void bn_sums_init(bn_sums *s, int general, int dot)
{
    s->started = 0;
    s->general = general;
    s->dot = dot;
    s->total_sum = s->total_dot = s->total_shift = s->total_finite = 0;
    s->leader = -BN_INF;
    s->leader_z = -BN_INF_F32;
    s->leader_at = -1;
}

static double bn_sum_lanes(const double *lane)
{
    double t[8];

    for (int i = 0; i < 8; i++)
        t[i] = lane[i] + lane[i + 8];
    return ((t[0] + t[4]) + (t[2] + t[6])) + ((t[1] + t[5]) + (t[3] + t[7]));
}

/* Moves the lanes into the totals, and the totals from c to c2. */
static void bn_sums_move(bn_sums *s, double c2)
{
    /* without a leader there is nothing to move, or NaN */
    const double d = s->c - c2;
    const double f = d == 0 || s->leader_at < 0 ? 1 : bn_exp(d);
    const double sum = s->total_sum + bn_sum_lanes(s->sum) * s->unscale;

    s->total_sum = f * sum;
    if (s->dot) {
        const double dot = s->total_dot + bn_sum_lanes(s->dots) * s->unscale;

        /* where all underflowed there is nothing to multiply: no 0 * inf */
        s->total_dot = f == 0 ? 0 * sum : f * (dot + d * sum);
    }
    if (s->general) {
        s->total_finite += bn_sum_lanes(s->finite);
        s->total_shift += bn_sum_lanes(s->shift) + d * s->total_finite;
    }
}

/* A new leader at index `at`: the old one joins the others. 0 if the row can
 * have no softmax. */
static int bn_sums_lead(bn_sums *s, const bn_map *map, float z, int64_t at)
{
    const double x = bn_map_value(map, z);

    if (x == -BN_INF)               /* scaled out of range: as if masked */
        return 1;
    if (x == BN_INF)
        return 0;
    if (s->leader_at >= 0) {
        const double d = s->leader - s->c, e = bn_exp(d);

        s->total_sum += e;
        s->total_dot += e * d;
        s->total_shift += d;
        s->total_finite += 1;
    }
    if (s->leader_at < 0 || x > s->c + 1) {
        const float origin = bn_origin(map, x, z);
        const double c = origin != 0 ? x : (double)(float)x;

        if (s->started)
            bn_sums_move(s, c);
        bn_sums_reference(s, c, origin);
    }
    s->leader = x;
    s->leader_z = z;
    s->leader_at = at;
    return 1;
}

/* Fills in what a chunk's pass has found about the others and the leader. */
static void bn_sums_finish(bn_sums *s, bnfloss_row *row)
{
    if (s->started)
        bn_sums_move(s, s->leader_at < 0 ? s->c : s->leader);
    row->leader = s->leader;
    row->leader_id = s->leader_at;
    row->sum = s->total_sum;
    row->dot = s->total_dot;
    row->shift = s->total_shift;
    row->finite = s->total_finite;
    if (bn_is_nan(s->total_sum))
        row->flags |= BNFLOSS_ROW_NAN;
}

/* ---- Coefficients of a gradient row ------------------------------------- */

/* grad = slope * (e * post + uniform), e = factor * e^x from the table */
typedef struct bn_coefficients {
    uint32_t table[8];
    float origin, low;          /* e = 0 up to low */
    float post;                 /* 1 but where factor overflows a float */
    float uniform;              /* every finite logit's share of smoothing */
    int accumulate;
} bn_coefficients;

/* Such that e = factor * exp(z' - leader). Results below about 2^-125 become
 * 0, so that no denormal is made. */
static void bn_coefficients_for(bn_coefficients *k, const bn_map *map,
                                double leader, double factor, double uniform)
{
    /* where it matters, the leader's z' is scale * z, exact in double */
    const float origin = bn_origin(map, leader, (float)(leader / map->scale));
    const double x = origin != 0 ? 0 : -leader;
    const double n = (x * BN_INV_LN2 + BN_ROUND) - BN_ROUND;
    const double w = factor * bn_exp(x - n * BN_LN2_F32);
    const uint64_t bits = bn_bits64_of(w);
    int e = (int)(bits >> 52 & 0x7FF) - 1023;

    k->origin = origin;
    k->uniform = (float)uniform;
    k->post = 1;
    if (e == -1023) {                   /* 0 or a denormal: nothing is left */
        memset(k->table, 0, sizeof k->table);
        k->low = BN_INF_F32;
        return;
    }
    if (e >= 120) {                     /* the gradient may overflow: then it */
        e = e < 240 ? e - 120 : 120;    /* is to become infinite, not wrap */
        k->post = 0x1p120f;
    }
    bn_table_for_product(k->table,
        bn_double_of((bits & UINT64_C(0x800FFFFFFFFFFFFF))
                     | UINT64_C(0x3FF0000000000000)), e + (int32_t)n);
    k->low = (float)((-125.5 - e - n) * 0x1.62e42fefa39efp-1);
}

/* ---- The dispatch table ------------------------------------------------- */

/* Logits that are summed as one unit, at most BNFLOSS_CHUNK of them. */
typedef struct bn_chunk {
    const void *z;              /* (n) of type */
    void *grad;                 /* (n) of grad_type; backward only */
    uint32_t type, grad_type;   /* bnfloss_type */
    int64_t n;
    int64_t label;              /* forward: its index, or -1; backward: none */
    int stream;                 /* backward, f32: store past the caches */
    bn_prefetches ahead;
} bn_chunk;

/* Gradients in front of the first one that begins a cache line. */
static int64_t bn_until_line(const bn_chunk *c)
{
    const int64_t n = (int64_t)((0 - (uintptr_t)c->grad) / 4 % 16);

    return n < c->n ? n : c->n;
}

/* Forward fills in the sums of *row and adds flags. */
typedef void bn_forward_kernel(const bn_chunk *c, const bn_map *map,
                               bnfloss_row *row);
typedef void bn_backward_kernel(const bn_chunk *c, const bn_coefficients *k,
                                const bn_map *map);

enum { BN_PLAIN = 0, BN_DOT = 1, BN_GENERAL = 2 };

typedef struct bn_kernels {
    const char *name;
    bn_forward_kernel *forward[3];      /* plain, dot, general */
    bn_backward_kernel *backward[2];    /* plain, general */
} bn_kernels;
