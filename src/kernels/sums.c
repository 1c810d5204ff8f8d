/* The scalar half of every kernel: references, sums, coefficients.
 *
 * The vector half (row.h) is bound by arithmetic on V logits; what is here
 * runs once per block or row, in double, once for all ISAs and dtypes.
 *
 * On x86 it is made of SSE instructions. One of them after an AVX instruction
 * that left something in the upper halves of the registers costs 20 to 50 ns on
 * Intel, and compilers do not always clear these before a call: so the kernels
 * say bn_v_leave() before they come here. */

/* Logits are read in groups (four vectors of 16 virtual lanes), summed in
 * float over a span of four groups, promoted to double, and given a reference
 * per block. All these numbers are part of the result's bits. */
enum { BN_LANES = 16, BN_GROUP = 64, BN_SPAN = 256, BN_BLOCK = 2048 };

/* ln 2 as the kernels' range reduction has it, for their references. */
#define BN_LN2_F32 0x1.62e430p-1

/* Beyond this magnitude the exponential's N may be off by one, and its r out of
 * the cubic's range. */
#define BN_MAX_EXACT_X 65536.0f

/* How far a leader may rise above what the sums are relative to: a sum of
 * 2^90 has room in a float still, as has what is 2^-35 of it. */
#define BN_SUM_HEADROOM 62

/* By how much k has to rise until no exponential, times that power of two less,
 * is above 2^-125. */
#define BN_REBASE_LOST 215

