/* The scalar half of every kernel: references, sums, coefficients.
 *
 * The vector half (row.h) is bound by arithmetic on V logits; what is here
 * runs once per block or row, in double, once for all ISAs and dtypes.
 *
 * On x86 it is made of SSE instructions. One of them after an AVX instruction
 * that left something in the upper halves of the registers costs 20 to 50 ns on
 * Intel, and compilers do not always clear these before a call: so the kernels
 * say v_leave() before they come here. */

/* Logits are read in groups (four vectors of 16 virtual lanes), summed in
 * float over a span of four groups, promoted to double, and given a reference
 * per block. All these numbers are part of the result's bits. */
enum { BN_LANES = 16, BN_GROUP = 64, BN_SPAN = 256, BN_BLOCK = 2048 };

/* ln 2 as the kernels' range reduction has it, for their references. */
#define BN_LN2_F32 0x1.62e430p-1

/* Beyond this magnitude the exponential's N may be off by one, and its r out of
 * the cubic's range. */
#define BN_FAR 65536.0f

/* How far a leader may rise above what the sums are relative to: a sum of
 * 2^90 has room in a float still, as has what is 2^-35 of it. */
#define BN_ROOM 62

/* By how much k has to rise until no exponential, times that power of two less,
 * is above 2^-125. */
#define BN_GONE 215

/* What happens to a logit before the softmax: z' of bnfloss.h. */
typedef struct bn_map {
    float scale, softcap, inner;    /* inner = scale / softcap */
    double limit;                   /* from here on z' is infinite */
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
    return x >= map->limit ? BN_INF : x <= -map->limit ? -BN_INF : x;
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

/* A sweep asks for memory in as many strands as a group has cache lines, four
 * for f32 and two for 16-bit types, one line of each for every group: while it
 * works through a stretch of so many strands, for the stretch that follows in
 * memory. The hardware's own prefetchers, which follow a page, have so much
 * longer for each; and that the strands are not whole pages apart lets them
 * begin their pages one after the other. */
enum { BN_STRAND = 29 * 1024, BN_STRAND_LINES = BN_STRAND / 64 };

typedef struct bn_ahead {
    uintptr_t at;               /* in the first strand */
    uintptr_t lines;            /* left of it */
} bn_ahead;

BN_INLINE uintptr_t bn_strands(uint32_t type)
{
    return type == BNFLOSS_F32 ? 4 : 2;
}

/* What to ask for beside the group at z[i], and then those that follow. */
BN_INLINE bn_ahead bn_ahead_of(uint32_t type, const void *z, int64_t i)
{
    const uintptr_t strands = bn_strands(type);
    const uintptr_t at = (uintptr_t)z + (uintptr_t)i * bn_type_size(type);
    const uintptr_t line = at / (strands * 64) % BN_STRAND_LINES;
    bn_ahead a;

    a.at = at + strands * BN_STRAND - line * 64 * (strands - 1);
    a.lines = BN_STRAND_LINES - line;
    return a;
}

/* In the open: a loop over the lines costs as much as one of the four vectors
 * of exponentials beside it. Floats into L1, where few will still be when their
 * turn comes: it is faster than into L2 all the same. 16-bit types into L2.
 * Addresses beyond a buffer do no harm. */
BN_INLINE void bn_prefetch(uint32_t type, bn_ahead *a)
{
    if (type == BNFLOSS_F32) {
        BN_PREFETCH((const void *)a->at, 1);
        BN_PREFETCH((const void *)(a->at + BN_STRAND), 1);
        BN_PREFETCH((const void *)(a->at + 2 * BN_STRAND), 1);
        BN_PREFETCH((const void *)(a->at + 3 * BN_STRAND), 1);
    } else {
        BN_PREFETCH((const void *)a->at, 2);
        BN_PREFETCH((const void *)(a->at + BN_STRAND), 2);
    }
    a->at += 64;
    if (--a->lines == 0) {
        a->at += (bn_strands(type) - 1) * BN_STRAND;
        a->lines = BN_STRAND_LINES;
    }
}

/* Kept exponentials come back from where a row is waiting, which is no further
 * than L2 as a rule: it is enough to ask for them so many floats ahead. */
enum { BN_KEPT_AHEAD = 1024 };

BN_INLINE void bn_prefetch_kept(const float *e, int64_t i)
{
    const uintptr_t at = (uintptr_t)e + ((uintptr_t)i + BN_KEPT_AHEAD) * 4;

    BN_PREFETCH((const void *)at, 1);
    BN_PREFETCH((const void *)(at + 64), 1);
    BN_PREFETCH((const void *)(at + 128), 1);
    BN_PREFETCH((const void *)(at + 192), 1);
}

/* ---- The maximum, and who is left out of it ----------------------------- */

/* A group of any type. */
typedef union bn_raw {
    float f32[BN_GROUP];
    uint16_t x16[BN_GROUP];
} bn_raw;

/* For row.h's patch(): 1 at [BN_GROUP] alone, and 1 before it. */
static const float bn_one_hot[2 * BN_GROUP] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1
};
static const float bn_shown[2 * BN_GROUP] = {
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1
};

