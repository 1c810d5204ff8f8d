/* The sums of a chunk, in double: how they begin, change their reference and
 * end. The kernels (forward.h) fill the lanes.
 *
 * The label and the leader stay out of the lanes and are added in double. The
 * leader is the largest logit that is not the label. If either of them holds
 * nearly all the mass, a float sum that contained it would lose the small rest
 * and with it 1 - p. Both are known by their position, so no second pass is
 * needed, and a tie of the leader is an ordinary term.
 *
 * A lane's x is z' itself, which is exact, unless logits are scaled or huge:
 * then it is scale * (z - origin), with the z of a leader as origin. The lanes
 * hold e = e^x / 2^power, with power near the leader's z' / ln 2 when it was
 * chosen. A power of two leaves the digits of e alone. So it can stay as long
 * as floats have room, and an e that is saved for the backward pass is good
 * for any power. Where products e (x - ref) are summed, ref follows the
 * leader, or small differences would be lost.
 *
 * On x86 this file is SSE code. An SSE instruction after an AVX one that left
 * something in the upper halves of the registers costs 20 to 50 ns on Intel,
 * and compilers do not always clear these before a call. So the kernels say
 * bn_v_leave() before they call what is here. */

/* The log2 by which a leader may rise above what the sums are relative to. A
 * float still has room for a sum 2^90 times as large, and for one 2^-35 as
 * large. */
#define BN_SUM_HEADROOM 62

typedef struct bn_sums {
    double sum[BN_LANES], dots[BN_LANES];       /* e, e (x - ref) */
    double sum_x[BN_LANES], finite[BN_LANES];   /* x - ref, 1 */
    uint32_t table[8];          /* of the exponential, for power */
    float origin, ref;
    float underflow_at;         /* e is 0 up to this x */
    float no_mask_above;        /* no e is 0 above this x */
    int32_t power;
    int started;                /* whether power has been chosen */
    int dot, general;           /* which lanes are in use besides sum */
    double base, c;             /* the z' where e = 1, and where x = ref */
    double total_sum, total_dot, total_x, total_finite;
    double leader;              /* its z' */
    float leader_z;             /* its z */
    int64_t leader_at;          /* its index in the chunk, or -1 */
} bn_sums;

/* Returns the largest of sixteen lanes. */
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

/* Returns the sum of sixteen lanes, by a fixed tree. */
static double bn_sum_lanes(const double *lane)
{
    double t[8];

    for (int i = 0; i < 8; i++)
        t[i] = lane[i] + lane[i + 8];
    return ((t[0] + t[4]) + (t[2] + t[6])) + ((t[1] + t[5]) + (t[3] + t[7]));
}

/* Clears lanes 32 bytes at a time: for 128 bytes at once compilers choose a
 * slow instruction. */
static void bn_clear_lanes(double lane[BN_LANES])
{
    for (int i = 0; i < BN_LANES; i += 4)
        memset(lane + i, 0, 4 * sizeof *lane);
}

/* Starts the sums of a chunk. */
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

/* Sets the reference of the differences to z' = c and clears their lanes. */
static void bn_sums_set_ref(bn_sums *sums, double c)
{
    sums->c = c;
    sums->ref = sums->origin != 0 ? 0 : (float)c;
    if (sums->dot)
        bn_clear_lanes(sums->dots);
    if (sums->general)
        bn_clear_lanes(sums->sum_x);
}

/* Chooses power and reference for a largest z' of c, and clears all lanes. */
static void bn_sums_start(bn_sums *sums, double c, float origin)
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
    bn_sums_set_ref(sums, c);
}

/* Adds the lanes of differences to the totals, and moves these from the
 * reference c to c2. The lanes of e and of counts stay as they are. */
static void bn_sums_move_ref(bn_sums *sums, double c2)
{
    const double d = sums->c - c2;

    if (sums->dot) {
        const double sum = bn_sum_lanes(sums->sum) * BN_POW8_UNSCALE;

        sums->total_dot += bn_sum_lanes(sums->dots) * BN_POW8_UNSCALE
                           + d * (sums->total_sum + sum);
    }
    if (sums->general) {
        const double finite = bn_sum_lanes(sums->finite);

        sums->total_x += bn_sum_lanes(sums->sum_x)
                         + d * (sums->total_finite + finite);
    }
}

/* Adds the lanes of e and of counts to the totals, and moves these from one
 * base to another, which differ by ln f. */
static void bn_sums_move_base(bn_sums *sums, double f)
{
    const double sum = sums->total_sum
                       + bn_sum_lanes(sums->sum) * BN_POW8_UNSCALE;

    sums->total_sum = f * sum;
    /* where all underflowed there is nothing to multiply: no 0 * inf */
    sums->total_dot = f == 0 ? 0 * sum : f * sums->total_dot;
    if (sums->general)
        sums->total_finite += bn_sum_lanes(sums->finite);
}

/* Adds the leader to the totals of the others. */
static void bn_sums_add_leader(bn_sums *sums)
{
    const double e = bn_exp(sums->leader - sums->base);
    const double d = sums->leader - sums->c;

    sums->total_sum += e;
    sums->total_dot += e * d;
    sums->total_x += d;
    sums->total_finite += 1;
}

/* Moves the sums for a leader of z' = x that is more than 1 above c. As long as
 * the power has room, only the reference of the differences moves. */
static void bn_sums_raise(bn_sums *sums, const bn_map *map, double x, float z)
{
    const float origin = bn_origin(map, x, z);
    const double c = origin != 0 ? x : (double)(float)x;
    double base;

    if (!sums->started) {
        bn_sums_start(sums, c, origin);
        return;
    }
    if (sums->leader_at >= 0)   /* without one there is nothing, or NaN */
        bn_sums_move_ref(sums, c);
    if (sums->leader_at >= 0 && origin == 0 && sums->origin == 0
        && x < sums->base + BN_SUM_HEADROOM) {
        bn_sums_set_ref(sums, c);
        return;
    }
    base = origin != 0 ? c : bn_power(c) * BN_LN2_F32;
    bn_sums_move_base(sums,
                      sums->leader_at < 0 ? 1 : bn_exp(sums->base - base));
    bn_sums_start(sums, c, origin);
}

/* Makes the logit z at index `at` the leader. Returns 0 if the row can have no
 * softmax. */
static int bn_sums_lead(bn_sums *sums, const bn_map *map, float z, int64_t at)
{
    const double x = bn_map_value(map, z);

    if (x == -BN_INF)               /* scaled out of range: as if masked */
        return 1;
    if (x == BN_INF)
        return 0;
    if (sums->leader_at >= 0)
        bn_sums_add_leader(sums);
    if (sums->leader_at < 0 || x > sums->c + 1)
        bn_sums_raise(sums, map, x, z);
    sums->leader = x;
    sums->leader_z = z;
    sums->leader_at = at;
    return 1;
}

/* Writes what a pass has found about the leader and the others into *row. */
static void bn_sums_finish(bn_sums *sums, bnfloss_row *row)
{
    const int led = sums->leader_at >= 0;

    bn_sums_move_ref(sums, led ? sums->leader : sums->c);
    bn_sums_move_base(sums, led ? bn_exp(sums->base - sums->leader) : 1);
    row->leader = sums->leader;
    row->leader_id = sums->leader_at;
    row->sum = sums->total_sum;
    row->dot = sums->total_dot;
    row->shift = sums->total_x;
    row->finite = sums->total_finite;
    if (bn_is_nan(sums->total_sum))
        row->flags |= BNFLOSS_ROW_NAN;
}