/* What happens to a logit before the softmax: z' of bnfloss.h. */
typedef struct bn_map {
    float scale, softcap, tanh_scale; /* inner = scale / softcap */
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
enum { BN_STREAM_STRIDE = 29 * 1024, BN_STREAM_LINES = BN_STREAM_STRIDE / 64 };

typedef struct bn_prefetcher {
    uintptr_t at;               /* in the first strand */
    uintptr_t lines;            /* left of it */
} bn_prefetcher;

BN_INLINE uintptr_t bn_stream_count(uint32_t type)
{
    return type == BNFLOSS_F32 ? 4 : 2;
}

/* What to ask for beside the group at z[i], and then those that follow. */
BN_INLINE bn_prefetcher bn_prefetcher_at(uint32_t type, const void *z,
                                         int64_t i)
{
    const uintptr_t streams = bn_stream_count(type);
    const uintptr_t at = (uintptr_t)z + (uintptr_t)i * bn_type_size(type);
    const uintptr_t line = at / (streams * 64) % BN_STREAM_LINES;
    bn_prefetcher prefetcher;

    prefetcher.at = at + streams * BN_STREAM_STRIDE
                    - line * 64 * (streams - 1);
    prefetcher.lines = BN_STREAM_LINES - line;
    return prefetcher;
}

/* In the open: a loop over the lines costs as much as one of the four vectors
 * of exponentials beside it. Floats into L1, where few will still be when their
 * turn comes: it is faster than into L2 all the same. 16-bit types into L2.
 * Addresses beyond a buffer do no harm. */
BN_INLINE void bn_prefetch(uint32_t type, bn_prefetcher *prefetcher)
{
    if (type == BNFLOSS_F32) {
        BN_PREFETCH((const void *)prefetcher->at, 1);
        BN_PREFETCH((const void *)(prefetcher->at + BN_STREAM_STRIDE), 1);
        BN_PREFETCH((const void *)(prefetcher->at + 2 * BN_STREAM_STRIDE), 1);
        BN_PREFETCH((const void *)(prefetcher->at + 3 * BN_STREAM_STRIDE), 1);
    } else {
        BN_PREFETCH((const void *)prefetcher->at, 2);
        BN_PREFETCH((const void *)(prefetcher->at + BN_STREAM_STRIDE), 2);
    }
    prefetcher->at += 64;
    if (--prefetcher->lines == 0) {
        prefetcher->at += (bn_stream_count(type) - 1) * BN_STREAM_STRIDE;
        prefetcher->lines = BN_STREAM_LINES;
    }
}

/* Kept exponentials come back from where a row is waiting, which is no further
 * than L2 as a rule: it is enough to ask for them so many floats ahead. */
enum { BN_SAVED_AHEAD = 1024 };

BN_INLINE void bn_prefetch_saved(const float *e, int64_t i)
{
    const uintptr_t at = (uintptr_t)e + ((uintptr_t)i + BN_SAVED_AHEAD) * 4;

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
static const float bn_inside[2 * BN_GROUP] = {
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
    double sum_x[BN_LANES], finite[BN_LANES];   /* x - ref, 1 */
    uint32_t table[8];
    float origin, ref, underflow_at; /* e = 0 up to low */
    float no_mask_above;        /* logits above need no look at either */
    int32_t power;
    int started;                /* k has been chosen */
    int dot, general;           /* which lanes are in use besides sum */
    double base, c;             /* e = 1 and x = ref, as z' */
    double total_sum, total_dot, total_x, total_finite;
    double leader;              /* z' of it */
    float leader_z;             /* and z */
    int64_t leader_at;          /* and where, in the chunk */
} bn_sums;

/* The z to subtract from every logit, where z' = x is the largest. A softcap
 * is at most BN_MAX_EXACT_X and needs none. Nor does twice that, for sums of
 * squares, whose bound counts the softcap. */
static float bn_origin(const bn_map *map, double x, float z)
{
    return map->softcap == 0
                   && (map->scale != 1 || x > BN_MAX_EXACT_X
                       || x < -BN_MAX_EXACT_X)
               ? z
               : 0;
}

/* x / ln 2, rounded */
static int32_t bn_power(double x)
{
    return (int32_t)((x * BN_INV_LN2 + BN_ROUND) - BN_ROUND);
}

/* Below this, e^x / 2^k is no normal float. */
static float bn_underflow_at(int32_t k)
{
    return (float)((k - 125.5) * 0x1.62e42fefa39efp-1);
}

/* Piecemeal: compilers make of 128 bytes at once a slow instruction. */
static void bn_clear_lanes(double lane[BN_LANES])
{
    for (int i = 0; i < BN_LANES; i += 4)
        memset(lane + i, 0, 4 * sizeof *lane);
}

static void bn_sums_ref(bn_sums *sums, double c)
{
    sums->c = c;
    sums->ref = sums->origin != 0 ? 0 : (float)c;
    if (sums->dot)
        bn_clear_lanes(sums->dots);
    if (sums->general)
        bn_clear_lanes(sums->sum_x);
}

/* Empty lanes, for a largest z' of c. */
static void bn_sums_reference(bn_sums *sums, double c, float origin)
{
    sums->started = 1;
    sums->origin = origin;
    sums->power = origin != 0 ? 0 : bn_power(c);
    sums->base = origin != 0 ? c : sums->power * BN_LN2_F32;
    sums->underflow_at = bn_underflow_at(sums->power);
    sums->no_mask_above = origin != 0 ? BN_INF_F32 : sums->underflow_at;
    bn_table_for_sum(sums->table, sums->power);
    bn_clear_lanes(sums->sum);
    if (sums->general)
        bn_clear_lanes(sums->finite);
    bn_sums_ref(sums, c);
}

static void bn_sums_init(bn_sums *sums, int general, int dot)
{
    sums->started = 0;
    sums->general = general;
    sums->dot = dot;
    sums->power = 0;
    sums->origin = 0;
    sums->total_sum = sums->total_dot = sums->total_x = sums->total_finite = 0;
    sums->leader = -BN_INF;
    sums->leader_z = -BN_INF_F32;
    sums->leader_at = -1;
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
static void bn_sums_move(bn_sums *sums, double c2)
{
    const double d = sums->c - c2;

    if (sums->dot)
        sums->total_dot += bn_sum_lanes(sums->dots) * BN_POW8_UNSCALE
                           + d
                                 * (sums->total_sum
                                    + bn_sum_lanes(sums->sum)
                                          * BN_POW8_UNSCALE);
    if (sums->general)
        sums->total_x += bn_sum_lanes(sums->sum_x)
                         + d
                               * (sums->total_finite
                                  + bn_sum_lanes(sums->finite));
}

/* Moves the other lanes too, and the totals from one base to another, which
 * differ by ln f. */
static void bn_sums_gather(bn_sums *sums, double f)
{
    const double sum = sums->total_sum
                       + bn_sum_lanes(sums->sum) * BN_POW8_UNSCALE;

    sums->total_sum = f * sum;
    /* where all underflowed there is nothing to multiply: no 0 * inf */
    sums->total_dot = f == 0 ? 0 * sum : f * sums->total_dot;
    if (sums->general)
        sums->total_finite += bn_sum_lanes(sums->finite);
}

/* The leader joins the others. */
static void bn_sums_join(bn_sums *sums)
{
    const double e = bn_exp(sums->leader - sums->base),
                 d = sums->leader - sums->c;

    sums->total_sum += e;
    sums->total_dot += e * d;
    sums->total_x += d;
    sums->total_finite += 1;
}

/* Makes room for a leader of z' = x that is more than 1 above c. */
static void bn_sums_raise(bn_sums *sums, const bn_map *map, double x, float z)
{
    const float origin = bn_origin(map, x, z);
    const double c = origin != 0 ? x : (double)(float)x;
    double base;

    if (!sums->started) {
        bn_sums_reference(sums, c, origin);
        return;
    }
    if (sums->leader_at >= 0)   /* without one there is nothing, or NaN */
        bn_sums_move(sums, c);
    if (sums->leader_at >= 0 && origin == 0 && sums->origin == 0
        && x < sums->base + BN_SUM_HEADROOM) {
        bn_sums_ref(sums, c);
        return;
    }
    base = origin != 0 ? c : bn_power(c) * BN_LN2_F32;
    bn_sums_gather(sums, sums->leader_at < 0 ? 1 : bn_exp(sums->base - base));
    bn_sums_reference(sums, c, origin);
}

/* A new leader at index `at`. 0 if the row can have no softmax. */
static int bn_sums_lead(bn_sums *sums, const bn_map *map, float z, int64_t at)
{
    const double x = bn_map_value(map, z);

    if (x == -BN_INF)               /* scaled out of range: as if masked */
        return 1;
    if (x == BN_INF)
        return 0;
    if (sums->leader_at >= 0)
        bn_sums_join(sums);
    if (sums->leader_at < 0 || x > sums->c + 1)
        bn_sums_raise(sums, map, x, z);
    sums->leader = x;
    sums->leader_z = z;
    sums->leader_at = at;
    return 1;
}

/* Fills in what a chunk's pass has found about the others and the leader. */
static void bn_sums_finish(bn_sums *sums, bnfloss_row *row)
{
    const int led = sums->leader_at >= 0;

    bn_sums_move(sums, led ? sums->leader : sums->c);
    bn_sums_gather(sums, led ? bn_exp(sums->base - sums->leader) : 1);
    row->leader = sums->leader;
    row->leader_id = sums->leader_at;
    row->sum = sums->total_sum;
    row->dot = sums->total_dot;
    row->shift = sums->total_x;
    row->finite = sums->total_finite;
    if (bn_is_nan(sums->total_sum))
        row->flags |= BNFLOSS_ROW_NAN;
}

/* ---- Exponentials that are kept ----------------------------------------- */

/* Where the forward pass leaves e^x / 2^k of a chunk for its gradients; they
 * may have to lie there themselves. Kept are the first n. */
typedef struct bn_save {
    float *exps;
    int64_t n;
    int32_t power;
} bn_save;

/* Kept exponentials of a chunk of n columns that are to become gradients:
 * times a factor where they are above a least, else 0. The first of them are
 * done. */
typedef struct bn_scaling {
    const float *exps;
    void *grad;                 /* e, or elsewhere and then of any type */
    uint32_t grad_type;
    int nontemporal;            /* f32: store past the caches */
    int prefetch;               /* e is worth asking for */
    int64_t n, done;
    double factor, cutoff;
} bn_scaling;

/* What the kernels make of exponentials that were kept, in double, where the
 * factor is not for a float to hold. */
static void bn_scale_slowly(const float *e, uint32_t type, void *grad,
                            int64_t i, int64_t n, double factor, double cutoff)
{
    for (; i < n; i++)
        bn_put(type, grad, i,
               (double)e[i] > cutoff ? (float)((double)e[i] * factor) : 0);
}

/* Gradients, of n floats, in front of the first that begins a cache line. */
static int64_t bn_until_cache_line(const void *grad, int64_t n)
{
    const int64_t line = (int64_t)((0 - (uintptr_t)grad) / 4 % 16);

    return line < n ? line : n;
}

/* A leader that changes k, or the row's origin, after i exponentials were
 * kept. Returns whether to go on keeping. A row on both sides of
 * BN_MAX_EXACT_X must not have kept what its backward pass would compute in another way: so
 * nothing that a leader beyond BN_MAX_EXACT_X would leave above 0 is kept. */
static int bn_save_rebase(bn_save *save, const bn_sums *sums, int32_t k,
                          int64_t i)
{
    const double max_leader = BN_MAX_EXACT_X - 90;

    save->n = i;
    save->power = k;
    if (sums->origin != 0 || sums->leader > max_leader
        || (sums->leader < -max_leader && sums->leader_at >= 0))
        return 0;
    save->power = sums->power;
    if (sums->power < k
        || sums->power - k
               > BN_REBASE_LOST)        /* lower: there was no leader yet */
        memset(save->exps, 0, (size_t)i * sizeof *save->exps);
    else if (sums->power != k)
        bn_scale_slowly(save->exps, BNFLOSS_F32, save->exps, 0, i,
                        bn_pow2(k - sums->power),
                        bn_pow2(sums->power - k - 125));
    return 1;
}

/* ---- Coefficients of a gradient row ------------------------------------- */

/* A gradient without its factor's exponent: m * 2^e * e^x / 2^k. Without a
 * rounding but that of the product: whatever k the exponentials have, and
 * whether they were kept or not, the bits are the same. Below a least e^x / 2^k
 * it is 0, so that no denormal is made. */
typedef struct bn_factor {
    double m;                   /* of 24 bits, 1 <= |m| <= 2, or 0 */
    int32_t e, power;
} bn_factor;

/* plain: grad = e^x * factor, above least;
 * general: grad = slope * (e * post + uniform), e = factor' * e^x from the
 * table, above low. */
typedef struct bn_coefficients {
    uint32_t table[8];
    float origin, underflow_at;
    float factor, cutoff;
    float no_mask_above;        /* logits above are surely above least */
    float post;                 /* 1 but where factor' overflows a float */
    float uniform;              /* every finite logit's share of smoothing */
    int accumulate;
} bn_coefficients;

/* Such that the gradient is factor * exp(z' - leader). */
static bn_factor bn_factor_for(const bn_map *map, double leader, double factor)
{
    const float origin = bn_origin(map, leader, (float)leader);
    const int32_t k = origin != 0 ? 0 : bn_power(leader);
    const double residual = origin != 0 ? 1 : bn_exp(k * BN_LN2_F32 - leader);
    const double w = factor * BN_POW8_UNSCALE * residual;
    const uint64_t bits = bn_bits64_of(w);
    bn_factor f;

    f.power = k;
    f.e = (int32_t)(bits >> 52 & 0x7FF) - 1023;
    f.m = f.e < -140 ? 0
        : (double)(float)bn_double_of((bits & UINT64_C(0x800FFFFFFFFFFFFF))
                                      | UINT64_C(0x3FF0000000000000));
    return f;
}

/* log2 of the least e^x / 2^k that counts: whose gradient is above 2^-125, and
 * which any k of a chunk can hold. */
static int32_t bn_factor_cutoff(const bn_factor *factor)
{
    const int32_t cutoff = -125 - factor->e;

    return cutoff > -123 ? cutoff : -123;
}

static void bn_coefficients_plain(bn_coefficients *co, const bn_factor *factor,
                                  float origin)
{
    /* a power of two moves over to the exponential where the factor, or
     * its products, would leave the range of a float; a factor that does so
     * all the same leaves no product within it */
    const int32_t moved = factor->e > 80 ? -125 : factor->e < -80 ? 40 : 0;

    co->origin = origin;
    co->uniform = 0;
    co->post = 1;
    co->underflow_at = bn_underflow_at(factor->power + moved);
    bn_table_for_sum(co->table, factor->power + moved);
    co->factor = (float)(factor->m * bn_pow2(factor->e + moved));
    co->cutoff = co->no_mask_above = BN_INF_F32;
    if (factor->m == 0)
        return;
    co->cutoff = (float)bn_pow2(bn_factor_cutoff(factor) - moved);
    if (origin == 0)
        co->no_mask_above = bn_underflow_at(factor->power
                                            + bn_factor_cutoff(factor) + 127);
}

/* e = factor * exp(z' - leader). Results below about 2^-125 become
 * 0, so that no denormal is made. */
static void bn_coefficients_general(bn_coefficients *co, const bn_map *map,
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

    co->origin = origin;
    co->uniform = (float)uniform;
    co->post = 1;
    co->factor = co->cutoff = co->no_mask_above = 0;
    if (e == -1023) {                   /* 0 or a denormal: nothing is left */
        memset(co->table, 0, sizeof co->table);
        co->underflow_at = BN_INF_F32;
        return;
    }
    if (e >= 120) {                     /* the gradient may overflow: then it */
        e = e < 240 ? e - 120 : 120;    /* is to become infinite, not wrap */
        co->post = 0x1p120f;
    }
    bn_table_for_product(co->table,
                         bn_double_of((bits & UINT64_C(0x800FFFFFFFFFFFFF))
                                      | UINT64_C(0x3FF0000000000000)),
                         e + (int32_t)n);
    co->underflow_at = (float)((-125.5 - e - n) * 0x1.62e42fefa39efp-1);
}

/* ---- The dispatch table ------------------------------------------------- */

/* Logits that are summed as one unit, at most BNFLOSS_CHUNK of them. */
typedef struct bn_chunk {
    const void *logits;         /* (n) of type */
    void *grad;                 /* (n) of grad_type; backward only */
    uint32_t type, grad_type;   /* bnfloss_type */
    int64_t n;
    int64_t label;              /* forward: its index, or -1; backward: none */
    int nontemporal;            /* backward, f32: store past the caches */
    bn_save *save;              /* forward, plain or dot; or NULL */
    bn_scaling *scaling;        /* the row before's, where there is a keep */
} bn_chunk;

/* Forward fills in the sums of *row and adds flags. */
typedef void bn_forward_kernel(const bn_chunk *chunk, const bn_map *map,
                               bnfloss_row *row);
typedef void bn_backward_kernel(const bn_chunk *chunk,
                                const bn_coefficients *co, const bn_map *map);
/* Makes gradients of those exponentials that are not done, whose logits were
 * z, of a type. The factor is one for a float. */
typedef void bn_scale_kernel(const bn_scaling *scaling, uint32_t type,
                             const void *z);

enum { BN_PLAIN = 0, BN_DOT = 1, BN_GENERAL = 2 };

typedef struct bn_kernels {
    const char *name;
    bn_forward_kernel *forward[3];      /* plain, dot, general */
    bn_backward_kernel *backward[2];    /* plain, general */
    bn_scale_kernel *scale_saved;
} bn_kernels;
