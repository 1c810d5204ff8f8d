/* Masks for the one group in which not every logit counts: patch() in group.h
 * takes out the label, the leader and what lies beyond the chunk. */

/* A group of any type. */
typedef union bn_raw {
    float f32[BN_GROUP];
    uint16_t u16[BN_GROUP];
} bn_raw;

/* 1 at [BN_GROUP], else 0. */
static const float bn_one_hot[2 * BN_GROUP] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1
};
/* 1 before [BN_GROUP], 0 from there on. */
static const float bn_inside[2 * BN_GROUP] = {
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1
};

/* Returns the 64 of these marks whose [BN_GROUP] is at index `at`. Where `at`
 * is not within the group, [BN_GROUP] is the first mark behind it. */
static const float *bn_marks(const float *marks, int64_t at)
{
    const int64_t none = BN_GROUP;

    return marks + none - (at >= 0 && at < none ? at : none);
}
