/* Prefetching, in several streams at once.
 *
 * A sweep prefetches the stretch of memory that follows the one it works on.
 * It does so in four streams (two for 16-bit types) that lie BN_STREAM_STRIDE
 * bytes apart: beside each group of logits, the next cache line of each.
 *
 *     at work     |=====>          |
 *     prefetched                   |->      |->      |->      |->      |
 *                                   stream 0  1        2        3
 *
 * One line after the other, half of a kernel's arithmetic shows beside
 * memory's time, however far ahead the prefetches are. A stream of four moves
 * at a quarter of the pace, so the hardware's own prefetcher, which follows a
 * page, has four times as long to run ahead in it. The stride is not a whole
 * number of pages, so the streams reach the ends of their pages one after the
 * other. bench/RESULTS.md has the measurements. */
enum {
    BN_STREAM_STRIDE = 29 * 1024,
    BN_STREAM_LINES = BN_STREAM_STRIDE / 64
};

typedef struct bn_prefetcher {
    uintptr_t at;               /* in the first stream */
    uintptr_t lines;            /* left of each stream */
} bn_prefetcher;

/* Returns how many streams there are: as many as a group has cache lines. */
BN_INLINE uintptr_t bn_stream_count(uint32_t type)
{
    return type == BNFLOSS_F32 ? 4 : 2;
}

/* Returns what to prefetch beside the group at z[i] and those after it. */
BN_INLINE bn_prefetcher bn_prefetcher_at(uint32_t type, const void *z,
                                         int64_t i)
{
    const uintptr_t streams = bn_stream_count(type);
    const uintptr_t at = (uintptr_t)z + (uintptr_t)i * bn_type_size(type);
    const uintptr_t line = at / (streams * 64) % BN_STREAM_LINES;
    bn_prefetcher p;

    p.at = at + streams * BN_STREAM_STRIDE - line * 64 * (streams - 1);
    p.lines = BN_STREAM_LINES - line;
    return p;
}

/* Prefetches the next line of each stream. The lines are unrolled, since a
 * loop over them costs as much as one vector of exponentials. Floats go into
 * L1: few are still there when their turn comes, but it is faster than L2 all
 * the same. Addresses beyond a buffer do no harm. */
BN_INLINE void bn_prefetch(uint32_t type, bn_prefetcher *p)
{
    if (type == BNFLOSS_F32) {
        BN_PREFETCH((const void *)p->at, 1);
        BN_PREFETCH((const void *)(p->at + BN_STREAM_STRIDE), 1);
        BN_PREFETCH((const void *)(p->at + 2 * BN_STREAM_STRIDE), 1);
        BN_PREFETCH((const void *)(p->at + 3 * BN_STREAM_STRIDE), 1);
    } else {
        BN_PREFETCH((const void *)p->at, 2);
        BN_PREFETCH((const void *)(p->at + BN_STREAM_STRIDE), 2);
    }
    p->at += 64;
    if (--p->lines == 0) {
        p->at += (bn_stream_count(type) - 1) * BN_STREAM_STRIDE;
        p->lines = BN_STREAM_LINES;
    }
}

/* Saved exponentials are in L2 as a rule: this many floats ahead is enough. */
enum { BN_SAVED_AHEAD = 1024 };

BN_INLINE void bn_prefetch_saved(const float *exps, int64_t i)
{
    const uintptr_t at = (uintptr_t)exps + ((uintptr_t)i + BN_SAVED_AHEAD) * 4;

    BN_PREFETCH((const void *)at, 1);
    BN_PREFETCH((const void *)(at + 64), 1);
    BN_PREFETCH((const void *)(at + 128), 1);
    BN_PREFETCH((const void *)(at + 192), 1);
}
