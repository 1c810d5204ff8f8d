/* The map from a logit z to z', in double: for label and leader, which count
 * alone. The kernels have the same map for vectors: mapped() in
 * group.h. */

/* Beyond this magnitude of x the exponential's N may be off by one, and its r
 * out of the cubic's range. */
#define BN_MAX_EXACT_X 65536.0f

/* Returns what a logit is multiplied by on its way into a softcap's tanh. */
static float bn_tanh_scale(float scale, float softcap)
{
    return (float)((double)(scale > 0 ? scale : 1) / softcap);
}

/* Returns whether z' is z: the fast path. */
static int bn_map_is_plain(const bn_map *map)
{
    return map->scale == 1 && map->softcap == 0;
}

/* Returns z'. */
static double bn_map_value(const bn_map *map, float z)
{
    const double x = (double)map->scale * z;

    if (map->softcap > 0 && bn_is_finite((double)z))
        return map->softcap * bn_tanh(x / map->softcap);
    return x >= map->limit ? BN_INF : x <= -map->limit ? -BN_INF : x;
}

/* Returns dz'/dz. */
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

/* Returns the z to subtract from every logit where z' = x is the largest; 0
 * means that x is the logit itself, which is exact. A softcap is at most
 * BN_MAX_EXACT_X and needs no origin. Nor does twice a softcap, for sums of
 * squares: their error bound counts the softcap. */
static float bn_origin(const bn_map *map, double x, float z)
{
    const int large = x > BN_MAX_EXACT_X || x < -BN_MAX_EXACT_X;

    return map->softcap == 0 && (map->scale != 1 || large) ? z : 0;
}