/* The 64 of these whose [BN_GROUP] comes to stand at index `at`. */
static const float *bn_marks(const float *marks, int64_t at)
{
    const int64_t none = BN_GROUP;

    return marks + none - (at >= 0 && at < none ? at : none);
}

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
 * A lane's x is z' itself, which is exact, unless logits are scaled or huge:
 * then it is scale * (z - origin), origin being the z of a leader. The lanes
 * hold e = e^x / 2^k, k near the leader's z' / ln 2 when it was chosen. A
 * power of two leaves the digits of e alone, so it can stay for as long as
 * floats have room, and an e that is kept for the backward pass is good for
 * any k. Where products e (x - ref) are summed, ref follows the leader, or
 * small differences would drown. */
typedef struct bn_sums {
    double sum[BN_LANES], dots[BN_LANES];       /* e, e (x - ref) */
    double shift[BN_LANES], finite[BN_LANES];   /* x - ref, 1 */
    uint32_t table[8];
    float origin, ref, low;     /* e = 0 up to low */
    float bare;                 /* logits above need no look at either */
    int32_t k;
    int started;                /* k has been chosen */
    int dot, general;           /* which lanes are in use besides sum */
    double base, c;             /* e = 1 and x = ref, as z' */
    double total_sum, total_dot, total_shift, total_finite;
    double leader;              /* z' of it */
    float leader_z;             /* and z */
    int64_t leader_at;          /* and where, in the chunk */
} bn_sums;

/* The z to subtract from every logit, where z' = x is the largest. A softcap
 * is at most BN_FAR and needs none, nor does twice that, for sums of squares,
 * whose bound counts the softcap. */
static float bn_origin(const bn_map *map, double x, float z)
{
    return map->softcap == 0 && (map->scale != 1 || x > BN_FAR || x < -BN_FAR)
               ? z : 0;
}

/* x / ln 2, rounded */
static int32_t bn_power(double x)
{
    return (int32_t)((x * BN_INV_LN2 + BN_ROUND) - BN_ROUND);
}

/* Below this, e^x / 2^k is no normal float. */
static float bn_low(int32_t k)
{
    return (float)((k - 125.5) * 0x1.62e42fefa39efp-1);
}

/* Piecemeal: compilers make of 128 bytes at once a slow instruction. */
static void bn_clear_lanes(double lane[BN_LANES])
{
    for (int i = 0; i < BN_LANES; i += 4)
        memset(lane + i, 0, 4 * sizeof *lane);
}

static void bn_sums_ref(bn_sums *s, double c)
{
    s->c = c;
    s->ref = s->origin != 0 ? 0 : (float)c;
    if (s->dot)
        bn_clear_lanes(s->dots);
    if (s->general)
        bn_clear_lanes(s->shift);
}

/* Empty lanes, for a largest z' of c. */
static void bn_sums_reference(bn_sums *s, double c, float origin)
{
    s->started = 1;
    s->origin = origin;
    s->k = origin != 0 ? 0 : bn_power(c);
    s->base = origin != 0 ? c : s->k * BN_LN2_F32;
    s->low = bn_low(s->k);
    s->bare = origin != 0 ? BN_INF_F32 : s->low;
    bn_table_for_sum(s->table, s->k);
    bn_clear_lanes(s->sum);
    if (s->general)
        bn_clear_lanes(s->finite);
    bn_sums_ref(s, c);
}

static void bn_sums_init(bn_sums *s, int general, int dot)
{
    s->started = 0;
    s->general = general;
    s->dot = dot;
    s->k = 0;
    s->origin = 0;
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

/* Moves the lanes of differences into the totals, and these from c to c2.
 * The sums stay in their lanes. */
static void bn_sums_move(bn_sums *s, double c2)
{
    const double d = s->c - c2;

    if (s->dot)
        s->total_dot += bn_sum_lanes(s->dots) * BN_POW8_UNSCALE
            + d * (s->total_sum + bn_sum_lanes(s->sum) * BN_POW8_UNSCALE);
    if (s->general)
        s->total_shift += bn_sum_lanes(s->shift)
            + d * (s->total_finite + bn_sum_lanes(s->finite));
}

/* Moves the other lanes too, and the totals from one base to another, which
 * differ by ln f. */
static void bn_sums_gather(bn_sums *s, double f)
{
    const double sum = s->total_sum + bn_sum_lanes(s->sum) * BN_POW8_UNSCALE;

    s->total_sum = f * sum;
    /* where all underflowed there is nothing to multiply: no 0 * inf */
    s->total_dot = f == 0 ? 0 * sum : f * s->total_dot;
    if (s->general)
        s->total_finite += bn_sum_lanes(s->finite);
}

/* The leader joins the others. */
static void bn_sums_join(bn_sums *s)
{
    const double e = bn_exp(s->leader - s->base), d = s->leader - s->c;

    s->total_sum += e;
    s->total_dot += e * d;
    s->total_shift += d;
    s->total_finite += 1;
}

/* Makes room for a leader of z' = x that is more than 1 above c. */
static void bn_sums_raise(bn_sums *s, const bn_map *map, double x, float z)
{
    const float origin = bn_origin(map, x, z);
    const double c = origin != 0 ? x : (double)(float)x;
    double base;

    if (!s->started) {
        bn_sums_reference(s, c, origin);
        return;
    }
    if (s->leader_at >= 0)      /* without one there is nothing, or NaN */
        bn_sums_move(s, c);
    if (s->leader_at >= 0 && origin == 0 && s->origin == 0
        && x < s->base + BN_ROOM) {
        bn_sums_ref(s, c);
        return;
    }
    base = origin != 0 ? c : bn_power(c) * BN_LN2_F32;
    bn_sums_gather(s, s->leader_at < 0 ? 1 : bn_exp(s->base - base));
    bn_sums_reference(s, c, origin);
}

/* A new leader at index `at`. 0 if the row can have no softmax. */
static int bn_sums_lead(bn_sums *s, const bn_map *map, float z, int64_t at)
{
    const double x = bn_map_value(map, z);

    if (x == -BN_INF)               /* scaled out of range: as if masked */
        return 1;
    if (x == BN_INF)
        return 0;
    if (s->leader_at >= 0)
        bn_sums_join(s);
    if (s->leader_at < 0 || x > s->c + 1)
        bn_sums_raise(s, map, x, z);
    s->leader = x;
    s->leader_z = z;
    s->leader_at = at;
    return 1;
}

/* Fills in what a chunk's pass has found about the others and the leader. */
static void bn_sums_finish(bn_sums *s, bnfloss_row *row)
{
    const int led = s->leader_at >= 0;

    bn_sums_move(s, led ? s->leader : s->c);
    bn_sums_gather(s, led ? bn_exp(s->base - s->leader) : 1);
    row->leader = s->leader;
    row->leader_id = s->leader_at;
    row->sum = s->total_sum;
    row->dot = s->total_dot;
    row->shift = s->total_shift;
    row->finite = s->total_finite;
    if (bn_is_nan(s->total_sum))
        row->flags |= BNFLOSS_ROW_NAN;
}

/* ---- Exponentials that are kept ----------------------------------------- */

/* Where the forward pass leaves e^x / 2^k of a chunk for its gradients; they
 * may have to lie there themselves. Kept are the first n. */
typedef struct bn_keep {
    float *e;
    int64_t n;
    int32_t k;
} bn_keep;

/* Kept exponentials of a chunk of n columns that are to become gradients:
 * times a factor where they are above a least, else 0. The first of them are
 * done. */
typedef struct bn_before {
    const float *e;
    void *grad;                 /* e, or elsewhere and then of any type */
    uint32_t grad_type;
    int stream;                 /* f32: store past the caches */
    int far;                    /* e is worth asking for */
    int64_t n, done;
    double factor, least;
} bn_before;

/* What the kernels make of exponentials that were kept, in double, where the
 * factor is not for a float to hold. */
static void bn_kept_slowly(const float *e, uint32_t type, void *grad,
                           int64_t i, int64_t n, double factor, double least)
{
    for (; i < n; i++)
        bn_put(type, grad, i, (double)e[i] > least
                                  ? (float)((double)e[i] * factor) : 0);
}

/* Gradients, of n floats, in front of the first that begins a cache line. */
static int64_t bn_until_line(const void *grad, int64_t n)
{
    const int64_t line = (int64_t)((0 - (uintptr_t)grad) / 4 % 16);

    return line < n ? line : n;
}

/* A leader that changes k, or the row's origin, after i exponentials were
 * kept. Returns whether to go on keeping. A row on both sides of BN_FAR must
 * not have kept what its backward pass would compute in another way: so
 * nothing that a leader beyond BN_FAR would leave above 0 is kept. */
static int bn_keep_on(bn_keep *keep, const bn_sums *s, int32_t k, int64_t i)
{
    const double most = BN_FAR - 90;

    keep->n = i;
    keep->k = k;
    if (s->origin != 0 || s->leader > most
        || (s->leader < -most && s->leader_at >= 0))
        return 0;
    keep->k = s->k;
    if (s->k < k || s->k - k > BN_GONE) /* lower: there was no leader yet */
        memset(keep->e, 0, (size_t)i * sizeof *keep->e);
    else if (s->k != k)
        bn_kept_slowly(keep->e, BNFLOSS_F32, keep->e, 0, i,
                       bn_pow2(k - s->k), bn_pow2(s->k - k - 125));
    return 1;
}

/* ---- Coefficients of a gradient row ------------------------------------- */

/* A gradient without its factor's exponent: m * 2^e * e^x / 2^k. Without a
 * rounding but that of the product: whatever k the exponentials have, and
 * whether they were kept or not, the bits are the same. Below a least e^x / 2^k
 * it is 0, so that no denormal is made. */
typedef struct bn_factor {
    double m;                   /* of 24 bits, 1 <= |m| <= 2, or 0 */
    int32_t e, k;
} bn_factor;

/* plain: grad = e^x * factor, above least;
 * general: grad = slope * (e * post + uniform), e = factor' * e^x from the
 * table, above low. */
typedef struct bn_coefficients {
    uint32_t table[8];
    float origin, low;
    float factor, least;
    float bare;                 /* logits above are surely above least */
    float post;                 /* 1 but where factor' overflows a float */
    float uniform;              /* every finite logit's share of smoothing */
    int accumulate;
} bn_coefficients;

/* Such that the gradient is factor * exp(z' - leader). */
static bn_factor bn_factor_for(const bn_map *map, double leader, double factor)
{
    const float origin = bn_origin(map, leader, (float)leader);
    const int32_t k = origin != 0 ? 0 : bn_power(leader);
    const double near = origin != 0 ? 1 : bn_exp(k * BN_LN2_F32 - leader);
    const double w = factor * BN_POW8_UNSCALE * near;
    const uint64_t bits = bn_bits64_of(w);
    bn_factor f;

    f.k = k;
    f.e = (int32_t)(bits >> 52 & 0x7FF) - 1023;
    f.m = f.e < -140 ? 0
        : (double)(float)bn_double_of((bits & UINT64_C(0x800FFFFFFFFFFFFF))
                                      | UINT64_C(0x3FF0000000000000));
    return f;
}

/* log2 of the least e^x / 2^k that counts: whose gradient is above 2^-125, and
 * which any k of a chunk can hold. */
static int32_t bn_factor_least(const bn_factor *f)
{
    const int32_t least = -125 - f->e;

    return least > -123 ? least : -123;
}

static void bn_coefficients_plain(bn_coefficients *k, const bn_factor *f,
                                  float origin)
{
    /* a power of two moves over to the exponential where the factor, or
     * its products, would leave the range of a float; a factor that does so
     * all the same leaves no product within it */
    const int32_t moved = f->e > 80 ? -125 : f->e < -80 ? 40 : 0;

    k->origin = origin;
    k->uniform = 0;
    k->post = 1;
    k->low = bn_low(f->k + moved);
    bn_table_for_sum(k->table, f->k + moved);
    k->factor = (float)(f->m * bn_pow2(f->e + moved));
    k->least = k->bare = BN_INF_F32;
    if (f->m == 0)
        return;
    k->least = (float)bn_pow2(bn_factor_least(f) - moved);
    if (origin == 0)
        k->bare = bn_low(f->k + bn_factor_least(f) + 127);
}

/* e = factor * exp(z' - leader). Results below about 2^-125 become
 * 0, so that no denormal is made. */
static void bn_coefficients_general(bn_coefficients *k, const bn_map *map,
                                    double leader, double factor,
                                    double uniform)
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
    k->factor = k->least = k->bare = 0;
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
    bn_keep *keep;              /* forward, plain or dot; or NULL */
    bn_before *before;          /* the row before's, where there is a keep */
} bn_chunk;

/* Forward fills in the sums of *row and adds flags. */
typedef void bn_forward_kernel(const bn_chunk *c, const bn_map *map,
                               bnfloss_row *row);
typedef void bn_backward_kernel(const bn_chunk *c, const bn_coefficients *k,
                                const bn_map *map);
/* Makes gradients of those exponentials that are not done, whose logits were
 * z, of a type. The factor is one for a float. */
typedef void bn_kept_kernel(const bn_before *b, uint32_t type, const void *z);

enum { BN_PLAIN = 0, BN_DOT = 1, BN_GENERAL = 2 };

typedef struct bn_kernels {
    const char *name;
    bn_forward_kernel *forward[3];      /* plain, dot, general */
    bn_backward_kernel *backward[2];    /* plain, general */
    bn_kept_kernel *kept;
} bn_kernels;
